//! Looking on as a customer.

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use super::account_id;
use super::accounts::ReasonBody;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::session::Admin;
use crate::state::ApiState;

/// A login that reads only.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImpersonationAnswer {
    /// For `Authorization: Bearer`. Shown this once.
    token: String,
    /// It ends then, or earlier with the admin's own login.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whose account is looked at.
    #[schema(value_type = String, format = Uuid)]
    user_id: AccountId,
}

/// A login of 15 minutes by which the admin sees what the customer sees: every changing request answers 403
/// `impersonation_read_only`, and the profile says who looks on. Not for admins' accounts.
#[utoipa::path(
    post, path = "/users/{userId}/impersonate", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ImpersonationAnswer, description = "The login"))
)]
pub(crate) async fn impersonate(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<Json<ImpersonationAnswer>, ApiError> {
    let users = &state.parts().admin;
    let login = users
        .impersonate(&admin, account_id(&user)?, &body.reason)
        .await?;
    Ok(Json(ImpersonationAnswer {
        token: login.token.expose().to_owned(),
        expires_at: login.expires_at,
        user_id: login.account.id,
    }))
}
