//! What a tunnel promises about time and memory, one promise a test, in simulated time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::frame::{Frame, StreamId};
use iploop_protocol::tunnel::{Closed, Config, Initiator, Read, Side};

use crate::wire::Line;
use crate::world::{SIDES, World, other};

/// 20 Mbit/s and 25 ms each way: a device's uplink in life.
const UPLINK_BYTES_PER_S: u64 = 2_500_000;
const ONE_WAY: Duration = Duration::from_millis(25);

/// Keeps streams of a side full and reads them at the other end; counts what was read.
struct Bulk {
    from: Side,
    streams: Vec<StreamId>,
    read_bytes: Vec<u64>,
}

impl Bulk {
    fn start(world: &mut World, from: Side, streams: usize) -> Self {
        let streams: Vec<StreamId> = (0..streams).map(|_| world.stream(Side::Hub)).collect();
        Self {
            from,
            read_bytes: vec![0; streams.len()],
            streams,
        }
    }

    /// Writes and reads as much as can be at this moment.
    fn work(&mut self, world: &mut World) {
        let mut moved = true;
        while moved {
            moved = false;
            for (stream, read_bytes) in self.streams.iter().zip(&mut self.read_bytes) {
                moved |= world.write(self.from, *stream, usize::MAX) > 0;
                let read = world.read(other(self.from), *stream).unwrap();
                *read_bytes += read as u64;
                moved |= read > 0;
            }
            // What can be read or written is known only after what is there has been handled.
            world.settle();
        }
        world.end(Side::Hub).events.clear();
        world.end(Side::Node).events.clear();
    }

    /// For so long; `look` at every moment.
    fn run(&mut self, world: &mut World, time: Duration, mut look: impl FnMut(&mut World)) {
        let until = world.now + time;
        self.work(world);
        while world.step(until) {
            world.settle();
            self.work(world);
            look(world);
        }
    }

    fn total(&self) -> u64 {
        self.read_bytes.iter().sum()
    }
}

