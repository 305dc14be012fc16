//! Devices, as admins find them, and bans.

use std::collections::BTreeSet;

use iploop_platform::abuse::{AuditAction, AuditEntry};
use iploop_platform::admin::{
    Ban, GivenConsent, KnownNode, NodePage, NodeQuery, NodeStatus, SILENT_AFTER, Withdrawal,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::Place;
use iploop_platform::ids::{NodeId, PartnerId};
use iploop_platform::node::{ConsentRecord, GeoFacts, Point};
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::super::columns::{
    address_or_none, id, json as json_of, number, number_or_none, text, text_or_none, time, time_or_none,
};
use super::super::ledger::ids;
use super::super::{Pool, Row, Tx, audit};
use super::containing;
use crate::error::unreadable;

/// A device's status as of now: a ban may be over, and a hub may have crashed before it noted that a device left. Nobody is
/// behind a row without a secret.
macro_rules! status_now {
    ($now:literal, $silent:literal) => {
        concat!(
            "CASE WHEN n.device_secret_hash = '' THEN 'removed' WHEN n.status = 'banned' AND n.banned_until <= ",
            $now,
            " THEN 'inactive' WHEN n.status = 'available' AND n.last_heartbeat < ",
            $silent,
            " THEN 'inactive' ELSE n.status END"
        )
    };
}
pub(super) use status_now;

macro_rules! columns {
    ($now:literal, $silent:literal) => {
        concat!(
            "n.id, n.device_id, n.ip_address, n.country, n.region, n.city, n.zip, n.asn, n.isp, n.connection_type,
             n.device_type, n.sdk_version, n.ban_reason, n.banned_until, n.quality_score, n.bandwidth_used_bytes,
             n.total_requests, n.successful_requests, n.last_heartbeat, n.connected_since, n.created_at, n.partner_id,
             n.country_name, n.latitude_tenths, n.longitude_tenths, n.carrier, p.name AS partner_name, ",
            status_now!($now, $silent),
            " AS status_now"
        )
    };
}

/// The filters of a [`NodeQuery`]: `$1` the busy ones, `$2` whether those or the others are wanted, `$3` now, `$4` when a
/// device counts as silent, `$5` to `$10` the rest.
macro_rules! wanted {
    () => {
        concat!(
            " FROM nodes n JOIN partners p ON p.id = n.partner_id
              WHERE ($2 IS NULL OR (n.id IN (",
            given!(id uuid),
            ")) = $2)
                AND CASE WHEN $5 IS NULL THEN n.device_secret_hash <> '' ELSE ",
            status_now!("$3", "$4"),
            " = $5 END
                AND ($6 IS NULL OR n.country = $6) AND ($7 IS NULL OR n.device_type = $7)
                AND ($8 IS NULL OR n.connection_type = $8) AND ($9 IS NULL OR n.partner_id = $9)
                AND ($10 IS NULL OR LOWER(n.device_id) LIKE $10 ESCAPE '\\' OR n.ip_address LIKE $10 ESCAPE '\\')"
        )
    };
}

pub(super) async fn page(pool: &Pool, query: &NodeQuery, now: Timestamp) -> Result<NodePage, sqlx::Error> {
    let busy: Vec<Uuid> = query.busy.iter().map(|node| node.uuid()).collect();
    let (status, is_busy) = match query.status {
        None => (None, None),
        Some(NodeStatus::Available) => (Some("available"), Some(false)),
        Some(NodeStatus::Busy) => (Some("available"), Some(true)),
        Some(NodeStatus::Inactive) => (Some("inactive"), None),
        Some(NodeStatus::Banned) => (Some("banned"), None),
        Some(NodeStatus::Removed) => (Some("removed"), None),
    };
    let search = query
        .search
        .as_deref()
        .map(|part| containing(&part.to_lowercase()));
    macro_rules! bound {
        ($sql:expr) => {
            sqlx::query($sql)
                .bind(Json(ids(&busy)))
                .bind(is_busy)
                .bind(now.as_millis())
                .bind(now.minus(SILENT_AFTER).as_millis())
                .bind(status)
                .bind(text_or_none(query.country.as_deref()))
                .bind(text_or_none(query.device_type.as_deref()))
                .bind(text_or_none(query.connection_type.as_deref()))
                .bind(query.partner.map(PartnerId::uuid))
                .bind(&search)
        };
    }
    let counted = bound!(concat!("SELECT COUNT(*) AS nodes", wanted!()))
        .fetch_one(pool)
        .await?;
    let rows = bound!(concat!(
        "SELECT ",
        columns!("$3", "$4"),
        wanted!(),
        " AND ($11 IS NULL OR n.id < $11) ORDER BY n.id DESC LIMIT $12 OFFSET $13"
    ))
    .bind(query.before.map(NodeId::uuid))
    .bind(i64::from(query.limit))
    .bind(i64::from(query.offset))
    .fetch_all(pool)
    .await?;
    let busy: BTreeSet<NodeId> = query.busy.iter().copied().collect();
    let mut rows = rows.iter().map(node_from).collect::<Result<Vec<_>, _>>()?;
    for node in &mut rows {
        if node.status == NodeStatus::Available && busy.contains(&node.id) {
            node.status = NodeStatus::Busy;
        }
    }
    Ok(NodePage {
        rows,
        total: number(&counted, "nodes")?,
    })
}

pub(super) async fn one(pool: &Pool, id: NodeId, now: Timestamp) -> Result<Option<KnownNode>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!("$2", "$3"),
        " FROM nodes n JOIN partners p ON p.id = n.partner_id WHERE n.id = $1"
    ))
    .bind(id.uuid())
    .bind(now.as_millis())
    .bind(now.minus(SILENT_AFTER).as_millis())
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(node_from).transpose()
}

fn node_from(row: &Row) -> Result<KnownNode, sqlx::Error> {
    let status = match row.try_get("status_now")? {
        "available" => NodeStatus::Available,
        "inactive" => NodeStatus::Inactive,
        "banned" => NodeStatus::Banned,
        "removed" => NodeStatus::Removed,
        other => return Err(unreadable("nodes.status", &other)),
    };
    Ok(KnownNode {
        id: id(row, "id")?,
        device_id: row.try_get("device_id")?,
        ip: address_or_none(row, "ip_address")?.ok_or_else(|| unreadable("nodes.ip_address", &"nothing"))?,
        place: Place {
            country: row.try_get("country")?,
            region: row.try_get("region")?,
            city: row.try_get("city")?,
            zip: row.try_get("zip")?,
            asn: number_or_none(row, "asn")?,
            isp: row.try_get("isp")?,
        },
        geo: GeoFacts {
            country_name: row.try_get("country_name")?,
            point: point_from(row)?,
            carrier: row.try_get("carrier")?,
        },
        connection_type: row.try_get("connection_type")?,
        device_type: row.try_get("device_type")?,
        sdk_version: row.try_get("sdk_version")?,
        status,
        ban_reason: row.try_get("ban_reason")?,
        banned_until: time_or_none(row, "banned_until")?,
        quality_score: number_or_none(row, "quality_score")?,
        bandwidth_used_bytes: number(row, "bandwidth_used_bytes")?,
        total_requests: number(row, "total_requests")?,
        successful_requests: number(row, "successful_requests")?,
        last_heartbeat: time(row, "last_heartbeat")?,
        connected_since: time_or_none(row, "connected_since")?.filter(|_| status == NodeStatus::Available),
        created_at: time(row, "created_at")?,
        partner: id(row, "partner_id")?,
        partner_name: row.try_get("partner_name")?,
        process: None,
    })
}

fn point_from(row: &Row) -> Result<Option<Point>, sqlx::Error> {
    let latitude = number_or_none(row, "latitude_tenths")?;
    let longitude = number_or_none(row, "longitude_tenths")?;
    Ok(latitude
        .zip(longitude)
        .and_then(|(latitude, longitude)| Point::from_tenths(latitude, longitude)))
}

pub(super) async fn consents_of(
    pool: &Pool,
    device_id: &str,
    limit: u32,
) -> Result<(Vec<GivenConsent>, Vec<Withdrawal>), sqlx::Error> {
    let consents = sqlx::query(
        "SELECT c.id, c.partner_id, c.app_id, c.app_version, c.text_version, c.text_hash, c.language, c.act,
             c.networks, c.minimum_age, c.given_at, c.recorded_at, w.withdrawn_at
         FROM consents c
         LEFT JOIN consent_withdrawals w ON w.device_id = c.device_id AND w.consent_id = c.id
         WHERE c.device_id = $1 ORDER BY c.recorded_at DESC, c.id LIMIT $2",
    )
    .bind(text(device_id))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let withdrawals = sqlx::query(
        "SELECT consent_id, withdrawn_at FROM consent_withdrawals WHERE device_id = $1
         ORDER BY withdrawn_at DESC, consent_id LIMIT $2",
    )
    .bind(text(device_id))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let withdrawals = withdrawals.iter().map(|row| {
        Ok::<_, sqlx::Error>(Withdrawal {
            consent: id(row, "consent_id")?,
            at: time(row, "withdrawn_at")?,
        })
    });
    Ok((
        consents.iter().map(consent_from).collect::<Result<_, _>>()?,
        withdrawals.collect::<Result<_, _>>()?,
    ))
}

fn consent_from(row: &Row) -> Result<GivenConsent, sqlx::Error> {
    Ok(GivenConsent {
        record: ConsentRecord {
            id: id(row, "id")?,
            text_version: row.try_get("text_version")?,
            text_hash: row.try_get("text_hash")?,
            language: row.try_get("language")?,
            given_at: time(row, "given_at")?,
            act: row.try_get("act")?,
            app_id: row.try_get("app_id")?,
            app_version: row.try_get("app_version")?,
            networks: json_of(row, "networks")?,
            minimum_age: row.try_get("minimum_age")?,
        },
        partner: id(row, "partner_id")?,
        recorded_at: time(row, "recorded_at")?,
        withdrawn_at: time_or_none(row, "withdrawn_at")?,
    })
}

pub(super) async fn ban(tx: &mut Tx, ban: &Ban, mut entry: AuditEntry) -> Result<bool, sqlx::Error> {
    let Some(before) = locked(tx, ban.node, entry.at).await? else {
        return Ok(false);
    };
    sqlx::query(
        "UPDATE nodes SET status = 'banned', ban_reason = $2, banned_until = $3, banned_at = $4, connected_since = NULL
         WHERE id = $1",
    )
    .bind(ban.node.uuid())
    .bind(text(&ban.reason))
    .bind(ban.until.map(Timestamp::as_millis))
    .bind(entry.at.as_millis())
    .execute(&mut **tx)
    .await?;
    entry.before = match before {
        None => json!({ "banned": false }),
        Some(earlier) => json!({ "banned": true, "reason": earlier.reason, "until": earlier.until }),
    };
    audit::insert(tx, &entry).await?;
    Ok(true)
}

pub(super) async fn unban(
    tx: &mut Tx,
    node: NodeId,
    mut entry: AuditEntry,
) -> Result<Option<bool>, sqlx::Error> {
    let Some(before) = locked(tx, node, entry.at).await? else {
        return Ok(None);
    };
    let Some(ended) = before else {
        return Ok(Some(false));
    };
    sqlx::query(
        "UPDATE nodes SET status = 'inactive', ban_reason = NULL, banned_until = NULL, banned_at = NULL WHERE id = $1",
    )
    .bind(node.uuid())
    .execute(&mut **tx)
    .await?;
    entry.before = json!({ "banned": true, "reason": ended.reason, "until": ended.until });
    audit::insert(tx, &entry).await?;
    Ok(Some(true))
}

/// Locks a device; the ban that holds, if one does. None: there is no such device.
async fn locked(tx: &mut Tx, node: NodeId, now: Timestamp) -> Result<Option<Option<Ban>>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT id, status, ban_reason, banned_until FROM nodes WHERE id = $1",
        locked!()
    ))
    .bind(node.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let is_banned = row.try_get::<&str, _>("status")? == "banned";
    let ban = ban_from(&row)?;
    let holds = is_banned && ban.until.is_none_or(|until| until > now);
    Ok(Some(holds.then_some(ban)))
}

