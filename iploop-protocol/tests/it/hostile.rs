//! Peers that break the rules: each gets its close code, and costs bounded memory and work.

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

// ---- floods ---------------------------------------------------------------------------------------------------------------

#[test]
fn ping_flood_is_closed_soon_and_slow_pings_that_are_never_read_are_closed_in_time() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let sent = (0..1000)
            .take_while(|n| victim.send(&[Frame::Ping(*n)]).is_ok())
            .count();
        assert_eq!(sent, 200);
        victim.closes_with(CloseCode::Flood);

        // At a rate that is allowed, for as long as it likes, without reading a single answer.
        let mut victim = Victim::open(side);
        let mut sent = 0;
        while victim.send(&[Frame::Ping(sent)]).is_ok() {
            victim.now += Duration::from_millis(50);
            victim.tunnel.handle_timeout(victim.now);
            sent += 1;
            assert!(sent < 20_000, "no end");
        }
        assert!(victim.most_held < 4 * MIB, "{} bytes", victim.most_held);
        victim.closes_with(CloseCode::Flood);
    }
}

#[test]
fn open_and_reset_churn_is_closed() {
    let mut victim = Victim::open(Side::Node);
    let mut n = 0;
    loop {
        let stream = victim.theirs(n);
        if victim.send(&[open(stream), reset(stream)]).is_err() {
            break;
        }
        // The owner gives up what the peer gave up.
        while let Some(event) = victim.tunnel.poll_event() {
            if let Event::Reset(stream) = event {
                victim.tunnel.release(stream);
            }
        }
        victim.flush();
        n += 1;
        assert!(n < 10_000, "no end");
    }
    assert!(n >= 1000, "honest customers may cancel");
    victim.closes_with(CloseCode::Flood);
}

#[test]
fn opens_that_are_refused_at_once_and_never_read_are_closed() {
    // Its owner is paused: it refuses each stream by itself, so the tunnel's own limits never speak.
    for side in SIDES {
        let mut victim = Victim::open(side);
        let mut n = 0;
        while victim.send(&[open(victim.theirs(n))]).is_ok() {
            while let Some(event) = victim.tunnel.poll_event() {
                if let Event::Incoming { stream, .. } = event {
                    victim.tunnel.reset(stream, ResetCode::Paused, "paused_by_owner");
                }
            }
            n += 1;
            assert!(n < 100_000, "no end");
        }
        assert!(victim.most_held < 5 * MIB, "{} bytes", victim.most_held);
        victim.closes_with(CloseCode::Flood);
    }
}

#[test]
fn opens_beyond_the_limit_are_refused_and_then_closed() {
    for (side, limit) in [(Side::Hub, 16), (Side::Node, 1024)] {
        let mut victim = Victim::open(side);
        let mut n = 0;
        while victim.send(&[open(victim.theirs(n))]).is_ok() {
            n += 1;
            assert!(n < 100_000, "no end");
            assert!(victim.tunnel.stream_count() <= limit);
        }
        let refused = victim
            .flush()
            .iter()
            .filter(|frame| {
                matches!(
                    frame,
                    Frame::Reset {
                        code: ResetCode::Busy,
                        ..
                    }
                )
            })
            .count();
        assert_eq!(refused, 0, "CLOSE takes the place of what was waiting");
        assert!(n as usize > limit + 1000);
    }
}

#[test]
fn endless_control_messages_are_closed_by_number_and_by_length() {
    for side in SIDES {
        let part = |bytes: usize| Frame::Control {
            part: Bytes::from(vec![b' '; bytes]),
            more: true,
        };
        let mut victim = Victim::open(side);
        let sent = (0..1000).take_while(|_| victim.send(&[part(1)]).is_ok()).count();
        assert_eq!(sent, 100);
        victim.closes_with(CloseCode::Flood);

        let mut victim = Victim::open(side);
        let sent = (0..1000)
            .take_while(|_| victim.send(&[part(65_535)]).is_ok())
            .count();
        assert_eq!(
            sent,
            match side {
                Side::Hub => 1,
                Side::Node => 16,
            }
        );
        assert!(victim.most_held <= MIB + 65_536);
        victim.closes_with(CloseCode::Malformed);
    }
}

