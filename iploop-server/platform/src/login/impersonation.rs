//! Admins who look on as a customer: a short login that reads only, says whose it is, and ends with the admin's own.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::jwt::{self, Claims};
use super::{LoginError, LoginSession, Logins, SessionError, SignedIn};
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
            is_new_network: false,
        })
    }

    /// Whose data is looked at by such a token, while the admin's own login lives.
    ///
    /// # Errors
    /// [`SessionError::Revoked`] where the admin's own login has ended, or it is an admin's no more.
    pub(super) async fn authenticate_impersonator(
        &self,
        claims: &Claims,
        imp: &Impersonator,
        client: IpAddr,
    ) -> Result<LoginSession, SessionError> {
        let inner = &*self.0;
        if inner.revoked.contains(imp.login) {
            return Err(SessionError::Revoked);
        }
        let (admin, account, stored, settings) = tokio::try_join!(
            inner.store.known_login(imp.by, imp.login.into()),
            inner.store.account(claims.sub),
            inner.store.password_hash(claims.sub),
            inner.store.sign_in_settings(claims.sub)
        )?;
        let admin = admin.ok_or(SessionError::Revoked)?;
        let may = admin.account.status == AccountStatus::Active
            && admin.account.role == Role::Admin
            && imp.pwd == inner.fingerprint(&admin.password_hash);
        if !may {
            return Err(SessionError::Revoked);
        }
        let own = LoginSession {
            account: admin.account,
            settings: admin.settings,
            expires_at: claims.expires_at(),
            impersonated_by: None,
            token_id: imp.login,
        };
        // What the admin decided about signing in holds here as well.
        self.note_request(&own, admin.last_seen_at, client, inner.clock.now())
            .await?;
        let (Some(account), Some(stored), Some(settings)) = (account, stored, settings) else {
            return Err(SessionError::Invalid);
        };
        match account.status {
            AccountStatus::Active => {}
            AccountStatus::Suspended => return Err(SessionError::NotActive),
            AccountStatus::Deleted => return Err(SessionError::Invalid),
        }
        if claims.pwd != inner.fingerprint(&stored) {
            return Err(SessionError::Revoked);
        }
        Ok(LoginSession {
            account,
            settings,
            expires_at: claims.expires_at(),
            impersonated_by: Some(imp.by),
            token_id: claims.jti,
        })
    }

    /// Ends such a login: it has no row, so its token is kept as revoked until it would have ended.
    pub(super) async fn end_impersonation(&self, session: &LoginSession) -> Result<(), LoginError> {
        let inner = &*self.0;
        inner
            .revoked
            .add(session.token_id, session.expires_at, inner.clock.now())
            .map_err(|_| LoginError::Overloaded)?;
        inner
            .store
            .revoke_login(&session.token_id.to_string(), session.expires_at)
            .await?;
        Ok(())
    }
}
