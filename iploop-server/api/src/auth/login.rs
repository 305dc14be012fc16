//! `POST /api/auth/login` and `/logout`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use iploop_platform::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::user::{LoginAnswer, signed_in};
use crate::error::ApiError;
use crate::extract::{ClientAddress, Json};
use crate::session::{SignedIn, logout_cookie};
use crate::state::ApiState;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LoginBody {
    /// Login address.
    #[schema(required, format = Email)]
    #[serde(default)]
    email: String,
    /// The password.
    #[schema(required, value_type = String, format = Password)]
    #[serde(default)]
    password: Secret,
}

/// Signs in: the token for programs, the cookie for browsers.
#[utoipa::path(
    post, path = "/login", tag = "auth", request_body = LoginBody,
    responses(
        (status = 200, body = LoginAnswer, description = "Signed in"),
        (status = 401, body = crate::problem::Problem, content_type = "application/problem+json", description = "Wrong address or password, or the account is not active"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong ones"),
    )
)]
pub(crate) async fn login(
    State(state): State<ApiState>,
    ClientAddress(client): ClientAddress,
    Json(body): Json<LoginBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let login = parts.logins.sign_in(&body.email, body.password, client).await?;
    Ok(signed_in(
        StatusCode::OK,
        login,
        parts.accounts.public_url().is_https(),
    ))
}

/// Ends this login at once, before its time.
#[utoipa::path(
    post, path = "/logout", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Signed out"))
)]
pub(crate) async fn logout(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    parts.logins.sign_out(&session).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = logout_cookie(parts.accounts.public_url().is_https()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
