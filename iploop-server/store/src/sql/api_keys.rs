//! Customer keys.

use async_trait::async_trait;
use iploop_platform::api_key::{ApiKey, KeyChange, MAX_KEYS_PER_ACCOUNT, NewApiKey};
use iploop_platform::clock::Timestamp;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::store::{ApiKeys, StoreError};
use ipnet::IpNet;
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;

use super::columns::{id, json, text, time, time_or_none};
use super::reading::all;
use super::{Row, SqlStore, events};
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
        let rows = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE user_id = $1 ORDER BY created_at, id"
        ))
        .bind(account.uuid())
        .fetch_all(&self.read);
        all(rows, key_from).await
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
}

/// What is told of a key: never more of the secret than its owner sees.
fn key_event(kind: EventKind, key: &ApiKey, now: Timestamp) -> Event {
    let data = json!({ "keyId": key.id, "name": key.name, "keyPrefix": key.key_prefix });
    Event::new(key.account, kind, now, data)
}

pub(super) fn key_from(row: &Row) -> Result<ApiKey, sqlx::Error> {
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
