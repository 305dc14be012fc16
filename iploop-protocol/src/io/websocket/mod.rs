//! A tunnel over a WebSocket (RFC 6455): one binary message, one message of the tunnel.
//!
//! The opening handshake is for a library; this is what follows it. Messages are built in the buffer that goes to the
//! connection and each one is received into a buffer of its own size, so that a payload is copied once on the way out and not
//! at all on the way in, and what waits in a stream keeps nothing else in memory. `docs/decisions/0003-websocket-frames.md`
//! has the measurements.

mod frame;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use self::frame::{Breach, Header, Opcode, append, mask};
use super::Transport;
use crate::frame::MAX_MESSAGE_BYTES;

/// The subprotocol that both sides name in the opening handshake.
pub const SUBPROTOCOL: &str = "iploop.v2";

/// Read when nothing is known of what comes, in bytes; all that an idle connection keeps.
const MIN_READ_BYTES: usize = 512;
/// Most read at once where the message's length is not known yet, in bytes.
const MAX_READ_BYTES: usize = 16 * 1024 + 64;
/// Unsent bytes beyond which a ping is a flood.
const MAX_UNSENT_BYTES: usize = 512 * 1024;
/// A buffer that is larger than this and was mostly empty is given back, in bytes.
const KEPT_BYTES: usize = 4 * 1024;

/// Which side of the WebSocket this is: clients mask what they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asked for the upgrade.
    Client,
    /// It granted it.
    Server,
}

/// A WebSocket whose opening handshake is over.
pub struct WebSocket<S> {
    connection: S,
    role: Role,
    incoming: Incoming,
    out: BytesMut,
    /// Of `out`, the bytes that the connection has taken.
    taken: usize,
    /// The connection may hold back what it took.
    unflushed: bool,
    close_sent: bool,
}

/// What was received and not handed on.
struct Incoming {
    buffer: BytesMut,
    /// The parts of a fragmented message that came so far.
    fragments: Option<BytesMut>,
    /// As long as the last message: the next one is likely to be so too.
    next_read: usize,
    /// The peer's close frame came; its status, if it had one.
    closed: Option<Option<u16>>,
}

impl<S> WebSocket<S> {
    /// Over a connection on which the opening handshake is over; `received` is what came behind it.
    pub fn new(connection: S, role: Role, received: &[u8]) -> Self {
        Self {
            connection,
            role,
            incoming: Incoming {
                buffer: received.into(),
                fragments: None,
                next_read: MIN_READ_BYTES,
                closed: None,
            },
            out: BytesMut::new(),
            taken: 0,
            unflushed: false,
            close_sent: false,
        }
    }

    /// An unpredictable key for each frame of a client (section 5.3).
    fn key(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(rand::random)
    }

