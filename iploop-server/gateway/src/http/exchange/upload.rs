//! The request's content, framed anew, from the customer to the destination.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use iploop_platform::metering::Counted;
use iploop_protocol::io::Stream;

use super::super::chunked;
use super::super::request::Framing;
use super::{Content, READ_BYTES, Stop};
use crate::answer::ProxyError;
use crate::connection::Connection;
use crate::relay::RelayMeter;

/// Whether the content is well formed as far as it is here, before a byte of the request goes on.
pub(in super::super) fn check_begin(customer: &Connection, body: Framing) -> Result<(), ProxyError> {
    match body {
        Framing::Chunked => chunked::check(customer.ahead()).map_err(not_chunks),
        Framing::None | Framing::Length(_) | Framing::UntilClose => Ok(()),
    }
}

fn not_chunks(_: chunked::ChunkFault) -> ProxyError {
    ProxyError::Content("the chunks are not as RFC 9112 section 7.1 has them")
}

fn malformed(fault: chunked::ChunkFault) -> Stop {
    Stop::Customer(not_chunks(fault))
}

/// From the customer to the destination.
pub(super) struct Up {
    body: Content,
    /// Read, counted or held, not yet written.
    pending: Bytes,
    held: bool,
    /// Something of the content has come.
    has_begun: bool,
    awaits_customer: bool,
    moved: u64,
    done: bool,
}

impl Up {
    /// A head to be sent, which was counted, and what follows it.
    pub(super) fn new(head: Bytes, body: Framing, meter: &RelayMeter) -> Self {
        if !head.is_empty() {
            meter.note_up();
        }
        let body = Content::new(body);
        let done = body.is_done() && head.is_empty();
        Self {
            body,
            pending: head,
            held: false,
            has_begun: false,
            awaits_customer: false,
            moved: 0,
            done,
        }
    }

    /// Nothing more is to be sent.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Everything went out: what the customer sends next is another request.
    pub(super) fn sent_everything(&self) -> bool {
        self.done && self.body.is_done()
    }

    /// The customer owes more of the content: nobody else keeps it from going on.
    pub(super) fn awaits_customer(&self) -> bool {
        self.awaits_customer && !self.done
    }

    /// Something of the content has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Sends nothing more.
    pub(super) fn give_up(&mut self) {
        self.done = true;
    }

    /// Bytes written to the stream so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Sends what can be sent; the waker is registered for the rest.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        customer: &mut Connection,
        stream: &mut Stream,
        meter: &RelayMeter,
    ) -> Result<(), Stop> {
        self.awaits_customer = false;
        while !self.done {
            if self.held {
                match meter.poll_refilled(cx).map_err(Stop::NoCredit)? {
                    Poll::Ready(()) => self.held = false,
                    Poll::Pending => return Ok(()),
                }
            }
            if !self.pending.is_empty() {
                match stream
                    .poll_write_chunk(cx, &mut self.pending)
                    .map_err(Stop::Stream)?
                {
                    Poll::Ready(bytes) => self.moved += bytes as u64,
                    Poll::Pending => return Ok(()),
                }
                continue;
            }
            if self.body.is_done() {
                self.done = true;
                break;
            }
            if stream.poll_room(cx).map_err(Stop::Stream)?.is_pending() {
                return Ok(());
            }
            if customer.ahead().is_empty() {
                match customer.poll_read_more(cx, READ_BYTES) {
                    Poll::Ready(Ok(1..)) => {}
                    // Who has only finished writing still reads.
                    Poll::Ready(Ok(0)) => {
                        return Err(Stop::Customer(ProxyError::Content("it ends before it is whole")));
                    }
                    Poll::Ready(Err(_)) => return Err(Stop::CustomerLeft),
                    Poll::Pending => {
                        self.awaits_customer = true;
                        return Ok(());
                    }
                }
            }
            self.has_begun = true;
            let data = self.take(customer)?;
            self.held = !data.is_empty() && meter.up(data.len()) == Counted::Hold;
            self.pending = data;
        }
        Ok(())
    }

    /// Takes content off what was read, framed for the destination.
    fn take(&mut self, customer: &mut Connection) -> Result<Bytes, Stop> {
        match &mut self.body {
            Content::Done | Content::UntilClose => Ok(Bytes::new()),
            Content::Length(left) => {
                let data = customer.take(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                if *left == 0 {
                    self.body = Content::Done;
                }
                Ok(data)
            }
            Content::Chunked(decoder) => {
                let mut out = BytesMut::with_capacity(customer.ahead().len() + 32);
                while !customer.ahead().is_empty() {
                    let progress = decoder.decode(customer.ahead()).map_err(malformed)?;
                    customer.take(progress.framing);
                    if progress.content > 0 {
                        chunked::put_size(&mut out, progress.content);
                        out.put_slice(&customer.take(progress.content));
                        out.put_slice(b"\r\n");
                    }
                    if progress.done {
                        chunked::put_last_chunk(&mut out, decoder).map_err(malformed)?;
                        self.body = Content::Done;
                        break;
                    }
                }
                Ok(out.freeze())
            }
        }
    }
}
