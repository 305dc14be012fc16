//! What money buys, in integers.

use super::event::{InvoiceReason, PaidInvoice};
use super::provider::Proration;
use super::store::{Interval, Note};
use super::{CURRENCY, MICROS_PER_CENT};

const GB: i128 = 1_000_000_000;
/// A twelfth of a year, in milliseconds.
const MONTH_MILLIS: i64 = 365 * 86_400_000 / 12;

/// What `bytes` cost at a price for 10^9 bytes, in cents, rounded up.
pub fn top_up_cents(price_per_gb_micros: i64, bytes: i64) -> i64 {
    let micros = i128::from(price_per_gb_micros.max(0)) * i128::from(bytes.max(0));
    let cents = (micros + GB * i128::from(MICROS_PER_CENT) - 1) / (GB * i128::from(MICROS_PER_CENT));
    i64::try_from(cents).unwrap_or(i64::MAX)
}

/// The `part`-th of `parts` equal parts of a whole, from 0. They sum to the whole.
pub fn part_of(whole: i64, part: i64, parts: i64) -> i64 {
    let until = |part: i64| i128::from(whole) * i128::from(part) / i128::from(parts.max(1));
    i64::try_from(until(part + 1) - until(part)).unwrap_or(0)
}

/// What an invoice buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In all.
    pub bytes: i64,
    /// In how many months.
    pub parts: i64,
}

/// What a paid invoice buys on a plan with `included_bytes` a month, at our own price in cents for the interval.
///
/// A period's invoice buys the allowance of each of its months. One for a change buys what its money is worth at the plan's
/// price, at most the allowance of the months that it is for: an upgrade on a period's last day buys little.
///
/// # Errors
/// Another currency, or less than our price.
pub fn allowance(
    invoice: &PaidInvoice,
    included_bytes: i64,
    interval: Interval,
    cents: i64,
) -> Result<Allowance, Note> {
    if invoice.currency != CURRENCY {
        return Err(Note::OtherCurrency);
    }
    if invoice.paid_cents < 0 || cents <= 0 {
        return Err(Note::OtherAmount);
    }
    let parts = interval.months();
    match invoice.reason {
        InvoiceReason::Period if invoice.subtotal_cents < cents => Err(Note::OtherAmount),
        InvoiceReason::Period => Ok(Allowance {
            bytes: included_bytes.saturating_mul(parts),
            parts,
        }),
        InvoiceReason::Change => {
            let worth = i128::from(included_bytes) * i128::from(parts) * i128::from(invoice.paid_cents)
                / i128::from(cents);
            let length = invoice.to.as_millis().saturating_sub(invoice.from.as_millis());
            let parts = (length.saturating_add(MONTH_MILLIS / 2) / MONTH_MILLIS).clamp(1, parts);
            let most = included_bytes.saturating_mul(parts);
            let bytes = i64::try_from(worth).unwrap_or(i64::MAX).min(most);
            Ok(Allowance { bytes, parts })
        }
    }
}

/// How a subscription may move from one interval and included bytes a month to others; none: it may not.
///
/// Bytes are given as a period begins, so nothing is paid back for one: a smaller plan costs less from the next period on, and
/// what would shorten a year that is paid waits for its end.
pub fn proration(from: (Interval, i64), to: (Interval, i64)) -> Option<Proration> {
    match (from.0, to.0) {
        (Interval::Year, Interval::Month) => None,
        _ if to.1 >= from.1 => Some(Proration::Now),
        (Interval::Month, Interval::Year) => None,
        _ => Some(Proration::NextPeriod),
    }
}

/// What is to go back now so that `refunded_cents` of `cents` have gone back of what was booked.
pub fn to_refund(booked: i64, refunded: i64, refunded_cents: i64, cents: i64) -> i64 {
    if cents <= 0 {
        return 0;
    }
    let target = i128::from(booked) * i128::from(refunded_cents.clamp(0, cents)) / i128::from(cents);
    i64::try_from(target)
        .unwrap_or(booked)
        .saturating_sub(refunded)
        .max(0)
}

