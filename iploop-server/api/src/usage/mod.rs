//! `/api/usage`: what the account used.

mod export;
mod search;

use std::time::Duration;

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{ApiKeyId, RequestId};
use iploop_platform::usage::{UsageRecord, UsageSummary, masked};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;
use crate::units::gigabytes;

/// Longest period, in days.
const MAX_DAYS: u32 = 366;
/// Most requests in one answer (PRD 7.3).
const MAX_RECENT: u32 = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The routes below `/api/usage`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(usage_summary))
        .routes(routes!(recent_usage))
        .routes(routes!(search::search_usage))
        .routes(routes!(export::export_usage))
        .routes(routes!(search::request_receipt))
}

/// Which period.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DaysQuery {
    /// Days back from now.
    #[serde(default = "thirty")]
    #[param(minimum = 1, maximum = 366, default = 30)]
    days: u32,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitQuery {
    /// Most requests wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
}

/// Sums over a period.
#[derive(Serialize, ToSchema)]
pub(crate) struct SummaryAnswer {
    summary: Summary,
    period: Period,
}

/// Sums over the requests that began in the period.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total_requests: u64,
    successful_requests: u64,
    /// Percent; none without requests.
    success_rate: Option<f64>,
    bytes_uploaded: u64,
    bytes_downloaded: u64,
    total_bytes: u64,
    /// Of these, what was paid: not what our side broke.
    billed_bytes: u64,
    /// 10^9 bytes.
    total_gb_transferred: f64,
    /// Mean duration of the requests that ended; none without.
    avg_response_time_ms: Option<u64>,
}

/// From when to when.
#[derive(Serialize, ToSchema)]
struct Period {
    days: u32,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
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

impl From<UsageSummary> for Summary {
    fn from(sums: UsageSummary) -> Self {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let total = count(sums.total_requests);
        let successful = count(sums.successful_requests);
        let ended = count(sums.ended_requests);
        let bytes = count(sums.bytes_up).saturating_add(count(sums.bytes_down));
        Self {
            total_requests: total,
            successful_requests: successful,
            success_rate: (total > 0).then(|| percent(successful, total)),
            bytes_uploaded: count(sums.bytes_up),
            bytes_downloaded: count(sums.bytes_down),
            total_bytes: bytes,
            billed_bytes: count(sums.billed_bytes),
            total_gb_transferred: gigabytes(bytes),
            avg_response_time_ms: count(sums.total_duration_ms).checked_div(ended),
        }
    }
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

/// Sums over the last days.
#[utoipa::path(
    get, path = "/summary", tag = "usage", params(DaysQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SummaryAnswer, description = "The sums"))
)]
pub(crate) async fn usage_summary(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<DaysQuery>,
) -> Result<Json<SummaryAnswer>, ApiError> {
    in_range("days", query.days, MAX_DAYS)?;
    let to = state.parts().clock.now();
    let from = to.minus(DAY * query.days);
    let sums = state
        .parts()
        .store
        .usage_summary(session.account().id, from, to)
        .await?;
    Ok(Json(SummaryAnswer {
        summary: sums.into(),
        period: Period {
            days: query.days,
            from,
            to,
        },
    }))
}

/// The newest requests, those still running included.
#[utoipa::path(
    get, path = "/recent", tag = "usage", params(LimitQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = RecentAnswer, description = "The requests"))
)]
pub(crate) async fn recent_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<LimitQuery>,
) -> Result<Json<RecentAnswer>, ApiError> {
    in_range("limit", query.limit, MAX_RECENT)?;
    let records = state
        .parts()
        .store
        .recent_usage(session.account().id, query.limit)
        .await?;
    Ok(Json(RecentAnswer {
        requests: records.into_iter().map(RequestInfo::from).collect(),
    }))
}

pub(crate) fn in_range(field: &'static str, value: u32, most: u32) -> Result<(), ApiError> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        let problem = FieldProblem::new(field, format!("{field} must be between 1 and {most}"));
        Err(ApiError::InvalidFields(vec![problem]))
    }
}

/// To one decimal place; 100 only if all succeeded.
fn percent(part: u64, whole: u64) -> f64 {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    tenths as f64 / 10.0
}

fn thirty() -> u32 {
    30
}

fn fifty() -> u32 {
    50
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_100_only_without_a_failure() {
        assert_eq!(percent(999_999, 1_000_000), 99.9);
        assert_eq!(percent(3, 3), 100.0);
        assert_eq!(percent(0, 3), 0.0);
    }

    #[test]
    fn no_requests_means_no_rate_and_no_mean() {
        let summary = Summary::from(UsageSummary::default());
        assert_eq!(summary.success_rate, None);
        assert_eq!(summary.avg_response_time_ms, None);
    }
}
