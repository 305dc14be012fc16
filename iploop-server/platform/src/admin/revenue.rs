//! What came in and what was earned, from the ledger.

use std::collections::BTreeMap;

use super::{AdminError, AdminService};
use crate::clock::{DAY, Timestamp};
use crate::ids::PlanId;

/// Most days in one answer: two years and a little more.
const MAX_DAYS: u32 = 800;

/// Money that moved, in micro-dollars, and the bytes that were sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revenue {
    /// Customers paid so much.
    pub purchased_micros: i64,
    /// They got so much back.
    pub refunded_micros: i64,
    /// Paid out to partners.
    pub paid_out_micros: i64,
    /// Paid bytes that were used. Failures of ours are none.
    pub sold_bytes: i64,
    /// What these had been bought for.
    pub sold_micros: i64,
    /// The partners' share of that.
    pub partners_micros: i64,
}

/// Revenue by UTC day or month, and by plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevenueReport {
    /// By the period's beginning; periods in which nothing moved are left out.
    pub periods: Vec<(Timestamp, Revenue)>,
    /// By the plan that the customers have now, with its name. What partners were paid is no plan's.
    pub plans: Vec<(PlanId, String, Revenue)>,
    /// All of it.
    pub total: Revenue,
}

impl Revenue {
    /// What is ours of what was sold.
    pub fn earned_micros(&self) -> i64 {
        self.sold_micros.saturating_sub(self.partners_micros)
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.purchased_micros, other.purchased_micros),
            (&mut self.refunded_micros, other.refunded_micros),
            (&mut self.paid_out_micros, other.paid_out_micros),
            (&mut self.sold_bytes, other.sold_bytes),
            (&mut self.sold_micros, other.sold_micros),
            (&mut self.partners_micros, other.partners_micros),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

impl AdminService {
    /// Revenue of the UTC days from `from`'s to that before `to`'s, by day, or by month if `by_month`.
    ///
    /// # Errors
    /// If there is no day, or more than 800.
    pub async fn revenue(
        &self,
        from: Timestamp,
        to: Timestamp,
        by_month: bool,
    ) -> Result<RevenueReport, AdminError> {
        let (from, to) = (from.day_start(), to.day_start());
        if from >= to || to.since(from) > DAY * MAX_DAYS {
            return Err(AdminError::field("from", "Ask for 1 to 800 days"));
        }
        let store = &*self.parts().store;
        let (days, plans) =
            tokio::try_join!(store.revenue_by_day(from, to), store.revenue_by_plan(from, to))?;
        let mut total = Revenue::default();
        let mut periods: BTreeMap<Timestamp, Revenue> = BTreeMap::new();
        for (day, revenue) in &days {
            total.add(revenue);
            let period = match by_month {
                true => day.month_start(),
                false => *day,
            };
            periods.entry(period).or_default().add(revenue);
        }
        Ok(RevenueReport {
            periods: periods.into_iter().collect(),
            plans,
            total,
        })
    }
}
