//! `POST /api/auth/login`, its second step, and `/logout`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use iploop_platform::clock::Timestamp;
use iploop_platform::login::SignIn;
use iploop_platform::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::user::{LoginAnswer, signed_in};
use crate::error::ApiError;
use crate::extract::{Json, SignInOrigin};
use crate::session::{AnyLogin, logout_cookie};
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

/// The password was right; a code is awaited.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeAnswer {
    /// Always true.
    two_factor_required: bool,
    /// To be sent to `/api/auth/login/two-factor` with a code.
    challenge: String,
    /// The challenge is not good from then on.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The second step of signing in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondFactorBody {
    /// As the first step answered it.
    #[schema(required, value_type = String)]
    #[serde(default)]
    challenge: Secret,
    /// A code of the authenticator, or a recovery code.
    #[schema(required, value_type = String, example = "123456")]
    #[serde(default)]
    code: Secret,
}

/// Signs in: the token for programs, the cookie for browsers. Where two-factor authentication is on, the answer is 202 with a
/// challenge for the second step.
#[utoipa::path(
    post, path = "/login", tag = "auth", request_body = LoginBody,
    responses(
        (status = 200, body = LoginAnswer, description = "Signed in"),
        (status = 202, body = ChallengeAnswer, description = "The password is right; a code is awaited"),
        (status = 401, body = crate::problem::Problem, content_type = "application/problem+json", description = "Wrong address or password, the account is not active, or its owner allows other networks only"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong ones"),
    )
)]
pub(crate) async fn login(
    State(state): State<ApiState>,
    SignInOrigin(origin): SignInOrigin,
    Json(body): Json<LoginBody>,
) -> Result<Response, ApiError> {
    let accounts = &state.parts().accounts;
    match accounts.sign_in(&body.email, body.password, origin).await? {
        SignIn::Done(login) => Ok(signed_in(
            StatusCode::OK,
            *login,
            accounts.public_url().is_https(),
        )),
        SignIn::SecondFactor(challenge) => {
            let answer = ChallengeAnswer {
                two_factor_required: true,
                challenge: challenge.token.expose().to_owned(),
                expires_at: challenge.expires_at,
            };
            Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
        }
    }
}

/// Completes a sign-in with a code, which is used up. A recovery code counts once, and its use is told by mail.
#[utoipa::path(
    post, path = "/login/two-factor", tag = "auth", request_body = SecondFactorBody,
    responses(
        (status = 200, body = LoginAnswer, description = "Signed in"),
        (status = 401, body = crate::problem::Problem, content_type = "application/problem+json", description = "The challenge or the code is not good, or the account is not active"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong codes"),
    )
)]
pub(crate) async fn login_with_code(
    State(state): State<ApiState>,
    SignInOrigin(origin): SignInOrigin,
    Json(body): Json<SecondFactorBody>,
) -> Result<Response, ApiError> {
    let accounts = &state.parts().accounts;
    let login = accounts
        .sign_in_with_code(body.challenge.expose(), &body.code, origin)
        .await?;
    Ok(signed_in(StatusCode::OK, login, accounts.public_url().is_https()))
}

/// Ends this login at once, before its time.
#[utoipa::path(
    post, path = "/logout", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Signed out"))
)]
pub(crate) async fn logout(
    State(state): State<ApiState>,
    AnyLogin(session): AnyLogin,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    parts.logins.sign_out(&session).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = logout_cookie(parts.accounts.public_url().is_https()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
