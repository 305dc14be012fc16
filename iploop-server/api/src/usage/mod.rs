//! `/api/usage`: what the account used.

mod breakdown;
pub(crate) mod csv;
mod export;
mod over_time;
mod period;
mod search;
mod sums;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, ApiKeyId, RequestId};
use iploop_platform::usage::{UsageRecord, UsageSearch, masked};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;

use period::Format;

/// Most requests in one answer.
const MAX_RECENT: u32 = 100;
/// The routes below `/api/usage`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(over_time::usage_summary))
        .routes(routes!(over_time::daily_usage))
        .routes(routes!(over_time::hourly_usage))
        .routes(routes!(breakdown::usage_by_country))
        .routes(routes!(breakdown::usage_by_key))
        .routes(routes!(breakdown::usage_by_status))
        .routes(routes!(breakdown::usage_by_type))
        .routes(routes!(breakdown::usage_by_destination))
        .routes(routes!(recent_usage))
        .routes(routes!(search::search_usage))
        .routes(routes!(export::export_usage))
        .routes(routes!(search::request_receipt))
}

/// What stands below `/api/proxy`.
pub(crate) fn stats_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(over_time::proxy_stats))
}

/// How many, and of which key.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecentQuery {
    /// Most requests wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
    /// Only those made with this key.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    key: Option<ApiKeyId>,
    /// `json` or `csv` (RFC 4180, with a header line).
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// The newest requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecentAnswer {
    /// Newest first.
    requests: Vec<RequestInfo>,
}

/// One request, running or ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestInfo {
    #[schema(value_type = String, format = Uuid)]
    id: RequestId,
    #[schema(value_type = String, format = Uuid)]
    api_key_id: ApiKeyId,
    /// The sticky session's name.
    session_id: Option<String>,
    bytes_uploaded: u64,
    bytes_downloaded: u64,
    total_bytes: u64,
    /// Always 1: each request is listed by itself, and a tunnel is one.
    request_count: u32,
    /// What was paid for.
    billed_bytes: u64,
    /// False: it cost nothing, the failure was ours.
    billable: bool,
    /// `http`, `connect` or `socks5`.
    proxy_type: String,
    /// Host and port.
    destination: String,
    /// Country of the exit.
    target_country: Option<String>,
    /// City of the exit.
    target_city: Option<String>,
    /// Autonomous system of the exit.
    exit_asn: Option<u32>,
    /// Network of the exit's address: the address itself is a person's.
    #[schema(example = "203.0.113.0/24")]
    exit_network: Option<String>,
    /// How long the choice of the exit took, all attempts together.
    select_ms: Option<u32>,
    /// How long the exit that served took to dial.
    dial_ms: Option<u32>,
    /// From the request's begin to the answer's first byte.
    first_byte_ms: Option<u32>,
    status_code: Option<u16>,
    /// None while it runs.
    success: Option<bool>,
    /// The error's code.
    error_message: Option<String>,
    /// Exits tried.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// None while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// From begin to end; none while it runs.
    duration_ms: Option<u64>,
}

impl From<UsageRecord> for RequestInfo {
    fn from(record: UsageRecord) -> Self {
        let duration = record.ended_at.map(|end| end.since(record.started_at));
        let billed_bytes = record.billed_bytes();
        Self {
            id: record.id,
            api_key_id: record.api_key,
            session_id: record.session,
            bytes_uploaded: record.bytes_up,
            bytes_downloaded: record.bytes_down,
            total_bytes: record.bytes_up.saturating_add(record.bytes_down),
            request_count: 1,
            billed_bytes,
            billable: record.billable,
            proxy_type: record.proxy_type,
            destination: record.destination,
            target_country: record.exit_country,
            target_city: record.exit_city,
            exit_asn: record.exit_asn,
            exit_network: record.exit_ip.map(|ip| masked(ip).to_string()),
            select_ms: record.timings.select_ms,
            dial_ms: record.timings.dial_ms,
            first_byte_ms: record.timings.first_byte_ms,
            status_code: record.status,
            success: record.ended_at.map(|_| record.error.is_none()),
            error_message: record.error,
            attempts: record.attempts,
            started_at: record.started_at,
            ended_at: record.ended_at,
            duration_ms: duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()),
        }
    }
}

/// The newest requests, those still running included.
#[utoipa::path(
    get, path = "/recent", tag = "usage", params(RecentQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The requests",
        content((RecentAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn recent_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(RecentQuery { limit, key, format }): Query<RecentQuery>,
) -> Result<Response, ApiError> {
    in_range("limit", limit, MAX_RECENT)?;
    let account = session.account().id;
    let search = UsageSearch {
        api_key: key,
        ..UsageSearch::default()
    };
    let records = state.parts().store.search_usage(account, &search, limit).await?;
    if records.is_empty() {
        known_key(&state, account, key).await?;
    }
    Ok(match format {
        Format::Json => Json(RecentAnswer {
            requests: records.into_iter().map(RequestInfo::from).collect(),
        })
        .into_response(),
        Format::Csv => export::table("iploop-recent", records),
    })
}

/// Nothing was found: of a key that is the account's there is nothing, of any other one nothing is told.
async fn known_key(state: &ApiState, account: AccountId, key: Option<ApiKeyId>) -> Result<(), ApiError> {
    match key {
        Some(key) if state.parts().store.api_key(account, key).await?.is_none() => Err(ApiError::KeyNotFound),
        _ => Ok(()),
    }
}

pub(crate) fn in_range(field: &'static str, value: u32, most: u32) -> Result<(), ApiError> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        let problem = FieldProblem::new(field, format!("{field} must be between 1 and {most}"));
        Err(ApiError::InvalidFields(vec![problem]))
    }
}

fn fifty() -> u32 {
    50
}
