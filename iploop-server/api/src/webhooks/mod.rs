//! `/api/webhooks`: a customer's addresses for events.

mod deliveries;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::clock::Timestamp;
use iploop_platform::events::EventKind;
use iploop_platform::ids::WebhookId;
use iploop_platform::webhooks::{DisabledBy, Effort, MAX_WEBHOOKS, WantedWebhook, Webhook, WebhookChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::keys::present;
use crate::schema::{EventName, WebhookUrl};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/webhooks`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(get_webhook, change_webhook, delete_webhook))
        .routes(routes!(regenerate_secret))
        .routes(routes!(reveal_secret))
        .routes(routes!(deliveries::test_webhook))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::get_delivery))
        .routes(routes!(deliveries::replay_delivery))
        .routes(routes!(deliveries::replay_since))
}

/// The webhook's id in the path; what is no id names no webhook.
pub(crate) struct HookId(pub(crate) WebhookId);

impl FromRequestParts<ApiState> for HookId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        id.parse().map(Self).map_err(|_| ApiError::WebhookNotFound)
    }
}

/// A webhook without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookInfo {
    #[schema(value_type = String, format = Uuid)]
    id: WebhookId,
    #[schema(example = "https://example.com/hook")]
    url: String,
    description: Option<String>,
    /// What it is told of.
    #[schema(example = json!(["balance.low", "quota.exceeded"]))]
    events: Vec<&'static str>,
    /// How long one try may take, in seconds; null: as the server does.
    timeout_seconds: Option<u32>,
    /// Tries after the first one; null: as the server does.
    max_retries: Option<u32>,
    /// Whether it is told anything.
    is_active: bool,
    /// Who switched it off: `owner`, `failures` (ten failed deliveries in a row) or `gone` (it answered 410).
    disabled_by: Option<&'static str>,
    /// Beginning and end of the secret.
    #[schema(example = "whsec_…aB3x=")]
    secret_preview: String,
    /// Until then deliveries are also signed with the secret before.
    #[schema(value_type = Option<String>, format = DateTime)]
    old_secret_until: Option<Timestamp>,
    /// Deliveries that failed since the last one that arrived.
    failure_count: u32,
    /// Of all deliveries that ended, the share that arrived, in per cent; none before the first.
    success_rate: Option<f64>,
    /// The last try.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_triggered_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The account's webhooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookList {
    /// Oldest first.
    webhooks: Vec<WebhookInfo>,
    /// Most webhooks that an account may have.
    max_webhooks: u32,
    /// What a webhook can be told of.
    available_events: Vec<EventInfo>,
}

/// A kind of event.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventInfo {
    #[schema(example = "balance.low")]
    id: &'static str,
    #[schema(example = "Balance Low")]
    name: &'static str,
    description: &'static str,
}

/// A webhook to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateWebhookBody {
    /// By TLS, to a public address.
    #[schema(required, value_type = WebhookUrl)]
    #[serde(default)]
    url: String,
    /// At least one.
    #[schema(required, value_type = Vec<EventName>, min_items = 1)]
    #[serde(default)]
    events: Vec<String>,
    #[schema(max_length = 200)]
    #[serde(default)]
    description: Option<String>,
    /// How long one try may take, answer included. Absent: as the server does.
    #[schema(minimum = 1, maximum = 30)]
    #[serde(default)]
    timeout_seconds: Option<u32>,
    /// Tries after the first one. Absent: 7.
    #[schema(maximum = 7)]
    #[serde(default)]
    max_retries: Option<u32>,
}

/// Changes of a webhook: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeWebhookBody {
    #[schema(value_type = Option<WebhookUrl>)]
    #[serde(default)]
    url: Option<String>,
    /// All of them, in place of those that were.
    #[schema(value_type = Option<Vec<EventName>>, min_items = 1)]
    #[serde(default)]
    events: Option<Vec<String>>,
    /// Null: none.
    #[schema(value_type = Option<String>, max_length = 200)]
    #[serde(default, deserialize_with = "present")]
    description: Option<Option<String>>,
    /// Null: as the server does.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 30)]
    #[serde(default, deserialize_with = "present")]
    timeout_seconds: Option<Option<u32>>,
    /// Null: 7.
    #[schema(value_type = Option<u32>, maximum = 7)]
    #[serde(default, deserialize_with = "present")]
    max_retries: Option<Option<u32>>,
    /// Switched on, its failures are forgotten; switched off, what waits is given up.
    #[serde(default)]
    is_active: Option<bool>,
}

/// A new webhook with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewWebhookAnswer {
    /// What deliveries are signed with.
    #[schema(example = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")]
    secret: String,
    #[serde(flatten)]
    webhook: WebhookInfo,
}

/// A webhook's secrets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretAnswer {
    /// What deliveries are signed with.
    secret: String,
    /// The one before, while it still counts.
    old_secret: Option<String>,
}

/// A new secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegeneratedAnswer {
    /// What deliveries are signed with from now on.
    secret: String,
    /// Until then they are also signed with the one before.
    #[schema(value_type = String, format = DateTime)]
    old_secret_until: Timestamp,
}

impl From<Webhook> for WebhookInfo {
    fn from(webhook: Webhook) -> Self {
        let ended = webhook.delivered + webhook.failed;
        Self {
            id: webhook.id,
            url: webhook.url,
            description: webhook.description,
            events: webhook.events.into_iter().map(EventKind::as_str).collect(),
            timeout_seconds: webhook.effort.timeout_seconds,
            max_retries: webhook.effort.max_retries,
            is_active: webhook.is_active,
            disabled_by: webhook.disabled_by.map(DisabledBy::as_str),
            secret_preview: webhook.secret_preview,
            old_secret_until: webhook.old_secret_until,
            failure_count: webhook.failure_count,
            success_rate: (ended > 0).then(|| webhook.delivered as f64 * 100.0 / ended as f64),
            last_triggered_at: webhook.last_triggered_at,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

/// The account's webhooks, and what they can be told of.
#[utoipa::path(
    get, path = "", tag = "webhooks", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = WebhookList, description = "The webhooks"))
)]
pub(crate) async fn list_webhooks(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<WebhookList>, ApiError> {
    let webhooks = state.parts().webhooks.list(session.account().id).await?;
    let available = EventKind::subscribable().map(|kind| EventInfo {
        id: kind.as_str(),
        name: kind.title(),
        description: kind.description(),
    });
    Ok(Json(WebhookList {
        webhooks: webhooks.into_iter().map(WebhookInfo::from).collect(),
        max_webhooks: MAX_WEBHOOKS,
        available_events: available.collect(),
    }))
}

/// Makes a webhook.
#[utoipa::path(
    post, path = "", tag = "webhooks", request_body = CreateWebhookBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 201, body = NewWebhookAnswer, description = "The webhook with its secret"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "The account has 20 already"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many addresses"),
    )
)]
pub(crate) async fn create_webhook(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<CreateWebhookBody>,
) -> Result<Response, ApiError> {
    let wanted = WantedWebhook {
        url: body.url,
        events: body.events,
        description: body.description,
        effort: Effort {
            timeout_seconds: body.timeout_seconds,
            max_retries: body.max_retries,
        },
    };
    let created = state
        .parts()
        .webhooks
        .create(session.account().id, wanted)
        .await?;
    let answer = NewWebhookAnswer {
        secret: created.secret.expose().to_owned(),
        webhook: created.webhook.into(),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// One webhook.
#[utoipa::path(
    get, path = "/{webhookId}", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = WebhookInfo, description = "The webhook"))
)]
pub(crate) async fn get_webhook(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
) -> Result<Json<WebhookInfo>, ApiError> {
    let webhook = state.parts().webhooks.get(session.account().id, id).await?;
    Ok(Json(webhook.into()))
}

/// Changes a webhook.
#[utoipa::path(
    put, path = "/{webhookId}", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    request_body = ChangeWebhookBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = WebhookInfo, description = "The webhook"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many addresses"),
    )
)]
pub(crate) async fn change_webhook(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
    Json(body): Json<ChangeWebhookBody>,
) -> Result<Json<WebhookInfo>, ApiError> {
    let wanted = WebhookChange {
        url: body.url,
        events: body.events,
        description: body.description,
        timeout_seconds: body.timeout_seconds,
        max_retries: body.max_retries,
        is_active: body.is_active,
    };
    let webhook = state
        .parts()
        .webhooks
        .change(session.account().id, id, wanted)
        .await?;
    Ok(Json(webhook.into()))
}

/// Deletes a webhook with its deliveries.
#[utoipa::path(
    delete, path = "/{webhookId}", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn delete_webhook(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
) -> Result<StatusCode, ApiError> {
    state.parts().webhooks.delete(session.account().id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new secret. For 24 hours deliveries are signed with both.
#[utoipa::path(
    post, path = "/{webhookId}/regenerate-secret", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = RegeneratedAnswer, description = "The new secret"))
)]
pub(crate) async fn regenerate_secret(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
) -> Result<Json<RegeneratedAnswer>, ApiError> {
    let rotated = state.parts().webhooks.rotate(session.account().id, id).await?;
    Ok(Json(RegeneratedAnswer {
        secret: rotated.secret.expose().to_owned(),
        old_secret_until: rotated.old_until,
    }))
}

/// Shows the secret again. By POST, so that no link and no other page's image can ask for it.
#[utoipa::path(
    post, path = "/{webhookId}/reveal-secret", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = SecretAnswer, description = "The secret"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "It can't be read any more: the server's own secret is another one"),
    )
)]
pub(crate) async fn reveal_secret(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
) -> Result<Json<SecretAnswer>, ApiError> {
    let revealed = state.parts().webhooks.reveal(session.account().id, id).await?;
    Ok(Json(SecretAnswer {
        secret: revealed.secret.expose().to_owned(),
        old_secret: revealed.old.map(|old| old.expose().to_owned()),
    }))
}
