//! The seam to the data of webhooks.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{Attempt, Claim, Delivery, DeliveryState, NewWebhook, SealedSecret, Verdict, Webhook};
use crate::clock::Timestamp;
use crate::events::{Event, EventKind};
use crate::ids::{AccountId, EventId, HoldId, WebhookId};
use crate::store::StoreError;

/// What changes of a webhook: what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct StoredChange {
    /// Another address.
    pub url: Option<String>,
    /// Other words about it, or none.
    pub description: Option<Option<String>>,
    /// Other events, in place of all that were.
    pub events: Option<BTreeSet<EventKind>>,
    /// Another time for one try, or the server's.
    pub timeout_seconds: Option<Option<u32>>,
    /// Another number of tries after the first one, or the server's.
    pub max_retries: Option<Option<u32>>,
    /// Switched on or off. Switching on forgets failures; switching off gives up what waits.
    pub is_active: Option<bool>,
}

/// Which deliveries of a webhook, the newest first.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryQuery {
    /// Older than this one: the last of the page before.
    pub before: Option<EventId>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// At most so many.
    pub limit: u32,
}

/// The end of a try.
#[derive(Clone)]
pub struct Finish<'a> {
    /// Which delivery, and by which hold.
    pub claim: &'a Claim,
    /// The try.
    pub attempt: &'a Attempt,
    /// What it means.
    pub verdict: Verdict,
    /// When.
    pub now: Timestamp,
}

/// Webhooks and deliveries.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Stores a webhook; `LimitReached` if the account has [`MAX_WEBHOOKS`](super::MAX_WEBHOOKS), also under parallel tries.
    async fn create_webhook(&self, webhook: NewWebhook) -> Result<Webhook, StoreError>;
    /// An account's webhooks, oldest first.
    async fn webhooks(&self, account: AccountId) -> Result<Vec<Webhook>, StoreError>;
    /// One webhook of an account; none if it is another's.
    async fn webhook(&self, account: AccountId, id: WebhookId) -> Result<Option<Webhook>, StoreError>;
    /// Changes a webhook; none if it is another's.
    async fn change_webhook(
        &self,
        account: AccountId,
        id: WebhookId,
        change: StoredChange,
        now: Timestamp,
    ) -> Result<Option<Webhook>, StoreError>;
    /// Deletes a webhook with its deliveries; false if it is another's.
    async fn delete_webhook(&self, account: AccountId, id: WebhookId) -> Result<bool, StoreError>;
    /// Sets a new secret; the one before counts until `old_until`. False if it is another's.
    async fn rotate_webhook_secret(
        &self,
        account: AccountId,
        id: WebhookId,
        secret: SealedSecret,
        old_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// The secret, and the one before while it counts; none if it is another's.
    async fn webhook_secrets(
        &self,
        account: AccountId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, StoreError>;
    /// Writes an event for this webhook alone, active or not, and holds its delivery; none if it is another's.
    async fn begin_test(
        &self,
        webhook: WebhookId,
        event: Event,
        hold: HoldId,
        hold_until: Timestamp,
    ) -> Result<Option<Claim>, StoreError>;
    /// Holds deliveries that are due at `now` and that nobody else holds, at most `limit`, and at most `each` of one
    /// webhook, those under way included. Of parallel callers one gets each.
    async fn claim_deliveries(
        &self,
        now: Timestamp,
        hold_until: Timestamp,
        each: u32,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError>;
    /// Notes a try and what it means; false, and nothing is noted, if the hold is another's by now. Of a delivery's tries the last
    /// [`MAX_ATTEMPTS`](super::MAX_ATTEMPTS) are kept.
    ///
    /// The last failure of [`MAX_FAILURES`](super::MAX_FAILURES) in a row, or [`Verdict::Gone`], switches the webhook off, gives up
    /// what waits and writes a mail to its owner.
    async fn finish_delivery(&self, finish: Finish<'_>) -> Result<bool, StoreError>;
    /// A page of deliveries, each with its last try; none if the webhook is another's.
    async fn deliveries(
        &self,
        account: AccountId,
        webhook: WebhookId,
        query: DeliveryQuery,
    ) -> Result<Option<Vec<Delivery>>, StoreError>;
    /// One delivery with all its tries; none if it is another's.
    async fn delivery(
        &self,
        account: AccountId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Delivery>, StoreError>;
    /// Makes a delivery due again, with the same id, unless it is under way; false if it is another's.
    async fn replay_delivery(
        &self,
        account: AccountId,
        webhook: WebhookId,
        event: EventId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Makes the events since `since` that the webhook asks for due again, at most `limit`, the oldest first, those that were
    /// never delivered to it included; how many. None if it is another's.
    async fn replay_since(
        &self,
        account: AccountId,
        webhook: WebhookId,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError>;
}
