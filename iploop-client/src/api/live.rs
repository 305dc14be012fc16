// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `live`: operations of the API, with what they send and answer.

use http::Method;
use serde::Serialize;

use crate::error::Error;
use crate::management::{Api, Download};

/// Operations of this part of the API: [`Api::live`].
#[derive(Clone, Copy, Debug)]
pub struct Live<'a>(pub(super) &'a Api);

impl Live<'_> {
    /// Events of the account as they happen (`text/event-stream`):
    ///
    /// * `numbers`: `balanceBytes`, `activeConnections`, `requests` within `windowSeconds`, `bytesPerSecond`; at most once a second
    /// * `request`: a request that ended, as `/api/usage/requests` shows it; with an id
    /// * `nodes`: `connectedNodes`, `availableNodes`; when they change, at most once a second
    /// * `gap`: requests ended that are remembered here no more, or were lost on the way from another process; `/api/usage/requests` has them
    ///
    /// With `Last-Event-ID` requests that ended since then come first. At most 5 at the same time for an account.
    ///
    /// `GET /api/live`.
    pub async fn live(&self, query: &LiveQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/live")
            .query(query)
            .accept("*/*")
            .download()
            .await
    }
}

/// The query of `live`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveQuery {
    /// Topics, with commas between them: `numbers`, `requests`, `nodes`; default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<String>,
    /// As the header `Last-Event-ID`, for programs that can't set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
}
