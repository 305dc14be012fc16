//! What is fuzzed, as plain functions that panic on a find. `tests/it/fuzz.rs` runs the same briefly.
//!
//! For long, in this folder: `cargo run --release --bin tunnel -- corpus/tunnel -max_total_time=600`. A find is written to
//! `crash-…`: give it a name, move it to `corpus/tunnel/`, and it is a test from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{Frame, Open, StreamId, StreamKind};
use iploop_protocol::targeting::{Credentials, Targeting};
use iploop_protocol::tunnel::{Budget, Closed, Config, Event, Initiator, Side, Tunnel};

/// Any bytes are frames that read back, or an error.
pub fn frames(data: &[u8]) {
    let mut message = Bytes::copy_from_slice(data);
    while !message.is_empty() {
        let Ok(frame) = Frame::decode(&mut message) else {
            return;
        };
        if frame == Frame::Extension {
            continue;
        }
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        let mut again = again.freeze();
        assert_eq!(Frame::decode(&mut again).as_ref(), Ok(&frame));
        assert!(again.is_empty(), "a frame is all of what it was written as");
    }
}

/// Any two lines of text are a login or an error; what was parsed reads back from its canonical text.
pub fn targeting(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (user, password) = text.split_once('\n').unwrap_or((&text, ""));
    match Credentials::parse(user, password) {
        Ok(credentials) => {
            let canonical = credentials.targeting.to_string();
            let again = Targeting::parse(&canonical);
            assert_eq!(again.as_ref(), Ok(&credentials.targeting), "{canonical}");
            assert_eq!(again.map(|again| again.to_string()).as_ref(), Ok(&canonical));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(targeting) = Targeting::parse(user) {
        assert_eq!(Targeting::parse(&targeting.to_string()), Ok(targeting));
    }
}

/// A tunnel with a peer that sends anything and an owner that does anything that an owner may do.
pub fn tunnel(data: &[u8]) {
    let mut script = Script(data);
    let side = if script.one_in(2) { Side::Hub } else { Side::Node };
    let budget_left = Arc::new(AtomicU64::new(BUDGET_BYTES));
    let mut config = Config::new(side);
    config.max_peer_streams = MAX_STREAMS;
    config.max_local_streams = MAX_STREAMS;
    config.stream_window_bytes = 24 * 1024;
    config.send_queue_bytes = 4 * 1024;
    config.budget = Budget::new(BUDGET_BYTES).within(Arc::clone(&budget_left));
    let now = Instant::now();
    let mut hostile = Hostile {
        tunnel: Tunnel::new(config, now),
        now,
        reads: true,
        cut: false,
        out: BytesMut::new(),
        closed: None,
        last_sent: None,
    };
    if !script.one_in(8) {
        hostile.tunnel.establish();
    }
    while !script.0.is_empty() {
        hostile.act(&mut script);
        hostile.check();
    }
    hostile.tunnel.close(CloseCode::Done, None, "");
    hostile.reads = true;
    hostile.drain();
    hostile.check();
    let by = hostile.closed.as_ref().map(|closed| closed.by);
    assert!(by.is_some(), "it says that it is closed");
    assert!(
        by != Some(Initiator::Local) || hostile.cut || matches!(hostile.last_sent, Some(Frame::Close { .. })),
        "CLOSE is the last frame: {:?}",
        hostile.last_sent
    );
    assert_eq!(hostile.tunnel.held_bytes(), 0, "a closed tunnel holds nothing");
    drop(hostile);
    assert_eq!(
        budget_left.load(Ordering::Relaxed),
        BUDGET_BYTES,
        "the budget is back"
    );
}

const MAX_STREAMS: u32 = 6;
const BUDGET_BYTES: u64 = 256 * 1024;
/// Windows and send queues of all streams, twice over, and what may wait to be sent.
const MAX_HELD_BYTES: usize = 2 * 12 * (24 + 4 + 16) * 1024 + 256 * 1024 + (4 << 20) + (64 << 10);

struct Hostile {
    tunnel: Tunnel,
    now: Instant,
    /// Whether the peer takes what is sent to it.
    reads: bool,
    /// The transport is gone.
    cut: bool,
    out: BytesMut,
    closed: Option<Closed>,
    last_sent: Option<Frame>,
}

impl Hostile {
    fn act(&mut self, script: &mut Script<'_>) {
        let stream = StreamId(u32::from(script.byte() % 16));
        match script.byte() % 24 {
            0 => {
                let length = usize::from(script.u16() % 512);
                let message = Bytes::copy_from_slice(script.take(length));
                let _ = self.tunnel.handle_message(self.now, message);
            }
            1..13 => {
                let mut message = BytesMut::new();
                for _ in 0..=script.byte() % 4 {
                    script.frame(stream).encode(&mut message);
                }
                let _ = self.tunnel.handle_message(self.now, message.freeze());
            }
            13 => {
                let _ = self.tunnel.open(
                    StreamKind::Tcp,
                    destination(),
                    1,
                    Duration::from_secs(1),
                    script.bytes(),
                );
            }
            14 => drop(self.tunnel.accept(stream, Duration::from_millis(1))),
            15 => {
                let most = usize::from(script.u16()) + 1;
                let _ = self.tunnel.read(self.now, stream, most);
            }
            16 => {
                let mut data = script.bytes();
                let _ = self.tunnel.write(stream, &mut data);
            }
            17 => self.tunnel.finish(stream),
            18 => self.tunnel.reset(stream, ResetCode::Cancelled, ""),
            19 => self.tunnel.release(stream),
            20 => {
                let _ = self.tunnel.send_datagram(stream, destination(), script.bytes());
                let _ = self.tunnel.receive_datagram(stream);
            }
            21 => self.reads = script.one_in(2),
            22 => self.now += Duration::from_millis(u64::from(script.u16())),
            _ => match script.byte() % 16 {
                0 => self.tunnel.drain(Duration::from_secs(1)),
                1 => self.tunnel.close(CloseCode::ShuttingDown, None, "enough"),
                2 => {
                    self.cut = true;
                    self.tunnel.handle_transport_closed("cut");
                }
                _ => drop(self.tunnel.send_control(script.bytes())),
            },
        }
        if self.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tunnel.handle_timeout(self.now);
            let next = self.tunnel.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "the deadline moves on");
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            assert!(self.closed.is_none(), "nothing happens after the end");
            if let Event::Closed(closed) = event {
                self.closed = Some(closed);
            }
        }
        while self.reads && self.tunnel.poll_transmit(self.now, &mut self.out) {
            let mut message = self.out.split().freeze();
            assert!(message.len() <= iploop_protocol::frame::MAX_MESSAGE_BYTES);
            while !message.is_empty() {
                match Frame::decode(&mut message) {
                    Ok(frame) => self.last_sent = Some(frame),
                    Err(error) => panic!("we sent what is no frame: {error}"),
                }
            }
        }
        while self.tunnel.poll_event().is_some() {}
    }

    fn check(&self) {
        assert!(self.tunnel.stream_count() <= 2 * MAX_STREAMS as usize);
        let held = self.tunnel.held_bytes();
        assert!(held <= MAX_HELD_BYTES, "{held} bytes are held");
    }
}

