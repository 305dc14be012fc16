//! What a tunnel costs on the processor: frames alone, and two tunnels from one owner's bytes to the other's.
//!
//! `cargo bench -p iploop-protocol --bench frames`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{Frame, MAX_DATA_BYTES, Open, StreamId, StreamKind};
use iploop_protocol::tunnel::{Config, Event, Read, Side, Tunnel};

fn frames(criterion: &mut Criterion) {
    let destination = destination();
    let open = Frame::Open {
        stream: StreamId(1),
        open: Open {
            kind: StreamKind::Tcp,
            window_bytes: 160 * 1024,
            timeout_ms: 10_000,
            customer: 7,
            destination,
        },
        early: Bytes::from_static(&[0; 300]),
        fin: false,
    };
    let data = |bytes: usize| Frame::Data {
        stream: StreamId(1),
        data: Bytes::from(vec![0; bytes]),
        fin: false,
    };
    let window = Frame::Window {
        stream: StreamId(1),
        credit_bytes: 80 * 1024,
    };
    let cases = [
        ("open", open),
        ("window", window),
        ("data_64", data(64)),
        ("data_16384", data(MAX_DATA_BYTES)),
    ];
    let mut group = criterion.benchmark_group("frame");
    for (name, frame) in cases {
        let mut out = BytesMut::with_capacity(32 * 1024);
        group.bench_function(format!("encode_{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&frame).encode(&mut out);
            });
        });
        frame.encode(&mut out);
        let message = out.freeze();
        let message = message.slice(message.len() - encoded_bytes(&frame)..);
        group.bench_function(format!("decode_{name}"), |bencher| {
            bencher.iter(|| Frame::decode(&mut black_box(message.clone())));
        });
    }
    group.finish();
}

fn encoded_bytes(frame: &Frame) -> usize {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.len()
}

/// Two tunnels without a wire between them.
struct Pair {
    hub: Tunnel,
    node: Tunnel,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let mut pair = Self {
            hub: Tunnel::new(Config::new(Side::Hub), now),
            node: Tunnel::new(Config::new(Side::Node), now),
            now,
        };
        pair.hub.establish();
        pair.node.establish();
        pair.settle();
        pair
    }

    /// Moves messages until neither side has one; opened streams are accepted.
    fn settle(&mut self) {
        self.now += Duration::from_micros(100);
        let mut message = BytesMut::new();
        loop {
            let mut busy = false;
            for side in [Side::Hub, Side::Node] {
                let (from, to) = match side {
                    Side::Hub => (&mut self.hub, &mut self.node),
                    Side::Node => (&mut self.node, &mut self.hub),
                };
                while from.poll_transmit(self.now, &mut message) {
                    busy = true;
                    let handled = to.handle_message(self.now, message.split().freeze());
                    assert!(handled.is_ok(), "both are honest");
                    while let Some(event) = to.poll_event() {
                        if let Event::Incoming { stream, .. } = event {
                            assert!(to.accept(stream, Duration::ZERO).is_ok(), "it was asked for");
                        }
                    }
                }
                while from.poll_event().is_some() {}
            }
            if !busy {
                return;
            }
        }
    }

    fn open(&mut self) -> StreamId {
        let opened = self.hub.open(
            StreamKind::Tcp,
            destination(),
            7,
            Duration::from_secs(10),
            Bytes::new(),
        );
        self.settle();
        opened.unwrap_or(StreamId::TUNNEL)
    }
}

fn tunnels(criterion: &mut Criterion) {
    let block = Bytes::from(vec![0; 64 * 1024]);
    let mut group = criterion.benchmark_group("tunnel");
    for streams in [1, 32] {
        let mut pair = Pair::new();
        let ids: Vec<StreamId> = (0..streams).map(|_| pair.open()).collect();
        group.throughput(Throughput::Bytes(block.len() as u64 * streams));
        group.bench_function(format!("bulk_{streams}"), |bencher| {
            bencher.iter(|| {
                for id in &ids {
                    let taken = pair.node.write(*id, &mut block.clone());
                    assert_eq!(taken, Ok(block.len()));
                }
                let mut left = block.len() * ids.len();
                while left > 0 {
                    pair.settle();
                    for id in &ids {
                        while let Ok(Read::Data(data)) = pair.hub.read(pair.now, *id, usize::MAX) {
                            left -= data.len();
                        }
                    }
                }
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let mut pair = Pair::new();
    let id = pair.open();
    let small = Bytes::from_static(&[0; 64]);
    group.bench_function("small_request_and_answer", |bencher| {
        bencher.iter(|| {
            for side in [Side::Hub, Side::Node] {
                let (from, to) = match side {
                    Side::Hub => (&mut pair.hub, &mut pair.node),
                    Side::Node => (&mut pair.node, &mut pair.hub),
                };
                assert_eq!(from.write(id, &mut small.clone()), Ok(64));
                let mut message = BytesMut::new();
                while from.poll_transmit(pair.now, &mut message) {
                    assert!(to.handle_message(pair.now, message.split().freeze()).is_ok());
                }
                assert!(matches!(to.read(pair.now, id, usize::MAX), Ok(Read::Data(_))));
            }
            pair.settle();
        });
    });
    let mut pair = Pair::new();
    group.bench_function("open_and_end", |bencher| {
        bencher.iter(|| {
            let id = pair.open();
            pair.hub.finish(id);
            pair.node.finish(id);
            pair.settle();
            for tunnel in [&mut pair.hub, &mut pair.node] {
                assert_eq!(tunnel.read(pair.now, id, 1), Ok(Read::Finished));
            }
        });
    });
    group.finish();
}

fn destination() -> Destination {
    Destination::from(std::net::SocketAddr::from(([192, 0, 2, 1], 443)))
}

criterion_group!(benches, frames, tunnels);
criterion_main!(benches);
