//! Subscriptions that an account does not get: a second one, and one of an account that is gone. They are ended at the provider and
//! paid back, by errands in the transaction that noticed.

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::account::AccountStatus;
use iploop_platform::billing::{ErrandKind, PaidInvoice, SubscriptionState, SubscriptionStatus};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AuditId, PaymentId};
use serde_json::{Value, json};
use sqlx::Row as _;

use super::billing::status_from;
use super::columns::{id, text};
use super::payments::{self, Owed, PaidFor};
use super::{Row, Tx, accounts, audit, errands};
use crate::error::Failure;

/// When an errand is due that nothing waits for: at once.
const AT_ONCE: Timestamp = Timestamp::from_millis(0);

/// Why the account does not get a subscription; none: it does. Of two the one that we heard of first stays.
pub(super) async fn refusal(
    tx: &mut Tx,
    account: AccountId,
    state: &SubscriptionState,
    known: Option<&Row>,
) -> Result<Option<&'static str>, sqlx::Error> {
    if !state.status.is_live() {
        return Ok(None);
    }
    let is_settled = match known {
        Some(known) if known.try_get::<bool, _>("is_surplus")? => true,
        Some(known) => status_from(known)? != SubscriptionStatus::Incomplete,
        None => false,
    };
    if is_settled {
        return Ok(None);
    }
    if is_gone(tx, account).await? {
        return Ok(Some("the account is deleted"));
    }
    let other = sqlx::query(
        "SELECT 1 AS one FROM billing_subscriptions
         WHERE user_id = $1 AND subscription <> $2 AND status IN ('active', 'past_due') AND NOT is_surplus LIMIT 1",
    )
    .bind(account.uuid())
    .bind(text(&state.id))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(other.map(|_| "the account has a subscription"))
}

/// Ends it, and pays back what was paid for it.
pub(super) async fn refuse(
    tx: &mut Tx,
    account: AccountId,
    subscription: &str,
    why: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    errands::insert(
        tx,
        ErrandKind::EndSubscription,
        subscription,
        account,
        None,
        AT_ONCE,
    )
    .await?;
    let paid = sqlx::query(
        "UPDATE billing_payments SET next_part_at = NULL
         WHERE subscription = $1 AND user_id = $2 AND status = 'paid' AND refunded_cents < cents
         RETURNING id, invoice, intent",
    )
    .bind(text(subscription))
    .bind(account.uuid())
    .fetch_all(&mut **tx)
    .await?;
    for row in &paid {
        let intent: Option<String> = row.try_get("intent")?;
        if let Some(reference) = intent.or(row.try_get("invoice")?) {
            let payment = Some(id(row, "id")?);
            errands::insert(tx, ErrandKind::Refund, &reference, account, payment, AT_ONCE).await?;
        }
    }
    let record = AuditEntry {
        id: AuditId::new(),
        at: now,
        actor: Actor::System,
        action: AuditAction::SubscriptionRefused,
        account: Some(account),
        subject: subscription.to_owned(),
        before: Value::Null,
        after: json!({ "paymentsToRefund": paid.len() }),
        reason: why.to_owned(),
    };
    Ok(audit::insert(tx, &record).await?)
}

/// Whether the account does not get this subscription.
pub(super) async fn is(tx: &mut Tx, account: AccountId, subscription: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "SELECT 1 AS one FROM billing_subscriptions WHERE subscription = $1 AND user_id = $2 AND is_surplus",
    )
    .bind(text(subscription))
    .bind(account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

/// Notes an invoice that was paid for one all the same: it buys nothing and goes back.
pub(super) async fn paid(
    tx: &mut Tx,
    account: AccountId,
    invoice: &PaidInvoice,
    now: Timestamp,
) -> Result<(), Failure> {
    let payment = PaymentId::new();
    let owed = Owed {
        id: payment,
        account,
        kind: "invoice",
        status: "paid",
        bytes: 0,
        cents: invoice.paid_cents,
        key: &format!("invoice:{}", invoice.id),
        invoice: Some(PaidFor {
            invoice: &invoice.id,
            intent: invoice.intent.as_deref(),
            subscription: &invoice.subscription,
            is_period: false,
            from: invoice.from,
            to: invoice.to,
            parts: 1,
        }),
        now,
    };
    payments::insert(tx, &owed).await?;
    if invoice.paid_cents > 0 {
        let reference = invoice.intent.as_deref().unwrap_or(&invoice.id);
        errands::insert(tx, ErrandKind::Refund, reference, account, Some(payment), AT_ONCE).await?;
    }
    Ok(())
}

/// Whether the account was deleted.
pub(super) async fn is_gone(tx: &mut Tx, account: AccountId) -> Result<bool, sqlx::Error> {
    Ok(account_status(tx, account).await? == Some(AccountStatus::Deleted))
}

/// How the account stands.
pub(super) async fn account_status(
    tx: &mut Tx,
    account: AccountId,
) -> Result<Option<AccountStatus>, sqlx::Error> {
    let row = sqlx::query("SELECT status FROM users WHERE id = $1")
        .bind(account.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| accounts::status_from(&row, "status")).transpose()
}
