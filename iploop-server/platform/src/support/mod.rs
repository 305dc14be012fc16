//! Help for customers: an assistant that answers from our documentation and the account's own state, and tickets for people.
//!
//! Answers are found by local retrieval ([`Assistant`]). Where an OpenAI-compatible endpoint is configured it words them from
//! what was retrieved, and nothing else is sent there; without it, or when it fails, the retrieved text itself is the answer.

mod assistant;
mod config;
mod facts;
mod library;
mod remote;
mod search;
mod secrets;
mod tickets;

pub use assistant::{
    Answer, Asked, Assistant, AssistantError, AssistantParts, Engine, MAX_HISTORY, MAX_MESSAGE_BYTES, Piece,
    Source, Turn, Who, WholeAnswer,
};
pub use config::AssistantConfig;
pub use library::{Page, page};
pub use tickets::{
    MAX_OPEN_TICKETS, NewTicket, Ticket, TicketChange, TicketDesk, TicketError, TicketParts, TicketQuery,
    TicketStatus, Tickets,
};

/// Part of a question's weight that a section must cover to count as an answer.
const KNOWN_COVERAGE: f64 = 0.5;

/// A code of the gateway's answers, as its own table explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeHelp {
    /// The status that it comes with.
    pub status: u16,
    /// What it means, or an example of it.
    pub detail: String,
    /// What to do.
    pub hint: String,
}
