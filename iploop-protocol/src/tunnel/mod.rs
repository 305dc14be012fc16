//! One tunnel as pure state: bytes and a clock go in; bytes, events and a deadline come out.
//!
//! Calling order: feed it with [`Tunnel::handle_message`], [`Tunnel::handle_timeout`] and the stream calls, in any order;
//! after any of them, call [`Tunnel::poll_event`] until it is empty, [`Tunnel::poll_transmit`] as long as the transport takes
//! messages, and arm a timer with [`Tunnel::poll_timeout`]. Nothing here opens a socket, spawns a task or asks for the time.

mod config;
mod guard;
mod outbox;
mod path;
mod schedule;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

pub use self::config::{
    Budget, CONNECTION_WINDOW_BYTES, Config, MAX_STREAM_WINDOW_BYTES, MIN_STREAM_WINDOW_BYTES, Side,
};
use self::guard::Guard;
use self::outbox::Outbox;
pub use self::path::Delivery;
use self::path::Path;
use self::schedule::Scheduler;
use self::stream::{Fin, Phase as StreamPhase, StreamState};
use crate::codes::{CloseCode, ResetCode};
use crate::destination::Destination;
use crate::frame::{
    DecodeError, Frame, HEADER_BYTES, MAX_DATA_BYTES, MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES, Open, StreamId, StreamKind, data_header,
};

/// A message is sent when it has grown to this many bytes; a larger one would make small frames wait behind it.
const MESSAGE_BYTES: usize = 16 * 1024;
/// Received bytes are acknowledged at the latest after this time …
const ACK_DELAY: Duration = Duration::from_millis(2);
/// … earlier when they are at least this many and the last acknowledgement is [`ACK_DELAY`] old …
const ACK_BYTES: u64 = 4 * 1024;
/// … and at once when they are this many.
const ACK_AT_ONCE_BYTES: u64 = 128 * 1024;

/// What happened, for the owner of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole control message of the peer. The first one of the hub, the welcome, ends the node's handshake.
    Control(Bytes),
    /// The peer asks for a stream: answer with [`Tunnel::accept`] or [`Tunnel::reset`].
    Incoming {
        /// The stream.
        stream: StreamId,
        /// What it asks for.
        open: Open,
    },
    /// A stream of ours is connected.
    Opened {
        /// The stream.
        stream: StreamId,
        /// How long the peer took to dial.
        dial: Duration,
    },
    /// The peer refused a stream of ours.
    OpenFailed {
        /// The stream.
        stream: StreamId,
        /// Why.
        code: ResetCode,
        /// The peer's text, if it gave one.
        detail: String,
    },
    /// There is something to read on a stream whose reader was told to wait.
    Readable(StreamId),
    /// There is room to write on a stream whose writer was told to wait.
    Writable(StreamId),
    /// The peer reset a stream; what came before can still be read.
    Reset(StreamId),
    /// The peer takes no new streams; those open may finish within `grace`.
    Draining {
        /// How long.
        grace: Duration,
    },
    /// The tunnel is closed, all streams are gone. The last event.
    Closed(Closed),
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub code: CloseCode,
    /// Who ended it.
    pub by: Initiator,
    /// For the log.
    pub reason: String,
    /// When the peer wishes us to come back.
    pub retry_after: Option<Duration>,
}

/// Who ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// This side.
    Local,
    /// The peer, by a frame.
    Peer,
    /// The transport ended without a word.
    Transport,
}

/// The peer broke the protocol; the tunnel is closed and a CLOSE frame is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ProtocolError {
    /// The code that the peer is told.
    pub code: CloseCode,
    /// What it did.
    pub reason: String,
}

/// Why a stream can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many streams as the peer allows are open, or too much waits to be sent.
    #[error("the tunnel has no room for another stream")]
    Busy,
    /// One of the sides drains.
    #[error("the tunnel takes no new streams")]
    Draining,
    /// The handshake is not over, or the tunnel is closed.
    #[error("the tunnel is not open")]
    NotOpen,
    /// All stream ids are used up: time for a new tunnel.
    #[error("the tunnel has used up its stream ids")]
    Exhausted,
    /// More early data than a frame holds.
    #[error("early data is limited to {MAX_DATA_BYTES} bytes")]
    EarlyTooLarge,
}

/// Why bytes can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The stream was reset.
    #[error("the stream was reset: {code}")]
    Reset {
        /// Why.
        code: ResetCode,
        /// The peer's text.
        detail: String,
    },
    /// The stream is over, or never was.
    #[error("the stream is closed")]
    Closed,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Data(Bytes),
    /// The peer has finished: there is no more.
    Finished,
    /// Nothing yet: [`Event::Readable`] will tell.
    Blocked,
}

/// A control message can't be sent: too large, or too much waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control message can't be queued")]
pub struct ControlQueueFull;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake {
        until: Instant,
    },
    Open,
    /// A CLOSE frame waits to be sent.
    Closing,
    Closed,
}

