//! Devices' owners: pairing codes, claims, and the rights over a device's data. What they earn: `owner_credits`.

use iploop_platform::abuse::AuditEntry;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::owners::OwnedDevice;
use iploop_platform::store::StoreError;
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, json as json_of, number, text, time, time_or_none};
use super::ledger::lock_purse;
use super::{Row, SqlStore, Tx, audit};
use crate::error::Failure;

/// Most devices of an account.
const MAX_DEVICES: u32 = 1_000;
/// Most rows of each kind in a device's export.
const MAX_EXPORTED: i64 = 1_000;

impl SqlStore {
    pub(super) async fn set_code(
        &self,
        device_id: &str,
        secret_hash: &str,
        code_hash: &str,
        expires_at: Timestamp,
    ) -> Result<bool, Failure> {
        let done = sqlx::query(
            "INSERT INTO pairing_codes (node_id, code_hash, expires_at)
             SELECT id, $3, $4 FROM nodes WHERE device_id = $1 AND device_secret_hash = $2
             ON CONFLICT (node_id) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at",
        )
        .bind(text(device_id))
        .bind(text(secret_hash))
        .bind(code_hash)
        .bind(expires_at.as_millis())
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn claim(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Failure> {
        let mut tx = self.begin().await?;
        // Orders the claims of one account, so that their number holds.
        lock_purse(&mut tx, account).await?;
        let row = sqlx::query(
            "DELETE FROM pairing_codes WHERE code_hash = $1 AND expires_at > $2 RETURNING node_id",
        )
        .bind(code_hash)
        .bind(now.as_millis())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(node) = row.map(|row| id::<NodeId>(&row, "node_id")).transpose()? else {
            return Ok(None);
        };
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
        sqlx::query(
            "INSERT INTO device_owners (node_id, user_id, claimed_at) VALUES ($1, $2, $3)
             ON CONFLICT (node_id) DO UPDATE SET user_id = excluded.user_id, claimed_at = excluded.claimed_at",
        )
        .bind(node.uuid())
        .bind(account.uuid())
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(node))
    }

    pub(super) async fn unclaim(&self, account: AccountId, device: NodeId) -> Result<bool, Failure> {
        let done = sqlx::query("DELETE FROM device_owners WHERE node_id = $1 AND user_id = $2")
            .bind(device.uuid())
            .bind(account.uuid())
            .execute(&self.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn devices_of(
        &self,
        account: AccountId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<OwnedDevice>, Failure> {
        let rows = sqlx::query(
            "SELECT n.id, n.device_id, n.status, n.country, n.device_type, n.sdk_version, n.bandwidth_used_bytes,
                 n.last_heartbeat, o.claimed_at
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
                consent: consents.pop(),
            });
        }
        Ok(devices)
    }

    pub(super) async fn everything_of(
        &self,
        account: AccountId,
        device: NodeId,
    ) -> Result<Option<Value>, Failure> {
        let row = sqlx::query(
            "SELECT n.id, n.device_id, n.ip_address, n.country, n.region, n.city, n.zip, n.asn, n.isp, n.connection_type,
                 n.device_type, n.sdk_version, n.status, n.ban_reason, n.bandwidth_used_bytes, n.total_requests,
                 n.last_heartbeat, n.connected_since, n.created_at, o.claimed_at
             FROM device_owners o JOIN nodes n ON n.id = o.node_id WHERE o.user_id = $1 AND o.node_id = $2",
        )
        .bind(account.uuid())
        .bind(device.uuid())
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let device_id: String = row.try_get("device_id")?;
        let words = |column: &str| row.try_get::<Option<String>, _>(column);
        let facts = json!({
            "id": id::<NodeId>(&row, "id")?,
            "deviceId": device_id,
            "address": words("ip_address")?,
            "country": words("country")?,
            "region": words("region")?,
            "city": words("city")?,
            "zip": words("zip")?,
            "asn": row.try_get::<Option<i64>, _>("asn")?,
            "isp": words("isp")?,
            "connectionType": words("connection_type")?,
            "deviceType": words("device_type")?,
            "sdkVersion": words("sdk_version")?,
            "status": words("status")?,
            "banReason": words("ban_reason")?,
            "bytes": row.try_get::<i64, _>("bandwidth_used_bytes")?,
            "requests": row.try_get::<i64, _>("total_requests")?,
            "lastSeenAt": time(&row, "last_heartbeat")?,
            "connectedSince": time_or_none(&row, "connected_since")?,
            "createdAt": time(&row, "created_at")?,
            "claimedAt": time(&row, "claimed_at")?,
        });
        let notes = sqlx::query(
            "SELECT hour_at, ip_address, country FROM device_hours WHERE node_id = $1 ORDER BY hour_at DESC LIMIT $2",
        )
        .bind(device.uuid())
        .bind(MAX_EXPORTED)
        .fetch_all(&self.read)
        .await?;
        let notes = notes.iter().map(|row| {
            let address: String = row.try_get("ip_address")?;
            let country: Option<String> = row.try_get("country")?;
            Ok(json!({ "hour": time(row, "hour_at")?, "address": address, "country": country }))
        });
        let hours = sqlx::query(
            "SELECT hour_at, bytes, nanos FROM credit_hours WHERE node_id = $1 AND user_id = $2
             ORDER BY hour_at DESC LIMIT $3",
        )
        .bind(device.uuid())
        .bind(account.uuid())
        .bind(MAX_EXPORTED)
        .fetch_all(&self.read)
        .await?;
        let hours = hours.iter().map(|row| {
            let (bytes, nanos): (i64, i64) = (row.try_get("bytes")?, row.try_get("nanos")?);
            Ok(json!({ "hour": time(row, "hour_at")?, "bytes": bytes, "nanoCredits": nanos }))
        });
        Ok(Some(json!({
            "device": facts,
            "consents": consents(&self.read, &device_id, MAX_EXPORTED).await?,
            "presence": notes.collect::<Result<Vec<_>, sqlx::Error>>()?,
            "earnings": hours.collect::<Result<Vec<_>, sqlx::Error>>()?,
        })))
    }

    pub(super) async fn erase_owned(
        &self,
        account: AccountId,
        device: NodeId,
        mut entry: AuditEntry,
    ) -> Result<bool, Failure> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(concat!("SELECT device_id FROM nodes WHERE id = $1", locked!()))
            .bind(device.uuid())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        let device_id: String = row.try_get("device_id")?;
        let given_up = sqlx::query("DELETE FROM device_owners WHERE node_id = $1 AND user_id = $2")
            .bind(device.uuid())
            .bind(account.uuid())
            .execute(&mut *tx)
            .await?;
        if given_up.rows_affected() == 0 {
            return Ok(false);
        }
        pseudonymise(&mut tx, device, &device_id, entry.at).await?;
        entry.after = json!({ "deviceId": "erased" });
        audit::insert(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Under the lock of the device's row.
async fn pseudonymise(
    tx: &mut Tx,
    device: NodeId,
    device_id: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO consent_withdrawals (device_id, consent_id, withdrawn_at)
         SELECT device_id, id, $2 FROM consents WHERE device_id = $1
         ON CONFLICT (device_id, consent_id) DO NOTHING",
    )
    .bind(device_id)
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    let alias = format!("erased-{device}");
    sqlx::query("UPDATE consents SET device_id = $2, networks = '{}' WHERE device_id = $1")
        .bind(device_id)
        .bind(&alias)
        .execute(&mut **tx)
        .await?;
    // No secret has an empty hash: nobody registers under this row again.
    sqlx::query(
        "UPDATE nodes SET device_id = $2, device_secret_hash = '', ip_address = '0.0.0.0', region = NULL, city = NULL,
             zip = NULL, asn = NULL, isp = NULL, connection_type = NULL, status = 'inactive', connected_since = NULL
         WHERE id = $1",
    )
    .bind(device.uuid())
    .bind(&alias)
    .execute(&mut **tx)
    .await?;
    for statement in [
        "DELETE FROM pairing_codes WHERE node_id = $1",
        "DELETE FROM device_hours WHERE node_id = $1",
    ] {
        sqlx::query(statement)
            .bind(device.uuid())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// A device's consent records, newest first.
async fn consents(pool: &super::Pool, device_id: &str, limit: i64) -> Result<Vec<Value>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.id, c.app_id, c.app_version, c.text_version, c.text_hash, c.language, c.act, c.networks, c.minimum_age,
             c.given_at, w.withdrawn_at
         FROM consents c LEFT JOIN consent_withdrawals w ON w.device_id = c.device_id AND w.consent_id = c.id
         WHERE c.device_id = $1 ORDER BY c.recorded_at DESC, c.id DESC LIMIT $2",
    )
    .bind(device_id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(consent_from).collect()
}

fn consent_from(row: &Row) -> Result<Value, sqlx::Error> {
    let words = |column: &str| row.try_get::<String, _>(column);
    Ok(json!({
        "id": row.try_get::<Uuid, _>("id")?,
        "appId": words("app_id")?,
        "appVersion": words("app_version")?,
        "textVersion": words("text_version")?,
        "textHash": words("text_hash")?,
        "language": words("language")?,
        "act": words("act")?,
        "networks": json_of::<Value>(row, "networks")?,
        "minimumAge": row.try_get::<bool, _>("minimum_age")?,
        "givenAt": time(row, "given_at")?,
        "withdrawnAt": time_or_none(row, "withdrawn_at")?,
    }))
}
