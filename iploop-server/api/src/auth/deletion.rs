//! `DELETE /api/auth/account`

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use iploop_platform::accounts::Farewell;
use iploop_platform::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json};
use crate::session::{SignedIn, logout_cookie};
use crate::state::ApiState;

/// What leaving takes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FarewellBody {
    /// The account's password.
    #[schema(required, value_type = String, format = Password)]
    #[serde(default)]
    password: Secret,
    /// The account's mail address, typed once more.
    #[schema(required, format = Email)]
    #[serde(default)]
    confirm_email: String,
    /// A code of the authenticator, or a recovery code, where two-factor authentication is on.
    #[schema(required = false, value_type = String, example = "123456")]
    #[serde(default)]
    code: Secret,
}

/// Deletes the account, for good and at once. Its keys, connections and logins end, what is personal in it is erased, and what it
/// had left is lost. Transactions and usage stay under an id that says nothing.
#[utoipa::path(
    delete, path = "/account", tag = "auth", request_body = FarewellBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 204, description = "Deleted"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "It is the last admin's"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong passwords or codes"),
    )
)]
pub(crate) async fn delete_account(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<FarewellBody>,
) -> Result<Response, ApiError> {
    let accounts = &state.parts().accounts;
    let farewell = Farewell {
        password: body.password,
        code: body.code,
        confirm_email: body.confirm_email,
    };
    accounts.delete(&session.account, farewell, client).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = logout_cookie(accounts.public_url().is_https()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
