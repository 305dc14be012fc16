//! `/api/billing`: the account's statement.

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::EntryId;
use iploop_platform::ledger::{Transaction, TransactionCursor, TransactionStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;
use crate::units::{dollars, signed_gigabytes};
use crate::usage::in_range;

/// Most transactions in one page.
const MAX_PAGE: u32 = 100;

/// The routes below `/api/billing`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(transactions))
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Most transactions wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(default)]
    #[param(pattern = "^([0-9a-f]{1,15}\\.[0-9a-f]{32})?$")]
    cursor: Option<String>,
}

/// A page of the statement.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransactionPage {
    /// Newest first.
    transactions: Vec<TransactionInfo>,
    /// For the next page; none: this was the last. New transactions do not move it.
    next_cursor: Option<String>,
}

/// One line of the statement. The `bytes` of all lines sum to the balance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransactionInfo {
    #[schema(value_type = String, format = Uuid)]
    id: EntryId,
    /// `purchase`, `usage`, `refund`, `bonus`, `adjustment`, `credits_earned` or `credits_redeemed`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// US dollars: paid; below zero: paid back, or what used bytes had been bought for.
    amount: f64,
    /// The same in micro-dollars, exact.
    amount_micros: i64,
    /// 10^9 bytes: got; below zero: used or taken back.
    gb_amount: f64,
    /// The same in bytes, exact.
    bytes: i64,
    /// Credits: got; below zero: redeemed.
    credits: i64,
    description: String,
    /// The payment, as the payment provider names it.
    reference: Option<String>,
    /// The same by its other name.
    stripe_payment_id: Option<String>,
    /// `completed`, or `refunded`: a purchase, all of which was paid back.
    status: &'static str,
    /// More about it.
    #[schema(value_type = BTreeMap<String, Value>)]
    metadata: Value,
    /// Usage: the beginning of the UTC day in which its requests began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Transaction> for TransactionInfo {
    fn from(line: Transaction) -> Self {
        Self {
            id: line.id,
            kind: line.kind.as_str(),
            amount: dollars(line.amount_micros),
            amount_micros: line.amount_micros,
            gb_amount: signed_gigabytes(line.bytes),
            bytes: line.bytes,
            credits: line.credits,
            description: line.description,
            stripe_payment_id: line.reference.clone(),
            reference: line.reference,
            status: match line.status {
                TransactionStatus::Completed => "completed",
                TransactionStatus::Refunded => "refunded",
            },
            metadata: line.metadata,
            created_at: line.at,
        }
    }
}

/// What the account bought, was given, used and was paid back, newest first. Usage is one line for each UTC day; today's
/// follows the traffic within seconds.
#[utoipa::path(
    get, path = "/transactions", tag = "billing", params(PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = TransactionPage, description = "A page of transactions"))
)]
pub(crate) async fn transactions(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(PageQuery { limit, cursor }): Query<PageQuery>,
) -> Result<Json<TransactionPage>, ApiError> {
    in_range("limit", limit, MAX_PAGE)?;
    let after = match cursor.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(text.parse::<TransactionCursor>().map_err(|_| {
            let message = "Must be a nextCursor that an answer had";
            ApiError::InvalidFields(vec![FieldProblem::new("cursor", message)])
        })?),
    };
    let store = &state.parts().store;
    // One more tells whether there is a next page.
    let mut lines = store.transactions(session.account().id, after, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = lines.len() > most;
    lines.truncate(most);
    let next_cursor = lines
        .last()
        .filter(|_| more)
        .map(|last| TransactionCursor::of(last).to_string());
    Ok(Json(TransactionPage {
        transactions: lines.into_iter().map(TransactionInfo::from).collect(),
        next_cursor,
    }))
}

fn fifty() -> u32 {
    50
}
