//! Correcting a customer's purse by hand, through the ledger.

use iploop_platform::ids::AccountId;
use iploop_platform::ledger::{LedgerError, Refusal, Who};
use serde::Deserialize;
use utoipa::ToSchema;

use super::actor;
use crate::error::ApiError;
use crate::schema::{IdempotencyKey, Signed};
use crate::session::Admin;
use crate::state::ApiState;

/// A correction of a purse, either way.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AdjustmentBody {
    /// Bytes to add; below zero: to take away.
    #[schema(value_type = Signed)]
    #[serde(default)]
    bytes: i64,
    /// Micro-dollars to add to what the purse's bytes will count as sold for; below zero: to take away.
    #[schema(value_type = Signed)]
    #[serde(default)]
    value_micros: i64,
    /// Also where the balance goes below zero by it.
    #[serde(default)]
    is_forced: bool,
    /// Makes it count once, however often it is sent.
    #[schema(value_type = IdempotencyKey)]
    idempotency_key: String,
}

/// Books it with its audit record. The same again changes nothing.
pub(super) async fn adjust(
    state: &ApiState,
    admin: &Admin,
    account: AccountId,
    body: &AdjustmentBody,
    reason: &str,
) -> Result<(), ApiError> {
    let who = Who {
        actor: actor(&admin.0.account),
        reason,
    };
    state
        .parts()
        .ledger
        .adjust(
            account,
            body.bytes,
            body.value_micros,
            body.is_forced,
            who,
            &body.idempotency_key,
        )
        .await
        .map(drop)
        .map_err(refused)
}

fn refused(error: LedgerError) -> ApiError {
    match error {
        LedgerError::Invalid(problem) => ApiError::InvalidFields(vec![problem]),
        LedgerError::Refused(Refusal::NoSuchOwner) => ApiError::AccountNotFound,
        LedgerError::Refused(Refusal::Deleted) => ApiError::AccountDeleted,
        LedgerError::Refused(refusal) => ApiError::NotBooked(refusal),
        LedgerError::Store(error) => error.into(),
        other => ApiError::Internal(other.to_string()),
    }
}
