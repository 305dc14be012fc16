//! Books usage: brings rows up to their totals, and takes what is new from balances and leases.
//!
//! A handful of statements for a batch of any size, each with its rows as one JSON array.

use std::collections::BTreeMap;
use std::net::IpAddr;

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
use iploop_platform::usage::UsageRecord;
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{text, time};
use super::ledger::{ids, internal, lock_purses};
use super::sold::{Sales, Sold};
use super::usage::record_columns;
use super::{Tx, rollups};
use crate::booking::{cost_bytes, merge, signed};
use crate::error::Failure;

/// Rows in one statement: bounds the JSON text to some hundred KiB.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Books `records`. What they bring is decided by [`merge`] and [`cost_bytes`] under the lock of the accounts' rows, so
/// repeated, late and parallel batches end in the same rows and the same balance. A record that turns out not billable
/// gives back what was booked for it.
///
/// # Errors
/// A record of an account that does not exist, or under the id of another account's request, is `Internal` and nothing of
/// the batch is booked: dropped in silence, it would hide that this is the wrong database or an old one.
pub(super) async fn settle(tx: &mut Tx, records: &[UsageRecord], now: Timestamp) -> Result<(), Failure> {
    let given = one_version_each(records)?;
    let accounts: Vec<Uuid> = sorted(given.values().map(|record| record.account.uuid()));
    let purses = lock_purses(tx, &accounts).await?;
    if purses.len() < accounts.len() {
        return Err(internal("usage of an account that does not exist"));
    }
    let mut changes = Changes {
        sales: Sales::new(purses),
        archived_before: archived_before(tx).await?,
        ..Changes::default()
    };
    let mut rolled = rollups::Changes::default();
    let given: Vec<UsageRecord> = given.into_values().collect();
    for records in given.chunks(ROWS_PER_STATEMENT) {
        let known = booked_records(tx, records).await?;
        changes.sales.meet_devices(tx, records, known.values()).await?;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let before = known.get(&record.id);
            if let Some(after) = changes.note(before, record)? {
                rolled.note(before.map(|sold| &sold.record), &after.record);
                rows.push(after);
            }
        }
        write_records(tx, &rows).await?;
    }
    changes.sales.write(tx).await?;
    draw_on_leases(tx, &changes.drawn_bytes).await?;
    note_keys(tx, &changes.key_bytes, now).await?;
    rolled.write(tx).await?;
    Ok(())
}

/// Requests that began before this may be in the archive. Read under the locks of the accounts, which the archive takes too.
async fn archived_before(tx: &mut Tx) -> Result<Timestamp, sqlx::Error> {
    let row = sqlx::query("SELECT archived_before FROM usage_retention WHERE id = 1")
        .fetch_one(&mut **tx)
        .await?;
    time(&row, "archived_before")
}

/// What a batch does to balances and leases.
#[derive(Default)]
struct Changes {
    /// What is taken from the purses, and for what it was sold.
    sales: Sales,
    /// New bytes by the lease they were served under. What goes back is free again, not leased.
    drawn_bytes: BTreeMap<(AccountId, GatewayId), i64>,
    /// New bytes by key; less than nothing where booked bytes go back.
    key_bytes: BTreeMap<ApiKeyId, i64>,
    archived_before: Timestamp,
}

impl Changes {
    /// The record as it shall be stored, or none if the row stays as it is.
    fn note(&mut self, known: Option<&Sold>, given: &UsageRecord) -> Result<Option<Sold>, Failure> {
        let stored = match known {
            Some(known) if known.record.account != given.account => {
                return Err(another_accounts());
            }
            Some(known) => merge(known.record.clone(), given),
            // It may have been booked, and be in the archive since.
            None if given.started_at < self.archived_before => UsageRecord {
                billable: false,
                ..given.clone()
            },
            None => given.clone(),
        };
        if known.is_some_and(|known| known.record == stored) {
            return Ok(None);
        }
        let new_bytes =
            cost_bytes(&stored).saturating_sub(known.map_or(0, |known| cost_bytes(&known.record)));
        if new_bytes != 0 {
            let used = self.key_bytes.entry(stored.api_key).or_default();
            *used = used.saturating_add(new_bytes);
        }
        if new_bytes > 0 {
            let drawn = self
                .drawn_bytes
                .entry((stored.account, given.gateway))
                .or_default();
            *drawn = drawn.saturating_add(new_bytes);
        }
        Ok(Some(self.sales.sell(known, stored)))
    }
}

/// The batch with each request once, as the columns will hold it, in the order of the ids.
fn one_version_each(records: &[UsageRecord]) -> Result<BTreeMap<RequestId, UsageRecord>, Failure> {
    let mut merged: BTreeMap<RequestId, UsageRecord> = BTreeMap::new();
    for record in records.iter().map(as_stored) {
        let version = match merged.remove(&record.id) {
            Some(known) if known.account != record.account => return Err(another_accounts()),
            Some(known) => merge(known, &record),
            None => record,
        };
        merged.insert(version.id, version);
    }
    Ok(merged)
}