pub(super) async fn bans_since(
    pool: &Pool,
    from: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Ban>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, ban_reason, banned_until FROM nodes
         WHERE status = 'banned' AND banned_at >= $1 AND (banned_until IS NULL OR banned_until > $2)
         ORDER BY banned_at DESC, id LIMIT $3",
    )
    .bind(from.as_millis())
    .bind(now.as_millis())
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(ban_from).collect()
}

pub(super) async fn drains_since(
    pool: &Pool,
    from: Timestamp,
    limit: u32,
) -> Result<Vec<(NodeId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT subject, at FROM audit_records WHERE at >= $1 AND action = $2 ORDER BY at DESC, id LIMIT $3",
    )
    .bind(from.as_millis())
    .bind(AuditAction::NodeDrained.as_str())
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let drained = rows.iter().map(|row| {
        let subject: &str = row.try_get("subject")?;
        let node = subject
            .parse()
            .map_err(|_| unreadable("audit_records.subject", &subject))?;
        Ok((node, time(row, "at")?))
    });
    drained.collect()
}

fn ban_from(row: &Row) -> Result<Ban, sqlx::Error> {
    let reason: Option<String> = row.try_get("ban_reason")?;
    Ok(Ban {
        node: id(row, "id")?,
        reason: reason.unwrap_or_default(),
        until: time_or_none(row, "banned_until")?,
    })
}
