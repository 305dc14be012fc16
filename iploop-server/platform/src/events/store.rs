//! The seam to the data of events.

use async_trait::async_trait;
use serde_json::Value;

use super::purse::{MovedPurse, PurseWatch};
use super::{Event, EventKind};
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, RequestId};
use crate::store::StoreError;

/// How far one that watches something has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// What is before this was looked at.
    pub at: Timestamp,
    /// What it remembers.
    pub state: Value,
}

/// A step of a feed, with what it found.
#[derive(Clone, Debug)]
pub struct FeedStep {
    /// Which feed.
    pub name: &'static str,
    /// Where it was read; none: it has no row yet.
    pub from: Option<Timestamp>,
    /// Where it goes.
    pub to: Feed,
    /// What it found.
    pub events: Vec<Event>,
}

/// A failed request of an account that wants to hear of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRequest {
    /// Whose.
    pub account: AccountId,
    /// The request.
    pub request: RequestId,
    /// With which key.
    pub api_key: ApiKeyId,
    /// The error's code.
    pub code: String,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Host and port.
    pub destination: String,
    /// Country of the exit.
    pub country: Option<String>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// All failed requests of the account in that time.
    pub of: u64,
}

/// Events, and what those who watch for them remember.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Writes events with their deliveries and mails, in one transaction.
    async fn publish(&self, events: &[Event]) -> Result<(), StoreError>;
    /// A feed's place; none if it never moved.
    async fn feed(&self, name: &str) -> Result<Option<Feed>, StoreError>;
    /// Moves a feed and writes its events, in one transaction; false, and nothing is written, if it is elsewhere by now.
    async fn advance_feed(&self, step: &FeedStep) -> Result<bool, StoreError>;
    /// Accounts with an active webhook for this kind, by id, behind `after`, at most `limit`.
    async fn subscribers(
        &self,
        kind: EventKind,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError>;
    /// For each account with an active webhook for `request.failed`: its first `each` requests that failed in `[from, to)`.
    async fn failed_requests(
        &self,
        from: Timestamp,
        to: Timestamp,
        each: u32,
    ) -> Result<Vec<FailedRequest>, StoreError>;
    /// Purses that are not as they were last seen, by account, behind `after`, at most `limit`.
    async fn moved_purses(&self, after: Option<AccountId>, limit: u32)
    -> Result<Vec<MovedPurse>, StoreError>;
    /// Notes what was seen of a purse and writes its events, in one transaction; false, and nothing is written, if another
    /// saw it meanwhile.
    async fn note_purse(
        &self,
        account: AccountId,
        seen: &PurseWatch,
        events: &[Event],
    ) -> Result<bool, StoreError>;
    /// Forgets events, deliveries and tries from before `before`, and ended mails from a month and more before that, at most
    /// `limit` of each; the most that went of one of them.
    async fn forget_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
