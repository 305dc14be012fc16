//! What is to be done at the payment provider, and what of it was given up.

use axum::extract::State;
use iploop_platform::billing::{ErrandKind, ErrandQuery, ErrandRecord, ErrandState};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accounts::ReasonBody;
use super::actor;
use crate::error::ApiError;
use crate::extract::{Filters, Json, Path};
use crate::schema::ErrandStateName;
use crate::session::Admin;
use crate::state::ApiState;
use crate::usage::in_range;

/// Most errands in one page.
const MAX_PAGE: u32 = 200;

/// Which errands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ErrandFilter {
    /// `waiting`, `done` or `left`.
    #[serde(default)]
    #[param(inline, value_type = Option<ErrandStateName>)]
    state: Option<String>,
    /// Most errands wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(default)]
    cursor: Option<String>,
}

/// A page of errands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrandList {
    /// By kind and subject.
    errands: Vec<ErrandInfo>,
    /// For the next page; none: this was the last.
    next_cursor: Option<String>,
}

/// Something that is to be done at the payment provider.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrandInfo {
    /// `end_subscription`, `refund`, `delete_customer`, `close_page`, `pause_collection` or `resume_collection`.
    kind: &'static str,
    /// With what, by the provider's id.
    subject: String,
    /// Because of whom.
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    /// `waiting`: it is tried again and again; `done`; `left`: it failed 20 times and is left to people.
    state: &'static str,
    /// Tries that failed since it was begun, or tried anew.
    tries: u32,
    /// Why the last one failed.
    reason: Option<String>,
    /// When it is tried next, or was to be tried.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
}

impl From<ErrandRecord> for ErrandInfo {
    fn from(record: ErrandRecord) -> Self {
        Self {
            kind: record.errand.kind.as_str(),
            subject: record.errand.subject,
            account_id: record.errand.account,
            state: record.state.as_str(),
            tries: record.errand.tries,
            reason: record.reason,
            due_at: record.due_at,
        }
    }
}

/// What is to be done at the payment provider because of something that happened here.
#[utoipa::path(
    get, path = "/errands", tag = "admin", params(ErrandFilter), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ErrandList, description = "The errands"))
)]
pub(crate) async fn list_errands(
    State(state): State<ApiState>,
    _: Admin,
    Filters(filter): Filters<ErrandFilter>,
) -> Result<Json<ErrandList>, ApiError> {
    in_range("limit", filter.limit, MAX_PAGE)?;
    let wanted = filter.state.as_deref().map(|name| {
        let state = ErrandState::by_name(name);
        state.ok_or_else(|| invalid("state", "state must be waiting, done or left"))
    });
    let after = filter.cursor.as_deref().map(|cursor| {
        let place = place(cursor);
        place.ok_or_else(|| invalid("cursor", "Must be a nextCursor that an answer had"))
    });
    let query = ErrandQuery {
        state: wanted.transpose()?,
        after: after.transpose()?,
        limit: filter.limit,
    };
    let errands = state.parts().billing.errands(&query).await?;
    // A full page may have one after it; an empty one ends the list.
    let is_full = errands.len() >= usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let last = errands.last().filter(|_| is_full);
    Ok(Json(ErrandList {
        next_cursor: last.map(|last| format!("{}:{}", last.errand.kind.as_str(), last.errand.subject)),
        errands: errands.into_iter().map(ErrandInfo::from).collect(),
    }))
}

/// Lets an errand be tried again, within seconds and as often as a new one: also one that was given up.
#[utoipa::path(
    post, path = "/errands/{kind}/{subject}/retry", tag = "admin",
    params(("kind" = String, Path), ("subject" = String, Path)), request_body = ReasonBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ErrandInfo, description = "The errand, which waits"))
)]
pub(crate) async fn retry_errand(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path((kind, subject)): Path<(String, String)>,
    Json(body): Json<ReasonBody>,
) -> Result<Json<ErrandInfo>, ApiError> {
    let kind = ErrandKind::by_name(&kind).ok_or(ApiError::ErrandNotFound)?;
    let billing = &state.parts().billing;
    let retried = billing
        .retry_errand(kind, &subject, actor(&admin.account), &body.reason)
        .await?;
    Ok(Json(retried.into()))
}

/// The errand that a cursor names.
fn place(cursor: &str) -> Option<(ErrandKind, String)> {
    let (kind, subject) = cursor.split_once(':')?;
    Some((ErrandKind::by_name(kind)?, subject.to_owned()))
}

fn invalid(field: &'static str, message: &'static str) -> ApiError {
    ApiError::InvalidFields(vec![FieldProblem::new(field, message)])
}

fn fifty() -> u32 {
    50
}
