//! Balances: which marks they pass. Each counts once from one top-up to the next.

use serde_json::{Value, json};

use super::EventKind;
use crate::ids::AccountId;

/// Share of the last top-up at which a customer is warned, in per cent.
const WARNING_PERCENT: i64 = 80;

/// What was last seen of a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurseWatch {
    /// The balance.
    pub balance_bytes: i64,
    /// Used in all.
    pub used_bytes: i64,
    /// The balance when bytes were last added: what shares are of.
    pub ceiling_bytes: i64,
    /// Marks passed since then, as bits.
    pub crossed: i64,
    /// Counts up with each look.
    pub revision: i64,
}

/// A purse that is not as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedPurse {
    /// Whose.
    pub account: AccountId,
    /// The balance.
    pub balance_bytes: i64,
    /// Used in all.
    pub used_bytes: i64,
    /// What was last seen; none: nothing yet.
    pub seen: Option<PurseWatch>,
    /// The customer's own mark, in per cent of the last top-up.
    pub threshold_percent: u8,
    /// The customer's own lower limit of the balance.
    pub low_bytes: i64,
}

impl MovedPurse {
    /// What is to be remembered of it, and the marks that it passed.
    pub fn look(&self) -> (PurseWatch, Vec<EventKind>) {
        let granted = |balance: i64, used: i64| balance.saturating_add(used);
        let is_new_period = self.seen.is_none_or(|seen| {
            granted(self.balance_bytes, self.used_bytes) > granted(seen.balance_bytes, seen.used_bytes)
        });
        let (ceiling_bytes, mut crossed) = match self.seen {
            Some(seen) if !is_new_period => (seen.ceiling_bytes, seen.crossed),
            _ => (self.balance_bytes.max(0), 0),
        };
        let passed = self.passed(ceiling_bytes);
        let new = passed.into_iter().filter(|(_, is_passed)| *is_passed);
        let mut kinds = Vec::new();
        for (kind, _) in new {
            let bit = bit(kind);
            if crossed & bit == 0 {
                crossed |= bit;
                kinds.push(kind);
            }
        }
        let watch = PurseWatch {
            balance_bytes: self.balance_bytes,
            used_bytes: self.used_bytes,
            ceiling_bytes,
            crossed,
            revision: self.seen.map_or(1, |seen| seen.revision.saturating_add(1)),
        };
        (watch, kinds)
    }

    /// The particulars of one of its events.
    pub fn data(&self, watch: &PurseWatch, kind: EventKind) -> Value {
        let mut data = json!({
            "percentUsed": self.percent_used(watch.ceiling_bytes),
            "balanceBytes": self.balance_bytes,
            "topUpBytes": watch.ceiling_bytes,
        });
        match kind {
            EventKind::UsageThreshold => data["thresholdPercent"] = self.threshold_percent.into(),
            EventKind::QuotaWarning => data["thresholdPercent"] = WARNING_PERCENT.into(),
            EventKind::BalanceLow => data["thresholdBytes"] = self.low_bytes.into(),
            _ => {}
        }
        data
    }

    fn passed(&self, ceiling_bytes: i64) -> [(EventKind, bool); 4] {
        let percent = self.percent_used(ceiling_bytes);
        // Who had less than the limit to begin with does not drop below it.
        let is_low = self.balance_bytes < self.low_bytes && ceiling_bytes >= self.low_bytes;
        [
            (
                EventKind::UsageThreshold,
                percent >= i64::from(self.threshold_percent),
            ),
            (EventKind::QuotaWarning, percent >= WARNING_PERCENT),
            (EventKind::BalanceLow, is_low),
            (
                EventKind::QuotaExceeded,
                ceiling_bytes > 0 && self.balance_bytes <= 0,
            ),
        ]
    }

    /// Whole per cent of the last top-up that are used, at most 100.
    fn percent_used(&self, ceiling_bytes: i64) -> i64 {
        if ceiling_bytes <= 0 {
            return 0;
        }
        let used = i128::from(ceiling_bytes) - i128::from(self.balance_bytes);
        i64::try_from((used * 100 / i128::from(ceiling_bytes)).clamp(0, 100)).unwrap_or(100)
    }
}

const fn bit(kind: EventKind) -> i64 {
    match kind {
        EventKind::UsageThreshold => 1,
        EventKind::QuotaWarning => 2,
        EventKind::BalanceLow => 4,
        EventKind::QuotaExceeded => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purse(balance: i64, used: i64, seen: Option<PurseWatch>) -> MovedPurse {
        MovedPurse {
            account: AccountId::from(uuid::Uuid::nil()),
            balance_bytes: balance,
            used_bytes: used,
            seen,
            threshold_percent: 50,
            low_bytes: 100,
        }
    }

    /// The marks passed by each look at balances in this order; `+n` adds bytes, `-n` uses them.
    fn marks(first: i64, moves: &[i64]) -> Vec<Vec<EventKind>> {
        let (mut balance, mut used) = (first, 0);
        let (mut seen, kinds) = purse(balance, used, None).look();
        assert_eq!(kinds, []);
        let mut marks = Vec::new();
        for change in moves {
            balance += change;
            used += (-change).max(0);
            let (now, kinds) = purse(balance, used, Some(seen)).look();
            seen = now;
            marks.push(kinds);
        }
        marks
    }

    #[test]
    fn each_mark_is_passed_once_from_one_top_up_to_the_next() {
        use EventKind::{BalanceLow, QuotaExceeded, QuotaWarning, UsageThreshold};
        assert_eq!(
            marks(1_000, &[-499, -1, -1, -298, -1, -101, -99, -50, 2_000, -975]),
            [
                vec![],
                vec![UsageThreshold],
                vec![],
                vec![],
                vec![QuotaWarning],
                vec![BalanceLow],
                vec![QuotaExceeded],
                vec![],
                vec![],
                vec![UsageThreshold],
            ]
        );
    }

    #[test]
    fn a_step_over_several_marks_passes_all_of_them() {
        assert_eq!(marks(1_000, &[-1_200])[0].len(), 4);
    }

    #[test]
    fn who_begins_below_the_limit_or_with_nothing_passes_no_mark() {
        assert_eq!(marks(90, &[-10]), [vec![]]);
        assert_eq!(marks(0, &[-10]), [vec![]]);
    }

    proptest! {
        #[test]
        fn no_numbers_panic_and_a_second_look_passes_nothing(
            balance: i64, used: i64, ceiling: i64, crossed: i64, revision: i64, seen_balance: i64, seen_used: i64, low: i64,
        ) {
            let seen = PurseWatch {
                balance_bytes: seen_balance, used_bytes: seen_used, ceiling_bytes: ceiling, crossed, revision,
            };
            let moved = MovedPurse { low_bytes: low, ..purse(balance, used, Some(seen)) };
            let (watch, kinds) = moved.look();
            for kind in kinds {
                moved.data(&watch, kind);
            }
            let (_, again) = MovedPurse { seen: Some(watch), ..moved }.look();
            prop_assert_eq!(again, vec![]);
        }
    }
}
