//! Who dialled what nobody may reach, and how often lately.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::{AccountId, NodeId};

/// Most customers that are remembered. Beyond, those whose last refusal is past the window are forgotten; where there is
/// none, a new one is not watched until there is.
const MAX_SUSPECTS: usize = 10_000;

/// What one device alone reports counts for one part in so many of what suspends: a device may lie.
const DEVICE_SHARE: usize = 4;

/// Hard refusals by customer. Time is an argument.
#[derive(Debug)]
pub(super) struct Suspects {
    table: HashMap<AccountId, VecDeque<(Timestamp, Option<NodeId>)>>,
    threshold: usize,
    window: Duration,
}

impl Suspects {
    /// `threshold` 0: nobody is ever too much.
    pub(super) fn new(threshold: u32, window: Duration) -> Self {
        Self {
            table: HashMap::new(),
            threshold: usize::try_from(threshold).unwrap_or(usize::MAX),
            window,
        }
    }

    /// Notes a refusal, by a device or by the gateway. True: that was one too many, and counting begins anew.
    pub(super) fn note(&mut self, account: AccountId, by: Option<NodeId>, now: Timestamp) -> bool {
        if self.threshold == 0 {
            return false;
        }
        let window = self.window;
        let is_past = |at: Timestamp| now.since(at) >= window;
        if !self.table.contains_key(&account) && self.table.len() >= MAX_SUSPECTS {
            self.table
                .retain(|_, refusals| refusals.back().is_some_and(|(at, _)| !is_past(*at)));
            if self.table.len() >= MAX_SUSPECTS {
                metrics::counter!("iploop_suspects_unwatched_total").increment(1);
                return false;
            }
        }
        let refusals = self.table.entry(account).or_default();
        while refusals.front().is_some_and(|(at, _)| is_past(*at)) {
            refusals.pop_front();
        }
        let of_same_device = refusals
            .iter()
            .filter(|(_, node)| by.is_some() && *node == by)
            .count();
        if by.is_some() && of_same_device >= self.threshold.div_ceil(DEVICE_SHARE) {
            return false;
        }
        refusals.push_back((now, by));
        if refusals.len() < self.threshold {
            return false;
        }
        self.table.remove(&account);
        true
    }

    /// Forgets what a customer did.
    pub(super) fn forget(&mut self, account: AccountId) {
        self.table.remove(&account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn twenty_forbidden_dials_in_ten_minutes_are_too_many_and_nineteen_are_not() {
        let mut suspects = Suspects::new(20, WINDOW);
        let account = AccountId::new();
        for second in 0..19 {
            assert!(!suspects.note(account, None, at(second)));
        }
        // The first one is past the window now.
        assert!(!suspects.note(account, None, at(600)));
        assert!(
            suspects.note(account, None, at(600)),
            "19 of before but one, and two"
        );
        assert!(!suspects.note(account, None, at(601)), "counting begins anew");
        assert!(
            !suspects.note(AccountId::new(), None, at(601)),
            "another customer"
        );
    }

    #[test]
    fn one_lying_device_can_not_suspend_a_customer() {
        let mut suspects = Suspects::new(20, WINDOW);
        let account = AccountId::new();
        let liar = NodeId::new();
        for second in 0..500 {
            assert!(!suspects.note(account, Some(liar), at(second)));
        }
        // Nor three of them; what four agree on is believed.
        let others = [NodeId::new(), NodeId::new(), NodeId::new()];
        let mut tell = |node| (0..500).any(|_| suspects.note(account, Some(node), at(500)));
        assert_eq!(others.map(&mut tell), [false, false, true]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_past() {
        let mut suspects = Suspects::new(2, WINDOW);
        for _ in 0..MAX_SUSPECTS + 10 {
            assert!(!suspects.note(AccountId::new(), None, at(0)));
        }
        assert_eq!(suspects.table.len(), MAX_SUSPECTS);
        assert!(!suspects.note(AccountId::new(), None, at(600)));
        assert_eq!(suspects.table.len(), 1);
    }

    #[test]
    fn it_can_be_switched_off() {
        let mut suspects = Suspects::new(0, WINDOW);
        let account = AccountId::new();
        assert!((0..100).all(|_| !suspects.note(account, None, at(0))));
    }
}
