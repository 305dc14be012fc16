//! Disputed payments, and what their customers owe.

use axum::extract::State;
use iploop_platform::billing::{Dispute, DisputeQuery, DisputeStatus};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, DisputeId, PaymentId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{account_id, actor};
use crate::error::ApiError;
use crate::extract::{Filters, Json, Path};
use crate::schema::{DisputeStatusName, Reason};
use crate::session::Admin;
use crate::state::ApiState;
use crate::usage::in_range;

/// Most disputes in one page.
const MAX_PAGE: u32 = 200;

/// Which disputes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DisputeFilter {
    /// `inquiry`, `open`, `won` or `lost`.
    #[serde(default)]
    #[param(inline, value_type = Option<DisputeStatusName>)]
    status: Option<String>,
    /// Of this customer.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    account: Option<AccountId>,
    /// Most disputes wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    cursor: Option<DisputeId>,
}

/// A page of disputes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DisputeList {
    /// Newest first.
    disputes: Vec<DisputeInfo>,
    /// For the next page; none: this was the last.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<DisputeId>,
}

/// A disputed payment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DisputeInfo {
    #[schema(value_type = String, format = Uuid)]
    id: DisputeId,
    /// Its id at the payment provider.
    reference: String,
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    #[schema(value_type = String, format = Uuid)]
    payment_id: PaymentId,
    amount_cents: i64,
    /// `inquiry`: nothing is taken yet; `open`: the bank has the money; `won`; `lost`.
    status: &'static str,
    /// Why, in the bank's word.
    reason: String,
    /// Bytes of the payment that had been used and are owed.
    owed_bytes: i64,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When its newest state began.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Dispute> for DisputeInfo {
    fn from(dispute: Dispute) -> Self {
        Self {
            id: dispute.id,
            reference: dispute.reference,
            account_id: dispute.account,
            payment_id: dispute.payment,
            amount_cents: dispute.cents,
            status: dispute.status.as_str(),
            reason: dispute.reason,
            owed_bytes: dispute.owed_bytes,
            opened_at: dispute.opened_at,
            updated_at: dispute.state_at,
        }
    }
}

/// Why a debt is let go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgiveBody {
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// What was let go.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forgiven {
    bytes: i64,
}

/// Disputed payments.
#[utoipa::path(
    get, path = "/disputes", tag = "admin", params(DisputeFilter), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = DisputeList, description = "The disputes"))
)]
pub(crate) async fn list_disputes(
    State(state): State<ApiState>,
    _: Admin,
    Filters(filter): Filters<DisputeFilter>,
) -> Result<Json<DisputeList>, ApiError> {
    in_range("limit", filter.limit, MAX_PAGE)?;
    let status = match filter.status.as_deref() {
        None => None,
        Some(name) => Some(DisputeStatus::by_name(name).ok_or_else(|| {
            let message = "status must be inquiry, open, won or lost";
            ApiError::InvalidFields(vec![FieldProblem::new("status", message)])
        })?),
    };
    let query = DisputeQuery {
        before: filter.cursor,
        account: filter.account,
        status,
        limit: filter.limit,
    };
    let disputes = state.parts().billing.disputes(&query).await?;
    // A full page may have one after it; an empty one ends the list.
    let is_full = disputes.len() >= usize::try_from(filter.limit).unwrap_or(usize::MAX);
    Ok(Json(DisputeList {
        next_cursor: disputes.last().filter(|_| is_full).map(|last| last.id),
        disputes: disputes.into_iter().map(DisputeInfo::from).collect(),
    }))
}

/// Lets a customer off what it owes for disputed payments: bytes that were used. It may buy again, unless a dispute is open.
#[utoipa::path(
    post, path = "/users/{userId}/forgive-debt", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    request_body = ForgiveBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Forgiven, description = "What was let go"))
)]
pub(crate) async fn forgive_debt(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    Json(body): Json<ForgiveBody>,
) -> Result<Json<Forgiven>, ApiError> {
    let account = account_id(&user)?;
    let billing = &state.parts().billing;
    let bytes = billing
        .forgive_debt(account, actor(&admin.account), &body.reason)
        .await?;
    Ok(Json(Forgiven { bytes }))
}

fn fifty() -> u32 {
    50
}
