//! `/api/proxy/sessions`: the customer's sticky sessions, shown, made ahead, rotated and ended. Each route takes a login, or an API key as
//! `Authorization: Bearer iploop_…`: sessions belong to the account, whichever of its keys uses them.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::ApiKeyId;
use iploop_platform::sticky::{LiveSession, MAX_PAGE};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::key_holder::ForAccount;
use crate::state::ApiState;

/// The routes below `/api/proxy/sessions`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions, create_session, end_sessions))
        .routes(routes!(get_session, end_session))
        .routes(routes!(rotate_session))
}

/// The id in the path; what is no text names no session.
pub(crate) struct Id(String);

impl FromRequestParts<ApiState> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(ApiError::SessionNotFound),
        }
    }
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Most sessions wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
    /// The `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// A live session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionInfo {
    /// Its name: the `X` of `session-X`.
    #[schema(example = "cart-17")]
    id: String,
    /// The parameters of its latest request, in canonical form.
    #[schema(example = "country-US-session-cart-17-lifetime-30m")]
    targeting: String,
    /// The key that used it last; null until one does.
    #[schema(value_type = Option<String>, format = Uuid)]
    api_key_id: Option<ApiKeyId>,
    /// Null while the next request is to choose one.
    exit: Option<SessionExit>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a request last began or ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// When its time with the exit is over.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it ends for want of use; null while it is in use, or without `idle`.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_until: Option<Timestamp>,
    /// Requests and tunnels so far.
    requests: u64,
    /// Of these, the ones that run.
    running: u32,
    /// Of ended requests.
    bytes_uploaded: u64,
    /// Of ended requests.
    bytes_downloaded: u64,
    /// How many times its exit address changed.
    rotations: u64,
}

/// The exit of a session, as its answers tell it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionExit {
    #[schema(value_type = String, example = "198.51.100.7")]
    ip: IpAddr,
    /// ISO 3166-1 alpha-2.
    country: Option<String>,
    city: Option<String>,
    asn: Option<u32>,
    /// When the session got it.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// A page of live sessions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionList {
    /// By name.
    sessions: Vec<SessionInfo>,
    /// For the next page; null at the end.
    next_cursor: Option<String>,
}

/// A session to be made ahead of its first use.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSessionBody {
    /// Parameters as in a proxy login. Without `session-X` a name is made up.
    #[schema(example = "country-US-session-cart-17-lifetime-30")]
    #[serde(default)]
    targeting: String,
}

/// A session with what a proxy login needs.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSession {
    #[serde(flatten)]
    session: SessionInfo,
    login: SessionCredentials,
}

/// A ready proxy login, but for the key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionCredentials {
    host: String,
    http_port: u16,
    socks5_port: u16,
    /// The password is any key of the account.
    #[schema(example = "iploop-country-US-session-cart-17-lifetime-30m")]
    username: String,
    /// To be completed with a key.
    #[schema(
        example = "curl -x http://iploop-session-cart-17:API_KEY@proxy.example.com:7777 https://example.com/"
    )]
    curl: String,
}

/// How many sessions were ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedSessions {
    ended: u64,
}

impl From<LiveSession> for SessionInfo {
    fn from(live: LiveSession) -> Self {
        let session = live.session;
        Self {
            id: session.name,
            targeting: session.targeting,
            api_key_id: session.api_key,
            exit: session.exit.map(|exit| SessionExit {
                ip: exit.ip,
                country: exit.country,
                city: exit.city,
                asn: exit.asn,
                since: exit.since,
            }),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: live.expires_at,
            idle_until: live.idle_until,
            requests: session.requests,
            running: live.running,
            bytes_uploaded: session.bytes_up,
            bytes_downloaded: session.bytes_down,
            rotations: session.rotations,
        }
    }
}

/// The account's live sessions, of all its keys.
#[utoipa::path(
    get, path = "", tag = "sessions", params(PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SessionList, description = "The sessions"))
)]
pub(crate) async fn list_sessions(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
    Query(page): Query<PageQuery>,
) -> Result<Json<SessionList>, ApiError> {
    if !(1..=MAX_PAGE).contains(&page.limit) {
        let message = format!("limit must be between 1 and {MAX_PAGE}");
        return Err(ApiError::InvalidFields(vec![FieldProblem::new("limit", message)]));
    }
    let sessions = &state.parts().sessions;
    let (live, next_cursor) = sessions.list(account, page.cursor.as_deref(), page.limit).await;
    Ok(Json(SessionList {
        sessions: live.into_iter().map(SessionInfo::from).collect(),
        next_cursor,
    }))
}

/// Makes a session ahead of its first use, which has to come within 24 hours. Its exit is chosen then.
#[utoipa::path(
    post, path = "", tag = "sessions", request_body = CreateSessionBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 201, body = NewSession, description = "The session, and a login that uses it"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "A live session has this name"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "The account has as many live sessions as it may; see Retry-After"),
    )
)]
pub(crate) async fn create_session(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
    Json(body): Json<CreateSessionBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let (live, login) = parts.sessions.create(account, &body.targeting).await?;
    let proxy = &parts.proxy;
    let answer = NewSession {
        session: live.into(),
        login: SessionCredentials {
            host: proxy.host.clone(),
            http_port: proxy.http_port,
            socks5_port: proxy.socks5_port,
            curl: format!(
                "curl -x http://{}:API_KEY@{}:{} https://example.com/",
                login.username, proxy.host, proxy.http_port
            ),
            username: login.username,
        },
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Ends all live sessions of the account. What runs in them goes on.
#[utoipa::path(
    delete, path = "", tag = "sessions", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = EndedSessions, description = "Ended"))
)]
pub(crate) async fn end_sessions(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
) -> Result<Json<EndedSessions>, ApiError> {
    let ended = state.parts().sessions.end_all(account).await?;
    Ok(Json(EndedSessions { ended }))
}

/// One live session.
#[utoipa::path(
    get, path = "/{sessionId}", tag = "sessions", params(("sessionId" = String, Path)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SessionInfo, description = "The session"))
)]
pub(crate) async fn get_session(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
    Id(id): Id,
) -> Result<Json<SessionInfo>, ApiError> {
    let live = state.parts().sessions.get(account, &id).await?;
    Ok(Json(live.into()))
}

/// Gives the session's exit up: its next request has another address, if there is one, and says so. What runs goes on.
#[utoipa::path(
    post, path = "/{sessionId}/rotate", tag = "sessions", params(("sessionId" = String, Path)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SessionInfo, description = "The session, without an exit until its next request"))
)]
pub(crate) async fn rotate_session(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
    Id(id): Id,
) -> Result<Json<SessionInfo>, ApiError> {
    let sessions = &state.parts().sessions;
    let live = sessions.rotate(account, &id).await?;
    Ok(Json(live.into()))
}

/// Ends a session. What runs in it goes on; the next request of its name begins a new one.
#[utoipa::path(
    delete, path = "/{sessionId}", tag = "sessions", params(("sessionId" = String, Path)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Ended"))
)]
pub(crate) async fn end_session(
    State(state): State<ApiState>,
    ForAccount(account): ForAccount,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    let sessions = &state.parts().sessions;
    sessions.end(account, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn fifty() -> u32 {
    50
}