#[test]
fn frames_that_carry_nothing_are_closed() {
    let gone = |victim: &mut Victim| {
        let stream = victim.accepted(0);
        victim.tunnel.reset(stream, ResetCode::Cancelled, "");
        victim.flush();
        stream
    };
    type Idle = fn(StreamId) -> Frame;
    let cases: [(&str, Idle); 7] = [
        ("pong", |_| Frame::Pong(9)),
        ("extension", |_| Frame::Extension),
        ("drain", |_| Frame::Drain { grace_ms: 1 }),
        ("window of a closed stream", |stream| window(stream, 100_000)),
        ("reset of a closed stream", reset),
        ("finish of a closed stream", |stream| data(stream, 0)),
        ("datagram of a closed stream", |stream| Frame::Datagram {
            stream,
            peer: destination(),
            data: Bytes::new(),
        }),
    ];
    for (name, idle) in cases {
        let mut victim = Victim::open(Side::Node);
        let stream = gone(&mut victim);
        let extension = vec![0x55, 0, 0, 0, 0, 0, 0, 0];
        let mut sent = 0;
        loop {
            let handled = match idle(stream) {
                Frame::Extension => victim.send_bytes(extension.clone()),
                frame => victim.send(&[frame]),
            };
            if handled.is_err() {
                break;
            }
            sent += 1;
            assert!(sent <= 20_001, "{name}: no end");
        }
        assert!(victim.most_held < 64 * 1024, "{name}: {}", victim.most_held);
        let events = std::iter::from_fn(|| victim.tunnel.poll_event()).count();
        assert!(events <= 4, "{name}: {events} events");
    }
}

#[test]
fn reset_again_and_again_is_told_once() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    while victim.tunnel.poll_event().is_some() {}
    for _ in 0..1000 {
        victim.send(&[reset(stream)]).unwrap();
    }
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert_eq!(events, [Event::Reset(stream)]);
}

#[test]
fn small_credit_again_and_again_is_closed() {
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(0);
    let sent = (0..100_000)
        .take_while(|_| victim.send(&[window(stream, 1)]).is_ok())
        .count();
    assert_eq!(sent, 20_000);
    victim.closes_with(CloseCode::Flood);
}

// ---- memory ---------------------------------------------------------------------------------------------------------------

#[test]
fn what_a_stalled_reader_leaves_is_bounded_by_its_window_whatever_the_frames_are() {
    for (frame_bytes, filler_bytes) in [
        (1, 0),
        (1, 60_000),
        (100, 0),
        (2_000, 60_000),
        (3_000, 1_000),
        (16_384, 60_000),
    ] {
        let mut victim = Victim::open(Side::Hub);
        let stream = victim.ours(64 * 1024);
        let mut filler = vec![0x40, 0];
        filler.extend_from_slice(&u16::try_from(filler_bytes).unwrap().to_be_bytes());
        filler.extend_from_slice(&[0; 4]);
        filler.resize(8 + filler_bytes, 0);
        let mut message = BytesMut::new();
        data(stream, frame_bytes).encode(&mut message);
        if filler_bytes > 0 {
            message.extend_from_slice(&filler);
        }
        let mut sent = 0;
        while victim.send_bytes(message.to_vec()).is_ok() {
            // Frames that carry nothing have a limit of their own.
            victim.now += Duration::from_millis(1);
            sent += frame_bytes;
        }
        assert!(sent <= WINDOW_BYTES, "the window is an end");
        assert!(sent + frame_bytes > WINDOW_BYTES, "and the only one");
        let held = victim.most_held + victim.most_pinned;
        assert!(
            held <= 2 * WINDOW_BYTES + 2 * (filler_bytes + 32 * 1024),
            "{held} bytes for frames of {frame_bytes} and {filler_bytes} of filler"
        );
        victim.closes_with(CloseCode::WindowOverflow);
    }
}

