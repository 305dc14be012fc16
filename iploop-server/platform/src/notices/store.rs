//! The seam to the data of notices.

use async_trait::async_trait;
use serde_json::Value;

use super::{Announcement, Notice, OutboxMail, Preferences, PreferencesChange};
use crate::abuse::AuditEntry;
use crate::clock::Timestamp;
use crate::ids::{AccountId, HoldId};
use crate::store::StoreError;

/// A mail for one account.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMail {
    /// To whom.
    pub account: AccountId,
    /// What it is.
    pub notice: Notice,
    /// The particulars, without secrets.
    pub data: Value,
    /// The account gets one mail for it.
    pub occasion: String,
    /// When.
    pub now: Timestamp,
}

/// A report for everybody in a time zone who may want one.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReport {
    /// Which.
    pub notice: Notice,
    /// Names it and its period: each account gets it once.
    pub occasion: String,
    /// The period.
    pub data: Value,
    /// To accounts in this time zone.
    pub time_zone: String,
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
    /// Changes it, and says what comes of it. Of two changes at the same moment neither undoes the other. That mails about the
    /// account's safety are switched off is told by mail.
    async fn change_preferences(
        &self,
        account: AccountId,
        change: &PreferencesChange,
        now: Timestamp,
    ) -> Result<Preferences, StoreError>;
    /// Queues a mail; a second one for the same account and occasion changes nothing.
    async fn queue_mail(&self, mail: &NewMail) -> Result<(), StoreError>;
    /// Notes that somebody asked for a new password for this address, folded, whether it has an account or not; false, and
    /// nothing is noted, where `most` wait already.
    async fn note_password_request(
        &self,
        email_folded: &str,
        now: Timestamp,
        most: u32,
    ) -> Result<bool, StoreError>;
    /// Queues the mails for the oldest of these requests, for accounts that may sign in, and forgets the requests; how many. Of
    /// parallel callers one answers each.
    async fn answer_password_requests(&self, limit: u32) -> Result<u64, StoreError>;
    /// The time zones that accounts have.
    async fn time_zones(&self) -> Result<Vec<String>, StoreError>;
    /// Notes an announcement, with its audit record.
    async fn announce(&self, announcement: &Announcement, entry: AuditEntry) -> Result<(), StoreError>;
    /// Queues the mail about the oldest announcement that not everybody was told of, for at most `limit` accounts that may sign
    /// in, have a verified address and want to know; which, and for how many. None where everybody was told.
    async fn tell_announcement(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Option<(Announcement, u64)>, StoreError>;
    /// Queues a report for at most `limit` accounts of its time zone that may sign in, have a verified address and were not queued for it; how
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
    /// Notes what became of a mail; false, and nothing is noted, if the hold is another's by now. With its end an address of its own
    /// is forgotten.
    async fn finish_mail(&self, mail: &OutboxMail, end: &MailEnd) -> Result<bool, StoreError>;
}
