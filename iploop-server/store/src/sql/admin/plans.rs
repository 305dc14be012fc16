//! Plans, as admins see and change them.

use iploop_platform::abuse::AuditEntry;
use iploop_platform::admin::{PlanChange, PlanChanged, PlanDetails, PlanPage, PlanQuery, WantedPlan};
use iploop_platform::ids::{AccountId, PlanId};
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;

use super::super::columns::{id, number, text, text_or_none};
use super::super::plans::{plan_columns, plan_from};
use super::super::{Pool, Row, Tx, audit};
use super::settings;

macro_rules! details {
    () => {
        concat!(
            "SELECT ",
            plan_columns!(),
            ", p.stripe_price_monthly, p.stripe_price_annual,
               (SELECT COUNT(*) FROM user_plans b JOIN users u ON u.id = b.user_id
                WHERE b.plan_id = p.id AND u.status <> 'deleted') AS accounts
             FROM plans p"
        )
    };
}

pub(super) async fn page(pool: &Pool, query: &PlanQuery) -> Result<PlanPage, sqlx::Error> {
    let counted = sqlx::query("SELECT COUNT(*) AS plans FROM plans")
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query(concat!(
        details!(),
        " WHERE ($1 IS NULL OR (p.price_monthly_cents, p.price_per_gb_micros, p.name) >
             (SELECT price_monthly_cents, price_per_gb_micros, name FROM plans WHERE id = $1))
         ORDER BY p.price_monthly_cents, p.price_per_gb_micros, p.name LIMIT $2 OFFSET $3"
    ))
    .bind(query.after.map(PlanId::uuid))
    .bind(i64::from(query.limit))
    .bind(i64::from(query.offset))
    .fetch_all(pool)
    .await?;
    Ok(PlanPage {
        rows: rows.iter().map(details_from).collect::<Result<_, _>>()?,
        total: number(&counted, "plans")?,
    })
}

pub(super) async fn one(pool: &Pool, id: PlanId) -> Result<Option<PlanDetails>, sqlx::Error> {
    let row = sqlx::query(concat!(details!(), " WHERE p.id = $1"))
        .bind(id.uuid())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(details_from).transpose()
}

fn details_from(row: &Row) -> Result<PlanDetails, sqlx::Error> {
    Ok(PlanDetails {
        plan: plan_from(row)?,
        stripe_price_monthly: row.try_get("stripe_price_monthly")?,
        stripe_price_annual: row.try_get("stripe_price_annual")?,
        accounts: number(row, "accounts")?,
    })
}

pub(super) async fn create(
    tx: &mut Tx,
    id: PlanId,
    plan: &WantedPlan,
    mut entry: AuditEntry,
) -> Result<(), sqlx::Error> {
    write(
        tx,
        "INSERT INTO plans (id, name, description, price_per_gb_micros, price_monthly_cents, price_annual_cents,
             included_bytes, requests_per_day, max_concurrent_connections, city_targeting, asn_targeting,
             sticky_sessions, features, is_active, stripe_price_monthly, stripe_price_annual)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        id,
        plan,
    )
    .await?;
    entry.after = json!(plan);
    audit::insert(tx, &entry).await
}

pub(super) async fn change(
    tx: &mut Tx,
    id: PlanId,
    change: &PlanChange,
    mut entry: AuditEntry,
) -> Result<PlanChanged, sqlx::Error> {
    // The settings name a plan that is on offer: who changes either holds their lock first.
    let settings = settings::lock(tx).await?;
    let row = sqlx::query(concat!("SELECT id FROM plans WHERE id = $1", locked!()))
        .bind(id.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    if row.is_none() {
        return Ok(PlanChanged::NotFound);
    }
    let row = sqlx::query(concat!(details!(), " WHERE p.id = $1"))
        .bind(id.uuid())
        .fetch_one(&mut **tx)
        .await?;
    let before = details_from(&row)?.wanted();
    let plan = change.over(before.clone());
    if before == plan {
        return Ok(PlanChanged::AlreadySo);
    }
    if !plan.is_active && settings.settings.first_plan == id {
        return Ok(PlanChanged::FirstPlan);
    }
    write(
        tx,
        "UPDATE plans SET name = $2, description = $3, price_per_gb_micros = $4, price_monthly_cents = $5,
             price_annual_cents = $6, included_bytes = $7, requests_per_day = $8, max_concurrent_connections = $9,
             city_targeting = $10, asn_targeting = $11, sticky_sessions = $12, features = $13, is_active = $14,
             stripe_price_monthly = $15, stripe_price_annual = $16
         WHERE id = $1",
        id,
        &plan,
    )
    .await?;
    entry.before = json!(before);
    entry.after = json!(plan);
    audit::insert(tx, &entry).await?;
    Ok(PlanChanged::Done)
}

/// Runs a statement that takes all columns in one order.
async fn write(tx: &mut Tx, sql: &'static str, id: PlanId, plan: &WantedPlan) -> Result<(), sqlx::Error> {
    let features: Vec<_> = plan.features.iter().map(|feature| text(feature)).collect();
    sqlx::query(sql)
        .bind(id.uuid())
        .bind(text(&plan.name))
        .bind(text(&plan.description))
        .bind(plan.price_per_gb_micros)
        .bind(plan.price_monthly_cents)
        .bind(plan.price_annual_cents)
        .bind(plan.included_bytes)
        .bind(plan.requests_per_day)
        .bind(i64::from(plan.max_concurrent_connections))
        .bind(plan.gates.city)
        .bind(plan.gates.asn)
        .bind(plan.gates.sticky_sessions)
        .bind(Json(features))
        .bind(plan.is_active)
        .bind(text_or_none(plan.stripe_price_monthly.as_deref()))
        .bind(text_or_none(plan.stripe_price_annual.as_deref()))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn accounts_on(
    pool: &Pool,
    plan: PlanId,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Vec<AccountId>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT user_id FROM user_plans WHERE plan_id = $1 AND ($2 IS NULL OR user_id > $2) ORDER BY user_id LIMIT $3",
    )
    .bind(plan.uuid())
    .bind(after.map(AccountId::uuid))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| id(row, "user_id")).collect()
}
