//! `/api/admin`: users, plans, devices and settings; lists, grants, suspension, complaints and the record of it all. For
//! admins only.

mod accounts;
mod audit_export;
mod balance;
mod disputes;
mod errands;
mod impersonate;
mod maintenance;
mod nodes;
mod page;
mod plans;
mod policy;
mod records;
mod revenue;
mod settings;
mod stats;
mod tickets;
mod users;

use iploop_platform::abuse::{AbuseError, Actor};
use iploop_platform::account::Account;
use iploop_platform::admin::AdminError;
use iploop_platform::ids::AccountId;
use iploop_platform::login::ImpersonationError;
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
        .routes(routes!(audit_export::export_audit))
        .routes(routes!(users::list_users))
        .routes(routes!(users::create_user))
        .routes(routes!(users::bulk))
        .routes(routes!(users::get_user, users::change_user, users::delete_user))
        .routes(routes!(users::make_admin))
        .routes(routes!(users::remove_admin))
        .routes(routes!(impersonate::impersonate))
        .routes(routes!(plans::list_plans, plans::create_plan))
        .routes(routes!(plans::change_plan))
        .routes(routes!(nodes::list_nodes))
        .routes(routes!(nodes::get_node))
        .routes(routes!(nodes::ban_node))
        .routes(routes!(nodes::unban_node))
        .routes(routes!(nodes::drain_node))
        .routes(routes!(settings::get_settings, settings::set_settings))
        .routes(routes!(maintenance::announce_maintenance))
        .routes(routes!(stats::get_stats))
        .routes(routes!(revenue::get_revenue))
        .routes(routes!(disputes::list_disputes))
        .routes(routes!(disputes::forgive_debt))
        .routes(routes!(errands::list_errands))
        .routes(routes!(errands::retry_errand))
}

/// Who does it, for the record.
fn actor(admin: &Account) -> Actor {
    Actor::Admin(admin.id)
}

fn account_id(text: &str) -> Result<AccountId, ApiError> {
    text.parse().map_err(|_| ApiError::AccountNotFound)
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Invalid(problems) => Self::InvalidFields(problems),
            AdminError::AccountNotFound => Self::AccountNotFound,
            AdminError::PlanNotFound => Self::PlanNotFound,
            AdminError::NodeNotFound => Self::NodeNotFound,
            AdminError::NodeNotConnected => Self::NodeNotConnected,
            AdminError::AlreadySo => Self::AlreadySo,
            AdminError::LastAdmin => Self::LastAdmin,
            AdminError::OwnAccount => Self::OwnAccount,
            AdminError::AccountDeleted => Self::AccountDeleted,
            AdminError::EmailTaken => Self::EmailTaken,
            AdminError::PlanNameTaken => Self::PlanNameTaken,
            AdminError::FirstPlan => Self::FirstPlan,
            AdminError::SettingsChanged => Self::SettingsChanged,
            AdminError::Impersonation(ImpersonationError::OfAnAdmin) => {
                Self::CannotImpersonate("Nobody looks on as an admin")
            }
            AdminError::Impersonation(ImpersonationError::NotActive) => {
                Self::CannotImpersonate("The account is not active")
            }
            AdminError::Impersonation(ImpersonationError::NotAllowed) => Self::AdminOnly,
            AdminError::Impersonation(ImpersonationError::Store(error)) | AdminError::Store(error) => {
                error.into()
            }
            AdminError::Overloaded => Self::Overloaded,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<AbuseError> for ApiError {
    fn from(error: AbuseError) -> Self {
        match error {
            AbuseError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            AbuseError::AccountNotFound => Self::AccountNotFound,
            AbuseError::AccountDeleted => Self::AccountDeleted,
            AbuseError::NotFound => Self::NotFound,
            AbuseError::AlreadyListed => Self::AlreadyListed,
            AbuseError::AlreadySo => Self::AlreadySo,
            AbuseError::LastAdmin => Self::LastAdmin,
            AbuseError::TooMany(limit) => Self::TooMany(limit),
            AbuseError::PolicyTooLong => Self::PolicyTooLong,
            AbuseError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}
