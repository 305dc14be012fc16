//! What admins do with partners.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use iploop_platform::abuse::Actor;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AppId, PartnerId};
use iploop_platform::ledger::{LedgerError, Refusal, Who};
use iploop_platform::partners::{AppState, PartnerService, WantedChange, Wanting, csv};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::views::{
    AppBody, AppInfo, AppList, MonthsQuery, PageQuery, PartnerDevicePage, PartnerInfo, PartnerPayouts,
    PartnerStatement, TotalsInfo,
};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::schema::{AppStateName, IdempotencyKey, Line, Name, Reason};
use crate::session::Admin;
use crate::state::ApiState;
use crate::units::dollars;

/// Users in the answer that has all about a partner.
const USERS_IN_DETAIL: u32 = 50;
/// Payouts in one answer.
const PAYOUTS: u32 = 100;

/// A partner in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerRow {
    #[serde(flatten)]
    partner: PartnerInfo,
    total_nodes: u64,
    active_nodes: u64,
    /// Its share in all, from the ledger, in dollars.
    total_earnings: f64,
    /// The same in micro-dollars, exact.
    earned_micros: i64,
}

/// Some partners.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerPage {
    /// Oldest first.
    partners: Vec<PartnerRow>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// A partner in full.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerDetail {
    #[serde(flatten)]
    partner: PartnerInfo,
    total_nodes: u64,
    active_nodes: u64,
    totals: TotalsInfo,
    /// The first 50 devices; the others: `/devices`.
    nodes: PartnerDevicePage,
    /// The first 50 accounts that act for it; all of them: `/users`.
    #[schema(value_type = Vec<String>)]
    users: Vec<AccountId>,
}

/// An account that acts for a partner.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerUserRow {
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    email: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
}

/// Some of them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerUserPage {
    /// The oldest accounts first.
    users: Vec<PartnerUserRow>,
    /// For the next page; null: this was the last.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<AccountId>,
}

/// What changes; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangePartnerBody {
    #[schema(value_type = Option<Name>)]
    #[serde(default)]
    name: Option<String>,
    /// Null: no longer any.
    #[schema(value_type = Option<String>, format = Email, max_length = 254)]
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    /// False: its devices are refused, and disconnected within seconds.
    #[serde(default)]
    is_active: Option<bool>,
    /// Percent of what is sold from now on, with at most two digits behind the point.
    #[schema(minimum = 0, maximum = 100)]
    #[serde(default)]
    revenue_share: Option<f64>,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Another key.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplaceKeyBody {
    /// Hours for which the old key goes on working; 0: it ends at once.
    #[schema(maximum = 720)]
    overlap_hours: u32,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// The key that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplacedKey {
    /// The key itself: save it now, it is not shown again.
    pub(super) key: String,
    pub(super) api_key_prefix: String,
}

/// Why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhyQuery {
    /// For the record.
    #[param(value_type = Reason)]
    reason: String,
}

/// A decision about an app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewBody {
    /// `pending`, `approved`, `rejected` or `suspended`.
    #[schema(value_type = AppStateName)]
    state: AppState,
    /// For the record and the partner.
    #[schema(value_type = Reason)]
    reason: String,
}

/// A user that acts for a partner.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PartnerUserBody {
    /// A customer's account.
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// A payout that was made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PayoutBody {
    /// Micro-dollars.
    #[schema(minimum = 1, maximum = 9223372036854775807_i64)]
    amount_micros: i64,
    /// The payment, as the bank names it.
    #[schema(value_type = Option<Line>)]
    #[serde(default)]
    reference: Option<String>,
    /// The same key again books nothing.
    #[schema(value_type = IdempotencyKey)]
    idempotency_key: String,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// The entry that stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayoutAnswer {
    #[schema(value_type = String, format = Uuid)]
    id: iploop_platform::ids::EntryId,
    /// True: it stood already.
    is_repeat: bool,
}

/// Partners, oldest first. For admins.
#[utoipa::path(
    get, path = "", tag = "partners", params(PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerPage, description = "The partners"))
)]
pub(crate) async fn list_partners(
    State(state): State<ApiState>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<PartnerPage>, ApiError> {
    let limit = query.limit()?;
    let mut rows = service(&state).list(query.after()?, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let next_cursor = rows
        .last()
        .filter(|_| more)
        .map(|last| last.partner.id.to_string());
    let partners = rows.into_iter().map(|row| PartnerRow {
        partner: row.partner.into(),
        total_nodes: row.devices,
        active_nodes: row.active_devices,
        total_earnings: dollars(row.earned_micros),
        earned_micros: row.earned_micros,
    });
    Ok(Json(PartnerPage {
        partners: partners.collect(),
        next_cursor,
    }))
}

/// A partner with its devices and what the ledger says of it. For admins.
#[utoipa::path(
    get, path = "/{partnerId}", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerDetail, description = "The partner"))
)]
pub(crate) async fn get_partner(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
) -> Result<Json<PartnerDetail>, ApiError> {
    let (id, service) = (id(&partner)?, service(&state));
    let (summary, totals) = service.partner(id).await?;
    let users = service.users(id, None, USERS_IN_DETAIL).await?;
    Ok(Json(PartnerDetail {
        partner: summary.partner.into(),
        total_nodes: summary.devices,
        active_nodes: summary.active_devices,
        totals: totals.into(),
        nodes: PartnerDevicePage::of(service.devices(id, None, 51).await?, 50),
        users: users.into_iter().map(|user| user.account).collect(),
    }))
}

