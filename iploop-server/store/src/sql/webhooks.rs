//! Webhooks as their owners see them. Deliveries are `deliveries.rs`.
//!
//! Who changes a webhook or its deliveries holds the lock of its row; who changes several takes them in the order of their
//! ids. New deliveries come without it.

use std::collections::{BTreeMap, BTreeSet};

use iploop_platform::clock::Timestamp;
use iploop_platform::events::EventKind;
use iploop_platform::ids::{AccountId, WebhookId};
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{
    DisabledBy, Effort, MAX_WEBHOOKS, NewWebhook, SealedSecret, StoredChange, Webhook,
};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{id, number, number_or_none, text, text_or_none, time, time_or_none};
use super::ledger::ids;
use super::{Db, Row, SqlStore, Tx};
use crate::error::{Failure, unreadable};

macro_rules! columns {
    () => {
        "id, user_id, url, description, timeout_seconds, max_retries, secret_preview, old_secret_until, is_active,
         disabled_by, failure_count, delivered, failed, last_triggered_at, created_at, updated_at"
    };
}

#[derive(Serialize)]
struct Subscription {
    kind: &'static str,
}

pub(super) async fn create(tx: &mut Tx, new: &NewWebhook) -> Result<Webhook, Failure> {
    // The account's row is the lock that makes parallel tries count one after the other.
    sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
        .bind(new.account.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    let webhooks: i64 = sqlx::query("SELECT COUNT(*) AS webhooks FROM webhooks WHERE user_id = $1")
        .bind(new.account.uuid())
        .fetch_one(&mut **tx)
        .await?
        .try_get("webhooks")?;
    if webhooks >= i64::from(MAX_WEBHOOKS) {
        let full = StoreError::LimitReached {
            what: "webhooks",
            limit: MAX_WEBHOOKS,
        };
        return Err(full.into());
    }
    let row = sqlx::query(concat!(
        "INSERT INTO webhooks (id, user_id, url, description, secret, secret_preview, is_active, failure_count, delivered,
             failed, created_at, updated_at, timeout_seconds, max_retries)
         VALUES ($1, $2, $3, $4, $5, $6, TRUE, 0, 0, 0, $7, $7, $8, $9)
         RETURNING ",
        columns!()
    ))
    .bind(new.id.uuid())
    .bind(new.account.uuid())
    .bind(text(&new.url))
    .bind(text_or_none(new.description.as_deref()))
    .bind(&new.secret.sealed)
    .bind(text(&new.secret.preview))
    .bind(new.now.as_millis())
    .bind(new.effort.timeout_seconds.map(i64::from))
    .bind(new.effort.max_retries.map(i64::from))
    .fetch_one(&mut **tx)
    .await?;
    subscribe(tx, new.id, &new.events).await?;
    Ok(webhook_from(&row, new.events.clone())?)
}

pub(super) async fn list(store: &SqlStore, account: AccountId) -> Result<Vec<Webhook>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM webhooks WHERE user_id = $1 ORDER BY created_at, id"
    ))
    .bind(account.uuid())
    .fetch_all(&store.read)
    .await?;
    let all = rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<Vec<Uuid>, _>>()?;
    let mut kinds = subscriptions(&store.read, &all).await?;
    let webhooks = rows.iter().map(|row| {
        let events = kinds.remove(&id(row, "id")?).unwrap_or_default();
        webhook_from(row, events)
    });
    webhooks.collect()
}

pub(super) async fn one(
    store: &SqlStore,
    account: AccountId,
    webhook: WebhookId,
) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM webhooks WHERE user_id = $1 AND id = $2"
    ))
    .bind(account.uuid())
    .bind(webhook.uuid())
    .fetch_optional(&store.read)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let events = subscriptions(&store.read, &[webhook.uuid()])
        .await?
        .remove(&webhook);
    webhook_from(&row, events.unwrap_or_default()).map(Some)
}

