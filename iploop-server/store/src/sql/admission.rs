//! The one read behind every proxy login, and what is counted for it.

use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::admission::AdmissionStore;
use iploop_platform::api_key::{ApiKeyHash, KeyGrant, KeyUsage};
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::CustomerTerms;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::notices::RateAlert;
use iploop_platform::store::StoreError;
use iploop_platform::usage::DayUse;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::api_keys::key_from;
use super::columns::{id, json, number};
use super::latest::latest;
use super::ledger::ids;
use super::plans::{plan_columns, plan_from};
use super::{SqlStore, accounts, rate_alerts, safeguards};
use crate::error::act;

#[async_trait]
impl AdmissionStore for SqlStore {
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT k.id, k.user_id, k.key_prefix, k.name, k.ip_whitelist, k.ip_login, k.limits, k.is_active, k.last_used_at,
                     k.expires_at, k.created_at, u.status AS account_status, u.email_verified, u.standing, ",
                plan_columns!(),
                " FROM api_keys k
                 JOIN users u ON u.id = k.user_id
                 JOIN user_plans up ON up.user_id = k.user_id
                 JOIN plans p ON p.id = up.plan_id
                 WHERE k.key_hash = $1"
            ))
            .bind(hash.to_hex())
            .fetch_optional(&self.read)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let key = key_from(&row)?;
            let terms = CustomerTerms {
                standing: safeguards::standing_from(&row, "standing")?,
                grants: Arc::new(safeguards::grants_of(&self.read, key.account).await?),
            };
            Ok(Some(KeyGrant {
                key,
                terms,
                account_status: accounts::status_from(&row, "account_status")?,
                email_verified: row.try_get("email_verified")?,
                plan: plan_from(&row)?,
            }))
        })
        .await
    }

    async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        let given = latest(used, ApiKeyId::uuid);
        if given.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT id FROM api_keys WHERE id IN (",
                given!(id uuid),
                ") ORDER BY id",
                locked!()
            ))
            .bind(Json(&given))
            .fetch_all(&mut *tx)
            .await?;
            sqlx::query(concat!(
                "UPDATE api_keys SET last_used_at = used.at FROM (",
                given!(id uuid, at bigint),
                ") AS used
                 WHERE api_keys.id = used.id
                   AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < used.at)"
            ))
            .bind(Json(&given))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn key_usage(&self, keys: &[ApiKeyId], now: Timestamp) -> Result<Vec<KeyUsage>, StoreError> {
        let keys: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
        act(async {
            let rows = sqlx::query(concat!(
                "SELECT k.id, k.limits,
                     CASE WHEN u.day = $2 THEN u.day_bytes ELSE 0 END AS day_bytes,
                     CASE WHEN u.month = $3 THEN u.month_bytes ELSE 0 END AS month_bytes,
                     COALESCE(u.total_bytes, 0) AS total_bytes
                 FROM api_keys k LEFT JOIN key_usage u ON u.api_key_id = k.id
                 WHERE k.id IN (",
                given!(id uuid),
                ")"
            ))
            .bind(Json(ids(&keys)))
            .bind(i64::from(now.utc_day()))
            .bind(i64::from(now.utc_month()))
            .fetch_all(&self.read)
            .await?;
            let usage = rows.iter().map(|row| {
                Ok(KeyUsage {
                    key: id(row, "id")?,
                    limits: json(row, "limits")?,
                    day_bytes: row.try_get("day_bytes")?,
                    month_bytes: row.try_get("month_bytes")?,
                    total_bytes: row.try_get("total_bytes")?,
                })
            });
            Ok(usage.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }

    async fn day_use(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<DayUse, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT COUNT(*) AS requests,
                     CAST(COALESCE(SUM(bytes_uploaded) FILTER (WHERE NOT billable), 0)
                         + COALESCE(SUM(bytes_downloaded) FILTER (WHERE NOT billable), 0) AS BIGINT) AS forgiven_bytes
                 FROM usage_records
                 WHERE user_id = $1 AND started_at >= $2 AND started_at < $3",
            )
            .bind(account.uuid())
            .bind(from.as_millis())
            .bind(to.as_millis())
            .fetch_one(&self.read)
            .await?;
            Ok(DayUse {
                requests: number(&row, "requests")?,
                forgiven_bytes: number(&row, "forgiven_bytes")?,
            })
        })
        .await
    }

    async fn tell_rate_limits(&self, alerts: &[RateAlert]) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            rate_alerts::tell(&mut tx, alerts).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}
