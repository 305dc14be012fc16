//! What an honest peer never exceeds, so that a hostile one costs bounded work.

use std::time::Instant;

/// A bucket that fills with events and leaks with time; full means flood.
#[derive(Debug)]
pub(super) struct Bucket {
    level: f64,
    capacity: f64,
    per_second: f64,
    at: Option<Instant>,
}

impl Bucket {
    pub(super) const fn new(capacity: u32, per_second: u32) -> Self {
        Self {
            level: 0.0,
            capacity: capacity as f64,
            per_second: per_second as f64,
            at: None,
        }
    }

    /// Counts events; false: too many.
    pub(super) fn add(&mut self, now: Instant, events: u32) -> bool {
        let elapsed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.level = (self.level - elapsed * self.per_second).max(0.0) + f64::from(events);
        self.level <= self.capacity
    }

    /// Takes events back that turned out to be honest work.
    pub(super) fn forgive(&mut self, events: u32) {
        self.level = (self.level - f64::from(events)).max(0.0);
    }
}

/// The buckets of one tunnel.
#[derive(Debug)]
pub(super) struct Guard {
    /// PINGs: an honest peer sends one in ten seconds or so.
    pub(super) pings: Bucket,
    /// Control messages: one in minutes; policies may come in a burst.
    pub(super) controls: Bucket,
    /// Streams reset before their answer: cheap for the peer, a dial for us.
    pub(super) churn: Bucket,
    /// Frames that carry nothing: WINDOW of few bytes, DATA on streams that were reset, extensions.
    pub(super) idle_frames: Bucket,
}

impl Guard {
    pub(super) const fn new() -> Self {
        Self {
            pings: Bucket::new(200, 20),
            controls: Bucket::new(100, 5),
            churn: Bucket::new(2_000, 200),
            idle_frames: Bucket::new(20_000, 10_000),
        }
    }
}
