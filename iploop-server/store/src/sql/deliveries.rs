//! Deliveries to webhooks: held, tried, noted, read and replayed. Their changes happen under the lock of the webhook's row.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::{AccountId, EventId, HoldId, WebhookId};
use iploop_platform::notices::Notice;
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{
    Attempt, Claim, Delivery, DeliveryQuery, DeliveryState, DisabledBy, Finish, MAX_ATTEMPTS, MAX_FAILURES,
    NewWebhook, SealedSecret, StoredChange, Verdict, Webhook, Webhooks,
};
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{id, json as json_of, number, number_or_none, text, text_or_none, time};
use super::events::{self, event_from};
use super::ledger::ids;
use super::{Row, SqlStore, Tx, notices, webhooks};
use crate::error::{act, unreadable};

#[derive(Serialize)]
struct DeliveryId {
    webhook_id: Uuid,
    event_id: Uuid,
}

#[async_trait]
impl Webhooks for SqlStore {
    async fn create_webhook(&self, webhook: NewWebhook) -> Result<Webhook, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let webhook = webhooks::create(&mut tx, &webhook).await?;
            tx.commit().await?;
            Ok(webhook)
        })
        .await
    }

    async fn webhooks(&self, account: AccountId) -> Result<Vec<Webhook>, StoreError> {
        act(async { Ok(webhooks::list(self, account).await?) }).await
    }

    async fn webhook(&self, account: AccountId, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        act(async { Ok(webhooks::one(self, account, id).await?) }).await
    }

    async fn change_webhook(
        &self,
        account: AccountId,
        id: WebhookId,
        change: StoredChange,
        now: Timestamp,
    ) -> Result<Option<Webhook>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let webhook = webhooks::change(&mut tx, account, id, &change, now).await?;
            tx.commit().await?;
            Ok(webhook)
        })
        .await
    }

    async fn delete_webhook(&self, account: AccountId, id: WebhookId) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let is_deleted = webhooks::delete(&mut tx, account, id).await?;
            tx.commit().await?;
            Ok(is_deleted)
        })
        .await
    }

    async fn rotate_webhook_secret(
        &self,
        account: AccountId,
        id: WebhookId,
        secret: SealedSecret,
        old_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async { Ok(webhooks::rotate(self, account, id, &secret, old_until, now).await?) }).await
    }

    async fn webhook_secrets(
        &self,
        account: AccountId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, StoreError> {
        act(async { Ok(webhooks::secrets(self, account, id, now).await?) }).await
    }

    async fn begin_test(
        &self,
        webhook: WebhookId,
        event: Event,
        hold: HoldId,
        hold_until: Timestamp,
    ) -> Result<Option<Claim>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !webhooks::lock(&mut tx, event.account, webhook).await? {
                return Ok(None);
            }
            events::insert(&mut tx, std::slice::from_ref(&event)).await?;
            sqlx::query(
                "INSERT INTO webhook_deliveries (webhook_id, event_id, state, tries, due_at, lease, lease_until, created_at)
                 VALUES ($1, $2, 'pending', 0, $3, $4, $5, $3)",
            )
            .bind(webhook.uuid())
            .bind(event.id.uuid())
            .bind(event.at.as_millis())
            .bind(hold.uuid())
            .bind(hold_until.as_millis())
            .execute(&mut *tx)
            .await?;
            let given = [DeliveryId {
                webhook_id: webhook.uuid(),
                event_id: event.id.uuid(),
            }];
            let claim = claims(&mut tx, &given, hold, event.at).await?.pop();
            tx.commit().await?;
            Ok(claim)
        })
        .await
    }

    async fn claim_deliveries(
        &self,
        now: Timestamp,
        hold_until: Timestamp,
        each: u32,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        act(async {
            let due = self.due(now, each, limit).await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let mut involved: Vec<Uuid> = due.iter().map(|due| due.webhook_id).collect();
            involved.sort_unstable();
            involved.dedup();
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT id FROM webhooks WHERE id IN (",
                given!(id uuid),
                ") ORDER BY id",
                locked!()
            ))
            .bind(Json(ids(&involved)))
            .fetch_all(&mut *tx)
            .await?;
            let hold = HoldId::new();
            // Again, now that nobody changes them: another may have been quicker.
            let rows = sqlx::query(concat!(
                "UPDATE webhook_deliveries SET lease = $2, lease_until = $3
                 WHERE (webhook_id, event_id) IN (",
                given!(webhook_id uuid, event_id uuid),
                ") AND state = 'pending' AND lease_until <= $4
                     AND webhook_id IN (SELECT id FROM webhooks WHERE is_active)
                 RETURNING webhook_id, event_id"
            ))
            .bind(Json(&due))
            .bind(hold.uuid())
            .bind(hold_until.as_millis())
            .bind(now.as_millis())
            .fetch_all(&mut *tx)
            .await?;
            let held = rows.iter().map(delivery_id).collect::<Result<Vec<_>, _>>()?;
            let claims = claims(&mut tx, &held, hold, now).await?;
            tx.commit().await?;
            Ok(claims)
        })
        .await
    }

    async fn finish_delivery(&self, finish: Finish<'_>) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let is_noted = note(&mut tx, &finish).await?;
            if is_noted {
                tx.commit().await?;
            }
            Ok(is_noted)
        })
        .await
    }

    async fn deliveries(
        &self,
        account: AccountId,
        webhook: WebhookId,
        query: DeliveryQuery,
    ) -> Result<Option<Vec<Delivery>>, StoreError> {
        act(async {
            if !self.owns(account, webhook).await? {
                return Ok(None);
            }
            let rows = sqlx::query(
                "SELECT e.id, e.user_id, e.kind, e.at, e.data, d.state, d.tries, d.due_at, d.created_at
                 FROM webhook_deliveries d JOIN events e ON e.id = d.event_id
                 WHERE d.webhook_id = $1 AND ($2 IS NULL OR d.event_id < $2) AND ($3 IS NULL OR d.state = $3)
                 ORDER BY d.event_id DESC LIMIT $4",
            )
            .bind(webhook.uuid())
            .bind(query.before.map(|before| before.uuid()))
            .bind(query.state.map(DeliveryState::as_str))
            .bind(i64::from(query.limit))
            .fetch_all(&self.read)
            .await?;
            Ok(Some(self.with_attempts(webhook, &rows, 1).await?))
        })
        .await
    }

    async fn delivery(
        &self,
        account: AccountId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Delivery>, StoreError> {
        act(async {
            if !self.owns(account, webhook).await? {
                return Ok(None);
            }
            let rows = sqlx::query(
                "SELECT e.id, e.user_id, e.kind, e.at, e.data, d.state, d.tries, d.due_at, d.created_at
                 FROM webhook_deliveries d JOIN events e ON e.id = d.event_id
                 WHERE d.webhook_id = $1 AND d.event_id = $2",
            )
            .bind(webhook.uuid())
            .bind(event.uuid())
            .fetch_all(&self.read)
            .await?;
            Ok(self.with_attempts(webhook, &rows, MAX_ATTEMPTS).await?.pop())
        })
        .await
    }

    async fn replay_delivery(
        &self,
        account: AccountId,
        webhook: WebhookId,
        event: EventId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !webhooks::lock(&mut tx, account, webhook).await? {
                return Ok(false);
            }
            let found = sqlx::query(
                "UPDATE webhook_deliveries SET
                     state = CASE WHEN lease_until <= $3 THEN 'pending' ELSE state END,
                     tries = CASE WHEN lease_until <= $3 THEN 0 ELSE tries END,
                     due_at = CASE WHEN lease_until <= $3 THEN $3 ELSE due_at END
                 WHERE webhook_id = $1 AND event_id = $2",
            )
            .bind(webhook.uuid())
            .bind(event.uuid())
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(found.rows_affected() > 0)
        })
        .await
    }

    async fn replay_since(
        &self,
        account: AccountId,
        webhook: WebhookId,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !webhooks::lock(&mut tx, account, webhook).await? {
                return Ok(None);
            }
            let done = sqlx::query(
                "INSERT INTO webhook_deliveries (webhook_id, event_id, state, tries, due_at, lease_until, created_at)
                 SELECT s.webhook_id, e.id, 'pending', 0, $4, 0, e.at
                 FROM events e JOIN webhook_subscriptions s ON s.kind = e.kind
                 WHERE s.webhook_id = $1 AND e.user_id = $2 AND e.at >= $3
                 ORDER BY e.at, e.id LIMIT $5
                 ON CONFLICT (webhook_id, event_id) DO UPDATE SET state = 'pending', tries = 0, due_at = excluded.due_at
                 WHERE webhook_deliveries.lease_until <= $4",
            )
            .bind(webhook.uuid())
            .bind(account.uuid())
            .bind(since.as_millis())
            .bind(now.as_millis())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Some(done.rows_affected()))
        })
        .await
    }
}

