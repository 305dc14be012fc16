//! Partners' apps; the audit record of each change in its transaction.

use iploop_platform::abuse::AuditEntry;
use iploop_platform::ids::{AppId, PartnerId};
use iploop_platform::partners::{App, AppFacts, AppPlatform, AppStanding, AppState, MAX_APPS, admits_device};
use iploop_platform::store::StoreError;
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, text, text_or_none, time};
use super::{Pool, Row, Tx, audit};
use crate::error::{Failure, unreadable};

macro_rules! columns {
    () => {
        "id, partner_id, name, platform, bundle_id, store_url, state, state_reason, created_at, changed_at"
    };
}

pub(super) async fn of(pool: &Pool, partner: PartnerId) -> Result<Vec<App>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM partner_apps WHERE partner_id = $1 ORDER BY id"
    ))
    .bind(partner.uuid())
    .fetch_all(pool)
    .await?;
    rows.iter().map(app_from).collect()
}

/// Under the lock of the partner's row.
pub(super) async fn create(
    tx: &mut Tx,
    partner: PartnerId,
    app: AppId,
    facts: &AppFacts,
    mut entry: AuditEntry,
) -> Result<App, Failure> {
    let row = sqlx::query("SELECT COUNT(*) AS apps FROM partner_apps WHERE partner_id = $1")
        .bind(partner.uuid())
        .fetch_one(&mut **tx)
        .await?;
    if row.try_get::<i64, _>("apps")? >= i64::from(MAX_APPS) {
        return Err(StoreError::LimitReached {
            what: "apps",
            limit: MAX_APPS,
        }
        .into());
    }
    let row = sqlx::query(concat!(
        "INSERT INTO partner_apps (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, 'pending', NULL, $7, $7) RETURNING ",
        columns!()
    ))
    .bind(app.uuid())
    .bind(partner.uuid())
    .bind(text(&facts.name))
    .bind(facts.platform.as_str())
    .bind(text(&facts.bundle_id))
    .bind(text_or_none(facts.store_url.as_deref()))
    .bind(entry.at.as_millis())
    .fetch_one(&mut **tx)
    .await?;
    let made = app_from(&row)?;
    entry.after = json!(made);
    audit::insert(tx, &entry).await?;
    Ok(made)
}

pub(super) async fn change(
    tx: &mut Tx,
    partner: PartnerId,
    app: AppId,
    facts: &AppFacts,
    entry: AuditEntry,
) -> Result<Option<App>, sqlx::Error> {
    let Some(before) = locked(tx, partner, app).await? else {
        return Ok(None);
    };
    let row = sqlx::query(concat!(
        "UPDATE partner_apps SET name = $2, platform = $3, bundle_id = $4, store_url = $5, changed_at = $6,
             state = CASE WHEN state = 'suspended' THEN state ELSE 'pending' END,
             state_reason = CASE WHEN state = 'suspended' THEN state_reason END
         WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(app.uuid())
    .bind(text(&facts.name))
    .bind(facts.platform.as_str())
    .bind(text(&facts.bundle_id))
    .bind(text_or_none(facts.store_url.as_deref()))
    .bind(entry.at.as_millis())
    .fetch_one(&mut **tx)
    .await?;
    changed(tx, before, &row, entry).await
}

/// False: no such app of this partner, or somebody decided against it.
pub(super) async fn delete(
    tx: &mut Tx,
    partner: PartnerId,
    app: AppId,
    mut entry: AuditEntry,
) -> Result<bool, sqlx::Error> {
    let Some(before) = locked(tx, partner, app).await? else {
        return Ok(false);
    };
    if !matches!(before.state, AppState::Pending | AppState::Approved) {
        return Ok(false);
    }
    sqlx::query("DELETE FROM partner_apps WHERE id = $1")
        .bind(app.uuid())
        .execute(&mut **tx)
        .await?;
    entry.before = json!(before);
    audit::insert(tx, &entry).await?;
    Ok(true)
}

pub(super) async fn review(
    tx: &mut Tx,
    partner: PartnerId,
    app: AppId,
    state: AppState,
    entry: AuditEntry,
) -> Result<Option<App>, sqlx::Error> {
    let Some(before) = locked(tx, partner, app).await? else {
        return Ok(None);
    };
    let row = sqlx::query(concat!(
        "UPDATE partner_apps SET state = $2, state_reason = $3, changed_at = $4 WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(app.uuid())
    .bind(state.as_str())
    .bind(text(&entry.reason))
    .bind(entry.at.as_millis())
    .fetch_one(&mut **tx)
    .await?;
    changed(tx, before, &row, entry).await
}

/// An app as it is now, with the record of what it was.
async fn changed(
    tx: &mut Tx,
    before: App,
    row: &Row,
    mut entry: AuditEntry,
) -> Result<Option<App>, sqlx::Error> {
    let after = app_from(row)?;
    (entry.before, entry.after) = (json!(before), json!(after));
    audit::insert(tx, &entry).await?;
    Ok(Some(after))
}

/// Whether the app that a device names may bring it, as the partner's apps stand.
pub(super) async fn is_app_admitted(
    tx: &mut Tx,
    partner: PartnerId,
    bundle_id: &str,
    platform: Option<&str>,
    review: bool,
) -> Result<bool, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT bundle_id, platform, state FROM partner_apps WHERE partner_id = $1 AND bundle_id = $2",
    )
    .bind(partner.uuid())
    .bind(text(bundle_id))
    .fetch_all(&mut **tx)
    .await?;
    let apps = rows.iter().map(standing_from).collect::<Result<Vec<_>, _>>()?;
    Ok(admits_device(&apps, &text(bundle_id), platform, review))
}

async fn locked(tx: &mut Tx, partner: PartnerId, app: AppId) -> Result<Option<App>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM partner_apps WHERE partner_id = $1 AND id = $2",
        locked!()
    ))
    .bind(partner.uuid())
    .bind(app.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(app_from).transpose()
}

pub(super) fn standing_from(row: &Row) -> Result<AppStanding, sqlx::Error> {
    Ok(AppStanding {
        bundle_id: row.try_get("bundle_id")?,
        platform: platform_from(row)?,
        state: state_from(row)?,
    })
}

fn platform_from(row: &Row) -> Result<AppPlatform, sqlx::Error> {
    let platform: &str = row.try_get("platform")?;
    platform
        .parse()
        .map_err(|_| unreadable("partner_apps.platform", &platform))
}

fn app_from(row: &Row) -> Result<App, sqlx::Error> {
    Ok(App {
        id: id(row, "id")?,
        partner: id(row, "partner_id")?,
        name: row.try_get("name")?,
        platform: platform_from(row)?,
        bundle_id: row.try_get("bundle_id")?,
        store_url: row.try_get("store_url")?,
        state: state_from(row)?,
        state_reason: row.try_get("state_reason")?,
        created_at: time(row, "created_at")?,
        changed_at: time(row, "changed_at")?,
    })
}

fn state_from(row: &Row) -> Result<AppState, sqlx::Error> {
    let state: &str = row.try_get("state")?;
    state
        .parse()
        .map_err(|_| unreadable("partner_apps.state", &state))
}
