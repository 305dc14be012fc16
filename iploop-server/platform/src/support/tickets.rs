//! Tickets: what the assistant does not know is answered by people.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::config::AssistantConfig;
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::account::Account;
use crate::accounts::EmailAddress;
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::{AccountId, AuditId, TicketId};
use crate::notices::NoticeService;
use crate::shared::{Allowance, SharedState, SharedThrottle};
use crate::store::{Store, StoreError};

/// Tickets of one account that are not closed.
pub const MAX_OPEN_TICKETS: u32 = 20;
/// Longest message and answer, in characters.
const MAX_TEXT: usize = 4_000;

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketStatus {
    /// Nobody answered yet.
    Open,
    /// Somebody did.
    Answered,
    /// It is over.
    Closed,
}

impl TicketStatus {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Closed => "closed",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Open, Self::Answered, Self::Closed]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// A question to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its id, by the time it was made.
    pub id: TicketId,
    /// Whose.
    pub account: AccountId,
    /// One line.
    pub subject: String,
    /// The question.
    pub message: String,
    /// Where it stands.
    pub status: TicketStatus,
    /// The latest answer.
    pub answer: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last answered or closed, or made.
    pub updated_at: Timestamp,
}

/// A ticket to be made.
#[derive(Clone, Debug)]
pub struct NewTicket {
    /// Its id.
    pub id: TicketId,
    /// Whose.
    pub account: AccountId,
    /// One line.
    pub subject: String,
    /// The question.
    pub message: String,
    /// Who of support is told by mail.
    pub mail_to: Option<EmailAddress>,
    /// When.
    pub now: Timestamp,
}

/// Which tickets, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TicketQuery {
    /// Older than this one: the last of the page before.
    pub before: Option<TicketId>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// That stand so.
    pub status: Option<TicketStatus>,
    /// At most so many.
    pub limit: u32,
}

/// What support does with a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketChange {
    /// Answers it, in place of an earlier answer.
    Answer(String),
    /// Ends it.
    Close,
}

/// Tickets, kept.
#[async_trait]
pub trait Tickets: Send + Sync + 'static {
    /// Keeps a new ticket, with the mail about it; `LimitReached` if the account has [`MAX_OPEN_TICKETS`] that are not closed, also under parallel
    /// tries; none if there is no such account.
    async fn create_ticket(&self, ticket: NewTicket) -> Result<Option<Ticket>, StoreError>;
    /// One ticket; none if it is not of `account`, where one is given.
    async fn ticket(&self, account: Option<AccountId>, id: TicketId) -> Result<Option<Ticket>, StoreError>;
    /// A page of tickets.
    async fn tickets(&self, query: &TicketQuery) -> Result<Vec<Ticket>, StoreError>;
    /// Changes a ticket with its audit record, of which account, before and after are filled in here, and where it is answered with
    /// the mail to its customer; none if there is no such ticket, or it is closed.
    async fn change_ticket(
        &self,
        id: TicketId,
        change: &TicketChange,
        entry: AuditEntry,
    ) -> Result<Option<Ticket>, StoreError>;
}

/// Why a ticket could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Fields can't be accepted.
    #[error("invalid fields")]
    Invalid(Vec<FieldProblem>),
    /// There is no such ticket, or it is another's.
    #[error("no such ticket")]
    NotFound,
    /// The account is deleted: nobody would read an answer.
    #[error("the account is deleted")]
    AccountDeleted,
    /// The account has as many open tickets as it may.
    #[error("at most {MAX_OPEN_TICKETS} open tickets")]
    LimitReached,
    /// Too many tickets.
    #[error("too many tickets")]
    Throttled {
        /// When the next one is taken.
        retry_after: Duration,
    },
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for TicketError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LimitReached { .. } => Self::LimitReached,
            other => Self::Store(other),
        }
    }
}

/// What the desk is made of.
pub struct TicketParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// Counts tickets.
    pub shared: Arc<dyn SharedState>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Sends the mails.
    pub notices: NoticeService,
}

/// The rules around tickets. Clones share one state.
#[derive(Clone)]
pub struct TicketDesk(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    notices: NoticeService,
    made: SharedThrottle,
    mail_to: Option<EmailAddress>,
}

