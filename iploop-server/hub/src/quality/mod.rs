//! How good a node is as an exit: 0 to 100, from what really happened.
//!
//! ```text
//! score       = 100 × reliability × speed × stability
//! reliability = (good + 9) / (good + bad + 10)      new: 0.90
//! speed       = 1 / (1 + latency / 2 s)             new: 0.87
//! stability   = 2 ^ (−breaks / 4)                   new: 1
//! ```
//!
//! * `good` and `bad` count dials, by whose fault it was ([`Outcome`]); both halve every 30 minutes and never count more
//!   than the last 200 or so, so that neither an old glory nor an old trouble outweighs the present.
//! * `latency` is the tunnel's round trip plus the time of a dial, each a moving mean over about eight samples; 300 ms until
//!   one is known. The hub takes the time of a dial itself, from asking to the answer, less the round trip: what a device
//!   says of itself counts nowhere.
//! * `breaks` counts connections lost without a farewell; it halves every 6 hours.
//!
//! Beside the score stand the figures that `latency` and `speed` of a request's wishes are compared with ([`Quality::latency`],
//! [`Quality::rate`]), the times of a node's dials ([`Times`]), by which a slow one is told, and its [`Breaker`].
//!
//! Pure: the time is an argument. All figures are finite and bounded whatever comes in.

mod breaker;
mod memory;
mod times;

use std::time::{Duration, Instant};

pub use breaker::{Breaker, Verdict};
pub use memory::Memory;
pub use times::Times;

/// Dials halve in weight in this time.
const DIALS_HALF_LIFE: Duration = Duration::from_secs(30 * 60);
/// Lost connections halve in weight in this time.
const BREAKS_HALF_LIFE: Duration = Duration::from_secs(6 * 60 * 60);
/// What a node without history is credited with: nine good dials of ten.
const PRIOR_GOOD: f32 = 9.0;
const PRIOR_ALL: f32 = 10.0;
/// Most dials that count at the same time.
const MOST_DIALS: f32 = 200.0;
/// Most lost connections that count at the same time.
const MOST_BREAKS: f32 = 16.0;
/// Latency that halves the score, in milliseconds.
const SLOW_MS: f32 = 2000.0;
/// Latency assumed of a node that was not measured, in milliseconds: round trip and dial.
const ASSUMED_MS: f32 = 150.0;
/// Share of a new sample in a moving mean.
const SAMPLE_SHARE: f32 = 0.125;
/// Lost connections that halve the score.
const BREAKS_THAT_HALVE: f32 = 4.0;
/// What a node showed of its latency is believed for so long.
const LATENCY_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// The best rate that a node showed halves in this time.
const RATE_HALF_LIFE: Duration = Duration::from_secs(6 * 60 * 60);
/// The part of the times to the first byte that lies below the figure kept of them: the rest is the destinations' own.
const FIRST_BYTE_PART: f32 = 0.25;
/// Step by which that figure follows, as a share of itself.
const FIRST_BYTE_STEP: f32 = 0.05;
/// Dials of one node whose times are remembered.
pub const NODE_TIMES: u16 = 200;

/// How an attempt through a node ended, by who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It dialled, in this time without the way to it and back.
    Dialed(Duration),
    /// The destination's or the customer's doing, or a limit that the owner chose: says nothing about the node.
    Elsewhere,
    /// Name not found, no route, no answer: mostly the destination, sometimes the node's network. Counts a quarter.
    Doubtful,
    /// The node did not answer, had no room or broke.
    Node,
    /// Another one, asked later, was faster, and this one's answer was not waited for.
    Outrun,
    /// Not even a ping was answered while the dial was waited for.
    Silent,
}

/// What is remembered of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    good: f32,
    bad: f32,
    breaks: f32,
    dial_ms: f32,
    rtt_ms: f32,
    /// 0 until one was measured.
    first_byte_ms: f32,
    /// Bytes a second; 0 until it was measured.
    rate: f32,
    dialed_at: Option<Instant>,
    times: Times,
    at: Instant,
}

impl Quality {
    /// A node without history.
    pub fn new(now: Instant) -> Self {
        Self {
            good: 0.0,
            bad: 0.0,
            breaks: 0.0,
            dial_ms: ASSUMED_MS,
            rtt_ms: ASSUMED_MS,
            first_byte_ms: 0.0,
            rate: 0.0,
            dialed_at: None,
            times: Times::default(),
            at: now,
        }
    }

