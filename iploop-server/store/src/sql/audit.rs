//! Audit records: appended and read, never changed.

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AuditId};
use sqlx::Row as _;

use super::columns::{id, id_or_none, json, text, time};
use super::safeguards::stored;
use super::{Pool, Row, Tx};
use crate::error::unreadable;

macro_rules! columns {
    () => {
        "id, at, actor, actor_id, action, user_id, subject, before_value, after_value, reason"
    };
}

/// Appends a record in the transaction of what it is about.
pub(super) async fn insert(tx: &mut Tx, entry: &AuditEntry) -> Result<(), sqlx::Error> {
    sqlx::query(concat!(
        "INSERT INTO audit_records (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    ))
    .bind(entry.id.uuid())
    .bind(entry.at.as_millis())
    .bind(stored_actor(entry.actor))
    .bind(entry.actor.account().map(AccountId::uuid))
    .bind(entry.action.as_str())
    .bind(entry.account.map(|account| account.uuid()))
    .bind(text(&entry.subject))
    .bind(stored(&entry.before))
    .bind(stored(&entry.after))
    .bind(text(&entry.reason))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn page(pool: &Pool, query: &AuditQuery) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM audit_records
         WHERE ($1 IS NULL OR id < $1) AND ($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR action = $3)
           AND ($4 IS NULL OR actor_id = $4) AND ($5 IS NULL OR subject = $5)
           AND ($6 IS NULL OR at >= $6) AND ($7 IS NULL OR at < $7)
         ORDER BY id DESC LIMIT $8"
    ))
    .bind(query.before.map(|before| before.uuid()))
    .bind(query.account.map(|account| account.uuid()))
    .bind(query.action.map(AuditAction::as_str))
    .bind(query.actor.map(|actor| actor.uuid()))
    .bind(query.subject.as_deref().map(text))
    .bind(query.from.map(Timestamp::as_millis))
    .bind(query.to.map(Timestamp::as_millis))
    .bind(i64::from(query.limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(entry_from).collect()
}

pub(super) async fn since(
    pool: &Pool,
    from: Timestamp,
    after: Option<AuditId>,
    limit: u32,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM audit_records WHERE at >= $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3"
    ))
    .bind(from.as_millis())
    .bind(after.map(|after| after.uuid()))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(entry_from).collect()
}

/// The kind of an actor as tables know it: the column's check is older than users as actors. They are the system's with an id.
pub(super) const fn stored_actor(actor: Actor) -> &'static str {
    match actor {
        Actor::User(_) => Actor::System.as_str(),
        other => other.as_str(),
    }
}

fn entry_from(row: &Row) -> Result<AuditEntry, sqlx::Error> {
    let action: &str = row.try_get("action")?;
    Ok(AuditEntry {
        id: id(row, "id")?,
        at: time(row, "at")?,
        actor: match (row.try_get("actor")?, id_or_none(row, "actor_id")?) {
            ("admin", Some(account)) => Actor::Admin(account),
            ("system", Some(account)) => Actor::User(account),
            ("system", None) => Actor::System,
            ("command_line", _) => Actor::CommandLine,
            (other, _) => return Err(unreadable("audit_records.actor", &other)),
        },
        action: action
            .parse()
            .map_err(|_| unreadable("audit_records.action", &action))?,
        account: id_or_none(row, "user_id")?,
        subject: row.try_get("subject")?,
        before: json(row, "before_value")?,
        after: json(row, "after_value")?,
        reason: row.try_get("reason")?,
    })
}