impl TicketDesk {
    /// `config` is taken as sound: see [`AssistantConfig::mistakes`].
    pub fn new(parts: TicketParts, config: &AssistantConfig) -> Self {
        let allowance = Allowance::per_hour(config.tickets_per_hour);
        Self(Arc::new(Inner {
            made: SharedThrottle::new("ticket-account", allowance, parts.shared),
            store: parts.store,
            clock: parts.clock,
            notices: parts.notices,
            mail_to: config.mail_to.as_ref().and_then(|address| address.parse().ok()),
        }))
    }

    /// Makes a ticket and mails it to support.
    pub async fn open(&self, account: &Account, subject: &str, message: &str) -> Result<Ticket, TicketError> {
        let mut problems = Vec::new();
        let subject = keep(line("subject", "Subject", subject, 1, 200), &mut problems);
        let message = keep(text("message", "Message", message), &mut problems);
        let (Some(subject), Some(message)) = (subject, message) else {
            return Err(TicketError::Invalid(problems));
        };
        let inner = &*self.0;
        let now = inner.clock.now();
        let counted = inner.made.take(&account.id.to_string(), now).await;
        counted.map_err(|retry_after| TicketError::Throttled { retry_after })?;
        let new = NewTicket {
            id: TicketId::new(),
            account: account.id,
            subject,
            message,
            mail_to: inner.mail_to.clone(),
            now,
        };
        let ticket = inner
            .store
            .create_ticket(new)
            .await?
            .ok_or(TicketError::NotFound)?;
        inner.notices.wake();
        Ok(ticket)
    }

    /// One of the account's tickets.
    pub async fn get(&self, account: AccountId, id: TicketId) -> Result<Ticket, TicketError> {
        let found = self.0.store.ticket(Some(account), id).await?;
        found.ok_or(TicketError::NotFound)
    }

    /// A page of tickets.
    pub async fn list(&self, query: &TicketQuery) -> Result<Vec<Ticket>, TicketError> {
        Ok(self.0.store.tickets(query).await?)
    }

    /// Answers a ticket, and mails the answer to its customer.
    pub async fn answer(&self, admin: AccountId, id: TicketId, answer: &str) -> Result<Ticket, TicketError> {
        let answer =
            text("answer", "Answer", answer).map_err(|problem| TicketError::Invalid(vec![problem]))?;
        let store = &self.0.store;
        let ticket = store.ticket(None, id).await?.ok_or(TicketError::NotFound)?;
        let customer = store.account(ticket.account).await?;
        if customer.is_none_or(|customer| customer.is_deleted()) {
            return Err(TicketError::AccountDeleted);
        }
        let entry = self.entry(admin, id, AuditAction::TicketAnswered, "answered");
        let change = TicketChange::Answer(answer);
        let changed = self.0.store.change_ticket(id, &change, entry).await?;
        let ticket = changed.ok_or(TicketError::NotFound)?;
        self.0.notices.wake();
        Ok(ticket)
    }

    /// Ends a ticket.
    pub async fn close(&self, admin: AccountId, id: TicketId, reason: &str) -> Result<Ticket, TicketError> {
        let reason = field::reason(reason).map_err(|problem| TicketError::Invalid(vec![problem]))?;
        let entry = self.entry(admin, id, AuditAction::TicketClosed, &reason);
        let changed = self
            .0
            .store
            .change_ticket(id, &TicketChange::Close, entry)
            .await?;
        changed.ok_or(TicketError::NotFound)
    }

    fn entry(&self, admin: AccountId, id: TicketId, action: AuditAction, reason: &str) -> AuditEntry {
        AuditEntry {
            id: AuditId::new(),
            at: self.0.clock.now(),
            actor: Actor::Admin(admin),
            action,
            account: None,
            subject: id.to_string(),
            before: Value::Null,
            after: Value::Null,
            reason: reason.to_owned(),
        }
    }
}

impl std::fmt::Debug for TicketDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketDesk").finish_non_exhaustive()
    }
}

/// Text of several lines, without other control characters.
fn text(field: &'static str, label: &str, text: &str) -> Result<String, FieldProblem> {
    let text = text.trim().replace("\r\n", "\n");
    if text.is_empty() {
        return Err(FieldProblem::new(field, format!("{label} is required")));
    }
    if text.chars().count() > MAX_TEXT {
        let most = format!("{label} must be at most {MAX_TEXT} characters");
        return Err(FieldProblem::new(field, most));
    }
    if text
        .chars()
        .any(|letter| letter.is_control() && !"\n\t".contains(letter))
    {
        let what = format!("{label} must not contain control characters");
        return Err(FieldProblem::new(field, what));
    }
    Ok(text)
}
