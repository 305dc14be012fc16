//! Copies between a tunnel stream and a socket, both ways, with buffers only while there are bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::Stream;
use crate::tunnel::{BULK_BYTES, StreamError};

/// Most bytes moved by one read or one write.
const MAX_READ_BYTES: usize = BULK_BYTES;
/// The first read of a direction, and the smallest.
const MIN_READ_BYTES: usize = 4 * 1024;
/// Buffers to one vectored write.
const MAX_SLICES: usize = 16;
/// Bytes moved before other tasks get their turn.
const WORK_BYTES: usize = 128 * 1024;

/// Which way bytes go, seen from the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the socket into the tunnel.
    IntoTunnel,
    /// Out of the tunnel to the socket.
    OutOfTunnel,
}

/// Counts bytes before they are passed on.
pub trait Meter {
    /// `bytes` were read from one side and are not yet written to the other.
    fn count(&self, direction: Direction, bytes: u64) -> Counted;
    /// Ready when what was counted may be passed on, after [`Counted::Wait`].
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<Result<(), Depleted>>;
}

/// What a meter says to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Pass them on.
    Go,
    /// Ask [`Meter::poll_wait`] first.
    Wait,
}

/// There is nothing left to pay with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the balance is used up")]
pub struct Depleted;

/// A meter for those who count elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn count(&self, _direction: Direction, _bytes: u64) -> Counted {
        Counted::Go
    }
    fn poll_wait(&self, _cx: &mut Context<'_>) -> Poll<Result<(), Depleted>> {
        Poll::Ready(Ok(()))
    }
}

/// How a relay ended.
#[derive(Debug)]
pub struct RelayEnd {
    /// Bytes written into the tunnel.
    pub into_tunnel: u64,
    /// Bytes written to the socket.
    pub out_of_tunnel: u64,
    /// The peer's end was passed on to the socket: what it had to say is whole.
    pub said_all: bool,
    /// Both directions were finished, or what broke.
    pub result: Result<(), RelayError>,
}

