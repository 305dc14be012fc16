//! Billing: what customers decide and begin. Payments are in [`super::payments`], what the provider tells in [`super::payment_events`].

use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::billing::{
    AutoTopUp, Begun, Billing, BillingSettings, Failed, Interval, MAX_FAILURES, NewPayment, Payment,
    PaymentEvent, PaymentKind, Price, Receipt, Subscription, SubscriptionStatus, Taken, rules,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId, PlanId};
use iploop_platform::store::StoreError;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, number, text, time, time_or_none};
use super::ledger::lock_purse;
use super::payments::{self, Owed};
use super::reading::{all, one};
use super::{Row, SqlStore, Tx, disputes, errands, events, payment_events, surplus};
use crate::error::{Failure, act, unreadable};

/// A page on which nobody paid ends within the hour, and so does what it sets aside of the cap.
const PAGE_LIFE: Duration = Duration::from_secs(3600);
/// Pages that an account may have open at once.
const MAX_OPEN: u32 = 20;
/// What nobody paid is forgotten after this.
const FORGET_UNPAID: Duration = Duration::from_secs(30 * 24 * 3600);
/// After an automatic top-up failed, the next one waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

#[async_trait]
impl Billing for SqlStore {
    async fn billing_customer(&self, account: AccountId) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT customer FROM billing_customers WHERE user_id = $1")
            .bind(account.uuid())
            .fetch_optional(&self.read);
        one(row, |row| row.try_get("customer")).await
    }

    async fn keep_billing_customer(
        &self,
        account: AccountId,
        customer: &str,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(
                "INSERT INTO billing_customers (user_id, customer, created_at) VALUES ($1, $2, $3)
                 ON CONFLICT (user_id) DO UPDATE SET customer = billing_customers.customer RETURNING customer",
            )
            .bind(account.uuid())
            .bind(text(customer))
            .bind(now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            // The account may have been deleted while the provider made its customer.
            if surplus::is_gone(&mut tx, account).await? {
                errands::leave(&mut tx, account).await?;
            }
            tx.commit().await?;
            Ok(row.try_get("customer")?)
        })
        .await
    }

    async fn billing_price(
        &self,
        plan: PlanId,
        interval: Interval,
        cents: i64,
    ) -> Result<Option<String>, StoreError> {
        let row = sqlx::query(
            "SELECT price FROM billing_prices WHERE plan_id = $1 AND period = $2 AND cents = $3
             ORDER BY price LIMIT 1",
        )
        .bind(plan.uuid())
        .bind(interval.as_str())
        .bind(cents)
        .fetch_optional(&self.read);
        one(row, |row| row.try_get("price")).await
    }

    async fn price_sold(&self, price: &str) -> Result<Option<Price>, StoreError> {
        let row = sqlx::query("SELECT price, plan_id, period, cents FROM billing_prices WHERE price = $1")
            .bind(text(price))
            .fetch_optional(&self.read);
        one(row, |row| {
            Ok(Price {
                id: row.try_get("price")?,
                plan: id(row, "plan_id")?,
                interval: interval_from(row)?,
                cents: row.try_get("cents")?,
            })
        })
        .await
    }

    async fn keep_billing_price(&self, price: &Price) -> Result<(), StoreError> {
        act(async {
            sqlx::query(
                "INSERT INTO billing_prices (price, plan_id, period, cents) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (price) DO NOTHING",
            )
            .bind(text(&price.id))
            .bind(price.plan.uuid())
            .bind(price.interval.as_str())
            .bind(price.cents)
            .execute(&self.write)
            .await?;
            Ok(())
        })
        .await
    }

    async fn subscription(&self, account: AccountId) -> Result<Option<Subscription>, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT subscription, plan_id, period, status, from_at, to_at, ends_at_period_end, past_due_since
                 FROM billing_subscriptions WHERE user_id = $1 AND NOT is_surplus
                 ORDER BY CASE WHEN status IN ('active', 'past_due') THEN 0 ELSE 1 END, state_at DESC, subscription
                 LIMIT 1",
            )
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(subscription_from).transpose()?)
        })
        .await
    }

    async fn billing_settings(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<BillingSettings, StoreError> {
        act(async {
            let row = sqlx::query(SETTINGS)
                .bind(account.uuid())
                .fetch_optional(&self.read)
                .await?;
            let mut settings = row.as_ref().map(settings_from).transpose()?.unwrap_or_default();
            let spent = sqlx::query(SPENT)
                .bind(account.uuid())
                .bind(i64::from(now.utc_month()))
                .bind(now.minus(PAGE_LIFE).as_millis())
                .fetch_one(&self.read)
                .await?;
            settings.spent_cents = spent.try_get("spent_cents")?;
            Ok(settings)
        })
        .await
    }

    async fn set_spend_cap(&self, account: AccountId, cents: Option<i64>) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // Whoever begins a payment holds this lock: none goes by an old cap after this.
            lock_purse(&mut tx, account).await?;
            sqlx::query(
                "INSERT INTO billing_settings (user_id, cap_cents) VALUES ($1, $2)
                 ON CONFLICT (user_id) DO UPDATE SET cap_cents = excluded.cap_cents",
            )
            .bind(account.uuid())
            .bind(cents)
            .execute(&mut *tx)
            .await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn set_auto_top_up(&self, account: AccountId, auto: Option<AutoTopUp>) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, account).await?;
            let is_on = auto.is_some();
            let auto = auto.unwrap_or(AutoTopUp {
                threshold_bytes: 0,
                bytes: 0,
                month_cents: 0,
            });
            sqlx::query(
                "INSERT INTO billing_settings (user_id, auto_is_on, auto_threshold_bytes, auto_bytes, auto_month_cents)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (user_id) DO UPDATE SET auto_is_on = excluded.auto_is_on,
                     auto_threshold_bytes = excluded.auto_threshold_bytes, auto_bytes = excluded.auto_bytes,
                     auto_month_cents = excluded.auto_month_cents, auto_failures = 0, auto_retry_at = 0",
            )
            .bind(account.uuid())
            .bind(is_on)
            .bind(auto.threshold_bytes)
            .bind(auto.bytes)
            .bind(auto.month_cents)
            .execute(&mut *tx)
            .await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn begin_top_up(&self, wish: NewPayment) -> Result<Begun, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_purse(&mut tx, wish.account).await?.is_none() {
                return Ok(Begun::NoAccount);
            }
            if let Some(begun) = payments::begun(&mut tx, &wish).await? {
                return Ok(Begun::Payment(begun));
            }
            if disputes::hold(&mut tx, wish.account).await?.is_some() {
                return Ok(Begun::Held);
            }
            refuse_too_many(&mut tx, &wish).await?;
            let settings = settings(&mut tx, wish.account, wish.now).await?;
            if let Some(left) = over_cap(&settings, wish.cents) {
                return Ok(Begun::OverCap(left));
            }
            let payment = Payment {
                id: wish.id,
                account: wish.account,
                kind: PaymentKind::TopUp,
                bytes: wish.bytes,
                cents: wish.cents,
                key: format!("top-up:{}", wish.id),
            };
            payments::insert(&mut tx, &Owed::of(&payment, wish.now)).await?;
            tx.commit().await?;
            Ok(Begun::Payment(payment))
        })
        .await
    }

    async fn accounts_to_top_up(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        let rows = sqlx::query(
            "SELECT s.user_id FROM billing_settings s JOIN user_plans p ON p.user_id = s.user_id
                 JOIN users u ON u.id = s.user_id
             WHERE u.status = 'active' AND s.auto_is_on AND s.user_id > $1 AND p.balance_bytes < s.auto_threshold_bytes
                 AND NOT EXISTS (SELECT 1 FROM billing_payments y
                     WHERE y.user_id = s.user_id
                         AND (y.owed_bytes > 0 OR (y.kind = 'auto_top_up' AND y.status = 'pending')))
                 AND NOT EXISTS (SELECT 1 FROM billing_disputes d WHERE d.user_id = s.user_id AND d.status = 'open')
             ORDER BY s.user_id LIMIT $2",
        )
        .bind(after.map_or(Uuid::nil(), AccountId::uuid))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, |row| id(row, "user_id")).await
    }

    async fn begin_auto_top_up(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<Payment>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(purse) = lock_purse(&mut tx, account).await? else {
                return Ok(None);
            };
            if disputes::hold(&mut tx, account).await?.is_some() {
                return Ok(None);
            }
            let known = settings(&mut tx, account, now).await?;
            let Some(auto) = known
                .auto_top_up
                .filter(|auto| purse.balance_bytes < auto.threshold_bytes)
            else {
                return Ok(None);
            };
            let Some(last) = autos_of_month(&mut tx, account, now).await? else {
                return Ok(None);
            };
            let cents = rules::top_up_cents(last.price_per_gb_micros, auto.bytes);
            let is_beyond_bound = last.cents.saturating_add(cents) > auto.month_cents;
            if is_beyond_bound || over_cap(&known, cents).is_some() {
                return Ok(None);
            }
            let payment = Payment {
                id: PaymentId::new(),
                account,
                kind: PaymentKind::AutoTopUp,
                bytes: auto.bytes,
                cents,
                key: format!("auto:{account}:{}:{}", now.utc_month(), last.count + 1),
            };
            payments::insert(&mut tx, &Owed::of(&payment, now)).await?;
            tx.commit().await?;
            Ok(Some(payment))
        })
        .await
    }

    async fn open_auto_top_ups(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Payment, Timestamp)>, StoreError> {
        act(async {
            let rows = sqlx::query(
                "SELECT id, user_id, bytes, cents, payment_key, created_at FROM billing_payments
                 WHERE kind = 'auto_top_up' AND status = 'pending' AND created_at < $1
                 ORDER BY created_at, id LIMIT $2",
            )
            .bind(before.as_millis())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
            let open = rows.iter().map(|row| {
                let payment = Payment {
                    id: id(row, "id")?,
                    account: id(row, "user_id")?,
                    kind: PaymentKind::AutoTopUp,
                    bytes: row.try_get("bytes")?,
                    cents: row.try_get("cents")?,
                    key: row.try_get("payment_key")?,
                };
                Ok((payment, time(row, "created_at")?))
            });
            Ok(open.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }

    async fn settle_payment(&self, receipt: &Receipt, now: Timestamp) -> Result<Taken, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let taken = payments::settle(&mut tx, receipt, now).await?;
            tx.commit().await?;
            Ok(taken)
        })
        .await
    }

    async fn fail_payment(
        &self,
        payment: PaymentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Failed>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(account) = payments::owner(&mut tx, payment).await? else {
                return Ok(None);
            };
            lock_purse(&mut tx, account).await?;
            let failed = sqlx::query(
                "UPDATE billing_payments SET status = 'failed', reason = $2, settled_at = $3
                 WHERE id = $1 AND kind = 'auto_top_up' AND status = 'pending' RETURNING cents",
            )
            .bind(payment.uuid())
            .bind(text(reason))
            .bind(now.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(failed) = failed else {
                return Ok(None);
            };
            let row = sqlx::query(
                "UPDATE billing_settings SET auto_failures = auto_failures + 1, auto_retry_at = $2,
                     auto_is_on = auto_is_on AND auto_failures + 1 < $3
                 WHERE user_id = $1 RETURNING auto_failures",
            )
            .bind(account.uuid())
            .bind(now.plus(RETRY_AFTER).as_millis())
            .bind(i64::from(MAX_FAILURES))
            .fetch_one(&mut *tx)
            .await?;
            let failures: u32 = number(&row, "auto_failures")?;
            let is_switched_off = failures >= MAX_FAILURES;
            let end = if is_switched_off {
                "; automatic top-ups are switched off"
            } else {
                ""
            };
            let cents = failed.try_get("cents")?;
            let what = payments::what(PaymentKind::AutoTopUp.as_str());
            let event = payments::failed(account, cents, what, &format!("{reason}{end}"), now);
            events::insert(&mut tx, &[event]).await?;
            tx.commit().await?;
            Ok(Some(Failed {
                failures,
                is_switched_off,
            }))
        })
        .await
    }

    async fn knows_payment(&self, references: &[String]) -> Result<bool, StoreError> {
        act(async {
            for reference in references {
                if payments::by_reference(&self.read, reference).await?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    async fn take_payment_event(&self, event: &PaymentEvent, free: PlanId) -> Result<Taken, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let taken = payment_events::take(&mut tx, event, free).await?;
            if taken != Taken::TooEarly {
                tx.commit().await?;
            }
            Ok(taken)
        })
        .await
    }

    async fn forget_payment_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        act(async { Ok(payment_events::forget(&self.write, before, limit).await?) }).await
    }

    async fn give_due_allowances(&self, now: Timestamp, limit: u32) -> Result<Vec<AccountId>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let given = payments::give_due_parts(&mut tx, now, limit).await?;
            tx.commit().await?;
            Ok(given)
        })
        .await
    }

    async fn end_grace(
        &self,
        before: Timestamp,
        free: PlanId,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let ended = payment_events::end_grace(&mut tx, before, free, limit).await?;
            tx.commit().await?;
            Ok(ended)
        })
        .await
    }
}