#[test]
fn texts_and_first_bytes_do_not_keep_their_messages() {
    let mut filler = vec![0x40, 0, 0xFF, 0xFF, 0, 0, 0, 0];
    filler.resize(8 + 65_535, 0);
    let mut victim = Victim::open(Side::Node);
    for n in 0..200 {
        let stream = victim.theirs(n);
        let mut message = BytesMut::new();
        open_with(stream, StreamKind::Tcp, 1, Bytes::from_static(b"x")).encode(&mut message);
        message.extend_from_slice(&filler);
        victim.send_bytes(message.to_vec()).unwrap();
        let mut message = BytesMut::new();
        Frame::Reset {
            stream,
            code: ResetCode::Cancelled,
            detail: Bytes::from_static(b"y"),
        }
        .encode(&mut message);
        message.extend_from_slice(&filler);
        victim.send_bytes(message.to_vec()).unwrap();
    }
    assert!(
        victim.most_pinned <= 2 * 70_000,
        "{} bytes of messages",
        victim.most_pinned
    );
    assert!(victim.most_held <= 200 * 1024, "{} bytes", victim.most_held);
}

#[test]
fn copied_bytes_are_the_bytes_that_came() {
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(64 * 1024);
    let mut expected = Vec::new();
    let lengths = [
        1usize, 5, 3_000, 2, 16_384, 1, 1, 1, 2_047, 2_048, 2_049, 9_000, 700,
    ];
    for (n, length) in lengths.into_iter().enumerate() {
        let part: Vec<u8> = (0..length)
            .map(|at| u8::try_from((at + n) % 251).unwrap())
            .collect();
        expected.extend_from_slice(&part);
        let frame = Frame::Data {
            stream,
            data: part.into(),
            fin: false,
        };
        victim.send(&[frame, Frame::Pong(0)]).unwrap();
    }
    let mut read = Vec::new();
    while let Ok(Read::Data(data)) = victim.tunnel.read(victim.now, stream, 1_000) {
        read.extend_from_slice(&data);
    }
    assert!(read == expected, "{} of {} bytes", read.len(), expected.len());
}

#[test]
fn datagrams_that_nobody_reads_are_dropped_the_oldest_first() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim
        .send(&[open_with(stream, StreamKind::Udp, 1, Bytes::new())])
        .unwrap();
    victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    for n in 0..1000u16 {
        let mut data = vec![0; 2048];
        data[..2].copy_from_slice(&n.to_be_bytes());
        let frame = Frame::Datagram {
            stream,
            peer: destination(),
            data: data.into(),
        };
        victim.send(&[frame]).unwrap();
    }
    assert!(
        victim.most_held < WINDOW_BYTES + 20 * 1024,
        "{} bytes",
        victim.most_held
    );
    let (_, first) = victim.tunnel.receive_datagram(stream).unwrap().unwrap();
    let kept = u16::try_from(WINDOW_BYTES / 2048).unwrap();
    assert_eq!(first[..2], (1000 - kept).to_be_bytes());
}

#[test]
fn memory_is_shared_out_of_one_budget() {
    let mut victim = Victim::open(Side::Node);
    for n in 0..1024 {
        victim.accepted(n);
    }
    // 4 MiB are enough for the full window of the first streams; the others start with a single frame's.
    let mut taken = 0;
    for n in 0..1024 {
        let stream = victim.theirs(n);
        victim.send(&[data(stream, MAX_DATA_BYTES)]).unwrap();
        victim.flush();
        taken += MAX_DATA_BYTES;
    }
    assert_eq!(taken, 16 * MIB, "more would be a breach for all but the first");
    let poor = victim.theirs(1023);
    victim.breaks(CloseCode::WindowOverflow, &[data(poor, 1)]);
}

// ---- windows and streams --------------------------------------------------------------------------------------------------

#[test]
fn data_beyond_the_stream_s_credit_is_closed() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        for _ in 0..WINDOW_BYTES / MAX_DATA_BYTES {
            victim.send(&[data(stream, MAX_DATA_BYTES)]).unwrap();
        }
        victim.breaks(CloseCode::WindowOverflow, &[data(stream, 1)]);
    }
}

#[test]
fn data_beyond_the_tunnel_s_credit_is_closed() {
    let mut victim = Victim::open(Side::Node);
    // More streams than whose windows make 8 MiB; nothing is sent, so no credit goes back.
    let streams = u32::try_from(8 * MIB / WINDOW_BYTES + 1).unwrap();
    for n in 0..streams {
        let stream = victim.theirs(n);
        victim.send(&[open(stream)]).unwrap();
        victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    }
    let mut sent = 0;
    'all: for n in 0..streams {
        for _ in 0..WINDOW_BYTES / MAX_DATA_BYTES {
            // The budget of this victim gives only the first ones a full window.
            let stream = victim.theirs(n);
            match victim.send(&[data(stream, MAX_DATA_BYTES)]) {
                Ok(()) => sent += MAX_DATA_BYTES as u64,
                Err(code) => {
                    assert_eq!(code, CloseCode::WindowOverflow);
                    break 'all;
                }
            }
        }
    }
    assert!(sent <= CONNECTION_WINDOW_BYTES);
    victim.closes_with(CloseCode::WindowOverflow);
}

