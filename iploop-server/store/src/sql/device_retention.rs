//! Devices that are taken out: by their owners' wish, or because nobody heard of them for long.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::device_retention::DeviceRetention;
use iploop_platform::ids::NodeId;
use iploop_platform::store::StoreError;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::{SqlStore, Tx};
use crate::error::act;

/// A device, and the name that its row has from now on.
#[derive(Serialize)]
pub(super) struct Nameless {
    id: Uuid,
    alias: String,
}

impl Nameless {
    /// `why` and the row's own id.
    pub(super) fn new(id: Uuid, why: &str) -> Self {
        Self {
            id,
            alias: format!("{why}-{}", NodeId::from(id)),
        }
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }
}

#[async_trait]
impl DeviceRetention for SqlStore {
    async fn remove_silent_devices(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let rows = sqlx::query(concat!(
                "SELECT id FROM nodes
                 WHERE last_heartbeat < $1 AND device_secret_hash <> '' AND (status <> 'banned' OR banned_until <= $2)
                 ORDER BY id LIMIT $3",
                locked!()
            ))
            .bind(before.as_millis())
            .bind(now.as_millis())
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
            let silent = rows
                .iter()
                .map(|row| Ok(Nameless::new(row.try_get("id")?, "removed")))
                .collect::<Result<Vec<_>, sqlx::Error>>()?;
            if silent.is_empty() {
                return Ok(0);
            }
            take_out(&mut tx, &silent).await?;
            sqlx::query(concat!(
                "DELETE FROM device_owners WHERE node_id IN (",
                given!(id uuid),
                ")"
            ))
            .bind(Json(&silent))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(silent.len() as u64)
        })
        .await
    }
}

/// Takes out of the rows of devices what leads to them. Under the locks of these rows.
pub(super) async fn take_out(tx: &mut Tx, devices: &[Nameless]) -> Result<(), sqlx::Error> {
    // No secret has an empty hash: nobody registers under such a row again.
    for statement in [
        concat!(
            "UPDATE nodes SET device_id = new.alias, device_secret_hash = '', ip_address = '0.0.0.0', region = NULL,
                 city = NULL, zip = NULL, asn = NULL, isp = NULL, country_name = NULL, latitude_tenths = NULL,
                 longitude_tenths = NULL, carrier = NULL, connection_type = NULL, status = 'inactive',
                 connected_since = NULL
             FROM (",
            given!(id uuid, alias text),
            ") AS new WHERE nodes.id = new.id"
        ),
        concat!(
            "DELETE FROM pairing_codes WHERE node_id IN (",
            given!(id uuid),
            ")"
        ),
        concat!(
            "DELETE FROM device_hours WHERE node_id IN (",
            given!(id uuid),
            ")"
        ),
    ] {
        sqlx::query(statement)
            .bind(Json(devices))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
