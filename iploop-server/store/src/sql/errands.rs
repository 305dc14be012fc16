//! Errands to the payment provider: written in the transaction of their cause, so that no crash forgets them.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::AccountStatus;
use iploop_platform::billing::{
    Errand, ErrandKind, ErrandQuery, ErrandRecord, ErrandState, Errands, MAX_TRIES,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId};
use iploop_platform::store::StoreError;
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, id_or_none, number, text, time};
use super::ledger::lock_purse;
use super::reading::all;
use super::{Row, SqlStore, Tx, audit};
use crate::error::{act, unreadable};

macro_rules! columns {
    () => {
        "kind, subject, user_id, payment_id, tries, state, reason, due_at"
    };
}

#[async_trait]
impl Errands for SqlStore {
    async fn due_errands(&self, now: Timestamp, limit: u32) -> Result<Vec<Errand>, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, subject, user_id, payment_id, tries FROM billing_errands
             WHERE state = 'waiting' AND due_at <= $1 ORDER BY due_at, kind DESC, subject LIMIT $2",
        )
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, errand_from).await
    }

    async fn errand_done(&self, errand: &Errand, now: Timestamp) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, errand.account).await?;
            let known = sqlx::query("UPDATE billing_errands SET state = 'done', reason = NULL WHERE kind = $1 AND subject = $2")
                .bind(errand.kind.as_str())
                .bind(text(&errand.subject))
                .execute(&mut *tx)
                .await?;
            if known.rows_affected() == 0 {
                run_opposite(&mut tx, errand, now).await?;
            }
            if errand.kind == ErrandKind::ClosePage {
                // Pages come and go: only what is open or failed stays on record.
                sqlx::query("DELETE FROM billing_errands WHERE kind = 'close_page' AND subject = $1")
                    .bind(text(&errand.subject))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("DELETE FROM billing_pages WHERE user_id = $1 AND session = $2")
                    .bind(errand.account.uuid())
                    .bind(text(&errand.subject))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(
                    "UPDATE billing_payments SET status = 'failed', reason = 'its page was closed', settled_at = $2
                     WHERE id = $1 AND kind = 'top_up' AND status = 'pending'",
                )
                .bind(errand.payment.map(PaymentId::uuid))
                .bind(now.as_millis())
                .execute(&mut *tx)
                .await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn errand_failed(&self, errand: &Errand, reason: &str, due: Timestamp) -> Result<(), StoreError> {
        act(async {
            let reason: String = reason.chars().take(300).collect();
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, errand.account).await?;
            // Of two servers that tried at once one counts.
            let waits = sqlx::query(
                "UPDATE billing_errands SET tries = tries + 1, due_at = $3, reason = $4,
                     state = CASE WHEN tries + 1 >= $5 THEN 'left' ELSE 'waiting' END
                 WHERE kind = $1 AND subject = $2 AND state = 'waiting' AND tries = $6",
            )
            .bind(errand.kind.as_str())
            .bind(text(&errand.subject))
            .bind(due.as_millis())
            .bind(text(&reason))
            .bind(i64::from(MAX_TRIES))
            .bind(i64::from(errand.tries))
            .execute(&mut *tx)
            .await?;
            if waits.rows_affected() == 0 {
                run_opposite(&mut tx, errand, due).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn errands(&self, query: &ErrandQuery) -> Result<Vec<ErrandRecord>, StoreError> {
        act(async {
            let (kind, subject) = query
                .after
                .as_ref()
                .map(|(kind, subject)| (*kind, subject))
                .unzip();
            let rows = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM billing_errands
                 WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR (kind, subject) > ($2, $3))
                 ORDER BY kind, subject LIMIT $4"
            ))
            .bind(query.state.map(ErrandState::as_str))
            .bind(kind.map(ErrandKind::as_str))
            .bind(subject.map(|subject| text(subject)))
            .bind(i64::from(query.limit))
            .fetch_all(&self.read)
            .await?;
            Ok(rows.iter().map(record_from).collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn retry_errand(
        &self,
        kind: ErrandKind,
        subject: &str,
        mut entry: AuditEntry,
    ) -> Result<Option<ErrandRecord>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM billing_errands WHERE kind = $1 AND subject = $2",
                locked!()
            ))
            .bind(kind.as_str())
            .bind(text(subject))
            .fetch_optional(&mut *tx)
            .await?;
            let before = match row.as_ref().map(record_from).transpose()? {
                None => return Ok(None),
                Some(done) if done.state == ErrandState::Done => return Ok(Some(done)),
                Some(before) => before,
            };
            let row = sqlx::query(concat!(
                "UPDATE billing_errands SET state = 'waiting', tries = 0, due_at = $3
                 WHERE kind = $1 AND subject = $2 RETURNING ",
                columns!()
            ))
            .bind(kind.as_str())
            .bind(text(subject))
            .bind(entry.at.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let after = record_from(&row)?;
            let standing = |record: &ErrandRecord| {
                json!({
                    "kind": record.errand.kind.as_str(),
                    "state": record.state.as_str(),
                    "tries": record.errand.tries,
                })
            };
            entry.account = Some(after.errand.account);
            (entry.before, entry.after) = (standing(&before), standing(&after));
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(after))
        })
        .await
    }
}

