//! Events with what follows from them, and the places of those who look for them.

use async_trait::async_trait;
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::events::{
    Event, EventKind, Events, FailedRequest, Feed, FeedStep, MovedPurse, PurseWatch,
};
use iploop_platform::ids::AccountId;
use iploop_platform::notices::{Notice, Preferences};
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::MAX_PENDING;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{clean, id, json, number, number_or_none, time};
use super::reading::all;
use super::{Row, SqlStore, Tx, notices};
use crate::error::act;

/// Events in one statement: bounds the JSON text to some hundred KiB.
const ROWS_PER_STATEMENT: usize = 500;
/// Samples of failed requests in one look.
const MAX_FAILED: i64 = 10_000;
/// Ended mails are kept so much longer than events: a report's row says that it was sent.
const MAILS_KEPT_DAYS: u32 = 35;

#[derive(Serialize)]
struct EventRow {
    id: Uuid,
    user_id: Uuid,
    kind: &'static str,
    at: i64,
    data: Value,
}

/// Writes events in the transaction of what they are about, with their deliveries and their mails.
///
/// A webhook with [`MAX_PENDING`] waiting deliveries gets no more of them: a replay brings them later.
pub(super) async fn insert(tx: &mut Tx, events: &[Event]) -> Result<(), sqlx::Error> {
    for events in events.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<EventRow> = events.iter().map(EventRow::from).collect();
        sqlx::query(concat!(
            "INSERT INTO events (id, user_id, kind, at, data) SELECT id, user_id, kind, at, data FROM (",
            given!(id uuid, user_id uuid, kind text, at bigint, data jsonb),
            ") AS new"
        ))
        .bind(Json(&rows))
        .execute(&mut **tx)
        .await?;
        sqlx::query(concat!(
            "INSERT INTO webhook_deliveries (webhook_id, event_id, state, tries, due_at, lease_until, created_at)
             SELECT w.id, new.id, 'pending', 0, new.at, 0, new.at FROM (",
            given!(id uuid, user_id uuid, kind text, at bigint),
            ") AS new
             JOIN webhooks w ON w.user_id = new.user_id AND w.is_active
             JOIN users u ON u.id = w.user_id AND u.status <> 'deleted'
             JOIN webhook_subscriptions s ON s.webhook_id = w.id AND s.kind = new.kind
             WHERE (SELECT COUNT(*) FROM webhook_deliveries p WHERE p.webhook_id = w.id AND p.state = 'pending') < $2"
        ))
        .bind(Json(&rows))
        .bind(i64::from(MAX_PENDING))
        .execute(&mut **tx)
        .await?;
        for event in events {
            if let Some(notice) = Notice::of_event(event.kind) {
                let occasion = notice.occasion(event);
                notices::insert(tx, event.account, notice, &event.data, &occasion, event.at).await?;
            }
        }
    }
    Ok(())
}

impl From<&Event> for EventRow {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.uuid(),
            user_id: event.account.uuid(),
            kind: event.kind.as_str(),
            at: event.at.as_millis(),
            data: clean(event.data.clone()),
        }
    }
}

/// An event from its own columns; none if a newer release wrote it.
pub(super) fn event_from(row: &Row) -> Result<Option<Event>, sqlx::Error> {
    let kind: &str = row.try_get("kind")?;
    let Some(kind) = EventKind::named(kind) else {
        return Ok(None);
    };
    Ok(Some(Event {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        kind,
        at: time(row, "at")?,
        data: json(row, "data")?,
    }))
}

#[async_trait]
impl Events for SqlStore {
    async fn publish(&self, events: &[Event]) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            insert(&mut tx, events).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn feed(&self, name: &str) -> Result<Option<Feed>, StoreError> {
        act(async {
            let row = sqlx::query("SELECT at, state FROM event_feeds WHERE name = $1")
                .bind(name)
                .fetch_optional(&self.read)
                .await?;
            let feed = row.map(|row| {
                Ok::<_, sqlx::Error>(Feed {
                    at: time(&row, "at")?,
                    state: json(&row, "state")?,
                })
            });
            Ok(feed.transpose()?)
        })
        .await
    }

