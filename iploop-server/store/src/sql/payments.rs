//! Payments: what was paid becomes entries of the ledger, in parts, and goes back with a refund.

use iploop_platform::abuse::Actor;
use iploop_platform::billing::{
    CURRENCY, Effect, MICROS_PER_CENT, NewPayment, Note, Payment, PaymentKind, Receipt, Taken, rules,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::{AccountId, EntryId, PaymentId};
use iploop_platform::ledger::{Act, Booking, NewEntry};
use iploop_platform::store::StoreError;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, text, text_or_none, time};
use super::ledger::{lock_purse, lock_purses};
use super::{Db, Row, Tx, books, events, pages, taken_back};
use crate::error::Failure;

/// A payment as it comes into the table.
pub(super) struct Owed<'a> {
    pub(super) id: PaymentId,
    pub(super) account: AccountId,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) bytes: i64,
    pub(super) cents: i64,
    pub(super) key: &'a str,
    pub(super) invoice: Option<PaidFor<'a>>,
    pub(super) now: Timestamp,
}

/// The invoice behind a payment.
pub(super) struct PaidFor<'a> {
    pub(super) invoice: &'a str,
    pub(super) intent: Option<&'a str>,
    pub(super) subscription: &'a str,
    pub(super) is_period: bool,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) parts: i64,
}

impl<'a> Owed<'a> {
    /// A top-up that nobody paid yet.
    pub(super) fn of(payment: &'a Payment, now: Timestamp) -> Self {
        Self {
            id: payment.id,
            account: payment.account,
            kind: payment.kind.as_str(),
            status: "pending",
            bytes: payment.bytes,
            cents: payment.cents,
            key: &payment.key,
            invoice: None,
            now,
        }
    }
}

pub(super) async fn insert(tx: &mut Tx, owed: &Owed<'_>) -> Result<(), sqlx::Error> {
    let invoice = owed.invoice.as_ref();
    sqlx::query(
        "INSERT INTO billing_payments (id, user_id, kind, status, bytes, cents, payment_key, month, intent, invoice,
             subscription, period_at, from_at, to_at, parts, parts_booked, booked_bytes, booked_micros,
             refunded_cents, refunded_bytes, refunded_micros, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0, 0, 0, 0, 0, $16)",
    )
    .bind(owed.id.uuid())
    .bind(owed.account.uuid())
    .bind(owed.kind)
    .bind(owed.status)
    .bind(owed.bytes)
    .bind(owed.cents)
    .bind(text(owed.key))
    .bind(i64::from(owed.now.utc_month()))
    .bind(text_or_none(invoice.and_then(|paid| paid.intent)))
    .bind(text_or_none(invoice.map(|paid| paid.invoice)))
    .bind(text_or_none(invoice.map(|paid| paid.subscription)))
    .bind(invoice.filter(|paid| paid.is_period).map(|paid| paid.from.as_millis()))
    .bind(invoice.map_or(owed.now, |paid| paid.from).as_millis())
    .bind(invoice.map_or(owed.now, |paid| paid.to).as_millis())
    .bind(invoice.map_or(1, |paid| paid.parts))
    .bind(owed.now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The top-up that was begun under the wish's id.
pub(super) async fn begun(tx: &mut Tx, wish: &NewPayment) -> Result<Option<Payment>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT bytes, cents, payment_key FROM billing_payments
         WHERE id = $1 AND user_id = $2 AND kind = 'top_up' AND status = 'pending'",
    )
    .bind(wish.id.uuid())
    .bind(wish.account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    let payment = row.map(|row| {
        Ok(Payment {
            id: wish.id,
            account: wish.account,
            kind: PaymentKind::TopUp,
            bytes: row.try_get("bytes")?,
            cents: row.try_get("cents")?,
            key: row.try_get("payment_key")?,
        })
    });
    payment.transpose()
}

/// Whose a payment is.
pub(super) async fn owner(tx: &mut Tx, payment: PaymentId) -> Result<Option<AccountId>, sqlx::Error> {
    let row = sqlx::query("SELECT user_id FROM billing_payments WHERE id = $1")
        .bind(payment.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| id(&row, "user_id")).transpose()
}

