// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `webhooks`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::Api;
use crate::values::{Change, Secret, Timestamp};

/// Operations of this part of the API: [`Api::webhooks`].
#[derive(Clone, Copy, Debug)]
pub struct Webhooks<'a>(pub(super) &'a Api);

impl Webhooks<'_> {
    /// The account's webhooks, and what they can be told of.
    ///
    /// `GET /api/webhooks`.
    pub async fn list_webhooks(&self) -> Result<WebhookList, Error> {
        self.0.call(Method::GET, "/api/webhooks").answer().await?.json()
    }

    /// Makes a webhook.
    ///
    /// `POST /api/webhooks`.
    pub async fn create_webhook(&self, body: &CreateWebhookBody) -> Result<NewWebhookAnswer, Error> {
        self.0
            .call(Method::POST, "/api/webhooks")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Deletes a webhook with its deliveries.
    ///
    /// `DELETE /api/webhooks/{webhookId}`.
    pub async fn delete_webhook(&self, webhook_id: Uuid) -> Result<(), Error> {
        self.0
            .call(Method::DELETE, &format!("/api/webhooks/{webhook_id}"))
            .answer()
            .await?;
        Ok(())
    }

    /// One webhook.
    ///
    /// `GET /api/webhooks/{webhookId}`.
    pub async fn get_webhook(&self, webhook_id: Uuid) -> Result<WebhookInfo, Error> {
        self.0
            .call(Method::GET, &format!("/api/webhooks/{webhook_id}"))
            .answer()
            .await?
            .json()
    }

    /// Changes a webhook.
    ///
    /// `PUT /api/webhooks/{webhookId}`.
    pub async fn change_webhook(
        &self,
        webhook_id: Uuid,
        body: &ChangeWebhookBody,
    ) -> Result<WebhookInfo, Error> {
        self.0
            .call(Method::PUT, &format!("/api/webhooks/{webhook_id}"))
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// The deliveries of a webhook, newest first.
    ///
    /// `GET /api/webhooks/{webhookId}/deliveries`.
    pub async fn list_deliveries(
        &self,
        webhook_id: Uuid,
        query: &ListDeliveriesQuery,
    ) -> Result<DeliveryList, Error> {
        self.0
            .call(Method::GET, &format!("/api/webhooks/{webhook_id}/deliveries"))
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// One delivery with all its tries.
    ///
    /// `GET /api/webhooks/{webhookId}/deliveries/{eventId}`.
    pub async fn get_delivery(&self, webhook_id: Uuid, event_id: Uuid) -> Result<DeliveryDetail, Error> {
        self.0
            .call(
                Method::GET,
                &format!("/api/webhooks/{webhook_id}/deliveries/{event_id}"),
            )
            .answer()
            .await?
            .json()
    }

    /// Sends an event once more, with the same id, as soon as there is a place. What is under way is not sent twice.
    ///
    /// `POST /api/webhooks/{webhookId}/deliveries/{eventId}/replay`.
    pub async fn replay_delivery(&self, webhook_id: Uuid, event_id: Uuid) -> Result<(), Error> {
        self.0
            .call(
                Method::POST,
                &format!("/api/webhooks/{webhook_id}/deliveries/{event_id}/replay"),
            )
            .answer()
            .await?;
        Ok(())
    }

    /// Makes a new secret. For 24 hours deliveries are signed with both.
    ///
    /// `POST /api/webhooks/{webhookId}/regenerate-secret`.
    pub async fn regenerate_secret(&self, webhook_id: Uuid) -> Result<RegeneratedAnswer, Error> {
        self.0
            .call(
                Method::POST,
                &format!("/api/webhooks/{webhook_id}/regenerate-secret"),
            )
            .answer()
            .await?
            .json()
    }

    /// Sends everything since a time once more, what never was delivered included: at most 1,000 events, the oldest first.
    ///
    /// `POST /api/webhooks/{webhookId}/replay`.
    pub async fn replay_since(&self, webhook_id: Uuid, body: &ReplayBody) -> Result<ReplayAnswer, Error> {
        self.0
            .call(Method::POST, &format!("/api/webhooks/{webhook_id}/replay"))
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Shows the secret again. By POST, so that no link and no other page's image can ask for it.
    ///
    /// `POST /api/webhooks/{webhookId}/reveal-secret`.
    pub async fn reveal_secret(&self, webhook_id: Uuid) -> Result<SecretAnswer, Error> {
        self.0
            .call(Method::POST, &format!("/api/webhooks/{webhook_id}/reveal-secret"))
            .answer()
            .await?
            .json()
    }

    /// Sends a test event now and waits for the answer, at most 10 seconds. Also to a webhook that is switched off.
    ///
    /// `POST /api/webhooks/{webhookId}/test`.
    pub async fn test_webhook(&self, webhook_id: Uuid) -> Result<TestAnswer, Error> {
        self.0
            .call(Method::POST, &format!("/api/webhooks/{webhook_id}/test"))
            .answer()
            .await?
            .json()
    }
}

/// The query of `list_deliveries`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDeliveriesQuery {
    /// Older than this one: `nextCursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Uuid>,
    /// `pending`, `delivered` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptInfo {
    /// The answer's beginning, at most 4 KiB.
    pub answer: String,
    /// The header fields of the answer, at most 4 KiB; of cookies and credentials the names alone.
    pub answer_headers: Vec<HeaderInfo>,
    /// `at`.
    pub at: Timestamp,
    /// `durationMs`.
    pub duration_ms: u32,
    /// Why it did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The header fields that we made for it, the signatures among them. Empty for a try before they were kept.
    pub request_headers: Vec<HeaderInfo>,
    /// `statusCode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
}

/// Changes of a webhook: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeWebhookBody {
    /// Null: none.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub description: Change<String>,
    /// All of them, in place of those that were.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub events: Change<Vec<EventName>>,
    /// Switched on, its failures are forgotten; switched off, what waits is given up.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub is_active: Change<bool>,
    /// Null: 7.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub max_retries: Change<u32>,
    /// Null: as the server does.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub timeout_seconds: Change<u32>,
    /// An `https` address without user and fragment, at most 500 characters.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub url: Change<String>,
}

/// A webhook to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateWebhookBody {
    /// `description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// At least one.
    pub events: Vec<EventName>,
    /// Tries after the first one. Absent: 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// How long one try may take, answer included. Absent: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// By TLS, to a public address.
    pub url: String,
}