#[test]
fn stray_data_of_a_reset_stream_is_bounded_by_what_was_open() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.tunnel.reset(stream, ResetCode::Cancelled, "");
    for _ in 0..WINDOW_BYTES / MAX_DATA_BYTES {
        victim.send(&[data(stream, MAX_DATA_BYTES)]).unwrap();
    }
    assert!(victim.most_held < 8 * 1024);
    victim.breaks(CloseCode::StreamFinished, &[data(stream, 1)]);
}

#[test]
fn credit_beyond_what_may_be_open_is_closed() {
    let most = MAX_STREAM_WINDOW_BYTES;
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(most);
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, 1)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(0);
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, u32::MAX)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ask();
    victim.breaks(CloseCode::WindowOverflow, &[opened(stream, most + 1)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ask();
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, 1)]);

    let victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim.breaks(
        CloseCode::WindowOverflow,
        &[open_with(stream, StreamKind::Tcp, most + 1, Bytes::new())],
    );

    Victim::open(Side::Node).breaks(CloseCode::WindowOverflow, &[window(StreamId::TUNNEL, 1)]);
}

#[test]
fn frames_on_ids_that_were_never_opened_are_closed() {
    for side in SIDES {
        for n in [0, 1, 7, 1 << 30] {
            for stream in [
                Victim::open(side).theirs(n),
                Victim::open(Side::Hub).theirs(n),
                Victim::open(Side::Node).theirs(n),
            ] {
                let datagram = Frame::Datagram {
                    stream,
                    peer: destination(),
                    data: Bytes::new(),
                };
                for frame in [
                    data(stream, 1),
                    data(stream, 0),
                    reset(stream),
                    window(stream, 1000),
                    opened(stream, 1),
                    datagram,
                ] {
                    Victim::open(side).breaks(CloseCode::UnknownStream, &[frame]);
                }
            }
        }
    }
}

#[test]
fn ids_are_used_once_in_rising_order_and_by_their_own_side() {
    for side in SIDES {
        let victim = Victim::open(side);
        let (first, third) = (victim.theirs(0), victim.theirs(2));
        victim.breaks(CloseCode::StreamIdReuse, &[open(first), open(first)]);

        Victim::open(side).breaks(CloseCode::StreamIdReuse, &[open(third), open(first)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.tunnel.reset(stream, ResetCode::Cancelled, "");
        victim.breaks(CloseCode::StreamIdReuse, &[open(stream)]);

        let ours = StreamId(first.0 + 1);
        Victim::open(side).breaks(CloseCode::StreamIdReuse, &[open(ours)]);
    }
}

#[test]
fn the_last_id_is_the_last() {
    for (side, last) in [(Side::Hub, u32::MAX - 1), (Side::Node, u32::MAX)] {
        let mut victim = Victim::open(side);
        victim.send(&[open(StreamId(last))]).unwrap();
        victim.breaks(CloseCode::StreamIdReuse, &[open(StreamId(last - 2))]);
    }
}

#[test]
fn data_after_the_end_is_closed() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 0), data(stream, 1)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 0), data(stream, 0)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[reset(stream), data(stream, 1)]);

        // Both directions are over and nobody has reset: the stream is gone.
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.send(&[data(stream, 0)]).unwrap();
        assert_eq!(victim.tunnel.read(victim.now, stream, 1), Ok(Read::Finished));
        victim.tunnel.finish(stream);
        victim.flush();
        assert_eq!(victim.tunnel.stream_count(), 0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 1)]);
    }
}

