//! Peers that break the rules: each gets its close code, and costs bounded memory and work.

mod floods;
mod memory;
mod phases;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{Frame, MAX_DATA_BYTES, MAX_MESSAGE_BYTES, Open, StreamId, StreamKind};
use iploop_protocol::tunnel::{
    Budget, CONNECTION_WINDOW_BYTES, Config, Event, Initiator, MAX_STREAM_WINDOW_BYTES, Read,
    STREAM_WINDOW_BYTES, Side, StreamError, Tunnel,
};

use crate::world::SIDES;

/// The window that a stream starts with.
const WINDOW_BYTES: usize = STREAM_WINDOW_BYTES as usize;

const BUDGET_BYTES: u64 = 4 << 20;
const MIB: usize = 1 << 20;

/// A tunnel and its peer, who sends what it likes.
struct Victim {
    side: Side,
    tunnel: Tunnel,
    now: Instant,
    budget_left: Arc<AtomicU64>,
    /// Bytes of messages that the tunnel has not let go of.
    pinned: Arc<AtomicUsize>,
    /// The most of them, and of what the tunnel says that it holds, ever.
    most_pinned: usize,
    most_held: usize,
    messages: u64,
}

/// A message that tells when the last slice of it is gone.
struct Pinned {
    message: Vec<u8>,
    pinned: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pinned.fetch_sub(self.message.len(), Ordering::Relaxed);
    }
}

impl Victim {
    fn in_handshake(side: Side) -> Self {
        let budget_left = Arc::new(AtomicU64::new(BUDGET_BYTES));
        let mut config = Config::new(side);
        config.budget = Budget::new(BUDGET_BYTES).within(Arc::clone(&budget_left));
        let now = Instant::now();
        Self {
            side,
            tunnel: Tunnel::new(config, now),
            now,
            budget_left,
            pinned: Arc::default(),
            most_pinned: 0,
            most_held: 0,
            messages: 0,
        }
    }

    fn open(side: Side) -> Self {
        let mut victim = Self::in_handshake(side);
        victim.tunnel.establish();
        victim.flush();
        victim
    }

    /// A stream that the peer may open, number `n`.
    fn theirs(&self, n: u32) -> StreamId {
        StreamId(match self.side {
            Side::Hub => 2 + 2 * n,
            Side::Node => 1 + 2 * n,
        })
    }

    /// A stream that we open and the peer has accepted with this window.
    fn ours(&mut self, window_bytes: u32) -> StreamId {
        let stream = self.ask();
        let opened = Frame::Opened {
            stream,
            window_bytes,
            dial_ms: 1,
        };
        self.send(&[opened]).unwrap();
        stream
    }

    /// A stream that we open and that waits for its answer.
    fn ask(&mut self) -> StreamId {
        let timeout = Duration::from_secs(1);
        let stream = self
            .tunnel
            .open(StreamKind::Tcp, destination(), 1, timeout, Bytes::new())
            .unwrap();
        self.flush();
        stream
    }

    /// A stream that the peer has opened and we have accepted.
    fn accepted(&mut self, n: u32) -> StreamId {
        let stream = self.theirs(n);
        self.send(&[open(stream)]).unwrap();
        self.tunnel.accept(stream, Duration::ZERO).unwrap();
        self.flush();
        stream
    }

    fn send(&mut self, frames: &[Frame]) -> Result<(), CloseCode> {
        let mut message = BytesMut::new();
        for frame in frames {
            frame.encode(&mut message);
        }
        self.send_bytes(message.to_vec())
    }

    fn send_bytes(&mut self, message: Vec<u8>) -> Result<(), CloseCode> {
        self.pinned.fetch_add(message.len(), Ordering::Relaxed);
        let message = Bytes::from_owner(Pinned {
            message,
            pinned: Arc::clone(&self.pinned),
        });
        self.messages += 1;
        let handled = self.tunnel.handle_message(self.now, message);
        self.most_pinned = self.most_pinned.max(self.pinned.load(Ordering::Relaxed));
        self.most_held = self.most_held.max(self.tunnel.held_bytes());
        handled.map_err(|error| error.code)
    }

    /// Takes what goes out.
    fn flush(&mut self) -> Vec<Frame> {
        let (mut frames, mut out) = (Vec::new(), BytesMut::new());
        while self.tunnel.poll_transmit(self.now, &mut out) {
            let mut message = out.split().freeze();
            while !message.is_empty() {
                frames.push(Frame::decode(&mut message).unwrap());
            }
        }
        frames
    }

    /// The tunnel was closed with a code: it says so to the peer and its owner, takes no more and holds nothing.
    fn closes_with(mut self, code: CloseCode) {
        // What comes after is dropped.
        self.send(&[Frame::Ping(1), open(StreamId(1))]).unwrap();
        self.send_bytes(vec![0xFF; 100]).unwrap();
        let sent = self.flush();
        assert!(
            matches!(sent.last(), Some(Frame::Close { code: told, .. }) if *told == code),
            "{:?} instead of {code}",
            sent.last()
        );
        let events: Vec<Event> = std::iter::from_fn(|| self.tunnel.poll_event()).collect();
        match events.last() {
            Some(Event::Closed(closed)) => assert_eq!((closed.code, closed.by), (code, Initiator::Local)),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.tunnel.poll_timeout(), None);
        assert_eq!(self.tunnel.stream_count(), 0);
        assert_eq!(self.tunnel.held_bytes(), 0);
        assert_eq!(self.pinned.load(Ordering::Relaxed), 0, "no message is kept");
        assert_eq!(self.budget_left.load(Ordering::Relaxed), BUDGET_BYTES);
    }

    /// The next frames are a breach.
    fn breaks(mut self, code: CloseCode, frames: &[Frame]) {
        assert_eq!(self.send(frames), Err(code), "{frames:?}");
        self.closes_with(code);
    }
}

fn destination() -> Destination {
    Destination::parse_authority("example.com:443").unwrap()
}

fn open(stream: StreamId) -> Frame {
    open_with(stream, StreamKind::Tcp, 64 * 1024, Bytes::new())
}

fn open_with(stream: StreamId, kind: StreamKind, window_bytes: u32, early: Bytes) -> Frame {
    Frame::Open {
        stream,
        open: Open {
            kind,
            window_bytes,
            timeout_ms: 1000,
            customer: 1,
            destination: destination(),
        },
        early,
        fin: false,
    }
}

fn data(stream: StreamId, bytes: usize) -> Frame {
    let data = Bytes::from(vec![0; bytes]);
    Frame::Data {
        stream,
        fin: data.is_empty(),
        data,
    }
}

fn reset(stream: StreamId) -> Frame {
    Frame::Reset {
        stream,
        code: ResetCode::Cancelled,
        detail: Bytes::new(),
    }
}

fn window(stream: StreamId, credit_bytes: u32) -> Frame {
    Frame::Window { stream, credit_bytes }
}

fn opened(stream: StreamId, window_bytes: u32) -> Frame {
    Frame::Opened {
        stream,
        window_bytes,
        dial_ms: 0,
    }
}