/// A delivery with everything that was sent and came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeliveryDetail {
    /// How long the last try took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// Why the last try did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `eventId`.
    pub event_id: Uuid,
    /// `eventType`.
    pub event_type: String,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
    /// When the event happened.
    pub timestamp: Timestamp,
    /// When it was last tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// Tries so far.
    pub tries: u32,
    /// The latest first, at most 50.
    pub attempts: Vec<AttemptInfo>,
    /// The JSON that is sent, the same at every try.
    pub request_body: String,
}

/// An event on its way, with its last try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeliveryInfo {
    /// How long the last try took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// Why the last try did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `eventId`.
    pub event_id: Uuid,
    /// `eventType`.
    pub event_type: String,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
    /// When the event happened.
    pub timestamp: Timestamp,
    /// When it was last tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// Tries so far.
    pub tries: u32,
}

/// A page of deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeliveryList {
    /// Newest first.
    pub deliveries: Vec<DeliveryInfo>,
    /// For the next page; none: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Uuid>,
}

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventInfo {
    /// `description`.
    pub description: String,
    /// `id`.
    pub id: String,
    /// `name`.
    pub name: String,
}

/// What a webhook can be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventName {
    /// `usage.threshold`.
    #[serde(rename = "usage.threshold")]
    UsageThreshold,
    /// `balance.low`.
    #[serde(rename = "balance.low")]
    BalanceLow,
    /// `node.connected`.
    #[serde(rename = "node.connected")]
    NodeConnected,
    /// `node.disconnected`.
    #[serde(rename = "node.disconnected")]
    NodeDisconnected,
    /// `request.failed`.
    #[serde(rename = "request.failed")]
    RequestFailed,
    /// `quota.warning`.
    #[serde(rename = "quota.warning")]
    QuotaWarning,
    /// `quota.exceeded`.
    #[serde(rename = "quota.exceeded")]
    QuotaExceeded,
    /// `api_key.created`.
    #[serde(rename = "api_key.created")]
    ApiKeyCreated,
    /// `api_key.deleted`.
    #[serde(rename = "api_key.deleted")]
    ApiKeyDeleted,
    /// `payment.success`.
    #[serde(rename = "payment.success")]
    PaymentSuccess,
    /// `payment.failed`.
    #[serde(rename = "payment.failed")]
    PaymentFailed,
    /// `payment.refunded`.
    #[serde(rename = "payment.refunded")]
    PaymentRefunded,
    /// `payment.disputed`.
    #[serde(rename = "payment.disputed")]
    PaymentDisputed,
    /// `rate_limit.reached`.
    #[serde(rename = "rate_limit.reached")]
    RateLimitReached,
    /// `platform.maintenance`.
    #[serde(rename = "platform.maintenance")]
    PlatformMaintenance,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeaderInfo {
    /// In lower case.
    pub name: String,
    /// `value`.
    pub value: String,
}

