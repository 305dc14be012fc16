//! What devices' owners earn. Who writes an account's credits holds the lock of its row in `user_plans`.

use async_trait::async_trait;
use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::ids::{AccountId, AuditId, NodeId};
use iploop_platform::ledger::{Act, Booking, NewEntry};
use iploop_platform::owners::{
    CreditBalance, CreditRules, DeviceHour, EarnedHour, Earnings, HourCounted, NANOS_PER_CREDIT, OwnerQuery,
    OwnerRecord, Presence, earned,
};
use iploop_platform::store::StoreError;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{address_or_none, id, number, number_or_none, time, time_or_none};
use super::ledger::{internal, lock_purse};
use super::reading::all;
use super::{Row, SqlStore, Tx, audit, books};
use crate::error::{Failure, act};

const HOUR_MILLIS: i64 = 3_600_000;
/// Why the rules hold an account's credits back.
const FARM: &str = "many devices on one network";

#[async_trait]
impl Earnings for SqlStore {
    async fn note_device_hours(
        &self,
        hour: Timestamp,
        active_after: Timestamp,
        forget: Timestamp,
    ) -> Result<(), StoreError> {
        act(async {
            sqlx::query(
                "INSERT INTO device_hours (node_id, hour_at, ip_address, country, asn, connected_since)
                 SELECT n.id, $1, n.ip_address, n.country, n.asn, n.connected_since
                 FROM device_owners o JOIN nodes n ON n.id = o.node_id
                 WHERE n.status = 'available' AND n.last_heartbeat > $2 AND n.connected_since IS NOT NULL
                 ON CONFLICT (hour_at, node_id) DO UPDATE SET ip_address = excluded.ip_address,
                     country = excluded.country, asn = excluded.asn, connected_since = excluded.connected_since",
            )
            .bind(hour.as_millis())
            .bind(active_after.as_millis())
            .execute(&self.write)
            .await?;
            sqlx::query("DELETE FROM device_hours WHERE hour_at < $1")
                .bind(forget.as_millis())
                .execute(&self.write)
                .await?;
            Ok(())
        })
        .await
    }