#[test]
fn answers_come_once_and_from_the_side_that_was_asked() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.ours(1000);
        victim.breaks(CloseCode::Unexpected, &[opened(stream, 1000)]);

        let victim = Victim::open(side);
        let stream = victim.theirs(0);
        victim.breaks(CloseCode::Unexpected, &[open(stream), opened(stream, 1)]);

        // No data before the answer, from neither side.
        let mut victim = Victim::open(side);
        let stream = victim.ask();
        victim.breaks(CloseCode::Unexpected, &[data(stream, 1)]);
        let victim = Victim::open(side);
        let stream = victim.theirs(0);
        victim.breaks(CloseCode::Unexpected, &[open(stream), data(stream, 1)]);
    }
}

#[test]
fn kinds_of_streams_do_not_mix() {
    let datagram = |stream| Frame::Datagram {
        stream,
        peer: destination(),
        data: Bytes::new(),
    };
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.breaks(CloseCode::Unexpected, &[datagram(stream)]);

    for frame in [data(StreamId(1), 1), data(StreamId(1), 0)] {
        let mut victim = Victim::open(Side::Node);
        let stream = victim.theirs(0);
        victim
            .send(&[open_with(stream, StreamKind::Udp, 0, Bytes::new())])
            .unwrap();
        victim.tunnel.accept(stream, Duration::ZERO).unwrap();
        // Our own owner can't cause what would be a breach over there.
        assert_eq!(
            victim.tunnel.write(stream, &mut Bytes::from_static(b"x")),
            Err(StreamError::Closed)
        );
        victim.tunnel.finish(stream);
        let sent = victim.flush();
        assert!(
            sent.iter().all(|frame| !matches!(frame, Frame::Data { .. })),
            "{sent:?}"
        );
        victim.breaks(CloseCode::Unexpected, &[frame]);
    }
}

#[test]
fn writer_is_told_of_a_reset_although_the_end_came_before_it() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.send(&[data(stream, 0), reset(stream)]).unwrap();
    assert_eq!(victim.tunnel.read(victim.now, stream, 1), Ok(Read::Finished));
    let told = victim.tunnel.write(stream, &mut Bytes::from_static(b"x"));
    assert!(
        matches!(
            told,
            Err(StreamError::Reset {
                code: ResetCode::Cancelled,
                ..
            })
        ),
        "{told:?}"
    );
    victim.tunnel.release(stream);
    assert_eq!(victim.tunnel.stream_count(), 0);
}

#[test]
fn stream_that_was_given_up_can_t_be_accepted() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim.send(&[open(stream), reset(stream)]).unwrap();
    assert_eq!(
        victim.tunnel.accept(stream, Duration::ZERO),
        Err(StreamError::Closed)
    );
    assert_eq!(victim.flush(), []);
}

#[test]
fn first_bytes_may_be_read_before_the_answer() {
    let mut victim = Victim::in_handshake(Side::Node);
    // A window of a single frame: reading that much would give credit back.
    let mut config = Config::new(Side::Node);
    config.budget = Budget::new(0);
    victim.tunnel = Tunnel::new(config, victim.now);
    victim.tunnel.establish();
    victim.flush();
    let stream = victim.theirs(0);
    let early = Bytes::from(vec![0; MAX_DATA_BYTES]);
    victim
        .send(&[open_with(stream, StreamKind::Tcp, 1000, early)])
        .unwrap();
    let read = victim.tunnel.read(victim.now, stream, usize::MAX);
    assert!(matches!(read, Ok(Read::Data(data)) if data.len() == MAX_DATA_BYTES));
    assert_eq!(victim.flush(), [], "no credit for a stream without an answer");
    victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    assert_eq!(victim.flush(), [opened(stream, 16 * 1024)]);
}

// ---- messages and phases --------------------------------------------------------------------------------------------------

#[test]
fn what_is_no_frame_is_closed() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/frames.json")).unwrap();
    for list in ["invalid", "invalidMessages"] {
        for vector in vectors[list].as_array().unwrap() {
            let mut victim = Victim::open(Side::Node);
            // Some of them begin with a whole frame, which must not be the breach.
            victim.accepted(0);
            let bytes = crate::vectors::expand(vector["hex"].as_str().unwrap());
            assert_eq!(victim.send_bytes(bytes), Err(CloseCode::Malformed), "{vector}");
            victim.closes_with(CloseCode::Malformed);
        }
    }
}