const SETTINGS: &str =
    "SELECT cap_cents, auto_is_on, auto_threshold_bytes, auto_bytes, auto_month_cents, auto_failures,
         auto_retry_at
     FROM billing_settings WHERE user_id = $1";

/// Top-ups of a month, paid or under way.
const SPENT: &str = "SELECT CAST(COALESCE(SUM(cents), 0) AS BIGINT) AS spent_cents FROM billing_payments
     WHERE user_id = $1 AND month = $2 AND kind <> 'invoice'
         AND (status = 'paid' OR (status = 'pending' AND (kind = 'auto_top_up' OR created_at > $3)))";

/// As they stand under the lock of the purse. Automatic top-ups that wait after a failure count as off.
async fn settings(tx: &mut Tx, account: AccountId, now: Timestamp) -> Result<BillingSettings, sqlx::Error> {
    let row = sqlx::query(SETTINGS)
        .bind(account.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(BillingSettings::default());
    };
    let mut settings = settings_from(&row)?;
    if time(&row, "auto_retry_at")? > now {
        settings.auto_top_up = None;
    }
    if settings.cap_cents.is_some() {
        let spent = sqlx::query(SPENT)
            .bind(account.uuid())
            .bind(i64::from(now.utc_month()))
            .bind(now.minus(PAGE_LIFE).as_millis())
            .fetch_one(&mut **tx)
            .await?;
        settings.spent_cents = spent.try_get("spent_cents")?;
    }
    Ok(settings)
}

