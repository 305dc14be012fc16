//! The answer, checked and framed anew, from the destination to the customer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use iploop_platform::metering::Counted;
use iploop_protocol::io::Stream;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::super::chunked;
use super::super::head::{HeadScanner, MAX_RESPONSE_HEAD_BYTES};
use super::super::request::{Framing, Version};
use super::super::response::{self, Asked};
use super::{Announce, Content, READ_BYTES, Stop};
use crate::connection::Connection;
use crate::relay::RelayMeter;

/// Buffers to one vectored write.
const MAX_SLICES: usize = 16;

/// Interim responses passed on for one request: an origin has no reason for more.
const MAX_INTERIM: u8 = 16;

/// From the destination to the customer.
pub(super) struct Down<'a> {
    asked: Asked,
    announce: Announce<'a>,
    began: Instant,
    /// The first bytes of a head that is not whole.
    head: BytesMut,
    scanner: HeadScanner,
    interim: u8,
    /// One of them was `100 Continue`.
    told_to_go_on: bool,
    /// The final answer's content; none while its head is still to come.
    body: Option<Content>,
    /// The request's content went out whole.
    is_sent: bool,
    /// How the content is delimited for the customer.
    to: Framing,
    persistent: bool,
    upgraded: bool,
    /// For the customer, not yet written.
    out: VecDeque<Bytes>,
    held: bool,
    unflushed: bool,
    /// Why it can't go on once `out` is written.
    fault: Option<Stop>,
    moved: u64,
    done: bool,
}

impl<'a> Down<'a> {
    /// An answer that has not begun.
    pub(super) fn new(asked: Asked, announce: Announce<'a>) -> Self {
        Self {
            asked,
            announce,
            began: Instant::now(),
            head: BytesMut::new(),
            scanner: HeadScanner::default(),
            interim: 0,
            told_to_go_on: false,
            body: None,
            is_sent: false,
            to: Framing::None,
            persistent: false,
            upgraded: false,
            out: VecDeque::new(),
            held: false,
            unflushed: false,
            fault: None,
            moved: 0,
            done: false,
        }
    }

    /// The final head is on its way: no other answer can be given any more.
    pub(super) fn is_answered(&self) -> bool {
        self.body.is_some()
    }

    /// The destination has said that it wants the content.
    pub(super) fn told_to_go_on(&self) -> bool {
        self.told_to_go_on
    }

    /// Whether the request's content went out whole so far. An answer that comes before that is the connection's last: what is
    /// left of the content is not read any more.
    pub(super) fn note_sent(&mut self, is_sent: bool) {
        self.is_sent = is_sent;
    }

    /// The connection may serve another request.
    pub(super) fn persistent(&self) -> bool {
        self.persistent
    }

    /// It goes on as a WebSocket.
    pub(super) fn upgraded(&self) -> bool {
        self.upgraded
    }

