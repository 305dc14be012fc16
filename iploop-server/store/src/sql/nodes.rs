//! Devices and the consent of their owners.

use std::collections::BTreeMap;

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{ConsentId, NodeId};
use iploop_platform::node::{NodeActivity, NodeRegistration, Point, Registered};
use iploop_platform::store::{Nodes, StoreError};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{clean, id, number, text, text_or_none, time_or_none};
use super::device_news::{About, note};
use super::ledger::ids;
use super::partner_apps::is_app_admitted;
use super::{SqlStore, Tx};
use crate::booking::signed;
use crate::error::act;

#[async_trait]
impl Nodes for SqlStore {
    async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let node = match insert_node(&mut tx, &registration).await? {
                Some(node) => node,
                None => match known_node(&mut tx, &registration).await? {
                    Registered::Accepted(node) => node,
                    refused => return Ok(refused),
                },
            };
            if is_withdrawn(&mut tx, &registration).await? {
                return Ok(Registered::ConsentWithdrawn);
            }
            let (app, os) = (&registration.consent.app_id, registration.device_type.as_deref());
            if !is_app_admitted(&mut tx, registration.partner, app, os, registration.review_apps).await? {
                return Ok(Registered::AppNotAdmitted);
            }
            let is_paused = update_node(&mut tx, node, &registration).await?;
            append_consent(&mut tx, &registration).await?;
            tx.commit().await?;
            Ok(match is_paused {
                true => Registered::Paused(node),
                false => Registered::Accepted(node),
            })
        })
        .await
    }

    async fn withdraw_consent(
        &self,
        device_id: &str,
        consent: ConsentId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(
                "INSERT INTO consent_withdrawals (device_id, consent_id, withdrawn_at) VALUES ($1, $2, $3)
                 ON CONFLICT (device_id, consent_id) DO NOTHING",
            )
            .bind(text(device_id))
            .bind(consent.uuid())
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            // Of a device that is connected elsewhere still.
            let node = sqlx::query("SELECT id FROM nodes WHERE device_id = $1")
                .bind(text(device_id))
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(node) = node {
                note(&mut tx, About::Withdrawal, node.try_get("id")?, now).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn note_activity(&self, activity: &[NodeActivity]) -> Result<(), StoreError> {
        let given = one_row_each(activity);
        if given.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            let nodes: Vec<Uuid> = given.iter().map(|row| row.id).collect();
            sqlx::query(concat!("SELECT id FROM nodes WHERE id IN (", given!(id uuid), ") ORDER BY id", locked!()))
                .bind(Json(ids(&nodes)))
                .fetch_all(&mut *tx)
                .await?;
            // A sign of life older than the one known adds its counters and says nothing about the present.
            sqlx::query(concat!(
                "UPDATE nodes SET
                     total_requests = nodes.total_requests + new.requests,
                     successful_requests = nodes.successful_requests + new.successful_requests,
                     bandwidth_used_bytes = nodes.bandwidth_used_bytes + new.bytes,
                     quality_score = CASE
                         WHEN new.last_heartbeat >= nodes.last_heartbeat THEN new.quality ELSE nodes.quality_score END,
                     status = CASE
                         WHEN nodes.status = 'banned' OR new.last_heartbeat < nodes.last_heartbeat THEN nodes.status
                         WHEN new.connected THEN 'available' ELSE 'inactive' END,
                     connected_since = CASE
                         WHEN new.connected OR new.last_heartbeat < nodes.last_heartbeat THEN nodes.connected_since END,
                     last_heartbeat = CASE
                         WHEN new.last_heartbeat > nodes.last_heartbeat
                         THEN new.last_heartbeat ELSE nodes.last_heartbeat END
                 FROM (",
                given!(
                    id uuid, requests bigint, successful_requests bigint, bytes bigint, quality bigint,
                    last_heartbeat bigint, connected boolean
                ),
                ") AS new WHERE nodes.id = new.id"
            ))
            .bind(Json(&given))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn node_count(&self) -> Result<u64, StoreError> {
        act(async {
            let row = sqlx::query("SELECT COUNT(*) AS nodes FROM nodes")
                .fetch_one(&self.read)
                .await?;
            Ok(number(&row, "nodes")?)
        })
        .await
    }
}

/// Makes the row of a device that was never seen; none if it is known. Of two first registrations at once, one makes the
/// row and the other waits here for it.
async fn insert_node(tx: &mut Tx, new: &NodeRegistration) -> Result<Option<NodeId>, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO nodes (id, device_id, device_secret_hash, partner_id, ip_address, sdk_version, status,
             bandwidth_used_bytes, total_requests, successful_requests, last_heartbeat, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'inactive', 0, 0, 0, $7, $7)
         ON CONFLICT (device_id) DO NOTHING
         RETURNING id",
    )
    .bind(new.id.uuid())
    .bind(text(&new.device_id))
    .bind(text(&new.device_secret_hash))
    .bind(new.partner.uuid())
    .bind(new.ip.to_string())
    .bind(text(&new.sdk_version))
    .bind(new.now.as_millis())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| id(&row, "id")).transpose()
}

