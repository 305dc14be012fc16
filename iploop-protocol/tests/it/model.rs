//! What has to hold for streams, whatever happens: bytes read are a prefix of bytes written, all of them without a reset.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{MAX_DATA_BYTES, StreamId, StreamKind};
use iploop_protocol::tunnel::{Closed, Event, Initiator, Read, Side, StreamError};

use crate::rng::Rng;
use crate::world::{SIDES, World, other};

/// What may be done, by its number: streams are picked from those that are known, modulo their number.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Ask for a stream, with so many first bytes.
    Open { by: Side, early: usize },
    /// Accept or refuse the oldest stream that waits for it.
    Answer { by: Side, accept: bool },
    /// Write so many bytes, or as many as there is room for.
    Write { by: Side, pick: usize, bytes: usize },
    /// Read so many bytes, or as many as there are.
    Read { by: Side, pick: usize, bytes: usize },
    /// Write no more.
    Finish { by: Side, pick: usize },
    /// Abort.
    Reset { by: Side, pick: usize },
    /// Drop the handle.
    LetGo { by: Side, pick: usize },
    /// Let time go by.
    Wait(Duration),
    /// Nothing arrives for so long from one side.
    Stall { from: Side, time: Duration },
    /// Take no new streams.
    Drain { by: Side },
}

impl Op {
    /// Any of them; writing and reading most often.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let by = SIDES[rng.index(2)];
        let pick = rng.index(64);
        match rng.below(40) {
            0..4 => Self::Open {
                by,
                early: if rng.chance(1, 2) {
                    0
                } else {
                    rng.index(MAX_DATA_BYTES + 1)
                },
            },
            4..9 => Self::Answer {
                by,
                accept: !rng.chance(1, 8),
            },
            9..18 => Self::Write {
                by,
                pick,
                bytes: rng.mostly(3_000, 70_000),
            },
            18..27 => Self::Read {
                by,
                pick,
                bytes: rng.mostly(200_000, 2_000) + 1,
            },
            27..29 => Self::Finish { by, pick },
            29 => Self::Reset { by, pick },
            30 => Self::LetGo { by, pick },
            31 => Self::Stall {
                from: by,
                time: Duration::from_millis(rng.below(300)),
            },
            _ => Self::Wait(Duration::from_micros(rng.below(20_000))),
        }
    }
}

/// One side's view of a stream.
#[derive(Debug, Default)]
struct Half {
    written: u64,
    finished: bool,
    read: u64,
    /// The end was read.
    ended: bool,
    /// The handle is gone.
    gone: bool,
    /// What it writes may be cut off before its end.
    cut: bool,
}

#[derive(Debug)]
struct Talk {
    id: StreamId,
    opener: Side,
    halves: [Half; 2],
    /// The acceptor has answered with OPENED.
    accepted: bool,
}

impl Talk {
    /// Somebody gave the stream up before its end.
    fn aborted(&self) -> bool {
        self.halves.iter().any(|half| half.cut)
    }

    /// Whatever either side still writes may be cut off.
    fn abort(&mut self) {
        for half in &mut self.halves {
            half.cut = true;
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Hub => &mut self.halves[0],
            Side::Node => &mut self.halves[1],
        }
    }
}

/// A world and what has to be true of it.
pub(crate) struct Model {
    pub(crate) world: World,
    talks: Vec<Talk>,
}