/// A partner's devices, oldest first. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/devices", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerDevicePage, description = "The devices"))
)]
pub(crate) async fn list_devices(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<PartnerDevicePage>, ApiError> {
    let (limit, service) = (query.limit()?, service(&state));
    let (summary, _) = service.partner(id(&partner)?).await?;
    let devices = service
        .devices(summary.partner.id, query.after()?, limit + 1)
        .await?;
    Ok(Json(PartnerDevicePage::of(devices, limit)))
}

/// Changes a partner. For admins.
#[utoipa::path(
    patch, path = "/{partnerId}", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    request_body = ChangePartnerBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerInfo, description = "The partner"))
)]
pub(crate) async fn change_partner(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Json(body): Json<ChangePartnerBody>,
) -> Result<Json<PartnerInfo>, ApiError> {
    let wanted = WantedChange {
        name: body.name,
        email: body.email,
        is_active: body.is_active,
        revenue_share_percent: body.revenue_share,
    };
    let who = by(admin.account.id, &body.reason);
    let changed = service(&state).change(id(&partner)?, wanted, who).await?;
    Ok(Json(changed.into()))
}

/// Gives a partner another key, which is in this answer and nowhere else. For admins.
#[utoipa::path(
    post, path = "/{partnerId}/regenerate-key", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid)), request_body = ReplaceKeyBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = ReplacedKey, description = "The key"))
)]
pub(crate) async fn regenerate_key(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Json(body): Json<ReplaceKeyBody>,
) -> Result<Response, ApiError> {
    let who = by(admin.account.id, &body.reason);
    let replaced = service(&state)
        .replace_key(id(&partner)?, body.overlap_hours, who)
        .await?;
    let answer = ReplacedKey {
        key: replaced.key.expose().to_owned(),
        api_key_prefix: replaced.partner.api_key_prefix,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Deletes a partner none of whose devices is connected. Its money stays in the ledger. For admins.
#[utoipa::path(
    delete, path = "/{partnerId}", tag = "partners", params(("partnerId" = String, Path, format = Uuid), WhyQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn delete_partner(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Query(query): Query<WhyQuery>,
) -> Result<StatusCode, ApiError> {
    let who = by(admin.account.id, &query.reason);
    service(&state).delete(id(&partner)?, who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A partner's apps. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/apps", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AppList, description = "The apps"))
)]
pub(crate) async fn list_apps(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
) -> Result<Json<AppList>, ApiError> {
    let service = service(&state);
    let (summary, _) = service.partner(id(&partner)?).await?;
    Ok(Json(AppList::of(service.apps(summary.partner.id).await?)))
}

/// Hands an app in for a partner. For admins.
#[utoipa::path(
    post, path = "/{partnerId}/apps", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    request_body = AppBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = AppInfo, description = "The app, to be looked at"))
)]
pub(crate) async fn create_app(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Json(body): Json<AppBody>,
) -> Result<Response, ApiError> {
    let who = by(admin.account.id, "handed in for the partner");
    let app = service(&state)
        .create_app(id(&partner)?, body.wanted(), who)
        .await?;
    Ok((StatusCode::CREATED, Json(AppInfo::from(app))).into_response())
}

/// Decides about an app. For admins.
#[utoipa::path(
    put, path = "/{partnerId}/apps/{appId}/review", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), ("appId" = String, Path, format = Uuid)),
    request_body = ReviewBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AppInfo, description = "The app"))
)]
pub(crate) async fn review_app(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path((partner, app)): Path<(String, String)>,
    Json(body): Json<ReviewBody>,
) -> Result<Json<AppInfo>, ApiError> {
    let who = by(admin.account.id, &body.reason);
    let app = app.parse::<AppId>().map_err(|_| ApiError::NotFound)?;
    let reviewed = service(&state)
        .review_app(id(&partner)?, app, body.state, who)
        .await?;
    Ok(Json(reviewed.into()))
}

