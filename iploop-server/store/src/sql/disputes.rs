//! Disputed payments: what the provider tells of them, who buys nothing meanwhile, and debts that are let go.

use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::billing::{
    CURRENCY, Dispute, DisputeQuery, DisputeState, DisputeStatus, Disputes, Effect, ErrandKind, Hold, Note,
    PaymentEvent, Taken,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::events::EventKind;
use iploop_platform::ids::{AccountId, AuditId, DisputeId, PaymentId, PlanId};
use iploop_platform::store::StoreError;
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, text, time};
use super::ledger::lock_purse;
use super::reading::all;
use super::{Row, SqlStore, Tx, audit, errands, events, payment_events, payments, taken_back};
use crate::error::{Failure, act, unreadable};

/// A dispute of something unknown may be ahead of its payment for so long.
const MAY_BE_EARLY: Duration = Duration::from_secs(3600);

const HOLD: &str = "SELECT
     (SELECT COUNT(*) FROM billing_disputes WHERE user_id = $1 AND status = 'open') AS open_disputes,
     (SELECT CAST(COALESCE(SUM(owed_bytes), 0) AS BIGINT) FROM billing_payments
      WHERE user_id = $1 AND owed_bytes > 0) AS owed_bytes";

#[async_trait]
impl Disputes for SqlStore {
    async fn payment_hold(&self, account: AccountId) -> Result<Option<Hold>, StoreError> {
        act(async {
            let row = sqlx::query(HOLD)
                .bind(account.uuid())
                .fetch_one(&self.read)
                .await?;
            Ok(hold_from(&row)?)
        })
        .await
    }

    async fn disputes(&self, query: &DisputeQuery) -> Result<Vec<Dispute>, StoreError> {
        let rows = sqlx::query(
            "SELECT d.id, d.dispute, d.user_id, d.payment_id, d.cents, d.status, d.reason, d.opened_at, d.state_at,
                 p.owed_bytes
             FROM billing_disputes d JOIN billing_payments p ON p.id = d.payment_id
             WHERE ($1 IS NULL OR d.id < $1) AND ($2 IS NULL OR d.user_id = $2) AND ($3 IS NULL OR d.status = $3)
             ORDER BY d.id DESC LIMIT $4",
        )
        .bind(query.before.map(DisputeId::uuid))
        .bind(query.account.map(AccountId::uuid))
        .bind(query.status.map(DisputeStatus::as_str))
        .bind(i64::from(query.limit))
        .fetch_all(&self.read);
        all(rows, dispute_from).await
    }

    async fn forgive_debt(
        &self,
        account: AccountId,
        mut entry: AuditEntry,
    ) -> Result<Option<i64>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, account).await?;
            let Some(held) = hold(&mut tx, account).await?.filter(|held| held.owed_bytes > 0) else {
                return Ok(None);
            };
            sqlx::query(
                "UPDATE billing_payments SET forgiven_bytes = forgiven_bytes + owed_bytes, owed_bytes = 0
                 WHERE user_id = $1 AND owed_bytes > 0",
            )
            .bind(account.uuid())
            .execute(&mut *tx)
            .await?;
            entry.before = json!({ "owedBytes": held.owed_bytes });
            entry.after = json!({ "owedBytes": 0 });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(held.owed_bytes))
        })
        .await
    }
}

/// Why the account buys nothing for now.
pub(super) async fn hold(tx: &mut Tx, account: AccountId) -> Result<Option<Hold>, sqlx::Error> {
    let row = sqlx::query(HOLD)
        .bind(account.uuid())
        .fetch_one(&mut **tx)
        .await?;
    hold_from(&row)
}

