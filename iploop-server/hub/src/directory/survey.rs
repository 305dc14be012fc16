//! How many nodes fit a wish: counted where that is quick, estimated where it is not.

use iploop_platform::exits::Avoid;
use iploop_protocol::targeting::Targeting;
use rand::{Rng, RngExt};

use super::wish::{Fit, Resolved, Wish};
use super::{Directory, MAX_SCAN};

/// Random nodes looked at where there are too many to count: the estimate is off by 3 in 100 of the pool at most, 19 times
/// of 20.
const SAMPLE: usize = 1024;

/// Fitting nodes handed out of a survey.
const SHOWN: usize = 64;

/// What a survey found.
#[derive(Debug)]
pub struct Survey<'d, T> {
    /// Nodes that fit and can take a stream.
    pub nodes: u64,
    /// They were counted, not estimated.
    pub exact: bool,
    /// Some of them, chosen at random: up to 64.
    pub some: Vec<&'d T>,
}

impl<T> Directory<T> {
    /// The nodes that fit a wish and can take a stream.
    pub fn survey(&self, targeting: &Targeting, random: &mut impl Rng) -> Survey<'_, T> {
        let nobody = Avoid::default();
        let wish = Wish {
            targeting,
            prefer: None,
            avoid: &nobody,
            customer: 0,
        };
        let mut survey = Survey {
            nodes: 0,
            exact: true,
            some: Vec::new(),
        };
        let Some(wanted) = Resolved::of(&wish, &self.names) else {
            return survey;
        };
        let pools = wanted.pools(&self.index);
        let total = pools.len();
        survey.exact = total <= MAX_SCAN;
        let looks = if survey.exact { total } else { SAMPLE };
        for look in 0..looks {
            let at = if survey.exact {
                look
            } else {
                random.random_range(0..total)
            };
            let entry = pools.get(at).and_then(|slot| self.nodes.get(slot));
            let Some(entry) = entry.filter(|entry| wanted.fit(entry) == Fit::Fits) else {
                continue;
            };
            survey.nodes += 1;
            // Each that fits is shown with the same chance (reservoir sampling).
            if survey.some.len() < SHOWN {
                survey.some.push(&entry.handle);
            } else if let Ok(place) = usize::try_from(random.random_range(0..survey.nodes))
                && let Some(shown) = survey.some.get_mut(place)
            {
                *shown = &entry.handle;
            }
        }
        if !survey.exact {
            let (total, looks) = (total as u64, looks as u64);
            survey.nodes = survey.nodes.saturating_mul(total) / looks;
        }
        survey
    }
}
