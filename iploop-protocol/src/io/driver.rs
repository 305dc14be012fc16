//! The task that owns a transport and moves messages between it and the tunnel's state.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{Shared, Transport, remember};
use crate::codes::CloseCode;
use crate::tunnel::{Closed, Initiator};

/// Bytes beyond which the transport is given no further message before it has flushed: four full ones go at once. What lies
/// there can't be overtaken by a small frame.
const FLUSH_BYTES: usize = 48 * 1024;
/// Bytes moved before other tasks get their turn.
const WORK_BYTES: usize = 128 * 1024;
/// Time for the last messages and the transport's own farewell.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages read after the end before other tasks get their turn.
const MAX_UNHEARD: usize = 64;

/// Owns the transport. A future that ends when the tunnel is closed; dropping it aborts the tunnel.
pub struct Driver<T: Transport> {
    transport: T,
    shared: Arc<Shared>,
    timer: Pin<Box<Sleep>>,
    /// Bytes of messages that the transport was given since it was flushed.
    unflushed: usize,
    end: Option<End>,
}

/// The tunnel is closed: what it has to say still goes out, then the transport ends.
struct End {
    closed: Closed,
    until: Pin<Box<Sleep>>,
    said: bool,
    bade_farewell: bool,
}

enum Step {
    Progress(usize),
    Blocked,
}

