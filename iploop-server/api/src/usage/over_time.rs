//! `/api/usage/summary`, `daily` and `hourly`, and `/api/proxy/stats`: what was used when.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::statistics::{Part, Period, Zone};
use iploop_platform::usage::UsageSummary;
use serde::Serialize;
use utoipa::ToSchema;

use super::csv;
use super::period::{Asked, Format, PeriodInfo, PeriodQuery};
use super::sums::Sums;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;

/// Days of `/api/proxy/stats`.
const STATS_DAYS: u32 = 30;

/// Sums over a period.
#[derive(Serialize, ToSchema)]
pub(crate) struct SummaryAnswer {
    summary: Sums,
    /// The period before, for comparison: as many days, and as far into them as this period has got.
    previous: Previous,
    period: PeriodInfo,
}

/// The sums of the period before.
#[derive(Serialize, ToSchema)]
struct Previous {
    summary: Sums,
    period: PeriodInfo,
}

/// Sums by local day.
#[derive(Serialize, ToSchema)]
pub(crate) struct DailyAnswer {
    /// Every day of the period, oldest first; empty if nothing was used in any.
    days: Vec<DaySums>,
    period: PeriodInfo,
}

/// A local day.
#[derive(Serialize, ToSchema)]
struct DaySums {
    #[schema(value_type = String, format = Date, example = "2026-03-29")]
    date: String,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums by local hour of the day.
#[derive(Serialize, ToSchema)]
pub(crate) struct HourlyAnswer {
    /// Every hour of the day, all days of the period together; empty if nothing was used in any.
    hours: Vec<HourSums>,
    period: PeriodInfo,
}

/// An hour of the day.
#[derive(Serialize, ToSchema)]
struct HourSums {
    /// 0 to 23.
    hour: u8,
    #[serde(flatten)]
    sums: Sums,
}

/// The last 30 days.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsAnswer {
    summary: Sums,
    /// Every day of the period, oldest first; empty if nothing was used in any.
    days: Vec<DaySums>,
    period: PeriodInfo,
}

/// Sums over the requests that began in the period, those that still run included, beside those of the period before.
#[utoipa::path(
    get, path = "/summary", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((SummaryAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_summary(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let now = state.parts().clock.now();
    let Asked { period, key, format } = query.read(now, session.account())?;
    let previous = period.previous(now).map_err(|error| {
        let message = format!("the period before it {error}");
        ApiError::InvalidFields(vec![FieldProblem::new("from", message)])
    })?;
    let parts = [previous.whole(0), period.whole(1)];
    let mut sums = by_number(&state, session.account().id, key, &parts).await?;
    let mut take = |number| Sums::from(sums.remove(&number).unwrap_or_default());
    let answer = SummaryAnswer {
        summary: take(1),
        previous: Previous {
            summary: take(0),
            period: (&previous).into(),
        },
        period: (&period).into(),
    };
    Ok(match format {
        Format::Json => Json(answer).into_response(),
        Format::Csv => {
            let row =
                |period: &Period, sums: &Sums| sums.cells([period.from.to_string(), period.to.to_string()]);
            let rows = [
                row(&period, &answer.summary),
                row(&previous, &answer.previous.summary),
            ];
            csv::answer("iploop-usage-summary", &columns("from,to"), rows.into_iter())
        }
    })
}

/// Sums by local day: days of 23 and 25 hours where clocks change.
#[utoipa::path(
    get, path = "/daily", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((DailyAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn daily_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let Asked { period, key, format } = query.read(state.parts().clock.now(), session.account())?;
    let days = days(&state, session.account().id, key, &period).await?;
    Ok(match format {
        Format::Json => Json(DailyAnswer {
            days,
            period: (&period).into(),
        })
        .into_response(),
        Format::Csv => {
            let rows = days.iter().map(|day| day.sums.cells([day.date.clone()]));
            csv::answer("iploop-usage-daily", &columns("date"), rows)
        }
    })
}

/// Sums by local hour of the day, over all days of the period.
#[utoipa::path(
    get, path = "/hourly", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((HourlyAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn hourly_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let Asked { period, key, format } = query.read(state.parts().clock.now(), session.account())?;
    let mut sums = by_number(&state, session.account().id, key, &period.by_hour()).await?;
    let is_empty = sums.is_empty();
    let hours: Vec<HourSums> = (0_u8..24)
        .filter(|_| !is_empty)
        .map(|hour| HourSums {
            hour,
            sums: sums.remove(&hour.into()).unwrap_or_default().into(),
        })
        .collect();
    Ok(match format {
        Format::Json => Json(HourlyAnswer {
            hours,
            period: (&period).into(),
        })
        .into_response(),
        Format::Csv => {
            let rows = hours.iter().map(|hour| hour.sums.cells([hour.hour.to_string()]));
            csv::answer("iploop-usage-hourly", &columns("hour"), rows)
        }
    })
}

/// What was used in the last 30 days, UTC.
#[utoipa::path(
    get, path = "/stats", tag = "proxy", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = StatsAnswer, description = "The sums, whole and by day"))
)]
pub(crate) async fn proxy_stats(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<StatsAnswer>, ApiError> {
    let account = session.account().id;
    let now = state.parts().clock.now();
    let period = Period::last_days(Zone::default(), STATS_DAYS, now).map_err(|_| ApiError::NotFound)?;
    let mut sums = by_number(&state, account, None, &[period.whole(0)]).await?;
    Ok(Json(StatsAnswer {
        summary: sums.remove(&0).unwrap_or_default().into(),
        days: days(&state, account, None, &period).await?,
        period: (&period).into(),
    }))
}

async fn days(
    state: &ApiState,
    account: AccountId,
    key: Option<ApiKeyId>,
    period: &Period,
) -> Result<Vec<DaySums>, ApiError> {
    let mut sums = by_number(state, account, key, &period.by_day()).await?;
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let days = period.days().into_iter().map(|(number, date)| DaySums {
        date,
        sums: sums.remove(&number).unwrap_or_default().into(),
    });
    Ok(days.collect())
}

async fn by_number(
    state: &ApiState,
    account: AccountId,
    key: Option<ApiKeyId>,
    parts: &[Part],
) -> Result<BTreeMap<i64, UsageSummary>, ApiError> {
    let sums = state.parts().store.sums_by_number(account, key, parts).await?;
    if sums.is_empty() {
        super::known_key(state, account, key).await?;
    }
    Ok(sums.into_iter().collect())
}

fn columns(first: &str) -> String {
    format!("{first},{}", Sums::COLUMNS)
}