/// Whether a known device may come back: first who it is, then whether it is banned. Locks its row.
async fn known_node(tx: &mut Tx, given: &NodeRegistration) -> Result<Registered, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT id, device_secret_hash, status, ban_reason, banned_until FROM nodes WHERE device_id = $1",
        locked!()
    ))
    .bind(text(&given.device_id))
    .fetch_one(&mut **tx)
    .await?;
    if row.try_get::<&str, _>("device_secret_hash")? != text(&given.device_secret_hash) {
        return Ok(Registered::SecretMismatch);
    }
    let until = time_or_none(&row, "banned_until")?;
    if row.try_get::<&str, _>("status")? == "banned" && until.is_none_or(|until| until > given.now) {
        let reason: Option<String> = row.try_get("ban_reason")?;
        return Ok(Registered::Banned {
            reason: reason.unwrap_or_default(),
            until,
        });
    }
    Ok(Registered::Accepted(id(&row, "id")?))
}

async fn is_withdrawn(tx: &mut Tx, given: &NodeRegistration) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM consent_withdrawals WHERE device_id = $1 AND consent_id = $2")
        .bind(text(&given.device_id))
        .bind(given.consent.id.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Whether the device's owner wishes that it pauses.
async fn update_node(tx: &mut Tx, node: NodeId, given: &NodeRegistration) -> Result<bool, sqlx::Error> {
    let place = &given.place;
    let point = given.geo.point.map(Point::tenths);
    let row = sqlx::query(
        "UPDATE nodes SET partner_id = $2, ip_address = $3, country = $4, region = $5, city = $6, zip = $7, asn = $8,
             isp = $9, connection_type = $10, device_type = $11, sdk_version = $12, status = 'available',
             ban_reason = NULL, banned_until = NULL, last_heartbeat = $13, connected_since = $13, country_name = $14,
             latitude_tenths = $15, longitude_tenths = $16, carrier = $17
         WHERE id = $1
         RETURNING EXISTS (SELECT 1 FROM device_owners o WHERE o.node_id = nodes.id AND o.paused_at IS NOT NULL)
             AS is_paused",
    )
    .bind(node.uuid())
    .bind(given.partner.uuid())
    .bind(given.ip.to_string())
    .bind(text_or_none(place.country.as_deref()))
    .bind(text_or_none(place.region.as_deref()))
    .bind(text_or_none(place.city.as_deref()))
    .bind(text_or_none(place.zip.as_deref()))
    .bind(place.asn.map(i64::from))
    .bind(text_or_none(place.isp.as_deref()))
    .bind(text_or_none(given.connection_type.as_deref()))
    .bind(text_or_none(given.device_type.as_deref()))
    .bind(text(&given.sdk_version))
    .bind(given.now.as_millis())
    .bind(text_or_none(given.geo.country_name.as_deref()))
    .bind(point.map(|(latitude, _)| i64::from(latitude)))
    .bind(point.map(|(_, longitude)| i64::from(longitude)))
    .bind(text_or_none(given.geo.carrier.as_deref()))
    .fetch_one(&mut **tx)
    .await?;
    row.try_get("is_paused")
}

async fn append_consent(tx: &mut Tx, given: &NodeRegistration) -> Result<(), sqlx::Error> {
    let consent = &given.consent;
    sqlx::query(
        "INSERT INTO consents (device_id, id, partner_id, app_id, app_version, sdk_version, text_version, text_hash,
             language, act, networks, minimum_age, given_at, recorded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (device_id, id) DO NOTHING",
    )
    .bind(text(&given.device_id))
    .bind(consent.id.uuid())
    .bind(given.partner.uuid())
    .bind(text(&consent.app_id))
    .bind(text(&consent.app_version))
    .bind(text(&given.sdk_version))
    .bind(text(&consent.text_version))
    .bind(text(&consent.text_hash))
    .bind(text(&consent.language))
    .bind(text(&consent.act))
    .bind(Json(clean(consent.networks.clone())))
    .bind(consent.minimum_age)
    .bind(consent.given_at.as_millis())
    .bind(given.now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(Serialize)]
struct ActivityRow {
    id: Uuid,
    requests: i64,
    successful_requests: i64,
    bytes: i64,
    quality: u8,
    last_heartbeat: i64,
    connected: bool,
}

/// The batch with each device once, in the order of the ids: counters added up, the rest as last heard.
fn one_row_each(activity: &[NodeActivity]) -> Vec<ActivityRow> {
    let mut rows: BTreeMap<NodeId, ActivityRow> = BTreeMap::new();
    for heard in activity {
        let row = rows.entry(heard.node).or_insert(ActivityRow {
            id: heard.node.uuid(),
            requests: 0,
            successful_requests: 0,
            bytes: 0,
            quality: heard.quality,
            last_heartbeat: heard.last_heartbeat.as_millis(),
            connected: heard.connected,
        });
        row.requests = row.requests.saturating_add(signed(heard.requests));
        row.successful_requests = row
            .successful_requests
            .saturating_add(signed(heard.successful_requests));
        row.bytes = row.bytes.saturating_add(signed(heard.bytes));
        if heard.last_heartbeat.as_millis() >= row.last_heartbeat {
            row.last_heartbeat = heard.last_heartbeat.as_millis();
            row.quality = heard.quality;
            row.connected = heard.connected;
        }
    }
    rows.into_values().collect()
}
