//! The platform's settings: one row.

use iploop_platform::abuse::AuditEntry;
use iploop_platform::admin::{PlatformSettings, SettingsWritten, VersionedSettings};
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;

use super::super::columns::{json as json_of, number};
use super::super::{Pool, Row, Tx, audit};

pub(super) async fn read(pool: &Pool) -> Result<VersionedSettings, sqlx::Error> {
    let row = sqlx::query("SELECT version, settings FROM platform_settings WHERE id = 1")
        .fetch_one(pool)
        .await?;
    settings_from(&row)
}

/// Keeps the settings as they are until the transaction ends.
pub(super) async fn lock(tx: &mut Tx) -> Result<VersionedSettings, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT version, settings FROM platform_settings WHERE id = 1",
        locked!()
    ))
    .fetch_one(&mut **tx)
    .await?;
    settings_from(&row)
}

pub(super) async fn change(
    tx: &mut Tx,
    version: u64,
    settings: &PlatformSettings,
    mut entry: AuditEntry,
) -> Result<SettingsWritten, sqlx::Error> {
    let before = lock(tx).await?;
    if before.version != version {
        return Ok(SettingsWritten::Changed);
    }
    let plan = sqlx::query("SELECT is_active FROM plans WHERE id = $1")
        .bind(settings.first_plan.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    let is_offered = plan
        .map(|plan| plan.try_get::<bool, _>("is_active"))
        .transpose()?;
    if is_offered != Some(true) {
        return Ok(SettingsWritten::PlanNotOffered);
    }
    let row = sqlx::query(
        "UPDATE platform_settings SET version = version + 1, settings = $1 WHERE id = 1 RETURNING version",
    )
    .bind(Json(settings))
    .fetch_one(&mut **tx)
    .await?;
    entry.before = json!(before.settings);
    audit::insert(tx, &entry).await?;
    Ok(SettingsWritten::Done(number(&row, "version")?))
}

fn settings_from(row: &Row) -> Result<VersionedSettings, sqlx::Error> {
    Ok(VersionedSettings {
        version: number(row, "version")?,
        settings: json_of(row, "settings")?,
    })
}
