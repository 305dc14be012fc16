//! What the payment provider tells: each event once, with its effect, in the transaction that notes it.

use std::time::Duration;

use iploop_platform::account::AccountStatus;
use iploop_platform::billing::{
    Change, Effect, InvoiceReason, Note, PaidInvoice, PaymentEvent, RefundState, SubscriptionState,
    SubscriptionStatus, Taken, rules,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId, PlanId};
use sqlx::Row as _;
use uuid::Uuid;

use super::billing::{interval_from, status_from};
use super::columns::{id, text, time, time_or_none};
use super::ledger::{lock_purse, lock_purses};
use super::payments::{self, Owed, PaidFor};
use super::{Pool, Row, Tx, disputes, errands, events, pages, surplus, taken_back};
use crate::error::Failure;

/// A refund of something unknown, by a customer whom we know, may be ahead of its payment for so long.
const MAY_BE_EARLY: Duration = Duration::from_secs(3600);

/// Notes the event and does what follows from it. [`Taken::TooEarly`]: the transaction shall be rolled back.
pub(super) async fn take(tx: &mut Tx, event: &PaymentEvent, free: PlanId) -> Result<Taken, Failure> {
    // A parallel delivery of the same event waits here for the first to end.
    let is_new = sqlx::query(
        "INSERT INTO billing_events (id, kind, at, outcome, received_at) VALUES ($1, $2, $3, 'done', $4)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(text(&event.id))
    .bind(text(&event.kind))
    .bind(event.at.as_millis())
    .bind(event.now.as_millis())
    .execute(&mut **tx)
    .await?;
    if is_new.rows_affected() == 0 {
        return Ok(Taken::Repeat);
    }
    let taken = match &event.change {
        Change::Subscription(state) => subscription(tx, state, event, free).await?,
        Change::InvoicePaid(invoice) => invoice_paid(tx, invoice, event.now).await?,
        Change::InvoiceFailed {
            customer,
            subscription,
            cents,
            ..
        } => invoice_failed(tx, (customer, subscription), *cents, event).await?,
        Change::Paid(receipt) => payments::settle(tx, receipt, event.now).await?,
        Change::NotPaid(payment) => payments::not_paid(tx, *payment, event.now).await?,
        Change::Refunded(state) => refunded(tx, state, event, free).await?,
        Change::Disputed(state) => disputes::take(tx, state, event, free).await?,
        Change::Other => Taken::Noted(Note::Unhandled),
    };
    if let Taken::Noted(note) = taken {
        sqlx::query("UPDATE billing_events SET outcome = $2 WHERE id = $1")
            .bind(text(&event.id))
            .bind(note.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(taken)
}

/// Forgets events that came before `before`, at most `limit`; how many.
pub(super) async fn forget(pool: &Pool, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM billing_events WHERE id IN (
             SELECT id FROM billing_events WHERE received_at < $1 ORDER BY received_at LIMIT $2)",
    )
    .bind(before.as_millis())
    .bind(i64::from(limit))
    .execute(pool)
    .await?;
    Ok(gone.rows_affected())
}

/// Ends the plans of subscriptions that are past due for too long; whose.
pub(super) async fn end_grace(
    tx: &mut Tx,
    before: Timestamp,
    free: PlanId,
    limit: u32,
) -> Result<Vec<AccountId>, Failure> {
    let rows = sqlx::query(
        "SELECT user_id FROM billing_subscriptions
         WHERE status = 'past_due' AND NOT is_lapsed AND past_due_since < $1 ORDER BY user_id LIMIT $2",
    )
    .bind(before.as_millis())
    .bind(i64::from(limit))
    .fetch_all(&mut **tx)
    .await?;
    let mut accounts: Vec<Uuid> = rows
        .iter()
        .map(|row| row.try_get("user_id"))
        .collect::<Result<_, _>>()?;
    accounts.dedup();
    lock_purses(tx, &accounts).await?;
    for account in &accounts {
        sqlx::query(
            "UPDATE billing_subscriptions SET is_lapsed = TRUE
             WHERE user_id = $1 AND status = 'past_due' AND past_due_since < $2",
        )
        .bind(account)
        .bind(before.as_millis())
        .execute(&mut **tx)
        .await?;
        follow_plan(tx, AccountId::from(*account), free).await?;
    }
    Ok(accounts.into_iter().map(AccountId::from).collect())
}

async fn subscription(
    tx: &mut Tx,
    state: &SubscriptionState,
    event: &PaymentEvent,
    free: PlanId,
) -> Result<Taken, Failure> {
    let at = event.at;
    let Some(account) = account_of(tx, &state.customer).await? else {
        return Ok(Taken::Noted(Note::UnknownCustomer));
    };
    lock_purse(tx, account).await?;
    let known = sqlx::query(
        "SELECT plan_id, period, status, state_at, past_due_since, is_lapsed, is_surplus FROM billing_subscriptions
         WHERE subscription = $1 AND user_id = $2",
    )
    .bind(text(&state.id))
    .bind(account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    if let Some(known) = &known {
        let is_over = status_from(known)? == SubscriptionStatus::Cancelled;
        if is_over || state.is_new || time(known, "state_at")? > at {
            return Ok(Taken::Noted(Note::Older));
        }
    }
    // The plan of a subscription that we have: also where its end comes with a price that we don't.
    let price = match (price_row(tx, &state.price).await?, &known) {
        (Some(row), _) => (id::<PlanId>(&row, "plan_id")?, interval_from(&row)?),
        (None, Some(known)) if state.status == SubscriptionStatus::Cancelled => {
            (id(known, "plan_id")?, interval_from(known)?)
        }
        (None, _) => return Ok(Taken::Noted(Note::UnknownPrice)),
    };
    let refusal = surplus::refusal(tx, account, state, known.as_ref()).await?;
    let was_surplus = match &known {
        Some(known) => known.try_get("is_surplus")?,
        None => false,
    };
    let is_past_due = state.status == SubscriptionStatus::PastDue;
    let (since, is_lapsed) = match &known {
        Some(known) if is_past_due => (
            time_or_none(known, "past_due_since")?.or(Some(at)),
            known.try_get("is_lapsed")?,
        ),
        _ => (is_past_due.then_some(at), false),
    };
    sqlx::query(
        "INSERT INTO billing_subscriptions (subscription, user_id, plan_id, period, status, from_at, to_at,
             ends_at_period_end, past_due_since, is_lapsed, state_at, is_surplus)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (subscription) DO UPDATE SET plan_id = excluded.plan_id, period = excluded.period,
             status = excluded.status, from_at = excluded.from_at, to_at = excluded.to_at,
             ends_at_period_end = excluded.ends_at_period_end, past_due_since = excluded.past_due_since,
             is_lapsed = excluded.is_lapsed, state_at = excluded.state_at, is_surplus = excluded.is_surplus",
    )
    .bind(text(&state.id))
    .bind(account.uuid())
    .bind(price.0.uuid())
    .bind(price.1.as_str())
    .bind(state.status.as_str())
    .bind(state.from.as_millis())
    .bind(state.to.as_millis())
    .bind(state.ends_at_period_end)
    .bind(since.map(Timestamp::as_millis))
    .bind(is_lapsed)
    .bind(at.as_millis())
    .bind(was_surplus || refusal.is_some())
    .execute(&mut **tx)
    .await?;
    if let Some(why) = refusal {
        surplus::refuse(tx, account, &state.id, why, event.now).await?;
        return Ok(done(account, Effect::Surplus));
    }
    if state.status.is_live() && !was_surplus {
        pages::subscribed(tx, account, event.now).await?;
        if surplus::account_status(tx, account).await? == Some(AccountStatus::Suspended) {
            errands::account_is(tx, account, AccountStatus::Suspended, event.now).await?;
        }
    }
    if state.status == SubscriptionStatus::Cancelled {
        sqlx::query(
            "UPDATE billing_payments SET next_part_at = NULL WHERE subscription = $1 AND user_id = $2",
        )
        .bind(text(&state.id))
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    }
    follow_plan(tx, account, free).await?;
    Ok(done(account, Effect::Subscription))
}

/// The plan is the one that the live subscription pays for, else the free one. A period whose payment went back whole is not paid.
async fn follow_plan(tx: &mut Tx, account: AccountId, free: PlanId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE user_plans SET plan_id = COALESCE(
             (SELECT s.plan_id FROM billing_subscriptions s
              WHERE s.user_id = $1 AND NOT s.is_surplus
                  AND (s.status = 'active' OR (s.status = 'past_due' AND NOT s.is_lapsed))
                  AND NOT EXISTS (SELECT 1 FROM billing_payments p
                      WHERE p.subscription = s.subscription AND p.period_at IS NOT NULL AND p.to_at > s.from_at
                          AND p.cents > 0 AND p.refunded_cents + p.disputed_cents >= p.cents)
              ORDER BY s.state_at DESC, s.subscription LIMIT 1), $2)
         WHERE user_id = $1",
    )
    .bind(account.uuid())
    .bind(free.uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The same after money of a payment went back, or came back. One that is for no subscription says nothing of the plan, which an
/// admin may have given.
pub(super) async fn follow_plan_of(
    tx: &mut Tx,
    payment: PaymentId,
    account: AccountId,
    free: PlanId,
) -> Result<(), sqlx::Error> {
    let paid = sqlx::query("SELECT 1 FROM billing_payments WHERE id = $1 AND subscription IS NOT NULL")
        .bind(payment.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    match paid {
        Some(_) => follow_plan(tx, account, free).await,
        None => Ok(()),
    }
}

async fn invoice_paid(tx: &mut Tx, invoice: &PaidInvoice, now: Timestamp) -> Result<Taken, Failure> {
    let Some(account) = account_of(tx, &invoice.customer).await? else {
        return Ok(Taken::Noted(Note::UnknownCustomer));
    };
    lock_purse(tx, account).await?;
    let Some(price) = price_row(tx, &invoice.price).await? else {
        return Ok(Taken::Noted(Note::UnknownPrice));
    };
    let is_period = invoice.reason == InvoiceReason::Period;
    let known = sqlx::query(
        "SELECT id FROM billing_payments WHERE invoice = $1 OR (subscription = $2 AND period_at = $3) LIMIT 1",
    )
    .bind(text(&invoice.id))
    .bind(text(&invoice.subscription))
    .bind(is_period.then_some(invoice.from.as_millis()))
    .fetch_optional(&mut **tx)
    .await?;
    if known.is_some() {
        return Ok(Taken::Noted(Note::PaidAlready));
    }
    if surplus::is(tx, account, &invoice.subscription).await? {
        surplus::paid(tx, account, invoice, now).await?;
        return Ok(Taken::Noted(Note::Surplus));
    }
    let included = price.try_get::<Option<i64>, _>("included_bytes")?.unwrap_or(0);
    let bought = match rules::allowance(invoice, included, interval_from(&price)?, price.try_get("cents")?) {
        Ok(bought) => bought,
        Err(note) => return Ok(Taken::Noted(note)),
    };
    let payment = PaymentId::new();
    let owed = Owed {
        id: payment,
        account,
        kind: "invoice",
        status: "paid",
        bytes: bought.bytes,
        cents: invoice.paid_cents,
        key: &format!("invoice:{}", invoice.id),
        invoice: Some(PaidFor {
            invoice: &invoice.id,
            intent: invoice.intent.as_deref(),
            subscription: &invoice.subscription,
            is_period,
            from: invoice.from,
            to: invoice.to,
            parts: bought.parts,
        }),
        now,
    };
    payments::insert(tx, &owed).await?;
    let bytes = payments::book_part(tx, payment, now).await?;
    if invoice.paid_cents > 0 {
        let paid = payments::succeeded(account, invoice.paid_cents, "Plan", Some(&invoice.id), now);
        events::insert(tx, &[paid]).await?;
    }
    let paid = Effect::Paid {
        cents: invoice.paid_cents,
        bytes,
    };
    Ok(done(account, paid))
}

async fn invoice_failed(
    tx: &mut Tx,
    (customer, subscription): (&str, &str),
    cents: i64,
    event: &PaymentEvent,
) -> Result<Taken, Failure> {
    let Some(account) = account_of(tx, customer).await? else {
        return Ok(Taken::Noted(Note::UnknownCustomer));
    };
    lock_purse(tx, account).await?;
    let failed = sqlx::query(
        "UPDATE billing_subscriptions SET status = 'past_due', past_due_since = COALESCE(past_due_since, $3)
         WHERE subscription = $1 AND user_id = $2 AND status IN ('active', 'past_due') AND state_at <= $3",
    )
    .bind(text(subscription))
    .bind(account.uuid())
    .bind(event.at.as_millis())
    .execute(&mut **tx)
    .await?;
    if failed.rows_affected() == 0 {
        return Ok(Taken::Noted(Note::Older));
    }
    let why = "the renewal could not be collected";
    let failed = payments::failed(account, cents, "Plan", why, event.now);
    events::insert(tx, &[failed]).await?;
    Ok(done(account, Effect::RenewalFailed))
}

async fn refunded(
    tx: &mut Tx,
    state: &RefundState,
    event: &PaymentEvent,
    free: PlanId,
) -> Result<Taken, Failure> {
    for reference in &state.references {
        if let Some(payment) = payments::by_reference(&mut **tx, reference).await? {
            return taken_back::refund(tx, state, payment, event.now, free).await;
        }
    }
    let is_ours = match &state.customer {
        Some(customer) => account_of(tx, customer).await?.is_some(),
        None => false,
    };
    Ok(if is_ours && event.now.since(event.at) < MAY_BE_EARLY {
        Taken::TooEarly
    } else {
        Taken::Noted(Note::UnknownPayment)
    })
}

async fn account_of(tx: &mut Tx, customer: &str) -> Result<Option<AccountId>, sqlx::Error> {
    let row = sqlx::query("SELECT user_id FROM billing_customers WHERE customer = $1")
        .bind(text(customer))
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| id(&row, "user_id")).transpose()
}

async fn price_row(tx: &mut Tx, price: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query(
        "SELECT b.plan_id, b.period, b.cents, p.included_bytes
         FROM billing_prices b JOIN plans p ON p.id = b.plan_id WHERE b.price = $1",
    )
    .bind(text(price))
    .fetch_optional(&mut **tx)
    .await
}

fn done(account: AccountId, effect: Effect) -> Taken {
    Taken::Done { account, effect }
}