/// Applies a dispute's state to its payment, the plan and the account's standing.
pub(super) async fn take(
    tx: &mut Tx,
    state: &DisputeState,
    event: &PaymentEvent,
    free: PlanId,
) -> Result<Taken, Failure> {
    let mut found = None;
    for reference in &state.references {
        found = found.or(payments::by_reference(&mut **tx, reference).await?);
    }
    let Some(payment) = found else {
        return Ok(if event.now.since(event.at) < MAY_BE_EARLY {
            Taken::TooEarly
        } else {
            Taken::Noted(Note::UnknownPayment)
        });
    };
    let Some(account) = payments::owner(tx, payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    lock_purse(tx, account).await?;
    if state.currency != CURRENCY || state.cents < 0 {
        return Ok(Taken::Noted(Note::OtherCurrency));
    }
    let known = sqlx::query("SELECT status, cents, state_at FROM billing_disputes WHERE dispute = $1")
        .bind(text(&state.id))
        .fetch_optional(&mut **tx)
        .await?;
    let before = known.as_ref().map(status_from).transpose()?;
    if let (Some(known), Some(status)) = (&known, before) {
        let at = time(known, "state_at")?;
        if at > event.at || (at == event.at && rank(status) > rank(state.status)) {
            return Ok(Taken::Noted(Note::Older));
        }
        if status == state.status && known.try_get::<i64, _>("cents")? == state.cents {
            sqlx::query("UPDATE billing_disputes SET state_at = $2 WHERE dispute = $1")
                .bind(text(&state.id))
                .bind(event.at.as_millis())
                .execute(&mut **tx)
                .await?;
            return Ok(Taken::Noted(Note::Known));
        }
    }
    keep(tx, state, (account, payment), event).await?;
    let owed = taken_back::follow(tx, account, payment, event.now).await?;
    if state.status == DisputeStatus::Lost {
        end_subscription(tx, account, payment).await?;
    }
    payment_events::follow_plan_of(tx, payment, account, free).await?;
    record(tx, state, before, (account, owed), event.now).await?;
    if state.status.is_taken() || before.is_some_and(DisputeStatus::is_taken) {
        let description = format!("Disputed: {}", state.reason);
        let mut told = payments::told(
            account,
            EventKind::PaymentDisputed,
            state.cents,
            &description,
            event.now,
        );
        told.data["status"] = json!(state.status.as_str());
        told.data["owedBytes"] = json!(owed);
        events::insert(tx, &[told]).await?;
    }
    Ok(Taken::Done {
        account,
        effect: Effect::Disputed,
    })
}

/// Of two states in one second: a decision is newer than what is decided about.
const fn rank(status: DisputeStatus) -> u8 {
    match status {
        DisputeStatus::Inquiry => 0,
        DisputeStatus::Open => 1,
        DisputeStatus::Won | DisputeStatus::Lost => 2,
    }
}

async fn keep(
    tx: &mut Tx,
    state: &DisputeState,
    (account, payment): (AccountId, PaymentId),
    event: &PaymentEvent,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO billing_disputes (id, dispute, payment_id, user_id, cents, status, reason, opened_at, state_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (dispute) DO UPDATE SET cents = excluded.cents, status = excluded.status,
             reason = excluded.reason, state_at = excluded.state_at",
    )
    .bind(DisputeId::new().uuid())
    .bind(text(&state.id))
    .bind(payment.uuid())
    .bind(account.uuid())
    .bind(state.cents)
    .bind(state.status.as_str())
    .bind(text(&state.reason))
    .bind(event.now.as_millis())
    .bind(event.at.as_millis())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE billing_payments SET disputed_cents = (
             SELECT CAST(COALESCE(SUM(cents), 0) AS BIGINT) FROM billing_disputes
             WHERE payment_id = $1 AND status IN ('open', 'lost'))
         WHERE id = $1",
    )
    .bind(payment.uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Who took money back for a subscription gets no further period of it.
async fn end_subscription(tx: &mut Tx, account: AccountId, payment: PaymentId) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT subscription FROM billing_payments WHERE id = $1")
        .bind(payment.uuid())
        .fetch_one(&mut **tx)
        .await?;
    if let Some(subscription) = row.try_get::<Option<String>, _>("subscription")? {
        let due = Timestamp::from_millis(0);
        errands::insert(tx, ErrandKind::EndSubscription, &subscription, account, None, due).await?;
    }
    Ok(())
}

async fn record(
    tx: &mut Tx,
    state: &DisputeState,
    before: Option<DisputeStatus>,
    (account, owed): (AccountId, i64),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let entry = AuditEntry {
        id: AuditId::new(),
        at: now,
        actor: Actor::System,
        action: AuditAction::PaymentDisputed,
        account: Some(account),
        subject: state.id.clone(),
        before: before.map_or(
            serde_json::Value::Null,
            |status| json!({ "status": status.as_str() }),
        ),
        after: json!({ "status": state.status.as_str(), "cents": state.cents, "owedBytes": owed }),
        reason: state.reason.clone(),
    };
    audit::insert(tx, &entry).await
}

fn hold_from(row: &Row) -> Result<Option<Hold>, sqlx::Error> {
    let hold = Hold {
        open_disputes: row.try_get("open_disputes")?,
        owed_bytes: row.try_get("owed_bytes")?,
    };
    Ok((hold.open_disputes > 0 || hold.owed_bytes > 0).then_some(hold))
}

fn status_from(row: &Row) -> Result<DisputeStatus, sqlx::Error> {
    let name: String = row.try_get("status")?;
    DisputeStatus::by_name(&name).ok_or_else(|| unreadable("billing_disputes.status", &name))
}

fn dispute_from(row: &Row) -> Result<Dispute, sqlx::Error> {
    Ok(Dispute {
        id: id(row, "id")?,
        reference: row.try_get("dispute")?,
        account: id(row, "user_id")?,
        payment: id(row, "payment_id")?,
        cents: row.try_get("cents")?,
        status: status_from(row)?,
        reason: row.try_get("reason")?,
        owed_bytes: row.try_get("owed_bytes")?,
        opened_at: time(row, "opened_at")?,
        state_at: time(row, "state_at")?,
    })
}