/// What is left of the cap, if `cents` go beyond it.
fn over_cap(settings: &BillingSettings, cents: i64) -> Option<i64> {
    let cap = settings.cap_cents?;
    (settings.spent_cents.saturating_add(cents) > cap)
        .then(|| cap.saturating_sub(settings.spent_cents).max(0))
}

/// Forgets what was never paid, and bounds what is open.
async fn refuse_too_many(tx: &mut Tx, wish: &NewPayment) -> Result<(), Failure> {
    sqlx::query(
        "DELETE FROM billing_payments
         WHERE user_id = $1 AND kind = 'top_up' AND status = 'pending' AND created_at < $2",
    )
    .bind(wish.account.uuid())
    .bind(wish.now.minus(FORGET_UNPAID).as_millis())
    .execute(&mut **tx)
    .await?;
    let open: i64 = sqlx::query(
        "SELECT COUNT(*) AS open FROM billing_payments
         WHERE user_id = $1 AND kind = 'top_up' AND status = 'pending' AND created_at > $2",
    )
    .bind(wish.account.uuid())
    .bind(wish.now.minus(PAGE_LIFE).as_millis())
    .fetch_one(&mut **tx)
    .await?
    .try_get("open")?;
    if open < i64::from(MAX_OPEN) {
        return Ok(());
    }
    let limit = StoreError::LimitReached {
        what: "open payments",
        limit: MAX_OPEN,
    };
    Err(limit.into())
}

