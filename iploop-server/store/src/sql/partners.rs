//! Partners.

use async_trait::async_trait;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Timestamp;
use iploop_platform::partner::{NewPartner, Partner};
use iploop_platform::store::{Partners, StoreError};
use serde_json::json;
use sqlx::Row as _;

use super::columns::{id, number, text, text_or_none, time};
use super::{Row, SqlStore, audit};
use crate::error::act;

macro_rules! columns {
    () => {
        "id, name, email, api_key_prefix, is_active, revenue_share_bp, created_at"
    };
}

#[async_trait]
impl Partners for SqlStore {
    async fn create_partner(&self, partner: NewPartner) -> Result<Partner, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "INSERT INTO partners (id, name, email, api_key_hash, api_key_prefix, is_active, revenue_share_bp,
                     created_at)
                 VALUES ($1, $2, $3, $4, $5, TRUE, $6, $7)
                 RETURNING ",
                columns!()
            ))
            .bind(partner.id.uuid())
            .bind(text(&partner.name))
            .bind(text_or_none(partner.email.as_deref()))
            .bind(partner.key_hash.to_hex())
            .bind(text(&partner.key_prefix))
            .bind(i64::from(partner.revenue_share_bp))
            .bind(partner.now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            let made = partner_from(&row)?;
            let mut entry = partner.audit;
            // The address goes with the partner, so the record, which never changes, does not hold it.
            entry.after = json!({ "name": made.name, "revenueShareBp": made.revenue_share_bp });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(made)
        })
        .await
    }

    async fn partner_by_key(&self, hash: ApiKeyHash, now: Timestamp) -> Result<Option<Partner>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                columns!(),
                " FROM partners WHERE deleted_at IS NULL AND (api_key_hash = $1 OR id = (
                     SELECT partner_id FROM partner_old_keys WHERE key_hash = $1 AND valid_until > $2
                 ))"
            ))
            .bind(hash.to_hex())
            .bind(now.as_millis())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(partner_from).transpose()?)
        })
        .await
    }
}

pub(super) fn partner_from(row: &Row) -> Result<Partner, sqlx::Error> {
    Ok(Partner {
        id: id(row, "id")?,
        name: row.try_get("name")?,
        email: row.try_get("email")?,
        api_key_prefix: row.try_get("api_key_prefix")?,
        is_active: row.try_get("is_active")?,
        revenue_share_bp: number(row, "revenue_share_bp")?,
        created_at: time(row, "created_at")?,
    })
}
