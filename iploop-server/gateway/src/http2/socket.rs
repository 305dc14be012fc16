//! One stream of HTTP/2 that looks like a connection of HTTP/1.1 with one request on it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::{Body, Head, put_trailers};
use super::response::{self, Answer, Delimited, Unreadable};
use super::underway::{Piece, Underway};
use crate::connection::Socket;
use crate::http::chunked::{ChunkedDecoder, put_size};

/// Most bytes of one DATA frame's payload.
const MAX_DATA_BYTES: usize = 16 * 1024;

/// See the module.
pub(super) struct StreamSocket {
    up: Up,
    down: Down,
    is_tunnel: bool,
    is_head: bool,
    /// We have finished: whoever still reads is told that the customer has, too.
    is_shut: bool,
    is_aborted: AtomicBool,
}

/// From the customer.
struct Up {
    recv: RecvStream,
    body: Body,
    /// Written as HTTP/1.1 and not yet read.
    pending: BytesMut,
    /// Window to give back when `pending` was read.
    owed: usize,
}

/// To the customer.
struct Down {
    respond: SendResponse<Piece>,
    /// Once the head was sent.
    send: Option<SendStream<Piece>>,
    state: State,
    underway: Arc<Underway>,
}

/// What is sent next.
enum State {
    /// A head, of which this much is here.
    Head(BytesMut),
    /// Content as it comes.
    Plain,
    /// So many bytes of content.
    Length(u64),
    /// Content in chunks.
    Chunks(Box<ChunkedDecoder>),
    /// Nothing.
    Done,
}

impl StreamSocket {
    pub(super) fn new(head: Head, recv: RecvStream, respond: SendResponse<Piece>) -> Self {
        Self {
            is_tunnel: head.body == Body::Tunnel,
            is_head: head.is_head,
            up: Up {
                recv,
                body: head.body,
                pending: BytesMut::from(head.bytes),
                owed: 0,
            },
            down: Down {
                respond,
                send: None,
                state: State::Head(BytesMut::new()),
                underway: Arc::default(),
            },
            is_shut: false,
            is_aborted: AtomicBool::new(false),
        }
    }
}

impl Up {
    /// Fills `pending`; false when there will be no more.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match ready!(self.recv.poll_data(cx)) {
            Some(data) => {
                let data = data.map_err(broken)?;
                self.owed += data.len();
                if self.body == Body::Chunked && !data.is_empty() {
                    put_size(&mut self.pending, data.len());
                }
                self.pending.put_slice(&data);
                if self.body == Body::Chunked && !data.is_empty() {
                    self.pending.put_slice(b"\r\n");
                }
                Poll::Ready(Ok(true))
            }
            None if self.body == Body::Chunked => {
                let trailers = ready!(self.recv.poll_trailers(cx)).map_err(broken)?;
                put_trailers(&mut self.pending, trailers.as_ref());
                self.body = Body::None;
                Poll::Ready(Ok(true))
            }
            None => {
                if self.body != Body::Tunnel {
                    self.body = Body::None;
                }
                Poll::Ready(Ok(false))
            }
        }
    }

    /// What was read makes room for more.
    fn give_back(&mut self) {
        if self.pending.is_empty() && self.owed > 0 {
            // Fails only where the stream is over.
            let _ = self.recv.flow_control().release_capacity(self.owed);
            self.owed = 0;
            self.pending = BytesMut::new();
        }
    }
}

