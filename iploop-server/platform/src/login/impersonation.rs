//! Admins who look on as a customer: a short login that reads only, says whose it is, and ends with the admin's own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::jwt::{self, Claims};
use super::{LoginSession, Logins, SessionError, SignedIn};
use crate::account::{Account, AccountStatus, Role};
use crate::ids::AccountId;
use crate::store::StoreError;

/// How long an admin may look on.
pub const IMPERSONATION_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Who looks on: a part of the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Impersonator {
    /// The admin.
    pub(super) by: AccountId,
    /// The admin's own login, with which this one ends.
    pub(super) login: Uuid,
    /// Fingerprint of the admin's password.
    pub(super) pwd: String,
}

/// Why nobody can look on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImpersonationError {
    /// The account is an admin's.
    #[error("an admin's account")]
    OfAnAdmin,
    /// The account is suspended or deleted.
    #[error("the account is not active")]
    NotActive,
    /// Who asks is no admin, or looks on already.
    #[error("only an admin's own login")]
    NotAllowed,
    /// The data can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// For the log.
    #[error("{0}")]
    Internal(String),
}

impl Logins {
    /// A login by which the admin of `session` sees what `account` sees, and changes nothing.
    ///
    /// # Errors
    /// If the account is an admin's or not active, or `session` is not an admin's own.
    pub async fn impersonate(
        &self,
        session: &LoginSession,
        account: Account,
    ) -> Result<SignedIn, ImpersonationError> {
        if session.account.role != Role::Admin || session.impersonated_by.is_some() {
            return Err(ImpersonationError::NotAllowed);
        }
        if account.role == Role::Admin {
            return Err(ImpersonationError::OfAnAdmin);
        }
        if account.status != AccountStatus::Active {
            return Err(ImpersonationError::NotActive);
        }
        let inner = &*self.0;
        let (stored, admins) = tokio::try_join!(
            inner.store.password_hash(account.id),
            inner.store.password_hash(session.account.id)
        )?;
        let (Some(stored), Some(admins)) = (stored, admins) else {
            return Err(ImpersonationError::NotActive);
        };
        let now = inner.clock.now();
        let lifetime = session.expires_at.since(now).min(IMPERSONATION_LIFETIME);
        let mut claims = Claims::new(account.id, inner.fingerprint(&stored), now, lifetime);
        claims.imp = Some(Impersonator {
            by: session.account.id,
            login: session.token_id,
            pwd: inner.fingerprint(&admins),
        });
        let token = jwt::sign(&claims, &inner.secret)
            .map_err(|error| ImpersonationError::Internal(error.to_string()))?;
        Ok(SignedIn {
            account,
            token,
            csrf_token: String::new(),
            expires_at: claims.expires_at(),
        })
    }

    /// Who looks on by this token; none: it is the account's own.
    ///
    /// # Errors
    /// [`SessionError::Revoked`] where the admin's own login has ended, or it is an admin's no more.
    pub(super) async fn impersonator(&self, claims: &Claims) -> Result<Option<AccountId>, SessionError> {
        let Some(imp) = &claims.imp else {
            return Ok(None);
        };
        let inner = &*self.0;
        if inner.revoked.contains(imp.login) {
            return Err(SessionError::Revoked);
        }
        let (admin, stored) =
            tokio::try_join!(inner.store.account(imp.by), inner.store.password_hash(imp.by))?;
        let may = admin
            .is_some_and(|admin| admin.status == AccountStatus::Active && admin.role == Role::Admin)
            && stored.is_some_and(|stored| imp.pwd == inner.fingerprint(&stored));
        may.then_some(Some(imp.by)).ok_or(SessionError::Revoked)
    }
}
