//! The rate of a link as its own traffic shows it.
//!
//! What leaves tells how fast a link is only while it is full: bytes waited all the time, and it was not we who held them back.
//! The tunnel knows that, for its peer acknowledges on receipt. So a measurement is the rate of some seconds that were
//! full throughout. A better one counts at once, for a link does not carry more than it can; a worse one counts by a part,
//! for the owner may have been sending meanwhile. What limits the path elsewhere, at the hub say, is taken for the link: that
//! errs on the owner's side. While a limit holds the link is never full, and so nothing wears the measurement down; it
//! ends with the network, or after a day, and the next busy seconds measure anew.

use std::time::Duration;

use iploop_protocol::tunnel::Delivery;
use tokio::time::Instant;

/// Seconds that have to be full throughout to count.
const WINDOW: Duration = Duration::from_secs(5);
/// Between two observations of one window; what lies further apart was not watched.
const MAX_GAP: Duration = Duration::from_secs(2);
/// A worse measurement moves the known capacity by this part of the difference.
const WORSE_COUNTS: u64 = 4;
/// How long a measurement is believed.
pub(super) const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// A link as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Measure {
    capacity: Option<Capacity>,
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Capacity {
    bytes_per_second: u64,
    measured: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    delivered: u64,
    last: Instant,
}

impl Measure {
    /// Takes in what the tunnel saw since the last time.
    pub(super) fn observe(&mut self, now: Instant, seen: Delivery) {
        let begin = Window {
            began: now,
            delivered: seen.delivered_bytes,
            last: now,
        };
        // What is told now was seen since the last time: a window begins where the one before ended.
        let goes_on = |window: &Window| {
            let is_watched = now.saturating_duration_since(window.last) <= MAX_GAP;
            // A sum that is smaller than before is that of another tunnel, and one that stands still is no link's rate.
            seen.was_full && is_watched && seen.delivered_bytes > window.delivered
        };
        let Some(window) = self.window.filter(goes_on) else {
            self.window = Some(begin);
            return;
        };
        let lasted = now.saturating_duration_since(window.began);
        if lasted < WINDOW {
            self.window = Some(Window { last: now, ..window });
        } else {
            self.window = Some(begin);
            self.measured(now, per_second(seen.delivered_bytes - window.delivered, lasted));
        }
    }

    /// Bytes a second that the link carries; none: it was not seen full, or too long ago.
    pub(super) fn capacity(&self, now: Instant) -> Option<u64> {
        let capacity = self.capacity?;
        let is_believed = now.saturating_duration_since(capacity.measured) <= BELIEVED;
        is_believed.then_some(capacity.bytes_per_second)
    }

    fn measured(&mut self, now: Instant, seen: u64) {
        let bytes_per_second = match self.capacity(now) {
            Some(known) if seen < known => known - (known - seen) / WORSE_COUNTS,
            Some(_) | None => seen,
        };
        self.capacity = Some(Capacity {
            bytes_per_second,
            measured: now,
        });
    }
}

/// No more than fits.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}
