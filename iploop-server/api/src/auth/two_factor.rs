//! `/api/auth/two-factor`: turning the second factor on and off, and its recovery codes.

use axum::extract::State;
use http::StatusCode;
use iploop_platform::accounts::PasswordAndCode;
use iploop_platform::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The account's password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetUpBody {
    #[schema(required, value_type = String, format = Password)]
    #[serde(default)]
    password: Secret,
}

/// A second factor that waits for its first code. Shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetUpAnswer {
    /// In base32, for typing.
    secret: String,
    /// The same for authenticators.
    #[schema(example = "otpauth://totp/IPLoop:ada%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=IPLoop")]
    otpauth_url: String,
    /// That as a QR code: an SVG document.
    qr_svg: String,
}

/// The first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    /// What the authenticator shows.
    #[schema(required, value_type = String, example = "123456")]
    #[serde(default)]
    code: Secret,
}

/// Password and code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofBody {
    /// The account's password.
    #[schema(required, value_type = String, format = Password)]
    #[serde(default)]
    password: Secret,
    /// A code of the authenticator, or a recovery code.
    #[schema(required, value_type = String, example = "123456")]
    #[serde(default)]
    code: Secret,
}

/// Codes for the day when the authenticator is lost. Each counts once. Shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoveryCodesAnswer {
    /// Ten of them.
    #[schema(example = json!(["0a1b2c3d4e-5f60718293"]))]
    recovery_codes: Vec<String>,
}

impl From<ProofBody> for PasswordAndCode {
    fn from(body: ProofBody) -> Self {
        Self {
            password: body.password,
            code: body.code,
        }
    }
}

impl From<Vec<Secret>> for RecoveryCodesAnswer {
    fn from(codes: Vec<Secret>) -> Self {
        Self {
            recovery_codes: codes.iter().map(|code| code.expose().to_owned()).collect(),
        }
    }
}

/// Makes a secret for an authenticator (TOTP: SHA-1, 6 digits, 30 seconds). Nothing changes until it is confirmed.
#[utoipa::path(
    post, path = "/two-factor/setup", tag = "auth", request_body = SetUpBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = SetUpAnswer, description = "The secret"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "It is on already"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
    )
)]
pub(crate) async fn set_up(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<SetUpBody>,
) -> Result<Json<SetUpAnswer>, ApiError> {
    let accounts = &state.parts().accounts;
    let factor = accounts
        .set_up_two_factor(&session.account, body.password, client)
        .await?;
    Ok(Json(SetUpAnswer {
        secret: factor.secret.expose().to_owned(),
        otpauth_url: factor.url.expose().to_owned(),
        qr_svg: factor.qr_svg.expose().to_owned(),
    }))
}

/// Turns two-factor authentication on by the first code. The account's other logins end.
#[utoipa::path(
    post, path = "/two-factor/confirm", tag = "auth", request_body = ConfirmBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = RecoveryCodesAnswer, description = "It is on"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "It is on already, or was not set up"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong codes"),
    )
)]
pub(crate) async fn confirm(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<ConfirmBody>,
) -> Result<Json<RecoveryCodesAnswer>, ApiError> {
    let accounts = &state.parts().accounts;
    let codes = accounts.confirm_two_factor(&session, &body.code, client).await?;
    Ok(Json(codes.into()))
}

/// Turns two-factor authentication off and forgets its secret and codes.
#[utoipa::path(
    post, path = "/two-factor/disable", tag = "auth", request_body = ProofBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 204, description = "It is off"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "It is off already"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong passwords or codes"),
    )
)]
pub(crate) async fn disable(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<ProofBody>,
) -> Result<StatusCode, ApiError> {
    let accounts = &state.parts().accounts;
    accounts
        .end_two_factor(&session.account, body.into(), client)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes new recovery codes; all earlier ones stop working.
#[utoipa::path(
    post, path = "/two-factor/recovery-codes", tag = "auth", request_body = ProofBody,
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = RecoveryCodesAnswer, description = "The codes"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "Two-factor authentication is off"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many wrong passwords or codes"),
    )
)]
pub(crate) async fn recovery_codes(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<ProofBody>,
) -> Result<Json<RecoveryCodesAnswer>, ApiError> {
    let accounts = &state.parts().accounts;
    let codes = accounts
        .new_recovery_codes(&session.account, body.into(), client)
        .await?;
    Ok(Json(codes.into()))
}
