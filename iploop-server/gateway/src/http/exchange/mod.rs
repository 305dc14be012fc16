//! One request through one exit: the request's content up while the answer comes down.
//!
//! Both directions run in one future over one stream, because a destination may answer before it has read everything. Every
//! chunk is counted before it is passed on, and none is read while its predecessor waits for the other side.

mod download;
mod upload;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iploop_platform::admission::AdmissionError;
use iploop_platform::metering::NoCredit;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::Stream;
use iploop_protocol::tunnel::StreamError;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::download::Down;
use self::upload::Up;
pub(super) use self::upload::check_begin;
use super::chunked::ChunkedDecoder;
use super::request::Framing;
use super::response::Asked;
use crate::answer::ProxyError;
use crate::connection::Connection;
use crate::relay::{End, RelayMeter};

/// Most bytes read at once, in either direction.
const READ_BYTES: usize = 16 * 1024;

/// How an exchange came to its end.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// The connection may serve another request.
    pub(super) persistent: bool,
    /// The request went out whole.
    pub(super) is_sent: bool,
    /// It goes on as a WebSocket.
    pub(super) upgraded: bool,
}

/// How an exchange broke.
#[derive(Debug)]
pub(super) enum Failure {
    /// Before the final head went to the customer: there is still an answer to be given.
    Unanswered {
        /// Which one.
        error: ProxyError,
        /// Nothing at all came from the exit, which alone is to blame: another may be asked.
        untouched: bool,
    },
    /// In the middle of the answer.
    Broken(End),
}

/// What is still to be sent, and what the answer is read by.
#[derive(Debug)]
pub(super) struct Sending {
    /// The head, which was counted; empty if it went along with the dial.
    pub(super) head: Bytes,
    /// How the content after it is delimited.
    pub(super) body: Framing,
    /// The customer may wait with it until it is told to go on.
    pub(super) expects_continue: bool,
    /// What was asked.
    pub(super) asked: Asked,
}

/// What bounds an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Nothing moves and no answer has begun.
    pub(super) response: Duration,
    /// Nothing moves within the answer.
    pub(super) idle: Duration,
}

/// Writes our fields behind the final head: its status, the time to the first byte, where to.
pub(super) type Announce<'a> = &'a (dyn Fn(u16, Duration, &mut BytesMut) + Sync);

/// One request through one exit.
pub(super) struct Exchange<'a> {
    customer: &'a mut Connection,
    stream: &'a mut Stream,
    meter: RelayMeter,
    up: Up,
    down: Down<'a>,
    expects_continue: bool,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// The account was suspended.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes that had moved when the timer was set.
    seen: u64,
    /// A read ahead is still worth while: it tells when the customer's connection breaks.
    watches_customer: bool,
}

/// Content with what tells its end.
enum Content {
    /// Over.
    Done,
    /// So many bytes more.
    Length(u64),
    /// Chunks.
    Chunked(Box<ChunkedDecoder>),
    /// Until the sender closes.
    UntilClose,
}

impl Content {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(ChunkedDecoder::new())),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why an exchange can't go on.
enum Stop {
    CustomerLeft,
    Customer(ProxyError),
    Stream(StreamError),
    Answer(String),
    HungUp,
    NoCredit(NoCredit),
    Suspended,
}

