//! `/api/support` and `/api/assistant`: the assistant, and tickets for people.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::TicketId;
use iploop_platform::support::{
    Answer, Asked, AssistantError, Engine, Piece, Ticket, TicketError, TicketQuery, Turn, Who, WholeAnswer,
    page,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::schema::{Line, MessageText};
use crate::session::SignedIn;
use crate::state::ApiState;

/// Longest that a whole answer is waited for; then what came is the answer. Shorter than a request may take.
const WHOLE_ANSWER: Duration = Duration::from_secs(13);
/// Most tickets in one answer.
pub(crate) const MAX_PAGE: u32 = 100;

/// The routes below `/api/support`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    assistant_router()
        .routes(routes!(list_tickets, open_ticket))
        .routes(routes!(get_ticket))
}

/// The routes below `/api/assistant`.
pub(crate) fn assistant_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(chat))
}

/// A question, with the talk before it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatBody {
    /// At most 4,096 bytes.
    #[schema(
        max_length = 4096,
        pattern = "[^ \\t\\r\\n]",
        example = "What does 503 no_exit mean?"
    )]
    message: String,
    /// What was said before, oldest first: at most 20 messages of 4,096 bytes.
    #[serde(default)]
    #[schema(max_items = 20)]
    history: Vec<ChatTurn>,
}

/// Something said earlier.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChatTurn {
    role: ChatRole,
    #[schema(max_length = 4096)]
    content: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChatRole {
    User,
    Assistant,
}

/// The assistant's answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatAnswer {
    /// Plain text with a little Markdown; to be shown as text, never as HTML.
    message: String,
    /// Where it comes from.
    sources: Vec<SourceInfo>,
    #[serde(flatten)]
    end: ChatEnd,
}

/// How sure an answer is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatEnd {
    /// `documentation`: quoted; `model`: worded by a model from the documentation.
    #[schema(value_type = String)]
    engine: Engine,
    /// False: the assistant does not know.
    known: bool,
    /// A person would help: `POST /api/support/tickets`.
    suggest_ticket: bool,
}

/// A part of the documentation.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceInfo {
    title: String,
    /// A path at this address.
    #[schema(example = "/docs/help.md#no-exit-is-found-503-no_exit")]
    url: String,
}

/// More text of a streamed answer.
#[derive(Serialize)]
struct ChatText {
    text: String,
}

/// A question to a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketBody {
    #[schema(value_type = Line)]
    subject: String,
    #[schema(value_type = MessageText)]
    message: String,
}

/// A ticket.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketInfo {
    #[schema(value_type = String, format = Uuid)]
    id: TicketId,
    subject: String,
    message: String,
    /// `open`, `answered` or `closed`.
    status: &'static str,
    /// The latest answer.
    answer: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of tickets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketList {
    /// The newest first.
    tickets: Vec<TicketInfo>,
    /// There may be more behind it; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<TicketId>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TicketPageQuery {
    /// Older than this ticket: `nextCursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    cursor: Option<TicketId>,
    /// Most tickets wanted.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
}

/// Answers a question from the documentation and the account's own state. With `Accept: text/event-stream` piece by piece:
/// events `sources` (a list as in the whole answer), `text` (`{"text": …}`, several) and `end` (`engine`, `known`,
/// `suggestTicket`).
#[utoipa::path(
    post, path = "/chat", tag = "support", request_body = ChatBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, description = "The answer", content((ChatAnswer = "application/json"), (String = "text/event-stream"))),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "Too many questions; see Retry-After"),
    )
)]
pub(crate) async fn chat(
    State(state): State<ApiState>,
    session: SignedIn,
    headers: HeaderMap,
    Json(body): Json<ChatBody>,
) -> Result<Response, ApiError> {
    let turn = |turn: ChatTurn| Turn {
        who: match turn.role {
            ChatRole::User => Who::User,
            ChatRole::Assistant => Who::Assistant,
        },
        text: turn.content,
    };
    let asked = Asked {
        message: body.message,
        history: body.history.into_iter().map(turn).collect(),
    };
    let answer = state.parts().assistant.ask(session.account(), asked).await?;
    if wants_stream(&headers) {
        return Ok(streamed(answer));
    }
    let whole = ChatAnswer::from(answer.whole(WHOLE_ANSWER).await);
    Ok(([(CONTENT_TYPE, "application/json")], inert(&whole)).into_response())
}

/// The account's tickets.
#[utoipa::path(
    get, path = "/tickets", tag = "support", params(TicketPageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = TicketList, description = "The tickets"))
)]
pub(crate) async fn list_tickets(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(page): Query<TicketPageQuery>,
) -> Result<Json<TicketList>, ApiError> {
    let query = TicketQuery {
        account: Some(session.account().id),
        ..page.read()?
    };
    let tickets = state.parts().tickets.list(&query).await?;
    Ok(Json(TicketList {
        next_cursor: next_cursor(&tickets, query.limit),
        tickets: tickets.into_iter().map(TicketInfo::from).collect(),
    }))
}