    /// Notes an attempt.
    pub fn note(&mut self, outcome: Outcome, now: Instant) {
        self.decay(now);
        match outcome {
            Outcome::Dialed(took) => {
                self.good += 1.0;
                if self.dialed_at.replace(now).is_none() {
                    self.dial_ms = millis(took);
                }
                sample(&mut self.dial_ms, took);
            }
            Outcome::Elsewhere => {}
            Outcome::Doubtful | Outcome::Outrun => self.bad += 0.25,
            Outcome::Node | Outcome::Silent => self.bad += 1.0,
        }
        let dials = self.good + self.bad;
        if dials > MOST_DIALS {
            self.good *= MOST_DIALS / dials;
            self.bad *= MOST_DIALS / dials;
        }
    }

    /// Notes a measured round trip of the tunnel.
    pub fn note_rtt(&mut self, rtt: Duration) {
        sample(&mut self.rtt_ms, rtt);
    }

    /// Notes how long a dial took, the way to the node and back included.
    pub fn note_open(&mut self, took: Duration) {
        self.times.note(took, NODE_TIMES);
    }

    /// The times of its dials, the way to the node and back included.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Notes what one stream showed: the time to its first byte, and its best rate in bytes a second.
    pub fn note_stream(&mut self, first_byte: Option<Duration>, rate: Option<u64>, now: Instant) {
        self.decay(now);
        if let Some(first_byte) = first_byte {
            let sample_ms = millis(first_byte).max(1.0);
            let kept = &mut self.first_byte_ms;
            let step = (*kept * FIRST_BYTE_STEP).max(1.0);
            match () {
                () if *kept <= 0.0 => *kept = sample_ms,
                () if sample_ms > *kept => *kept += step * FIRST_BYTE_PART,
                () => *kept = (*kept - step * (1.0 - FIRST_BYTE_PART)).max(sample_ms),
            }
        }
        if let Some(rate) = rate {
            self.rate = self.rate.max(rate as f32);
        }
    }

    /// The way to the node, its dial and back: what `latency` asks for. None while no dial was measured lately.
    ///
    /// The lower quartile of the times to the first byte where that is more: a node that says it has dialled before it has
    /// gains nothing.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let at = self.dialed_at?;
        let is_known = now.saturating_duration_since(at) < LATENCY_FOR;
        let millis = (self.dial_ms + self.rtt_ms).max(self.first_byte_ms);
        is_known.then(|| Duration::from_secs_f32(millis.clamp(0.0, 120_000.0) / 1000.0))
    }

    /// The best rate it showed towards customers, decayed, in bytes a second: what `speed` asks for. None until one was
    /// measured.
    pub fn rate(&self, now: Instant) -> Option<f32> {
        let mut present = *self;
        present.decay(now);
        (present.rate > 0.0).then_some(present.rate)
    }

    /// The share of dials that work, 0 to 1, as far as it is the node's doing.
    pub fn reliability(&self, now: Instant) -> f32 {
        let mut present = *self;
        present.decay(now);
        (present.good + PRIOR_GOOD) / (present.good + present.bad + PRIOR_ALL)
    }

    /// Notes that the connection was lost without a farewell.
    pub fn note_break(&mut self, now: Instant) {
        self.decay(now);
        self.breaks = (self.breaks + 1.0).min(MOST_BREAKS);
    }

    /// The score now, 0 to 100.
    pub fn score(&self, now: Instant) -> u8 {
        let mut present = *self;
        present.decay(now);
        let reliability = present.reliability(now);
        let speed = 1.0 / (1.0 + (present.dial_ms + present.rtt_ms) / SLOW_MS);
        let stability = (-present.breaks / BREAKS_THAT_HALVE).exp2();
        percent(reliability * speed * stability)
    }

    fn decay(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f32();
        let left = |half_life: Duration| (-passed / half_life.as_secs_f32()).exp2();
        self.good *= left(DIALS_HALF_LIFE);
        self.bad *= left(DIALS_HALF_LIFE);
        self.breaks *= left(BREAKS_HALF_LIFE);
        self.rate *= left(RATE_HALF_LIFE);
        self.at = self.at.max(now);
    }
}

fn sample(mean_ms: &mut f32, sample: Duration) {
    *mean_ms += (millis(sample) - *mean_ms) * SAMPLE_SHARE;
}

/// A minute is as bad as it gets: one outlier must not blot out a thousand samples.
fn millis(time: Duration) -> f32 {
    time.as_secs_f32().min(60.0) * 1000.0
}