impl<'a> Exchange<'a> {
    /// An exchange over a stream that was opened for it.
    pub(super) fn new(
        customer: &'a mut Connection,
        stream: &'a mut Stream,
        meter: RelayMeter,
        sending: Sending,
        patience: Patience,
        announce: Announce<'a>,
        cut: &CancellationToken,
    ) -> Self {
        let Sending {
            head,
            body,
            expects_continue,
            asked,
        } = sending;
        Self {
            up: Up::new(head, body, &meter),
            down: Down::new(asked, announce),
            expects_continue,
            customer,
            stream,
            meter,
            patience,
            timer: Box::pin(sleep(patience.response)),
            cut: Box::pin(cut.clone().cancelled_owned()),
            seen: 0,
            watches_customer: true,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self) -> Result<Exchanged, Failure> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchanged, Failure>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.failure(Stop::Suspended)));
        }
        match self.up.poll(cx, self.customer, self.stream, &self.meter) {
            Ok(()) => {}
            // The destination may have answered before it stopped reading: what it said decides.
            Err(Stop::Stream(_)) => self.up.give_up(),
            Err(stop) => return Poll::Ready(Err(self.failure(stop))),
        }
        self.down.note_sent(self.up.sent_everything());
        match self.down.poll(cx, self.customer, self.stream, &self.meter) {
            Poll::Ready(Ok(())) => {
                return Poll::Ready(Ok(Exchanged {
                    // Content that was not read would pass for the next request.
                    persistent: self.down.persistent() && self.up.sent_everything(),
                    is_sent: self.up.sent_everything(),
                    upgraded: self.down.upgraded(),
                }));
            }
            Poll::Ready(Err(stop)) => return Poll::Ready(Err(self.failure(stop))),
            Poll::Pending => {}
        }
        if let Poll::Ready(error) = self.poll_customer(cx) {
            return Poll::Ready(Err(self.failure(error)));
        }
        self.poll_timer(cx)
    }

    /// Notices a customer who breaks off while there is nothing to write.
    fn poll_customer(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if !self.watches_customer
            || !self.up.is_done()
            || self.down.is_answered()
            || !self.customer.ahead().is_empty()
        {
            return Poll::Pending;
        }
        match self.customer.poll_read_more(cx, READ_BYTES / 8) {
            Poll::Pending => Poll::Pending,
            // The next request already, or no further one: both wait for this answer.
            Poll::Ready(Ok(_)) => {
                self.watches_customer = false;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Stop::CustomerLeft),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchanged, Failure>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let moved = self.up.moved() + self.down.moved();
            let answered = self.down.is_answered();
            if moved == self.seen {
                return Poll::Ready(Err(match answered {
                    true => Failure::Broken(End::Idle),
                    false => Failure::Unanswered {
                        error: self.late(),
                        untouched: false,
                    },
                }));
            }
            self.seen = moved;
            let patience = if answered {
                self.patience.idle
            } else {
                self.patience.response
            };
            self.timer.as_mut().reset(Instant::now() + patience);
        }
        Poll::Pending
    }

    /// Whose turn it was when nothing came for too long.
    fn late(&self) -> ProxyError {
        let may_wait = self.expects_continue && !self.up.has_begun() && !self.down.told_to_go_on();
        if self.up.awaits_customer() && !may_wait {
            ProxyError::RequestTimeout
        } else {
            ProxyError::ResponseTimeout
        }
    }

    fn failure(&self, stop: Stop) -> Failure {
        let unanswered = |error| Failure::Unanswered {
            error,
            untouched: false,
        };
        let answered = self.down.is_answered();
        match stop {
            Stop::CustomerLeft => Failure::Broken(End::CustomerLeft),
            Stop::Suspended if answered => Failure::Broken(End::Suspended),
            Stop::Suspended => unanswered(AdmissionError::AccountSuspended.into()),
            Stop::NoCredit(reason) if answered => Failure::Broken(End::NoCredit(reason)),
            Stop::NoCredit(reason) => unanswered(reason.into()),
            Stop::Customer(_) if answered => Failure::Broken(End::CustomerLeft),
            Stop::Customer(error) => unanswered(error),
            Stop::Answer(_) | Stop::HungUp if answered => Failure::Broken(End::Incomplete),
            Stop::Answer(what) => unanswered(ProxyError::UpstreamProtocol(what)),
            Stop::HungUp => unanswered(ProxyError::ConnectionReset),
            Stop::Stream(error) if answered => Failure::Broken(End::ExitFailed(error)),
            Stop::Stream(StreamError::Reset {
                code: ResetCode::ConnectionReset,
                ..
            }) => unanswered(ProxyError::ConnectionReset),
            Stop::Stream(_) => Failure::Unanswered {
                error: ProxyError::ExitLost,
                untouched: self.down.moved() == 0,
            },
        }
    }
}
