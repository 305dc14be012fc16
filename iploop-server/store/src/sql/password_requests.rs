//! Requests for new passwords, noted before anybody looks whether the address has an account.

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, MailId};
use iploop_platform::notices::Notice;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::accounts::folded;
use super::columns::{id, time};
use super::ledger::ids;
use super::{SqlStore, notices};

/// One statement, the same for every address; false where `most` wait already.
pub(super) async fn note(
    store: &SqlStore,
    email_folded: &str,
    now: Timestamp,
    most: u32,
) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query(
        "INSERT INTO password_requests (id, email_folded, created_at)
         SELECT $1, $2, $3 WHERE (SELECT COUNT(*) FROM password_requests) < $4",
    )
    .bind(MailId::new().uuid())
    .bind(folded(email_folded))
    .bind(now.as_millis())
    .bind(i64::from(most))
    .execute(&store.write)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// Turns the oldest requests into mails and forgets them; how many.
pub(super) async fn answer(store: &SqlStore, limit: u32) -> Result<u64, sqlx::Error> {
    let waiting = sqlx::query("SELECT id FROM password_requests LIMIT 1")
        .fetch_optional(&store.read)
        .await?;
    if waiting.is_none() {
        return Ok(0);
    }
    let mut tx = store.begin().await?;
    let rows = sqlx::query(concat!(
        "SELECT id, email_folded, created_at FROM password_requests ORDER BY id LIMIT $1",
        locked!()
    ))
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    let mut answered = Vec::with_capacity(rows.len());
    for row in &rows {
        let request: Uuid = row.try_get("id")?;
        answered.push(request);
        let account = sqlx::query("SELECT id FROM users WHERE email_folded = $1 AND status = 'active'")
            .bind(row.try_get::<String, _>("email_folded")?)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(account) = account else { continue };
        let account: AccountId = id(&account, "id")?;
        let occasion = format!("{}:{request}", Notice::PasswordReset);
        let asked_at = time(row, "created_at")?;
        notices::insert(
            &mut tx,
            account,
            Notice::PasswordReset,
            &Value::Null,
            &occasion,
            asked_at,
        )
        .await?;
    }
    sqlx::query(concat!(
        "DELETE FROM password_requests WHERE id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(ids(&answered)))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(answered.len() as u64)
}