pub(super) async fn change(
    tx: &mut Tx,
    account: AccountId,
    webhook: WebhookId,
    change: &StoredChange,
    now: Timestamp,
) -> Result<Option<Webhook>, sqlx::Error> {
    if !lock(tx, account, webhook).await? {
        return Ok(None);
    }
    if let Some(events) = &change.events {
        sqlx::query("DELETE FROM webhook_subscriptions WHERE webhook_id = $1")
            .bind(webhook.uuid())
            .execute(&mut **tx)
            .await?;
        subscribe(tx, webhook, events).await?;
    }
    if change.is_active == Some(false) {
        give_up(tx, webhook).await?;
    }
    let row = sqlx::query(concat!(
        "UPDATE webhooks SET
             url = COALESCE($2, url),
             description = CASE WHEN $3 THEN $4 ELSE description END,
             failure_count = CASE WHEN $5 AND NOT is_active THEN 0 ELSE failure_count END,
             disabled_by = CASE WHEN $5 THEN NULL WHEN $6 AND is_active THEN 'owner' ELSE disabled_by END,
             is_active = (is_active OR $5) AND NOT $6,
             updated_at = $7,
             timeout_seconds = CASE WHEN $8 THEN $9 ELSE timeout_seconds END,
             max_retries = CASE WHEN $10 THEN $11 ELSE max_retries END
         WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(webhook.uuid())
    .bind(change.url.as_deref().map(text))
    .bind(change.description.is_some())
    .bind(text_or_none(
        change.description.as_ref().and_then(Option::as_deref),
    ))
    .bind(change.is_active == Some(true))
    .bind(change.is_active == Some(false))
    .bind(now.as_millis())
    .bind(change.timeout_seconds.is_some())
    .bind(change.timeout_seconds.flatten().map(i64::from))
    .bind(change.max_retries.is_some())
    .bind(change.max_retries.flatten().map(i64::from))
    .fetch_one(&mut **tx)
    .await?;
    let events = subscriptions(&mut **tx, &[webhook.uuid()])
        .await?
        .remove(&webhook);
    webhook_from(&row, events.unwrap_or_default()).map(Some)
}

pub(super) async fn delete(tx: &mut Tx, account: AccountId, webhook: WebhookId) -> Result<bool, sqlx::Error> {
    if !lock(tx, account, webhook).await? {
        return Ok(false);
    }
    for statement in [
        "DELETE FROM webhook_attempts WHERE webhook_id = $1",
        "DELETE FROM webhook_deliveries WHERE webhook_id = $1",
        "DELETE FROM webhook_subscriptions WHERE webhook_id = $1",
        "DELETE FROM webhooks WHERE id = $1",
    ] {
        sqlx::query(statement)
            .bind(webhook.uuid())
            .execute(&mut **tx)
            .await?;
    }
    Ok(true)
}

pub(super) async fn rotate(
    store: &SqlStore,
    account: AccountId,
    webhook: WebhookId,
    secret: &SealedSecret,
    old_until: Timestamp,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE webhooks SET old_secret = secret, old_secret_until = $3, secret = $4, secret_preview = $5, updated_at = $6
         WHERE user_id = $1 AND id = $2",
    )
    .bind(account.uuid())
    .bind(webhook.uuid())
    .bind(old_until.as_millis())
    .bind(&secret.sealed)
    .bind(text(&secret.preview))
    .bind(now.as_millis())
    .execute(&store.write)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn secrets(
    store: &SqlStore,
    account: AccountId,
    webhook: WebhookId,
    now: Timestamp,
) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT secret, CASE WHEN old_secret_until > $3 THEN old_secret END AS old_secret
         FROM webhooks WHERE user_id = $1 AND id = $2",
    )
    .bind(account.uuid())
    .bind(webhook.uuid())
    .bind(now.as_millis())
    .fetch_optional(&store.read)
    .await?;
    row.map(|row| Ok((row.try_get("secret")?, row.try_get("old_secret")?)))
        .transpose()
}

/// Locks a webhook's row; false if it is another's.
pub(super) async fn lock(tx: &mut Tx, account: AccountId, webhook: WebhookId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT id FROM webhooks WHERE user_id = $1 AND id = $2",
        locked!()
    ))
    .bind(account.uuid())
    .bind(webhook.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

/// Ends what waits for a webhook. Under its lock.
pub(super) async fn give_up(tx: &mut Tx, webhook: WebhookId) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE webhook_deliveries SET state = 'failed' WHERE webhook_id = $1 AND state = 'pending'")
        .bind(webhook.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn subscribe(tx: &mut Tx, webhook: WebhookId, events: &BTreeSet<EventKind>) -> Result<(), sqlx::Error> {
    let kinds: Vec<Subscription> = events
        .iter()
        .map(|kind| Subscription { kind: kind.as_str() })
        .collect();
    sqlx::query(concat!(
        "INSERT INTO webhook_subscriptions (webhook_id, kind) SELECT $2, kind FROM (",
        given!(kind text),
        ") AS new"
    ))
    .bind(Json(kinds))
    .bind(webhook.uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn subscriptions<'e>(
    executor: impl sqlx::Executor<'e, Database = Db>,
    webhooks: &[Uuid],
) -> Result<BTreeMap<WebhookId, BTreeSet<EventKind>>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT webhook_id, kind FROM webhook_subscriptions WHERE webhook_id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(ids(webhooks)))
    .fetch_all(executor)
    .await?;
    let mut found: BTreeMap<WebhookId, BTreeSet<EventKind>> = BTreeMap::new();
    for row in &rows {
        // One that a newer release knows is left out.
        if let Some(kind) = EventKind::named(row.try_get("kind")?) {
            found.entry(id(row, "webhook_id")?).or_default().insert(kind);
        }
    }
    Ok(found)
}

pub(super) fn effort_from(row: &Row) -> Result<Effort, sqlx::Error> {
    Ok(Effort {
        timeout_seconds: number_or_none(row, "timeout_seconds")?,
        max_retries: number_or_none(row, "max_retries")?,
    })
}

fn webhook_from(row: &Row, events: BTreeSet<EventKind>) -> Result<Webhook, sqlx::Error> {
    let disabled_by: Option<&str> = row.try_get("disabled_by")?;
    let disabled_by = disabled_by
        .map(|who| DisabledBy::named(who).ok_or_else(|| unreadable("webhooks.disabled_by", &who)))
        .transpose()?;
    Ok(Webhook {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        url: row.try_get("url")?,
        description: row.try_get("description")?,
        events,
        effort: effort_from(row)?,
        secret_preview: row.try_get("secret_preview")?,
        old_secret_until: time_or_none(row, "old_secret_until")?,
        is_active: row.try_get("is_active")?,
        disabled_by,
        failure_count: number(row, "failure_count")?,
        delivered: number(row, "delivered")?,
        failed: number(row, "failed")?,
        last_triggered_at: time_or_none(row, "last_triggered_at")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