    /// Bytes read from the stream and written to the customer so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Passes on what has come; ready when the answer is over and flushed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        customer: &mut Connection,
        stream: &mut Stream,
        meter: &RelayMeter,
    ) -> Poll<Result<(), Stop>> {
        loop {
            if self.held {
                match meter.poll_refilled(cx).map_err(Stop::NoCredit)? {
                    Poll::Ready(()) => self.held = false,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.out.is_empty() {
                match self.poll_write(cx, customer) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::CustomerLeft)),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Err(fault));
            }
            if self.done {
                return self.poll_flush(cx, customer);
            }
            match stream.poll_read_chunk(cx, READ_BYTES) {
                Poll::Ready(Ok(Some(data))) => {
                    self.moved += data.len() as u64;
                    self.held = meter.down(data.len()) == Counted::Hold;
                    self.take(data)?;
                }
                Poll::Ready(Ok(None)) => self.end()?,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Stop::Stream(error))),
                Poll::Pending => {
                    // Nothing to be read: what is written goes out now.
                    return match self.poll_flush(cx, customer) {
                        Poll::Ready(Err(stop)) => Poll::Ready(Err(stop)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Takes what came from the destination.
    fn take(&mut self, mut data: Bytes) -> Result<(), Stop> {
        while self.body.is_none() && !data.is_empty() {
            self.take_head(&mut data)?;
        }
        if self.upgraded {
            // Already the other protocol.
            if !data.is_empty() {
                self.out.push_back(data);
            }
            return Ok(());
        }
        self.take_content(data);
        Ok(())
    }

    fn take_head(&mut self, data: &mut Bytes) -> Result<(), Stop> {
        let head = if self.head.is_empty() {
            // Nearly always the head is whole in the first chunk: then it is not copied.
            let mut scanner = HeadScanner::default();
            match scanner
                .find_end(data, MAX_RESPONSE_HEAD_BYTES)
                .map_err(answer_fault)?
            {
                Some(length) => data.split_to(length),
                None => {
                    self.head.put_slice(data);
                    self.scanner = scanner;
                    data.clear();
                    return Ok(());
                }
            }
        } else {
            let before = self.head.len();
            self.head.put_slice(data);
            match self
                .scanner
                .find_end(&self.head, MAX_RESPONSE_HEAD_BYTES)
                .map_err(answer_fault)?
            {
                Some(length) => {
                    data.advance(length - before);
                    let mut head = std::mem::take(&mut self.head);
                    head.truncate(length);
                    head.freeze()
                }
                None => {
                    data.clear();
                    return Ok(());
                }
            }
        };
        let asked = Asked {
            persistent: self.asked.persistent && self.is_sent,
            ..self.asked
        };
        let mut response = response::parse(&head, asked).map_err(answer_fault)?;
        if response.interim {
            self.interim += 1;
            self.told_to_go_on |= response.status == 100;
            if self.interim > MAX_INTERIM {
                return Err(Stop::Answer("too many interim responses".to_owned()));
            }
            // HTTP/1.0 has none of these (RFC 9110 section 15.2).
            if self.asked.version == Version::Http11 {
                response.head.put_slice(b"\r\n");
                self.out.push_back(response.head.freeze());
            }
            return Ok(());
        }
        // While nothing was passed on, there is still an answer to be given for it.
        if response.from == Framing::Chunked {
            chunked::check(data).map_err(answer_fault)?;
        }
        (self.announce)(response.status, self.began.elapsed(), &mut response.head);
        response.head.put_slice(b"\r\n");
        self.out.push_back(response.head.freeze());
        self.upgraded = response.status == 101;
        self.persistent = response.persistent;
        self.to = response.to;
        self.done = response.from == Framing::None;
        self.body = Some(Content::new(response.from));
        Ok(())
    }

    fn take_content(&mut self, mut data: Bytes) {
        while !data.is_empty() && !self.done {
            match &mut self.body {
                // Whatever follows the answer is nobody's: the stream ends with it.
                None | Some(Content::Done) => break,
                Some(Content::UntilClose) => {
                    let content = std::mem::take(&mut data);
                    self.put(content);
                }
                Some(Content::Length(left)) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    *left -= here as u64;
                    self.done = *left == 0;
                    let content = data.split_to(here);
                    self.put(content);
                }
                Some(Content::Chunked(decoder)) => {
                    let mut last = BytesMut::new();
                    let decoded = decoder.decode(&data).and_then(|progress| {
                        if progress.done {
                            chunked::put_last_chunk(&mut last, decoder)?;
                        }
                        Ok(progress)
                    });
                    let progress = match decoded {
                        Ok(progress) => progress,
                        // What was good before it was paid for, and goes on first.
                        Err(fault) => {
                            self.fault = Some(answer_fault(fault));
                            return;
                        }
                    };
                    data.advance(progress.framing);
                    let content = data.split_to(progress.content);
                    self.put(content);
                    self.done = progress.done;
                    if progress.done && self.to == Framing::Chunked {
                        self.out.push_back(last.freeze());
                    }
                }
            }
        }
    }

    /// Content for the customer, framed.
    fn put(&mut self, content: Bytes) {
        if content.is_empty() {
            return;
        }
        if self.to != Framing::Chunked {
            self.out.push_back(content);
            return;
        }
        let mut size = BytesMut::with_capacity(8);
        chunked::put_size(&mut size, content.len());
        self.out.push_back(size.freeze());
        self.out.push_back(content);
        self.out.push_back(Bytes::from_static(b"\r\n"));
    }

    /// The destination has finished.
    fn end(&mut self) -> Result<(), Stop> {
        match &self.body {
            Some(Content::UntilClose) => {
                self.done = true;
                if self.to == Framing::Chunked {
                    self.out.push_back(Bytes::from_static(b"0\r\n\r\n"));
                }
                Ok(())
            }
            None if !self.head.is_empty() => Err(Stop::Answer("it ends inside its head".to_owned())),
            _ => Err(Stop::HungUp),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, customer: &mut Connection) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.out) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let written = std::task::ready!(Pin::new(customer).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.moved += written as u64;
        let mut left = written;
        while let Some(front) = self.out.front_mut() {
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.out.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, customer: &mut Connection) -> Poll<Result<(), Stop>> {
        if self.unflushed {
            match Pin::new(customer).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::CustomerLeft)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn answer_fault(fault: impl std::fmt::Display) -> Stop {
    Stop::Answer(fault.to_string())
}
