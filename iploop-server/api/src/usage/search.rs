//! `/api/usage/requests`: the request log, searched by page, and the receipt of one request.

use axum::extract::{FromRequestParts, Path, State};
use http::request::Parts;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{ApiKeyId, RequestId};
use iploop_platform::usage::{UsageCursor, UsageSearch};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{RequestInfo, in_range};
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;

/// Most requests in one page.
const MAX_PAGE: u32 = 100;

/// Which requests. All that is given must fit.
#[derive(Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Begun at or after this.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Begun before this.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Made with this key.
    #[param(value_type = Option<String>, format = Uuid)]
    api_key_id: Option<ApiKeyId>,
    /// Ended with this error code; `ok`: ended without one.
    code: Option<String>,
    /// Exit in this country: two letters.
    country: Option<String>,
    /// To this host: the whole name or address, without a port.
    host: Option<String>,
    /// Answered with this status.
    #[param(maximum = 65535)]
    status: Option<u16>,
    /// `http`, `connect` or `socks5`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    proxy_type: Option<String>,
    /// Of this sticky session.
    session: Option<String>,
    /// Go on behind this place: the `nextCursor` of a page, or the `cursor` of an exported row.
    #[param(pattern = "^([0-9a-f]{1,15}\\.[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

impl SearchQuery {
    pub(super) fn read(self) -> Result<UsageSearch, ApiError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let after = match given(self.cursor) {
            None => None,
            Some(text) => Some(text.parse::<UsageCursor>().map_err(|_| {
                let message = "Must be a nextCursor that an answer had";
                ApiError::InvalidFields(vec![FieldProblem::new("cursor", message)])
            })?),
        };
        Ok(UsageSearch {
            from: self.from,
            to: self.to,
            api_key: self.api_key_id,
            code: given(self.code),
            country: given(self.country).map(|code| code.to_ascii_uppercase()),
            host: given(self.host).map(|host| {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.trim_end_matches('.').to_ascii_lowercase()
            }),
            status: self.status,
            proxy_type: given(self.proxy_type),
            session: given(self.session),
            after,
        })
    }
}

/// How many of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Most requests wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
}

/// A page of the request log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// Newest first.
    requests: Vec<RequestInfo>,
    /// For the next page; none: this was the last. New requests do not move it.
    next_cursor: Option<String>,
}

/// The requests that fit, newest first, those still running included. A request appears within 10 seconds of its begin, and
/// its counters follow its bytes within 10 seconds. Kept for as long as the operator's `usage.retention` says.
#[utoipa::path(
    get, path = "/requests", tag = "usage", params(SearchQuery, PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Page, description = "A page of requests"))
)]
pub(crate) async fn search_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<SearchQuery>,
    Query(PageQuery { limit }): Query<PageQuery>,
) -> Result<Json<Page>, ApiError> {
    in_range("limit", limit, MAX_PAGE)?;
    let search = query.read()?;
    let store = &state.parts().store;
    // One more tells whether there is a next page.
    let mut records = store
        .search_usage(session.account().id, &search, limit + 1)
        .await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = records.len() > most;
    records.truncate(most);
    let next_cursor = records
        .last()
        .filter(|_| more)
        .map(|last| UsageCursor::of(last).to_string());
    Ok(Json(Page {
        requests: records.into_iter().map(RequestInfo::from).collect(),
        next_cursor,
    }))
}

/// The id in the path; what is no id names no request.
pub(crate) struct RequestPath(RequestId);

impl FromRequestParts<ApiState> for RequestPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::RequestNotFound)?;
        id.parse().map(Self).map_err(|_| ApiError::RequestNotFound)
    }
}

/// The receipt of one request, by the id that its answer carried as `X-IPLoop-Request-Id`: bytes, what was paid, the exit, how
/// long each part took.
#[utoipa::path(
    get, path = "/requests/{requestId}", tag = "usage", params(("requestId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = RequestInfo, description = "The request, running or ended"))
)]
pub(crate) async fn request_receipt(
    State(state): State<ApiState>,
    session: SignedIn,
    RequestPath(id): RequestPath,
) -> Result<Json<RequestInfo>, ApiError> {
    let store = &state.parts().store;
    let record = store.usage_record(session.account().id, id).await?;
    let record = record.ok_or(ApiError::RequestNotFound)?;
    Ok(Json(record.into()))
}

fn fifty() -> u32 {
    50
}