impl SqlStore {
    /// Deliveries that could be held now. Those under way count first, so that a slow webhook takes no more than its places.
    async fn due(&self, now: Timestamp, each: u32, limit: u32) -> Result<Vec<DeliveryId>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT webhook_id, event_id FROM (
                 SELECT d.webhook_id, d.event_id, d.due_at, d.lease_until, ROW_NUMBER() OVER (
                     PARTITION BY d.webhook_id
                     ORDER BY CASE WHEN d.lease_until > $1 THEN 0 ELSE 1 END, d.due_at, d.event_id
                 ) AS place
                 FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id JOIN users u ON u.id = w.user_id
                 WHERE d.state = 'pending' AND d.due_at <= $1 AND w.is_active AND u.status = 'active'
             ) AS ranked
             WHERE place <= $2 AND lease_until <= $1 ORDER BY due_at, event_id, webhook_id LIMIT $3",
        )
        .bind(now.as_millis())
        .bind(i64::from(each))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(delivery_id).collect()
    }

    async fn owns(&self, account: AccountId, webhook: WebhookId) -> Result<bool, sqlx::Error> {
        let row = sqlx::query("SELECT id FROM webhooks WHERE user_id = $1 AND id = $2")
            .bind(account.uuid())
            .bind(webhook.uuid())
            .fetch_optional(&self.read)
            .await?;
        Ok(row.is_some())
    }

    /// Deliveries, each with its last tries, so many.
    async fn with_attempts(
        &self,
        webhook: WebhookId,
        rows: &[Row],
        attempts: u32,
    ) -> Result<Vec<Delivery>, sqlx::Error> {
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in rows {
            deliveries.extend(delivery_from(row)?);
        }
        let events: Vec<Uuid> = deliveries
            .iter()
            .map(|delivery| delivery.event.id.uuid())
            .collect();
        let rows = sqlx::query(concat!(
            "SELECT event_id, at, status_code, duration_ms, sent_fields, answer_fields, answer, error FROM (
                 SELECT event_id, at, status_code, duration_ms, sent_fields, answer_fields, answer, error,
                     ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY at DESC, lease DESC) AS place
                 FROM webhook_attempts WHERE webhook_id = $2 AND event_id IN (",
            given!(id uuid),
            ")) AS tries WHERE place <= $3 ORDER BY place"
        ))
        .bind(Json(ids(&events)))
        .bind(webhook.uuid())
        .bind(i64::from(attempts))
        .fetch_all(&self.read)
        .await?;
        for row in &rows {
            let event: EventId = id(row, "event_id")?;
            if let Some(delivery) = deliveries.iter_mut().find(|delivery| delivery.event.id == event) {
                delivery.attempts.push(attempt_from(row)?);
            }
        }
        Ok(deliveries)
    }
}

