//! Why something was not done.

use crate::accounts::password::PasswordError;
use crate::field::{self, FieldProblem};
use crate::login::ImpersonationError;
use crate::store::StoreError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Fields can't be accepted.
    #[error("{}", field::listed(.0))]
    Invalid(Vec<FieldProblem>),
    /// There is no such account.
    #[error("no such account")]
    AccountNotFound,
    /// There is no such plan.
    #[error("no such plan")]
    PlanNotFound,
    /// There is no such device.
    #[error("no such device")]
    NodeNotFound,
    /// The device is not connected.
    #[error("the device is not connected")]
    NodeNotConnected,
    /// It is so already.
    #[error("it is so already")]
    AlreadySo,
    /// Nobody would be left who may administer the platform.
    #[error("the last active admin")]
    LastAdmin,
    /// Admins don't take their own rights away.
    #[error("an admin's own account")]
    OwnAccount,
    /// A deleted account stays deleted.
    #[error("the account is deleted")]
    AccountDeleted,
    /// The mail address has an account.
    #[error("the address has an account already")]
    EmailTaken,
    /// A plan of this name exists.
    #[error("the name is taken already")]
    PlanNameTaken,
    /// New accounts start on this plan.
    #[error("new accounts start on this plan")]
    FirstPlan,
    /// Somebody else changed the settings since they were read.
    #[error("the settings changed meanwhile")]
    SettingsChanged,
    /// Whose account can't be looked at.
    #[error(transparent)]
    Impersonation(#[from] ImpersonationError),
    /// Too much to do: try again.
    #[error("overloaded")]
    Overloaded,
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
    /// For the log.
    #[error("{0}")]
    Internal(String),
}

impl AdminError {
    /// One field that can't be accepted.
    pub(super) fn field(field: &'static str, message: &str) -> Self {
        Self::Invalid(vec![FieldProblem::new(field, message)])
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what: "email" } => Self::EmailTaken,
            StoreError::Conflict { what: "plan name" } => Self::PlanNameTaken,
            other => Self::Store(other),
        }
    }
}

impl From<FieldProblem> for AdminError {
    fn from(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl From<PasswordError> for AdminError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Overloaded => Self::Overloaded,
            PasswordError::Failed(reason) => Self::Internal(reason),
        }
    }
}
