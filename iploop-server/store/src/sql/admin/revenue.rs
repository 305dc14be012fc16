//! What came in and what was earned: sums over the ledger.

use iploop_platform::admin::Revenue;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PlanId;
use sqlx::Row as _;

use super::super::columns::{id, time};
use super::super::{Pool, Row};

/// What moved in `[$1, $2)`, a row for each entry and each hour of usage, with two columns of either to group by.
macro_rules! moved {
    ($of_entry:literal, $of_usage:literal) => {
        concat!(
            "(SELECT ",
            $of_entry,
            ", CASE WHEN kind = 'purchase' THEN amount_micros ELSE 0 END AS purchased,
                 CASE WHEN kind = 'refund' THEN -amount_micros ELSE 0 END AS refunded,
                 CASE WHEN kind = 'payout' THEN -amount_micros ELSE 0 END AS paid_out,
                 0 AS bytes, 0 AS sold, 0 AS partners
              FROM ledger_entries
              WHERE at >= $1 AND at < $2 AND kind IN ('purchase', 'refund', 'payout')
              UNION ALL
              SELECT ",
            $of_usage,
            ", 0, 0, 0, bytes, sold_micros, partner_micros
              FROM ledger_usage WHERE day_at >= $1 AND day_at < $2) AS moved"
        )
    };
}

macro_rules! sums {
    () => {
        "CAST(SUM(purchased) AS BIGINT) AS purchased, CAST(SUM(refunded) AS BIGINT) AS refunded,
         CAST(SUM(paid_out) AS BIGINT) AS paid_out, CAST(SUM(bytes) AS BIGINT) AS bytes,
         CAST(SUM(sold) AS BIGINT) AS sold, CAST(SUM(partners) AS BIGINT) AS partners"
    };
}

/// By UTC day, oldest first.
pub(super) async fn by_day(
    pool: &Pool,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(Timestamp, Revenue)>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT day, ",
        sums!(),
        " FROM ",
        moved!("at - at % 86400000 AS day", "day_at"),
        " GROUP BY day ORDER BY day"
    ))
    .bind(from.as_millis())
    .bind(to.as_millis())
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((time(row, "day")?, revenue_from(row)?)))
        .collect()
}

/// By the plan that the customers have now.
pub(super) async fn by_plan(
    pool: &Pool,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(PlanId, String, Revenue)>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT p.id, p.name, ",
        sums!(),
        " FROM ",
        moved!("owner_id AS user_id", "user_id"),
        " JOIN user_plans b ON b.user_id = moved.user_id JOIN plans p ON p.id = b.plan_id
         GROUP BY p.id, p.name ORDER BY p.name"
    ))
    .bind(from.as_millis())
    .bind(to.as_millis())
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((id(row, "id")?, row.try_get("name")?, revenue_from(row)?)))
        .collect()
}

fn revenue_from(row: &Row) -> Result<Revenue, sqlx::Error> {
    Ok(Revenue {
        purchased_micros: row.try_get("purchased")?,
        refunded_micros: row.try_get("refunded")?,
        paid_out_micros: row.try_get("paid_out")?,
        sold_bytes: row.try_get("bytes")?,
        sold_micros: row.try_get("sold")?,
        partners_micros: row.try_get("partners")?,
    })
}
