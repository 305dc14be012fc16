//! A partner's statement by UTC month: what its devices served, what that sold for, its share, and what was paid.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::store::Payout;
use crate::clock::Timestamp;
use crate::ledger::ShareRow;

/// One UTC month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// The year.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// Paid bytes that its devices served.
    pub bytes: i64,
    /// What these sold for.
    pub sold_micros: i64,
    /// Its share of that.
    pub earned_micros: i64,
    /// Paid out in this month, for whatever it was earned.
    pub paid_micros: i64,
}

impl Month {
    /// `2026-11`.
    pub fn name(&self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }
}

/// The months in which something happened, oldest first.
pub(super) fn by_month(shares: &[ShareRow], payouts: &[Payout]) -> Vec<Month> {
    let mut months: BTreeMap<u32, Month> = BTreeMap::new();
    let mut month_of = |at: Timestamp, add: &dyn Fn(&mut Month)| {
        let number = at.utc_month();
        let month = months.entry(number).or_insert(Month {
            year: number / 12,
            month: number % 12 + 1,
            ..Month::default()
        });
        add(month);
    };
    for share in shares {
        month_of(share.from, &|month| {
            month.bytes = month.bytes.saturating_add(share.bytes);
            month.sold_micros = month.sold_micros.saturating_add(share.sold_micros);
            month.earned_micros = month.earned_micros.saturating_add(share.earned_micros);
        });
    }
    for payout in payouts {
        month_of(payout.at, &|month| {
            month.paid_micros = month.paid_micros.saturating_add(payout.amount_micros);
        });
    }
    months.into_values().collect()
}

/// The statement as CSV (RFC 4180), with exact numbers.
pub fn csv(months: &[Month]) -> String {
    let mut text = String::from("month,bytes,gigabytes,gross_usd,share_usd,payouts_usd\r\n");
    for month in months {
        // Writing to a string never fails.
        let _ = write!(
            text,
            "{},{},{},{},{},{}\r\n",
            month.name(),
            month.bytes,
            decimal(month.bytes, 1_000_000_000, 9),
            decimal(month.sold_micros, 1_000_000, 6),
            decimal(month.earned_micros, 1_000_000, 6),
            decimal(month.paid_micros, 1_000_000, 6),
        );
    }
    text
}

fn decimal(amount: i64, unit: u64, digits: usize) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    format!("{sign}{}.{:0digits$}", amount / unit, amount % unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EntryId;

    fn share(from_millis: i64, bytes: i64) -> ShareRow {
        ShareRow {
            from: Timestamp::from_millis(from_millis),
            bytes,
            sold_micros: bytes * 3,
            earned_micros: bytes * 2,
        }
    }

    #[test]
    fn days_and_payouts_add_up_by_month_and_come_out_exact() {
        // 2026-01-31, 2026-02-01 and a payout on 2026-02-28 (UTC).
        let (january, february, late) = (1_769_817_600_000, 1_769_904_000_000, 1_772_236_800_000);
        let payout = Payout {
            id: EntryId::new(),
            amount_micros: 1_500_001,
            reference: None,
            at: Timestamp::from_millis(late),
        };
        let months = by_month(
            &[share(january, 1), share(january, 2), share(february, -7)],
            &[payout],
        );
        assert_eq!(
            csv(&months),
            "month,bytes,gigabytes,gross_usd,share_usd,payouts_usd\r\n\
             2026-01,3,0.000000003,0.000009,0.000006,0.000000\r\n\
             2026-02,-7,-0.000000007,-0.000021,-0.000014,1.500001\r\n"
        );
    }
}