/// Books a top-up that was paid, unless it is booked.
pub(super) async fn settle(tx: &mut Tx, receipt: &Receipt, now: Timestamp) -> Result<Taken, Failure> {
    let Some(account) = owner(tx, receipt.payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    lock_purse(tx, account).await?;
    let Some(row) = read(tx, receipt.payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    let status: String = row.try_get("status")?;
    let refusal = match () {
        () if status == "paid" => Some(Note::PaidAlready),
        () if receipt.currency != CURRENCY => Some(Note::OtherCurrency),
        () if receipt.cents != row.try_get::<i64, _>("cents")? => Some(Note::OtherAmount),
        () => None,
    };
    if let Some(note) = refusal {
        return Ok(Taken::Noted(note));
    }
    sqlx::query("UPDATE billing_payments SET status = 'paid', intent = $2, settled_at = $3 WHERE id = $1")
        .bind(receipt.payment.uuid())
        .bind(text(&receipt.intent))
        .bind(now.as_millis())
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE billing_settings SET auto_failures = 0, auto_retry_at = 0 WHERE user_id = $1")
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    pages::over(tx, receipt.payment).await?;
    let bytes = book_part(tx, receipt.payment, now).await?;
    let description = what(row.try_get("kind")?);
    let event = succeeded(account, receipt.cents, description, None, now);
    events::insert(tx, &[event]).await?;
    Ok(Taken::Done {
        account,
        effect: Effect::Paid {
            cents: receipt.cents,
            bytes,
        },
    })
}

/// Notes that a top-up will not be paid, unless it was.
pub(super) async fn not_paid(tx: &mut Tx, payment: PaymentId, now: Timestamp) -> Result<Taken, Failure> {
    const WHY: &str = "the bank did not make the payment";
    let Some(account) = owner(tx, payment).await? else {
        return Ok(Taken::Noted(Note::UnknownPayment));
    };
    lock_purse(tx, account).await?;
    let unpaid = sqlx::query(
        "UPDATE billing_payments SET status = 'failed', reason = $2, settled_at = $3
         WHERE id = $1 AND kind = 'top_up' AND status = 'pending' RETURNING cents",
    )
    .bind(payment.uuid())
    .bind(WHY)
    .bind(now.as_millis())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(unpaid) = unpaid else {
        return Ok(Taken::Noted(Note::Known));
    };
    pages::over(tx, payment).await?;
    let event = failed(account, unpaid.try_get("cents")?, what("top_up"), WHY, now);
    events::insert(tx, &[event]).await?;
    Ok(Taken::Done {
        account,
        effect: Effect::NotPaid,
    })
}

/// Books the next part of a paid payment; its bytes. Under the lock of the purse.
pub(super) async fn book_part(tx: &mut Tx, payment: PaymentId, now: Timestamp) -> Result<i64, Failure> {
    let Some(row) = read(tx, payment).await? else {
        return Ok(0);
    };
    let (part, parts): (i64, i64) = (row.try_get("parts_booked")?, row.try_get("parts")?);
    if part >= parts {
        return Ok(0);
    }
    let micros = row.try_get::<i64, _>("cents")?.saturating_mul(MICROS_PER_CENT);
    let bytes = rules::part_of(row.try_get("bytes")?, part, parts);
    let money_micros = rules::part_of(micros, part, parts);
    let invoice: Option<String> = row.try_get("invoice")?;
    let intent: Option<String> = row.try_get("intent")?;
    let kind: String = row.try_get("kind")?;
    let entry = if (bytes, money_micros) == (0, 0) {
        None
    } else {
        let description = match kind.as_str() {
            "top_up" | "auto_top_up" => what(&kind).to_owned(),
            _ if parts > 1 => format!("Allowance of the plan, month {} of {parts}", part + 1),
            _ => "Allowance of the plan".to_owned(),
        };
        let new = NewEntry {
            act: Act::Purchase {
                account: id(&row, "user_id")?,
                bytes,
                money_micros,
                reference: intent.or(invoice),
            },
            description,
            reason: None,
            actor: Actor::System,
            key: Some(format!("payment:{payment}:{part}")),
            metadata: json!({ "paymentId": payment }),
            audit: None,
            now,
        };
        Some(booked(books::book(tx, &new).await?)?)
    };
    let next = (part + 1 < parts)
        .then(|| due(&row, part + 1, parts))
        .transpose()?;
    sqlx::query(
        "UPDATE billing_payments SET parts_booked = $2, next_part_at = $3, booked_bytes = booked_bytes + $4,
             booked_micros = booked_micros + $5, entry_id = COALESCE(entry_id, $6) WHERE id = $1",
    )
    .bind(payment.uuid())
    .bind(part + 1)
    .bind(next)
    .bind(bytes)
    .bind(money_micros)
    .bind(entry.map(EntryId::uuid))
    .execute(&mut **tx)
    .await?;
    let account = id(&row, "user_id")?;
    // What went back of the payment went back of this part too, and what is owed is paid first.
    taken_back::follow(tx, account, payment, now).await?;
    if bytes > 0 {
        taken_back::pay_debt(tx, account, &format!("{payment}:{part}"), now).await?;
    }
    Ok(bytes)
}

/// Books the parts that are due, of subscriptions that are active; whose.
pub(super) async fn give_due_parts(
    tx: &mut Tx,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<AccountId>, Failure> {
    let rows = sqlx::query(
        "SELECT p.id, p.user_id FROM billing_payments p JOIN billing_subscriptions s ON s.subscription = p.subscription
         WHERE p.next_part_at <= $1 AND p.status = 'paid' AND s.status = 'active' AND NOT s.is_surplus
             AND p.refunded_cents + p.disputed_cents < p.cents
         ORDER BY p.user_id, p.id LIMIT $2",
    )
    .bind(now.as_millis())
    .bind(i64::from(limit))
    .fetch_all(&mut **tx)
    .await?;
    let mut accounts: Vec<Uuid> = rows
        .iter()
        .map(|row| row.try_get("user_id"))
        .collect::<Result<_, _>>()?;
    accounts.dedup();
    lock_purses(tx, &accounts).await?;
    for row in &rows {
        let payment: PaymentId = id(row, "id")?;
        // Read anew under the lock: another server may have been here.
        let is_due = read(tx, payment).await?.is_some_and(|row| {
            matches!(row.try_get::<Option<i64>, _>("next_part_at"), Ok(Some(at)) if at <= now.as_millis())
        });
        if is_due {
            book_part(tx, payment, now).await?;
        }
    }
    Ok(accounts.into_iter().map(AccountId::from).collect())
}

/// What a customer is told of money that came.
pub(super) fn succeeded(
    account: AccountId,
    cents: i64,
    description: &str,
    invoice: Option<&str>,
    now: Timestamp,
) -> Event {
    let mut event = told(account, EventKind::PaymentSuccess, cents, description, now);
    event.data["invoice"] = json!(invoice);
    event
}

/// What a customer is told of money that did not come; the reason is for people.
pub(super) fn failed(
    account: AccountId,
    cents: i64,
    description: &str,
    reason: &str,
    now: Timestamp,
) -> Event {
    let mut event = told(account, EventKind::PaymentFailed, cents, description, now);
    event.data["reason"] = json!(reason);
    event
}

/// What a customer is told of a payment.
pub(super) fn told(
    account: AccountId,
    kind: EventKind,
    cents: i64,
    description: &str,
    now: Timestamp,
) -> Event {
    let data = json!({ "amount": dollars(cents), "currency": "USD", "description": description });
    Event::new(account, kind, now, data)
}

/// What a payment is called.
pub(super) fn what(kind: &str) -> &'static str {
    match kind {
        "auto_top_up" => "Automatic top-up",
        "invoice" => "Plan",
        _ => "Top-up",
    }
}

fn dollars(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The payment that the provider names so.
pub(super) async fn by_reference(
    database: impl sqlx::Executor<'_, Database = Db>,
    reference: &str,
) -> Result<Option<PaymentId>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id FROM billing_payments WHERE status = 'paid' AND (intent = $1 OR invoice = $1) ORDER BY id LIMIT 1",
    )
    .bind(text(reference))
    .fetch_optional(database)
    .await?;
    row.map(|row| id(&row, "id")).transpose()
}

pub(super) async fn read(tx: &mut Tx, payment: PaymentId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query(
        "SELECT user_id, kind, status, bytes, cents, intent, invoice, from_at, to_at, parts, parts_booked, next_part_at,
             booked_bytes, booked_micros, refunded_cents, refunded_bytes, refunded_micros, disputed_cents,
             disputed_bytes, disputed_micros, lost_micros, owed_bytes, forgiven_bytes, dispute_turns, entry_id,
             COALESCE((SELECT s.is_surplus FROM billing_subscriptions s
                       WHERE s.subscription = billing_payments.subscription), FALSE) AS is_surplus
         FROM billing_payments WHERE id = $1",
    )
    .bind(payment.uuid())
    .fetch_optional(&mut **tx)
    .await
}

/// When a part is due: the period in equal parts.
fn due(row: &Row, part: i64, parts: i64) -> Result<i64, sqlx::Error> {
    let (from, to) = (time(row, "from_at")?.as_millis(), time(row, "to_at")?.as_millis());
    let length = i128::from(to.saturating_sub(from).max(0));
    let offset = length * i128::from(part) / i128::from(parts.max(1));
    Ok(from.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX)))
}

/// A refusal here is a fault of ours: the transaction goes back whole, and the provider tells again.
pub(super) fn booked(booking: Booking) -> Result<EntryId, Failure> {
    match booking {
        Booking::Done(booked) => Ok(booked.entry),
        Booking::Refused(refusal) => Err(StoreError::Internal(Box::new(refusal)).into()),
    }
}
