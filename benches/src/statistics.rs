//! Percentiles of one measurement, and median and spread over the rounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times of one kind of request in one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Latency {
    /// `None` without a sample.
    pub(crate) fn of(samples: &[Duration]) -> Option<Latency> {
        let mut micros: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
        micros.sort_by(f64::total_cmp);
        Some(Latency {
            count: micros.len(),
            p50_us: *nearest_rank(&micros, 50)?,
            p99_us: *nearest_rank(&micros, 99)?,
        })
    }
}

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// `None` without a value. The median of an even number is the mean of the two in the middle.
    pub(crate) fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Spread {
            median,
            min,
            max,
            rounds: sorted.len(),
        })
    }
}

/// The nearest-rank percentile of sorted values.
fn nearest_rank(sorted: &[f64], percent: usize) -> Option<&f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(&samples).unwrap();
        assert_eq!(latency.count, 200);
        assert!((latency.p50_us - 100.0).abs() < 1e-6);
        assert!((latency.p99_us - 198.0).abs() < 1e-6);
        assert_eq!(Latency::of(&[]), None);
        let one = Latency::of(&[Duration::from_millis(2)]).unwrap();
        assert!((one.p99_us - 2_000.0).abs() < 1e-6);
    }

    #[test]
    fn spread_is_median_min_and_max() {
        assert_eq!(
            Spread::of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0,
                rounds: 3
            })
        );
        assert_eq!(
            Spread::of(&[4.0, 2.0]),
            Some(Spread {
                median: 3.0,
                min: 2.0,
                max: 4.0,
                rounds: 2
            })
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
