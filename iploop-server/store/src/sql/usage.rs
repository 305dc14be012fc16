//! Reading usage.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use iploop_platform::store::{StoreError, Usage};
use iploop_platform::usage::{UsageRecord, UsageSummary};
use sqlx::Row as _;

use super::columns::{id, id_or_none, number, number_or_none, time, time_or_none};
use super::{Row, SqlStore};
use crate::error::act;

/// The columns of [`record_from`].
macro_rules! record_columns {
    () => {
        "id, user_id, api_key_id, gateway_id, node_id, session_id, bytes_uploaded, bytes_downloaded, billable, proxy_type,
         destination, exit_country, exit_city, status_code, error_code, attempts, started_at, ended_at"
    };
}
pub(super) use record_columns;

#[async_trait]
impl Usage for SqlStore {
    async fn usage_summary(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT COUNT(*) AS requests,
                     COUNT(*) FILTER (WHERE error_code IS NULL) AS successful,
                     CAST(COALESCE(SUM(bytes_uploaded), 0) AS BIGINT) AS bytes_up,
                     CAST(COALESCE(SUM(bytes_downloaded), 0) AS BIGINT) AS bytes_down,
                     CAST(COALESCE(SUM(CASE WHEN ended_at > started_at THEN ended_at - started_at END), 0) AS BIGINT)
                         AS duration_ms,
                     COUNT(ended_at) AS ended
                 FROM usage_records
                 WHERE user_id = $1 AND started_at >= $2 AND started_at < $3",
            )
            .bind(account.uuid())
            .bind(from.as_millis())
            .bind(to.as_millis())
            .fetch_one(&self.read)
            .await?;
            Ok(UsageSummary {
                total_requests: row.try_get("requests")?,
                successful_requests: row.try_get("successful")?,
                bytes_up: row.try_get("bytes_up")?,
                bytes_down: row.try_get("bytes_down")?,
                total_duration_ms: row.try_get("duration_ms")?,
                ended_requests: row.try_get("ended")?,
            })
        })
        .await
    }

    async fn recent_usage(&self, account: AccountId, limit: u32) -> Result<Vec<UsageRecord>, StoreError> {
        act(async {
            let rows = sqlx::query(concat!(
                "SELECT ",
                record_columns!(),
                " FROM usage_records WHERE user_id = $1 ORDER BY started_at DESC, id DESC LIMIT $2"
            ))
            .bind(account.uuid())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
            Ok(rows.iter().map(record_from).collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn request_count(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT COUNT(*) AS requests FROM usage_records
                 WHERE user_id = $1 AND started_at >= $2 AND started_at < $3",
            )
            .bind(account.uuid())
            .bind(from.as_millis())
            .bind(to.as_millis())
            .fetch_one(&self.read)
            .await?;
            Ok(number(&row, "requests")?)
        })
        .await
    }
}

pub(super) fn record_from(row: &Row) -> Result<UsageRecord, sqlx::Error> {
    Ok(UsageRecord {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        api_key: id(row, "api_key_id")?,
        gateway: id(row, "gateway_id")?,
        node: id_or_none(row, "node_id")?,
        session: row.try_get("session_id")?,
        bytes_up: number(row, "bytes_uploaded")?,
        bytes_down: number(row, "bytes_downloaded")?,
        billable: row.try_get("billable")?,
        proxy_type: row.try_get("proxy_type")?,
        destination: row.try_get("destination")?,
        exit_country: row.try_get("exit_country")?,
        exit_city: row.try_get("exit_city")?,
        status: number_or_none(row, "status_code")?,
        error: row.try_get("error_code")?,
        attempts: number(row, "attempts")?,
        started_at: time(row, "started_at")?,
        ended_at: time_or_none(row, "ended_at")?,
    })
}
