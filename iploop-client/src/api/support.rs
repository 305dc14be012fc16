// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `support`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::{Api, Download};
use crate::values::Timestamp;

/// Operations of this part of the API: [`Api::support`].
#[derive(Clone, Copy, Debug)]
pub struct Support<'a>(pub(super) &'a Api);

impl Support<'_> {
    /// Answers a question from the documentation and the account's own state. With `Accept: text/event-stream` piece by piece:
    /// events `sources` (a list as in the whole answer), `text` (`{"text": …}`, several) and `end` (`engine`, `known`,
    /// `suggestTicket`).
    ///
    /// `POST /api/support/chat`.
    pub async fn chat(&self, body: &ChatBody) -> Result<ChatAnswer, Error> {
        self.0
            .call(Method::POST, "/api/support/chat")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Answers a question from the documentation and the account's own state. With `Accept: text/event-stream` piece by piece:
    /// events `sources` (a list as in the whole answer), `text` (`{"text": …}`, several) and `end` (`engine`, `known`,
    /// `suggestTicket`).
    ///
    /// `POST /api/support/chat`. This one as `text/event-stream`.
    pub async fn chat_events(&self, body: &ChatBody) -> Result<Download, Error> {
        self.0
            .call(Method::POST, "/api/support/chat")
            .json(body)
            .accept("text/event-stream")
            .download()
            .await
    }

    /// The account's tickets.
    ///
    /// `GET /api/support/tickets`.
    pub async fn list_tickets(&self, query: &ListTicketsQuery) -> Result<TicketList, Error> {
        self.0
            .call(Method::GET, "/api/support/tickets")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Asks a person.
    ///
    /// `POST /api/support/tickets`.
    pub async fn open_ticket(&self, body: &TicketBody) -> Result<TicketInfo, Error> {
        self.0
            .call(Method::POST, "/api/support/tickets")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// One of the account's tickets.
    ///
    /// `GET /api/support/tickets/{ticketId}`.
    pub async fn get_ticket(&self, ticket_id: Uuid) -> Result<TicketInfo, Error> {
        self.0
            .call(Method::GET, &format!("/api/support/tickets/{ticket_id}"))
            .answer()
            .await?
            .json()
    }
}

/// The query of `list_tickets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTicketsQuery {
    /// Older than this ticket: `nextCursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Uuid>,
    /// Most tickets wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The assistant's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChatAnswer {
    /// `documentation`: quoted; `model`: worded by a model from the documentation.
    pub engine: String,
    /// False: the assistant does not know.
    pub known: bool,
    /// A person would help: `POST /api/support/tickets`.
    pub suggest_ticket: bool,
    /// Plain text with a little Markdown; to be shown as text, never as HTML.
    pub message: String,
    /// Where it comes from.
    pub sources: Vec<SourceInfo>,
}

/// A question, with the talk before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatBody {
    /// What was said before, oldest first: at most 20 messages of 4,096 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<ChatTurn>,
    /// At most 4,096 bytes.
    pub message: String,
}

/// `ChatRole`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatRole {
    /// `user`.
    #[serde(rename = "user")]
    User,
    /// `assistant`.
    #[serde(rename = "assistant")]
    Assistant,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// Something said earlier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatTurn {
    /// `content`.
    pub content: String,
    /// `role`.
    pub role: ChatRole,
}

/// A part of the documentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceInfo {
    /// `title`.
    pub title: String,
    /// A path at this address.
    pub url: String,
}

/// A question to a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TicketBody {
    /// 1 to 4,000 characters, in several lines if need be.
    pub message: String,
    /// A line of 1 to 200 characters.
    pub subject: String,
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TicketInfo {
    /// The latest answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `id`.
    pub id: Uuid,
    /// `message`.
    pub message: String,
    /// `open`, `answered` or `closed`.
    pub status: String,
    /// `subject`.
    pub subject: String,
    /// `updatedAt`.
    pub updated_at: Timestamp,
}

/// A page of tickets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TicketList {
    /// There may be more behind it; none: that was all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Uuid>,
    /// The newest first.
    pub tickets: Vec<TicketInfo>,
}
