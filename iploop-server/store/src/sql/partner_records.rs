//! Partners as admins and their own users see them: changes, users, payouts; their apps are in [`partner_apps`].

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AppId, NodeId, PartnerId};
use iploop_platform::partner::Partner;
use iploop_platform::partners::{
    App, AppFacts, AppState, CountryDevices, KeyReplacement, Linked, PartnerChange, PartnerDeleted,
    PartnerDevice, PartnerRecords, PartnerSummary, PartnerUser, Payout,
};
use iploop_platform::store::StoreError;
use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::{id, number, number_or_none, text, text_or_none, time};
use super::device_news::{About, note};
use super::partners::partner_from;
use super::reading::{all, one};
use super::{Row, SqlStore, Tx, audit, partner_apps};
use crate::error::act;

macro_rules! partner_columns {
    () => {
        "id, name, email, api_key_prefix, is_active, revenue_share_bp, created_at"
    };
}

/// A partner with its devices; `$1` is when they must have been heard to count as connected.
macro_rules! summaries {
    () => {
        concat!(
            "SELECT ",
            partner_columns!(),
            ", (SELECT COUNT(*) FROM nodes n WHERE n.partner_id = p.id) AS devices,
               (SELECT COUNT(*) FROM nodes n WHERE n.partner_id = p.id AND n.status = 'available'
                    AND n.last_heartbeat > $1) AS active_devices,
               (SELECT CAST(COALESCE(SUM(u.partner_micros), 0) AS BIGINT) FROM ledger_usage u
                    WHERE u.partner_id = p.id) AS earned_micros
             FROM partners p WHERE deleted_at IS NULL"
        )
    };
}

#[async_trait]
impl PartnerRecords for SqlStore {
    async fn partners(
        &self,
        after: Option<PartnerId>,
        active_after: Timestamp,
        limit: u32,
    ) -> Result<Vec<PartnerSummary>, StoreError> {
        let rows = sqlx::query(concat!(summaries!(), " AND id > $2 ORDER BY id LIMIT $3"))
            .bind(active_after.as_millis())
            .bind(after.map_or(Uuid::nil(), PartnerId::uuid))
            .bind(i64::from(limit))
            .fetch_all(&self.read);
        all(rows, summary_from).await
    }

    async fn partner(
        &self,
        id: PartnerId,
        active_after: Timestamp,
    ) -> Result<Option<PartnerSummary>, StoreError> {
        let row = sqlx::query(concat!(summaries!(), " AND id = $2"))
            .bind(active_after.as_millis())
            .bind(id.uuid())
            .fetch_optional(&self.read);
        one(row, summary_from).await
    }

