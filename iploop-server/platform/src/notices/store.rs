//! The seam to the data of notices.

use async_trait::async_trait;
use serde_json::Value;

use super::{Notice, OutboxMail, Preferences};
use crate::clock::Timestamp;
use crate::ids::{AccountId, HoldId};
use crate::store::StoreError;

/// A report for everybody who may want one.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReport {
    /// Which.
    pub notice: Notice,
    /// Names it and its period: each account gets it once.
    pub occasion: String,
    /// The period.
    pub data: Value,
    /// To accounts made before this.
    pub made_before: Timestamp,
}

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailEnd {
    /// It is on its way.
    Sent,
    /// Nobody wants it.
    Skipped,
    /// It is tried again at this time.
    Again(Timestamp, String),
    /// It is given up.
    Failed(String),
}

/// Preferences and the outbox.
#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// What an account wants to be told; the defaults where it never said.
    async fn preferences(&self, account: AccountId) -> Result<Preferences, StoreError>;
    /// Sets all of it.
    async fn set_preferences(
        &self,
        account: AccountId,
        preferences: &Preferences,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Queues a report for at most `limit` accounts that may sign in, have a verified address and were not queued for it; how
    /// many. Of parallel callers one queues each.
    async fn queue_reports(&self, report: &NewReport, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Holds mails that are due at `now` and that nobody else holds, at most `limit`. Of parallel callers one gets each.
    async fn claim_mails(
        &self,
        now: Timestamp,
        hold: HoldId,
        hold_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxMail>, StoreError>;
    /// Notes what became of a mail; false, and nothing is noted, if the hold is another's by now.
    async fn finish_mail(&self, mail: &OutboxMail, end: &MailEnd) -> Result<bool, StoreError>;
}
