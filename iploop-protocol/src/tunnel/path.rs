//! How much to keep in flight: enough to fill the path, no more, so that a small request does not queue behind bulk.
//!
//! The peer acknowledges DATA by giving connection credit back on receipt. From what was sent and when it came back we
//! learn the round-trip time and the delivery rate; their product is the path's content. More than that in flight only
//! fills queues between the two ends, where our scheduler can't reorder. The estimators are those of BBR
//! (draft-ietf-ccwg-bbr, sections 5.5 and 5.6): a windowed minimum of the round trip and a windowed maximum of the rate, which
//! only rounds in which the cap held something back can lower. Loss, pacing and retransmission are the transport's business.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// In flight before anything is known, in bytes. The transport's own slow start is below us.
const INITIAL_CAP_BYTES: u64 = 1024 * 1024;
/// Bytes between two marks: the grain of the samples.
const MARK_BYTES: u64 = 8 * 1024;
/// Most marks kept; with [`super::config::CONNECTION_WINDOW_BYTES`] in flight they are further apart.
const MAX_MARKS: usize = 512;
/// How long a minimum of the round trip is believed.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(30);
/// Queueing time that we allow ourselves beyond the path's content: acknowledgements come up to `ACK_DELAY` late …
const SLACK: Duration = Duration::from_millis(4);
/// … and, at a high rate, when one flush has come. Bulk by itself is given seven of them, so that it seldom waits for one …
const SLACK_BYTES: f64 = 448.0 * 1024.0;
/// … and four while a stream beside it says little, which then waits for less
/// (`docs/decisions/0013-room-of-bulk-by-itself.md`).
const SHARED_SLACK_BYTES: f64 = 256.0 * 1024.0;
/// So long after a stream said little another word is awaited.
const SHARED_FOR: Duration = Duration::from_millis(50);
/// The time that one message of bulk may take.
const BURST: Duration = Duration::from_millis(2);
/// Startup ends when the rate grew by less than a quarter in three rounds (BBR, section 5.3.1) …
const PLATEAU_ROUNDS: u32 = 3;
/// … or when the shortest round trip of a round is longer than the least by an eighth of it, within these bounds (HyStart++,
/// RFC 9406 section 4.2): a queue says that the path is full, also where windows and not the path limit the rate.
const MIN_RTT_RISE: Duration = Duration::from_millis(4);
const MAX_RTT_RISE: Duration = Duration::from_millis(16);
/// Less than this in a round makes no queue worth the name: if the round trip rose, something else did it.
const QUEUE_BYTES: u64 = 128 * 1024;
/// A rate that has grown by this much within a cycle says that the path has become faster.
const FASTER: f64 = 1.15;
/// Rounds between two probes for more rate, and how long a rate sample is believed.
const CYCLE_ROUNDS: u32 = 12;
/// Least time between two drains: a cycle of a fast path is too short to spend a part of it on an empty queue.
const DRAIN_EVERY: Duration = Duration::from_millis(500);
/// A path counts as full that had room and nothing to fill it for a part of the time that is no larger than one in so many.
const FULL_BUT_FOR: u32 = 10;

/// The estimators of one direction of one tunnel.
#[derive(Debug)]
pub(super) struct Path {
    sent: u64,
    acked: u64,
    acked_at: Option<Instant>,
    marks: VecDeque<Mark>,
    /// When a stream said little last.
    little_at: Option<Instant>,
    /// The cap held something back in this round: otherwise what was delivered is no measure of the path.
    was_full: bool,
    /// When [`Path::delivery`] was asked last, the time since then that had room and nothing to fill it, and whether it has now.
    asked_at: Option<Instant>,
    idle: Duration,
    idle_since: Option<Instant>,
    rtt: MinFilter,
    rate: MaxFilter,
    round_ends_at: u64,
    round_began_at: u64,
    rounds: u32,
    /// The queue is to run empty in this round.
    drains: bool,
    drained_at: Option<Instant>,
    /// The shortest round trip of this round.
    round_rtt: Option<Duration>,
    phase: Phase,
}

/// What became of the DATA that this side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes of DATA that the peer has received.
    pub delivered_bytes: u64,
    /// There was more to send than the path took, but for a tenth of the time since this was asked last: what was delivered
    /// meanwhile is the path's rate.
    pub was_full: bool,
}

/// Bytes that may be sent now, see [`Path::rooms`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Rooms {
    pub(super) bulk: u64,
    pub(super) quiet: u64,
}

#[derive(Debug)]
enum Phase {
    /// The rate grows from round to round.
    Startup {
        best: f64,
        stale_rounds: u32,
        /// The path was full before and has become faster: it is asked more gently.
        again: bool,
    },
    /// The path is full.
    Steady {
        /// The rate at the start of this cycle.
        rate: f64,
    },
}

