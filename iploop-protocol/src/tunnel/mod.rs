//! One tunnel as pure state: bytes and a clock go in; bytes, events and a deadline come out.
//!
//! Calling order: feed it with [`Tunnel::handle_message`], [`Tunnel::handle_timeout`] and the stream calls, in any order;
//! after any of them, call [`Tunnel::poll_event`] until it is empty, [`Tunnel::poll_transmit`] as long as the transport takes
//! messages, and arm a timer with [`Tunnel::poll_timeout`]. Nothing here opens a socket, spawns a task or asks for the time.

mod config;
mod guard;
mod outbox;
mod path;
mod receiving;
mod schedule;
mod sending;
mod stream;
mod streams;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

pub use self::config::{
    Budget, CONNECTION_WINDOW_BYTES, Config, MAX_STREAM_WINDOW_BYTES, MIN_STREAM_WINDOW_BYTES,
    STREAM_WINDOW_BYTES, Side,
};
use self::guard::Guard;
use self::outbox::Outbox;
pub use self::path::Delivery;
use self::path::Path;
use self::schedule::Scheduler;
#[cfg(feature = "tokio")]
pub(crate) use self::sending::BULK_BYTES;
use self::stream::StreamState;
use crate::codes::{CloseCode, ResetCode};
use crate::frame::{Frame, MAX_DATA_BYTES, MAX_PAYLOAD_BYTES, Open, StreamId};

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

impl Phase {
    /// Nothing that comes counts any more.
    fn is_over(self) -> bool {
        matches!(self, Self::Closing | Self::Closed)
    }
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
    /// When DATA came last, on any stream.
    data_at: Instant,
    ack_due: Option<Instant>,
    /// Its time has come; it goes out with the next message.
    ack_now: bool,
    /// Bytes that may still come on streams that we reset: what their windows had open.
    stray_bytes: u64,
    relayed_bytes: u64,
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
            data_at: now,
            ack_due: None,
            ack_now: false,
            stray_bytes: 0,
            relayed_bytes: 0,
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
        if self.phase.is_over() || message.is_empty() || message.len() > 1 << 20 || self.outbox.is_busy() {
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
        if self.phase.is_over() {
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
        if !self.phase.is_over() {
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

    /// Bytes of the streams that this side has sent and received, as it counted them itself; the peer may say otherwise.
    pub fn relayed_bytes(&self) -> u64 {
        self.relayed_bytes
    }

    /// The round trip without queues, once it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.path.min_rtt()
    }

    /// Asks the peer for a sign of life now, unless a ping waits for its answer already.
    pub fn ping(&mut self) {
        if matches!(self.phase, Phase::Open) && self.liveness.ping.is_none() {
            self.liveness.ping_due = true;
        }
    }

    /// When the last frame came from the peer; at first, when the tunnel began.
    pub fn heard_at(&self) -> Instant {
        self.liveness.heard_at
    }

    /// What became of the DATA that this side sent, as the peer's acknowledgements tell.
    pub fn delivery(&mut self, now: Instant) -> Delivery {
        self.path.delivery(now)
    }

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

    fn is_local(&self, stream: StreamId) -> bool {
        (stream.0 % 2 == 1) == (self.config.side == Side::Hub)
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
