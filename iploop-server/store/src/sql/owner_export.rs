//! Everything that we hold of a device, for its owner.

use iploop_platform::ids::{AccountId, NodeId};
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, json as json_of, number_or_none, time, time_or_none};
use super::{Row, SqlStore};
use crate::error::Failure;

/// Most rows of each kind in a device's export.
const MAX_EXPORTED: i64 = 1_000;

impl SqlStore {
    pub(super) async fn everything_of(
        &self,
        account: AccountId,
        device: NodeId,
    ) -> Result<Option<Value>, Failure> {
        let row = sqlx::query(
            "SELECT n.id, n.device_id, n.ip_address, n.country, n.region, n.city, n.zip, n.asn, n.isp, n.country_name,
                  n.latitude_tenths, n.longitude_tenths, n.carrier, n.connection_type,
                 n.device_type, n.sdk_version, n.status, n.ban_reason, n.bandwidth_used_bytes, n.total_requests,
                 n.last_heartbeat, n.connected_since, n.created_at, o.claimed_at, o.paused_at,
                 (SELECT c.expires_at FROM pairing_codes c WHERE c.node_id = n.id) AS code_expires_at
             FROM device_owners o JOIN nodes n ON n.id = o.node_id WHERE o.user_id = $1 AND o.node_id = $2",
        )
        .bind(account.uuid())
        .bind(device.uuid())
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let device_id: String = row.try_get("device_id")?;
        let words = |column: &str| row.try_get::<Option<String>, _>(column);
        let degrees = |column: &str| -> Result<Option<f64>, sqlx::Error> {
            Ok(number_or_none::<i16>(&row, column)?.map(|tenths| f64::from(tenths) / 10.0))
        };
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
            "countryName": words("country_name")?,
            "latitude": degrees("latitude_tenths")?,
            "longitude": degrees("longitude_tenths")?,
            "carrier": words("carrier")?,
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
            "pausedAt": time_or_none(&row, "paused_at")?,
            "pairingCodeUntil": time_or_none(&row, "code_expires_at")?,
        });
        let notes = sqlx::query(
            "SELECT hour_at, ip_address, country, asn FROM device_hours WHERE node_id = $1 ORDER BY hour_at DESC LIMIT $2",
        )
        .bind(device.uuid())
        .bind(MAX_EXPORTED)
        .fetch_all(&self.read)
        .await?;
        let notes = notes.iter().map(|row| {
            let address: String = row.try_get("ip_address")?;
            let country: Option<String> = row.try_get("country")?;
            let asn: Option<i64> = row.try_get("asn")?;
            Ok(json!({ "hour": time(row, "hour_at")?, "address": address, "country": country, "asn": asn }))
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
}

/// A device's consent records, newest first.
pub(super) async fn consents(
    pool: &super::Pool,
    device_id: &str,
    limit: i64,
) -> Result<Vec<Value>, sqlx::Error> {
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
