//! When a request is repeated, and for how long.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a request may be repeated that was refused for now. Only what is safe to repeat ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Repetitions of one request; 0 for none.
    pub most: u32,
    /// From the first try to the last one at most. A server that asks for a longer pause is not asked again.
    pub within: Duration,
}

impl Retries {
    /// No repetition.
    pub const NONE: Self = Self {
        most: 0,
        within: Duration::ZERO,
    };
}

impl Default for Retries {
    /// Two, within 30 seconds.
    fn default() -> Self {
        Self {
            most: 2,
            within: Duration::from_secs(30),
        }
    }
}

/// The first pause where the server names none; the next ones are twice as long each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What is left of the repetitions of one request.
pub(crate) struct Schedule {
    left: u32,
    until: Instant,
    pause: Duration,
}

impl Schedule {
    pub(crate) fn begin(retries: Retries) -> Self {
        Self::begin_at(Instant::now(), retries)
    }

    fn begin_at(now: Instant, retries: Retries) -> Self {
        Self {
            left: retries.most,
            until: now + retries.within,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits for the next try, as long as the server `asked`, where it did; false, at once: there is none.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        match self.next(Instant::now(), asked, rand::random()) {
            Some(wait) => sleep(wait).await,
            None => return false,
        }
        true
    }

    /// How long to wait before the next try; none: there is none. `jitter` is between 0 and 1: callers that were refused
    /// together should not come back together.
    fn next(&mut self, now: Instant, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let own = self.pause.mul_f64(0.5 + jitter / 2.0);
        self.pause *= 2;
        let wait = match asked {
            Some(asked) => asked + own.mul_f64(0.1),
            None => own,
        };
        (now + wait <= self.until).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_and_end_with_the_count() {
        let now = Instant::now();
        let retries = Retries {
            most: 3,
            within: seconds(60),
        };
        let mut schedule = Schedule::begin_at(now, retries);
        let pauses: Vec<_> = std::iter::from_fn(|| schedule.next(now, None, 1.0)).collect();
        assert_eq!(pauses, [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
    }

    #[test]
    fn a_pause_asked_for_is_kept_if_there_is_time_for_it() {
        let now = Instant::now();
        let retries = Retries::default();
        let mut schedule = Schedule::begin_at(now, retries);
        let wait = schedule.next(now, Some(seconds(7)), 0.0).unwrap();
        assert!(wait >= seconds(7) && wait < seconds(8), "{wait:?}");
        assert_eq!(schedule.next(now + wait, Some(seconds(25)), 0.0), None);
        let mut late = Schedule::begin_at(now, retries);
        assert_eq!(late.next(now + retries.within, None, 0.0), None);
        assert_eq!(
            Schedule::begin_at(now, Retries::NONE).next(now, Some(Duration::ZERO), 0.0),
            None
        );
    }
}