#[test]
fn slow_reader_stalls_only_its_own_stream() {
    let line = Line::rate(UPLINK_BYTES_PER_S, ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let stalled = world.stream(Side::Hub);
    let mut written = 0;
    let mut bulk = Bulk::start(&mut world, Side::Node, 1);
    bulk.run(&mut world, Duration::from_secs(10), |world| {
        written += world.write(Side::Node, stalled, usize::MAX);
    });
    let share = bulk.total() as f64 / (UPLINK_BYTES_PER_S * 10) as f64;
    assert!(share > 0.9, "the other stream had {share} of the path");
    // The stalled one fills its window here and its queue there, no more.
    assert!(
        written <= 256 * 1024,
        "{written} bytes of the stalled stream were taken"
    );
    let held = world.tunnel(Side::Hub).held_bytes();
    assert!(
        held <= 256 * 1024 + 8 * 1024 * 1024 / 4,
        "{held} bytes are held for a stalled and a running stream"
    );
}

#[test]
fn a_stalled_stream_holds_no_more_than_its_first_window() {
    let line = Line::delay(Duration::from_millis(1));
    let mut world = World::open(line.clone(), line, 1);
    let streams: Vec<StreamId> = (0..100).map(|_| world.stream(Side::Hub)).collect();
    for _ in 0..200 {
        for stream in &streams {
            world.write(Side::Node, *stream, usize::MAX);
        }
        world.pass(Duration::from_millis(1));
    }
    for side in SIDES {
        let held = world.tunnel(side).held_bytes() / streams.len();
        assert!(held <= 176 * 1024, "{held} bytes a stream at the {side:?}");
    }
}

#[test]
fn small_request_passes_beside_thirty_bulk_streams() {
    let line = Line::rate(UPLINK_BYTES_PER_S, ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let small = world.stream(Side::Hub);
    let mut bulk = Bulk::start(&mut world, Side::Node, 30);
    bulk.run(&mut world, Duration::from_secs(3), |_| {});
    let (mut most_ahead, mut longest) = (0, Duration::ZERO);
    for _ in 0..50 {
        world.end(Side::Node).tapped = Some(Vec::new());
        assert_eq!(world.write(Side::Node, small, 64), 64);
        let written_at = world.now;
        while world.read(Side::Hub, small) == Some(0) {
            bulk.run(&mut world, Duration::from_micros(200), |_| {});
        }
        longest = longest.max(world.now - written_at);
        let tapped = world.end(Side::Node).tapped.take().unwrap();
        most_ahead = most_ahead.max(bytes_ahead(&tapped, small));
        bulk.run(&mut world, Duration::from_millis(7), |_| {});
    }
    assert!(
        most_ahead <= 16 * 1024,
        "{most_ahead} bytes of bulk went ahead of a small answer"
    );
    assert!(
        longest <= ONE_WAY + Duration::from_millis(25),
        "it took {longest:?}"
    );
}

/// Bytes that went out before the first DATA of a stream.
fn bytes_ahead(messages: &[Bytes], stream: StreamId) -> usize {
    let mut ahead = 0;
    for message in messages {
        let mut rest = message.clone();
        while !rest.is_empty() {
            let left = rest.len();
            match Frame::decode(&mut rest) {
                Ok(Frame::Data { stream: id, .. }) if id == stream => return ahead,
                Ok(_) => ahead += left - rest.len(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    panic!("it never went out")
}

#[test]
fn bulk_streams_share_a_path_equally() {
    let line = Line::rate(UPLINK_BYTES_PER_S, ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let mut bulk = Bulk::start(&mut world, Side::Node, 32);
    bulk.run(&mut world, Duration::from_secs(10), |_| {});
    let least = *bulk.read_bytes.iter().min().unwrap() as f64;
    let most = *bulk.read_bytes.iter().max().unwrap() as f64;
    assert!(least / most >= 0.9, "{least} and {most}");
}

#[test]
fn window_grows_to_what_a_path_of_50_ms_holds() {
    const RATE: u64 = 40_000_000;
    let line = Line {
        buffer_bytes: 1 << 20,
        ..Line::rate(RATE, ONE_WAY)
    };
    let mut world = World::open(line.clone(), line, 1);
    let mut bulk = Bulk::start(&mut world, Side::Node, 1);
    bulk.run(&mut world, Duration::from_secs(1), |_| {});
    let before = bulk.total();
    bulk.run(&mut world, Duration::from_secs(2), |_| {});
    let share = (bulk.total() - before) as f64 / (2 * RATE) as f64;
    assert!(share >= 0.9, "one stream uses {share} of the path");
    drop(bulk);
    assert!(world.reserved_bytes() > 0);
}

/// A stream on which the node has sent 1 KiB, which was read; the next request is on its way since.
fn paused_after_a_small_answer() -> (World, StreamId) {
    let line = Line::delay(ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let stream = world.stream(Side::Hub);
    world.write(Side::Node, stream, 1024);
    world.pass(ONE_WAY * 2);
    assert_eq!(world.read(Side::Hub, stream), Some(1024));
    world.pass(ONE_WAY * 2);
    (world, stream)
}

#[test]
fn window_grows_at_once_where_the_peer_has_paused_after_a_small_answer() {
    let (mut world, stream) = paused_after_a_small_answer();
    let before = world.reserved_bytes();
    world.write(Side::Node, stream, usize::MAX);
    world.pass(Duration::from_millis(1));
    world.write(Side::Node, stream, usize::MAX);
    world.pass(ONE_WAY * 2);
    while world.read(Side::Hub, stream).is_some_and(|bytes| bytes > 0) {}
    assert!(world.reserved_bytes() >= before + 512 * 1024);
}

#[test]
fn window_grows_with_the_first_half_of_it_also_where_a_part_was_read_before_the_pause() {
    let (mut world, stream) = paused_after_a_small_answer();
    let before = world.reserved_bytes();
    let written = world.write(Side::Node, stream, usize::MAX);
    world.pass(ONE_WAY * 2);
    let now = world.now;
    let mut read = 0;
    while read < written * 5 / 8 {
        match world.tunnel(Side::Hub).read(now, stream, 1024) {
            Ok(Read::Data(data)) => read += data.len(),
            other => panic!("{other:?} after {read} of {written} bytes"),
        }
    }
    assert!(world.reserved_bytes() >= before + 512 * 1024);
}

#[test]
fn window_does_not_grow_for_a_reader_that_is_slower_than_the_path() {
    let line = Line::delay(ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let stream = world.stream(Side::Hub);
    let before = world.reserved_bytes();
    for _ in 0..2_000 {
        world.write(Side::Node, stream, usize::MAX);
        world.pass(Duration::from_millis(10));
        // 200 KB a second, where a window in 50 ms would be 1.6 million.
        let now = world.now;
        let read = world.tunnel(Side::Hub).read(now, stream, 2 * 1024);
        assert!(matches!(read, Ok(Read::Data(_) | Read::Blocked)));
    }
    assert_eq!(world.reserved_bytes(), before);
}

#[test]
fn queue_stays_short_on_a_slow_path_that_is_full() {
    // A transport that would take anything: what is kept short is kept short by us.
    let line = Line {
        buffer_bytes: 16 << 20,
        ..Line::rate(UPLINK_BYTES_PER_S, ONE_WAY)
    };
    let mut world = World::open(line.clone(), line, 1);
    let mut bulk = Bulk::start(&mut world, Side::Node, 8);
    bulk.run(&mut world, Duration::from_secs(5), |_| {});
    let before = bulk.total();
    let (mut longest, mut sum, mut looks) = (Duration::ZERO, Duration::ZERO, 0);
    bulk.run(&mut world, Duration::from_secs(20), |world| {
        let now = world.now;
        let backlog = world.end(Side::Node).wire.backlog(now);
        longest = longest.max(backlog);
        sum += backlog;
        looks += 1;
    });
    let share = (bulk.total() - before) as f64 / (UPLINK_BYTES_PER_S * 20) as f64;
    let mean = sum / looks;
    assert!(share >= 0.97, "bulk has {share} of the path");
    assert!(mean <= Duration::from_millis(10), "{mean:?} of queue");
    assert!(
        longest <= Duration::from_millis(30),
        "{longest:?} of queue at the worst"
    );
}

#[test]
fn a_day_of_keep_alives_costs_a_ping_in_25_seconds() {
    let line = Line::delay(ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    world.pass(Duration::from_secs(24 * 3600));
    for side in SIDES {
        assert!(world.tunnel(side).is_open());
        let messages = world.end(side).wire.taken_messages;
        // Both may ask, and both answer.
        assert!(
            (2_000..=2 * 24 * 3600 / 25 + 10).contains(&messages),
            "{messages}"
        );
    }
}

#[test]
fn silence_is_noticed_within_45_seconds_whatever_was_going_on() {
    for (busy, quiet_s) in [(false, 0), (false, 7), (false, 24), (true, 0), (true, 3)] {
        let line = Line::rate(UPLINK_BYTES_PER_S, ONE_WAY);
        let mut world = World::open(line.clone(), line, 1);
        let mut bulk = Bulk::start(&mut world, Side::Node, 2);
        world.pass(Duration::from_secs(60 + quiet_s));
        if busy {
            bulk.run(&mut world, Duration::from_secs(1), |_| {});
        }
        let cut_at = world.now;
        let forever = cut_at + Duration::from_secs(1_000_000);
        for side in SIDES {
            world.end(side).wire.stall(forever);
        }
        for side in SIDES {
            let closed_at = time_of_close(&mut world, side, cut_at + Duration::from_secs(100));
            let took = closed_at - cut_at;
            assert!(took <= Duration::from_secs(45), "{side:?} after {took:?}");
            assert!(
                took >= Duration::from_secs(15),
                "{side:?} after {took:?}: too soon"
            );
            let closed = world.end(side).closed.clone();
            assert!(
                matches!(
                    closed,
                    Some(Closed {
                        code: CloseCode::Silent,
                        by: Initiator::Local,
                        ..
                    })
                ),
                "{closed:?}"
            );
        }
    }
}

fn time_of_close(world: &mut World, side: Side, until: Instant) -> Instant {
    loop {
        world.settle();
        if world.end(side).closed.is_some() {
            return world.now;
        }
        assert!(world.step(until), "{side:?} never noticed");
    }
}

#[test]
fn a_pause_shorter_than_that_is_survived() {
    let line = Line::delay(ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let stream = world.stream(Side::Hub);
    for _ in 0..20 {
        let until = world.now + Duration::from_secs(19);
        for side in SIDES {
            world.end(side).wire.stall(until);
        }
        world.pass(Duration::from_secs(19));
        world.write(Side::Hub, stream, 100);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.read(Side::Node, stream), Some(100));
    }
}

#[test]
fn deadline_moves_on_although_the_transport_takes_nothing() {
    let line = Line::delay(Duration::from_millis(1));
    let mut world = World::open(line.clone(), line, 1);
    let stream = world.stream(Side::Hub);
    world.write(Side::Hub, stream, 1000);
    world.settle();
    let message = loop {
        let now = world.now;
        if let Some(message) = world.end(Side::Hub).wire.receive(now) {
            break message;
        }
        world.now = world.end(Side::Hub).wire.arrives_at().unwrap();
    };
    let mut now = world.now;
    let node = world.tunnel(Side::Node);
    node.handle_message(now, message).unwrap();
    let mut first = bytes::BytesMut::new();
    node.poll_transmit(now, &mut first);
    // From here on nothing can be sent, and time goes by.
    let mut wakes = 0;
    while let Some(at) = node.poll_timeout() {
        now = now.max(at);
        node.handle_timeout(now);
        wakes += 1;
        assert!(wakes < 10, "a driver would be kept busy with nothing to do");
    }
}

#[test]
fn both_sides_may_let_go_of_a_stream_with_more_to_send_than_its_window() {
    let line = Line::delay(ONE_WAY);
    let mut world = World::with(line.clone(), line, 1, |config| {
        config.stream_window_bytes = 16 * 1024
    });
    world.shake_hands();
    let stream = world.stream(Side::Hub);
    for side in SIDES {
        assert_eq!(
            world.write(side, stream, usize::MAX),
            Config::new(side).send_queue_bytes
        );
        world.tunnel(side).finish(stream);
        world.tunnel(side).release(stream);
    }
    world.pass(Duration::from_secs(1));
    for side in SIDES {
        assert_eq!(world.tunnel(side).stream_count(), 0, "{side:?}");
    }
}

#[test]
fn finished_stream_that_was_let_go_still_arrives_whole() {
    let line = Line::rate(100_000, ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    let stream = world.stream(Side::Hub);
    let written = world.write(Side::Node, stream, usize::MAX);
    world.tunnel(Side::Node).finish(stream);
    world.tunnel(Side::Node).release(stream);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.read(Side::Hub, stream), Some(written));
}

#[test]
fn small_answers_before_it_do_not_slow_a_download() {
    let line = Line {
        jitter: Duration::from_millis(2),
        ..Line::delay(ONE_WAY)
    };
    for seed in 0..20 {
        let mut world = World::open(line.clone(), line.clone(), seed);
        give_small_answers(&mut world);
        let mut bulk = Bulk::start(&mut world, Side::Node, 1);
        bulk.run(&mut world, Duration::from_millis(600), |_| {});
        assert!(bulk.total() >= 16 << 20, "seed {seed}: {} bytes", bulk.total());
    }
}

#[test]
fn small_answers_before_it_do_not_cut_a_download_into_crumbs() {
    let line = Line::delay(ONE_WAY);
    let mut world = World::open(line.clone(), line, 1);
    give_small_answers(&mut world);
    let stream = world.stream(Side::Hub);
    world.end(Side::Node).tapped = Some(Vec::new());
    let written = world.write(Side::Node, stream, usize::MAX);
    world.settle();
    let messages = world.end(Side::Node).tapped.take().unwrap();
    assert!(
        messages.len() <= written / 16_000 + 1,
        "{} messages for {written} bytes",
        messages.len()
    );
}

/// Ten times 64 answers of 1 KiB: they leave the path as unknown as it was.
fn give_small_answers(world: &mut World) {
    for _ in 0..10 {
        let streams: Vec<StreamId> = (0..64).map(|_| world.stream(Side::Hub)).collect();
        for stream in &streams {
            world.write(Side::Node, *stream, 1024);
        }
        world.pass(Duration::from_millis(40));
        for stream in streams {
            world.read(Side::Hub, stream);
            world.tunnel(Side::Hub).reset(stream, ResetCode::Cancelled, "");
        }
        world.pass(Duration::from_millis(100));
        for side in SIDES {
            world.end(side).events.clear();
        }
    }
}