    async fn credit_hour(&self, first: Timestamp) -> Result<Timestamp, StoreError> {
        act(async {
            sqlx::query("INSERT INTO credit_state (id, hour_at) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
                .bind(first.as_millis())
                .execute(&self.write)
                .await?;
            let row = sqlx::query("SELECT hour_at FROM credit_state WHERE id = 1")
                .fetch_one(&self.write)
                .await?;
            Ok(time(&row, "hour_at")?)
        })
        .await
    }

    async fn owners(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<AccountId>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT user_id FROM device_owners WHERE user_id > $1 ORDER BY user_id LIMIT $2",
        )
        .bind(after.map_or(Uuid::nil(), AccountId::uuid))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, |row| id(row, "user_id")).await
    }

    async fn count_credits(
        &self,
        account: AccountId,
        hour: Timestamp,
        rules: &CreditRules,
        now: Timestamp,
    ) -> Result<HourCounted, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_purse(&mut tx, account).await?.is_none() || is_counted(&mut tx, account, hour).await? {
                return Ok(HourCounted::Nothing);
            }
            let devices = device_hours(&mut tx, account, hour).await?;
            let today = earned_today(&mut tx, account, hour).await?;
            let (nanos, is_suspect) = earned(rules, hour, &devices, today);
            let mut sum: i64 = 0;
            for (device, nanos) in devices.iter().zip(nanos) {
                if device.bytes > 0 {
                    insert_hour(&mut tx, account, hour, device, nanos).await?;
                    sum = sum.saturating_add(nanos);
                }
            }
            if sum == 0 {
                // Rows without earnings stand for having been counted as well.
                tx.commit().await?;
                return Ok(HourCounted::Nothing);
            }
            let mut credits = pending(&mut tx, account).await?;
            credits.nanos = credits.nanos.saturating_add(sum);
            if is_suspect && !credits.is_cleared && !credits.is_held {
                (credits.is_held, credits.reason) = (true, Some(FARM.to_owned()));
                audit::insert(&mut tx, &held_by_rule(account, now)).await?;
            }
            let posted = post(
                &mut tx,
                account,
                &mut credits,
                &format!("credits/{}", hour.as_millis()),
                now,
            )
            .await?;
            tx.commit().await?;
            Ok(HourCounted::Posted(posted))
        })
        .await
    }

    async fn finish_credit_hour(&self, next: Timestamp) -> Result<(), StoreError> {
        act(async {
            sqlx::query("UPDATE credit_state SET hour_at = $1 WHERE id = 1 AND hour_at < $1")
                .bind(next.as_millis())
                .execute(&self.write)
                .await?;
            Ok(())
        })
        .await
    }

    async fn credits(&self, account: AccountId) -> Result<CreditBalance, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS credits FROM ledger_postings
                 WHERE owner_id = $1 AND account = 'purse' AND unit = 'credits'",
            )
            .bind(account.uuid())
            .fetch_one(&self.read)
            .await?;
            let credits = row.try_get("credits")?;
            let row = sqlx::query(
                "SELECT pending_nanos, is_held, held_reason FROM credit_accounts WHERE user_id = $1",
            )
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            let none = || CreditBalance {
                credits,
                ..CreditBalance::default()
            };
            Ok(row.map_or_else(|| Ok(none()), |row| balance_from(&row, credits))?)
        })
        .await
    }

    async fn owner_records(&self, query: &OwnerQuery) -> Result<Vec<OwnerRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT u.id, u.email, COALESCE(c.pending_nanos, 0) AS pending_nanos, COALESCE(c.is_held, FALSE) AS is_held,
                 c.held_reason,
                 (SELECT COUNT(*) FROM device_owners o WHERE o.user_id = u.id) AS devices,
                 (SELECT CAST(COALESCE(SUM(p.amount), 0) AS BIGINT) FROM ledger_postings p
                  WHERE p.owner_id = u.id AND p.account = 'purse' AND p.unit = 'credits') AS credits
             FROM (SELECT user_id FROM device_owners UNION SELECT user_id FROM credit_accounts) AS owners
                 JOIN users u ON u.id = owners.user_id
                 LEFT JOIN credit_accounts c ON c.user_id = u.id
             WHERE u.status <> 'deleted' AND u.id > $1 AND ($2 IS NULL OR COALESCE(c.is_held, FALSE) = $2)
             ORDER BY u.id LIMIT $3",
        )
        .bind(query.after.map_or(Uuid::nil(), AccountId::uuid))
        .bind(query.is_held)
        .bind(i64::from(query.limit))
        .fetch_all(&self.read);
        all(rows, |row| {
            Ok(OwnerRecord {
                account: id(row, "id")?,
                email: row.try_get("email")?,
                devices: number(row, "devices")?,
                balance: balance_from(row, row.try_get("credits")?)?,
            })
        })
        .await
    }

    async fn earned_hours(
        &self,
        account: AccountId,
        after: Option<(Timestamp, NodeId)>,
        limit: u32,
    ) -> Result<Vec<EarnedHour>, StoreError> {
        act(async {
            let (hour, node) = after.map_or((i64::MAX, Uuid::nil()), |(hour, node)| {
                (hour.as_millis(), node.uuid())
            });
            let rows = sqlx::query(
                "SELECT hour_at, node_id, bytes, nanos FROM credit_hours
                 WHERE user_id = $1 AND (hour_at, node_id) < ($2, $3)
                 ORDER BY hour_at DESC, node_id DESC LIMIT $4",
            )
            .bind(account.uuid())
            .bind(hour)
            .bind(node)
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
            let hours = rows.iter().map(|row| {
                Ok(EarnedHour {
                    hour: time(row, "hour_at")?,
                    node: id(row, "node_id")?,
                    bytes: row.try_get("bytes")?,
                    nanos: row.try_get("nanos")?,
                })
            });
            Ok(hours.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }

    async fn hold_credits(
        &self,
        account: AccountId,
        is_held: bool,
        mut entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_purse(&mut tx, account).await?.is_none() {
                return Ok(false);
            }
            let mut credits = pending(&mut tx, account).await?;
            if credits.is_held == is_held {
                return Ok(false);
            }
            entry.before = json!({ "isHeld": credits.is_held, "pendingNanos": credits.nanos });
            credits.is_held = is_held;
            credits.is_cleared = !is_held;
            credits.reason = is_held.then(|| entry.reason.clone());
            post(
                &mut tx,
                account,
                &mut credits,
                &format!("credits-released/{}", entry.id),
                entry.at,
            )
            .await?;
            entry.after = json!({ "isHeld": is_held, "pendingNanos": credits.nanos });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

fn balance_from(row: &Row, credits: i64) -> Result<CreditBalance, sqlx::Error> {
    let reason: Option<String> = row.try_get("held_reason")?;
    let is_held: bool = row.try_get("is_held")?;
    Ok(CreditBalance {
        credits,
        pending_nanos: row.try_get("pending_nanos")?,
        held: is_held.then(|| reason.unwrap_or_default()),
    })
}

/// A row of `credit_accounts`.
#[derive(Default)]
struct Pending {
    nanos: i64,
    is_held: bool,
    is_cleared: bool,
    reason: Option<String>,
}

async fn pending(tx: &mut Tx, account: AccountId) -> Result<Pending, sqlx::Error> {
    let row = sqlx::query(
        "SELECT pending_nanos, is_held, is_cleared, held_reason FROM credit_accounts WHERE user_id = $1",
    )
    .bind(account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(Pending::default());
    };
    Ok(Pending {
        nanos: row.try_get("pending_nanos")?,
        is_held: row.try_get("is_held")?,
        is_cleared: row.try_get("is_cleared")?,
        reason: row.try_get("held_reason")?,
    })
}

/// Posts the whole credits, unless they are held, and writes the rest down; how many.
async fn post(
    tx: &mut Tx,
    account: AccountId,
    credits: &mut Pending,
    key: &str,
    now: Timestamp,
) -> Result<i64, Failure> {
    let whole = if credits.is_held {
        0
    } else {
        credits.nanos / NANOS_PER_CREDIT
    };
    if whole > 0 {
        let entry = NewEntry {
            act: Act::CreditsEarned {
                account,
                credits: whole,
            },
            description: "Credits for sharing".to_owned(),
            reason: None,
            actor: Actor::System,
            key: Some(key.to_owned()),
            metadata: json!({}),
            audit: None,
            now,
        };
        match books::book(tx, &entry).await? {
            Booking::Done(booked) if !booked.is_repeat => {}
            _ => return Err(internal("credits that can't be booked")),
        }
        credits.nanos -= whole * NANOS_PER_CREDIT;
    }
    sqlx::query(
        "INSERT INTO credit_accounts (user_id, pending_nanos, is_held, is_cleared, held_reason)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE SET pending_nanos = excluded.pending_nanos, is_held = excluded.is_held,
             is_cleared = excluded.is_cleared, held_reason = excluded.held_reason",
    )
    .bind(account.uuid())
    .bind(credits.nanos)
    .bind(credits.is_held)
    .bind(credits.is_cleared)
    .bind(credits.reason.as_deref())
    .execute(&mut **tx)
    .await?;
    Ok(whole)
}

fn held_by_rule(account: AccountId, now: Timestamp) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(),
        at: now,
        actor: Actor::System,
        action: AuditAction::CreditsHeld,
        account: Some(account),
        subject: account.to_string(),
        before: json!({ "isHeld": false }),
        after: json!({ "isHeld": true }),
        reason: FARM.to_owned(),
    }
}

async fn is_counted(tx: &mut Tx, account: AccountId, hour: Timestamp) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM credit_hours WHERE user_id = $1 AND hour_at = $2 LIMIT 1")
        .bind(account.uuid())
        .bind(hour.as_millis())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

async fn earned_today(tx: &mut Tx, account: AccountId, hour: Timestamp) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "SELECT CAST(COALESCE(SUM(nanos), 0) AS BIGINT) AS nanos FROM credit_hours
         WHERE user_id = $1 AND hour_at >= $2 AND hour_at < $3",
    )
    .bind(account.uuid())
    .bind(hour.day_start().as_millis())
    .bind(hour.day_start().plus(DAY).as_millis())
    .fetch_one(&mut **tx)
    .await?
    .try_get("nanos")
}