/// One tunnel, see the [module](self).
#[derive(Debug)]
pub struct Tunnel {
    config: Config,
    phase: Phase,
    streams: HashMap<StreamId, StreamState, BuildHasherDefault<IdHasher>>,
    next_id: Option<u32>,
    last_peer_id: u32,
    local_streams: u32,
    peer_streams: u32,
    outbox: Outbox,
    scheduler: Scheduler,
    path: Path,
    send_credit: u64,
    receive_credit: u64,
    unacked_bytes: u64,
    acked_at: Instant,
    ack_due: Option<Instant>,
    /// Its time has come; it goes out with the next message.
    ack_now: bool,
    /// Bytes that may still come on streams that we reset: what their windows had open.
    stray_bytes: u64,
    control_parts: BytesMut,
    guard: Guard,
    liveness: Liveness,
    draining: bool,
    peer_draining: bool,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Liveness {
    heard_at: Instant,
    ping: Option<SentPing>,
    ping_due: bool,
    next_value: u64,
    missed: u32,
}

#[derive(Debug)]
struct SentPing {
    value: u64,
    at: Instant,
}

impl Tunnel {
    /// A tunnel over a transport that is just connected.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            phase: Phase::Handshake {
                until: now + config.handshake_timeout,
            },
            streams: HashMap::default(),
            next_id: Some(match config.side {
                Side::Hub => 1,
                Side::Node => 2,
            }),
            last_peer_id: 0,
            local_streams: 0,
            peer_streams: 0,
            outbox: Outbox::default(),
            scheduler: Scheduler::default(),
            path: Path::new(),
            send_credit: CONNECTION_WINDOW_BYTES,
            receive_credit: CONNECTION_WINDOW_BYTES,
            unacked_bytes: 0,
            acked_at: now,
            ack_due: None,
            ack_now: false,
            stray_bytes: 0,
            control_parts: BytesMut::new(),
            guard: Guard::new(),
            liveness: Liveness {
                heard_at: now,
                ping: None,
                ping_due: false,
                next_value: 1,
                missed: 0,
            },
            draining: false,
            peer_draining: false,
            events: VecDeque::new(),
            config,
        }
    }

    // ---- the tunnel's own life ------------------------------------------------------------------------------------

    /// The hub has sent its welcome: streams may be opened from now on.
    pub fn establish(&mut self) {
        if matches!(self.phase, Phase::Handshake { .. }) {
            self.phase = Phase::Open;
            // A clean sample of the round trip, before there is any load.
            self.liveness.ping_due = true;
        }
    }

    /// How many streams of ours the peer allows at the same time, as the handshake said.
    pub fn set_max_local_streams(&mut self, most: u32) {
        self.config.max_local_streams = most;
    }

    /// Queues a control message.
    ///
    /// # Errors
    /// If it is empty or larger than 1 MiB, or the peer has not read what was queued before.
    pub fn send_control(&mut self, mut message: Bytes) -> Result<(), ControlQueueFull> {
        let is_over = matches!(self.phase, Phase::Closing | Phase::Closed);
        if is_over || message.is_empty() || message.len() > 1 << 20 || self.outbox.is_busy() {
            return Err(ControlQueueFull);
        }
        while !message.is_empty() {
            let part = message.split_to(message.len().min(MAX_PAYLOAD_BYTES));
            self.outbox.push(Frame::Control {
                part,
                more: !message.is_empty(),
            });
        }
        Ok(())
    }

    /// Takes no new streams from now on and tells the peer so; streams that are open go on.
    pub fn drain(&mut self, grace: Duration) {
        if !self.draining && self.phase == Phase::Open {
            self.draining = true;
            let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
            self.outbox.push(Frame::Drain { grace_ms });
        }
    }

    /// Ends the tunnel and all its streams now.
    pub fn close(&mut self, code: CloseCode, retry_after: Option<Duration>, reason: &str) {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return;
        }
        self.phase = Phase::Closing;
        self.outbox.clear();
        let retry_after_s = retry_after.map_or(0, |after| {
            u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1)
        });
        let reason_bytes = Bytes::copy_from_slice(reason.as_bytes());
        self.outbox.push(Frame::Close {
            code,
            retry_after_s,
            reason: reason_bytes,
        });
        self.end(Closed {
            code,
            by: Initiator::Local,
            reason: reason.to_owned(),
            retry_after,
        });
    }

    /// The transport is gone without a CLOSE.
    pub fn handle_transport_closed(&mut self, reason: &str) {
        self.handle_end(CloseCode::Silent, Initiator::Transport, reason);
    }

    /// The peer ended the transport with a code of its own, without a CLOSE.
    pub fn handle_transport_closed_with(&mut self, code: CloseCode) {
        self.handle_end(code, Initiator::Peer, "the peer ended the transport");
    }

    fn handle_end(&mut self, code: CloseCode, by: Initiator, reason: &str) {
        if !matches!(self.phase, Phase::Closing | Phase::Closed) {
            let closed = Closed {
                code,
                by,
                reason: reason.to_owned(),
                retry_after: None,
            };
            self.end(closed);
        }
        self.outbox.clear();
        self.phase = Phase::Closed;
    }

    /// Whether streams can be opened: the handshake is over and the tunnel is not closed.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Streams that are open now, of both sides.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Memory that this tunnel holds for streams and for what waits in either direction, in bytes, about.
    ///
    /// Looks at every stream: for tests, metrics and the curious.
    pub fn held_bytes(&self) -> usize {
        let streams: usize = self.streams.values().map(StreamState::held_bytes).sum();
        streams + self.outbox.held_bytes() + self.control_parts.len() + self.events.len() * size_of::<Event>()
    }

    /// The round trip without queues, once it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.path.min_rtt()
    }

    /// What became of the DATA that this side sent, as the peer's acknowledgements tell.
    pub fn delivery(&mut self, now: Instant) -> Delivery {
        self.path.delivery(now)
    }

    // ---- streams --------------------------------------------------------------------------------------------------

    /// Asks the peer for a stream; [`Event::Opened`] or [`Event::OpenFailed`] answers.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent then.
    pub fn open(
        &mut self,
        kind: StreamKind,
        destination: Destination,
        customer: u64,
        timeout: Duration,
        early: Bytes,
    ) -> Result<StreamId, OpenError> {
        if self.phase != Phase::Open {
            return Err(OpenError::NotOpen);
        }
        if self.draining || self.peer_draining {
            return Err(OpenError::Draining);
        }
        if self.local_streams >= self.config.max_local_streams || self.outbox.is_busy() {
            return Err(OpenError::Busy);
        }
        if early.len() > MAX_DATA_BYTES {
            return Err(OpenError::EarlyTooLarge);
        }
        let id = self.next_id.ok_or(OpenError::Exhausted)?;
        self.next_id = id.checked_add(2);
        let stream = StreamId(id);
        let window_bytes = self.reserve_window();
        self.streams
            .insert(stream, StreamState::new(StreamPhase::Opening, kind, window_bytes));
        self.local_streams += 1;
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let open = Open {
            kind,
            window_bytes,
            timeout_ms,
            customer,
            destination,
        };
        self.outbox.push(Frame::Open {
            stream,
            open,
            early,
            fin: false,
        });
        Ok(stream)
    }

    /// Tells the peer that its stream is connected.
    ///
    /// # Errors
    /// If the peer gave the stream up meanwhile.
    pub fn accept(&mut self, stream: StreamId, dial: Duration) -> Result<(), StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if state.phase != StreamPhase::Asked || state.reset.is_some() {
            return Err(StreamError::Closed);
        }
        state.phase = StreamPhase::Open;
        let dial_ms = u32::try_from(dial.as_millis()).unwrap_or(u32::MAX);
        self.outbox.push(Frame::Opened {
            stream,
            window_bytes: state.receive.credit,
            dial_ms,
        });
        self.wake_sender(stream);
        Ok(())
    }

    /// Takes the next bytes off a stream, at most `most`.
    ///
    /// # Errors
    /// After a reset, once everything that came before is read.
    pub fn read(&mut self, now: Instant, stream: StreamId, most: usize) -> Result<Read, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if let Some(data) = state.receive.take(most) {
            let grant = match state.phase {
                _ if state.reset.is_some() => None,
                StreamPhase::Open => {
                    state
                        .receive
                        .on_read(now, data.len(), self.path.min_rtt(), &mut self.config.budget)
                }
                // The first bytes, before OPENED says what the window is.
                StreamPhase::Asked | StreamPhase::Opening => {
                    state.receive.restore(data.len());
                    None
                }
            };
            if let Some(credit_bytes) = grant {
                self.outbox.push(Frame::Window { stream, credit_bytes });
            }
            return Ok(Read::Data(data));
        }
        if state.receive.fin != Fin::No {
            state.receive.fin = Fin::Done;
            // After a reset it stays until its owner lets go: whoever writes is told why it ended.
            if state.reset.is_none() {
                self.forget_if_over(stream);
            }
            return Ok(Read::Finished);
        }
        if let Some((code, detail)) = &state.reset {
            let error = StreamError::Reset {
                code: *code,
                detail: String::from_utf8_lossy(detail).into_owned(),
            };
            return Err(error);
        }
        state.receive.reader_waits = true;
        Ok(Read::Blocked)
    }

    /// Queues bytes for sending, as many as there is room for; the rest stays in `data`.
    ///
    /// Returns how many were taken; fewer than there were: [`Event::Writable`] will tell when there is room again.
    ///
    /// # Errors
    /// If the stream was reset or this direction is finished.
    pub fn write(&mut self, stream: StreamId, data: &mut Bytes) -> Result<usize, StreamError> {
        let room = self.room(stream)?;
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let part = data.split_to(data.len().min(room));
        if !data.is_empty() {
            state.send.writer_waits = true;
        }
        let taken = part.len();
        if taken > 0 {
            state.send.queued_bytes += taken;
            state.send.queue.push_back(part);
            self.wake_sender(stream);
        }
        Ok(taken)
    }

    /// Bytes that [`Tunnel::write`] would take now.
    ///
    /// # Errors
    /// If the stream was reset or this direction is finished.
    pub fn room(&mut self, stream: StreamId) -> Result<usize, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if let Some((code, detail)) = &state.reset {
            let error = StreamError::Reset {
                code: *code,
                detail: String::from_utf8_lossy(detail).into_owned(),
            };
            return Err(error);
        }
        if state.send.fin != Fin::No || state.datagrams.is_some() {
            return Err(StreamError::Closed);
        }
        let room = self
            .config
            .send_queue_bytes
            .saturating_sub(state.send.queued_bytes);
        if room == 0 {
            state.send.writer_waits = true;
        }
        Ok(room)
    }

    /// No more bytes will be written: FIN follows what is queued. A UDP stream has no such end, only a reset.
    pub fn finish(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && state.send.fin == Fin::No
            && state.reset.is_none()
            && state.datagrams.is_none()
        {
            state.send.fin = Fin::Queued;
            self.wake_sender(stream);
        }
    }

    /// Ends a stream now in both directions, or refuses one that the peer asks for. Unread and unsent bytes are dropped.
    pub fn reset(&mut self, stream: StreamId, code: ResetCode, detail: &str) {
        let Some(state) = self.forget(stream) else { return };
        if state.reset.is_some() || state.is_over() {
            return;
        }
        if state.receive.fin == Fin::No {
            self.stray_bytes = self.stray_bytes.saturating_add(u64::from(state.receive.credit));
        }
        let peer_waits_for_fin = state.send.fin != Fin::Done;
        if peer_waits_for_fin || state.receive.fin == Fin::No {
            let detail = Bytes::copy_from_slice(detail.as_bytes());
            self.outbox.push(Frame::Reset { stream, code, detail });
        }
    }

    /// The owner lets go of a stream: what is queued before a FIN is still sent; without FIN the stream is reset.
    pub fn release(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.send.fin != Fin::Queued || state.reset.is_some() {
            self.reset(stream, ResetCode::Cancelled, "");
            return;
        }
        state.released = true;
        let unread: usize = state.receive.queue.iter().map(Bytes::len).sum();
        state.receive.queue = VecDeque::new();
        // What is dropped gives its credit back, or two sides that both have gone would wait for each other.
        if let Some(credit_bytes) = state.receive.on_dropped(unread)
            && state.phase == StreamPhase::Open
        {
            self.outbox.push(Frame::Window { stream, credit_bytes });
        }
        if state.receive.fin != Fin::No {
            state.receive.fin = Fin::Done;
        }
    }

    /// Queues a datagram on a UDP stream; the oldest one is dropped where there is no room.
    ///
    /// # Errors
    /// If the stream is closed or carries no datagrams. Datagrams over 2,048 bytes are dropped.
    pub fn send_datagram(
        &mut self,
        stream: StreamId,
        peer: Destination,
        data: Bytes,
    ) -> Result<(), StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let datagrams = state.datagrams.as_mut().ok_or(StreamError::Closed)?;
        if data.len() <= MAX_DATAGRAM_BYTES {
            datagrams.outgoing.push(peer, data, self.config.send_queue_bytes);
            self.wake_sender(stream);
        }
        Ok(())
    }

    /// Takes the next datagram off a UDP stream; none: [`Event::Readable`] will tell.
    ///
    /// # Errors
    /// If the stream is closed, was reset, or carries no datagrams.
    pub fn receive_datagram(
        &mut self,
        stream: StreamId,
    ) -> Result<Option<(Destination, Bytes)>, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let datagrams = state.datagrams.as_mut().ok_or(StreamError::Closed)?;
        if let Some(datagram) = datagrams.incoming.pop() {
            return Ok(Some(datagram));
        }
        if let Some((code, detail)) = &state.reset {
            let detail = String::from_utf8_lossy(detail).into_owned();
            return Err(StreamError::Reset { code: *code, detail });
        }
        state.receive.reader_waits = true;
        Ok(None)
    }

    // ---- what comes out -------------------------------------------------------------------------------------------

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Tunnel::handle_timeout`] wants to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let life = match self.phase {
            Phase::Closing | Phase::Closed => return None,
            Phase::Handshake { until } => until,
            Phase::Open => self.liveness.deadline(&self.config),
        };
        Some(self.ack_due.map_or(life, |due| due.min(life)))
    }

    /// Appends the next message to `out`; false: there is nothing to send now.
    ///
    /// The caller sends each message whole. It calls again only when the transport can take more, so that what waits,
    /// waits here, where a small frame still can go first.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let start = out.len();
        if self.phase == Phase::Closed {
            return false;
        }
        self.transmit_ack(now, out);
        if self.liveness.ping_due {
            self.liveness.ping_due = false;
            let value = self.liveness.next_value;
            self.liveness.next_value += 1;
            self.liveness.ping = Some(SentPing { value, at: now });
            Frame::Ping(value).encode(out);
        }
        while out.len() - start < MESSAGE_BYTES {
            let Some(frame) = self.outbox.pop() else {
                break;
            };
            frame.encode(out);
        }
        if self.outbox.is_empty() && self.phase == Phase::Closing {
            self.phase = Phase::Closed;
        }
        if self.phase == Phase::Open {
            self.transmit_streams(now, out, start);
        }
        out.len() > start
    }

    fn transmit_ack(&mut self, now: Instant, out: &mut BytesMut) {
        if self.unacked_bytes == 0 || self.phase != Phase::Open {
            return;
        }
        let since = now.saturating_duration_since(self.acked_at);
        let is_due = self.ack_due.is_some_and(|due| due <= now);
        if self.ack_now
            || is_due
            || self.unacked_bytes >= ACK_AT_ONCE_BYTES
            || (self.unacked_bytes >= ACK_BYTES && since >= ACK_DELAY)
        {
            let credit_bytes = u32::try_from(self.unacked_bytes).unwrap_or(u32::MAX);
            self.receive_credit += u64::from(credit_bytes);
            self.unacked_bytes -= u64::from(credit_bytes);
            self.acked_at = now;
            self.ack_due = None;
            self.ack_now = false;
            Frame::Window {
                stream: StreamId::TUNNEL,
                credit_bytes,
            }
            .encode(out);
        } else if self.ack_due.is_none() {
            self.ack_due = Some(now + ACK_DELAY);
        }
    }

    fn transmit_streams(&mut self, now: Instant, out: &mut BytesMut, start: usize) {
        let mut sent = 0u64;
        let mut room = self.path.room().min(self.send_credit);
        let message_bytes = self.path.burst_bytes(MESSAGE_BYTES);
        while out.len() - start < message_bytes {
            if self.scheduler.is_empty() {
                if room > 0 {
                    self.path.on_idle(now);
                }
                break;
            }
            if room == 0 {
                self.path.on_full();
                break;
            }
            let Some(id) = self.scheduler.next() else { break };
            let Some(state) = self.streams.get_mut(&id) else {
                continue;
            };
            let allowance = self
                .scheduler
                .allowance(&mut state.turn)
                .min(message_bytes - (out.len() - start));
            let bytes = state.transmit(
                id,
                out,
                allowance.min(usize::try_from(room).unwrap_or(usize::MAX)),
            );
            sent += bytes as u64;
            room -= bytes as u64;
            if state.can_send() {
                self.scheduler.requeue(id, &mut state.turn, bytes);
            } else {
                Scheduler::rest(&mut state.turn, bytes);
            }
            if state.send.writer_waits && state.send.queued_bytes <= self.config.send_queue_bytes / 2 {
                state.send.writer_waits = false;
                self.events.push_back(Event::Writable(id));
            }
            if state.send.fin == Fin::Done {
                if state.released && state.receive.fin == Fin::No {
                    self.reset(id, ResetCode::Cancelled, "");
                } else {
                    self.forget_if_over(id);
                }
            }
        }
        if sent > 0 {
            self.send_credit -= sent;
            self.path.on_sent(now, sent);
        }
    }

    // ---- what goes in ---------------------------------------------------------------------------------------------

    /// The time of [`Tunnel::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Closing | Phase::Closed => {}
            Phase::Handshake { until } => {
                if now >= until {
                    self.close(
                        CloseCode::HandshakeTimeout,
                        None,
                        "the handshake did not finish in time",
                    );
                }
            }
            Phase::Open => {
                if self.ack_due.is_some_and(|due| due <= now) {
                    // Not to be asked again while the transport takes nothing.
                    self.ack_due = None;
                    self.ack_now = true;
                }
                if now < self.liveness.deadline(&self.config) {
                    return;
                }
                if self.liveness.ping.is_some() {
                    self.liveness.missed += 1;
                }
                if self.liveness.missed >= 2 {
                    self.close(CloseCode::Silent, None, "two pings were not answered");
                } else {
                    self.liveness.ping_due = true;
                    // Until it is sent: a transport that takes nothing is as dead as one that brings nothing.
                    self.liveness.ping = Some(SentPing { value: 0, at: now });
                }
            }
        }
    }

    /// A message of the peer.
    ///
    /// # Errors
    /// If the peer broke the protocol; the tunnel is closed then and a CLOSE frame is ready to be sent.
    pub fn handle_message(&mut self, now: Instant, mut message: Bytes) -> Result<(), ProtocolError> {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return Ok(());
        }
        self.liveness.heard(now);
        let message_bytes = message.len();
        loop {
            let handled = if message_bytes > MAX_MESSAGE_BYTES {
                Err(violation(CloseCode::Malformed, "the message is too long"))
            } else {
                Frame::decode(&mut message)
                    .map_err(ProtocolError::from)
                    .and_then(|frame| self.handle_frame(now, frame, message_bytes))
            };
            if let Err(error) = handled {
                self.close(error.code, None, &error.reason);
                return Err(error);
            }
            if message.is_empty() || matches!(self.phase, Phase::Closing | Phase::Closed) {
                return Ok(());
            }
        }
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        frame: Frame,
        message_bytes: usize,
    ) -> Result<(), ProtocolError> {
        let in_handshake = matches!(self.phase, Phase::Handshake { .. });
        let belongs_to_handshake = matches!(
            frame,
            Frame::Control { .. } | Frame::Ping(_) | Frame::Pong(_) | Frame::Close { .. } | Frame::Extension
        );
        if in_handshake && !belongs_to_handshake {
            return Err(violation(
                CloseCode::Unexpected,
                "only control messages until the handshake is over",
            ));
        }
        match frame {
            Frame::Open {
                stream,
                open,
                early,
                fin,
            } => self.handle_open(now, stream, open, (early, message_bytes), fin),
            Frame::Opened {
                stream,
                window_bytes,
                dial_ms,
            } => self.handle_opened(now, stream, window_bytes, dial_ms),
            Frame::Data { stream, data, fin } => self.handle_data(now, stream, (data, message_bytes), fin),
            Frame::Reset { stream, code, detail } => self.handle_reset(now, stream, code, detail),
            Frame::Window { stream, credit_bytes } => self.handle_window(now, stream, credit_bytes),
            Frame::Ping(value) => {
                if !self.guard.pings.add(now, 1) {
                    return Err(violation(CloseCode::Flood, "too many pings"));
                }
                self.answer(Frame::Pong(value))
            }
            Frame::Pong(value) => {
                if let Some(ping) = self.liveness.ping.take_if(|ping| ping.value == value) {
                    self.path.on_rtt(now, now.saturating_duration_since(ping.at));
                }
                self.count_idle(now)
            }
            Frame::Control { part, more } => self.handle_control(now, &part, more),
            Frame::Drain { grace_ms } => {
                if !self.peer_draining {
                    self.peer_draining = true;
                    self.events.push_back(Event::Draining {
                        grace: Duration::from_millis(grace_ms.into()),
                    });
                }
                self.count_idle(now)
            }
            Frame::Datagram { stream, peer, data } => self.handle_datagram(now, stream, peer, data),
            Frame::Close {
                code,
                retry_after_s,
                reason,
            } => {
                self.phase = Phase::Closed;
                self.outbox.clear();
                self.end(Closed {
                    code,
                    by: Initiator::Peer,
                    reason: String::from_utf8_lossy(&reason).into_owned(),
                    retry_after: (retry_after_s > 0).then(|| Duration::from_secs(retry_after_s.into())),
                });
                Ok(())
            }
            Frame::Extension => self.count_idle(now),
        }
    }

    fn handle_open(
        &mut self,
        now: Instant,
        stream: StreamId,
        open: Open,
        (early, message_bytes): (Bytes, usize),
        fin: bool,
    ) -> Result<(), ProtocolError> {
        if self.is_local(stream) || stream.0 <= self.last_peer_id {
            return Err(violation(
                CloseCode::StreamIdReuse,
                format!("stream {} can't be opened", stream.0),
            ));
        }
        if open.window_bytes > MAX_STREAM_WINDOW_BYTES {
            return Err(violation(
                CloseCode::WindowOverflow,
                "the first window is too large",
            ));
        }
        self.last_peer_id = stream.0;
        // Whatever becomes of it, an answer will have to go out.
        if self.outbox.is_full() {
            return Err(violation(CloseCode::Flood, "asks and never reads the answers"));
        }
        let refusal = if self.draining {
            Some(ResetCode::Draining)
        } else if self.peer_streams >= self.config.max_peer_streams {
            Some(ResetCode::Busy)
        } else {
            None
        };
        if let Some(code) = refusal {
            if !self.guard.churn.add(now, 1) {
                return Err(violation(CloseCode::Flood, "opens on, although refused"));
            }
            return self.answer(Frame::Reset {
                stream,
                code,
                detail: Bytes::new(),
            });
        }
        let window = self.reserve_window();
        let mut state = StreamState::new(StreamPhase::Asked, open.kind, window);
        state.send.credit = u64::from(open.window_bytes);
        // Early data is the first part of the window, so that reading it gives credit back as ever.
        state.receive.credit = window.saturating_sub(u32::try_from(early.len()).unwrap_or(u32::MAX));
        state.receive.push(early, message_bytes);
        if fin {
            state.receive.fin = Fin::Queued;
        }
        self.streams.insert(stream, state);
        self.peer_streams += 1;
        self.events.push_back(Event::Incoming { stream, open });
        Ok(())
    }

    fn handle_opened(
        &mut self,
        now: Instant,
        stream: StreamId,
        window_bytes: u32,
        dial_ms: u32,
    ) -> Result<(), ProtocolError> {
        if window_bytes > MAX_STREAM_WINDOW_BYTES {
            return Err(violation(
                CloseCode::WindowOverflow,
                "the first window is too large",
            ));
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        if state.phase != StreamPhase::Opening {
            return Err(violation(
                CloseCode::Unexpected,
                format!("stream {} was answered before", stream.0),
            ));
        }
        state.phase = StreamPhase::Open;
        state.send.credit = u64::from(window_bytes);
        self.events.push_back(Event::Opened {
            stream,
            dial: Duration::from_millis(dial_ms.into()),
        });
        self.wake_sender(stream);
        Ok(())
    }

    fn handle_data(
        &mut self,
        now: Instant,
        stream: StreamId,
        (data, message_bytes): (Bytes, usize),
        fin: bool,
    ) -> Result<(), ProtocolError> {
        let length = data.len() as u64;
        if length > self.receive_credit {
            return Err(violation(
                CloseCode::WindowOverflow,
                "more data than the tunnel's credit",
            ));
        }
        self.receive_credit -= length;
        self.unacked_bytes += length;
        let Some(state) = self.streams.get_mut(&stream) else {
            self.check_past(now, stream)?;
            self.stray_bytes = self.stray_bytes.checked_sub(length).ok_or_else(|| {
                violation(
                    CloseCode::StreamFinished,
                    format!("data on stream {}, which is over", stream.0),
                )
            })?;
            return Ok(());
        };
        if state.phase != StreamPhase::Open || state.datagrams.is_some() {
            return Err(violation(
                CloseCode::Unexpected,
                format!("no data may come on stream {}", stream.0),
            ));
        }
        if state.receive.fin != Fin::No || state.reset.is_some() {
            return Err(violation(
                CloseCode::StreamFinished,
                format!("data on stream {}, which is finished", stream.0),
            ));
        }
        let credit = u64::from(state.receive.credit)
            .checked_sub(length)
            .ok_or_else(|| {
                violation(
                    CloseCode::WindowOverflow,
                    format!("more data than the credit of stream {}", stream.0),
                )
            })?;
        state.receive.credit = u32::try_from(credit).unwrap_or(u32::MAX);
        if state.receive.granted_at.is_none() {
            state.receive.granted_at = Some(now);
        }
        if state.released {
            if fin {
                state.receive.fin = Fin::Done;
            } else if let Some(credit_bytes) = state.receive.on_dropped(data.len()) {
                self.outbox.push(Frame::Window { stream, credit_bytes });
            }
            return Ok(());
        }
        state.receive.push(data, message_bytes);
        if fin {
            state.receive.fin = Fin::Queued;
        }
        self.wake_reader(stream);
        Ok(())
    }

    fn handle_reset(
        &mut self,
        now: Instant,
        stream: StreamId,
        code: ResetCode,
        detail: Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        match state.phase {
            StreamPhase::Opening => {
                self.forget(stream);
                let detail = String::from_utf8_lossy(&detail).into_owned();
                self.events.push_back(Event::OpenFailed { stream, code, detail });
            }
            StreamPhase::Asked | StreamPhase::Open => {
                if state.reset.is_some() {
                    return self.count_idle(now);
                }
                let unanswered = state.phase == StreamPhase::Asked;
                // A copy: the text must not keep the message that it came in.
                state.reset = Some((code, Bytes::copy_from_slice(&detail)));
                state.send.queue = VecDeque::new();
                state.send.queued_bytes = 0;
                state.send.fin = Fin::Done;
                if state.released {
                    self.forget(stream);
                } else {
                    self.events.push_back(Event::Reset(stream));
                }
                if unanswered && !self.guard.churn.add(now, 1) {
                    return Err(violation(CloseCode::Flood, "opens streams only to reset them"));
                }
            }
        }
        Ok(())
    }

    fn handle_window(
        &mut self,
        now: Instant,
        stream: StreamId,
        credit_bytes: u32,
    ) -> Result<(), ProtocolError> {
        if credit_bytes < 256 {
            self.count_idle(now)?;
        }
        let credit = u64::from(credit_bytes);
        if stream == StreamId::TUNNEL {
            self.send_credit += credit;
            if self.send_credit > CONNECTION_WINDOW_BYTES {
                return Err(violation(
                    CloseCode::WindowOverflow,
                    "more credit for the tunnel than was used",
                ));
            }
            self.path.on_acked(now, credit);
            return Ok(());
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        state.send.credit += credit;
        if state.phase != StreamPhase::Open || state.send.credit > u64::from(MAX_STREAM_WINDOW_BYTES) {
            return Err(violation(
                CloseCode::WindowOverflow,
                format!("too much credit for stream {}", stream.0),
            ));
        }
        self.wake_sender(stream);
        Ok(())
    }

    fn handle_control(&mut self, now: Instant, part: &Bytes, more: bool) -> Result<(), ProtocolError> {
        if !self.guard.controls.add(now, 1) {
            return Err(violation(CloseCode::Flood, "too many control messages"));
        }
        if self.control_parts.len() + part.len() > self.config.max_control_bytes {
            return Err(violation(CloseCode::Malformed, "the control message is too long"));
        }
        self.control_parts.put_slice(part);
        if !more {
            let message = std::mem::take(&mut self.control_parts).freeze();
            if self.config.side == Side::Node {
                self.establish();
            }
            self.events.push_back(Event::Control(message));
        }
        Ok(())
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        stream: StreamId,
        peer: Destination,
        data: Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        let Some(datagrams) = state
            .datagrams
            .as_mut()
            .filter(|_| state.phase == StreamPhase::Open)
        else {
            return Err(violation(
                CloseCode::Unexpected,
                format!("no datagrams may come on stream {}", stream.0),
            ));
        };
        // A copy: a datagram may wait long, and must not keep the message that it came in.
        let most_bytes = usize::try_from(state.receive.window).unwrap_or(usize::MAX);
        datagrams
            .incoming
            .push(peer, Bytes::copy_from_slice(&data), most_bytes);
        self.wake_reader(stream);
        Ok(())
    }

    // ---- helpers --------------------------------------------------------------------------------------------------

    fn is_local(&self, stream: StreamId) -> bool {
        (stream.0 % 2 == 1) == (self.config.side == Side::Hub)
    }

    /// A frame on a stream that we no longer know: all right if it once was open.
    fn check_past(&mut self, now: Instant, stream: StreamId) -> Result<(), ProtocolError> {
        let was_open = if self.is_local(stream) {
            self.next_id.is_none_or(|next| stream.0 < next)
        } else {
            stream.0 <= self.last_peer_id
        };
        if was_open {
            self.count_idle(now)
        } else {
            Err(violation(
                CloseCode::UnknownStream,
                format!("stream {} was never opened", stream.0),
            ))
        }
    }

    fn count_idle(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.guard.idle_frames.add(now, 1) {
            Ok(())
        } else {
            Err(violation(CloseCode::Flood, "too many frames that carry nothing"))
        }
    }

    /// Queues a frame that the peer caused.
    fn answer(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        if self.outbox.is_full() {
            return Err(violation(CloseCode::Flood, "asks and never reads the answers"));
        }
        self.outbox.push(frame);
        Ok(())
    }

    fn reserve_window(&mut self) -> u32 {
        let window = self.config.stream_window_bytes.max(MIN_STREAM_WINDOW_BYTES);
        if self
            .config
            .budget
            .reserve(u64::from(window - MIN_STREAM_WINDOW_BYTES))
        {
            window
        } else {
            MIN_STREAM_WINDOW_BYTES
        }
    }

    fn wake_sender(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && state.can_send()
        {
            self.scheduler.activate(stream, &mut state.turn);
        }
    }

    fn wake_reader(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && std::mem::take(&mut state.receive.reader_waits)
        {
            self.events.push_back(Event::Readable(stream));
        }
    }

    fn forget_if_over(&mut self, stream: StreamId) {
        if self.streams.get(&stream).is_some_and(StreamState::is_over) {
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: StreamId) -> Option<StreamState> {
        let state = self.streams.remove(&stream)?;
        self.config.budget.release(state.reserved_bytes());
        // The scheduler meets the ids of streams that are gone in time, unless nothing can be sent.
        if self.scheduler.len() > 2 * self.streams.len() + 64 {
            self.scheduler.retain(|id| self.streams.contains_key(&id));
        }
        if self.is_local(stream) {
            self.local_streams -= 1;
        } else {
            self.peer_streams -= 1;
            if state.is_over() {
                self.guard.churn.forgive(1);
            }
        }
        Some(state)
    }

    /// All streams go, and nothing more is sent but what is in the outbox.
    fn end(&mut self, closed: Closed) {
        for (_, state) in self.streams.drain() {
            self.config.budget.release(state.reserved_bytes());
        }
        self.local_streams = 0;
        self.peer_streams = 0;
        self.scheduler = Scheduler::default();
        self.control_parts = BytesMut::new();
        self.events.push_back(Event::Closed(closed));
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for state in self.streams.values() {
            self.config.budget.release(state.reserved_bytes());
        }
    }
}

impl StreamState {
    /// Appends at most `most` bytes of DATA, and FIN or datagrams; returns the bytes of DATA.
    fn transmit(&mut self, id: StreamId, out: &mut BytesMut, most: usize) -> usize {
        if let Some(datagrams) = &mut self.datagrams
            && let Some((peer, data)) = datagrams.outgoing.pop()
        {
            Frame::Datagram {
                stream: id,
                peer,
                data,
            }
            .encode(out);
            return 0;
        }
        let most = most.min(usize::try_from(self.send.credit).unwrap_or(usize::MAX));
        let length = most.min(self.send.queued_bytes).min(MAX_DATA_BYTES);
        let is_last = length == self.send.queued_bytes && self.send.fin == Fin::Queued;
        if length == 0 && !is_last {
            return 0;
        }
        out.reserve(HEADER_BYTES + length);
        data_header(out, id, length, is_last);
        let mut left = length;
        while let Some(part) = if left > 0 { self.send.take(left) } else { None } {
            left -= part.len();
            out.put_slice(&part);
        }
        if is_last {
            self.send.fin = Fin::Done;
        }
        length
    }
}

impl Liveness {
    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.missed = 0;
        // Any frame is a sign of life; a ping that waits for its answer still measures the round trip.
        if self.ping.as_ref().is_some_and(|ping| ping.value == 0) {
            self.ping = None;
        }
    }

    fn deadline(&self, config: &Config) -> Instant {
        match &self.ping {
            Some(ping) if ping.at >= self.heard_at => ping.at + config.pong_within,
            _ => self.heard_at + config.ping_after,
        }
    }
}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        Self {
            code: CloseCode::Malformed,
            reason: error.to_string(),
        }
    }
}

fn violation(code: CloseCode, reason: impl Into<String>) -> ProtocolError {
    ProtocolError {
        code,
        reason: reason.into(),
    }
}

/// Stream ids are given out in order by an honest peer; a hostile one can at most spread them badly over as many streams
/// as it may have open.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing: the high bits, which the map takes its tags from, depend on all bits of the id.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