/// The input, taken from its front; zeros when it is used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn take(&mut self, length: usize) -> &[u8] {
        let (part, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        part
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Mostly small, sometimes large, at times at the edge.
    fn u32(&mut self) -> u32 {
        match self.byte() {
            small @ 0..200 => u32::from(small) * 128,
            200..230 => u32::from(self.u16()) * 256,
            230..250 => u32::from(self.u16()),
            _ => u32::MAX,
        }
    }

    /// Payload of a length that needs no such long input.
    fn bytes(&mut self) -> Bytes {
        let length = usize::from(self.byte()).pow(2) % (16 * 1024 + 1);
        Bytes::from(vec![self.byte(); length])
    }

    fn frame(&mut self, stream: StreamId) -> Frame {
        let stream = StreamId(stream.0.max(1));
        match self.byte() % 16 {
            0 | 1 => {
                let kind = if self.one_in(8) {
                    StreamKind::Udp
                } else {
                    StreamKind::Tcp
                };
                let open = Open {
                    kind,
                    window_bytes: self.u32(),
                    timeout_ms: self.u32(),
                    customer: 1,
                    destination: destination(),
                };
                let is_tcp = kind == StreamKind::Tcp;
                Frame::Open {
                    stream,
                    open,
                    early: if is_tcp { self.bytes() } else { Bytes::new() },
                    fin: is_tcp && self.one_in(8),
                }
            }
            2 => Frame::Opened {
                stream,
                window_bytes: self.u32(),
                dial_ms: 1,
            },
            3..7 => {
                let data = self.bytes();
                Frame::Data {
                    stream,
                    fin: data.is_empty() || self.one_in(8),
                    data,
                }
            }
            7 => Frame::Reset {
                stream,
                code: ResetCode::from_wire(self.u16()),
                detail: Bytes::from_static(b"why"),
            },
            8 | 9 => Frame::Window {
                stream: if self.one_in(2) { StreamId::TUNNEL } else { stream },
                credit_bytes: self.u32().max(1),
            },
            10 => Frame::Ping(7),
            11 => Frame::Pong(u64::from(self.byte())),
            12 => Frame::Control {
                part: Bytes::from(vec![b'{'; usize::from(self.byte()) + 1]),
                more: self.one_in(2),
            },
            13 => Frame::Drain { grace_ms: self.u32() },
            14 => Frame::Datagram {
                stream,
                peer: destination(),
                data: self.bytes().split_to(0),
            },
            _ => match self.byte() % 32 {
                0 => Frame::Close {
                    code: CloseCode::from_wire(self.u16()),
                    retry_after_s: self.u32(),
                    reason: Bytes::new(),
                },
                _ => Frame::Datagram {
                    stream,
                    peer: destination(),
                    data: Bytes::from(vec![1; 2048]),
                },
            },
        }
    }
}

fn destination() -> Destination {
    Destination::from(std::net::SocketAddr::from(([192, 0, 2, 1], 443)))
}