#[test]
fn message_that_is_too_long_is_closed() {
    let mut message = Vec::new();
    while message.len() <= MAX_MESSAGE_BYTES {
        message.extend_from_slice(&[0x40, 0, 0x0F, 0xF8, 0, 0, 0, 0]);
        message.resize(message.len() + 0x0FF8, 0);
    }
    let mut victim = Victim::open(Side::Node);
    assert_eq!(victim.send_bytes(message), Err(CloseCode::Malformed));
    victim.closes_with(CloseCode::Malformed);
}

#[test]
fn only_control_messages_and_pings_may_come_before_the_handshake_is_over() {
    for side in SIDES {
        for frame in [
            open(StreamId(1)),
            open(StreamId(2)),
            opened(StreamId(1), 1),
            data(StreamId(1), 1),
            reset(StreamId(1)),
            window(StreamId(0), 1),
            Frame::Drain { grace_ms: 0 },
        ] {
            Victim::in_handshake(side).breaks(CloseCode::Unexpected, &[frame]);
        }
        let mut victim = Victim::in_handshake(side);
        victim.send(&[Frame::Ping(5), Frame::Pong(1)]).unwrap();
        assert_eq!(victim.flush(), [Frame::Pong(5)]);
        victim.now += Duration::from_secs(10);
        victim.tunnel.handle_timeout(victim.now);
        victim.closes_with(CloseCode::HandshakeTimeout);
    }
}

#[test]
fn whoever_only_pings_does_not_delay_the_end_of_the_handshake() {
    let mut victim = Victim::in_handshake(Side::Hub);
    for n in 0..100 {
        victim.now += Duration::from_millis(100);
        victim.tunnel.handle_timeout(victim.now);
        if n < 99 {
            victim.send(&[Frame::Ping(n)]).unwrap();
            victim.flush();
        }
    }
    victim.closes_with(CloseCode::HandshakeTimeout);
}

#[test]
fn nothing_counts_after_a_close() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    while victim.tunnel.poll_event().is_some() {}
    let close = Frame::Close {
        code: CloseCode::ShuttingDown,
        retry_after_s: 5,
        reason: Bytes::from_static(b"bye"),
    };
    // In the same message, and bytes that are no frame in a later one.
    victim
        .send(&[close.clone(), data(stream, 10), close, open(StreamId(99))])
        .unwrap();
    victim.send_bytes(vec![0xFF; 64]).unwrap();
    victim.send(&[open(StreamId(101)), Frame::Ping(1)]).unwrap();
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Closed(closed)] if closed.by == Initiator::Peer
            && closed.retry_after == Some(Duration::from_secs(5)) && closed.reason == "bye"),
        "{events:?}"
    );
    assert_eq!(victim.flush(), [], "CLOSE is not answered");
    assert_eq!(victim.tunnel.held_bytes(), 0);
    assert_eq!(victim.budget_left.load(Ordering::Relaxed), BUDGET_BYTES);
}

#[test]
fn peer_that_never_answers_pings_but_talks_is_alive_and_a_silent_one_is_not() {
    let mut victim = Victim::open(Side::Hub);
    for _ in 0..1000 {
        victim.now += Duration::from_secs(20);
        victim.tunnel.handle_timeout(victim.now);
        victim.send_bytes(vec![0x40, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        victim.flush();
    }
    assert!(victim.tunnel.is_open());
    let silent_since = victim.now;
    while let Some(at) = victim.tunnel.poll_timeout() {
        victim.now = at;
        victim.tunnel.handle_timeout(at);
        victim.flush();
    }
    assert!(victim.now - silent_since <= Duration::from_secs(45));
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert!(matches!(events.last(), Some(Event::Closed(closed)) if closed.code == CloseCode::Silent));
}

#[test]
fn peer_that_takes_no_credit_and_no_data_costs_the_queues_and_no_more() {
    let mut victim = Victim::open(Side::Hub);
    let block = Bytes::from(vec![0; 64 * 1024]);
    let mut taken = 0;
    for _ in 0..100 {
        let stream = victim.ours(0);
        taken += victim.tunnel.write(stream, &mut block.clone()).unwrap();
        taken += victim.tunnel.write(stream, &mut block.clone()).unwrap();
    }
    assert_eq!(taken, 100 * 64 * 1024);
    let held = victim.tunnel.held_bytes();
    assert!(held <= 100 * (64 * 1024 + 1024), "{held} bytes");
}
