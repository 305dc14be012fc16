//! What no gateway asks of a store: events, webhooks and notices.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::events::{
    Event, EventKind, Events, FailedRequest, Feed, FeedStep, MovedPurse, PurseWatch,
};
use iploop_platform::ids::{AccountId, EventId, HoldId, WebhookId};
use iploop_platform::notices::{MailEnd, NewReport, Notices, OutboxMail, Preferences};
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{
    Claim, Delivery, DeliveryQuery, Finish, NewWebhook, SealedSecret, StoredChange, Webhook, Webhooks,
};

use crate::store::{TestStore, not_here};

#[async_trait]
impl Events for TestStore {
    async fn publish(&self, _: &[Event]) -> Result<(), StoreError> {
        not_here()
    }
    async fn feed(&self, _: &str) -> Result<Option<Feed>, StoreError> {
        not_here()
    }
    async fn advance_feed(&self, _: &FeedStep) -> Result<bool, StoreError> {
        not_here()
    }
    async fn subscribers(
        &self,
        _: EventKind,
        _: Option<AccountId>,
        _: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn failed_requests(
        &self,
        _: Timestamp,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<FailedRequest>, StoreError> {
        not_here()
    }
    async fn moved_purses(&self, _: Option<AccountId>, _: u32) -> Result<Vec<MovedPurse>, StoreError> {
        not_here()
    }
    async fn note_purse(&self, _: AccountId, _: &PurseWatch, _: &[Event]) -> Result<bool, StoreError> {
        not_here()
    }
    async fn forget_events(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Webhooks for TestStore {
    async fn create_webhook(&self, _: NewWebhook) -> Result<Webhook, StoreError> {
        not_here()
    }
    async fn webhooks(&self, _: AccountId) -> Result<Vec<Webhook>, StoreError> {
        not_here()
    }
    async fn webhook(&self, _: AccountId, _: WebhookId) -> Result<Option<Webhook>, StoreError> {
        not_here()
    }
    async fn change_webhook(
        &self,
        _: AccountId,
        _: WebhookId,
        _: StoredChange,
        _: Timestamp,
    ) -> Result<Option<Webhook>, StoreError> {
        not_here()
    }
    async fn delete_webhook(&self, _: AccountId, _: WebhookId) -> Result<bool, StoreError> {
        not_here()
    }
    async fn rotate_webhook_secret(
        &self,
        _: AccountId,
        _: WebhookId,
        _: SealedSecret,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn webhook_secrets(
        &self,
        _: AccountId,
        _: WebhookId,
        _: Timestamp,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, StoreError> {
        not_here()
    }
    async fn begin_test(
        &self,
        _: WebhookId,
        _: Event,
        _: HoldId,
        _: Timestamp,
    ) -> Result<Option<Claim>, StoreError> {
        not_here()
    }
    async fn claim_deliveries(
        &self,
        _: Timestamp,
        _: Timestamp,
        _: u32,
        _: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        not_here()
    }
    async fn finish_delivery(&self, _: Finish<'_>) -> Result<bool, StoreError> {
        not_here()
    }
    async fn deliveries(
        &self,
        _: AccountId,
        _: WebhookId,
        _: DeliveryQuery,
    ) -> Result<Option<Vec<Delivery>>, StoreError> {
        not_here()
    }
    async fn delivery(&self, _: AccountId, _: WebhookId, _: EventId) -> Result<Option<Delivery>, StoreError> {
        not_here()
    }
    async fn replay_delivery(
        &self,
        _: AccountId,
        _: WebhookId,
        _: EventId,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn replay_since(
        &self,
        _: AccountId,
        _: WebhookId,
        _: Timestamp,
        _: u32,
        _: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Notices for TestStore {
    async fn preferences(&self, _: AccountId) -> Result<Preferences, StoreError> {
        not_here()
    }
    async fn set_preferences(&self, _: AccountId, _: &Preferences, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn queue_reports(&self, _: &NewReport, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        not_here()
    }
    async fn claim_mails(
        &self,
        _: Timestamp,
        _: HoldId,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<OutboxMail>, StoreError> {
        not_here()
    }
    async fn finish_mail(&self, _: &OutboxMail, _: &MailEnd) -> Result<bool, StoreError> {
        not_here()
    }
}
