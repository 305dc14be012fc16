//! Balance and leases. Who writes them holds the lock of the account's row in `user_plans` ([`lock_purses`]).

use std::collections::BTreeMap;

use async_trait::async_trait;
use iploop_platform::abuse::Actor;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, GatewayId, LeaseId};
use iploop_platform::ledger::{Act, Booking, NewEntry, Refusal};
use iploop_platform::store::{Lease, Ledger, StoreError};
use iploop_platform::usage::{Balance, UsageRecord};
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::id;
use super::{SqlStore, Tx, books, settle};
use crate::booking::signed;
use crate::error::{Failure, act};

/// What an account has, as its locked row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    /// Bought and given, less used.
    pub(super) balance_bytes: i64,
    /// Used in all.
    pub(super) used_bytes: i64,
    /// What was paid for the balance and has not moved yet.
    pub(super) value_micros: i64,
}

#[async_trait]
impl Ledger for SqlStore {
    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT balance_bytes, used_bytes,
                     (SELECT CAST(COALESCE(SUM(remaining_bytes), 0) AS BIGINT) FROM leases WHERE user_id = $1)
                         AS leased_bytes
                 FROM user_plans WHERE user_id = $1",
            )
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            let Some(row) = row else {
                return Ok(Balance::default());
            };
            Ok(Balance {
                bytes: row.try_get("balance_bytes")?,
                leased_bytes: row.try_get("leased_bytes")?,
                used_bytes: row.try_get("used_bytes")?,
            })
        })
        .await
    }

    async fn take_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        want_bytes: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(purse) = lock_purse(&mut tx, account).await? else {
                return Ok(Lease { id: LeaseId::new(), granted_bytes: 0 });
            };
            let free = purse.balance_bytes.saturating_sub(leased_bytes(&mut tx, account).await?);
            let granted = free.clamp(0, signed(want_bytes));
            let row = sqlx::query(
                "INSERT INTO leases (id, user_id, gateway_id, remaining_bytes, renewed_at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (user_id, gateway_id) DO UPDATE SET
                     remaining_bytes = leases.remaining_bytes + excluded.remaining_bytes,
                     renewed_at = excluded.renewed_at
                 RETURNING id",
            )
            .bind(LeaseId::new().uuid())
            .bind(account.uuid())
            .bind(gateway.uuid())
            .bind(granted)
            .bind(now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Lease { id: id(&row, "id")?, granted_bytes: granted.unsigned_abs() })
        })
        .await
    }

    async fn settle(&self, records: &[UsageRecord], now: Timestamp) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            settle::settle(&mut tx, records, now).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn shrink_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        bytes: u64,
    ) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, account).await?;
            sqlx::query(
                "UPDATE leases SET remaining_bytes =
                     CASE WHEN remaining_bytes > $3 THEN remaining_bytes - $3 ELSE 0 END
                 WHERE user_id = $1 AND gateway_id = $2",
            )
            .bind(account.uuid())
            .bind(gateway.uuid())
            .bind(signed(bytes))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn return_leases(&self, gateway: GatewayId, account: Option<AccountId>) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let accounts = match account {
                Some(account) => vec![account.uuid()],
                None => leasing_accounts(&mut tx, gateway).await?,
            };
            lock_purses(&mut tx, &accounts).await?;
            sqlx::query(concat!(
                "DELETE FROM leases WHERE gateway_id = $2 AND user_id IN (",
                given!(id uuid),
                ")"
            ))
            .bind(Json(ids(&accounts)))
            .bind(gateway.uuid())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn credit(
        &self,
        account: AccountId,
        bytes: i64,
        description: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Balance, StoreError> {
        let bonus = NewEntry {
            act: Act::Bonus { account, bytes },
            description: description.to_owned(),
            reason: None,
            actor: Actor::System,
            key: Some(key.to_owned()),
            metadata: json!({}),
            audit: None,
            now,
        };
        act(async {
            let mut tx = self.begin().await?;
            match books::book(&mut tx, &bonus).await? {
                Booking::Done(_) => {}
                Booking::Refused(Refusal::KeyTaken) => {
                    return Err(StoreError::Conflict {
                        what: "idempotency key",
                    }
                    .into());
                }
                Booking::Refused(Refusal::NoSuchOwner) => {
                    return Err(internal("a credit for an account that does not exist"));
                }
                Booking::Refused(_) => return Err(internal("a credit beyond all bounds")),
            }
            let leased_bytes = leased_bytes(&mut tx, account).await?;
            let purse = lock_purse(&mut tx, account).await?;
            let purse = purse.ok_or_else(|| internal("a purse that is gone"))?;
            tx.commit().await?;
            Ok(Balance {
                bytes: purse.balance_bytes,
                leased_bytes,
                used_bytes: purse.used_bytes,
            })
        })
        .await
    }
}

/// Locks the accounts' rows, in the order of their ids, and answers what they hold; accounts that don't exist are left out.
pub(super) async fn lock_purses(
    tx: &mut Tx,
    accounts: &[Uuid],
) -> Result<BTreeMap<AccountId, Purse>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT user_id, balance_bytes, used_bytes, value_micros FROM user_plans WHERE user_id IN (",
        given!(id uuid),
        ") ORDER BY user_id",
        locked!()
    ))
    .bind(Json(ids(accounts)))
    .fetch_all(&mut **tx)
    .await?;
    let purses = rows.iter().map(|row| {
        let purse = Purse {
            balance_bytes: row.try_get("balance_bytes")?,
            used_bytes: row.try_get("used_bytes")?,
            value_micros: row.try_get("value_micros")?,
        };
        Ok((id(row, "user_id")?, purse))
    });
    purses.collect()
}

#[derive(Serialize)]
pub(super) struct Id {
    id: Uuid,
}

/// Ids in the form that `given!(id uuid)` reads.
pub(super) fn ids(ids: &[Uuid]) -> Vec<Id> {
    ids.iter().map(|&id| Id { id }).collect()
}

pub(super) async fn lock_purse(tx: &mut Tx, account: AccountId) -> Result<Option<Purse>, sqlx::Error> {
    Ok(lock_purses(tx, &[account.uuid()]).await?.remove(&account))
}

/// Under the lock of the account's row: nobody adds to this meanwhile.
async fn leased_bytes(tx: &mut Tx, account: AccountId) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "SELECT CAST(COALESCE(SUM(remaining_bytes), 0) AS BIGINT) AS leased_bytes FROM leases WHERE user_id = $1",
    )
    .bind(account.uuid())
    .fetch_one(&mut **tx)
    .await?
    .try_get("leased_bytes")
}

async fn leasing_accounts(tx: &mut Tx, gateway: GatewayId) -> Result<Vec<Uuid>, sqlx::Error> {
    let rows = sqlx::query("SELECT user_id FROM leases WHERE gateway_id = $1")
        .bind(gateway.uuid())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(|row| row.try_get("user_id")).collect()
}

pub(super) fn internal(reason: &'static str) -> Failure {
    StoreError::Internal(reason.into()).into()
}
