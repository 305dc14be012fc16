//! How long dials took: a histogram in which the old fades, for a quantile in a few bytes a node.

use std::time::Duration;

/// Classes of times, each wider than the one before by the square root of two: from 4 ms to over 32 s.
const CLASSES: usize = 27;

/// The upper end of the first class, in microseconds.
const FIRST_US: f32 = 4_000.0;

/// Fewest dials that a quantile is taken of.
const FEWEST: u32 = 20;

/// Times by class. What is remembered of many is halved when more come, so that the last few hundred count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    counts: [u16; CLASSES],
}

impl Times {
    /// Notes a time; at most about `most` are remembered.
    pub fn note(&mut self, time: Duration, most: u16) {
        let class = (0..CLASSES - 1)
            .find(|class| time <= end_of(*class))
            .unwrap_or(CLASSES - 1);
        self.counts[class] = self.counts[class].saturating_add(1);
        if self.total() > u32::from(most) {
            for count in &mut self.counts {
                *count /= 2;
            }
        }
    }

    /// The time that `per_cent` of the dials did not exceed, evenly spread times within a class assumed; none of too few
    /// dials.
    pub fn quantile(&self, per_cent: u32) -> Option<Duration> {
        let total = self.total();
        if total < FEWEST {
            return None;
        }
        let mut rank = (total * per_cent).div_ceil(100);
        for (class, count) in self.counts.iter().map(|count| u32::from(*count)).enumerate() {
            if rank <= count {
                let begin = class.checked_sub(1).map_or(Duration::ZERO, end_of);
                return Some(begin + (end_of(class) - begin) * rank / count.max(1));
            }
            rank -= count;
        }
        None
    }

    fn total(&self) -> u32 {
        self.counts.iter().map(|count| u32::from(*count)).sum()
    }
}

fn end_of(class: usize) -> Duration {
    // Fewer classes than 2^8.
    let class = u8::try_from(class).unwrap_or(u8::MAX);
    Duration::from_secs_f32(FIRST_US * (f32::from(class) / 2.0).exp2() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_off_by_a_tenth_at_most() {
        let mut times = Times::default();
        for ms in 1..=1000 {
            times.note(Duration::from_millis(ms), u16::MAX);
        }
        for (per_cent, exact_ms) in [(50, 500), (95, 950), (99, 990)] {
            let found = times.quantile(per_cent).unwrap().as_millis();
            assert!(
                (exact_ms * 9 / 10..exact_ms * 11 / 10).contains(&found),
                "p{per_cent}: {found}"
            );
        }
    }

    #[test]
    fn few_dials_have_no_quantile_and_old_ones_fade() {
        let mut times = Times::default();
        for _ in 0..19 {
            times.note(Duration::from_secs(10), 200);
        }
        assert_eq!(times.quantile(95), None);
        for _ in 0..1000 {
            times.note(Duration::from_secs(10), 200);
        }
        assert!(times.quantile(95).unwrap() > Duration::from_secs(9));
        for _ in 0..1000 {
            times.note(Duration::from_millis(20), 200);
        }
        assert!(times.quantile(95).unwrap() < Duration::from_millis(30));
        times.note(Duration::MAX, 200);
        assert!(times.quantile(100).is_some());
    }
}
