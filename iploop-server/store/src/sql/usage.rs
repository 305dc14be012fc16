//! Reading usage.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, RequestId};
use iploop_platform::store::{StoreError, Usage};
use iploop_platform::usage::{Timings, UsageRecord, UsageSearch, UsageSummary};
use sqlx::{QueryBuilder, Row as _};

use super::archive::archive;
use super::columns::{address_or_none, id, id_or_none, number, number_or_none, text, time, time_or_none};
#[cfg(test)]
use super::dialect;
use super::reading::all;
use super::usage_answers::PageQuestion;
use super::{Db, Row, SqlStore};
use crate::error::act;

/// Largest page that is kept: what a page shows, and one more. Exports read more at once, and once.
const MAX_KEPT_ROWS: u32 = 101;

/// The columns of [`record_from`].
macro_rules! record_columns {
    () => {
        "id, user_id, api_key_id, gateway_id, node_id, session_id, bytes_uploaded, bytes_downloaded, billable, proxy_type,
         destination, exit_country, exit_city, exit_asn, exit_ip, select_ms, dial_ms, first_byte_ms, destination_host, status_code, error_code, attempts, started_at, ended_at"
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
            // Each request is in one of the two; what is archived counts with its whole hour.
            let row = sqlx::query(
                "SELECT CAST(SUM(requests) AS BIGINT) AS requests,
                     CAST(SUM(successful) AS BIGINT) AS successful,
                     CAST(SUM(bytes_up) AS BIGINT) AS bytes_up,
                     CAST(SUM(bytes_down) AS BIGINT) AS bytes_down,
                     CAST(SUM(billed_bytes) AS BIGINT) AS billed_bytes,
                     CAST(SUM(duration_ms) AS BIGINT) AS duration_ms,
                     CAST(SUM(ended) AS BIGINT) AS ended
                 FROM (
                     SELECT COUNT(*) AS requests,
                         COUNT(*) FILTER (WHERE error_code IS NULL) AS successful,
                         CAST(COALESCE(SUM(bytes_uploaded), 0) AS BIGINT) AS bytes_up,
                         CAST(COALESCE(SUM(bytes_downloaded), 0) AS BIGINT) AS bytes_down,
                         CAST(COALESCE(SUM(bytes_uploaded) FILTER (WHERE billable), 0)
                             + COALESCE(SUM(bytes_downloaded) FILTER (WHERE billable), 0) AS BIGINT) AS billed_bytes,
                         CAST(COALESCE(SUM(CASE WHEN ended_at > started_at THEN ended_at - started_at END), 0) AS BIGINT)
                             AS duration_ms,
                         COUNT(ended_at) AS ended
                     FROM usage_records
                     WHERE user_id = $1 AND started_at >= $2 AND started_at < $3
                     UNION ALL
                     SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT),
                         CAST(COALESCE(SUM(successful), 0) AS BIGINT),
                         CAST(COALESCE(SUM(bytes_uploaded), 0) AS BIGINT),
                         CAST(COALESCE(SUM(bytes_downloaded), 0) AS BIGINT),
                         CAST(COALESCE(SUM(billed_bytes), 0) AS BIGINT),
                         CAST(COALESCE(SUM(duration_ms), 0) AS BIGINT),
                         CAST(COALESCE(SUM(ended), 0) AS BIGINT)
                     FROM usage_archive
                     WHERE user_id = $1 AND hour_at >= $4 AND hour_at < $3
                 ) AS parts",
            )
            .bind(account.uuid())
            .bind(from.as_millis())
            .bind(to.as_millis())
            .bind(from.hour_start().as_millis())
            .fetch_one(&self.read)
            .await?;
            Ok(UsageSummary {
                total_requests: row.try_get("requests")?,
                successful_requests: row.try_get("successful")?,
                bytes_up: row.try_get("bytes_up")?,
                bytes_down: row.try_get("bytes_down")?,
                billed_bytes: row.try_get("billed_bytes")?,
                total_duration_ms: row.try_get("duration_ms")?,
                ended_requests: row.try_get("ended")?,
            })
        })
        .await
    }

    async fn recent_usage(&self, account: AccountId, limit: u32) -> Result<Vec<UsageRecord>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            record_columns!(),
            " FROM usage_records WHERE user_id = $1 ORDER BY started_at DESC, id DESC LIMIT $2"
        ))
        .bind(account.uuid())
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, record_from).await
    }

    async fn usage_record(
        &self,
        account: AccountId,
        id: RequestId,
    ) -> Result<Option<UsageRecord>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                record_columns!(),
                " FROM usage_records WHERE id = $1 AND user_id = $2"
            ))
            .bind(id.uuid())
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(record_from).transpose()?)
        })
        .await
    }

    async fn search_usage(
        &self,
        account: AccountId,
        search: &UsageSearch,
        limit: u32,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        act(async {
            let read = async {
                let rows = search_query(QueryBuilder::new(""), account, search, limit)
                    .build()
                    .fetch_all(&self.read)
                    .await?;
                Ok(rows.iter().map(record_from).collect::<Result<_, _>>()?)
            };
            if limit > MAX_KEPT_ROWS {
                return read.await;
            }
            let Some(version) = self.usage_version(account).await? else {
                return Ok(Vec::new());
            };
            let question = PageQuestion {
                account,
                search: search.clone(),
                limit,
            };
            self.usage_answers.pages().get(question, version, read).await
        })
        .await
    }

    async fn archive_usage(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let archived = archive(&mut tx, before, limit).await?;
            tx.commit().await?;
            Ok(archived)
        })
        .await
    }
}