/// What of `bytes` that come back is the customer's again, and what is owed and let go of then: what was used never left the
/// customer, so it is not given twice.
pub fn give_back(bytes: i64, owed: i64, forgiven: i64) -> (i64, i64, i64) {
    let of_owed = bytes.min(owed).max(0);
    let of_forgiven = bytes.saturating_sub(of_owed).min(forgiven).max(0);
    (
        bytes.saturating_sub(of_owed).saturating_sub(of_forgiven),
        owed - of_owed,
        forgiven - of_forgiven,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn invoice(reason: InvoiceReason, cents: i64) -> PaidInvoice {
        PaidInvoice {
            id: "in_1".to_owned(),
            customer: "cus_1".to_owned(),
            subscription: "sub_1".to_owned(),
            price: "price_1".to_owned(),
            reason,
            subtotal_cents: cents,
            paid_cents: cents,
            currency: CURRENCY.to_owned(),
            intent: None,
            from: Timestamp::from_millis(0),
            to: Timestamp::from_millis(1),
        }
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole(whole in 0_i64..=i64::MAX, parts in 1_i64..40) {
            let sum: i64 = (0..parts).map(|part| part_of(whole, part, parts)).sum();
            prop_assert_eq!(sum, whole);
        }

        #[test]
        fn what_comes_back_is_given_once(bytes in 0_i64..=i64::MAX, owed in 0_i64..=i64::MAX, forgiven in 0_i64..=i64::MAX) {
            let (given, still_owed, still_forgiven) = give_back(bytes, owed, forgiven);
            prop_assert!(given >= 0 && still_owed >= 0 && still_forgiven >= 0);
            let before = i128::from(owed) + i128::from(forgiven);
            let after = i128::from(still_owed) + i128::from(still_forgiven);
            prop_assert_eq!(i128::from(given) + before - after, i128::from(bytes));
        }

        #[test]
        fn refunds_in_any_steps_end_at_what_was_booked(booked in 0_i64..=i64::MAX, cents in 1_i64..1_000_000, steps in prop::collection::vec(0_i64..1_000_000, 0..8)) {
            let mut steps = steps;
            steps.sort_unstable();
            steps.push(cents);
            let mut refunded = 0;
            for step in steps {
                refunded += to_refund(booked, refunded, step, cents);
                prop_assert!(refunded <= booked);
            }
            prop_assert_eq!(refunded, booked);
        }
    }

    #[test]
    fn more_is_paid_now_and_less_from_the_next_period_on() {
        use Interval::{Month, Year};
        assert_eq!(proration((Month, 5), (Month, 25)), Some(Proration::Now));
        assert_eq!(proration((Month, 25), (Year, 25)), Some(Proration::Now));
        assert_eq!(proration((Month, 25), (Month, 5)), Some(Proration::NextPeriod));
        assert_eq!(proration((Year, 25), (Year, 5)), Some(Proration::NextPeriod));
        assert_eq!(proration((Month, 25), (Year, 5)), None);
        assert_eq!(proration((Year, 25), (Month, 100)), None);
    }

    #[test]
    fn a_top_up_costs_its_price_rounded_up_to_the_cent() {
        assert_eq!(top_up_cents(5_000_000, 1_000_000_000), 500);
        assert_eq!(top_up_cents(5_960_000, 10_000_000_000), 5_960);
        assert_eq!(top_up_cents(4_990_001, 1_000_000_000), 500);
        assert_eq!(top_up_cents(5_000_000, 0), 0);
    }

    #[test]
    fn an_invoice_buys_by_our_own_price_and_never_in_another_currency() {
        let bought = |invoice, interval, cents| allowance(&invoice, 25_000, interval, cents);
        let month = bought(invoice(InvoiceReason::Period, 14_900), Interval::Month, 14_900);
        assert_eq!(
            month,
            Ok(Allowance {
                bytes: 25_000,
                parts: 1
            })
        );
        let year = bought(invoice(InvoiceReason::Period, 143_000), Interval::Year, 143_000);
        assert_eq!(
            year,
            Ok(Allowance {
                bytes: 300_000,
                parts: 12
            })
        );
        let half = bought(invoice(InvoiceReason::Change, 7_450), Interval::Month, 14_900);
        assert_eq!(
            half,
            Ok(Allowance {
                bytes: 12_500,
                parts: 1
            })
        );
        let into_a_year = PaidInvoice {
            to: Timestamp::from_millis(365 * 86_400_000),
            ..invoice(InvoiceReason::Change, 71_500)
        };
        let into_a_year = bought(into_a_year, Interval::Year, 143_000);
        assert_eq!(
            into_a_year,
            Ok(Allowance {
                bytes: 150_000,
                parts: 12
            })
        );
        let little = bought(invoice(InvoiceReason::Period, 14_899), Interval::Month, 14_900);
        assert_eq!(little, Err(Note::OtherAmount));
        let euros = PaidInvoice {
            currency: "eur".to_owned(),
            ..invoice(InvoiceReason::Period, 14_900)
        };
        assert_eq!(bought(euros, Interval::Month, 14_900), Err(Note::OtherCurrency));
    }
}
