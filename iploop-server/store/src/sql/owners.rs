//! Devices' owners: pairing codes, claims, wishes, and the rights over a device's data. What they earn: `owner_credits`; what
//! they may have exported: `owner_export`.
//!
//! Who changes more than one row of a device holds the lock of its row in `nodes`.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::owners::{OwnedDevice, Owners, PairingCodes};
use iploop_platform::store::StoreError;
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, number, text, time, time_or_none};
use super::device_news::{About, note};
use super::device_retention::{Nameless, take_out};
use super::ledger::lock_purse;
use super::owner_export::consents;
use super::{SqlStore, Tx, audit};
use crate::error::{Failure, act};

/// Most devices of an account.
const MAX_DEVICES: u32 = 1_000;

#[async_trait]
impl PairingCodes for SqlStore {
    async fn set_pairing_code(
        &self,
        device_id: &str,
        device_secret_hash: &str,
        code_hash: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let done = sqlx::query(
                "INSERT INTO pairing_codes (node_id, code_hash, expires_at)
                 SELECT id, $3, $4 FROM nodes WHERE device_id = $1 AND device_secret_hash = $2
                 ON CONFLICT (node_id) DO UPDATE SET
                     code_hash = excluded.code_hash, expires_at = excluded.expires_at",
            )
            .bind(text(device_id))
            .bind(text(device_secret_hash))
            .bind(code_hash)
            .bind(expires_at.as_millis())
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn set_code_of(
        &self,
        device: NodeId,
        code_hash: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            // No secret has an empty hash: the row of an erased device.
            let done = sqlx::query(
                "INSERT INTO pairing_codes (node_id, code_hash, expires_at)
                 SELECT id, $2, $3 FROM nodes WHERE id = $1 AND device_secret_hash <> ''
                 ON CONFLICT (node_id) DO UPDATE SET
                     code_hash = excluded.code_hash, expires_at = excluded.expires_at",
            )
            .bind(device.uuid())
            .bind(code_hash)
            .bind(expires_at.as_millis())
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }
}

#[async_trait]
impl Owners for SqlStore {
    async fn claim_device(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<NodeId>, StoreError> {
        act(self.claim(account, code_hash, now)).await
    }

    async fn unclaim_device(
        &self,
        account: AccountId,
        device: NodeId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !give_up(&mut tx, account, device).await? {
                return Ok(false);
            }
            note(&mut tx, About::Wish, device.uuid(), now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn wish_pause(
        &self,
        account: AccountId,
        device: NodeId,
        is_paused: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "UPDATE device_owners SET paused_at = CASE WHEN $3 THEN COALESCE(paused_at, $4) END
                 WHERE node_id = $1 AND user_id = $2",
            )
            .bind(device.uuid())
            .bind(account.uuid())
            .bind(is_paused)
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            note(&mut tx, About::Wish, device.uuid(), now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn withdraw_device(
        &self,
        account: AccountId,
        device: NodeId,
        mut entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let owned = sqlx::query("SELECT 1 FROM device_owners WHERE node_id = $1 AND user_id = $2")
                .bind(device.uuid())
                .bind(account.uuid());
            let Some(device_id) = lock_device(&mut tx, device).await? else {
                return Ok(false);
            };
            if owned.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(false);
            }
            withdraw_all(&mut tx, &device_id, entry.at).await?;
            note(&mut tx, About::Withdrawal, device.uuid(), entry.at).await?;
            entry.after = json!({ "consent": "withdrawn" });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn owned_devices(
        &self,
        account: AccountId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<OwnedDevice>, StoreError> {
        act(self.devices_of(account, after, limit)).await
    }

    async fn export_device(&self, account: AccountId, device: NodeId) -> Result<Option<Value>, StoreError> {
        act(self.everything_of(account, device)).await
    }

    async fn erase_device(
        &self,
        account: AccountId,
        device: NodeId,
        mut entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !erase(&mut tx, account, device, entry.at).await? {
                return Ok(false);
            }
            entry.after = json!({ "deviceId": "erased" });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl SqlStore {
    async fn claim(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Failure> {
        let mut tx = self.begin().await?;
        // Orders the claims of one account, so that their number holds.
        lock_purse(&mut tx, account).await?;
        let row = sqlx::query("SELECT node_id FROM pairing_codes WHERE code_hash = $1 AND expires_at > $2")
            .bind(code_hash)
            .bind(now.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(node) = row.map(|row| id::<NodeId>(&row, "node_id")).transpose()? else {
            return Ok(None);
        };
        lock_device(&mut tx, node).await?;
        let used = sqlx::query(
            "DELETE FROM pairing_codes WHERE node_id = $1 AND code_hash = $2 AND expires_at > $3",
        )
        .bind(node.uuid())
        .bind(code_hash)
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() == 0 {
            return Ok(None);
        }
        let row = sqlx::query("SELECT COUNT(*) AS devices FROM device_owners WHERE user_id = $1")
            .bind(account.uuid())
            .fetch_one(&mut *tx)
            .await?;
        if row.try_get::<i64, _>("devices")? >= i64::from(MAX_DEVICES) {
            return Err(StoreError::LimitReached {
                what: "devices",
                limit: MAX_DEVICES,
            }
            .into());
        }
        // A wish is its owner's: another one begins without.
        sqlx::query(
            "INSERT INTO device_owners (node_id, user_id, claimed_at) VALUES ($1, $2, $3)
             ON CONFLICT (node_id) DO UPDATE SET
                 user_id = excluded.user_id, claimed_at = excluded.claimed_at,
                 paused_at = CASE WHEN device_owners.user_id = excluded.user_id THEN device_owners.paused_at END",
        )
        .bind(node.uuid())
        .bind(account.uuid())
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await?;
        note(&mut tx, About::Wish, node.uuid(), now).await?;
        tx.commit().await?;
        Ok(Some(node))
    }

    async fn devices_of(
        &self,
        account: AccountId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<OwnedDevice>, Failure> {
        let rows = sqlx::query(
            "SELECT n.id, n.device_id, n.status, n.country, n.device_type, n.sdk_version, n.bandwidth_used_bytes,
                 n.last_heartbeat, o.claimed_at, o.paused_at
             FROM device_owners o JOIN nodes n ON n.id = o.node_id
             WHERE o.user_id = $1 AND o.node_id > $2 ORDER BY o.node_id LIMIT $3",
        )
        .bind(account.uuid())
        .bind(after.map_or(Uuid::nil(), NodeId::uuid))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        let mut devices = Vec::with_capacity(rows.len());
        for row in &rows {
            let device_id: String = row.try_get("device_id")?;
            let mut consents = consents(&self.read, &device_id, 1).await?;
            devices.push(OwnedDevice {
                id: id(row, "id")?,
                status: row.try_get("status")?,
                country: row.try_get("country")?,
                device_type: row.try_get("device_type")?,
                sdk_version: row.try_get("sdk_version")?,
                bytes: number(row, "bandwidth_used_bytes")?,
                last_seen_at: time(row, "last_heartbeat")?,
                claimed_at: time(row, "claimed_at")?,
                is_paused: time_or_none(row, "paused_at")?.is_some(),
                consent: consents.pop(),
            });
        }
        Ok(devices)
    }
}

/// Erases all devices of an account, in the order of their ids.
pub(super) async fn erase_all(tx: &mut Tx, account: AccountId, now: Timestamp) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT node_id FROM device_owners WHERE user_id = $1 ORDER BY node_id")
        .bind(account.uuid())
        .fetch_all(&mut **tx)
        .await?;
    for row in &rows {
        erase(tx, account, id(row, "node_id")?, now).await?;
    }
    Ok(())
}

/// Withdraws, takes out what leads to the device, and gives it up; false: it is not the account's.
async fn erase(tx: &mut Tx, account: AccountId, device: NodeId, now: Timestamp) -> Result<bool, sqlx::Error> {
    let Some(device_id) = lock_device(tx, device).await? else {
        return Ok(false);
    };
    if !give_up(tx, account, device).await? {
        return Ok(false);
    }
    pseudonymise(tx, device, &device_id, now).await?;
    note(tx, About::Erasure, device.uuid(), now).await?;
    Ok(true)
}

/// Locks the row of a device; its own id.
async fn lock_device(tx: &mut Tx, device: NodeId) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query(concat!("SELECT device_id FROM nodes WHERE id = $1", locked!()))
        .bind(device.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| row.try_get("device_id")).transpose()
}

/// False: it is not the account's.
async fn give_up(tx: &mut Tx, account: AccountId, device: NodeId) -> Result<bool, sqlx::Error> {
    let given_up = sqlx::query("DELETE FROM device_owners WHERE node_id = $1 AND user_id = $2")
        .bind(device.uuid())
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(given_up.rows_affected() > 0)
}

/// Withdraws every consent of a device.
async fn withdraw_all(tx: &mut Tx, device_id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO consent_withdrawals (device_id, consent_id, withdrawn_at)
         SELECT device_id, id, $2 FROM consents WHERE device_id = $1
         ON CONFLICT (device_id, consent_id) DO NOTHING",
    )
    .bind(device_id)
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Under the lock of the device's row.
async fn pseudonymise(
    tx: &mut Tx,
    device: NodeId,
    device_id: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    withdraw_all(tx, device_id, now).await?;
    let erased = Nameless::new(device.uuid(), "erased");
    sqlx::query("UPDATE consents SET device_id = $2, networks = '{}' WHERE device_id = $1")
        .bind(device_id)
        .bind(erased.alias())
        .execute(&mut **tx)
        .await?;
    take_out(tx, &[erased]).await
}