impl<T: Transport> Driver<T> {
    pub(super) fn new(transport: T, shared: Arc<Shared>) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self {
            transport,
            shared,
            timer,
            unflushed: 0,
            end: None,
        }
    }

    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        if self.end.is_none() {
            ready!(self.poll_work(cx));
        }
        self.poll_end(cx)
    }

    /// Ready when the tunnel is closed.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Before anything is looked at, so that nothing that a stream does meanwhile goes unseen.
        remember(&mut self.shared.lock().driver_waker, cx);
        let mut worked = 0;
        loop {
            let sent = match self.transmit(cx) {
                Ok(step) => step,
                Err(error) => return self.transport_failed(&error.to_string()),
            };
            let received = match self.receive(cx) {
                Ok(step) => step,
                Err(error) => return self.transport_failed(&error.to_string()),
            };
            if let Some(closed) = &self.shared.lock().closed {
                self.end = Some(End {
                    closed: closed.clone(),
                    until: Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)),
                    said: false,
                    bade_farewell: false,
                });
                return Poll::Ready(());
            }
            match (sent, received) {
                (Step::Blocked, Step::Blocked) => {
                    if self.poll_timer(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                (Step::Progress(bytes), Step::Blocked) if worked + bytes < WORK_BYTES => worked += bytes,
                // Whoever reads what came has its turn first: what it gives back and answers goes out at once then.
                _ => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Fills the transport up to one flush and flushes it.
    fn transmit(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        let mut sent = 0;
        let flush_bytes = self.shared.lock().tunnel.flush_bytes(FLUSH_BYTES);
        while self.unflushed < flush_bytes {
            let bytes = self.send_next()?;
            if bytes == 0 {
                break;
            }
            sent += bytes;
            self.unflushed += bytes;
        }
        self.shared.lock().hand_out_events();
        match self.transport.poll_flush(cx)? {
            Poll::Ready(()) => self.unflushed = 0,
            Poll::Pending => return Ok(Step::Blocked),
        }
        Ok(if sent > 0 {
            Step::Progress(sent)
        } else {
            Step::Blocked
        })
    }

    /// Gives the transport the tunnel's next message; its length, 0 if there is none. What it caused is not yet handed out.
    fn send_next(&mut self) -> io::Result<usize> {
        let mut inner = self.shared.lock();
        let inner = &mut *inner;
        let mut bytes = 0;
        self.transport.send(|out| {
            let before = out.len();
            let has_message = inner.tunnel.poll_transmit(Instant::now().into_std(), out);
            bytes = out.len() - before;
            has_message
        })?;
        Ok(bytes)
    }

    /// Takes up to one flush's worth of messages off the transport.
    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        let mut received = 0;
        while received < FLUSH_BYTES {
            let message = match self.transport.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => message,
                // The peer is there and broke the rules of the carrier: it is told so.
                Poll::Ready(Some(Err(error))) if error.kind() == io::ErrorKind::InvalidData => {
                    let mut inner = self.shared.lock();
                    inner.tunnel.close(CloseCode::Malformed, None, &error.to_string());
                    break;
                }
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) => {
                    let Some(code) = self.transport.close_code().and_then(CloseCode::from_websocket) else {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer hung up"));
                    };
                    let mut inner = self.shared.lock();
                    inner.tunnel.handle_transport_closed_with(code);
                    break;
                }
            };
            received += message.len().max(1);
            let mut inner = self.shared.lock();
            // A breach closes the tunnel; its CLOSE is sent by the end.
            if inner
                .tunnel
                .handle_message(Instant::now().into_std(), message)
                .is_err()
            {
                break;
            }
        }
        // Once for all of it: a reader that is woken by the first piece would take no more than that.
        self.shared.lock().hand_out_events();
        Ok(if received > 0 {
            Step::Progress(received)
        } else {
            Step::Blocked
        })
    }

    /// Ready when the time of the tunnel had come and it was told.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let wanted = self.shared.lock().tunnel.poll_timeout().map(Instant::from_std);
            let Some(wanted) = wanted else {
                return Poll::Pending;
            };
            // A later time than the one that is armed is looked at when that one has come: re-arming costs a lock.
            if wanted < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(wanted);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= wanted {
                let mut inner = self.shared.lock();
                inner.tunnel.handle_timeout(now.into_std());
                inner.hand_out_events();
                return Poll::Ready(());
            }
        }
    }

    fn transport_failed(&mut self, reason: &str) -> Poll<()> {
        let mut inner = self.shared.lock();
        inner.tunnel.handle_transport_closed(reason);
        inner.hand_out_events();
        let closed = inner.closed.clone().unwrap_or_else(|| Closed {
            code: CloseCode::Silent,
            by: Initiator::Transport,
            reason: reason.to_owned(),
            retry_after: None,
        });
        // There is nobody left to say anything to.
        self.end = Some(End {
            closed,
            until: Box::pin(tokio::time::sleep(Duration::ZERO)),
            said: true,
            bade_farewell: false,
        });
        Poll::Ready(())
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        let Some(end) = &mut self.end else {
            return Poll::Pending;
        };
        if !end.said {
            end.said = true;
            while self.send_next().is_ok_and(|bytes| bytes > 0) {}
            self.shared.lock().hand_out_events();
        }
        let Some(end) = &mut self.end else {
            return Poll::Pending;
        };
        let mut broken = false;
        if !end.bade_farewell {
            let farewell = match self.transport.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.transport.poll_close(cx, end.closed.code.to_websocket()),
                other => other,
            };
            broken = matches!(farewell, Poll::Ready(Err(_)));
            end.bade_farewell = farewell.is_ready();
        }
        // The peer has to read our CLOSE before the socket goes: bytes of its own that nobody reads would have the system reset
        // the connection and the CLOSE be lost. Whoever told us to end, or is silent, is not waited for.
        let waits_for_peer =
            !broken && end.closed.by == Initiator::Local && end.closed.code != CloseCode::Silent;
        let is_over = end.bade_farewell && (!waits_for_peer || self.poll_hang_up(cx).is_ready());
        let Some(end) = &mut self.end else {
            return Poll::Pending;
        };
        if is_over || end.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(end.closed.clone());
        }
        Poll::Pending
    }

    /// Reads what still comes, to no purpose, until the peer hangs up.
    fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_UNHEARD {
            match self.transport.poll_receive(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: Transport> Drop for Driver<T> {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.tunnel.handle_transport_closed("the driver was dropped");
        inner.hand_out_events();
    }
}
