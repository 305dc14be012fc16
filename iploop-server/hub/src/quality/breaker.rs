//! Whether a node is asked at all: one that fails again and again rests, and is then tried by one request at a time.

use std::time::Duration;

use super::Outcome;

/// Failures in a row after which a node rests, dials in which another outran it included; one silence is as much as all.
const MOST_STRIKES: u8 = 3;

/// The same of a node that has not dialled once: nothing speaks for it yet.
const UNPROVEN_STRIKES: u8 = 1;

/// The first rest; each further one in a row is twice as long.
const FIRST_REST: Duration = Duration::from_secs(15);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(10 * 60);

/// A node's failures in a row, and its rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    strikes: u8,
    rests: u8,
    proven: bool,
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node works.
    Well,
    /// Nothing new.
    Unchanged,
    /// It is asked nothing for so long, and then by one request at a time until one succeeds.
    Rest(Duration),
}

impl Breaker {
    /// Notes an outcome. What is not the node's own doing weighs nothing.
    pub fn note(&mut self, outcome: Outcome) -> Verdict {
        let weight = match outcome {
            Outcome::Dialed(_) => {
                *self = Self {
                    proven: true,
                    ..Self::default()
                };
                return Verdict::Well;
            }
            Outcome::Elsewhere | Outcome::Doubtful => return Verdict::Unchanged,
            Outcome::Node | Outcome::Outrun => 1,
            Outcome::Silent => MOST_STRIKES,
        };
        self.strikes = self.strikes.saturating_add(weight);
        let most = if self.proven {
            MOST_STRIKES
        } else {
            UNPROVEN_STRIKES
        };
        if self.strikes < most {
            return Verdict::Unchanged;
        }
        let rest = FIRST_REST * 2_u32.pow(u32::from(self.rests.min(6)));
        self.rests = self.rests.saturating_add(1);
        Verdict::Rest(rest.min(LONGEST_REST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALED: Outcome = Outcome::Dialed(Duration::ZERO);

    fn verdicts(outcomes: &[Outcome]) -> Vec<Verdict> {
        let mut breaker = Breaker::default();
        outcomes.iter().map(|outcome| breaker.note(*outcome)).collect()
    }

    #[test]
    fn three_failures_in_a_row_or_one_silence_are_a_rest() {
        use Outcome::{Node, Silent};
        use Verdict::{Rest, Unchanged, Well};
        assert_eq!(
            verdicts(&[DIALED, Node, Node, DIALED, Node, Node, Node])[1..],
            [Unchanged, Unchanged, Well, Unchanged, Unchanged, Rest(FIRST_REST)]
        );
        assert_eq!(verdicts(&[DIALED, Silent])[1], Rest(FIRST_REST));
        let outrun = [DIALED, Outcome::Outrun, Outcome::Outrun, Outcome::Outrun];
        assert_eq!(verdicts(&outrun)[2..], [Unchanged, Rest(FIRST_REST)]);
    }

    #[test]
    fn one_failure_is_a_rest_for_a_node_that_never_dialled() {
        for outcome in [Outcome::Node, Outcome::Outrun, Outcome::Silent] {
            assert_eq!(verdicts(&[outcome]), [Verdict::Rest(FIRST_REST)]);
        }
    }

    #[test]
    fn a_failed_trial_rests_twice_as_long_and_a_good_one_ends_it() {
        let mut breaker = Breaker::default();
        let rests: Vec<_> = (0..10).map(|_| breaker.note(Outcome::Silent)).collect();
        assert_eq!(rests[1], Verdict::Rest(2 * FIRST_REST));
        assert_eq!(rests[9], Verdict::Rest(LONGEST_REST));
        assert_eq!(breaker.note(DIALED), Verdict::Well);
        assert_eq!(breaker.note(Outcome::Silent), Verdict::Rest(FIRST_REST));
    }

    #[test]
    fn what_destinations_do_rests_nobody() {
        let outcomes = [Outcome::Elsewhere, Outcome::Doubtful].repeat(1000);
        assert!(verdicts(&outcomes).iter().all(|it| *it == Verdict::Unchanged));
    }
}
