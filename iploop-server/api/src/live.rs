//! `/api/live` and `/api/admin/live`: what happens now, as server-sent events.
//!
//! The answer ends with the login, when the process drains, and when its reader is too slow; who comes back with
//! `Last-Event-ID` goes on where it was.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use iploop_platform::field::FieldProblem;
use iploop_platform::live::{Event, EventId, Watch, WatchError};
use iploop_platform::login::SessionError;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Query};
use crate::session::{Admin, SignedIn, token};
use crate::state::ApiState;
use crate::usage::RequestInfo;

/// Time between two comments that keep the connection from being taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the login still holds.
const LOGIN_CHECK: Duration = Duration::from_secs(10);
/// A browser comes back after this time at the earliest, …
const RETRY_MS: u64 = 1_000;
/// … and after so much more, by chance, so that not all come at once when a process ends.
const RETRY_SPREAD_MS: u64 = 4_000;

/// The routes below `/api/live`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(live))
}

/// The route below `/api/admin`.
pub(crate) fn admin_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(network_live))
}

/// What is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveQuery {
    /// Topics, with commas between them: `numbers`, `requests`, `nodes`; default: all of them.
    #[param(example = "numbers,requests")]
    topics: Option<String>,
    /// As the header `Last-Event-ID`, for programs that can't set it.
    last_event_id: Option<String>,
}

/// The topics that are wanted.
#[derive(Clone, Copy)]
struct Topics {
    numbers: bool,
    requests: bool,
    nodes: bool,
}

/// Events of the account as they happen (`text/event-stream`):
///
/// * `numbers`: `balanceBytes`, `activeConnections`, `requests` within `windowSeconds`, `bytesPerSecond`; at most once a second
/// * `request`: a request that ended, as `/api/usage/requests` shows it; with an id
/// * `nodes`: `connectedNodes`, `availableNodes`; when they change, at most once a second
/// * `gap`: requests ended that are remembered here no more, or were lost on the way from another process; `/api/usage/requests` has them
///
/// With `Last-Event-ID` requests that ended since then come first. At most 5 at the same time for an account.
#[utoipa::path(
    get, path = "", tag = "live", params(LiveQuery), security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "The events, until the login ends"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "The account has as many live connections as it may")
    )
)]
pub(crate) async fn live(
    State(state): State<ApiState>,
    session: SignedIn,
    ClientAddress(client): ClientAddress,
    headers: HeaderMap,
    Query(query): Query<LiveQuery>,
) -> Result<Response, ApiError> {
    let topics = Topics::read(query.topics.as_deref())?;
    let header = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or_default());
    // An id that is none of ours is one of events that are remembered no more.
    let last = header
        .or(query.last_event_id.as_deref())
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().unwrap_or(EventId::FORGOTTEN));
    let watch = state.parts().live.watch(session.account().id, last)?;
    answer(state, client, &headers, watch, topics)
}

/// Events of the whole platform as they happen, as far as its processes share a Redis: `network`, with `activeAccounts`, `activeConnections`, `requests` within
/// `windowSeconds`, `bytesPerSecond`, `connectedNodes`, `availableNodes` and `watchers`; at most once a second.
#[utoipa::path(
    get, path = "/live", tag = "admin", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "The events, until the login ends"),
    )
)]
pub(crate) async fn network_live(
    State(state): State<ApiState>,
    _: Admin,
    ClientAddress(client): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let watch = state.parts().live.watch_network()?;
    answer(state, client, &headers, watch, Topics::ALL)
}

fn answer(
    state: ApiState,
    client: IpAddr,
    headers: &HeaderMap,
    watch: Watch,
    topics: Topics,
) -> Result<Response, ApiError> {
    let reader = Reader {
        token: token(headers, &state)?.to_owned(),
        state,
        client,
        watch,
        topics,
        check_at: Instant::now() + LOGIN_CHECK,
        greeted: false,
    };
    let events = stream::unfold(reader, async |mut reader| {
        let message = reader.next().await?;
        Some((Ok::<_, Infallible>(message), reader))
    });
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Terminators in front of us must not wait for a full buffer.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One connection.
struct Reader {
    state: ApiState,
    token: String,
    client: IpAddr,
    watch: Watch,
    topics: Topics,
    check_at: Instant,
    greeted: bool,
}

impl Reader {
    /// The next message; none: the end.
    async fn next(&mut self) -> Option<Message> {
        if !std::mem::replace(&mut self.greeted, true) {
            let retry = RETRY_MS + rand::random_range(0..RETRY_SPREAD_MS);
            return Some(Message::default().retry(Duration::from_millis(retry)));
        }
        let draining = self.state.parts().draining.clone();
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => return None,
                () = sleep_until(self.check_at) => {
                    if self.login_is_over().await {
                        return None;
                    }
                    self.check_at = Instant::now() + LOGIN_CHECK;
                }
                event = self.watch.next() => {
                    let (id, event) = event?;
                    if let Some(message) = message(id, event, self.topics) {
                        return Some(message);
                    }
                }
            }
        }
    }

    /// Signed out, expired, suspended, or another password. While the database is away nobody knows, and it goes on.
    async fn login_is_over(&self) -> bool {
        let logins = &self.state.parts().logins;
        let session = logins.authenticate(&self.token, self.client).await;
        !matches!(session, Ok(_) | Err(SessionError::Store(_)))
    }
}

impl Topics {
    const ALL: Self = Self {
        numbers: true,
        requests: true,
        nodes: true,
    };
    const NONE: Self = Self {
        numbers: false,
        requests: false,
        nodes: false,
    };

    fn read(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Self::ALL);
        };
        let mut topics = Self::NONE;
        for topic in text.split(',') {
            match topic.trim() {
                "numbers" => topics.numbers = true,
                "requests" => topics.requests = true,
                "nodes" => topics.nodes = true,
                _ => {
                    let message = "topics are numbers, requests and nodes";
                    return Err(ApiError::InvalidFields(vec![FieldProblem::new(
                        "topics", message,
                    )]));
                }
            }
        }
        Ok(topics)
    }
}

/// The event as it is sent, if it is wanted.
fn message(id: Option<EventId>, event: Event, topics: Topics) -> Option<Message> {
    let message = match event {
        Event::Request(record) if topics.requests => written(
            "request",
            &RequestInfo::from(std::sync::Arc::unwrap_or_clone(record)),
        ),
        Event::Gap if topics.requests => Message::default().event("gap").data("{}"),
        Event::Numbers(numbers) if topics.numbers => written("numbers", &numbers),
        Event::Nodes(nodes) if topics.nodes => written("nodes", &nodes),
        Event::Network(network) => written("network", &network),
        _ => return None,
    };
    Some(match id {
        Some(id) => message.id(id.to_string()),
        None => message,
    })
}

fn written(name: &str, content: &impl Serialize) -> Message {
    // Plain fields into memory: nothing that can fail; JSON has no line ends.
    let text = serde_json::to_string(content).unwrap_or_default();
    Message::default().event(name).data(text)
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::TooManyOfAccount => Self::TooManyLive,
            _ => Self::Overloaded,
        }
    }
}