#[cfg(test)]
impl SqlStore {
    /// How the database would look for a page, step by step.
    pub(crate) async fn plan_of_search(
        &self,
        account: AccountId,
        search: &UsageSearch,
        limit: u32,
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut query = search_query(QueryBuilder::new(dialect::EXPLAIN), account, search, limit);
        let rows = query.build().fetch_all(&self.read).await?;
        // Its text is the last column on both.
        rows.iter().map(|row| row.try_get(row.len() - 1)).collect()
    }
}

/// Only the conditions that are asked for: so each search can take the index that fits it.
fn search_query(
    mut query: QueryBuilder<Db>,
    account: AccountId,
    search: &UsageSearch,
    limit: u32,
) -> QueryBuilder<Db> {
    query.push(concat!(
        "SELECT ",
        record_columns!(),
        " FROM usage_records WHERE user_id = "
    ));
    query.push_bind(account.uuid());
    if let Some(from) = search.from {
        query.push(" AND started_at >= ").push_bind(from.as_millis());
    }
    if let Some(to) = search.to {
        query.push(" AND started_at < ").push_bind(to.as_millis());
    }
    if let Some(after) = search.after {
        query
            .push(" AND (started_at, id) < (")
            .push_bind(after.started_at.as_millis());
        query.push(", ").push_bind(after.id.uuid());
        query.push(")");
    }
    if let Some(key) = search.api_key {
        query.push(" AND api_key_id = ").push_bind(key.uuid());
    }
    match search.code.as_deref() {
        None => {}
        Some("ok") => {
            query.push(" AND error_code IS NULL AND ended_at IS NOT NULL");
        }
        Some(code) => {
            query
                .push(" AND error_code = ")
                .push_bind(text(code).into_owned());
        }
    }
    if let Some(status) = search.status {
        query.push(" AND status_code = ").push_bind(i64::from(status));
    }
    for (condition, wanted) in [
        (" AND exit_country = ", &search.country),
        (" AND destination_host = ", &search.host),
        (" AND proxy_type = ", &search.proxy_type),
        (" AND session_id = ", &search.session),
    ] {
        if let Some(wanted) = wanted {
            query.push(condition).push_bind(text(wanted).into_owned());
        }
    }
    query
        .push(" ORDER BY started_at DESC, id DESC LIMIT ")
        .push_bind(i64::from(limit));
    query
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
        exit_asn: number_or_none(row, "exit_asn")?,
        exit_ip: address_or_none(row, "exit_ip")?,
        timings: Timings {
            select_ms: number_or_none(row, "select_ms")?,
            dial_ms: number_or_none(row, "dial_ms")?,
            first_byte_ms: number_or_none(row, "first_byte_ms")?,
        },
        status: number_or_none(row, "status_code")?,
        error: row.try_get("error_code")?,
        attempts: number(row, "attempts")?,
        started_at: time(row, "started_at")?,
        ended_at: time_or_none(row, "ended_at")?,
    })
}