/// A record within the bounds of its columns, so that what is read back equals what was written.
fn as_stored(record: &UsageRecord) -> UsageRecord {
    let clean = |given: &Option<String>| given.as_deref().map(|given| text(given).into_owned());
    UsageRecord {
        session: clean(&record.session),
        bytes_up: signed(record.bytes_up).unsigned_abs(),
        bytes_down: signed(record.bytes_down).unsigned_abs(),
        proxy_type: text(&record.proxy_type).into_owned(),
        destination: text(&record.destination).into_owned(),
        exit_country: clean(&record.exit_country),
        exit_city: clean(&record.exit_city),
        error: clean(&record.error),
        ..record.clone()
    }
}

async fn booked_records(
    tx: &mut Tx,
    records: &[UsageRecord],
) -> Result<BTreeMap<RequestId, Sold>, sqlx::Error> {
    let requests: Vec<Uuid> = records.iter().map(|record| record.id.uuid()).collect();
    let rows = sqlx::query(concat!(
        "SELECT ",
        record_columns!(),
        ", sold_micros, partner_micros, partner_id FROM usage_records WHERE id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(ids(&requests)))
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| Sold::from_row(row).map(|known| (known.record.id, known)))
        .collect()
}

async fn write_records(tx: &mut Tx, records: &[Sold]) -> Result<(), Failure> {
    if records.is_empty() {
        return Ok(());
    }
    // SQLite needs the first WHERE to tell ON CONFLICT from the ON of a join.
    let done = sqlx::query(concat!(
        "INSERT INTO usage_records (",
        record_columns!(),
        ", sold_micros, partner_micros, partner_id) SELECT ",
        record_columns!(),
        ", sold_micros, partner_micros, partner_id FROM (",
        given!(
            id uuid, user_id uuid, api_key_id uuid, gateway_id uuid, node_id uuid, session_id text,
            bytes_uploaded bigint, bytes_downloaded bigint, billable boolean, proxy_type text, destination text,
            exit_country text, exit_city text, exit_asn bigint, exit_ip text, select_ms bigint, dial_ms bigint,
            first_byte_ms bigint, destination_host text, status_code bigint, error_code text, attempts bigint,
            started_at bigint, ended_at bigint, sold_micros bigint, partner_micros bigint, partner_id uuid
        ),
        ") AS new WHERE TRUE
         ON CONFLICT (id) DO UPDATE SET
             api_key_id = excluded.api_key_id,
             gateway_id = excluded.gateway_id,
             node_id = excluded.node_id,
             session_id = excluded.session_id,
             bytes_uploaded = excluded.bytes_uploaded,
             bytes_downloaded = excluded.bytes_downloaded,
             billable = excluded.billable,
             proxy_type = excluded.proxy_type,
             destination = excluded.destination,
             exit_country = excluded.exit_country,
             exit_city = excluded.exit_city,
             exit_asn = excluded.exit_asn,
             exit_ip = excluded.exit_ip,
             select_ms = excluded.select_ms,
             dial_ms = excluded.dial_ms,
             first_byte_ms = excluded.first_byte_ms,
             destination_host = excluded.destination_host,
             status_code = excluded.status_code,
             error_code = excluded.error_code,
             attempts = excluded.attempts,
             started_at = excluded.started_at,
             ended_at = excluded.ended_at,
             sold_micros = excluded.sold_micros,
             partner_micros = excluded.partner_micros,
             partner_id = excluded.partner_id
         WHERE usage_records.user_id = excluded.user_id"
    ))
    .bind(Json(records.iter().map(RecordRow::from).collect::<Vec<_>>()))
    .execute(&mut **tx)
    .await?;
    // The accounts' locks don't cover an id that another account's request takes in this very moment.
    if done.rows_affected() == u64::try_from(records.len()).unwrap_or(u64::MAX) {
        Ok(())
    } else {
        Err(another_accounts())
    }
}

async fn draw_on_leases(
    tx: &mut Tx,
    drawn_bytes: &BTreeMap<(AccountId, GatewayId), i64>,
) -> Result<(), sqlx::Error> {
    if drawn_bytes.is_empty() {
        return Ok(());
    }
    let rows: Vec<DrawRow> = drawn_bytes
        .iter()
        .map(|((account, gateway), &drawn_bytes)| DrawRow {
            user_id: account.uuid(),
            gateway_id: gateway.uuid(),
            drawn_bytes,
        })
        .collect();
    sqlx::query(concat!(
        "UPDATE leases SET remaining_bytes = CASE
             WHEN leases.remaining_bytes > draw.drawn_bytes THEN leases.remaining_bytes - draw.drawn_bytes
             ELSE 0
         END FROM (",
        given!(user_id uuid, gateway_id uuid, drawn_bytes bigint),
        ") AS draw WHERE leases.user_id = draw.user_id AND leases.gateway_id = draw.gateway_id"
    ))
    .bind(Json(rows))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds to what the keys have used, on the day and in the month of the booking.
async fn note_keys(
    tx: &mut Tx,
    key_bytes: &BTreeMap<ApiKeyId, i64>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    if key_bytes.is_empty() {
        return Ok(());
    }
    let rows: Vec<KeyRow> = key_bytes
        .iter()
        .map(|(key, &bytes)| KeyRow {
            api_key_id: key.uuid(),
            day: now.utc_day(),
            month: now.utc_month(),
            bytes,
        })
        .collect();
    // Sums of absurd counts stop at the column's end instead of failing. A clock that is behind adds to the newer day.
    sqlx::query(concat!(
        "INSERT INTO key_usage (api_key_id, day, month, day_bytes, month_bytes, total_bytes)
         SELECT api_key_id, day, month, bytes, bytes, bytes FROM (",
        given!(api_key_id uuid, day bigint, month bigint, bytes bigint),
        ") AS new WHERE TRUE
         ON CONFLICT (api_key_id) DO UPDATE SET
             day_bytes = CASE
                 WHEN key_usage.day < excluded.day THEN excluded.day_bytes
                 WHEN key_usage.day_bytes > 9223372036854775807 - ABS(excluded.day_bytes) THEN 9223372036854775807
                 ELSE key_usage.day_bytes + excluded.day_bytes
             END,
             month_bytes = CASE
                 WHEN key_usage.month < excluded.month THEN excluded.month_bytes
                 WHEN key_usage.month_bytes > 9223372036854775807 - ABS(excluded.month_bytes) THEN 9223372036854775807
                 ELSE key_usage.month_bytes + excluded.month_bytes
             END,
             total_bytes = CASE
                 WHEN key_usage.total_bytes > 9223372036854775807 - ABS(excluded.total_bytes) THEN 9223372036854775807
                 ELSE key_usage.total_bytes + excluded.total_bytes
             END,
             day = CASE WHEN key_usage.day < excluded.day THEN excluded.day ELSE key_usage.day END,
             month = CASE WHEN key_usage.month < excluded.month THEN excluded.month ELSE key_usage.month END"
    ))
    .bind(Json(rows))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn another_accounts() -> Failure {
    internal("usage under the id of another account's request")
}

fn sorted(ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[derive(Serialize)]
struct KeyRow {
    api_key_id: Uuid,
    day: u32,
    month: u32,
    bytes: i64,
}

#[derive(Serialize)]
struct DrawRow {
    user_id: Uuid,
    gateway_id: Uuid,
    drawn_bytes: i64,
}

/// A record under the names of its columns.
#[derive(Serialize)]
struct RecordRow<'a> {
    id: Uuid,
    user_id: Uuid,
    api_key_id: Uuid,
    gateway_id: Uuid,
    node_id: Option<Uuid>,
    session_id: Option<&'a str>,
    bytes_uploaded: i64,
    bytes_downloaded: i64,
    billable: bool,
    proxy_type: &'a str,
    destination: &'a str,
    exit_country: Option<&'a str>,
    exit_city: Option<&'a str>,
    exit_asn: Option<u32>,
    exit_ip: Option<IpAddr>,
    select_ms: Option<u32>,
    dial_ms: Option<u32>,
    first_byte_ms: Option<u32>,
    destination_host: &'a str,
    status_code: Option<u16>,
    error_code: Option<&'a str>,
    attempts: u32,
    started_at: i64,
    ended_at: Option<i64>,
    sold_micros: i64,
    partner_micros: i64,
    partner_id: Option<Uuid>,
}

impl<'a> From<&'a Sold> for RecordRow<'a> {
    fn from(sold: &'a Sold) -> Self {
        let record = &sold.record;
        Self {
            id: record.id.uuid(),
            user_id: record.account.uuid(),
            api_key_id: record.api_key.uuid(),
            gateway_id: record.gateway.uuid(),
            node_id: record.node.map(|node| node.uuid()),
            session_id: record.session.as_deref(),
            bytes_uploaded: signed(record.bytes_up),
            bytes_downloaded: signed(record.bytes_down),
            billable: record.billable,
            proxy_type: &record.proxy_type,
            destination: &record.destination,
            exit_country: record.exit_country.as_deref(),
            exit_city: record.exit_city.as_deref(),
            exit_asn: record.exit_asn,
            exit_ip: record.exit_ip,
            select_ms: record.timings.select_ms,
            dial_ms: record.timings.dial_ms,
            first_byte_ms: record.timings.first_byte_ms,
            destination_host: record.destination_host(),
            status_code: record.status,
            error_code: record.error.as_deref(),
            attempts: record.attempts,
            started_at: record.started_at.as_millis(),
            ended_at: record.ended_at.map(Timestamp::as_millis),
            sold_micros: sold.sold_micros,
            partner_micros: sold.partner_micros,
            partner_id: sold.partner.map(|partner| partner.uuid()),
        }
    }
}