/// A point in the byte sequence and what was known when it was sent.
#[derive(Debug)]
struct Mark {
    sent: u64,
    at: Instant,
    acked: u64,
    acked_at: Instant,
}

impl Path {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            acked: 0,
            acked_at: None,
            marks: VecDeque::new(),
            little_at: None,
            was_full: false,
            asked_at: None,
            idle: Duration::ZERO,
            idle_since: None,
            rtt: MinFilter::default(),
            rate: MaxFilter::default(),
            round_ends_at: 0,
            round_began_at: 0,
            rounds: 0,
            drains: false,
            drained_at: None,
            round_rtt: None,
            phase: Phase::Startup {
                best: 0.0,
                stale_rounds: 0,
                again: false,
            },
        }
    }

    /// Bytes that may be sent now. Bulk waits for the room of a whole message of `message_bytes`, as a piece of one would cost as
    /// much; a stream that has been quiet may go one message beyond, so that a small answer waits for no acknowledgement.
    pub(super) fn rooms(&self, now: Instant, message_bytes: u64) -> Rooms {
        let in_flight = self.sent - self.acked;
        let cap = self.cap(now);
        let bulk = cap.saturating_sub(in_flight);
        Rooms {
            bulk: if bulk < message_bytes && in_flight > 0 {
                0
            } else {
                bulk
            },
            quiet: (cap + message_bytes).saturating_sub(in_flight),
        }
    }

    /// Bytes of one message: what the path carries in [`BURST`], so that a small frame never waits long for one before it.
    ///
    /// While nothing has filled the path its rate is not known, only that of the small answers it had to carry: a message of 2 ms
    /// of these would be all headers, and TCP counts such crumbs as packets of its own.
    pub(super) fn burst_bytes(&self, most: usize) -> usize {
        let rate = self.rate.get();
        if rate == 0.0 || matches!(self.phase, Phase::Startup { again: false, .. }) {
            return most;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive; saturates"
        )]
        let burst = (rate * BURST.as_secs_f64()) as usize;
        burst.clamp(most.min(2 * 1024), most)
    }

    /// The round trip without queues, as far as it is known.
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        self.rtt.get()
    }

    /// A sample from PING and PONG.
    pub(super) fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        self.rtt.note(now, rtt);
    }

    /// `bytes` of DATA were handed to the transport.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.sent == self.acked {
            // Nothing was in flight: the time since the last acknowledgement says nothing about the path.
            self.acked_at = Some(now);
        }
        if let Some(since) = self.idle_since.take() {
            self.idle += now.saturating_duration_since(since);
        }
        self.sent += bytes;
        let last = self.marks.back().map_or(0, |mark| mark.sent);
        if self.marks.is_empty() || (self.sent >= last + MARK_BYTES && self.marks.len() < MAX_MARKS) {
            self.marks.push_back(Mark {
                sent: self.sent,
                at: now,
                acked: self.acked,
                acked_at: self.acked_at.unwrap_or(now),
            });
        }
    }

    /// A stream had no more to say than fits one message.
    pub(super) fn on_little(&mut self, now: Instant) {
        self.little_at = Some(now);
    }

    /// There is something to send and no room for it.
    pub(super) fn on_full(&mut self) {
        self.was_full = true;
    }

    /// There is room in flight and nothing to fill it with.
    pub(super) fn on_idle(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// What arrived, and whether the path was full since this was asked last.
    pub(super) fn delivery(&mut self, now: Instant) -> Delivery {
        if let Some(since) = &mut self.idle_since {
            self.idle += now.saturating_duration_since(*since);
            *since = now;
        }
        let watched = self
            .asked_at
            .replace(now)
            .map(|at| now.saturating_duration_since(at));
        let idle = std::mem::take(&mut self.idle);
        Delivery {
            delivered_bytes: self.acked,
            was_full: self.sent > self.acked && watched.is_some_and(|watched| idle * FULL_BUT_FOR <= watched),
        }
    }

    /// The peer received `bytes` more.
    pub(super) fn on_acked(&mut self, now: Instant, bytes: u64) {
        self.acked = (self.acked + bytes).min(self.sent);
        self.acked_at = Some(now);
        while let Some(mark) = self.marks.front() {
            if mark.sent > self.acked {
                break;
            }
            let rtt = now.saturating_duration_since(mark.at);
            self.rtt.note(now, rtt);
            self.round_rtt = Some(self.round_rtt.map_or(rtt, |least| least.min(rtt)));
            let elapsed = now.saturating_duration_since(mark.acked_at).as_secs_f64();
            if elapsed > 0.0 {
                #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
                let rate = (self.acked - mark.acked) as f64 / elapsed;
                self.rate.note(self.rounds, rate);
            }
            self.marks.pop_front();
        }
        if self.acked >= self.round_ends_at {
            self.on_round(now);
            self.round_began_at = self.acked;
            self.round_ends_at = self.sent;
        }
    }

    fn on_round(&mut self, now: Instant) {
        let rate = self.rate.get();
        let has_queue = match (self.rtt.get(), self.round_rtt.take()) {
            (Some(least), Some(round)) => {
                round > least + (least / 8).clamp(MIN_RTT_RISE, MAX_RTT_RISE)
                    && self.acked - self.round_began_at >= QUEUE_BYTES
            }
            _ => false,
        };
        // While there is too little to send, time brings no news: old samples stay.
        let was_full = std::mem::take(&mut self.was_full);
        if was_full {
            self.rounds = self.rounds.wrapping_add(1);
            self.drains = self.rounds % CYCLE_ROUNDS == 1
                && self
                    .drained_at
                    .is_none_or(|at| now.saturating_duration_since(at) >= DRAIN_EVERY);
            if self.drains {
                self.drained_at = Some(now);
            }
        }
        match &mut self.phase {
            Phase::Startup { .. } if has_queue => self.phase = Phase::Steady { rate },
            Phase::Startup {
                best, stale_rounds, ..
            } if was_full => {
                if rate > *best * 1.25 {
                    *best = rate;
                    *stale_rounds = 0;
                } else {
                    *stale_rounds += 1;
                    if *stale_rounds >= PLATEAU_ROUNDS {
                        self.phase = Phase::Steady { rate };
                    }
                }
            }
            Phase::Steady { rate: before } if was_full && !has_queue && rate > *before * FASTER => {
                self.phase = Phase::Startup {
                    best: rate,
                    stale_rounds: 0,
                    again: true,
                };
            }
            Phase::Steady { rate: before } if self.rounds.is_multiple_of(CYCLE_ROUNDS) => *before = rate,
            Phase::Startup { .. } | Phase::Steady { .. } => {}
        }
    }

    /// Bytes that may be in flight.
    fn cap(&self, now: Instant) -> u64 {
        let (Some(rtt), rate) = (self.rtt.get(), self.rate.get()) else {
            return INITIAL_CAP_BYTES;
        };
        if rate == 0.0 {
            return INITIAL_CAP_BYTES;
        }
        let is_shared = self
            .little_at
            .is_some_and(|at| now.saturating_duration_since(at) < SHARED_FOR);
        let slack_bytes = if is_shared {
            SHARED_SLACK_BYTES
        } else {
            SLACK_BYTES
        };
        let slack = (slack_bytes / rate).min(SLACK.as_secs_f64());
        let (gain, slack) = match self.phase {
            Phase::Startup { again: false, .. } => (3.0, slack),
            Phase::Startup { again: true, .. } => (2.0, slack),
            // Once in a cycle ask for more, then, when it is time, let the queue run empty: the round trip is seen without it.
            Phase::Steady { .. } if self.drains => (0.98, 0.0),
            Phase::Steady { .. } if self.rounds.is_multiple_of(CYCLE_ROUNDS) => (1.12, slack),
            Phase::Steady { .. } => (1.0, slack),
        };
        let content = rate * (rtt.as_secs_f64() * gain + slack);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive; saturates"
        )]
        let content = content as u64;
        match self.phase {
            Phase::Startup { again: false, .. } => content.max(INITIAL_CAP_BYTES),
            _ => content.max(2 * MARK_BYTES),
        }
    }
}

