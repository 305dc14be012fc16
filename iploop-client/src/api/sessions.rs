// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `sessions`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::{Api, segment};
use crate::values::Timestamp;

/// Operations of this part of the API: [`Api::sessions`].
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a>(pub(super) &'a Api);

impl Sessions<'_> {
    /// Ends all live sessions of the account. What runs in them goes on.
    ///
    /// `DELETE /api/proxy/sessions`.
    pub async fn end_sessions(&self) -> Result<EndedSessions, Error> {
        self.0
            .call(Method::DELETE, "/api/proxy/sessions")
            .answer()
            .await?
            .json()
    }

    /// The account's live sessions, of all its keys.
    ///
    /// `GET /api/proxy/sessions`.
    pub async fn list_sessions(&self, query: &ListSessionsQuery) -> Result<SessionList, Error> {
        self.0
            .call(Method::GET, "/api/proxy/sessions")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Makes a session ahead of its first use, which has to come within 24 hours. Its exit is chosen then.
    ///
    /// `POST /api/proxy/sessions`.
    pub async fn create_session(&self, body: &CreateSessionBody) -> Result<NewSession, Error> {
        self.0
            .call(Method::POST, "/api/proxy/sessions")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Ends a session. What runs in it goes on; the next request of its name begins a new one.
    ///
    /// `DELETE /api/proxy/sessions/{sessionId}`.
    pub async fn end_session(&self, session_id: &str) -> Result<(), Error> {
        self.0
            .call(
                Method::DELETE,
                &format!("/api/proxy/sessions/{}", segment(session_id)?),
            )
            .answer()
            .await?;
        Ok(())
    }

    /// One live session.
    ///
    /// `GET /api/proxy/sessions/{sessionId}`.
    pub async fn get_session(&self, session_id: &str) -> Result<SessionInfo, Error> {
        self.0
            .call(
                Method::GET,
                &format!("/api/proxy/sessions/{}", segment(session_id)?),
            )
            .answer()
            .await?
            .json()
    }

    /// Gives the session's exit up: its next request has another address, if there is one, and says so. What runs goes on.
    ///
    /// `POST /api/proxy/sessions/{sessionId}/rotate`.
    pub async fn rotate_session(&self, session_id: &str) -> Result<SessionInfo, Error> {
        self.0
            .call(
                Method::POST,
                &format!("/api/proxy/sessions/{}/rotate", segment(session_id)?),
            )
            .answer()
            .await?
            .json()
    }
}

/// The query of `list_sessions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSessionsQuery {
    /// Most sessions wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A session to be made ahead of its first use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateSessionBody {
    /// Parameters as in a proxy login. Without `session-X` a name is made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targeting: Option<String>,
}

/// How many sessions were ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndedSessions {
    /// `ended`.
    pub ended: u64,
}

/// A session with what a proxy login needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewSession {
    /// The key that used it last; null until one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<Uuid>,
    /// Of ended requests.
    pub bytes_downloaded: u64,
    /// Of ended requests.
    pub bytes_uploaded: u64,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// Null while the next request is to choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<SessionExit>,
    /// When its time with the exit is over.
    pub expires_at: Timestamp,
    /// Its name: the `X` of `session-X`.
    pub id: String,
    /// When it ends for want of use; null while it is in use, or without `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_until: Option<Timestamp>,
    /// When a request last began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Requests and tunnels so far.
    pub requests: u64,
    /// How many times its exit address changed.
    pub rotations: u64,
    /// Of these, the ones that run.
    pub running: u32,
    /// The parameters of its latest request, in canonical form.
    pub targeting: String,
    /// A ready proxy login, but for the key.
    pub login: SessionCredentials,
}

/// A ready proxy login, but for the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionCredentials {
    /// To be completed with a key.
    pub curl: String,
    /// `host`.
    pub host: String,
    /// `httpPort`.
    pub http_port: u32,
    /// `socks5Port`.
    pub socks5_port: u32,
    /// The password is any key of the account.
    pub username: String,
}

/// The exit of a session, as its answers tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionExit {
    /// `asn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// `city`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// `ip`.
    pub ip: String,
    /// When the session got it.
    pub since: Timestamp,
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionInfo {
    /// The key that used it last; null until one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<Uuid>,
    /// Of ended requests.
    pub bytes_downloaded: u64,
    /// Of ended requests.
    pub bytes_uploaded: u64,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// Null while the next request is to choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<SessionExit>,
    /// When its time with the exit is over.
    pub expires_at: Timestamp,
    /// Its name: the `X` of `session-X`.
    pub id: String,
    /// When it ends for want of use; null while it is in use, or without `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_until: Option<Timestamp>,
    /// When a request last began or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Requests and tunnels so far.
    pub requests: u64,
    /// How many times its exit address changed.
    pub rotations: u64,
    /// Of these, the ones that run.
    pub running: u32,
    /// The parameters of its latest request, in canonical form.
    pub targeting: String,
}

/// A page of live sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionList {
    /// For the next page; null at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// By name.
    pub sessions: Vec<SessionInfo>,
}
