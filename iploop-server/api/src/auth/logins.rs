//! `/api/auth/sessions`: where the account is signed in, and ending logins from elsewhere.

use axum::extract::State;
use http::StatusCode;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::LoginId;
use iploop_platform::login::LoginRecord;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::session::SignedIn;
use crate::state::ApiState;

/// A login that lives.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginInfo {
    #[schema(value_type = String, format = Uuid)]
    id: LoginId,
    /// The one of this request.
    is_current: bool,
    /// The client's address when it signed in.
    #[schema(example = "192.0.2.7")]
    ip_address: String,
    /// What its program calls itself, shortened; empty if it does not.
    user_agent: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last asked for something, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The account's logins.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoginList {
    /// The one seen last first; at most 100.
    sessions: Vec<LoginInfo>,
}

/// How many logins ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedAnswer {
    ended: usize,
}

impl LoginInfo {
    fn new(login: LoginRecord, current: LoginId) -> Self {
        Self {
            id: login.id,
            is_current: login.id == current,
            ip_address: login.address.to_string(),
            user_agent: login.user_agent,
            created_at: login.created_at,
            last_seen_at: login.last_seen_at,
            expires_at: login.expires_at,
        }
    }
}

/// Where the account is signed in.
#[utoipa::path(
    get, path = "/sessions", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = LoginList, description = "The logins"))
)]
pub(crate) async fn list_logins(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Json<LoginList>, ApiError> {
    let logins = state.parts().logins.list(session.account_id()).await?;
    let sessions = logins
        .into_iter()
        .map(|login| LoginInfo::new(login, session.id()))
        .collect();
    Ok(Json(LoginList { sessions }))
}

/// Ends one login; its token is refused from now on.
#[utoipa::path(
    delete, path = "/sessions/{sessionId}", tag = "auth", params(("sessionId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Ended"))
)]
pub(crate) async fn end_login(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    Path(id): Path<LoginId>,
) -> Result<StatusCode, ApiError> {
    if state.parts().logins.end(session.account_id(), id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

/// Ends every login of the account but this one.
#[utoipa::path(
    delete, path = "/sessions", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = EndedAnswer, description = "The others ended"))
)]
pub(crate) async fn end_other_logins(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Json<EndedAnswer>, ApiError> {
    let logins = &state.parts().logins;
    let ended = logins
        .end_others(session.account_id(), Some(session.id()))
        .await?;
    Ok(Json(EndedAnswer { ended }))
}