/// An account's automatic top-ups of this month, and its plan's price.
struct Autos {
    count: i64,
    cents: i64,
    price_per_gb_micros: i64,
}

/// None: one is under way, or the account may not go on.
async fn autos_of_month(
    tx: &mut Tx,
    account: AccountId,
    now: Timestamp,
) -> Result<Option<Autos>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT (SELECT l.price_per_gb_micros FROM user_plans p JOIN plans l ON l.id = p.plan_id WHERE p.user_id = $1)
                 AS price_per_gb_micros,
             EXISTS (SELECT 1 FROM users WHERE id = $1 AND status = 'active') AS is_active,
             (SELECT COUNT(*) FROM billing_payments
              WHERE user_id = $1 AND kind = 'auto_top_up' AND status = 'pending') AS open,
             (SELECT COUNT(*) FROM billing_payments
              WHERE user_id = $1 AND kind = 'auto_top_up' AND month = $2) AS count,
             (SELECT CAST(COALESCE(SUM(cents), 0) AS BIGINT) FROM billing_payments
              WHERE user_id = $1 AND kind = 'auto_top_up' AND month = $2 AND status <> 'failed') AS cents",
    )
    .bind(account.uuid())
    .bind(i64::from(now.utc_month()))
    .fetch_one(&mut **tx)
    .await?;
    if row.try_get::<i64, _>("open")? > 0 || !row.try_get::<bool, _>("is_active")? {
        return Ok(None);
    }
    Ok(Some(Autos {
        count: row.try_get("count")?,
        cents: row.try_get("cents")?,
        price_per_gb_micros: row.try_get("price_per_gb_micros")?,
    }))
}