/// The least of the last [`MIN_RTT_WINDOW`], kept in two halves.
#[derive(Debug, Default)]
struct MinFilter {
    since: Option<Instant>,
    current: Option<Duration>,
    previous: Option<Duration>,
}

impl MinFilter {
    fn note(&mut self, now: Instant, sample: Duration) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > MIN_RTT_WINDOW / 2 {
            self.since = Some(now);
            self.previous = self.current.take();
        }
        self.current = Some(self.current.map_or(sample, |least| least.min(sample)));
    }

    fn get(&self) -> Option<Duration> {
        match (self.current, self.previous) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The most of the last one to two cycles of rounds.
#[derive(Debug, Default)]
struct MaxFilter {
    cycle: u32,
    current: f64,
    previous: f64,
}

impl MaxFilter {
    fn note(&mut self, round: u32, sample: f64) {
        let cycle = round / CYCLE_ROUNDS;
        if cycle != self.cycle {
            self.cycle = cycle;
            self.previous = self.current;
            self.current = 0.0;
        }
        self.current = self.current.max(sample);
    }

    fn get(&self) -> f64 {
        self.current.max(self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as `Path` allows over a path of `rate` bytes a second and `rtt`; returns (delivered, longest queue).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some kilobytes"
    )]
    fn run(rate: f64, rtt: Duration, for_: Duration) -> (f64, f64) {
        let start = Instant::now();
        let mut path = Path::new();
        path.on_rtt(start, rtt);
        let mut now = Duration::ZERO;
        let step = Duration::from_micros(500);
        let (mut queue, mut delivered, mut longest) = (0.0_f64, 0.0_f64, 0.0_f64);
        let mut acks: VecDeque<(Duration, u64)> = VecDeque::new();
        let mut carry = 0.0;
        while now < for_ {
            loop {
                let message_bytes = path.burst_bytes(16 * 1024) as u64;
                let bytes = path.rooms(start + now, message_bytes).bulk.min(message_bytes);
                if bytes == 0 {
                    break;
                }
                path.on_sent(start + now, bytes);
                queue += bytes as f64;
            }
            let served = (rate * step.as_secs_f64()).min(queue);
            queue -= served;
            delivered += served;
            carry += served;
            if now > for_ / 2 {
                longest = longest.max(queue);
            }
            if carry >= 4096.0 {
                acks.push_back((now + rtt, carry as u64));
                carry -= (carry as u64) as f64;
            }
            now += step;
            while acks.front().is_some_and(|(at, _)| *at <= now) {
                let (_, bytes) = acks.pop_front().unwrap();
                path.on_acked(start + now, bytes);
            }
        }
        (delivered / (rate * for_.as_secs_f64()), longest / rate)
    }

    #[test]
    fn fills_a_slow_path_without_a_standing_queue() {
        let (used, queue_s) = run(2_500_000.0, Duration::from_millis(50), Duration::from_secs(20));
        assert!(used > 0.97, "used {used}");
        assert!(queue_s < 0.025, "queue of {queue_s} s");
    }

    #[test]
    fn fills_a_fast_path() {
        let (used, _) = run(500_000_000.0, Duration::from_millis(1), Duration::from_secs(5));
        assert!(used > 0.97, "used {used}");
    }

    /// Sends over a path that takes 64 KiB in each 64 µs until `done`; returns the time.
    fn flood(path: &mut Path, mut now: Instant, done: impl Fn(&Path, Instant) -> bool) -> Instant {
        while !done(path, now) {
            let message = path.rooms(now, 16 * 1024).bulk.min(16 * 1024);
            if message == 0 {
                path.on_full();
                now += Duration::from_micros(64);
                path.on_acked(now, 64 * 1024);
            } else {
                path.on_sent(now, message);
            }
        }
        now
    }

    #[test]
    fn bulk_has_less_room_while_a_stream_beside_it_says_little() {
        let start = Instant::now();
        let mut path = Path::new();
        path.on_rtt(start, Duration::from_micros(100));
        let now = flood(&mut path, start, |path, _| {
            matches!(path.phase, Phase::Steady { .. }) && path.rounds % CYCLE_ROUNDS > 1
        });
        let alone = path.cap(now);
        path.on_little(now);
        let beside = path.cap(now + SHARED_FOR / 2);
        assert_eq!(alone - beside, 192 * 1024, "{alone} alone, {beside} beside");
        assert_eq!(path.cap(now + SHARED_FOR), alone);
    }

    #[test]
    fn the_queue_of_a_fast_path_runs_empty_twice_a_second() {
        let start = Instant::now();
        let mut path = Path::new();
        path.on_rtt(start, Duration::from_micros(100));
        let mut now = flood(&mut path, start, |path, _| path.drains);
        for _ in 0..3 {
            let ended = flood(&mut path, now, |path, _| !path.drains);
            let drained = flood(&mut path, ended, |path, _| path.drains);
            let apart = drained - now;
            assert!(apart >= DRAIN_EVERY && apart < DRAIN_EVERY * 11 / 10, "{apart:?}");
            now = drained;
        }
    }

    #[test]
    fn a_path_is_full_only_while_there_is_more_to_send_than_it_takes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut path = Path::new();
        path.on_sent(start, 100_000);
        assert!(!path.delivery(start).was_full, "nobody has watched");
        path.on_acked(at(900), 50_000);
        let seen = path.delivery(at(1000));
        assert_eq!((seen.delivered_bytes, seen.was_full), (50_000, true));
        // Room, and nothing to fill it, for a tenth of the time …
        path.on_idle(at(1500));
        path.on_idle(at(1550));
        path.on_sent(at(1600), 50_000);
        assert!(path.delivery(at(2000)).was_full);
        // … for longer, and still at the end …
        path.on_idle(at(2800));
        assert!(!path.delivery(at(3000)).was_full);
        path.on_sent(at(3101), 50_000);
        assert!(!path.delivery(at(4000)).was_full);
        assert!(path.delivery(at(5000)).was_full);
        // … and when nothing is under way.
        path.on_acked(at(5500), 150_000);
        assert!(!path.delivery(at(6000)).was_full);
    }
}