/// A new webhook with its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewWebhookAnswer {
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who switched it off: `owner`, `failures` (ten failed deliveries in a row) or `gone` (it answered 410).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<String>,
    /// What it is told of.
    pub events: Vec<String>,
    /// Deliveries that failed since the last one that arrived.
    pub failure_count: u32,
    /// `id`.
    pub id: Uuid,
    /// Whether it is told anything.
    pub is_active: bool,
    /// The last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_triggered_at: Option<Timestamp>,
    /// Tries after the first one; null: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Until then deliveries are also signed with the secret before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<Timestamp>,
    /// Beginning and end of the secret.
    pub secret_preview: String,
    /// Of all deliveries that ended, the share that arrived, in per cent; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// How long one try may take, in seconds; null: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// `updatedAt`.
    pub updated_at: Timestamp,
    /// `url`.
    pub url: String,
    /// What deliveries are signed with.
    pub secret: Secret,
}

/// A new secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegeneratedAnswer {
    /// Until then they are also signed with the one before.
    pub old_secret_until: Timestamp,
    /// What deliveries are signed with from now on.
    pub secret: Secret,
}

/// How much is sent once more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplayAnswer {
    /// Deliveries that are due now.
    pub queued: u64,
}

/// From when on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayBody {
    /// Events since this time.
    pub since: Timestamp,
}

/// A webhook's secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecretAnswer {
    /// The one before, while it still counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<Secret>,
    /// What deliveries are signed with.
    pub secret: Secret,
}

/// How a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// `pending`.
    #[serde(rename = "pending")]
    Pending,
    /// `delivered`.
    #[serde(rename = "delivered")]
    Delivered,
    /// `failed`.
    #[serde(rename = "failed")]
    Failed,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TestAnswer {
    /// The answer's beginning, at most 4 KiB.
    pub answer: String,
    /// The header fields of the answer, at most 4 KiB; of cookies and credentials the names alone.
    pub answer_headers: Vec<HeaderInfo>,
    /// `at`.
    pub at: Timestamp,
    /// `durationMs`.
    pub duration_ms: u32,
    /// Why it did not arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The header fields that we made for it, the signatures among them. Empty for a try before they were kept.
    pub request_headers: Vec<HeaderInfo>,
    /// `statusCode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
    /// Whether it was answered with 2xx.
    pub delivered: bool,
    /// `eventId`.
    pub event_id: Uuid,
    /// The JSON that was sent.
    pub request_body: String,
}

/// A webhook without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WebhookInfo {
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who switched it off: `owner`, `failures` (ten failed deliveries in a row) or `gone` (it answered 410).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<String>,
    /// What it is told of.
    pub events: Vec<String>,
    /// Deliveries that failed since the last one that arrived.
    pub failure_count: u32,
    /// `id`.
    pub id: Uuid,
    /// Whether it is told anything.
    pub is_active: bool,
    /// The last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_triggered_at: Option<Timestamp>,
    /// Tries after the first one; null: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Until then deliveries are also signed with the secret before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<Timestamp>,
    /// Beginning and end of the secret.
    pub secret_preview: String,
    /// Of all deliveries that ended, the share that arrived, in per cent; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// How long one try may take, in seconds; null: as the server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// `updatedAt`.
    pub updated_at: Timestamp,
    /// `url`.
    pub url: String,
}

/// The account's webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WebhookList {
    /// What a webhook can be told of.
    pub available_events: Vec<EventInfo>,
    /// Most webhooks that an account may have.
    pub max_webhooks: u32,
    /// Oldest first.
    pub webhooks: Vec<WebhookInfo>,
}
