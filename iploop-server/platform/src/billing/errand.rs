//! What is to be done at the provider because of something that was decided here: kept until it is done, also over a crash.

use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{DAY, Timestamp};
use crate::ids::{AccountId, PaymentId};
use crate::store::StoreError;

/// Tries after which an errand is left for people: about ten days.
pub const MAX_TRIES: u32 = 20;

/// What is to be done. Each is idempotent at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrandKind {
    /// End a subscription at once.
    EndSubscription,
    /// Pay a payment back whole.
    Refund,
    /// Forget a customer.
    DeleteCustomer,
    /// Close a page, so that nobody pays on it any more.
    ClosePage,
}

impl ErrandKind {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndSubscription => "end_subscription",
            Self::Refund => "refund",
            Self::DeleteCustomer => "delete_customer",
            Self::ClosePage => "close_page",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [
            Self::EndSubscription,
            Self::Refund,
            Self::DeleteCustomer,
            Self::ClosePage,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// Something to be done at the provider, once for each kind and subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// What.
    pub kind: ErrandKind,
    /// With what, by the provider's id: a subscription, payment or invoice, customer, page.
    pub subject: String,
    /// Because of whom.
    pub account: AccountId,
    /// The top-up that a page to be closed is for.
    pub payment: Option<PaymentId>,
    /// Tries before this one.
    pub tries: u32,
}

/// How long a failed errand waits: a minute at first, at most a day.
pub fn wait_after(tries: u32) -> Duration {
    let minutes = 1_u64.checked_shl(tries).unwrap_or(u64::MAX);
    Duration::from_secs(minutes.saturating_mul(60)).min(DAY)
}

/// Errands, kept. They are written in the transaction of their cause.
#[async_trait]
pub trait Errands: Send + Sync + 'static {
    /// Those that are due, the longest waiting first.
    async fn due_errands(&self, now: Timestamp, limit: u32) -> Result<Vec<Errand>, StoreError>;
    /// It is done. A closed page is forgotten and sets nothing aside any more: the top-up that it names counts as failed.
    async fn errand_done(&self, errand: &Errand, now: Timestamp) -> Result<(), StoreError>;
    /// It waits until `due`, or is left to people after [`MAX_TRIES`].
    async fn errand_failed(&self, errand: &Errand, reason: &str, due: Timestamp) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_waits_longer_each_time_and_at_most_a_day() {
        assert_eq!(wait_after(0), Duration::from_secs(60));
        assert_eq!(wait_after(3), Duration::from_secs(480));
        assert_eq!(wait_after(11), DAY);
        assert_eq!(wait_after(u32::MAX), DAY);
    }
}