/// Writes an errand, due at `due`. One of the same kind and subject stands.
pub(super) async fn insert(
    tx: &mut Tx,
    kind: ErrandKind,
    subject: &str,
    account: AccountId,
    payment: Option<PaymentId>,
    due: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO billing_errands (kind, subject, user_id, payment_id, state, tries, due_at)
         VALUES ($1, $2, $3, $4, 'waiting', 0, $5) ON CONFLICT (kind, subject) DO NOTHING",
    )
    .bind(kind.as_str())
    .bind(text(subject))
    .bind(account.uuid())
    .bind(payment.map(PaymentId::uuid))
    .bind(due.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What the provider shall do because an account is suspended or goes on: stop collecting for its subscription, or go on with that.
/// Under the lock of its purse, as events of the subscription are taken: each sees what the other did.
pub(super) async fn account_is(
    tx: &mut Tx,
    account: AccountId,
    status: AccountStatus,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let statement = match status {
        AccountStatus::Suspended => {
            "INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
             SELECT 'pause_collection', subscription, user_id, 'waiting', 0, $2 FROM billing_subscriptions
             WHERE user_id = $1 AND status <> 'cancelled' AND NOT is_surplus ON CONFLICT (kind, subject) DO NOTHING"
        }
        // What nobody paused here is not resumed here.
        AccountStatus::Active => {
            "UPDATE billing_errands SET kind = 'resume_collection', state = 'waiting', tries = 0, due_at = $2, reason = NULL
             WHERE user_id = $1 AND kind = 'pause_collection'"
        }
        AccountStatus::Deleted => return leave(tx, account).await,
    };
    lock_purse(tx, account).await?;
    sqlx::query("DELETE FROM billing_errands WHERE user_id = $1 AND kind = 'resume_collection'")
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    sqlx::query(statement)
        .bind(account.uuid())
        .bind(now.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The errand's row is gone: if its opposite stands, that is run once more.
async fn run_opposite(tx: &mut Tx, errand: &Errand, now: Timestamp) -> Result<(), sqlx::Error> {
    let Some(opposite) = errand.kind.opposite() else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE billing_errands SET state = 'waiting', tries = 0, due_at = $3 WHERE kind = $1 AND subject = $2",
    )
    .bind(opposite.as_str())
    .bind(text(&errand.subject))
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What a deleted account leaves at the provider: its page, its subscriptions, its customer.
pub(super) async fn leave(tx: &mut Tx, account: AccountId) -> Result<(), sqlx::Error> {
    for statement in [
        "INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
         SELECT 'close_page', session, user_id, 'waiting', 0, 0 FROM billing_pages
         WHERE user_id = $1 AND session IS NOT NULL ON CONFLICT (kind, subject) DO NOTHING",
        "INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
         SELECT 'end_subscription', subscription, user_id, 'waiting', 0, 0 FROM billing_subscriptions
         WHERE user_id = $1 AND status <> 'cancelled' ON CONFLICT (kind, subject) DO NOTHING",
        "INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
         SELECT 'delete_customer', customer, user_id, 'waiting', 0, 0 FROM billing_customers
         WHERE user_id = $1 ON CONFLICT (kind, subject) DO NOTHING",
        "DELETE FROM billing_pages WHERE user_id = $1",
        "DELETE FROM billing_errands WHERE user_id = $1 AND kind IN ('pause_collection', 'resume_collection')",
    ] {
        sqlx::query(statement)
            .bind(account.uuid())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

fn record_from(row: &Row) -> Result<ErrandRecord, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(ErrandRecord {
        errand: errand_from(row)?,
        state: ErrandState::by_name(&state).ok_or_else(|| unreadable("billing_errands.state", &state))?,
        reason: row.try_get("reason")?,
        due_at: time(row, "due_at")?,
    })
}

fn errand_from(row: &Row) -> Result<Errand, sqlx::Error> {
    let kind: String = row.try_get("kind")?;
    Ok(Errand {
        kind: ErrandKind::by_name(&kind).ok_or_else(|| unreadable("billing_errands.kind", &kind))?,
        subject: row.try_get("subject")?,
        account: id(row, "user_id")?,
        payment: id_or_none(row, "payment_id")?,
        tries: number(row, "tries")?,
    })
}