    async fn advance_feed(&self, step: &FeedStep) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // The condition on its old place makes one of several take the step.
            let moved = match step.from {
                None => sqlx::query(
                    "INSERT INTO event_feeds (name, at, state) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
                ),
                Some(_) => {
                    sqlx::query("UPDATE event_feeds SET at = $2, state = $3 WHERE name = $1 AND at = $4")
                }
            };
            let mut moved = moved
                .bind(step.name)
                .bind(step.to.at.as_millis())
                .bind(Json(clean(step.to.state.clone())));
            if let Some(from) = step.from {
                moved = moved.bind(from.as_millis());
            }
            if moved.execute(&mut *tx).await?.rows_affected() == 0 {
                return Ok(false);
            }
            insert(&mut tx, &step.events).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn subscribers(
        &self,
        kind: EventKind,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT w.user_id FROM webhooks w
             JOIN webhook_subscriptions s ON s.webhook_id = w.id
             JOIN users u ON u.id = w.user_id
             WHERE w.is_active AND u.status = 'active' AND s.kind = $1 AND ($2 IS NULL OR w.user_id > $2)
             ORDER BY w.user_id LIMIT $3",
        )
        .bind(kind.as_str())
        .bind(after.map(|after| after.uuid()))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, |row| id(row, "user_id")).await
    }

    async fn failed_requests(
        &self,
        from: Timestamp,
        to: Timestamp,
        each: u32,
    ) -> Result<Vec<FailedRequest>, StoreError> {
        act(async {
            let rows = sqlx::query(
                "SELECT id, user_id, api_key_id, error_code, status_code, destination, exit_country, ended_at, of_all
                 FROM (
                     SELECT r.id, r.user_id, r.api_key_id, r.error_code, r.status_code, r.destination, r.exit_country,
                         r.ended_at, COUNT(*) OVER (PARTITION BY r.user_id) AS of_all,
                         ROW_NUMBER() OVER (PARTITION BY r.user_id ORDER BY r.ended_at, r.id) AS place
                     FROM usage_records r
                     WHERE r.error_code IS NOT NULL AND r.ended_at IS NOT NULL AND r.ended_at >= $1 AND r.ended_at < $2
                         AND r.user_id IN (
                             SELECT w.user_id FROM webhooks w JOIN webhook_subscriptions s ON s.webhook_id = w.id
                             WHERE w.is_active AND s.kind = 'request.failed'
                         )
                 ) AS ranked
                 WHERE place <= $3 ORDER BY user_id, place LIMIT $4",
            )
            .bind(from.as_millis())
            .bind(to.as_millis())
            .bind(i64::from(each))
            .bind(MAX_FAILED)
            .fetch_all(&self.read)
            .await?;
            let failed = rows.iter().map(|row| {
                Ok(FailedRequest {
                    account: id(row, "user_id")?,
                    request: id(row, "id")?,
                    api_key: id(row, "api_key_id")?,
                    code: row.try_get("error_code")?,
                    status: number_or_none(row, "status_code")?,
                    destination: row.try_get("destination")?,
                    country: row.try_get("exit_country")?,
                    ended_at: time(row, "ended_at")?,
                    of: number(row, "of_all")?,
                })
            });
            Ok(failed.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }

    async fn moved_purses(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<MovedPurse>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.user_id, p.balance_bytes, p.used_bytes, w.balance_bytes AS seen_balance, w.used_bytes AS seen_used,
                 w.ceiling_bytes, w.crossed, w.revision, n.usage_threshold_percent, n.balance_low_bytes
             FROM user_plans p
             LEFT JOIN purse_watch w ON w.user_id = p.user_id
             LEFT JOIN notification_preferences n ON n.user_id = p.user_id
             WHERE ($1 IS NULL OR p.user_id > $1)
                 AND (w.user_id IS NULL OR w.balance_bytes <> p.balance_bytes OR w.used_bytes <> p.used_bytes)
             ORDER BY p.user_id LIMIT $2",
        )
        .bind(after.map(|after| after.uuid()))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, moved_from).await
    }

    async fn note_purse(
        &self,
        account: AccountId,
        seen: &PurseWatch,
        events: &[Event],
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let statement = match seen.revision {
                1 => {
                    "INSERT INTO purse_watch (user_id, balance_bytes, used_bytes, ceiling_bytes, crossed, revision)
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id) DO NOTHING"
                }
                _ => {
                    "UPDATE purse_watch SET balance_bytes = $2, used_bytes = $3, ceiling_bytes = $4, crossed = $5,
                         revision = $6
                     WHERE user_id = $1 AND revision = $6 - 1"
                }
            };
            let noted = sqlx::query(statement)
                .bind(account.uuid())
                .bind(seen.balance_bytes)
                .bind(seen.used_bytes)
                .bind(seen.ceiling_bytes)
                .bind(seen.crossed)
                .bind(seen.revision)
                .execute(&mut *tx)
                .await?;
            if noted.rows_affected() == 0 {
                return Ok(false);
            }
            insert(&mut tx, events).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn forget_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let statements = [
            (
                "DELETE FROM webhook_attempts WHERE (webhook_id, event_id, lease) IN (
                     SELECT webhook_id, event_id, lease FROM webhook_attempts WHERE at < $1 ORDER BY at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
                     SELECT webhook_id, event_id FROM webhook_deliveries WHERE created_at < $1
                     ORDER BY created_at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < $1 ORDER BY at LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM rate_limit_alerts WHERE api_key_id IN (
                     SELECT api_key_id FROM rate_limit_alerts WHERE hour_at < $1 LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM mail_outbox WHERE id IN (
                     SELECT id FROM mail_outbox WHERE created_at < $1 AND state <> 'pending'
                     ORDER BY created_at LIMIT $2)",
                before.minus(DAY * MAILS_KEPT_DAYS),
            ),
        ];
        act(async {
            let mut most = 0;
            for (statement, before) in statements {
                let gone = sqlx::query(statement)
                    .bind(before.as_millis())
                    .bind(i64::from(limit))
                    .execute(&self.write)
                    .await?;
                most = gone.rows_affected().max(most);
            }
            Ok(most)
        })
        .await
    }
}

fn moved_from(row: &Row) -> Result<MovedPurse, sqlx::Error> {
    let defaults = Preferences::default();
    let seen = match row.try_get::<Option<i64>, _>("revision")? {
        None => None,
        Some(revision) => Some(PurseWatch {
            balance_bytes: row.try_get("seen_balance")?,
            used_bytes: row.try_get("seen_used")?,
            ceiling_bytes: row.try_get("ceiling_bytes")?,
            crossed: row.try_get("crossed")?,
            revision,
        }),
    };
    let low_bytes: Option<i64> = row.try_get("balance_low_bytes")?;
    Ok(MovedPurse {
        account: id(row, "user_id")?,
        balance_bytes: row.try_get("balance_bytes")?,
        used_bytes: row.try_get("used_bytes")?,
        seen,
        threshold_percent: number_or_none(row, "usage_threshold_percent")?
            .unwrap_or(defaults.usage_threshold_percent),
        low_bytes: low_bytes.unwrap_or(defaults.balance_low_bytes),
    })
}
