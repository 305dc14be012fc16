//! One request through one exit: the request's content up while the answer comes down.
//!
//! Both directions run in one future over one stream, because a destination may answer before it has read everything. Every
//! chunk is counted before it is passed on, and none is read while its predecessor waits for the other side.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use iploop_platform::metering::{Counted, NoCredit};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::Stream;
use iploop_protocol::tunnel::StreamError;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::chunked::{self, ChunkedDecoder};
use super::fields;
use super::head::{HeadScanner, MAX_RESPONSE_HEAD_BYTES};
use super::request::Framing;
use super::response::{self, Asked};
use crate::answer::ProxyError;
use crate::connection::Connection;
use crate::relay::{End, RelayMeter};

/// Most bytes read at once, in either direction.
const READ_BYTES: usize = 16 * 1024;

/// Buffers to one vectored write.
const MAX_SLICES: usize = 16;

/// Interim responses passed on for one request: an origin has no reason for more.
const MAX_INTERIM: u8 = 16;

/// How an exchange came to its end.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// The connection may serve another request.
    pub(super) persistent: bool,
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
    /// The head; empty if it went along with the dial and was counted.
    pub(super) head: Bytes,
    /// How the content after it is delimited.
    pub(super) body: Framing,
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
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// Bytes that had moved when the timer was set.
    seen: u64,
    /// A read ahead is still worth while: it tells when the customer's connection breaks.
    watches_customer: bool,
}

/// From the customer to the destination.
struct Up {
    body: Content,
    /// Read, counted or held, not yet written.
    pending: Bytes,
    held: bool,
    moved: u64,
    done: bool,
}

/// From the destination to the customer.
struct Down<'a> {
    asked: Asked,
    announce: Announce<'a>,
    began: Instant,
    /// The first bytes of a head that is not whole.
    head: BytesMut,
    scanner: HeadScanner,
    interim: u8,
    /// The final answer's content; none while its head is still to come.
    body: Option<Content>,
    /// How the content is delimited for the customer.
    to: Framing,
    persistent: bool,
    upgraded: bool,
    /// For the customer, not yet written.
    out: VecDeque<Bytes>,
    held: bool,
    unflushed: bool,
    moved: u64,
    done: bool,
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

enum Stop {
    CustomerLeft,
    Customer(ProxyError),
    Stream(StreamError),
    Answer(String),
    HungUp,
    NoCredit(NoCredit),
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
    ) -> Self {
        let Sending { head, body, asked } = sending;
        let held = !head.is_empty() && meter.up(head.len()) == Counted::Hold;
        let body = Content::new(body);
        let done = body.is_done() && head.is_empty();
        Self {
            customer,
            stream,
            meter,
            up: Up {
                body,
                pending: head,
                held,
                moved: 0,
                done,
            },
            down: Down {
                asked,
                announce,
                began: Instant::now(),
                head: BytesMut::new(),
                scanner: HeadScanner::default(),
                interim: 0,
                body: None,
                to: Framing::None,
                persistent: false,
                upgraded: false,
                out: VecDeque::new(),
                held: false,
                unflushed: false,
                moved: 0,
                done: false,
            },
            patience,
            timer: Box::pin(sleep(patience.response)),
            seen: 0,
            watches_customer: true,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self) -> Result<Exchanged, Failure> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exchanged, Failure>> {
        match self.up.poll(cx, self.customer, self.stream, &self.meter) {
            Ok(()) => {}
            // The destination may have answered before it stopped reading: what it said decides.
            Err(Stop::Stream(_)) => self.up.done = true,
            Err(stop) => return Poll::Ready(Err(self.failure(stop))),
        }
        match self.down.poll(cx, self.customer, self.stream, &self.meter) {
            Poll::Ready(Ok(())) => {
                return Poll::Ready(Ok(Exchanged {
                    // Content that was not read would pass for the next request.
                    persistent: self.down.persistent && self.up.done && self.up.body.is_done(),
                    upgraded: self.down.upgraded,
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
            || !self.up.done
            || self.down.body.is_some()
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
            let moved = self.up.moved + self.down.moved;
            let answered = self.down.body.is_some();
            if moved == self.seen {
                return Poll::Ready(Err(match answered {
                    true => Failure::Broken(End::Idle),
                    false => Failure::Unanswered {
                        error: ProxyError::ResponseTimeout,
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

    fn failure(&self, stop: Stop) -> Failure {
        let unanswered = |error| Failure::Unanswered {
            error,
            untouched: false,
        };
        let answered = self.down.body.is_some();
        match stop {
            Stop::CustomerLeft => Failure::Broken(End::CustomerLeft),
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
                untouched: self.down.moved == 0,
            },
        }
    }
}

impl Up {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        customer: &mut Connection,
        stream: &mut Stream,
        meter: &RelayMeter,
    ) -> Result<(), Stop> {
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
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Stop::CustomerLeft),
                    Poll::Pending => return Ok(()),
                }
            }
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
                let malformed = |_| {
                    Stop::Customer(ProxyError::Content(
                        "the chunks are not as RFC 9112 section 7.1 has them",
                    ))
                };
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
                        put_last_chunk(&mut out, decoder)
                            .map_err(|fields::NotTrailers| malformed(chunked::ChunkFault::Size))?;
                        self.body = Content::Done;
                        break;
                    }
                }
                Ok(out.freeze())
            }
        }
    }
}

impl Down<'_> {
    fn poll(
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
        self.take_content(data)
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
        let mut response = response::parse(&head, self.asked).map_err(answer_fault)?;
        if response.interim {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Stop::Answer("too many interim responses".to_owned()));
            }
            // HTTP/1.0 has none of these (RFC 9110 section 15.2).
            if self.asked.version == super::request::Version::Http11 {
                response.head.put_slice(b"\r\n");
                self.out.push_back(response.head.freeze());
            }
            return Ok(());
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

    fn take_content(&mut self, mut data: Bytes) -> Result<(), Stop> {
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
                    let progress = decoder.decode(&data).map_err(answer_fault)?;
                    data.advance(progress.framing);
                    let content = data.split_to(progress.content);
                    if progress.done {
                        self.done = true;
                        if self.to == Framing::Chunked {
                            let mut last = BytesMut::new();
                            put_last_chunk(&mut last, decoder).map_err(|fields::NotTrailers| {
                                Stop::Answer("the trailers are malformed".to_owned())
                            })?;
                            self.out.push_back(last.freeze());
                        }
                    }
                    self.put(content);
                }
            }
        }
        Ok(())
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

/// The last chunk with the trailers that may go on.
fn put_last_chunk(out: &mut BytesMut, decoder: &mut ChunkedDecoder) -> Result<(), fields::NotTrailers> {
    out.put_slice(b"0\r\n");
    fields::rewrite_trailers(&decoder.take_trailers(), out)
}

fn answer_fault(fault: impl std::fmt::Display) -> Stop {
    Stop::Answer(fault.to_string())
}
