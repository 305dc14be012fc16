//! `PUT /api/auth/password`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use iploop_platform::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::user::{LoginAnswer, signed_in};
use crate::error::ApiError;
use crate::extract::{Json, SignInOrigin};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The old and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PasswordBody {
    /// The password so far.
    #[schema(required, value_type = String, format = Password)]
    #[serde(default)]
    current_password: Secret,
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    #[schema(required, value_type = String, format = Password, min_length = 8, max_length = 512)]
    #[serde(default)]
    new_password: Secret,
}

/// Sets a new password. Ends every login of the account, this one included, and answers with a fresh one.
#[utoipa::path(
    put, path = "/password", tag = "auth", request_body = PasswordBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = LoginAnswer, description = "A login under the new password"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong ones"),
    )
)]
pub(crate) async fn change_password(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    SignInOrigin(origin): SignInOrigin,
    Json(body): Json<PasswordBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    parts
        .accounts
        .change_password(
            &session.account,
            body.current_password,
            body.new_password,
            origin.address,
        )
        .await?;
    let login = parts.logins.issue(session.account, origin).await?;
    Ok(signed_in(
        StatusCode::OK,
        login,
        parts.accounts.public_url().is_https(),
    ))
}