    fn reply(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Breach> {
        if self.out.len() - self.taken > MAX_UNSENT_BYTES {
            return Err(Breach::Flood);
        }
        let key = self.key();
        append(&mut self.out, opcode, key, |out| {
            out.put_slice(payload);
            true
        });
        Ok(())
    }

    /// Takes the next frame out of the buffer; a message that is whole with it, or how many bytes are missing.
    fn next_frame(&mut self) -> Result<Step, Breach> {
        let incoming = &mut self.incoming;
        let Some(header) = Header::decode(&incoming.buffer)? else {
            return Ok(Step::Read(None));
        };
        if header.key.is_some() != (self.role == Role::Server) {
            return Err(Breach::Masking);
        }
        let before = incoming.fragments.as_ref().map_or(0, BytesMut::len);
        if header.payload_bytes > MAX_MESSAGE_BYTES - before {
            return Err(Breach::TooLong);
        }
        let frame_bytes = header.header_bytes + header.payload_bytes;
        if incoming.buffer.len() < frame_bytes {
            return Ok(Step::Read(Some(frame_bytes - incoming.buffer.len())));
        }
        incoming.buffer.advance(header.header_bytes);
        let mut payload = incoming.buffer.split_to(header.payload_bytes);
        if let Some(key) = header.key {
            mask(&mut payload, key);
        }
        if header.opcode.is_control() {
            return self.control(header.opcode, &payload).map(|()| Step::Again);
        }
        incoming.next_read = frame_bytes.clamp(MIN_READ_BYTES, MAX_READ_BYTES);
        let message = match (header.opcode, incoming.fragments.take(), header.fin) {
            (Opcode::Text, ..) => return Err(Breach::Text),
            (Opcode::Binary, None, true) => payload,
            (Opcode::Binary, None, false) => {
                incoming.fragments = Some(payload);
                return Ok(Step::Again);
            }
            (Opcode::Continuation, Some(mut fragments), fin) => {
                fragments.unsplit(payload);
                if !fin {
                    incoming.fragments = Some(fragments);
                    return Ok(Step::Again);
                }
                fragments
            }
            _ => return Err(Breach::Fragments),
        };
        Ok(Step::Message(message.freeze()))
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Breach> {
        match opcode {
            Opcode::Ping => self.reply(Opcode::Pong, payload)?,
            Opcode::Close => {
                self.incoming.closed = Some(payload.first_chunk().map(|code| u16::from_be_bytes(*code)));
                if !std::mem::replace(&mut self.close_sent, true) {
                    self.reply(Opcode::Close, payload.get(..2).unwrap_or_default())?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

enum Step {
    Message(Bytes),
    Again,
    /// More has to come: so much, if that is known.
    Read(Option<usize>),
}

impl<S: AsyncRead + Unpin> WebSocket<S> {
    /// Reads what is missing, or a message like the last one; none at the end of the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>, missing: Option<usize>) -> Poll<io::Result<Option<()>>> {
        let incoming = &mut self.incoming;
        let wanted = missing.unwrap_or(incoming.next_read);
        if incoming.buffer.is_empty() && incoming.buffer.capacity() < wanted {
            incoming.buffer = BytesMut::with_capacity(wanted);
        }
        incoming.buffer.reserve(wanted);
        let mut room = (&mut incoming.buffer).limit(wanted);
        let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.connection), cx, &mut room)? else {
            if incoming.buffer.is_empty() && incoming.buffer.capacity() > MIN_READ_BYTES {
                incoming.buffer = BytesMut::new();
            }
            return Poll::Pending;
        };
        if missing.is_none() && read < wanted / 2 {
            // Much smaller than expected: it moves, so as not to keep what was meant for more.
            incoming.next_read = read.max(MIN_READ_BYTES);
            incoming.buffer = BytesMut::from(&incoming.buffer[..]);
        }
        Poll::Ready(Ok((read > 0).then_some(())))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for WebSocket<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.incoming.closed.is_some() {
                return Poll::Ready(None);
            }
            match self.next_frame() {
                Ok(Step::Message(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(Step::Again) => {}
                Ok(Step::Read(missing)) => match self.poll_fill(cx, missing) {
                    Poll::Ready(Ok(Some(()))) => {}
                    // Without a close frame the peer vanished; that is no breach, and there is nobody to be told.
                    Poll::Ready(Ok(None)) => {
                        return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => {
                        // A pong goes out although nobody has anything else to send.
                        if self.taken < self.out.len()
                            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
                        {
                            return Poll::Ready(Some(Err(error)));
                        }
                        return Poll::Pending;
                    }
                },
                Err(breach) => {
                    return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, breach))));
                }
            }
        }
    }

    fn close_code(&self) -> Option<u16> {
        self.incoming.closed.flatten()
    }

    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> io::Result<bool> {
        if self.close_sent {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let key = self.key();
        Ok(append(&mut self.out, Opcode::Binary, key, write))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.out.len() {
            let unsent = &self.out[self.taken..];
            let taken = ready!(Pin::new(&mut self.connection).poll_write(cx, unsent))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.unflushed = true;
        }
        if self.out.capacity() > KEPT_BYTES && self.out.len() < self.out.capacity() / 4 {
            self.out = BytesMut::new();
        } else {
            self.out.clear();
        }
        self.taken = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.close_sent, true) {
            let key = self.key();
            append(&mut self.out, Opcode::Close, key, |out| {
                out.put_u16(code);
                true
            });
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
