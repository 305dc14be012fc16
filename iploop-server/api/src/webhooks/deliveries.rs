//! What was sent to a webhook, what came back, and sending it once more.

use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{EventId, WebhookId};
use iploop_platform::webhooks::{Attempt, Delivery, DeliveryQuery, DeliveryState, HeaderField};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::HookId;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::schema::DeliveryStateName;
use crate::session::SignedIn;
use crate::state::ApiState;

/// Most deliveries on a page.
const MAX_PAGE: u32 = 100;

/// The ids of webhook and event in the path; what is no id names nothing.
pub(crate) struct DeliveryPath(WebhookId, EventId);

impl FromRequestParts<ApiState> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path((webhook, event)) = Path::<(String, String)>::from_request_parts(parts, state).await?;
        match (webhook.parse(), event.parse()) {
            (Ok(webhook), Ok(event)) => Ok(Self(webhook, event)),
            _ => Err(ApiError::DeliveryNotFound),
        }
    }
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesQuery {
    /// Older than this one: `nextCursor` of the page before.
    #[param(value_type = Option<String>, format = Uuid)]
    cursor: Option<EventId>,
    /// `pending`, `delivered` or `failed`.
    #[param(inline, value_type = Option<DeliveryStateName>)]
    state: Option<String>,
    /// At most so many.
    #[serde(default = "usual_page")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
}

const fn usual_page() -> u32 {
    50
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryList {
    /// Newest first.
    deliveries: Vec<DeliveryInfo>,
    /// For the next page; none: this was the last.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<EventId>,
}

/// An event on its way, with its last try.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryInfo {
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    #[schema(example = "balance.low")]
    event_type: &'static str,
    /// `pending`, `delivered` or `failed`.
    state: &'static str,
    /// Tries so far.
    tries: u32,
    /// When it is tried next.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_try_at: Option<Timestamp>,
    /// Status of the last answer.
    status_code: Option<u16>,
    /// How long the last try took.
    duration_ms: Option<u32>,
    /// Why the last try did not arrive.
    error: Option<String>,
    /// When it was last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    tried_at: Option<Timestamp>,
    /// When the event happened.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// A delivery with everything that was sent and came back.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryDetail {
    #[serde(flatten)]
    delivery: DeliveryInfo,
    /// The JSON that is sent, the same at every try.
    request_body: String,
    /// The latest first, at most 50.
    attempts: Vec<AttemptInfo>,
}

/// One try.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptInfo {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    status_code: Option<u16>,
    duration_ms: u32,
    /// The header fields that we made for it, the signatures among them. Empty for a try before they were kept.
    request_headers: Vec<HeaderInfo>,
    /// The header fields of the answer, at most 4 KiB; of cookies and credentials the names alone.
    answer_headers: Vec<HeaderInfo>,
    /// The answer's beginning, at most 4 KiB.
    answer: String,
    /// Why it did not arrive.
    error: Option<String>,
}

/// A header field.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeaderInfo {
    /// In lower case.
    #[schema(example = "webhook-signature")]
    name: String,
    value: String,
}

/// What became of a test.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestAnswer {
    /// Whether it was answered with 2xx.
    delivered: bool,
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    /// The JSON that was sent.
    request_body: String,
    #[serde(flatten)]
    attempt: AttemptInfo,
}

/// From when on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayBody {
    /// Events since this time.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// How much is sent once more.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayAnswer {
    /// Deliveries that are due now.
    queued: u64,
}

impl From<Attempt> for AttemptInfo {
    fn from(attempt: Attempt) -> Self {
        Self {
            at: attempt.at,
            status_code: attempt.status,
            duration_ms: attempt.duration_ms,
            request_headers: attempt.sent.into_iter().map(HeaderInfo::from).collect(),
            answer_headers: attempt.answer_fields.into_iter().map(HeaderInfo::from).collect(),
            answer: attempt.answer,
            error: attempt.error,
        }
    }
}

impl From<HeaderField> for HeaderInfo {
    fn from(field: HeaderField) -> Self {
        Self {
            name: field.name,
            value: field.value,
        }
    }
}

impl From<&Delivery> for DeliveryInfo {
    fn from(delivery: &Delivery) -> Self {
        let last = delivery.attempts.first();
        Self {
            event_id: delivery.event.id,
            event_type: delivery.event.kind.as_str(),
            state: delivery.state.as_str(),
            tries: delivery.tries,
            next_try_at: (delivery.state == DeliveryState::Pending).then_some(delivery.due_at),
            status_code: last.and_then(|last| last.status),
            duration_ms: last.map(|last| last.duration_ms),
            error: last.and_then(|last| last.error.clone()),
            tried_at: last.map(|last| last.at),
            timestamp: delivery.event.at,
        }
    }
}

