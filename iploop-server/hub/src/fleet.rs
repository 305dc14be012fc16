//! What is known of all devices together: how long their dials take, and how many of these may be hedged.

use std::time::Duration;

use crate::quality::Times;

/// Dials of the fleet whose times are remembered.
const FLEET_TIMES: u16 = 10_000;

/// Where nobody is slow, the 95th percentile of dials is two to three times the median.
const MOST_SPREAD: u32 = 3;

/// One dial in so many may be hedged in the long run: where everything is slow, a second dial helps nobody.
const DIALS_PER_HEDGE: u32 = 10;

/// Hedges that may be saved up.
const MOST_SAVED: u32 = 100;

/// All devices' dials.
#[derive(Debug)]
pub(crate) struct Fleet {
    times: Times,
    /// Dials since then that were not spent on hedges.
    saved: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            times: Times::default(),
            saved: MOST_SAVED * DIALS_PER_HEDGE,
        }
    }
}

impl Fleet {
    /// Notes that a device is asked to dial.
    pub(crate) fn asked(&mut self) {
        self.saved = (self.saved + 1).min(MOST_SAVED * DIALS_PER_HEDGE);
    }

    /// Notes how long a dial took that succeeded.
    pub(crate) fn dialed(&mut self, took: Duration) {
        self.times.note(took, FLEET_TIMES);
    }

    /// The time that 95 of 100 dials did not exceed; three times the median where that is less: a tenth of slow devices shall
    /// not say what is usual.
    pub(crate) fn usual_time(&self) -> Option<Duration> {
        let (usual, median) = (self.times.quantile(95)?, self.median_time()?);
        Some(usual.min(MOST_SPREAD * median))
    }

    /// The time that half of the dials did not exceed.
    pub(crate) fn median_time(&self) -> Option<Duration> {
        self.times.quantile(50)
    }

    /// Takes the right to a hedge, if there is one left.
    pub(crate) fn may_hedge(&mut self) -> bool {
        let left = self.saved.checked_sub(DIALS_PER_HEDGE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_slow_devices_does_not_say_what_is_usual() {
        let mut fleet = Fleet::default();
        for n in 0..1000 {
            fleet.dialed(Duration::from_millis(if n % 10 == 0 { 2_000 } else { 100 }));
        }
        assert!(fleet.usual_time().unwrap() < Duration::from_millis(350));
    }

    #[test]
    fn one_dial_in_ten_is_hedged_in_the_long_run() {
        let mut fleet = Fleet::default();
        let mut hedged = 0;
        for _ in 0..10_000 {
            fleet.asked();
            hedged += u32::from(fleet.may_hedge());
        }
        assert!((1000..=MOST_SAVED + 1000).contains(&hedged), "{hedged}");
    }
}