/// A share of one in per cent.
fn percent(share: f32) -> u8 {
    let rounded = (share * 100.0).round().clamp(0.0, 100.0);
    (0..=100).rev().find(|n| f32::from(*n) <= rounded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIAL: Outcome = Outcome::Dialed(Duration::from_millis(50));

    fn after(outcomes: &[Outcome]) -> u8 {
        let now = Instant::now();
        let mut quality = Quality::new(now);
        for outcome in outcomes {
            quality.note(*outcome, now);
        }
        quality.score(now)
    }

    #[test]
    fn a_new_node_gets_the_benefit_of_the_doubt() {
        assert_eq!(after(&[]), 78);
    }

    #[test]
    fn only_the_node_s_own_failures_cost_it() {
        assert_eq!(after(&[Outcome::Elsewhere; 100]), after(&[]));
        assert!(after(&[Outcome::Node; 10]) < after(&[Outcome::Doubtful; 10]));
        assert!(after(&[Outcome::Doubtful; 10]) < after(&[]));
        assert!(after(&[DIAL; 10]) > after(&[]));
        assert!(after(&[Outcome::Node; 100]) < 10);
    }

    #[test]
    fn an_outage_shows_however_long_the_glory_before() {
        let mut outcomes = vec![DIAL; 100_000];
        outcomes.extend([Outcome::Node; 200]);
        assert!(after(&outcomes) < 40, "{}", after(&outcomes));
    }

    #[test]
    fn trouble_is_forgotten_in_time() {
        let start = Instant::now();
        let mut quality = Quality::new(start);
        for _ in 0..100 {
            quality.note(Outcome::Node, start);
        }
        for _ in 0..8 {
            quality.note_break(start);
        }
        assert!(quality.score(start) < 5);
        assert_eq!(quality.score(start + Duration::from_secs(60 * 60 * 24 * 7)), 78);
    }

    #[test]
    fn slowness_and_lost_connections_cost() {
        let now = Instant::now();
        let mut slow = Quality::new(now);
        for _ in 0..50 {
            slow.note(Outcome::Dialed(Duration::from_secs(2)), now);
            slow.note_rtt(Duration::from_millis(100));
        }
        assert!((40..55).contains(&slow.score(now)), "{}", slow.score(now));
        let mut fast = Quality::new(now);
        for _ in 0..50 {
            fast.note(Outcome::Dialed(Duration::from_millis(20)), now);
            fast.note_rtt(Duration::from_millis(20));
        }
        assert!(fast.score(now) > 94, "{}", fast.score(now));
        for _ in 0..4 {
            fast.note_break(now);
        }
        assert!((45..52).contains(&fast.score(now)), "{}", fast.score(now));
    }

    #[test]
    fn latency_is_what_the_hub_measured_and_is_forgotten() {
        let now = Instant::now();
        let mut quality = Quality::new(now);
        quality.note_rtt(Duration::from_millis(40));
        assert_eq!(quality.latency(now), None, "a round trip alone is no dial");
        for _ in 0..100 {
            quality.note_rtt(Duration::from_millis(40));
            quality.note(DIAL, now);
        }
        let latency = quality.latency(now).unwrap();
        assert!((89..92).contains(&latency.as_millis()), "{latency:?}");
        assert_eq!(quality.latency(now + LATENCY_FOR), None);
    }

    #[test]
    fn a_node_that_claims_to_have_dialled_is_measured_by_the_first_byte() {
        let now = Instant::now();
        let mut liar = Quality::new(now);
        liar.note_rtt(Duration::from_millis(1));
        for n in 0..200 {
            liar.note(Outcome::Dialed(Duration::ZERO), now);
            // Some destinations think for a long time; a quarter answers within 800 ms.
            liar.note_stream(Some(Duration::from_millis(600 + (n % 10) * 80)), None, now);
        }
        let latency = liar.latency(now).unwrap();
        assert!((650..900).contains(&latency.as_millis()), "{latency:?}");
    }

    #[test]
    fn the_best_rate_decays_and_a_slow_customer_does_not_lower_it() {
        let now = Instant::now();
        let mut quality = Quality::new(now);
        assert_eq!(quality.rate(now), None);
        quality.note_stream(None, Some(4_000_000), now);
        quality.note_stream(None, Some(10_000), now);
        let rate = |later| quality.rate(now + later).unwrap();
        assert!((rate(Duration::ZERO) - 4e6).abs() < 10.0);
        assert!((rate(RATE_HALF_LIFE) - 2e6).abs() < 10.0);
    }

    #[test]
    fn no_figure_breaks_the_score() {
        let now = Instant::now();
        let mut quality = Quality::new(now + Duration::from_secs(5));
        quality.note(Outcome::Dialed(Duration::MAX), now);
        quality.note_rtt(Duration::MAX);
        quality.note_open(Duration::MAX);
        quality.note_stream(Some(Duration::MAX), Some(u64::MAX), now);
        assert!(quality.latency(now).is_some() && quality.rate(now).is_some_and(f32::is_finite));
        for _ in 0..10_000 {
            quality.note_break(now);
        }
        assert!(quality.score(now) <= 100);
        assert!(quality.score(now + Duration::from_secs(u64::from(u32::MAX))) <= 100);
    }
}