/// Sends a test event now and waits for the answer, at most 10 seconds. Also to a webhook that is switched off.
#[utoipa::path(
    post, path = "/{webhookId}/test", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = TestAnswer, description = "What came back; also if it did not arrive"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many tests"),
    )
)]
pub(crate) async fn test_webhook(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
) -> Result<Json<TestAnswer>, ApiError> {
    let sent = state.parts().webhooks.test(session.account().id, id).await?;
    Ok(Json(TestAnswer {
        delivered: sent.is_delivered,
        event_id: sent.event.id,
        request_body: sent.event.body(),
        attempt: sent.attempt.into(),
    }))
}

/// The deliveries of a webhook, newest first.
#[utoipa::path(
    get, path = "/{webhookId}/deliveries", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid), DeliveriesQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = DeliveryList, description = "A page of deliveries"),
        (status = 400, body = crate::problem::Problem, content_type = "application/problem+json", description = "A query that can't be read"),
    )
)]
pub(crate) async fn list_deliveries(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<DeliveryList>, ApiError> {
    let problem = |field, message: &str| ApiError::InvalidFields(vec![FieldProblem::new(field, message)]);
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(problem("limit", "Limit must be 1 to 100"));
    }
    let wanted = query.state.as_deref().map(|name| {
        let named = DeliveryState::named(name);
        named.ok_or_else(|| problem("state", "State must be pending, delivered or failed"))
    });
    let query = DeliveryQuery {
        before: query.cursor,
        state: wanted.transpose()?,
        limit: query.limit,
    };
    let page = state
        .parts()
        .webhooks
        .deliveries(session.account().id, id, query)
        .await?;
    let is_full = u32::try_from(page.len()).is_ok_and(|rows| rows == query.limit);
    let last = page.last().map(|delivery| delivery.event.id);
    Ok(Json(DeliveryList {
        deliveries: page.iter().map(DeliveryInfo::from).collect(),
        next_cursor: last.filter(|_| is_full),
    }))
}

/// One delivery with all its tries.
#[utoipa::path(
    get, path = "/{webhookId}/deliveries/{eventId}", tag = "webhooks",
    params(("webhookId" = String, Path, format = Uuid), ("eventId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = DeliveryDetail, description = "The delivery"))
)]
pub(crate) async fn get_delivery(
    State(state): State<ApiState>,
    session: SignedIn,
    DeliveryPath(webhook, event): DeliveryPath,
) -> Result<Json<DeliveryDetail>, ApiError> {
    let delivery = state
        .parts()
        .webhooks
        .delivery(session.account().id, webhook, event)
        .await?;
    Ok(Json(DeliveryDetail {
        delivery: DeliveryInfo::from(&delivery),
        request_body: delivery.event.body(),
        attempts: delivery.attempts.into_iter().map(AttemptInfo::from).collect(),
    }))
}

/// Sends an event once more, with the same id, as soon as there is a place. What is under way is not sent twice.
#[utoipa::path(
    post, path = "/{webhookId}/deliveries/{eventId}/replay", tag = "webhooks",
    params(("webhookId" = String, Path, format = Uuid), ("eventId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, description = "It is due now"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many replays"),
    )
)]
pub(crate) async fn replay_delivery(
    State(state): State<ApiState>,
    session: SignedIn,
    DeliveryPath(webhook, event): DeliveryPath,
) -> Result<StatusCode, ApiError> {
    state
        .parts()
        .webhooks
        .replay(session.account().id, webhook, event)
        .await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sends everything since a time once more, what never was delivered included: at most 1,000 events, the oldest first.
#[utoipa::path(
    post, path = "/{webhookId}/replay", tag = "webhooks", params(("webhookId" = String, Path, format = Uuid)),
    request_body = ReplayBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, body = ReplayAnswer, description = "They are due now"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many replays"),
    )
)]
pub(crate) async fn replay_since(
    State(state): State<ApiState>,
    session: SignedIn,
    HookId(id): HookId,
    Json(body): Json<ReplayBody>,
) -> Result<(StatusCode, Json<ReplayAnswer>), ApiError> {
    let webhooks = &state.parts().webhooks;
    let queued = webhooks
        .replay_since(session.account().id, id, body.since)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayAnswer { queued })))
}