/// Everything that is needed to deliver what is held.
async fn claims(
    tx: &mut Tx,
    held: &[DeliveryId],
    hold: HoldId,
    now: Timestamp,
) -> Result<Vec<Claim>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT w.id AS webhook_id, w.url, w.secret, CASE WHEN w.old_secret_until > $2 THEN w.old_secret END AS old_secret,
             w.timeout_seconds, w.max_retries, d.tries, e.id, e.user_id, e.kind, e.at, e.data
         FROM webhook_deliveries d
         JOIN webhooks w ON w.id = d.webhook_id
         JOIN events e ON e.id = d.event_id
         WHERE (d.webhook_id, d.event_id) IN (",
        given!(webhook_id uuid, event_id uuid),
        ") ORDER BY d.due_at, d.event_id"
    ))
    .bind(Json(held))
    .bind(now.as_millis())
    .fetch_all(&mut **tx)
    .await?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(event) = event_from(row)? else { continue };
        claims.push(Claim {
            hold,
            webhook: id(row, "webhook_id")?,
            url: row.try_get("url")?,
            secret: row.try_get("secret")?,
            old_secret: row.try_get("old_secret")?,
            event,
            effort: webhooks::effort_from(row)?,
            tries: number(row, "tries")?,
        });
    }
    Ok(claims)
}

