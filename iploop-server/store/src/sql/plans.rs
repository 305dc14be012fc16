//! Plans.

use async_trait::async_trait;
use iploop_platform::ids::AccountId;
use iploop_platform::plan::{Gates, Plan};
use iploop_platform::store::{Plans, StoreError};
use sqlx::Row as _;

use super::columns::{id, json, number};
use super::reading::all;
use super::{Row, SqlStore};
use crate::error::act;

/// The columns of [`plan_from`], out of a table named `p`.
macro_rules! plan_columns {
    () => {
        "p.id AS plan_id, p.name AS plan_name, p.description, p.price_per_gb_micros, p.price_monthly_cents,
         p.price_annual_cents, p.included_bytes, p.requests_per_day, p.max_concurrent_connections, p.city_targeting,
         p.asn_targeting, p.sticky_sessions, p.features, p.is_active AS plan_is_active"
    };
}
pub(super) use plan_columns;

#[async_trait]
impl Plans for SqlStore {
    async fn plans(&self) -> Result<Vec<Plan>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            plan_columns!(),
            " FROM plans p ORDER BY p.price_monthly_cents, p.price_per_gb_micros, p.name"
        ))
        .fetch_all(&self.read);
        all(rows, plan_from).await
    }

    async fn plan_of(&self, account: AccountId) -> Result<Option<Plan>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                plan_columns!(),
                " FROM user_plans u JOIN plans p ON p.id = u.plan_id WHERE u.user_id = $1"
            ))
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(plan_from).transpose()?)
        })
        .await
    }
}

pub(super) fn plan_from(row: &Row) -> Result<Plan, sqlx::Error> {
    Ok(Plan {
        id: id(row, "plan_id")?,
        name: row.try_get("plan_name")?,
        description: row.try_get("description")?,
        price_per_gb_micros: row.try_get("price_per_gb_micros")?,
        price_monthly_cents: row.try_get("price_monthly_cents")?,
        price_annual_cents: row.try_get("price_annual_cents")?,
        included_bytes: row.try_get("included_bytes")?,
        requests_per_day: row.try_get("requests_per_day")?,
        max_concurrent_connections: number(row, "max_concurrent_connections")?,
        gates: Gates {
            city: row.try_get("city_targeting")?,
            asn: row.try_get("asn_targeting")?,
            sticky_sessions: row.try_get("sticky_sessions")?,
        },
        features: json(row, "features")?,
        is_active: row.try_get("plan_is_active")?,
    })
}
