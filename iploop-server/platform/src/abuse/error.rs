//! Why something was not done.

use crate::field::FieldProblem;
use crate::store::StoreError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AbuseError {
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// There is no such account.
    #[error("no such account")]
    AccountNotFound,
    /// A deleted account stays as it is.
    #[error("the account is deleted")]
    AccountDeleted,
    /// There is no such entry or grant.
    #[error("no such entry")]
    NotFound,
    /// The value is on the list already.
    #[error("listed already")]
    AlreadyListed,
    /// It is so already.
    #[error("it is so already")]
    AlreadySo,
    /// Nobody would be left who may administer the platform.
    #[error("the last active admin")]
    LastAdmin,
    /// As many as there may be.
    #[error("at most {0}")]
    TooMany(u32),
    /// The policy would be too long for devices.
    #[error("the policy would be too long")]
    PolicyTooLong,
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AbuseError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what: "policy entry" } => Self::AlreadyListed,
            StoreError::Conflict { what: "last admin" } => Self::LastAdmin,
            StoreError::LimitReached { limit, .. } => Self::TooMany(limit),
            other => Self::Store(other),
        }
    }
}

impl From<FieldProblem> for AbuseError {
    fn from(problem: FieldProblem) -> Self {
        Self::Invalid(problem)
    }
}
