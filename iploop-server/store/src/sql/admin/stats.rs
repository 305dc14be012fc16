//! Figures of the whole platform.

use std::collections::BTreeMap;

use iploop_platform::admin::{StoredStats, Traffic, UserCounts};
use iploop_platform::clock::Timestamp;
use iploop_platform::statistics::StatusName;
use sqlx::Row as _;

use super::super::columns::number;
use super::super::rollups::Grain;
use super::super::{Pool, Row};
use super::nodes::status_now;

/// Sums over requests, out of rows that have the columns of `usage_records`.
macro_rules! traffic {
    () => {
        "COUNT(*) AS requests,
         CAST(COALESCE(SUM(CASE WHEN error_code IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT) AS successful,
         CAST(COALESCE(SUM(bytes_uploaded), 0) AS BIGINT) AS bytes_up,
         CAST(COALESCE(SUM(bytes_downloaded), 0) AS BIGINT) AS bytes_down,
         CAST(COALESCE(SUM(CASE WHEN billable THEN bytes_uploaded + bytes_downloaded ELSE 0 END), 0) AS BIGINT)
             AS billed_bytes"
    };
}

/// Sums over all accounts' sums; the condition goes on behind it.
macro_rules! summed {
    () => {
        "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) AS requests,
             CAST(COALESCE(SUM(successful), 0) AS BIGINT) AS successful,
             CAST(COALESCE(SUM(bytes_uploaded), 0) AS BIGINT) AS bytes_up,
             CAST(COALESCE(SUM(bytes_downloaded), 0) AS BIGINT) AS bytes_down,
             CAST(COALESCE(SUM(billed_bytes), 0) AS BIGINT) AS billed_bytes
         FROM usage_rollups WHERE dimension = 'all'"
    };
}

/// Codes of failed requests that are shown.
const MAX_ERRORS: usize = 50;

pub(super) async fn stored(
    pool: &Pool,
    recent: Timestamp,
    now: Timestamp,
) -> Result<StoredStats, sqlx::Error> {
    let all_time = sqlx::query(concat!(summed!(), " AND grain_ms = $1"))
        .bind(Grain::Day.millis())
        .fetch_one(pool)
        .await?;
    // The slot in which what is recent begins is in part older: that one is counted by its requests.
    let from = recent.as_millis();
    let slots_from = from + (-from).rem_euclid(Grain::Slot.millis());
    let whole = sqlx::query(concat!(summed!(), " AND grain_ms = $1 AND slot_at >= $2"))
        .bind(Grain::Slot.millis())
        .bind(slots_from)
        .fetch_one(pool)
        .await?;
    let before = sqlx::query(concat!(
        "SELECT ",
        traffic!(),
        " FROM usage_records WHERE started_at >= $1 AND started_at < $2"
    ))
    .bind(from)
    .bind(slots_from)
    .fetch_one(pool)
    .await?;
    let nodes = counts(
        pool,
        concat!(
            "SELECT name, COUNT(*) AS many FROM (SELECT ",
            status_now!("$1", "$2"),
            " AS name FROM nodes n) AS statuses GROUP BY name"
        ),
        &[
            now.as_millis(),
            now.minus(iploop_platform::admin::SILENT_AFTER).as_millis(),
        ],
    )
    .await?;
    let versions = counts(
        pool,
        "SELECT sdk_version AS name, COUNT(*) AS many FROM nodes WHERE last_heartbeat >= $1
         GROUP BY sdk_version ORDER BY many DESC, sdk_version LIMIT 100",
        &[recent.as_millis()],
    )
    .await?;
    let plans = counts(
        pool,
        "SELECT p.name, COUNT(*) AS many FROM user_plans b JOIN plans p ON p.id = b.plan_id
             JOIN users u ON u.id = b.user_id
         WHERE u.status <> 'deleted' GROUP BY p.name",
        &[],
    )
    .await?;
    Ok(StoredStats {
        users: users(pool, recent).await?,
        plans,
        all_time: traffic_from(&all_time)?,
        recent: sum(traffic_from(&whole)?, traffic_from(&before)?),
        errors: errors(pool, from, slots_from).await?,
        nodes,
        versions,
    })
}

/// Failed requests from here on by their code, the most frequent ones; whole slots count from `slots_from` on.
async fn errors(pool: &Pool, from: i64, slots_from: i64) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let whole = counts(
        pool,
        "SELECT name, CAST(SUM(requests) AS BIGINT) AS many FROM usage_rollups
         WHERE dimension = 'status' AND grain_ms = $1 AND slot_at >= $2 GROUP BY name",
        &[Grain::Slot.millis(), slots_from],
    )
    .await?;
    let mut codes = counts(
        pool,
        "SELECT error_code AS name, COUNT(*) AS many FROM usage_records
         WHERE started_at >= $1 AND started_at < $2 AND error_code IS NOT NULL GROUP BY error_code",
        &[from, slots_from],
    )
    .await?;
    for (name, many) in whole {
        if let Some(code) = StatusName::read(&name).error {
            let sum = codes.entry(code).or_default();
            *sum = sum.saturating_add(many);
        }
    }
    codes.retain(|_, many| *many > 0);
    let mut codes: Vec<_> = codes.into_iter().collect();
    codes.sort_by(|(one, many), (other, more)| more.cmp(many).then_with(|| one.cmp(other)));
    codes.truncate(MAX_ERRORS);
    Ok(codes.into_iter().collect())
}

async fn users(pool: &Pool, recent: Timestamp) -> Result<UserCounts, sqlx::Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) FILTER (WHERE status <> 'deleted') AS living,
             COUNT(*) FILTER (WHERE status = 'active') AS active,
             COUNT(*) FILTER (WHERE status = 'suspended') AS suspended,
             COUNT(*) FILTER (WHERE status = 'deleted') AS deleted,
             COUNT(*) FILTER (WHERE status = 'active' AND role = 'admin') AS admins,
             COUNT(*) FILTER (WHERE status <> 'deleted' AND email_verified) AS verified,
             COUNT(*) FILTER (WHERE created_at >= $1) AS registered,
             COUNT(*) FILTER (WHERE last_login_at >= $1) AS signed_in
         FROM users",
    )
    .bind(recent.as_millis())
    .fetch_one(pool)
    .await?;
    Ok(UserCounts {
        total: number(&row, "living")?,
        active: number(&row, "active")?,
        suspended: number(&row, "suspended")?,
        deleted: number(&row, "deleted")?,
        admins: number(&row, "admins")?,
        verified: number(&row, "verified")?,
        new: number(&row, "registered")?,
        signed_in: number(&row, "signed_in")?,
    })
}

async fn counts(pool: &Pool, sql: &'static str, given: &[i64]) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let query = given
        .iter()
        .fold(sqlx::query(sql), |query, value| query.bind(*value));
    let rows = query.fetch_all(pool).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("name")?, number(row, "many")?)))
        .collect()
}

fn traffic_from(row: &Row) -> Result<Traffic, sqlx::Error> {
    Ok(Traffic {
        requests: number(row, "requests")?,
        successful: number(row, "successful")?,
        bytes_up: number(row, "bytes_up")?,
        bytes_down: number(row, "bytes_down")?,
        billed_bytes: number(row, "billed_bytes")?,
    })
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        requests: a.requests.saturating_add(b.requests),
        successful: a.successful.saturating_add(b.successful),
        bytes_up: a.bytes_up.saturating_add(b.bytes_up),
        bytes_down: a.bytes_down.saturating_add(b.bytes_down),
        billed_bytes: a.billed_bytes.saturating_add(b.billed_bytes),
    }
}
