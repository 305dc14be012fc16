//! The holder of an API key, as `Authorization: Bearer iploop_…`: who has no login, and wants at the API what concerns the proxy.

use axum::extract::FromRequestParts;
use http::request::Parts;
use iploop_platform::account::AccountStatus;
use iploop_platform::api_key::{ApiKeyHash, KeyGrant};
use iploop_platform::ids::AccountId;
use iploop_protocol::targeting::Credentials;

use crate::error::ApiError;
use crate::extract::ClientAddress;
use crate::session::{self, SignedIn};
use crate::state::ApiState;

/// What tells a key from the token of a login.
const KEY_PREFIX: &str = "iploop_";

/// A request for an account: of somebody who signed in, or of the holder of one of its keys, who acts for the account as at the proxy.
pub(crate) struct ForAccount(pub(crate) AccountId);

impl FromRequestParts<ApiState> for ForAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match grant(parts, state).await? {
            Some(grant) => Ok(Self(grant.key.account)),
            None => Ok(Self(
                SignedIn::from_request_parts(parts, state).await?.account().id,
            )),
        }
    }
}

/// What the request's key may do; none if it brings no key. A key serves here as long as it serves at the proxy, and from the same
/// addresses.
pub(crate) async fn grant(parts: &mut Parts, state: &ApiState) -> Result<Option<KeyGrant>, ApiError> {
    let Ok(ClientAddress(client)) = ClientAddress::from_request_parts(parts, state).await;
    let Some(key) = session::bearer(&parts.headers)?.filter(|token| token.starts_with(KEY_PREFIX)) else {
        return Ok(None);
    };
    // What has not the form of a key costs the database nothing.
    let login = Credentials::parse("iploop", key).map_err(|_| ApiError::TokenInvalid)?;
    let store = &state.parts().store;
    let grant = store.key_grant(ApiKeyHash::of(login.key.expose())).await?;
    let grant = grant.ok_or(ApiError::TokenInvalid)?;
    let now = state.parts().clock.now();
    if grant.account_status != AccountStatus::Active {
        return Err(ApiError::AccountNotActive);
    }
    if grant.key.expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::TokenExpired);
    }
    if !grant.key.is_active {
        return Err(ApiError::TokenInvalid);
    }
    if !grant.key.may_come_from(client) {
        return Err(ApiError::AddressNotAllowed);
    }
    Ok(Some(grant))
}