/// The devices that the account had in the hour, with what they carried for others. A request of more than a petabyte is a
/// fault and does not count.
async fn device_hours(
    tx: &mut Tx,
    account: AccountId,
    hour: Timestamp,
) -> Result<Vec<DeviceHour>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT o.node_id, n.status, d.ip_address, d.country, d.asn, d.connected_since,
             (SELECT CAST(COALESCE(SUM(r.bytes_uploaded + r.bytes_downloaded), 0) AS BIGINT) FROM usage_records r
              WHERE r.node_id = o.node_id AND r.started_at >= $2 AND r.started_at < $3 AND r.billable
                  AND r.user_id <> $1 AND r.bytes_uploaded < 1000000000000000
                  AND r.bytes_downloaded < 1000000000000000) AS bytes,
             (SELECT CAST(COALESCE(SUM(c.nanos), 0) AS BIGINT) FROM credit_hours c
              WHERE c.node_id = o.node_id AND c.hour_at >= $4 AND c.hour_at < $5) AS earned_today
         FROM device_owners o JOIN nodes n ON n.id = o.node_id
             LEFT JOIN device_hours d ON d.node_id = o.node_id AND d.hour_at = $2
         WHERE o.user_id = $1 AND o.claimed_at < $3 ORDER BY o.node_id",
    )
    .bind(account.uuid())
    .bind(hour.as_millis())
    .bind(hour.as_millis().saturating_add(HOUR_MILLIS))
    .bind(hour.day_start().as_millis())
    .bind(hour.day_start().plus(DAY).as_millis())
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(device_hour_from).collect()
}

fn device_hour_from(row: &Row) -> Result<DeviceHour, sqlx::Error> {
    let presence = match (
        address_or_none(row, "ip_address")?,
        time_or_none(row, "connected_since")?,
    ) {
        (Some(ip), Some(connected_since)) => Some(Presence {
            ip,
            country: row.try_get("country")?,
            asn: number_or_none(row, "asn")?,
            connected_since,
        }),
        _ => None,
    };
    Ok(DeviceHour {
        node: id(row, "node_id")?,
        bytes: row.try_get("bytes")?,
        is_banned: row.try_get::<&str, _>("status")? == "banned",
        presence,
        earned_today_nanos: row.try_get("earned_today")?,
    })
}

async fn insert_hour(
    tx: &mut Tx,
    account: AccountId,
    hour: Timestamp,
    device: &DeviceHour,
    nanos: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO credit_hours (user_id, hour_at, node_id, bytes, nanos) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(account.uuid())
    .bind(hour.as_millis())
    .bind(device.node.uuid())
    .bind(device.bytes)
    .bind(nanos)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