impl Model {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            talks: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match *op {
            Op::Open { by, early } => self.open(by, early),
            Op::Answer { by, accept } => self.answer(by, accept),
            Op::Write { by, pick, bytes } => self.on(by, pick, |model, at| model.write(by, at, bytes)),
            Op::Read { by, pick, bytes } => self.on(by, pick, |model, at| {
                model.read(by, at, bytes);
            }),
            Op::Finish { by, pick } => self.on(by, pick, |model, at| model.finish(by, at)),
            Op::Reset { by, pick } => self.on(by, pick, |model, at| model.reset(by, at)),
            Op::LetGo { by, pick } => self.on(by, pick, |model, at| model.let_go(by, at)),
            Op::Wait(time) => self.world.pass(time),
            Op::Drain { by } => self.world.tunnel(by).drain(Duration::from_secs(30)),
            Op::Stall { from, time } => {
                let until = self.world.now + time;
                self.world.end(from).wire.stall(until);
            }
        }
        self.world.settle();
        self.see();
    }

    /// Everybody writes what is to be written, reads to the end and goes; then nothing may be left.
    pub(crate) fn wind_down(mut self) {
        let until = self.world.now + Duration::from_secs(600);
        loop {
            self.world.settle();
            self.see();
            for side in SIDES {
                self.answer(side, true);
            }
            let mut all_gone = true;
            for at in 0..self.talks.len() {
                for side in SIDES {
                    self.finish(side, at);
                    if !self.talks[at].half(side).gone && self.read(side, at, usize::MAX) {
                        self.let_go(side, at);
                    }
                    all_gone &= self.talks[at].half(side).gone;
                }
            }
            let is_quiet = SIDES.iter().all(|side| {
                let end = self.world.end(*side);
                end.tunnel.stream_count() == 0 && end.wire.arrives_at().is_none() && end.events.is_empty()
            });
            if all_gone && is_quiet {
                break;
            }
            assert!(
                self.world.step(until),
                "it never ends: {:#?}",
                self.talks
                    .iter()
                    .filter(|talk| talk.halves.iter().any(|half| !half.gone))
                    .collect::<Vec<_>>()
            );
        }
        self.world.pass(Duration::from_secs(1));
        self.check_nothing_left(true);
    }

    /// One side closes: both know why, and nothing is left.
    pub(crate) fn close(mut self, by: Side, code: CloseCode) {
        self.world
            .tunnel(by)
            .close(code, Some(Duration::from_secs(5)), "enough");
        self.world.pass(Duration::from_secs(60));
        for (side, initiator) in [(by, Initiator::Local), (other(by), Initiator::Peer)] {
            let closed = self.world.end(side).closed.clone();
            let expected = Closed {
                code,
                by: initiator,
                reason: "enough".into(),
                retry_after: Some(Duration::from_secs(5)),
            };
            assert_eq!(closed, Some(expected), "{side:?}");
        }
        self.check_nothing_left(false);
    }

    /// The connection is gone for both: nothing is left.
    pub(crate) fn lose(mut self) {
        for side in SIDES {
            self.world.tunnel(side).handle_transport_closed("cut");
        }
        self.world.settle();
        for side in SIDES {
            let closed = self.world.end(side).closed.as_ref().map(|closed| closed.by);
            assert_eq!(closed, Some(Initiator::Transport));
        }
        self.check_nothing_left(false);
    }

    fn check_nothing_left(&mut self, is_open: bool) {
        assert_eq!(self.world.reserved_bytes(), 0, "the budget is back at its start");
        for side in SIDES {
            let tunnel = self.world.tunnel(side);
            assert_eq!(tunnel.is_open(), is_open);
            assert_eq!(tunnel.stream_count(), 0);
            assert_eq!(tunnel.held_bytes(), 0, "{side:?} holds nothing any longer");
        }
    }

    /// Takes note of what the tunnels tell.
    fn see(&mut self) {
        for side in SIDES {
            let mut kept = std::collections::VecDeque::new();
            for event in std::mem::take(&mut self.world.end(side).events) {
                match event {
                    Event::Incoming { .. } => kept.push_back(event),
                    Event::Opened { stream, .. } => {
                        let talk = self.talk(stream);
                        assert!(talk.accepted && talk.opener == side);
                    }
                    Event::OpenFailed { stream, code, .. } => {
                        let talk = self.talk(stream);
                        // The other side may still be busy with streams that are over here.
                        if matches!(code, ResetCode::Busy | ResetCode::Draining) {
                            talk.abort();
                        }
                        assert!(talk.aborted() && talk.opener == side);
                        talk.half(side).gone = true;
                    }
                    Event::Reset(stream) => assert!(self.talk(stream).aborted()),
                    Event::Closed(closed) => panic!("{side:?} was closed: {closed:?}"),
                    Event::Control(_) | Event::Readable(_) | Event::Writable(_) | Event::Draining { .. } => {}
                }
            }
            self.world.end(side).events = kept;
        }
    }

    fn talk(&mut self, id: StreamId) -> &mut Talk {
        self.talks.iter_mut().find(|talk| talk.id == id).unwrap()
    }

    /// Does something to a stream that `by` has in its hands.
    fn on(&mut self, by: Side, pick: usize, act: impl FnOnce(&mut Self, usize)) {
        let held: Vec<usize> = (0..self.talks.len())
            .filter(|at| {
                let talk = &mut self.talks[*at];
                !talk.half(by).gone && (talk.opener == by || talk.accepted)
            })
            .collect();
        if !held.is_empty() {
            act(self, held[pick % held.len()]);
        }
    }

    fn open(&mut self, by: Side, early: usize) {
        let destination = Destination::parse_authority("example.com:443").unwrap();
        let next = self.next_id(by);
        let early = pattern(next, by, 0, early);
        let early_bytes = early.len() as u64;
        let timeout = Duration::from_secs(10);
        let opened = self
            .world
            .tunnel(by)
            .open(StreamKind::Tcp, destination, 7, timeout, early);
        if let Ok(id) = opened {
            assert_eq!(id, next, "ids rise by two");
            self.begin(id, by, early_bytes);
        }
    }

    fn next_id(&self, by: Side) -> StreamId {
        let opened = self.talks.iter().filter(|talk| talk.opener == by).count();
        StreamId(2 * u32::try_from(opened).unwrap() + if by == Side::Hub { 1 } else { 2 })
    }

    fn begin(&mut self, id: StreamId, opener: Side, early: u64) {
        let mut talk = Talk {
            id,
            opener,
            halves: [Half::default(), Half::default()],
            accepted: false,
        };
        talk.half(opener).written = early;
        // The acceptor has nothing in its hands until it accepts.
        talk.half(other(opener)).gone = true;
        self.talks.push(talk);
    }

    fn answer(&mut self, by: Side, accept: bool) {
        let Some(Event::Incoming { stream, .. }) = self.world.end(by).events.pop_front() else {
            return;
        };
        if !accept {
            self.talk(stream).abort();
            self.world.tunnel(by).reset(stream, ResetCode::Paused, "");
            return;
        }
        let accepted = self.world.tunnel(by).accept(stream, Duration::from_millis(1));
        let talk = self.talk(stream);
        match accepted {
            Ok(()) => {
                talk.accepted = true;
                talk.half(by).gone = false;
            }
            Err(_) => {
                assert!(talk.aborted(), "only what was given up can't be accepted");
                self.world.tunnel(by).release(stream);
            }
        }
    }

    fn write(&mut self, by: Side, at: usize, bytes: usize) {
        let talk = &mut self.talks[at];
        let (id, aborted) = (talk.id, talk.aborted());
        let half = talk.half(by);
        if half.finished {
            return;
        }
        let mut data = pattern(id, by, half.written, bytes);
        match self.world.tunnel(by).write(id, &mut data) {
            Ok(taken) => self.talks[at].half(by).written += taken as u64,
            Err(StreamError::Reset { .. }) => assert!(aborted, "reset by nobody"),
            Err(StreamError::Closed) => panic!("stream {} is closed to {by:?}", id.0),
        }
    }

    /// Reads up to `bytes`; true: there is no more to come.
    fn read(&mut self, by: Side, at: usize, bytes: usize) -> bool {
        let now = self.world.now;
        let mut left = bytes;
        while left > 0 {
            let talk = &mut self.talks[at];
            let id = talk.id;
            if talk.half(by).ended {
                return true;
            }
            let peer = talk.half(other(by));
            let (written, finished, cut) = (peer.written, peer.finished, peer.cut);
            match self.world.tunnel(by).read(now, id, left) {
                Ok(Read::Data(data)) => {
                    assert!(!data.is_empty() && data.len() <= left);
                    left -= data.len();
                    let half = self.talks[at].half(by);
                    let expected = pattern(id, other(by), half.read, data.len());
                    assert!(data == expected, "stream {} at {}: other bytes", id.0, half.read);
                    half.read += data.len() as u64;
                    assert!(half.read <= written, "no more than was written");
                }
                Ok(Read::Blocked) => return false,
                Ok(Read::Finished) => {
                    let half = self.talks[at].half(by);
                    half.ended = true;
                    assert!(finished, "an end that nobody wrote");
                    assert_eq!(half.read, written, "all that was written before the end");
                }
                Err(StreamError::Reset { .. }) => {
                    assert!(cut, "reset by nobody");
                    return true;
                }
                Err(StreamError::Closed) => panic!("stream {} is closed to {by:?}", id.0),
            }
        }
        false
    }

    fn finish(&mut self, by: Side, at: usize) {
        let talk = &mut self.talks[at];
        if !talk.half(by).gone {
            talk.half(by).finished = true;
            let id = talk.id;
            self.world.tunnel(by).finish(id);
        }
    }

    fn reset(&mut self, by: Side, at: usize) {
        let talk = &mut self.talks[at];
        talk.abort();
        talk.half(by).gone = true;
        let id = talk.id;
        self.world
            .tunnel(by)
            .reset(id, ResetCode::Internal, "by the model");
    }

    fn let_go(&mut self, by: Side, at: usize) {
        let talk = &mut self.talks[at];
        let id = talk.id;
        let half = talk.half(by);
        half.gone = true;
        // Who goes before the end of the other direction cuts it off; without an end of its own, this one too.
        let (finished, ended) = (half.finished, half.ended);
        half.cut |= !finished;
        talk.half(other(by)).cut |= !ended;
        self.world.tunnel(by).release(id);
    }
}

/// Bytes that a side writes on a stream, from an offset on: a slice, since time in tests is dear.
fn pattern(id: StreamId, writer: Side, offset: u64, bytes: usize) -> Bytes {
    const PERIOD: u64 = 65_521;
    const LONGEST: usize = 256 * 1024;
    static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
        let mut rng = Rng::new(1);
        let period: Vec<u8> = (0..PERIOD).map(|_| rng.next().to_le_bytes()[0]).collect();
        let all: Vec<u8> = period
            .iter()
            .copied()
            .cycle()
            .take(period.len() + LONGEST)
            .collect();
        Bytes::from(all)
    });
    let salt = u64::from(id.0) * 7919 + if writer == Side::Hub { 0 } else { 31_337 };
    let at = usize::try_from((salt + offset) % PERIOD).unwrap();
    NOISE.slice(at..at + bytes.min(LONGEST))
}
