//! What is to be done at the provider because of something that was decided here: kept until it is done, also over a crash.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::service::{BillingError, BillingService};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::clock::{DAY, Timestamp};
use crate::field;
use crate::ids::{AccountId, AuditId, PaymentId};
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
    /// Stop collecting for a subscription: its account is suspended.
    PauseCollection,
    /// Go on collecting: its account was reinstated.
    ResumeCollection,
}

impl ErrandKind {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndSubscription => "end_subscription",
            Self::Refund => "refund",
            Self::DeleteCustomer => "delete_customer",
            Self::ClosePage => "close_page",
            Self::PauseCollection => "pause_collection",
            Self::ResumeCollection => "resume_collection",
        }
    }

    /// The kind that undoes this one. Of the two at most one stands for a subject.
    pub const fn opposite(self) -> Option<Self> {
        match self {
            Self::PauseCollection => Some(Self::ResumeCollection),
            Self::ResumeCollection => Some(Self::PauseCollection),
            Self::EndSubscription | Self::Refund | Self::DeleteCustomer | Self::ClosePage => None,
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [
            Self::EndSubscription,
            Self::Refund,
            Self::DeleteCustomer,
            Self::ClosePage,
            Self::PauseCollection,
            Self::ResumeCollection,
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

/// How an errand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrandState {
    /// It is tried, again and again.
    Waiting,
    /// It was done.
    Done,
    /// It failed [`MAX_TRIES`] times and is left to people.
    Left,
}

impl ErrandState {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Left => "left",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Waiting, Self::Done, Self::Left]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// An errand as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrandRecord {
    /// What is to be done, and how often that failed.
    pub errand: Errand,
    /// How it stands.
    pub state: ErrandState,
    /// Why the last try failed.
    pub reason: Option<String>,
    /// When it is tried next, where it waits; else when that was.
    pub due_at: Timestamp,
}

/// Which errands, in the order of their kinds' and subjects' names.
#[derive(Clone, Debug, Default)]
pub struct ErrandQuery {
    /// That stand so.
    pub state: Option<ErrandState>,
    /// Behind this one: the last of the page before.
    pub after: Option<(ErrandKind, String)>,
    /// At most so many.
    pub limit: u32,
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
    /// It is done. A closed page is forgotten and sets nothing aside any more: the top-up that it names counts as failed. Where its
    /// opposite took its place while it was run, that is run once more: nobody knows which of them the provider heard last.
    async fn errand_done(&self, errand: &Errand, now: Timestamp) -> Result<(), StoreError>;
    /// It waits until `due`, or is left to people after [`MAX_TRIES`]. Its opposite is run once more as above: what failed may have
    /// been heard all the same.
    async fn errand_failed(&self, errand: &Errand, reason: &str, due: Timestamp) -> Result<(), StoreError>;
    /// A page of errands.
    async fn errands(&self, query: &ErrandQuery) -> Result<Vec<ErrandRecord>, StoreError>;
    /// Lets one be tried again, at once and with all its tries, with its audit record, whose `account`, `before` and `after` are
    /// filled in here; one that is done stays so, without a record. As it stands then; none: there is no such errand.
    async fn retry_errand(
        &self,
        kind: ErrandKind,
        subject: &str,
        entry: AuditEntry,
    ) -> Result<Option<ErrandRecord>, StoreError>;
}

impl BillingService {
    /// Errands to the payment provider: for admins.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn errands(&self, query: &ErrandQuery) -> Result<Vec<ErrandRecord>, BillingError> {
        Ok(self.store().errands(query).await?)
    }

    /// Lets an errand be tried again: at the next look, within 15 seconds.
    ///
    /// # Errors
    /// [`BillingError::NoSuchErrand`], [`BillingError::ErrandDone`], [`BillingError::NotConfigured`] where nobody could run it,
    /// [`BillingError::Invalid`] for a missing reason.
    pub async fn retry_errand(
        &self,
        kind: ErrandKind,
        subject: &str,
        actor: Actor,
        reason: &str,
    ) -> Result<ErrandRecord, BillingError> {
        let reason = field::reason(reason).map_err(BillingError::Invalid)?;
        self.provider()?;
        let entry = AuditEntry {
            id: AuditId::new(),
            at: self.now(),
            actor,
            action: AuditAction::ErrandRetried,
            account: None,
            subject: subject.to_owned(),
            before: Value::Null,
            after: Value::Null,
            reason,
        };
        let retried = self.store().retry_errand(kind, subject, entry).await?;
        let retried = retried.ok_or(BillingError::NoSuchErrand)?;
        match retried.state {
            ErrandState::Done => Err(BillingError::ErrandDone),
            ErrandState::Waiting | ErrandState::Left => Ok(retried),
        }
    }
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
