//! Customer keys, and the one read behind every proxy login.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::api_key::{
    ApiKey, ApiKeyHash, KeyChange, KeyGrant, KeyUsage, MAX_KEYS_PER_ACCOUNT, NewApiKey,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::exits::CustomerTerms;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::store::{ApiKeys, StoreError};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{id, json, text, time, time_or_none};
use super::ledger::ids;
use super::plans::{plan_columns, plan_from};
use super::{Row, SqlStore, accounts, events, safeguards};
use crate::error::act;

macro_rules! columns {
    () => {
        "id, user_id, key_prefix, name, ip_whitelist, ip_login, limits, is_active, last_used_at, expires_at, created_at"
    };
}

#[async_trait]
impl ApiKeys for SqlStore {
    async fn create_api_key(&self, key: NewApiKey) -> Result<ApiKey, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // The account's row is the lock that makes parallel tries count one after the other.
            sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
                .bind(key.account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let keys: i64 = sqlx::query("SELECT COUNT(*) AS keys FROM api_keys WHERE user_id = $1")
                .bind(key.account.uuid())
                .fetch_one(&mut *tx)
                .await?
                .try_get("keys")?;
            if keys >= i64::from(MAX_KEYS_PER_ACCOUNT) {
                return Err(StoreError::LimitReached { what: "API keys", limit: MAX_KEYS_PER_ACCOUNT }.into());
            }
            let row = sqlx::query(concat!(
                "INSERT INTO api_keys (id, user_id, key_hash, key_prefix, name, ip_whitelist, ip_login, limits, is_active,
                     expires_at, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, TRUE, $9, $10)
                 RETURNING ",
                columns!()
            ))
            .bind(key.id.uuid())
            .bind(key.account.uuid())
            .bind(key.hash.to_hex())
            .bind(text(&key.key_prefix))
            .bind(text(&key.name))
            .bind(Json(&key.ip_whitelist))
            .bind(key.ip_login)
            .bind(Json(&key.limits))
            .bind(key.expires_at.map(Timestamp::as_millis))
            .bind(key.now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let made = key_from(&row)?;
            let created = key_event(EventKind::ApiKeyCreated, &made, key.now);
            events::insert(&mut tx, &[created]).await?;
            tx.commit().await?;
            Ok(made)
        })
        .await
    }

    async fn api_keys(&self, account: AccountId) -> Result<Vec<ApiKey>, StoreError> {
        act(async {
            let rows = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM api_keys WHERE user_id = $1 ORDER BY created_at, id"
            ))
            .bind(account.uuid())
            .fetch_all(&self.read)
            .await?;
            Ok(rows.iter().map(key_from).collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn api_key(&self, account: AccountId, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM api_keys WHERE user_id = $1 AND id = $2"
            ))
            .bind(account.uuid())
            .bind(id.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(key_from).transpose()?)
        })
        .await
    }

    async fn change_api_key(
        &self,
        account: AccountId,
        id: ApiKeyId,
        change: KeyChange,
    ) -> Result<Option<ApiKey>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "UPDATE api_keys SET
                     is_active = COALESCE($3, is_active),
                     name = COALESCE($4, name),
                     limits = COALESCE($5, limits),
                     expires_at = CASE WHEN $6 THEN $7 ELSE expires_at END,
                     ip_login = COALESCE($8, ip_login)
                 WHERE user_id = $1 AND id = $2 RETURNING ",
                columns!()
            ))
            .bind(account.uuid())
            .bind(id.uuid())
            .bind(change.is_active)
            .bind(change.name.as_deref().map(text))
            .bind(change.limits.as_ref().map(Json))
            .bind(change.expires_at.is_some())
            .bind(change.expires_at.flatten().map(Timestamp::as_millis))
            .bind(change.ip_login)
            .fetch_optional(&self.write)
            .await?;
            Ok(row.as_ref().map(key_from).transpose()?)
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

    async fn set_api_key_whitelist(
        &self,
        account: AccountId,
        id: ApiKeyId,
        whitelist: &[IpNet],
    ) -> Result<Option<ApiKey>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "UPDATE api_keys SET ip_whitelist = $3 WHERE user_id = $1 AND id = $2 RETURNING ",
                columns!()
            ))
            .bind(account.uuid())
            .bind(id.uuid())
            .bind(Json(whitelist))
            .fetch_optional(&self.write)
            .await?;
            Ok(row.as_ref().map(key_from).transpose()?)
        })
        .await
    }

    async fn delete_api_key(
        &self,
        account: AccountId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING ",
                columns!()
            ))
            .bind(account.uuid())
            .bind(id.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(false) };
            sqlx::query("DELETE FROM key_usage WHERE api_key_id = $1")
                .bind(id.uuid())
                .execute(&mut *tx)
                .await?;
            let deleted = key_event(EventKind::ApiKeyDeleted, &key_from(&row)?, now);
            events::insert(&mut tx, &[deleted]).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

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
        let mut latest: BTreeMap<Uuid, i64> = BTreeMap::new();
        for (id, at) in used {
            let slot = latest.entry(id.uuid()).or_insert(at.as_millis());
            *slot = at.as_millis().max(*slot);
        }
        if latest.is_empty() {
            return Ok(());
        }
        let given: Vec<_> = latest
            .into_iter()
            .map(|(id, used_at)| KeyUse { id, used_at })
            .collect();
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
                "UPDATE api_keys SET last_used_at = used.used_at FROM (",
                given!(id uuid, used_at bigint),
                ") AS used
                 WHERE api_keys.id = used.id
                   AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < used.used_at)"
            ))
            .bind(Json(&given))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}

/// What is told of a key: never more of the secret than its owner sees.
fn key_event(kind: EventKind, key: &ApiKey, now: Timestamp) -> Event {
    let data = json!({ "keyId": key.id, "name": key.name, "keyPrefix": key.key_prefix });
    Event::new(key.account, kind, now, data)
}

#[derive(Serialize)]
struct KeyUse {
    id: Uuid,
    used_at: i64,
}

fn key_from(row: &Row) -> Result<ApiKey, sqlx::Error> {
    Ok(ApiKey {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        key_prefix: row.try_get("key_prefix")?,
        name: row.try_get("name")?,
        ip_whitelist: json(row, "ip_whitelist")?,
        ip_login: row.try_get("ip_login")?,
        limits: json(row, "limits")?,
        is_active: row.try_get("is_active")?,
        last_used_at: time_or_none(row, "last_used_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        created_at: time(row, "created_at")?,
    })
}
