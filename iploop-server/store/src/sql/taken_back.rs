//! What goes back of a payment: refunds for good, and what a bank holds while it disputes. All under the lock of the purse.
//!
//! What is gone of a payment follows from its cents: `refunded_cents`, then `disputed_cents`, as a share of what was booked.
//! [`follow`] brings the ledger in line with that, so that the order of events does not matter.

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::billing::{CURRENCY, Effect, Note, RefundState, Taken, rules};
use iploop_platform::clock::Timestamp;
use iploop_platform::events::EventKind;
use iploop_platform::ids::{AccountId, AuditId, EntryId, PaymentId, PlanId};
use iploop_platform::ledger::{Act, NewEntry};
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, id_or_none};
use super::ledger::lock_purse;
use super::payments::{self, booked, owner, read};
use super::{Row, Tx, audit, books, events, payment_events};
use crate::error::Failure;

/// Most payments that owe something which one act looks at.
const MAX_OWING: i64 = 1_000;

/// Takes back what a refund of the provider gave back: the money, and the bytes for it as far as they are left.
pub(super) async fn refund(
    tx: &mut Tx,
    refund: &RefundState,
    payment: PaymentId,
    now: Timestamp,
    free: PlanId,
) -> Result<Taken, Failure> {
    let Some(account) = owner(tx, payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    lock_purse(tx, account).await?;
    let Some(row) = read(tx, payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    if refund.currency != CURRENCY {
        return Ok(Taken::Noted(Note::OtherCurrency));
    }
    let before: i64 = row.try_get("refunded_cents")?;
    if refund.cents <= before {
        return Ok(Taken::Noted(Note::Older));
    }
    sqlx::query(
        "UPDATE billing_payments SET refunded_cents = $2,
             next_part_at = CASE WHEN $2 >= cents THEN NULL ELSE next_part_at END
         WHERE id = $1",
    )
    .bind(payment.uuid())
    .bind(refund.cents)
    .execute(&mut **tx)
    .await?;
    follow(tx, account, payment, now).await?;
    payment_events::follow_plan_of(tx, payment, account, free).await?;
    let record = AuditEntry {
        id: AuditId::new(),
        at: now,
        actor: Actor::System,
        action: AuditAction::Refunded,
        account: Some(account),
        subject: payment.to_string(),
        before: json!({ "refundedCents": before }),
        after: json!({ "refundedCents": refund.cents }),
        reason: "by the payment provider".to_owned(),
    };
    audit::insert(tx, &record).await?;
    let description = if row.try_get::<bool, _>("is_surplus")? {
        "A second subscription, which was ended"
    } else {
        payments::what(row.try_get("kind")?)
    };
    let told = payments::told(
        account,
        EventKind::PaymentRefunded,
        refund.cents.saturating_sub(before),
        description,
        now,
    );
    events::insert(tx, &[told]).await?;
    Ok(Taken::Done {
        account,
        effect: Effect::Refunded,
    })
}

/// What is to be gone of a payment, and what is.
struct Gone {
    payment: PaymentId,
    account: AccountId,
    /// Its one entry in the ledger; none if it was booked in parts.
    purchase: Option<EntryId>,
    reference: Option<String>,
    turn: i64,
    now: Timestamp,
    owed_bytes: i64,
    forgiven_bytes: i64,
    lost_micros: i64,
}

/// Brings the ledger in line with what is refunded and disputed of a payment; the bytes that it owes then.
pub(super) async fn follow(
    tx: &mut Tx,
    account: AccountId,
    payment: PaymentId,
    now: Timestamp,
) -> Result<i64, Failure> {
    let Some(row) = read(tx, payment).await? else {
        return Ok(0);
    };
    let cents: i64 = row.try_get("cents")?;
    let refunded: i64 = row.try_get::<i64, _>("refunded_cents")?.min(cents);
    let gone = refunded.saturating_add(row.try_get("disputed_cents")?).min(cents);
    // As (refunds', disputes') shares of what was booked.
    let shares = |column| -> Result<(i64, i64), sqlx::Error> {
        let booked = row.try_get(column)?;
        let of_refunds = rules::to_refund(booked, 0, refunded, cents);
        Ok((of_refunds, rules::to_refund(booked, of_refunds, gone, cents)))
    };
    let (bytes, micros) = (shares("booked_bytes")?, shares("booked_micros")?);
    let missing =
        |target: i64, column| -> Result<i64, sqlx::Error> { Ok(target.saturating_sub(row.try_get(column)?)) };
    let refund = (
        missing(bytes.0, "refunded_bytes")?.max(0),
        missing(micros.0, "refunded_micros")?.max(0),
    );
    let dispute = (
        missing(bytes.1, "disputed_bytes")?,
        missing(micros.1, "disputed_micros")?,
    );
    let mut state = gone_from(&row, account, payment, now)?;
    if (refund, dispute) == ((0, 0), (0, 0)) {
        return Ok(state.owed_bytes);
    }
    // First what comes back: a refund may take it.
    give_back(
        tx,
        &mut state,
        (
            dispute.0.min(0).saturating_neg(),
            dispute.1.min(0).saturating_neg(),
        ),
    )
    .await?;
    take(tx, &mut state, "refund", "Refund", refund).await?;
    let short = take(
        tx,
        &mut state,
        "dispute",
        "Disputed payment",
        (dispute.0.max(0), dispute.1.max(0)),
    )
    .await?;
    state.owed_bytes = state.owed_bytes.saturating_add(short.bytes);
    state.lost_micros = state.lost_micros.saturating_add(short.micros);
    sqlx::query(
        "UPDATE billing_payments SET refunded_bytes = refunded_bytes + $2, refunded_micros = refunded_micros + $3,
             disputed_bytes = $4, disputed_micros = $5, owed_bytes = $6, forgiven_bytes = $7, lost_micros = $8,
             dispute_turns = dispute_turns + 1
         WHERE id = $1",
    )
    .bind(payment.uuid())
    .bind(refund.0)
    .bind(refund.1)
    .bind(bytes.1)
    .bind(micros.1)
    .bind(state.owed_bytes)
    .bind(state.forgiven_bytes)
    .bind(state.lost_micros)
    .execute(&mut **tx)
    .await?;
    Ok(state.owed_bytes)
}

fn gone_from(row: &Row, account: AccountId, payment: PaymentId, now: Timestamp) -> Result<Gone, sqlx::Error> {
    let is_one_entry = row.try_get::<i64, _>("parts")? == 1;
    let intent: Option<String> = row.try_get("intent")?;
    Ok(Gone {
        payment,
        account,
        purchase: id_or_none(row, "entry_id")?.filter(|_| is_one_entry),
        reference: intent.or(row.try_get("invoice")?),
        turn: row.try_get("dispute_turns")?,
        now,
        owed_bytes: row.try_get("owed_bytes")?,
        forgiven_bytes: row.try_get("forgiven_bytes")?,
        lost_micros: row.try_get("lost_micros")?,
    })
}

/// What the purse did not hold any more.
struct Short {
    bytes: i64,
    micros: i64,
}

/// Takes bytes as far as they are left, and money: first the purse's, then ours.
async fn take(
    tx: &mut Tx,
    gone: &mut Gone,
    why: &str,
    description: &str,
    (bytes, money_micros): (i64, i64),
) -> Result<Short, Failure> {
    let (balance, value) = lock_purse(tx, gone.account)
        .await?
        .map_or((0, 0), |purse| (purse.balance_bytes, purse.value_micros));
    let taken = bytes.min(balance.max(0));
    let short = Short {
        bytes: bytes - taken,
        micros: money_micros - money_micros.min(value.max(0)),
    };
    if (taken, money_micros) != (0, 0) {
        let act = Act::Refund {
            account: gone.account,
            bytes: taken,
            money_micros,
            purchase: gone.purchase,
            reference: gone.reference.clone(),
            is_forced: false,
        };
        book(tx, gone, act, why, description).await?;
    }
    Ok(short)
}

/// What comes back cancels what is owed first, then what was let go; the rest is the customer's again.
async fn give_back(tx: &mut Tx, gone: &mut Gone, (bytes, money_micros): (i64, i64)) -> Result<(), Failure> {
    let (given, owed, forgiven) = rules::give_back(bytes, gone.owed_bytes, gone.forgiven_bytes);
    (gone.owed_bytes, gone.forgiven_bytes) = (owed, forgiven);
    if (given, money_micros) == (0, 0) {
        return Ok(());
    }
    let of_ours_micros = gone.lost_micros.clamp(0, money_micros);
    gone.lost_micros -= of_ours_micros;
    let act = Act::Reinstatement {
        account: gone.account,
        bytes: given,
        money_micros,
        of_ours_micros,
        purchase: gone.purchase,
        reference: gone.reference.clone(),
    };
    book(tx, gone, act, "reinstatement", "Disputed payment, given back").await
}

async fn book(tx: &mut Tx, gone: &Gone, act: Act, why: &str, description: &str) -> Result<(), Failure> {
    let new = NewEntry {
        act,
        description: description.to_owned(),
        reason: None,
        actor: Actor::System,
        key: Some(format!("{why}:{}:turn:{}", gone.payment, gone.turn)),
        metadata: json!({ "paymentId": gone.payment }),
        audit: None,
        now: gone.now,
    };
    booked(books::book(tx, &new).await?)?;
    Ok(())
}

/// Pays what the account owes with what it has now; how many bytes.
pub(super) async fn pay_debt(
    tx: &mut Tx,
    account: AccountId,
    key: &str,
    now: Timestamp,
) -> Result<i64, Failure> {
    let rows = sqlx::query(
        "SELECT id, owed_bytes FROM billing_payments WHERE user_id = $1 AND owed_bytes > 0 ORDER BY id LIMIT $2",
    )
    .bind(account.uuid())
    .bind(MAX_OWING)
    .fetch_all(&mut **tx)
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let purse = lock_purse(tx, account).await?;
    let has = purse.map_or(0, |purse| purse.balance_bytes.max(0));
    let mut left = has;
    for row in &rows {
        let part = row.try_get::<i64, _>("owed_bytes")?.min(left);
        left -= part;
        sqlx::query("UPDATE billing_payments SET owed_bytes = owed_bytes - $2 WHERE id = $1")
            .bind(id::<PaymentId>(row, "id")?.uuid())
            .bind(part)
            .execute(&mut **tx)
            .await?;
    }
    let paid = has - left;
    if paid > 0 {
        let new = NewEntry {
            act: Act::Refund {
                account,
                bytes: paid,
                money_micros: 0,
                purchase: None,
                reference: None,
                is_forced: false,
            },
            description: "Owed for a disputed payment".to_owned(),
            reason: None,
            actor: Actor::System,
            key: Some(format!("debt:{key}")),
            metadata: json!({}),
            audit: None,
            now,
        };
        booked(books::book(tx, &new).await?)?;
    }
    Ok(paid)
}