fn settings_from(row: &Row) -> Result<BillingSettings, sqlx::Error> {
    let auto = AutoTopUp {
        threshold_bytes: row.try_get("auto_threshold_bytes")?,
        bytes: row.try_get("auto_bytes")?,
        month_cents: row.try_get("auto_month_cents")?,
    };
    Ok(BillingSettings {
        cap_cents: row.try_get("cap_cents")?,
        auto_top_up: row.try_get::<bool, _>("auto_is_on")?.then_some(auto),
        failures: number(row, "auto_failures")?,
        spent_cents: 0,
    })
}

pub(super) fn interval_from(row: &Row) -> Result<Interval, sqlx::Error> {
    let name: String = row.try_get("period")?;
    Interval::by_name(&name).ok_or_else(|| unreadable("period", &name))
}

pub(super) fn status_from(row: &Row) -> Result<SubscriptionStatus, sqlx::Error> {
    let name: String = row.try_get("status")?;
    SubscriptionStatus::by_name(&name).ok_or_else(|| unreadable("status", &name))
}

fn subscription_from(row: &Row) -> Result<Subscription, sqlx::Error> {
    Ok(Subscription {
        id: row.try_get("subscription")?,
        plan: id(row, "plan_id")?,
        interval: interval_from(row)?,
        status: status_from(row)?,
        from: time(row, "from_at")?,
        to: time(row, "to_at")?,
        ends_at_period_end: row.try_get("ends_at_period_end")?,
        past_due_since: time_or_none(row, "past_due_since")?,
    })
}