    async fn partner_devices(
        &self,
        partner: PartnerId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<PartnerDevice>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, status, country, device_type, connection_type, sdk_version, bandwidth_used_bytes,
                 quality_score, last_heartbeat, created_at
             FROM nodes WHERE partner_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(partner.uuid())
        .bind(after.map_or(Uuid::nil(), NodeId::uuid))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, device_from).await
    }

    async fn partner_countries(
        &self,
        partner: PartnerId,
        active_after: Timestamp,
    ) -> Result<Vec<CountryDevices>, StoreError> {
        let rows = sqlx::query(
            "SELECT country, COUNT(*) AS devices,
                 COUNT(*) FILTER (WHERE status = 'available' AND last_heartbeat > $2) AS active_devices,
                 CAST(COALESCE(SUM(bandwidth_used_bytes), 0) AS BIGINT) AS bytes
             FROM nodes WHERE partner_id = $1 GROUP BY country ORDER BY 2 DESC, 1",
        )
        .bind(partner.uuid())
        .bind(active_after.as_millis())
        .fetch_all(&self.read);
        all(rows, country_from).await
    }

    async fn change_partner(
        &self,
        id: PartnerId,
        change: &PartnerChange,
        mut entry: AuditEntry,
    ) -> Result<Option<Partner>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(before) = lock_partner(&mut tx, id).await? else {
                return Ok(None);
            };
            let email = match &change.email {
                Some(email) => email.as_deref(),
                None => before.email.as_deref(),
            };
            let row = sqlx::query(concat!(
                "UPDATE partners SET name = $2, email = $3, is_active = $4, revenue_share_bp = $5 WHERE id = $1
                 RETURNING ",
                partner_columns!()
            ))
            .bind(id.uuid())
            .bind(text(change.name.as_deref().unwrap_or(&before.name)))
            .bind(text_or_none(email))
            .bind(change.is_active.unwrap_or(before.is_active))
            .bind(i64::from(change.revenue_share_bp.unwrap_or(before.revenue_share_bp)))
            .fetch_one(&mut *tx)
            .await?;
            let after = partner_from(&row)?;
            (entry.before, entry.after) = (json!(before), json!(after));
            audit::insert(&mut tx, &entry).await?;
            note(&mut tx, About::Partner, id.uuid(), entry.at).await?;
            tx.commit().await?;
            Ok(Some(after))
        })
        .await
    }

    async fn replace_partner_key(
        &self,
        id: PartnerId,
        key: &KeyReplacement,
        mut entry: AuditEntry,
    ) -> Result<Option<Partner>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(before) = lock_partner(&mut tx, id).await? else {
                return Ok(None);
            };
            sqlx::query(
                "INSERT INTO partner_old_keys (key_hash, partner_id, valid_until)
                 SELECT api_key_hash, id, $2 FROM partners WHERE id = $1
                 ON CONFLICT (partner_id) DO UPDATE SET
                     key_hash = excluded.key_hash, valid_until = excluded.valid_until",
            )
            .bind(id.uuid())
            .bind(key.old_until.as_millis())
            .execute(&mut *tx)
            .await?;
            let row = sqlx::query(concat!(
                "UPDATE partners SET api_key_hash = $2, api_key_prefix = $3 WHERE id = $1 RETURNING ",
                partner_columns!()
            ))
            .bind(id.uuid())
            .bind(key.key_hash.to_hex())
            .bind(text(&key.key_prefix))
            .fetch_one(&mut *tx)
            .await?;
            let after = partner_from(&row)?;
            entry.before = json!({ "apiKeyPrefix": before.api_key_prefix });
            entry.after = json!({ "apiKeyPrefix": after.api_key_prefix, "oldKeyUntil": key.old_until });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(after))
        })
        .await
    }

    async fn delete_partner(
        &self,
        id: PartnerId,
        active_after: Timestamp,
        mut entry: AuditEntry,
    ) -> Result<PartnerDeleted, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(before) = lock_partner(&mut tx, id).await? else {
                return Ok(PartnerDeleted::NotThere);
            };
            let row = sqlx::query(
                "SELECT COUNT(*) AS devices FROM nodes
                 WHERE partner_id = $1 AND status = 'available' AND last_heartbeat > $2",
            )
            .bind(id.uuid())
            .bind(active_after.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let devices = number(&row, "devices")?;
            if devices > 0 {
                return Ok(PartnerDeleted::HasActiveDevices(devices));
            }
            sqlx::query("UPDATE partners SET is_active = FALSE, email = NULL, deleted_at = $2 WHERE id = $1")
                .bind(id.uuid())
                .bind(entry.at.as_millis())
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "UPDATE users SET role = 'customer', updated_at = $2 WHERE role = 'partner'
                     AND id IN (SELECT user_id FROM partner_users WHERE partner_id = $1)",
            )
            .bind(id.uuid())
            .bind(entry.at.as_millis())
            .execute(&mut *tx)
            .await?;
            for statement in [
                "DELETE FROM partner_users WHERE partner_id = $1",
                "DELETE FROM partner_old_keys WHERE partner_id = $1",
                "DELETE FROM partner_apps WHERE partner_id = $1",
            ] {
                sqlx::query(statement).bind(id.uuid()).execute(&mut *tx).await?;
            }
            // The address goes with the partner, so the record, which never changes, does not hold it.
            entry.before = json!({ "name": before.name, "revenueShareBp": before.revenue_share_bp });
            audit::insert(&mut tx, &entry).await?;
            note(&mut tx, About::Partner, id.uuid(), entry.at).await?;
            tx.commit().await?;
            Ok(PartnerDeleted::Gone)
        })
        .await
    }

    async fn partner_apps(&self, partner: PartnerId) -> Result<Vec<App>, StoreError> {
        act(async { Ok(partner_apps::of(&self.read, partner).await?) }).await
    }

    async fn create_app(
        &self,
        partner: PartnerId,
        app: AppId,
        facts: &AppFacts,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_partner(&mut tx, partner).await?.is_none() {
                return Ok(None);
            }
            let made = partner_apps::create(&mut tx, partner, app, facts, entry).await?;
            tx.commit().await?;
            Ok(Some(made))
        })
        .await
    }

    async fn change_app(
        &self,
        partner: PartnerId,
        app: AppId,
        facts: &AppFacts,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let at = entry.at;
            let changed = partner_apps::change(&mut tx, partner, app, facts, entry).await?;
            if changed.is_some() {
                note(&mut tx, About::App, partner.uuid(), at).await?;
            }
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    async fn delete_app(
        &self,
        partner: PartnerId,
        app: AppId,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let at = entry.at;
            let is_gone = partner_apps::delete(&mut tx, partner, app, entry).await?;
            if is_gone {
                note(&mut tx, About::App, partner.uuid(), at).await?;
            }
            tx.commit().await?;
            Ok(is_gone)
        })
        .await
    }

    async fn review_app(
        &self,
        partner: PartnerId,
        app: AppId,
        state: AppState,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let at = entry.at;
            let reviewed = partner_apps::review(&mut tx, partner, app, state, entry).await?;
            if reviewed.is_some() {
                note(&mut tx, About::App, partner.uuid(), at).await?;
            }
            tx.commit().await?;
            Ok(reviewed)
        })
        .await
    }

    async fn link_partner_user(
        &self,
        partner: PartnerId,
        account: AccountId,
        mut entry: AuditEntry,
    ) -> Result<Linked, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_partner(&mut tx, partner).await?.is_none() {
                return Ok(Linked::NoPartner);
            }
            let row = sqlx::query(concat!("SELECT role, status FROM users WHERE id = $1", locked!()))
                .bind(account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else {
                return Ok(Linked::NoAccount);
            };
            match (row.try_get("role")?, row.try_get("status")?) {
                (_, "deleted") => return Ok(Linked::Deleted),
                ("customer", _) => {}
                _ => return Ok(Linked::OtherRole),
            }
            sqlx::query("UPDATE users SET role = 'partner', updated_at = $2 WHERE id = $1")
                .bind(account.uuid())
                .bind(entry.at.as_millis())
                .execute(&mut *tx)
                .await?;
            sqlx::query("INSERT INTO partner_users (user_id, partner_id, linked_at) VALUES ($1, $2, $3)")
                .bind(account.uuid())
                .bind(partner.uuid())
                .bind(entry.at.as_millis())
                .execute(&mut *tx)
                .await?;
            (entry.before, entry.after) = (Value::Null, json!({ "partnerId": partner }));
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Linked::Done)
        })
        .await
    }

    async fn unlink_partner_user(
        &self,
        partner: PartnerId,
        account: AccountId,
        mut entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_partner(&mut tx, partner).await?.is_none() {
                return Ok(false);
            }
            // In the order of everybody who changes a user's role: the user before the link.
            sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
                .bind(account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let done = sqlx::query("DELETE FROM partner_users WHERE user_id = $1 AND partner_id = $2")
                .bind(account.uuid())
                .bind(partner.uuid())
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(
                "UPDATE users SET role = 'customer', updated_at = $2 WHERE id = $1 AND role = 'partner'",
            )
            .bind(account.uuid())
            .bind(entry.at.as_millis())
            .execute(&mut *tx)
            .await?;
            (entry.before, entry.after) = (json!({ "partnerId": partner }), Value::Null);
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn partner_users(
        &self,
        partner: PartnerId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.user_id, p.linked_at, u.email FROM partner_users p JOIN users u ON u.id = p.user_id
             WHERE p.partner_id = $1 AND ($2 IS NULL OR p.user_id > $2) ORDER BY p.user_id LIMIT $3",
        )
        .bind(partner.uuid())
        .bind(after.map(AccountId::uuid))
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        let user_from = |row: &Row| {
            Ok(PartnerUser {
                account: id(row, "user_id")?,
                email: row.try_get("email")?,
                linked_at: time(row, "linked_at")?,
            })
        };
        all(rows, user_from).await
    }

    async fn partner_of(&self, account: AccountId) -> Result<Option<PartnerId>, StoreError> {
        let row = sqlx::query("SELECT partner_id FROM partner_users WHERE user_id = $1")
            .bind(account.uuid())
            .fetch_optional(&self.read);
        one(row, |row| id(row, "partner_id")).await
    }

    async fn payouts(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<Payout>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, amount_micros, reference, at FROM ledger_entries
             WHERE owner_id = $1 AND owner = 'partner' AND kind = 'payout' AND at >= $2 AND at < $3
             ORDER BY at DESC, id DESC LIMIT $4",
        )
        .bind(partner.uuid())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, payout_from).await
    }
}

