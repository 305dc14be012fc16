//! `/api/partner`: what a partner's own users see and do. Their own partner's, and nothing else.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::abuse::Actor;
use iploop_platform::account::Role;
use iploop_platform::ids::{AccountId, AppId, PartnerId};
use iploop_platform::partners::{Wanting, csv};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::manage::{ReplacedKey, csv_answer, service};
use super::views::{
    AppBody, AppInfo, AppList, MonthsQuery, PageQuery, PartnerCountry, PartnerDay, PartnerDevicePage,
    PartnerInfo, PartnerPayouts, PartnerStatement, TotalsInfo,
};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/partner`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(own_profile))
        .routes(routes!(rotate_key))
        .routes(routes!(own_apps, hand_in_app))
        .routes(routes!(change_app, remove_app))
        .routes(routes!(own_countries))
        .routes(routes!(own_devices))
        .routes(routes!(own_earnings))
        .routes(routes!(own_statement))
        .routes(routes!(own_statement_csv))
        .routes(routes!(own_payouts))
}

/// A request of somebody who acts for a partner.
pub(crate) struct PartnerUser {
    partner: PartnerId,
    account: AccountId,
}

impl PartnerUser {
    /// What the record says of an act: users give no reasons for what is their own.
    fn wanting(&self) -> Wanting<'static> {
        Wanting {
            actor: Actor::User(self.account),
            reason: "by the partner itself",
        }
    }
}

impl FromRequestParts<ApiState> for PartnerUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let session = SignedIn::from_request_parts(parts, state).await?;
        let account = session.account();
        if account.role != Role::Partner {
            return Err(ApiError::PartnersOnly);
        }
        let partner = state.parts().store.partner_of(account.id).await?;
        Ok(Self {
            partner: partner.ok_or(ApiError::PartnersOnly)?,
            account: account.id,
        })
    }
}

/// A partner, as its users see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerProfile {
    #[serde(flatten)]
    partner: PartnerInfo,
    total_nodes: u64,
    active_nodes: u64,
    totals: TotalsInfo,
}

/// Another key.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotateKeyBody {
    /// Hours for which the old key goes on working; 0: it ends at once.
    #[schema(maximum = 720)]
    overlap_hours: u32,
}

/// Devices by country.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartnerCountries {
    /// Most devices first.
    countries: Vec<PartnerCountry>,
}

/// How many days back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DaysQuery {
    /// Today (UTC) included.
    #[serde(default = "thirty")]
    #[param(minimum = 1, maximum = 366, default = 30)]
    days: u32,
}

/// PartnerEarnings by day.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartnerEarnings {
    /// Days on which something was earned, oldest first. The newest 25 hours may still change.
    days: Vec<PartnerDay>,
}

/// The partner, and what the ledger says of it.
#[utoipa::path(
    get, path = "/profile", tag = "partner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerProfile, description = "The partner"))
)]
pub(crate) async fn own_profile(
    State(state): State<ApiState>,
    user: PartnerUser,
) -> Result<Json<PartnerProfile>, ApiError> {
    let (summary, totals) = service(&state).partner(user.partner).await?;
    Ok(Json(PartnerProfile {
        partner: summary.partner.into(),
        total_nodes: summary.devices,
        active_nodes: summary.active_devices,
        totals: totals.into(),
    }))
}

/// Another key, which is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/key/rotate", tag = "partner", request_body = RotateKeyBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = ReplacedKey, description = "The key"))
)]
pub(crate) async fn rotate_key(
    State(state): State<ApiState>,
    user: PartnerUser,
    Json(body): Json<RotateKeyBody>,
) -> Result<Response, ApiError> {
    let replaced = service(&state)
        .replace_key(user.partner, body.overlap_hours, user.wanting())
        .await?;
    let answer = ReplacedKey {
        key: replaced.key.expose().to_owned(),
        api_key_prefix: replaced.partner.api_key_prefix,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The apps.
#[utoipa::path(
    get, path = "/apps", tag = "partner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AppList, description = "The apps"))
)]
pub(crate) async fn own_apps(
    State(state): State<ApiState>,
    user: PartnerUser,
) -> Result<Json<AppList>, ApiError> {
    Ok(Json(AppList::of(service(&state).apps(user.partner).await?)))
}

/// Hands an app in, to be looked at.
#[utoipa::path(
    post, path = "/apps", tag = "partner", request_body = AppBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = AppInfo, description = "The app, pending"))
)]
pub(crate) async fn hand_in_app(
    State(state): State<ApiState>,
    user: PartnerUser,
    Json(body): Json<AppBody>,
) -> Result<Response, ApiError> {
    let app = service(&state)
        .create_app(user.partner, body.wanted(), user.wanting())
        .await?;
    Ok((StatusCode::CREATED, Json(AppInfo::from(app))).into_response())
}

/// Says something else of an app: it is pending again. One that was suspended stays so.
#[utoipa::path(
    put, path = "/apps/{appId}", tag = "partner", params(("appId" = String, Path, format = Uuid)),
    request_body = AppBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AppInfo, description = "The app"))
)]
pub(crate) async fn change_app(
    State(state): State<ApiState>,
    user: PartnerUser,
    Path(app): Path<String>,
    Json(body): Json<AppBody>,
) -> Result<Json<AppInfo>, ApiError> {
    let changed = service(&state)
        .change_app(user.partner, app_id(&app)?, body.wanted(), user.wanting())
        .await?;
    Ok(Json(changed.into()))
}

/// Removes an app. One that was rejected or suspended stays on record.
#[utoipa::path(
    delete, path = "/apps/{appId}", tag = "partner", params(("appId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Removed"))
)]
pub(crate) async fn remove_app(
    State(state): State<ApiState>,
    user: PartnerUser,
    Path(app): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state)
        .delete_app(user.partner, app_id(&app)?, user.wanting())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The devices by country.
#[utoipa::path(
    get, path = "/devices/countries", tag = "partner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerCountries, description = "The countries"))
)]
pub(crate) async fn own_countries(
    State(state): State<ApiState>,
    user: PartnerUser,
) -> Result<Json<PartnerCountries>, ApiError> {
    let countries = service(&state).countries(user.partner).await?;
    let countries = countries.into_iter().map(PartnerCountry::from).collect();
    Ok(Json(PartnerCountries { countries }))
}

/// The devices, without anything that leads to their owners: no address, no city, no id of their own.
#[utoipa::path(
    get, path = "/devices", tag = "partner", params(PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerDevicePage, description = "The devices"))
)]
pub(crate) async fn own_devices(
    State(state): State<ApiState>,
    user: PartnerUser,
    Query(query): Query<PageQuery>,
) -> Result<Json<PartnerDevicePage>, ApiError> {
    let limit = query.limit()?;
    let devices = service(&state)
        .devices(user.partner, query.after()?, limit + 1)
        .await?;
    Ok(Json(PartnerDevicePage::of(devices, limit)))
}

/// What was earned by UTC day.
#[utoipa::path(
    get, path = "/earnings", tag = "partner", params(DaysQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerEarnings, description = "The days"))
)]
pub(crate) async fn own_earnings(
    State(state): State<ApiState>,
    user: PartnerUser,
    Query(query): Query<DaysQuery>,
) -> Result<Json<PartnerEarnings>, ApiError> {
    let days = service(&state).earnings(user.partner, query.days).await?;
    let days = days.into_iter().map(PartnerDay::from).collect();
    Ok(Json(PartnerEarnings { days }))
}

/// The statement by UTC month.
#[utoipa::path(
    get, path = "/statement", tag = "partner", params(MonthsQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerStatement, description = "The statement"))
)]
pub(crate) async fn own_statement(
    State(state): State<ApiState>,
    user: PartnerUser,
    Query(query): Query<MonthsQuery>,
) -> Result<Json<PartnerStatement>, ApiError> {
    let months = service(&state).statement(user.partner, query.months).await?;
    Ok(Json(PartnerStatement::of(&months)))
}

/// The same as CSV.
#[utoipa::path(
    get, path = "/statement.csv", tag = "partner", params(MonthsQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, content((String = "text/csv")), description = "The statement"))
)]
pub(crate) async fn own_statement_csv(
    State(state): State<ApiState>,
    user: PartnerUser,
    Query(query): Query<MonthsQuery>,
) -> Result<Response, ApiError> {
    let months = service(&state).statement(user.partner, query.months).await?;
    Ok(csv_answer(csv(&months)))
}

/// The newest payouts.
#[utoipa::path(
    get, path = "/payouts", tag = "partner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerPayouts, description = "The payouts"))
)]
pub(crate) async fn own_payouts(
    State(state): State<ApiState>,
    user: PartnerUser,
) -> Result<Json<PartnerPayouts>, ApiError> {
    Ok(Json(PartnerPayouts::of(
        service(&state).payouts(user.partner, 100).await?,
    )))
}

fn app_id(text: &str) -> Result<AppId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
}

fn thirty() -> u32 {
    30
}