/// Notes a try; false if the hold is another's by now, or the webhook is gone.
async fn note(tx: &mut Tx, finish: &Finish<'_>) -> Result<bool, sqlx::Error> {
    let Finish {
        claim,
        attempt,
        verdict,
        now,
    } = finish;
    let (webhook, event) = claim.ids();
    if !webhooks::lock(tx, claim.event.account, webhook).await? {
        return Ok(false);
    }
    let (state, due_at) = match verdict {
        Verdict::Delivered => ("delivered", None),
        Verdict::Again(at) => ("pending", Some(at.as_millis())),
        Verdict::Failed | Verdict::Gone => ("failed", None),
    };
    // What was given up meanwhile stays so, unless it arrived.
    let done = sqlx::query(
        "UPDATE webhook_deliveries SET
             state = CASE WHEN state = 'failed' AND $4 = 'pending' THEN state ELSE $4 END,
             due_at = COALESCE($5, due_at), tries = tries + 1, lease = NULL, lease_until = 0
         WHERE webhook_id = $1 AND event_id = $2 AND lease = $3",
    )
    .bind(webhook.uuid())
    .bind(event.uuid())
    .bind(claim.hold.uuid())
    .bind(state)
    .bind(due_at)
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO webhook_attempts (webhook_id, event_id, lease, at, status_code, duration_ms, answer, error,
             sent_fields, answer_fields)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(webhook.uuid())
    .bind(event.uuid())
    .bind(claim.hold.uuid())
    .bind(attempt.at.as_millis())
    .bind(attempt.status.map(i64::from))
    .bind(i64::from(attempt.duration_ms))
    .bind(text(&attempt.answer))
    .bind(text_or_none(attempt.error.as_deref()))
    .bind(Json(&attempt.sent))
    .bind(Json(&attempt.answer_fields))
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM webhook_attempts WHERE webhook_id = $1 AND event_id = $2 AND lease NOT IN (
             SELECT lease FROM webhook_attempts WHERE webhook_id = $1 AND event_id = $2
             ORDER BY at DESC, lease DESC LIMIT $3)",
    )
    .bind(webhook.uuid())
    .bind(event.uuid())
    .bind(i64::from(MAX_ATTEMPTS))
    .execute(&mut **tx)
    .await?;
    count(tx, claim, *verdict, attempt.at, *now).await?;
    Ok(true)
}

/// What a try means for its webhook.
async fn count(
    tx: &mut Tx,
    claim: &Claim,
    verdict: Verdict,
    at: Timestamp,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let is_test = claim.event.kind == EventKind::Test;
    let has_arrived = verdict == Verdict::Delivered && !is_test;
    let has_failed = matches!(verdict, Verdict::Failed | Verdict::Gone) && !is_test;
    let row = sqlx::query(
        "UPDATE webhooks SET
             last_triggered_at = $2,
             delivered = delivered + CASE WHEN $3 THEN 1 ELSE 0 END,
             failed = failed + CASE WHEN $4 THEN 1 ELSE 0 END,
             failure_count = CASE WHEN $3 THEN 0 WHEN $4 THEN failure_count + 1 ELSE failure_count END
         WHERE id = $1 RETURNING failure_count, is_active, url",
    )
    .bind(claim.webhook.uuid())
    .bind(at.as_millis())
    .bind(has_arrived)
    .bind(has_failed)
    .fetch_one(&mut **tx)
    .await?;
    let failures: i64 = row.try_get("failure_count")?;
    let reason = match verdict {
        Verdict::Gone => DisabledBy::Gone,
        _ if has_failed && failures >= i64::from(MAX_FAILURES) => DisabledBy::Failures,
        _ => return Ok(()),
    };
    if !row.try_get::<bool, _>("is_active")? {
        return Ok(());
    }
    sqlx::query("UPDATE webhooks SET is_active = FALSE, disabled_by = $2 WHERE id = $1")
        .bind(claim.webhook.uuid())
        .bind(reason.as_str())
        .execute(&mut **tx)
        .await?;
    webhooks::give_up(tx, claim.webhook).await?;
    let url: String = row.try_get("url")?;
    let data = json!({ "url": url, "webhookId": claim.webhook, "disabledBy": reason.as_str() });
    let occasion = format!("webhook:{}:{}", claim.webhook, claim.hold);
    notices::insert(
        tx,
        claim.event.account,
        Notice::WebhookDisabled,
        &data,
        &occasion,
        now,
    )
    .await
}

fn delivery_id(row: &Row) -> Result<DeliveryId, sqlx::Error> {
    Ok(DeliveryId {
        webhook_id: row.try_get("webhook_id")?,
        event_id: row.try_get("event_id")?,
    })
}

/// None if a newer release wrote its event.
fn delivery_from(row: &Row) -> Result<Option<Delivery>, sqlx::Error> {
    let Some(event) = event_from(row)? else {
        return Ok(None);
    };
    let state: &str = row.try_get("state")?;
    Ok(Some(Delivery {
        event,
        state: DeliveryState::named(state).ok_or_else(|| unreadable("webhook_deliveries.state", &state))?,
        tries: number(row, "tries")?,
        due_at: time(row, "due_at")?,
        created_at: time(row, "created_at")?,
        attempts: Vec::new(),
    }))
}

fn attempt_from(row: &Row) -> Result<Attempt, sqlx::Error> {
    Ok(Attempt {
        at: time(row, "at")?,
        status: number_or_none(row, "status_code")?,
        duration_ms: number(row, "duration_ms")?,
        sent: json_of(row, "sent_fields")?,
        answer_fields: json_of(row, "answer_fields")?,
        answer: row.try_get("answer")?,
        error: row.try_get("error")?,
    })
}