async fn lock_partner(tx: &mut Tx, id: PartnerId) -> Result<Option<Partner>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        partner_columns!(),
        " FROM partners WHERE id = $1 AND deleted_at IS NULL",
        locked!()
    ))
    .bind(id.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(partner_from).transpose()
}

fn summary_from(row: &Row) -> Result<PartnerSummary, sqlx::Error> {
    Ok(PartnerSummary {
        partner: partner_from(row)?,
        devices: number(row, "devices")?,
        active_devices: number(row, "active_devices")?,
        earned_micros: row.try_get("earned_micros")?,
    })
}

fn device_from(row: &Row) -> Result<PartnerDevice, sqlx::Error> {
    Ok(PartnerDevice {
        id: id(row, "id")?,
        status: row.try_get("status")?,
        country: row.try_get("country")?,
        device_type: row.try_get("device_type")?,
        connection_type: row.try_get("connection_type")?,
        sdk_version: row.try_get("sdk_version")?,
        bytes: number(row, "bandwidth_used_bytes")?,
        quality: number_or_none(row, "quality_score")?,
        last_seen_at: time(row, "last_heartbeat")?,
        created_at: time(row, "created_at")?,
    })
}

fn country_from(row: &Row) -> Result<CountryDevices, sqlx::Error> {
    Ok(CountryDevices {
        country: row.try_get("country")?,
        devices: number(row, "devices")?,
        active_devices: number(row, "active_devices")?,
        bytes: number(row, "bytes")?,
    })
}

fn payout_from(row: &Row) -> Result<Payout, sqlx::Error> {
    Ok(Payout {
        id: id(row, "id")?,
        amount_micros: row.try_get::<i64, _>("amount_micros")?.saturating_neg(),
        reference: row.try_get("reference")?,
        at: time(row, "at")?,
    })
}