/// What broke a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The stream was reset, or the tunnel is gone.
    #[error("the tunnel's side failed: {0}")]
    Stream(#[from] StreamError),
    /// The socket failed.
    #[error("the socket's side failed: {0}")]
    Socket(#[from] io::Error),
    /// The meter refused.
    #[error(transparent)]
    Depleted(#[from] Depleted),
}

/// Copies both ways until both directions are finished or one side fails.
///
/// Half-closes pass through. A side that breaks was perhaps speaking last: a destination may answer and hang up before it has
/// read everything. So what it said before is passed on, as far as it has arrived. A failure leaves stream and socket to the
/// caller, who resets what is left.
///
/// # Cancel safety
/// No: bytes in passing are lost.
pub async fn relay<S, M>(stream: &mut Stream, socket: &mut S, meter: &M) -> RelayEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let mut inward = Inward::default();
    let mut outward = Outward::default();
    // What broke first, while the other direction still hands on what had come.
    let mut broken = None;
    let result = poll_fn(|cx| {
        let one = match inward.poll(cx, stream, socket, meter) {
            Err(error @ RelayError::Stream(_)) if broken.is_none() => {
                inward.done = true;
                broken = Some(error);
                Poll::Ready(())
            }
            one => one?,
        };
        let other = match outward.poll(cx, stream, socket, meter) {
            Err(error @ RelayError::Socket(_)) if broken.is_none() => {
                (outward.done, inward.drains) = (true, true);
                broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            other => other?,
        };
        if one.is_ready() && other.is_ready() {
            Poll::Ready(broken.take().map_or(Ok(()), Err))
        } else {
            Poll::Pending
        }
    })
    .await;
    RelayEnd {
        into_tunnel: inward.bytes,
        out_of_tunnel: outward.bytes,
        said_all: outward.finished && outward.done,
        result,
    }
}

/// From the socket into the tunnel.
#[derive(Default)]
struct Inward {
    bytes: u64,
    pending: Bytes,
    waits_for_meter: bool,
    /// Doublings of [`MIN_READ_BYTES`] for the next read: follows what comes.
    size: u32,
    /// The socket can't be written to any more: what it still holds is passed on, and no end of it.
    drains: bool,
    done: bool,
}

impl Inward {
    fn poll<S, M>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        socket: &mut S,
        meter: &M,
    ) -> Result<Poll<()>, RelayError>
    where
        S: AsyncRead + Unpin,
        M: Meter,
    {
        let mut worked = 0;
        while !self.done {
            if self.waits_for_meter {
                match meter.poll_wait(cx)? {
                    Poll::Ready(()) => self.waits_for_meter = false,
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if !self.pending.is_empty() {
                match stream.poll_write_chunk(cx, &mut self.pending)? {
                    Poll::Ready(bytes) => self.bytes += bytes as u64,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                continue;
            }
            if worked >= WORK_BYTES {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            // No room in the tunnel: the socket is not read, and its sender waits.
            let Poll::Ready(room) = stream.poll_room(cx)? else {
                return Ok(Poll::Pending);
            };
            let data = match self.poll_read(cx, socket, room) {
                Poll::Pending => return Ok(Poll::Pending),
                // A broken socket ends like one that was closed, once what it held is read.
                Poll::Ready(Ok(data)) if data.is_empty() && self.drains => {
                    self.done = true;
                    break;
                }
                Poll::Ready(Err(_)) if self.drains => {
                    self.done = true;
                    break;
                }
                Poll::Ready(read) => read?,
            };
            if data.is_empty() {
                stream.finish();
                self.done = true;
            } else {
                worked += data.len();
                self.waits_for_meter = meter.count(Direction::IntoTunnel, data.len() as u64) == Counted::Wait;
                self.pending = data;
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_read<S>(&mut self, cx: &mut Context<'_>, socket: &mut S, room: usize) -> Poll<io::Result<Bytes>>
    where
        S: AsyncRead + Unpin,
    {
        let wanted = (MIN_READ_BYTES << self.size).min(MAX_READ_BYTES).min(room);
        let mut data = Vec::with_capacity(wanted);
        let length = ready!(poll_read_buf(Pin::new(socket), cx, &mut data))?;
        if length >= wanted && (MIN_READ_BYTES << self.size) < MAX_READ_BYTES {
            self.size += 2;
        } else if length < wanted / 4 {
            self.size = self.size.saturating_sub(2);
        }
        // It may wait long for the peer's credit, and shall not keep room that nothing came for.
        data.shrink_to_fit();
        Poll::Ready(Ok(Bytes::from(data)))
    }
}

/// Out of the tunnel to the socket.
#[derive(Default)]
struct Outward {
    bytes: u64,
    pending: VecDeque<Bytes>,
    waits_for_meter: bool,
    unflushed: bool,
    finished: bool,
    done: bool,
}

impl Outward {
    fn poll<S, M>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        socket: &mut S,
        meter: &M,
    ) -> Result<Poll<()>, RelayError>
    where
        S: AsyncWrite + Unpin,
        M: Meter,
    {
        let mut worked = 0;
        while !self.done {
            if self.waits_for_meter {
                match meter.poll_wait(cx)? {
                    Poll::Ready(()) => self.waits_for_meter = false,
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if !self.pending.is_empty() {
                match self.poll_write(cx, socket)? {
                    Poll::Ready(bytes) => worked += bytes,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                continue;
            }
            if self.finished {
                match Pin::new(&mut *socket).poll_shutdown(cx) {
                    // The other end may be gone already: everything was written, which is all that matters here.
                    Poll::Ready(_) => self.done = true,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                continue;
            }
            if worked >= WORK_BYTES {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            match stream.poll_read_chunks(cx, MAX_READ_BYTES, &mut self.pending)? {
                Poll::Ready(0) => self.finished = true,
                Poll::Ready(bytes) => {
                    self.waits_for_meter = meter.count(Direction::OutOfTunnel, bytes as u64) == Counted::Wait;
                }
                Poll::Pending => {
                    // An idle direction keeps no buffer, and a TLS socket nothing unsent.
                    self.pending = VecDeque::new();
                    if self.unflushed && Pin::new(&mut *socket).poll_flush(cx)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Ok(Poll::Pending);
                }
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_write<S>(&mut self, cx: &mut Context<'_>, socket: &mut S) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.pending) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let written = ready!(Pin::new(socket).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.bytes += written as u64;
        self.unflushed = true;
        let mut left = written;
        while left > 0 {
            let Some(front) = self.pending.front_mut() else {
                break;
            };
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.pending.pop_front();
        }
        Poll::Ready(Ok(written))
    }
}
