//! `/api/admin`: lists, grants, suspension, complaints and the record of it all. For admins only.

mod accounts;
mod policy;
mod records;
mod tickets;

use iploop_platform::abuse::{AbuseError, Actor};
use iploop_platform::account::Account;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::state::ApiState;

/// The routes below `/api/admin`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(policy::get_policy))
        .routes(routes!(policy::add_entry))
        .routes(routes!(policy::remove_entry))
        .routes(routes!(policy::switch_category))
        .routes(routes!(policy::set_limits))
        .routes(routes!(accounts::list_grants, accounts::give_grant))
        .routes(routes!(accounts::revoke_grant))
        .routes(routes!(accounts::suspend_account))
        .routes(routes!(accounts::reinstate_account))
        .routes(routes!(accounts::set_standing))
        .routes(routes!(records::look_up_exit))
        .routes(routes!(records::list_refusals))
        .routes(routes!(records::list_audit))
        .routes(routes!(tickets::list_customer_tickets))
        .routes(routes!(tickets::answer_ticket))
        .routes(routes!(tickets::close_ticket))
}

/// Who does it, for the record.
fn actor(admin: &Account) -> Actor {
    Actor::Admin(admin.id)
}

impl From<AbuseError> for ApiError {
    fn from(error: AbuseError) -> Self {
        match error {
            AbuseError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            AbuseError::AccountNotFound => Self::AccountNotFound,
            AbuseError::NotFound => Self::NotFound,
            AbuseError::AlreadyListed => Self::AlreadyListed,
            AbuseError::AlreadySo => Self::AlreadySo,
            AbuseError::TooMany(limit) => Self::TooMany(limit),
            AbuseError::PolicyTooLong => Self::PolicyTooLong,
            AbuseError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}
