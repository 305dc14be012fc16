//! Who asks: a bearer token, or the cookie of a signed-in browser with proof that its own page asks.

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use iploop_platform::account::{Account, Role};
use iploop_platform::login::{LOGIN_LIFETIME, LoginSession};
use iploop_platform::secret::Secret;

use crate::error::ApiError;
use crate::extract::ClientAddress;
use crate::state::ApiState;

/// Header in which our own page proves itself.
const CSRF_HEADER: &str = "x-csrf-token";

/// A request of somebody who signed in.
pub(crate) struct SignedIn(pub(crate) LoginSession);

/// A request of somebody who signed in, or of an admin who looks on as them, whatever it changes.
pub(crate) struct AnyLogin(pub(crate) LoginSession);

/// A request of an admin.
pub(crate) struct Admin(pub(crate) LoginSession);

impl SignedIn {
    pub(crate) fn account(&self) -> &Account {
        &self.0.account
    }
}

impl FromRequestParts<ApiState> for SignedIn {
    type Rejection = ApiError;

    /// Who looks on as somebody else reads only.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let AnyLogin(session) = AnyLogin::from_request_parts(parts, state).await?;
        match session.impersonated_by {
            Some(_) if !parts.method.is_safe() => Err(ApiError::ImpersonationReadOnly),
            _ => Ok(Self(session)),
        }
    }
}

impl FromRequestParts<ApiState> for AnyLogin {
    type Rejection = ApiError;

    /// A bearer token decides alone; a bad one is not made up for by a cookie.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let logins = &state.parts().logins;
        let Ok(ClientAddress(client)) = ClientAddress::from_request_parts(parts, state).await;
        let is_bearer = bearer(&parts.headers)?.is_some();
        let session = logins.authenticate(token(&parts.headers, state)?, client).await?;
        if is_bearer {
            return Ok(Self(session));
        }
        if !parts.method.is_safe() {
            let proof = parts
                .headers
                .get(CSRF_HEADER)
                .and_then(|value| value.to_str().ok());
            if !proof.is_some_and(|proof| logins.is_csrf_token(&session, proof)) {
                return Err(ApiError::CsrfTokenInvalid);
            }
        }
        Ok(Self(session))
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let SignedIn(session) = SignedIn::from_request_parts(parts, state).await?;
        let is_own = session.impersonated_by.is_none();
        match session.account.role {
            Role::Admin if is_own => Ok(Self(session)),
            _ => Err(ApiError::AdminOnly),
        }
    }
}

/// The token of a request: the bearer's, or the cookie's.
pub(crate) fn token<'a>(headers: &'a HeaderMap, state: &ApiState) -> Result<&'a str, ApiError> {
    if let Some(token) = bearer(headers)? {
        return Ok(token);
    }
    let is_https = state.parts().accounts.public_url().is_https();
    cookie(headers, cookie_name(is_https)).ok_or(ApiError::LoginRequired)
}

/// The `Set-Cookie` that signs a browser in.
pub(crate) fn login_cookie(token: &Secret, is_https: bool) -> Option<HeaderValue> {
    set_cookie(token.expose(), LOGIN_LIFETIME.as_secs(), is_https)
}

/// The `Set-Cookie` that signs a browser out.
pub(crate) fn logout_cookie(is_https: bool) -> Option<HeaderValue> {
    set_cookie("", 0, is_https)
}

/// Over TLS the name says that no other host or path of ours can have set it (RFC 6265bis, section 4.1.3.2).
fn cookie_name(is_https: bool) -> &'static str {
    if is_https {
        "__Host-iploop_session"
    } else {
        "iploop_session"
    }
}

fn set_cookie(value: &str, max_age: u64, is_https: bool) -> Option<HeaderValue> {
    let name = cookie_name(is_https);
    let secure = if is_https { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The token of `Authorization: Bearer …` (RFC 6750); any other scheme is refused.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(ApiError::TokenInvalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(ApiError::TokenInvalid)
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .filter(|value| !value.is_empty())
}