/// Asks a person.
#[utoipa::path(
    post, path = "/tickets", tag = "support", request_body = TicketBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 201, body = TicketInfo, description = "The ticket"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "The account has 20 tickets that are not closed"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "Too many tickets; see Retry-After"),
    )
)]
pub(crate) async fn open_ticket(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<TicketBody>,
) -> Result<Response, ApiError> {
    let tickets = &state.parts().tickets;
    let ticket = tickets
        .open(session.account(), &body.subject, &body.message)
        .await?;
    Ok((StatusCode::CREATED, Json(TicketInfo::from(ticket))).into_response())
}

/// One of the account's tickets.
#[utoipa::path(
    get, path = "/tickets/{ticketId}", tag = "support", params(("ticketId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = TicketInfo, description = "The ticket"))
)]
pub(crate) async fn get_ticket(
    State(state): State<ApiState>,
    session: SignedIn,
    Path(id): Path<TicketId>,
) -> Result<Json<TicketInfo>, ApiError> {
    let ticket = state.parts().tickets.get(session.account().id, id).await?;
    Ok(Json(ticket.into()))
}

/// A page of the documentation, as Markdown.
pub(crate) async fn documentation(Path(file): Path<String>) -> Result<Response, ApiError> {
    let page = page(&file).ok_or(ApiError::NotFound)?;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page.text).into_response())
}

impl TicketPageQuery {
    pub(crate) fn read(&self) -> Result<TicketQuery, ApiError> {
        if !(1..=MAX_PAGE).contains(&self.limit) {
            let message = format!("limit must be between 1 and {MAX_PAGE}");
            return Err(ApiError::InvalidFields(vec![FieldProblem::new("limit", message)]));
        }
        Ok(TicketQuery {
            before: self.cursor,
            limit: self.limit,
            ..TicketQuery::default()
        })
    }
}

/// Where the next page begins, if this one is full.
pub(crate) fn next_cursor(tickets: &[Ticket], limit: u32) -> Option<TicketId> {
    let is_full = u32::try_from(tickets.len()).is_ok_and(|count| count >= limit);
    tickets.last().filter(|_| is_full).map(|last| last.id)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// Server-sent events. Who goes away ends the work on the answer.
fn streamed(answer: Answer) -> Response {
    let events = stream::unfold(answer, async |mut answer| {
        let event = match answer.next().await? {
            Piece::Sources(sources) => {
                let sources: Vec<SourceInfo> = sources.into_iter().map(SourceInfo::from).collect();
                event("sources", &sources)
            }
            Piece::Text(text) => event("text", &ChatText { text }),
            Piece::End { engine, is_known } => event("end", &ChatEnd::new(engine, is_known)),
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), answer))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // Terminators that collect answers would undo the stream.
        (http::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn event(name: &str, data: &impl Serialize) -> String {
    // JSON has no line break outside its strings, where it is escaped.
    format!("event: {name}\ndata: {}\n\n", inert(data))
}

/// JSON in which nothing is markup, wherever somebody puts it.
fn inert(data: &impl Serialize) -> String {
    // Plain data with text as keys: never fails.
    let json = serde_json::to_string(data).unwrap_or_default();
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn twenty() -> u32 {
    20
}

impl ChatEnd {
    fn new(engine: Engine, known: bool) -> Self {
        Self {
            engine,
            known,
            suggest_ticket: !known,
        }
    }
}

impl From<WholeAnswer> for ChatAnswer {
    fn from(whole: WholeAnswer) -> Self {
        Self {
            message: whole.text,
            sources: whole.sources.into_iter().map(SourceInfo::from).collect(),
            end: ChatEnd::new(whole.engine, whole.is_known),
        }
    }
}

impl From<iploop_platform::support::Source> for SourceInfo {
    fn from(source: iploop_platform::support::Source) -> Self {
        Self {
            title: source.title,
            url: source.url,
        }
    }
}

impl From<Ticket> for TicketInfo {
    fn from(ticket: Ticket) -> Self {
        Self {
            id: ticket.id,
            subject: ticket.subject,
            message: ticket.message,
            status: ticket.status.as_str(),
            answer: ticket.answer,
            created_at: ticket.created_at,
            updated_at: ticket.updated_at,
        }
    }
}

impl From<AssistantError> for ApiError {
    fn from(error: AssistantError) -> Self {
        match error {
            AssistantError::Invalid(problems) => Self::InvalidFields(problems),
            AssistantError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            AssistantError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::Invalid(problems) => Self::InvalidFields(problems),
            TicketError::NotFound => Self::TicketNotFound,
            TicketError::AccountDeleted => Self::AccountDeleted,
            TicketError::LimitReached => Self::TooManyTickets,
            TicketError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            TicketError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}
