//! Addresses that need no password.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::ip_login::{
    Claimed, IpLogins, ListedAddress, MAX_ADDRESSES, ProvenAddress, UsedAddress,
};
use iploop_platform::store::StoreError;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{address, id, json, time};
use super::reading::all;
use super::{Row, SqlStore};
use crate::error::{act, unreadable};

#[async_trait]
impl IpLogins for SqlStore {
    async fn claim_address(
        &self,
        claim: UsedAddress,
        lapsed_before: Timestamp,
    ) -> Result<Claimed, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // The account's row is the lock that makes parallel claims count one after the other.
            sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
                .bind(claim.account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let row = sqlx::query(
                "INSERT INTO ip_login_addresses (address, user_id, proven_at, used_at) VALUES ($1, $2, $3, $3)
                 ON CONFLICT (address) DO UPDATE SET
                     proven_at = CASE WHEN ip_login_addresses.user_id = $2 THEN ip_login_addresses.proven_at ELSE $3 END,
                     user_id = $2,
                     used_at = $3
                 WHERE ip_login_addresses.user_id = $2 OR ip_login_addresses.used_at < $4
                 RETURNING address, proven_at, used_at",
            )
            .bind(claim.address.to_string())
            .bind(claim.account.uuid())
            .bind(claim.at.as_millis())
            .bind(lapsed_before.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(Claimed::Taken) };
            let held: i64 = sqlx::query("SELECT COUNT(*) AS held FROM ip_login_addresses WHERE user_id = $1")
                .bind(claim.account.uuid())
                .fetch_one(&mut *tx)
                .await?
                .try_get("held")?;
            if held > i64::from(MAX_ADDRESSES) {
                return Err(StoreError::LimitReached { what: "addresses", limit: MAX_ADDRESSES }.into());
            }
            tx.commit().await?;
            Ok(Claimed::Held(proven_from(&row)?))
        })
        .await
    }

    async fn touch_addresses(&self, used: &[UsedAddress]) -> Result<(), StoreError> {
        let mut latest: BTreeMap<String, UseRow> = BTreeMap::new();
        for used in used {
            let row = UseRow {
                address: used.address.to_string(),
                user_id: used.account.uuid(),
                used_at: used.at.as_millis(),
            };
            latest.insert(row.address.clone(), row);
        }
        if latest.is_empty() {
            return Ok(());
        }
        let given: Vec<_> = latest.into_values().collect();
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT address FROM ip_login_addresses WHERE address IN (SELECT address FROM (",
                given!(address text),
                ") AS used) ORDER BY address",
                locked!()
            ))
            .bind(Json(&given))
            .fetch_all(&mut *tx)
            .await?;
            sqlx::query(concat!(
                "UPDATE ip_login_addresses SET used_at = used.used_at FROM (",
                given!(address text, user_id uuid, used_at bigint),
                ") AS used
                 WHERE ip_login_addresses.address = used.address AND ip_login_addresses.user_id = used.user_id
                   AND ip_login_addresses.used_at < used.used_at"
            ))
            .bind(Json(&given))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn listed_addresses(
        &self,
        after: Option<(IpAddr, ApiKeyId)>,
        lapsed_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedAddress>, StoreError> {
        // Behind nobody: no address is empty.
        let (address, key) = after.map_or((String::new(), Uuid::nil()), |(address, key)| {
            (address.to_string(), key.uuid())
        });
        let rows = sqlx::query(
            "SELECT a.address, a.user_id, a.used_at, k.id, k.key_hash, k.ip_whitelist
             FROM ip_login_addresses a JOIN api_keys k ON k.user_id = a.user_id AND k.ip_login AND k.is_active
             WHERE (a.address, k.id) > ($1, $2) AND a.used_at >= $3
             ORDER BY a.address, k.id LIMIT $4",
        )
        .bind(address)
        .bind(key)
        .bind(lapsed_before.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, listed_from).await
    }

    async fn addresses_of(
        &self,
        account: AccountId,
        lapsed_before: Timestamp,
    ) -> Result<Vec<ProvenAddress>, StoreError> {
        let rows = sqlx::query(
            "SELECT address, proven_at, used_at FROM ip_login_addresses
             WHERE user_id = $1 AND used_at >= $2 ORDER BY address LIMIT $3",
        )
        .bind(account.uuid())
        .bind(lapsed_before.as_millis())
        .bind(i64::from(MAX_ADDRESSES))
        .fetch_all(&self.read);
        all(rows, proven_from).await
    }

    async fn release_address(&self, account: AccountId, address: IpAddr) -> Result<bool, StoreError> {
        act(async {
            let done = sqlx::query("DELETE FROM ip_login_addresses WHERE user_id = $1 AND address = $2")
                .bind(account.uuid())
                .bind(address.to_string())
                .execute(&self.write)
                .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn forget_addresses(&self, lapsed_before: Timestamp) -> Result<u64, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT address FROM ip_login_addresses WHERE used_at < $1 ORDER BY address",
                locked!()
            ))
            .bind(lapsed_before.as_millis())
            .fetch_all(&mut *tx)
            .await?;
            let done = sqlx::query("DELETE FROM ip_login_addresses WHERE used_at < $1")
                .bind(lapsed_before.as_millis())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(done.rows_affected())
        })
        .await
    }
}

#[derive(Serialize)]
struct UseRow {
    address: String,
    user_id: Uuid,
    used_at: i64,
}

fn proven_from(row: &Row) -> Result<ProvenAddress, sqlx::Error> {
    Ok(ProvenAddress {
        address: address(row, "address")?,
        proven_at: time(row, "proven_at")?,
        used_at: time(row, "used_at")?,
    })
}

fn listed_from(row: &Row) -> Result<ListedAddress, sqlx::Error> {
    let hash: String = row.try_get("key_hash")?;
    Ok(ListedAddress {
        address: address(row, "address")?,
        account: id(row, "user_id")?,
        used_at: time(row, "used_at")?,
        key: id(row, "id")?,
        hash: ApiKeyHash::from_hex(&hash).ok_or_else(|| unreadable("key_hash", &"no hash"))?,
        whitelist: json(row, "ip_whitelist")?,
    })
}
