//! What came in and what was earned.

use std::time::Duration;

use axum::extract::State;
use iploop_platform::admin::Revenue;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PlanId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::dollars;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::Admin;
use crate::state::ApiState;
use crate::units::signed_gigabytes;

/// What is shown where nothing else is asked for.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Length of the periods.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Period {
    #[default]
    Day,
    Month,
}

/// Which days.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RevenueQuery {
    /// From this UTC day on; default: 30 days back.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Up to this UTC day, which is not in; default: today is the last one.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// `day` or `month`.
    #[serde(default)]
    #[param(inline)]
    by: Period,
}

/// What came in and what was earned. Usage counts on the day on which its requests began.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevenueAnswer {
    /// The oldest first; those in which nothing moved are left out.
    periods: Vec<RevenueOfPeriod>,
    /// By the plan that the customers have now. Payouts are no plan's.
    plans: Vec<RevenueOfPlan>,
    total: RevenueFigures,
}

/// Of one UTC day or month.
#[derive(Serialize, ToSchema)]
struct RevenueOfPeriod {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    figures: RevenueFigures,
}

/// Of the customers of one plan.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RevenueOfPlan {
    #[schema(value_type = String, format = Uuid)]
    plan_id: PlanId,
    plan: String,
    figures: RevenueFigures,
}

/// Dollars as exact decimals.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RevenueFigures {
    /// Paid by customers.
    #[schema(example = "149.00")]
    purchased: String,
    /// Paid back to them.
    refunded: String,
    /// Paid out to partners.
    paid_out: String,
    /// What used bytes had been bought for.
    sold: String,
    /// The partners' share of that.
    partners: String,
    /// Ours of it.
    earned: String,
    /// Paid bytes that were used.
    sold_bytes: i64,
    /// The same in 10^9 bytes.
    sold_gb: f64,
}

/// What customers paid, what their usage was sold for, and whose it is, from the ledger; at most 800 days.
#[utoipa::path(
    get, path = "/revenue", tag = "admin", params(RevenueQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = RevenueAnswer, description = "The figures"))
)]
pub(crate) async fn get_revenue(
    State(state): State<ApiState>,
    _: Admin,
    Query(query): Query<RevenueQuery>,
) -> Result<Json<RevenueAnswer>, ApiError> {
    let now = state.parts().clock.now();
    let to = query.to.unwrap_or(now.plus(DAY));
    let from = query.from.unwrap_or(to.minus(MONTH));
    let by_month = query.by == Period::Month;
    let report = state.parts().admin.revenue(from, to, by_month).await?;
    let periods = report.periods.iter().map(|(from, revenue)| RevenueOfPeriod {
        from: *from,
        figures: RevenueFigures::of(revenue),
    });
    let plans = report.plans.iter().map(|(plan_id, name, revenue)| RevenueOfPlan {
        plan_id: *plan_id,
        plan: name.clone(),
        figures: RevenueFigures::of(revenue),
    });
    Ok(Json(RevenueAnswer {
        periods: periods.collect(),
        plans: plans.collect(),
        total: RevenueFigures::of(&report.total),
    }))
}

impl RevenueFigures {
    fn of(revenue: &Revenue) -> Self {
        Self {
            purchased: dollars(revenue.purchased_micros),
            refunded: dollars(revenue.refunded_micros),
            paid_out: dollars(revenue.paid_out_micros),
            sold: dollars(revenue.sold_micros),
            partners: dollars(revenue.partners_micros),
            earned: dollars(revenue.earned_micros()),
            sold_bytes: revenue.sold_bytes,
            sold_gb: signed_gigabytes(revenue.sold_bytes),
        }
    }
}
