//! When to connect again.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait is at most this long.
pub(crate) const FIRST: Duration = Duration::from_secs(1);
/// Waits stay this short for the first [`PATIENCE`] of an outage, so that a device is back soon after its path is …
pub(crate) const SHORT: Duration = Duration::from_secs(30);
/// … and then grow …
pub(crate) const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// … to this.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 60);
/// A tunnel that lasted this long ends an outage.
pub(crate) const STABLE: Duration = Duration::from_secs(60);

/// Full jitter: each wait is drawn evenly from nothing to a bound that doubles.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    failing_since: Option<Instant>,
}

impl Backoff {
    /// The outage is over, or there is reason to hope so: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// How long to wait after a failure. `random` is drawn evenly from 0 to 1.
    ///
    /// The hub's own wish is kept, and spread by up to a tenth, so that many devices with one wish don't come at once.
    pub(crate) fn after_failure(&mut self, now: Instant, random: f64, wish: Option<Duration>) -> Duration {
        let since = *self.failing_since.get_or_insert(now);
        let random = random.clamp(0.0, 1.0);
        let bound = FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let bound = if now.saturating_duration_since(since) < PATIENCE {
            bound.min(SHORT)
        } else {
            bound.min(LONGEST)
        };
        self.failures = self.failures.saturating_add(1);
        match wish {
            Some(wish) => wish + wish.mul_f64(random / 10.0),
            None => bound.mul_f64(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_doubles_stays_short_for_ten_minutes_and_ends_at_ten_minutes() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        let mut now = start;
        for _ in 0..40 {
            let wait = backoff.after_failure(now, 1.0, None);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits[39], 600);
        let short = waits.iter().take_while(|wait| **wait <= 30).sum::<u64>();
        assert!((600..660).contains(&short), "{short}");
        backoff.reset();
        assert_eq!(backoff.after_failure(now, 1.0, None), FIRST);
    }

    #[test]
    fn the_hubs_wish_wins() {
        let mut backoff = Backoff::default();
        let wish = Some(Duration::from_secs(120));
        assert_eq!(
            backoff.after_failure(Instant::now(), 0.0, wish),
            Duration::from_secs(120)
        );
        assert_eq!(
            backoff.after_failure(Instant::now(), 1.0, wish),
            Duration::from_secs(132)
        );
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_ten_minutes(failures in 0usize..100, random in 0.0f64..=1.0, step in 0u64..10_000) {
            let mut backoff = Backoff::default();
            let mut now = Instant::now();
            for _ in 0..failures {
                prop_assert!(backoff.after_failure(now, random, None) <= LONGEST);
                now += Duration::from_secs(step);
            }
        }
    }
}
