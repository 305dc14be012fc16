//! `/api/usage/by-…`: what was used where, with which key, how it ended, and by what way.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::statistics::{Dimension, Part, StatusName};
use iploop_platform::usage::UsageSummary;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::period::{Asked, Format, PeriodInfo, PeriodQuery};
use super::sums::Sums;
use super::{csv, in_range};
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::SignedIn;
use crate::state::ApiState;

/// More names than countries, statuses and types have; what is beyond is not shown.
const ALL: u32 = 2_000;
/// Most destinations in one answer.
const MAX_DESTINATIONS: u32 = 500;

/// Sums by country of the exit.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountriesAnswer {
    /// Most requests first.
    countries: Vec<CountrySums>,
    period: PeriodInfo,
}

/// A country of exits.
#[derive(Serialize, ToSchema)]
struct CountrySums {
    /// ISO 3166-1 alpha-2; none: no exit, or its place is not known.
    country: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums by key.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeysAnswer {
    /// Most requests first.
    keys: Vec<KeySums>,
    period: PeriodInfo,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KeySums {
    #[schema(value_type = String, format = Uuid)]
    api_key_id: ApiKeyId,
    /// None: it was deleted.
    name: Option<String>,
    /// None: it was deleted.
    key_prefix: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums by answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusesAnswer {
    /// Most requests first.
    statuses: Vec<StatusSums>,
    period: PeriodInfo,
}

/// How requests were answered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatusSums {
    /// None: still without an answer, or it is too old for it to be known.
    status_code: Option<u16>,
    /// The error's code; none: no error.
    error: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums by proxy type.
#[derive(Serialize, ToSchema)]
pub(crate) struct TypesAnswer {
    /// Most requests first.
    types: Vec<TypeSums>,
    period: PeriodInfo,
}

/// A way to the proxy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TypeSums {
    /// `http`, `connect` or `socks5`; none: too old for it to be known.
    proxy_type: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums by destination.
#[derive(Serialize, ToSchema)]
pub(crate) struct DestinationsAnswer {
    /// Most requests first, the rest together last.
    destinations: Vec<DestinationSums>,
    period: PeriodInfo,
}

/// A host.
#[derive(Serialize, ToSchema)]
struct DestinationSums {
    /// Name or address; none: all other hosts together.
    host: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// How many destinations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitQuery {
    /// Most hosts by name.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: u32,
}

/// Sums by country of the exit.
#[utoipa::path(
    get, path = "/by-country", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((CountriesAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_by_country(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let asked = query.read(state.parts().clock.now(), session.account())?;
    let named = by_name(&state, session.account().id, &asked, Dimension::Country, ALL).await?;
    let countries: Vec<CountrySums> = named
        .into_iter()
        .map(|(name, sums)| CountrySums {
            country: known(name),
            sums: sums.into(),
        })
        .collect();
    Ok(match asked.format {
        Format::Json => Json(CountriesAnswer {
            countries,
            period: (&asked.period).into(),
        })
        .into_response(),
        Format::Csv => {
            let row = |row: &CountrySums| row.sums.cells([row.country.clone().unwrap_or_default()]);
            table("iploop-usage-by-country", "country", countries.iter().map(row))
        }
    })
}

/// Sums by key, deleted ones included.
#[utoipa::path(
    get, path = "/by-key", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((KeysAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_by_key(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let Asked { period, key, format } = query.read(state.parts().clock.now(), session.account())?;
    let account = session.account().id;
    let store = &state.parts().store;
    let mut sums = store.sums_by_key(account, &[period.whole(0)]).await?;
    if let Some(key) = key {
        sums.retain(|(other, _)| *other == key);
    }
    if sums.is_empty() {
        super::known_key(&state, account, key).await?;
    }
    let mut keys: BTreeMap<_, _> = store
        .api_keys(account)
        .await?
        .into_iter()
        .map(|key| (key.id, (key.name, key.key_prefix)))
        .collect();
    let keys: Vec<KeySums> = sums
        .into_iter()
        .map(|(api_key_id, sums)| {
            let (name, key_prefix) = keys.remove(&api_key_id).unzip();
            KeySums {
                api_key_id,
                name,
                key_prefix,
                sums: sums.into(),
            }
        })
        .collect();
    Ok(match format {
        Format::Json => Json(KeysAnswer {
            keys,
            period: (&period).into(),
        })
        .into_response(),
        Format::Csv => {
            let row = |row: &KeySums| {
                let first = [row.api_key_id.to_string(), row.name.clone().unwrap_or_default()];
                row.sums.cells(first)
            };
            table("iploop-usage-by-key", "apiKeyId,name", keys.iter().map(row))
        }
    })
}

/// Sums by status of the answer and error code.
#[utoipa::path(
    get, path = "/by-status", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((StatusesAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_by_status(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let asked = query.read(state.parts().clock.now(), session.account())?;
    let named = by_name(&state, session.account().id, &asked, Dimension::Status, ALL).await?;
    let statuses: Vec<StatusSums> = named
        .into_iter()
        .map(|(name, sums)| {
            let StatusName { status, error } = StatusName::read(&name);
            StatusSums {
                status_code: status,
                error,
                sums: sums.into(),
            }
        })
        .collect();
    Ok(match asked.format {
        Format::Json => Json(StatusesAnswer {
            statuses,
            period: (&asked.period).into(),
        })
        .into_response(),
        Format::Csv => {
            let row = |row: &StatusSums| {
                let status = row
                    .status_code
                    .map_or_else(String::new, |status| status.to_string());
                row.sums.cells([status, row.error.clone().unwrap_or_default()])
            };
            table(
                "iploop-usage-by-status",
                "statusCode,error",
                statuses.iter().map(row),
            )
        }
    })
}

/// Sums by the way to the proxy: plain HTTP, CONNECT or SOCKS5.
#[utoipa::path(
    get, path = "/by-type", tag = "usage", params(PeriodQuery), security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((TypesAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_by_type(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
) -> Result<Response, ApiError> {
    let asked = query.read(state.parts().clock.now(), session.account())?;
    let named = by_name(&state, session.account().id, &asked, Dimension::ProxyType, ALL).await?;
    let types: Vec<TypeSums> = named
        .into_iter()
        .map(|(name, sums)| TypeSums {
            proxy_type: known(name),
            sums: sums.into(),
        })
        .collect();
    Ok(match asked.format {
        Format::Json => Json(TypesAnswer {
            types,
            period: (&asked.period).into(),
        })
        .into_response(),
        Format::Csv => {
            let row = |row: &TypeSums| row.sums.cells([row.proxy_type.clone().unwrap_or_default()]);
            table("iploop-usage-by-type", "proxyType", types.iter().map(row))
        }
    })
}

/// Sums by host of the destination. The first 500 hosts of a UTC day are told apart, 100 in each 15 minutes of a day that is not
/// whole; the others count together.
#[utoipa::path(
    get, path = "/by-destination", tag = "usage", params(PeriodQuery, LimitQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The sums",
        content((DestinationsAnswer = "application/json"), (String = "text/csv"))
    ))
)]
pub(crate) async fn usage_by_destination(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<PeriodQuery>,
    Query(LimitQuery { limit }): Query<LimitQuery>,
) -> Result<Response, ApiError> {
    in_range("limit", limit, MAX_DESTINATIONS)?;
    let asked = query.read(state.parts().clock.now(), session.account())?;
    let account = session.account().id;
    // One more: the shared name may be among them.
    let mut named = by_name(&state, account, &asked, Dimension::Host, limit + 1).await?;
    named.retain(|(name, _)| !name.is_empty());
    named.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let parts = [asked.period.whole(0)];
    let total = state
        .parts()
        .store
        .sums_by_number(account, asked.key, &parts)
        .await?;
    let all = total.into_iter().next().map(|(_, sums)| sums).unwrap_or_default();
    let rest = named.iter().fold(all, |rest, (_, sums)| less(&rest, sums));
    let mut destinations: Vec<DestinationSums> = named
        .into_iter()
        .map(|(host, sums)| DestinationSums {
            host: Some(host),
            sums: sums.into(),
        })
        .collect();
    if rest.total_requests > 0 {
        destinations.push(DestinationSums {
            host: None,
            sums: rest.into(),
        });
    }
    Ok(match asked.format {
        Format::Json => Json(DestinationsAnswer {
            destinations,
            period: (&asked.period).into(),
        })
        .into_response(),
        Format::Csv => {
            let row = |row: &DestinationSums| row.sums.cells([row.host.clone().unwrap_or_default()]);
            table(
                "iploop-usage-by-destination",
                "host",
                destinations.iter().map(row),
            )
        }
    })
}

async fn by_name(
    state: &ApiState,
    account: AccountId,
    asked: &Asked,
    dimension: Dimension,
    limit: u32,
) -> Result<Vec<(String, UsageSummary)>, ApiError> {
    let parts: [Part; 1] = [asked.period.whole(0)];
    let store = &state.parts().store;
    let named = store
        .sums_by_name(account, asked.key, dimension, &parts, limit)
        .await?;
    if named.is_empty() {
        super::known_key(state, account, asked.key).await?;
    }
    Ok(named)
}

/// What is left when a part is taken out; two reads apart in time may differ by what was booked between them.
fn less(all: &UsageSummary, part: &UsageSummary) -> UsageSummary {
    let minus = |all: i64, part: i64| all.saturating_sub(part).max(0);
    UsageSummary {
        total_requests: minus(all.total_requests, part.total_requests),
        successful_requests: minus(all.successful_requests, part.successful_requests),
        bytes_up: minus(all.bytes_up, part.bytes_up),
        bytes_down: minus(all.bytes_down, part.bytes_down),
        billed_bytes: minus(all.billed_bytes, part.billed_bytes),
        total_duration_ms: minus(all.total_duration_ms, part.total_duration_ms),
        ended_requests: minus(all.ended_requests, part.ended_requests),
    }
}

fn known(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn table(name: &'static str, first: &str, rows: impl Iterator<Item = Vec<String>>) -> Response {
    csv::answer(name, &format!("{first},{}", Sums::COLUMNS), rows)
}

fn fifty() -> u32 {
    50
}
