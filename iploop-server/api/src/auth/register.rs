//! `POST /api/auth/register`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use iploop_platform::accounts::Registration;
use iploop_platform::secret::Secret;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::user::{LoginAnswer, signed_in};
use crate::error::ApiError;
use crate::extract::{Json, SignInOrigin};
use crate::schema::{OptionalName, PersonName};
use crate::state::ApiState;

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisterBody {
    /// Login address.
    #[schema(required, format = Email, max_length = 254)]
    #[serde(default)]
    email: String,
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    #[schema(required, value_type = String, format = Password, min_length = 8, max_length = 512)]
    #[serde(default)]
    password: Secret,
    /// Given name.
    #[schema(required, value_type = PersonName)]
    #[serde(default)]
    first_name: String,
    /// Family name.
    #[schema(required, value_type = PersonName)]
    #[serde(default)]
    last_name: String,
    /// Company.
    #[schema(value_type = Option<OptionalName>)]
    #[serde(default)]
    company: Option<String>,
    /// `customer`, or `owner`: shares devices.
    #[schema(inline)]
    #[serde(default)]
    kind: AccountKind,
}

/// What an account is for.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AccountKind {
    #[default]
    Customer,
    Owner,
}

/// Makes an account on the Starter plan with 5 GB free, mails the link that verifies its address, and signs it in.
///
/// The proxy opens once the address is verified.
#[utoipa::path(
    post, path = "/register", tag = "auth", request_body = RegisterBody,
    responses(
        (status = 201, body = LoginAnswer, description = "The account, signed in"),
        (status = 403, body = crate::problem::Problem, content_type = "application/problem+json", description = "Registrations are closed"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "The address has an account"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many registrations from this network"),
    )
)]
pub(crate) async fn register(
    State(state): State<ApiState>,
    SignInOrigin(origin): SignInOrigin,
    Json(body): Json<RegisterBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let form = Registration {
        email: body.email,
        password: body.password,
        first_name: body.first_name,
        last_name: body.last_name,
        company: body.company,
        is_owner: matches!(body.kind, AccountKind::Owner),
    };
    let account = parts.accounts.register(form, origin.address).await?;
    let login = parts.logins.issue(account, origin).await?;
    Ok(signed_in(
        StatusCode::CREATED,
        login,
        parts.accounts.public_url().is_https(),
    ))
}
