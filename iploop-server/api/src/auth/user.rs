//! An account as its owner sees it, and the answer to signing in.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use iploop_platform::account::{Account, AccountStatus, Role};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use iploop_platform::login::SignedIn;
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::Json;
use crate::schema::{RoleName, StatusName};
use crate::session::login_cookie;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    /// Its id, also the `USER` of a proxy login.
    #[schema(value_type = String, format = Uuid)]
    id: AccountId,
    /// Login address.
    email: String,
    /// Given name.
    first_name: String,
    /// Family name.
    last_name: String,
    /// Company.
    company: Option<String>,
    /// Phone number: `+` and its digits.
    phone: Option<String>,
    /// Where its days and months begin: a name of the IANA time zone database.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// What it may see.
    #[schema(value_type = RoleName)]
    role: Role,
    /// Whether it may use the proxy.
    #[schema(value_type = StatusName)]
    status: AccountStatus,
    /// The proxy opens once this is true.
    email_verified: bool,
    /// When it registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When something of it last changed; signing in does not count.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it last signed in.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            first_name: account.first_name,
            last_name: account.last_name,
            company: account.company,
            phone: account.phone,
            time_zone: account.time_zone,
            role: account.role,
            status: account.status,
            email_verified: account.email_verified,
            created_at: account.created_at,
            updated_at: account.updated_at,
            last_login_at: account.last_login_at,
        }
    }
}

/// A fresh login. Browsers get it as a cookie as well.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginAnswer {
    /// For `Authorization: Bearer`. Shown this once.
    token: String,
    /// For the header `X-CSRF-Token` of requests by cookie that change something.
    csrf_token: String,
    /// When the login ends by itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Who signed in.
    user: User,
}

/// The login with its cookie.
pub(crate) fn signed_in(status: StatusCode, login: SignedIn, is_https: bool) -> Response {
    let cookie = login_cookie(&login.token, is_https);
    let answer = LoginAnswer {
        token: login.token.expose().to_owned(),
        csrf_token: login.csrf_token,
        expires_at: login.expires_at,
        user: login.account.into(),
    };
    let mut response = (status, Json(answer)).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
