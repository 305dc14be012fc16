//! Old requests become sums: by key and hour, in one transaction with their going.

use std::collections::BTreeMap;

use iploop_platform::clock::Timestamp;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::ledger::{ids, lock_purses};
use super::sold::Sold;
use super::usage::record_columns;
use super::{Tx, usage_answers};
use crate::booking::{cost_bytes, signed};
use crate::error::Failure;

/// Archives at most `limit` ended requests that began before `before`; how many.
///
/// Under the locks of their accounts, as settling is: a version that is booked at this very moment is either archived with
/// the rest or finds that the request may have been.
pub(super) async fn archive(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, Failure> {
    let rows = sqlx::query(
        "SELECT id, user_id FROM usage_records WHERE started_at < $1 AND ended_at IS NOT NULL
         ORDER BY started_at LIMIT $2",
    )
    .bind(before.as_millis())
    .bind(i64::from(limit))
    .fetch_all(&mut **tx)
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let column = |name: &str| {
        rows.iter()
            .map(|row| row.try_get(name))
            .collect::<Result<Vec<Uuid>, _>>()
    };
    let (requests, mut accounts) = (column("id")?, column("user_id")?);
    accounts.sort_unstable();
    accounts.dedup();
    lock_purses(tx, &accounts).await?;
    sqlx::query("UPDATE usage_retention SET archived_before = $1 WHERE id = 1 AND archived_before < $1")
        .bind(before.as_millis())
        .execute(&mut **tx)
        .await?;
    // Again, now that nobody changes them: another server may have been quicker.
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
    let records: Vec<Sold> = rows.iter().map(Sold::from_row).collect::<Result<_, _>>()?;
    add_sums(tx, &records).await?;
    let gone: Vec<Uuid> = records.iter().map(|sold| sold.record.id.uuid()).collect();
    sqlx::query(concat!(
        "DELETE FROM usage_records WHERE id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(ids(&gone)))
    .execute(&mut **tx)
    .await?;
    usage_answers::count_up(tx, &accounts).await?;
    Ok(gone.len() as u64)
}

async fn add_sums(tx: &mut Tx, records: &[Sold]) -> Result<(), sqlx::Error> {
    let mut sums: BTreeMap<(Uuid, i64, Uuid), Sums> = BTreeMap::new();
    for sold in records {
        let record = &sold.record;
        let hour_at = record.started_at.hour_start().as_millis();
        let (user_id, api_key_id) = (record.account.uuid(), record.api_key.uuid());
        let sum = sums
            .entry((user_id, hour_at, api_key_id))
            .or_insert_with(|| Sums {
                user_id,
                api_key_id,
                hour_at,
                ..Sums::default()
            });
        sum.add(sold);
    }
    if sums.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(
        "INSERT INTO usage_archive (user_id, api_key_id, hour_at, requests, successful, bytes_uploaded, bytes_downloaded,
             billed_bytes, duration_ms, ended, sold_micros, partner_micros)
         SELECT user_id, api_key_id, hour_at, requests, successful, bytes_uploaded, bytes_downloaded, billed_bytes,
             duration_ms, ended, sold_micros, partner_micros FROM (",
        given!(
            user_id uuid, api_key_id uuid, hour_at bigint, requests bigint, successful bigint, bytes_uploaded bigint,
            bytes_downloaded bigint, billed_bytes bigint, duration_ms bigint, ended bigint, sold_micros bigint,
            partner_micros bigint
        ),
        ") AS new WHERE TRUE
         ON CONFLICT (user_id, hour_at, api_key_id) DO UPDATE SET
             requests = usage_archive.requests + excluded.requests,
             successful = usage_archive.successful + excluded.successful,
             bytes_uploaded = usage_archive.bytes_uploaded + excluded.bytes_uploaded,
             bytes_downloaded = usage_archive.bytes_downloaded + excluded.bytes_downloaded,
             billed_bytes = usage_archive.billed_bytes + excluded.billed_bytes,
             duration_ms = usage_archive.duration_ms + excluded.duration_ms,
             ended = usage_archive.ended + excluded.ended,
             sold_micros = usage_archive.sold_micros + excluded.sold_micros,
             partner_micros = usage_archive.partner_micros + excluded.partner_micros"
    ))
    .bind(Json(sums.into_values().collect::<Vec<_>>()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(Default, Serialize)]
struct Sums {
    user_id: Uuid,
    api_key_id: Uuid,
    hour_at: i64,
    requests: i64,
    successful: i64,
    bytes_uploaded: i64,
    bytes_downloaded: i64,
    billed_bytes: i64,
    duration_ms: i64,
    ended: i64,
    sold_micros: i64,
    partner_micros: i64,
}

impl Sums {
    fn add(&mut self, sold: &Sold) {
        let record = &sold.record;
        let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more);
        add(&mut self.requests, 1);
        add(&mut self.successful, i64::from(record.error.is_none()));
        add(&mut self.bytes_uploaded, signed(record.bytes_up));
        add(&mut self.bytes_downloaded, signed(record.bytes_down));
        add(&mut self.billed_bytes, cost_bytes(record));
        add(&mut self.sold_micros, sold.sold_micros);
        add(&mut self.partner_micros, sold.partner_micros);
        let Some(ended_at) = record.ended_at else { return };
        add(&mut self.ended, 1);
        let duration = ended_at.since(record.started_at).as_millis();
        add(&mut self.duration_ms, i64::try_from(duration).unwrap_or(i64::MAX));
    }
}
