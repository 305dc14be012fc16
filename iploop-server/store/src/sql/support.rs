//! Tickets; the audit record and the mail of each change in its transaction.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::ids::{AccountId, TicketId};
use iploop_platform::notices::{Addressee, Notice};
use iploop_platform::store::StoreError;
use iploop_platform::support::{
    MAX_OPEN_TICKETS, NewTicket, Ticket, TicketChange, TicketQuery, TicketStatus, Tickets,
};
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, text, time};
use super::reading::all;
use super::{Row, SqlStore, audit, notices};
use crate::error::{act, unreadable};

macro_rules! columns {
    () => {
        "id, user_id, subject, message, status, answer, created_at, updated_at"
    };
}

#[async_trait]
impl Tickets for SqlStore {
    async fn create_ticket(&self, new: NewTicket) -> Result<Option<Ticket>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // The account's lock orders parallel tries.
            let account = sqlx::query(concat!("SELECT email FROM users WHERE id = $1", locked!()))
                .bind(new.account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(account) = account else {
                return Ok(None);
            };
            let row = sqlx::query(
                "SELECT COUNT(*) AS not_closed FROM support_tickets WHERE user_id = $1 AND status <> 'closed'",
            )
            .bind(new.account.uuid())
            .fetch_one(&mut *tx)
            .await?;
            if row.try_get::<i64, _>("not_closed")? >= i64::from(MAX_OPEN_TICKETS) {
                return Err(StoreError::LimitReached {
                    what: "tickets",
                    limit: MAX_OPEN_TICKETS,
                }
                .into());
            }
            let row = sqlx::query(concat!(
                "INSERT INTO support_tickets (id, user_id, subject, message, status, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, 'open', $5, $5) RETURNING ",
                columns!()
            ))
            .bind(new.id.uuid())
            .bind(new.account.uuid())
            .bind(text(&new.subject))
            .bind(text(&new.message))
            .bind(new.now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let ticket = ticket_from(&row)?;
            if let Some(address) = &new.mail_to {
                let to = Addressee {
                    address: address.clone(),
                    name: String::new(),
                };
                let customer: String = account.try_get("email")?;
                let data = json!({ "customer": customer, "subject": ticket.subject, "message": ticket.message });
                let (notice, occasion) = (Notice::TicketOpened, ticket.id.to_string());
                notices::insert_to(&mut tx, &to, new.account, notice, &data, &occasion, new.now).await?;
            }
            tx.commit().await?;
            Ok(Some(ticket))
        })
        .await
    }

    async fn ticket(&self, account: Option<AccountId>, id: TicketId) -> Result<Option<Ticket>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM support_tickets WHERE id = $1 AND ($2 IS NULL OR user_id = $2)"
            ))
            .bind(id.uuid())
            .bind(account.map(|account| account.uuid()))
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(ticket_from).transpose()?)
        })
        .await
    }

    async fn tickets(&self, query: &TicketQuery) -> Result<Vec<Ticket>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM support_tickets
             WHERE ($1 IS NULL OR id < $1) AND ($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR status = $3)
             ORDER BY id DESC LIMIT $4"
        ))
        .bind(query.before.map(|before| before.uuid()))
        .bind(query.account.map(|account| account.uuid()))
        .bind(query.status.map(TicketStatus::as_str))
        .bind(i64::from(query.limit))
        .fetch_all(&self.read);
        all(rows, ticket_from).await
    }

    async fn change_ticket(
        &self,
        id: TicketId,
        change: &TicketChange,
        mut entry: AuditEntry,
    ) -> Result<Option<Ticket>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let before = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM support_tickets WHERE id = $1 AND status <> 'closed'",
                locked!()
            ))
            .bind(id.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(before) = before.as_ref().map(ticket_from).transpose()? else {
                return Ok(None);
            };
            let (status, answer) = match change {
                TicketChange::Answer(answer) => (TicketStatus::Answered, Some(answer.clone())),
                TicketChange::Close => (TicketStatus::Closed, before.answer.clone()),
            };
            let row = sqlx::query(concat!(
                "UPDATE support_tickets SET status = $2, answer = $3, updated_at = $4 WHERE id = $1 RETURNING ",
                columns!()
            ))
            .bind(id.uuid())
            .bind(status.as_str())
            .bind(answer.as_deref().map(text))
            .bind(entry.at.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let after = ticket_from(&row)?;
            let state = |ticket: &Ticket| json!({ "status": ticket.status.as_str(), "answer": ticket.answer });
            entry.account = Some(before.account);
            (entry.before, entry.after) = (state(&before), state(&after));
            audit::insert(&mut tx, &entry).await?;
            if let TicketChange::Answer(_) = change {
                let data = json!({ "subject": after.subject, "answer": after.answer });
                let (notice, occasion) = (Notice::TicketAnswered, entry.id.to_string());
                notices::insert(&mut tx, after.account, notice, &data, &occasion, entry.at).await?;
            }
            tx.commit().await?;
            Ok(Some(after))
        })
        .await
    }
}

fn ticket_from(row: &Row) -> Result<Ticket, sqlx::Error> {
    let status: &str = row.try_get("status")?;
    Ok(Ticket {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        subject: row.try_get("subject")?,
        message: row.try_get("message")?,
        status: TicketStatus::named(status).ok_or_else(|| unreadable("support_tickets.status", &status))?,
        answer: row.try_get("answer")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