/// The accounts that act for a partner, the oldest first. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/users", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerUserPage, description = "The accounts"))
)]
pub(crate) async fn list_partner_users(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<PartnerUserPage>, ApiError> {
    let (limit, service) = (query.limit()?, service(&state));
    let (summary, _) = service.partner(id(&partner)?).await?;
    let users = service
        .users(summary.partner.id, query.after()?, limit + 1)
        .await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = users.get(most.saturating_sub(1)).map(|user| user.account);
    let next_cursor = last.filter(|_| users.len() > most);
    let rows = users.into_iter().take(most).map(|user| PartnerUserRow {
        account_id: user.account,
        email: user.email,
        linked_at: user.linked_at,
    });
    Ok(Json(PartnerUserPage {
        users: rows.collect(),
        next_cursor,
    }))
}

/// Lets a customer's account act for a partner. For admins.
#[utoipa::path(
    post, path = "/{partnerId}/users", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    request_body = PartnerUserBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It does"))
)]
pub(crate) async fn link_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Json(body): Json<PartnerUserBody>,
) -> Result<StatusCode, ApiError> {
    let who = by(admin.account.id, &body.reason);
    service(&state).link(id(&partner)?, body.account_id, who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends that. For admins.
#[utoipa::path(
    delete, path = "/{partnerId}/users/{accountId}", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), ("accountId" = String, Path, format = Uuid), WhyQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It no longer does"))
)]
pub(crate) async fn unlink_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path((partner, account)): Path<(String, String)>,
    Query(query): Query<WhyQuery>,
) -> Result<StatusCode, ApiError> {
    let account = account.parse().map_err(|_| ApiError::NotFound)?;
    let who = by(admin.account.id, &query.reason);
    service(&state).unlink(id(&partner)?, account, who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A partner's statement by UTC month. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/statement", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), MonthsQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerStatement, description = "The statement"))
)]
pub(crate) async fn get_statement(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
    Query(query): Query<MonthsQuery>,
) -> Result<Json<PartnerStatement>, ApiError> {
    let service = service(&state);
    let (summary, _) = service.partner(id(&partner)?).await?;
    let months = service.statement(summary.partner.id, query.months).await?;
    Ok(Json(PartnerStatement::of(&months)))
}

/// The same as CSV. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/statement.csv", tag = "partners",
    params(("partnerId" = String, Path, format = Uuid), MonthsQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, content((String = "text/csv")), description = "The statement"))
)]
pub(crate) async fn get_statement_csv(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
    Query(query): Query<MonthsQuery>,
) -> Result<Response, ApiError> {
    let service = service(&state);
    let (summary, _) = service.partner(id(&partner)?).await?;
    let months = service.statement(summary.partner.id, query.months).await?;
    Ok(csv_answer(csv(&months)))
}

/// The newest payouts. For admins.
#[utoipa::path(
    get, path = "/{partnerId}/payouts", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PartnerPayouts, description = "The payouts"))
)]
pub(crate) async fn list_payouts(
    State(state): State<ApiState>,
    _: Admin,
    Path(partner): Path<String>,
) -> Result<Json<PartnerPayouts>, ApiError> {
    Ok(Json(PartnerPayouts::of(
        service(&state).payouts(id(&partner)?, PAYOUTS).await?,
    )))
}

/// Records that a partner was paid: at most what it is owed, once for each key. For admins.
#[utoipa::path(
    post, path = "/{partnerId}/payouts", tag = "partners", params(("partnerId" = String, Path, format = Uuid)),
    request_body = PayoutBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = PayoutAnswer, description = "The entry in the ledger"))
)]
pub(crate) async fn pay_partner(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(partner): Path<String>,
    Json(body): Json<PayoutBody>,
) -> Result<Response, ApiError> {
    let who = Who {
        actor: Actor::Admin(admin.account.id),
        reason: &body.reason,
    };
    let ledger = &state.parts().ledger;
    let reference = body.reference.as_deref();
    let booked = ledger
        .pay_partner(
            id(&partner)?,
            body.amount_micros,
            reference,
            who,
            &body.idempotency_key,
        )
        .await
        .map_err(about_ledger)?;
    let answer = PayoutAnswer {
        id: booked.entry,
        is_repeat: booked.is_repeat,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(super) fn service(state: &ApiState) -> PartnerService<'_> {
    let parts = state.parts();
    PartnerService::new(&*parts.store, &*parts.clock, &parts.bell)
}

pub(super) fn csv_answer(text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"iploop-statement.csv\"",
        ),
    ];
    (headers, text).into_response()
}

fn id(text: &str) -> Result<PartnerId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
}

pub(super) fn by(admin: AccountId, reason: &str) -> Wanting<'_> {
    Wanting {
        actor: Actor::Admin(admin),
        reason,
    }
}

/// Tells null from absent: absent does not come here.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn about_ledger(error: LedgerError) -> ApiError {
    match error {
        LedgerError::Invalid(problem) => ApiError::InvalidFields(vec![problem]),
        LedgerError::Refused(Refusal::NoSuchOwner) => ApiError::NotFound,
        LedgerError::Refused(refusal) => ApiError::NotBooked(refusal),
        LedgerError::Store(error) => error.into(),
        other => ApiError::Internal(other.to_string()),
    }
}
