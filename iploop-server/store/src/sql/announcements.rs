//! Planned work that was announced, and who was told of it.

use iploop_platform::abuse::AuditEntry;
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::AccountId;
use iploop_platform::notices::{Announcement, MAX_ANNOUNCEMENTS_A_DAY, Notice};
use iploop_platform::store::StoreError;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, number, text, time};
use super::{Row, SqlStore, Tx, audit, events, notices};
use crate::error::Failure;

/// Announcements are kept so long.
const KEPT_DAYS: u32 = 365;
/// Accounts that are told by webhook.
const MAX_TOLD: i64 = 10_000;

pub(super) async fn announce(
    tx: &mut Tx,
    announcement: &Announcement,
    entry: &AuditEntry,
) -> Result<(), Failure> {
    // The settings' row is the lock that makes parallel tries count one after the other.
    sqlx::query(concat!(
        "SELECT id FROM platform_settings WHERE id = 1",
        locked!()
    ))
    .fetch_optional(&mut **tx)
    .await?;
    let row = sqlx::query("SELECT COUNT(*) AS recent FROM announcements WHERE created_at > $1")
        .bind(announcement.created_at.minus(DAY).as_millis())
        .fetch_one(&mut **tx)
        .await?;
    if number::<u32>(&row, "recent")? >= MAX_ANNOUNCEMENTS_A_DAY {
        return Err(StoreError::LimitReached {
            what: "announcements a day",
            limit: MAX_ANNOUNCEMENTS_A_DAY,
        }
        .into());
    }
    sqlx::query("DELETE FROM announcements WHERE is_told AND created_at < $1")
        .bind(announcement.created_at.minus(DAY * KEPT_DAYS).as_millis())
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO announcements (id, starts_at, ends_at, message, created_at, is_told)
         VALUES ($1, $2, $3, $4, $5, FALSE)",
    )
    .bind(announcement.id.uuid())
    .bind(announcement.starts_at.as_millis())
    .bind(announcement.ends_at.as_millis())
    .bind(text(&announcement.message))
    .bind(announcement.created_at.as_millis())
    .execute(&mut **tx)
    .await?;
    audit::insert(tx, entry).await?;
    Ok(())
}

/// Queues a part of the mails. With the last part come the events for webhooks, and it is done.
pub(super) async fn tell(
    store: &SqlStore,
    now: Timestamp,
    limit: u32,
) -> Result<Option<(Announcement, u64)>, sqlx::Error> {
    let waiting = sqlx::query("SELECT id FROM announcements WHERE NOT is_told LIMIT 1")
        .fetch_optional(&store.read)
        .await?;
    if waiting.is_none() {
        return Ok(None);
    }
    let mut tx = store.begin().await?;
    let row = sqlx::query(concat!(
        "SELECT id, starts_at, ends_at, message, created_at FROM announcements WHERE NOT is_told ORDER BY id LIMIT 1",
        locked!()
    ))
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let announcement = announcement_from(&row)?;
    let occasion = format!("{}:{}", Notice::Maintenance, announcement.id);
    let readers = readers(&mut tx, &occasion, limit).await?;
    let data = announcement.data();
    let queued = notices::insert_many(&mut tx, &readers, Notice::Maintenance, &data, &occasion, now).await?;
    if readers.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        let subscribers = subscribers(&mut tx).await?;
        let event = |account| Event::new(account, EventKind::MaintenanceAnnounced, now, data.clone());
        let told: Vec<Event> = subscribers.into_iter().map(event).collect();
        events::insert(&mut tx, &told).await?;
        sqlx::query("UPDATE announcements SET is_told = TRUE WHERE id = $1")
            .bind(announcement.id.uuid())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(Some((announcement, queued)))
}

/// Accounts that want to know and were not queued for it.
async fn readers(tx: &mut Tx, occasion: &str, limit: u32) -> Result<Vec<Uuid>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT u.id FROM users u JOIN notification_preferences n ON n.user_id = u.id
         WHERE n.maintenance_alerts AND u.status = 'active' AND u.email_verified
             AND NOT EXISTS (SELECT 1 FROM mail_outbox m WHERE m.user_id = u.id AND m.occasion = $1)
         ORDER BY u.id LIMIT $2",
    )
    .bind(occasion)
    .bind(i64::from(limit))
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(|row| row.try_get("id")).collect()
}

async fn subscribers(tx: &mut Tx) -> Result<Vec<AccountId>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT w.user_id FROM webhooks w JOIN webhook_subscriptions s ON s.webhook_id = w.id
         WHERE w.is_active AND s.kind = $1 ORDER BY w.user_id LIMIT $2",
    )
    .bind(EventKind::MaintenanceAnnounced.as_str())
    .bind(MAX_TOLD)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(|row| id(row, "user_id")).collect()
}

fn announcement_from(row: &Row) -> Result<Announcement, sqlx::Error> {
    Ok(Announcement {
        id: id(row, "id")?,
        starts_at: time(row, "starts_at")?,
        ends_at: time(row, "ends_at")?,
        message: row.try_get("message")?,
        created_at: time(row, "created_at")?,
    })
}