impl AsyncRead for StreamSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.up.pending.is_empty() {
                let taken = this.up.pending.len().min(buf.remaining());
                buf.put_slice(&this.up.pending[..taken]);
                this.up.pending.advance(taken);
                this.up.give_back();
                return Poll::Ready(Ok(()));
            }
            if this.is_shut {
                return Poll::Ready(Ok(()));
            }
            // A request that is over is not the end of its connection: whoever reads on waits for a break.
            if this.up.body == Body::None {
                return this.down.poll_reset(cx).map(Err);
            }
            match this.up.poll_fill(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) if this.up.body == Body::Tunnel => return Poll::Ready(Ok(())),
                Poll::Ready(false) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Down {
    /// Ready when the customer has given the stream up.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reason = match (&mut self.send, &self.state) {
            (_, State::Done) => return Poll::Pending,
            (Some(send), _) => send.poll_reset(cx),
            (None, _) => self.respond.poll_reset(cx),
        };
        reason.map(|_| ErrorKind::ConnectionReset.into())
    }

    /// Sends the head once it is whole; the number of bytes taken.
    fn take_head(&mut self, bytes: &[u8], is_tunnel: bool, is_head: bool) -> Result<usize, Refused> {
        let State::Head(head) = &mut self.state else {
            return Ok(0);
        };
        let before = head.len();
        head.put_slice(bytes);
        let Some(end) = response::find_end(head)? else {
            return Ok(bytes.len());
        };
        let Answer { response, delimited } = response::read(&head[..end], is_tunnel, is_head)?;
        head.clear();
        if response.status().is_informational() {
            self.respond.send_informational(response)?;
        } else {
            self.send = Some(
                self.respond
                    .send_response(response, delimited == Delimited::Empty)?,
            );
            self.state = match delimited {
                Delimited::Empty => State::Done,
                Delimited::Length(length) => State::Length(length),
                Delimited::Chunks => State::Chunks(Box::new(ChunkedDecoder::new())),
                Delimited::End => State::Plain,
            };
        }
        Ok(end - before)
    }

    /// Sends content as far as there is window and room; the number of bytes taken.
    fn poll_content(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Refused>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(Refused));
        };
        let (framing, content, is_end) = match &mut self.state {
            State::Plain => (0, bytes.len(), false),
            State::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                (0, here, here as u64 == *left)
            }
            // The decoder must not see content twice, so it is shown no more than there is room for; framing needs none.
            State::Chunks(decoder) => {
                let ahead = (**decoder).clone().decode(bytes).map_err(|_| Refused)?;
                let room = match ahead.content {
                    0 => 0,
                    content => ready!(poll_room(send, cx, content))?.min(content),
                };
                let progress = decoder
                    .decode(&bytes[..ahead.framing + room])
                    .map_err(|_| Refused)?;
                let content = &bytes[progress.framing..progress.framing + progress.content];
                if !content.is_empty() {
                    send.send_data(self.underway.piece(Bytes::copy_from_slice(content)), false)?;
                }
                if progress.done {
                    let trailers = response::read_trailers(&decoder.take_trailers())?;
                    if trailers.is_empty() {
                        send.send_data(self.underway.piece(Bytes::new()), true)?;
                    } else {
                        send.send_trailers(trailers)?;
                    }
                    self.state = State::Done;
                }
                return Poll::Ready(Ok(progress.framing + progress.content));
            }
            State::Head(_) | State::Done => return Poll::Ready(Err(Refused)),
        };
        let room = ready!(poll_room(send, cx, content))?;
        let sent = content.min(room);
        let is_end = is_end && sent == content;
        let piece = Bytes::copy_from_slice(&bytes[framing..framing + sent]);
        send.send_data(self.underway.piece(piece), is_end)?;
        match &mut self.state {
            State::Length(left) if !is_end => *left -= sent as u64,
            State::Length(_) => self.state = State::Done,
            _ => {}
        }
        Poll::Ready(Ok(framing + sent))
    }
}

/// How many of `wanted` bytes may be sent now, at least one.
fn poll_room(
    send: &mut SendStream<Piece>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Result<usize, Refused>> {
    let wanted = wanted.min(MAX_DATA_BYTES);
    send.reserve_capacity(wanted);
    loop {
        let room = send.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room.min(wanted)));
        }
        match ready!(send.poll_capacity(cx)) {
            Some(room) => {
                room?;
            }
            None => return Poll::Ready(Err(Refused)),
        }
    }
}

impl AsyncWrite for StreamSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = match this.down.state {
            State::Head(_) => Poll::Ready(this.down.take_head(bytes, this.is_tunnel, this.is_head)),
            _ => this.down.poll_content(cx, bytes),
        };
        taken.map_err(|Refused| ErrorKind::BrokenPipe.into())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task sends.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match (&this.down.state, &mut this.down.send) {
            // Half of a tunnel: the customer may go on.
            (State::Plain, Some(send)) => {
                let ended = send.send_data(this.down.underway.piece(Bytes::new()), true);
                this.down.state = State::Done;
                Poll::Ready(ended.map_err(broken))
            }
            _ => {
                this.is_shut = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Socket for StreamSocket {
    fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A reset drops what still waits for window. What is written by then goes ahead of it.
        self.down.underway.poll_none(cx)
    }
}

impl Drop for StreamSocket {
    fn drop(&mut self) {
        let is_aborted = *self.is_aborted.get_mut();
        let reason = match (is_aborted, self.is_tunnel) {
            (false, _) if matches!(self.down.state, State::Done) => return,
            (false, _) => Reason::CANCEL,
            // The other side of the tunnel broke (RFC 9113 section 8.5).
            (true, true) => Reason::CONNECT_ERROR,
            (true, false) => Reason::INTERNAL_ERROR,
        };
        match &mut self.down.send {
            Some(send) => send.send_reset(reason),
            None => self.down.respond.send_reset(reason),
        }
    }
}

/// The customer is gone, or what was to be sent is no answer.
struct Refused;

impl From<h2::Error> for Refused {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl From<Unreadable> for Refused {
    fn from(Unreadable: Unreadable) -> Self {
        Self
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| ErrorKind::ConnectionReset.into());
    }
    ErrorKind::ConnectionReset.into()
}
