//! Users: found, made, changed and deleted.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::account::{Account, AccountStatus, Role, Standing};
use iploop_platform::admin::{BulkAct, NewUser, UserDetail, UserQuery, UserRow, WantedUserChange};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PlanId};
use iploop_platform::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accounts::ReasonBody;
use super::balance::{AdjustmentBody, adjust};
use super::page::{PageQuery, named, searched};
use super::policy::ReasonQuery;
use super::records::AuditInfo;
use super::{account_id, actor};
use crate::error::ApiError;
use crate::extract::{Filters, Json, Path, Query};
use crate::keys::KeyInfo;
use crate::schema::{
    BulkAction, GivenRole, GivenStatus, Id, OptionalName, PersonName, Reason, RoleName, StandingName,
    StatusName,
};
use crate::session::Admin;
use crate::state::ApiState;
use crate::units::{gigabytes, signed_gigabytes};

/// Which users.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsersQuery {
    /// `active`, `suspended` or `deleted`.
    #[serde(default)]
    #[param(inline, value_type = Option<StatusName>)]
    status: Option<String>,
    /// `customer`, `admin`, `partner` or `owner`.
    #[serde(default)]
    #[param(inline, value_type = Option<RoleName>)]
    role: Option<String>,
    /// On this plan.
    #[serde(default)]
    #[param(format = Uuid)]
    plan: Option<String>,
    /// With this text in address, name or company, without regard to case.
    #[serde(default)]
    #[param(max_length = 200)]
    search: Option<String>,
}

/// A user as lists show it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminUser {
    #[schema(value_type = String, format = Uuid)]
    id: AccountId,
    email: String,
    first_name: String,
    last_name: String,
    company: Option<String>,
    phone: Option<String>,
    #[schema(value_type = StatusName)]
    status: AccountStatus,
    /// Why it has this status, where somebody said so.
    status_reason: Option<String>,
    /// `new` or `established`.
    #[schema(value_type = StandingName)]
    standing: Standing,
    #[schema(value_type = RoleName)]
    role: Role,
    email_verified: bool,
    #[schema(value_type = Option<String>, format = Uuid)]
    plan_id: Option<PlanId>,
    /// The plan's name.
    plan: Option<String>,
    /// 10^9 bytes left.
    gb_balance: f64,
    /// 10^9 bytes used in all.
    gb_used: f64,
    /// Bytes left, exactly.
    balance_bytes: i64,
    /// Bytes used in all, exactly.
    used_bytes: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When something of it last changed; signing in does not count.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminUserList {
    /// The newest first.
    users: Vec<AdminUser>,
    /// How many fit in all.
    total: u64,
    /// The page's number, where it was asked for by number.
    page: Option<u32>,
    limit: u32,
    /// There may be more behind it; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<AccountId>,
}

/// All about one user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminUserDetail {
    user: AdminUser,
    /// Its keys, without their secrets.
    keys: Vec<KeyInfo>,
    /// The newest audit records about it, at most 20.
    records: Vec<AuditInfo>,
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateUserBody {
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// Absent: one is made up and shown once.
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 512)]
    #[serde(default)]
    password: Option<Secret>,
    #[schema(value_type = PersonName)]
    first_name: String,
    #[schema(value_type = PersonName)]
    last_name: String,
    #[schema(value_type = Option<OptionalName>)]
    #[serde(default)]
    company: Option<String>,
    /// An admin's address has to be verified. Absent: `customer`.
    #[schema(value_type = GivenRole)]
    #[serde(default = "customer")]
    role: Role,
    /// Absent: the plan that new accounts start on.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(default)]
    plan: Option<PlanId>,
    /// Whether the address counts as verified. Then the proxy is open.
    #[serde(default)]
    email_verified: bool,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// A new user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedUserAnswer {
    user: AdminUser,
    /// The password, if it was made up: save it now, it is not shown again.
    generated_password: Option<String>,
}

/// Changes of a user, at least one: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeUserBody {
    /// `active` or `suspended`.
    #[schema(value_type = Option<GivenStatus>)]
    #[serde(default)]
    status: Option<AccountStatus>,
    /// Another role. Whoever acts for a partner does so no longer.
    #[schema(value_type = Option<GivenRole>)]
    #[serde(default)]
    role: Option<Role>,
    /// Another plan's id.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(default)]
    plan: Option<PlanId>,
    /// A correction of the balance, by itself: not beside the others.
    #[serde(default)]
    balance: Option<AdjustmentBody>,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// One act on many users.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BulkBody {
    /// `suspend`, `reinstate`, `delete` or `change_plan`.
    #[schema(value_type = BulkAction)]
    action: BulkAct,
    /// 1 to 200 of them.
    #[schema(value_type = Vec<Id>, min_items = 1, max_items = 200)]
    ids: Vec<AccountId>,
    /// For `change_plan`.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(default)]
    plan: Option<PlanId>,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// What came of a bulk act.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BulkAnswer {
    /// In the order given, each id once.
    results: Vec<BulkResult>,
    /// How many were done.
    done: usize,
}

/// What came of it for one user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkResult {
    #[schema(value_type = String, format = Uuid)]
    id: AccountId,
    done: bool,
    /// The error's code, as for a single user.
    code: Option<&'static str>,
    detail: Option<String>,
}

/// Users, newest first, by page or cursor.
#[utoipa::path(
    get, path = "/users", tag = "admin", params(UsersQuery, PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminUserList, description = "A page of users"))
)]
pub(crate) async fn list_users(
    State(state): State<ApiState>,
    _: Admin,
    Filters(query): Filters<UsersQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<AdminUserList>, ApiError> {
    let place = page.read()?;
    let wanted = UserQuery {
        status: named("status", query.status.as_deref(), "active, suspended or deleted")?,
        role: named("role", query.role.as_deref(), "the name of a role")?,
        plan: named("plan", query.plan.as_deref(), "the id of a plan")?,
        search: searched(query.search.as_deref())?,
        before: place.before,
        offset: place.offset,
        limit: place.limit,
    };
    let found = state.parts().admin.users(&wanted).await?;
    let next_cursor = page.next(&found.rows, |row| row.account.id);
    Ok(Json(AdminUserList {
        users: found.rows.into_iter().map(AdminUser::from).collect(),
        total: found.total,
        page: page.number(),
        limit: page.limit(),
        next_cursor,
    }))
}

/// Makes a user with the bonus of the settings. No mail is sent.
#[utoipa::path(
    post, path = "/users/create", tag = "admin", request_body = CreateUserBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = CreatedUserAnswer, description = "The user"))
)]
pub(crate) async fn create_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<CreateUserBody>,
) -> Result<Response, ApiError> {
    let wanted = NewUser {
        email: body.email,
        password: body.password,
        first_name: body.first_name,
        last_name: body.last_name,
        company: body.company,
        role: body.role,
        plan: body.plan,
        is_verified: body.email_verified,
    };
    let users = &state.parts().admin;
    let created = users
        .create_user(actor(&admin.account), wanted, &body.reason)
        .await?;
    let detail = users.user(created.account.id).await?;
    let answer = CreatedUserAnswer {
        user: AdminUser::of(&detail),
        generated_password: created
            .generated_password
            .map(|password| password.expose().to_owned()),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// One user with its plan, keys and newest records.
#[utoipa::path(
    get, path = "/users/{userId}", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminUserDetail, description = "The user"))
)]
pub(crate) async fn get_user(
    State(state): State<ApiState>,
    _: Admin,
    Path(user): Path<String>,
) -> Result<Json<AdminUserDetail>, ApiError> {
    let detail = state.parts().admin.user(account_id(&user)?).await?;
    Ok(Json(AdminUserDetail {
        user: AdminUser::of(&detail),
        keys: detail.keys.into_iter().map(KeyInfo::from).collect(),
        records: detail.records.into_iter().map(AuditInfo::from).collect(),
    }))
}

/// Changes status, role and plan, all or nothing, or corrects the balance. In force at the gateways at once.
#[utoipa::path(
    put, path = "/users/{userId}", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    request_body = ChangeUserBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminUserDetail, description = "The user"))
)]
pub(crate) async fn change_user(
    State(state): State<ApiState>,
    admin: Admin,
    Path(user): Path<String>,
    Json(body): Json<ChangeUserBody>,
) -> Result<Json<AdminUserDetail>, ApiError> {
    let wanted = WantedUserChange {
        status: body.status,
        role: body.role,
        plan: body.plan,
    };
    let id = account_id(&user)?;
    let is_nothing = wanted == WantedUserChange::default();
    match &body.balance {
        Some(balance) if is_nothing => adjust(&state, &admin, id, balance, &body.reason).await?,
        None if !is_nothing => {
            let users = &state.parts().admin;
            users
                .change_user(actor(&admin.0.account), id, wanted, &body.reason)
                .await?;
        }
        _ => {
            return Err(ApiError::MalformedBody(
                "Give status, role and plan, or balance by itself".to_owned(),
            ));
        }
    }
    get_user(State(state), admin, Path(user)).await
}

/// Deletes a user: marked and kept for the books; logins and keys end at once.
#[utoipa::path(
    delete, path = "/users/{userId}", tag = "admin", params(("userId" = String, Path, format = Uuid), ReasonQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn delete_user(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    Query(query): Query<ReasonQuery>,
) -> Result<StatusCode, ApiError> {
    let users = &state.parts().admin;
    users
        .delete_user(actor(&admin.account), account_id(&user)?, &query.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a user an admin's rights.
#[utoipa::path(
    post, path = "/users/{userId}/make-admin", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "An admin now"))
)]
pub(crate) async fn make_admin(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    set_role(&state, &admin.account, &user, (Role::Admin, &body.reason)).await
}

/// Takes an admin's rights away; never those of the last one.
#[utoipa::path(
    post, path = "/users/{userId}/remove-admin", tag = "admin", params(("userId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "A customer now"))
)]
pub(crate) async fn remove_admin(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(user): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    set_role(&state, &admin.account, &user, (Role::Customer, &body.reason)).await
}

async fn set_role(
    state: &ApiState,
    admin: &Account,
    user: &str,
    (role, reason): (Role, &str),
) -> Result<StatusCode, ApiError> {
    let users = &state.parts().admin;
    users
        .set_role(actor(admin), account_id(user)?, role, reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One act on many users, each by itself.
#[utoipa::path(
    post, path = "/users/bulk", tag = "admin", request_body = BulkBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = BulkAnswer, description = "What came of each"))
)]
pub(crate) async fn bulk(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<BulkBody>,
) -> Result<Json<BulkAnswer>, ApiError> {
    let users = &state.parts().admin;
    let results = users
        .bulk(
            actor(&admin.account),
            body.action,
            &body.ids,
            body.plan,
            &body.reason,
        )
        .await?;
    let done = results.iter().filter(|(_, result)| result.is_ok()).count();
    let results = results.into_iter().map(|(id, result)| {
        let error = result.err().map(|error| ApiError::from(error).answer());
        BulkResult {
            id,
            done: error.is_none(),
            code: error.as_ref().map(|answer| answer.code),
            detail: error.map(|answer| answer.detail.into_owned()),
        }
    });
    Ok(Json(BulkAnswer {
        results: results.collect(),
        done,
    }))
}

fn customer() -> Role {
    Role::Customer
}

impl AdminUser {
    fn of(detail: &UserDetail) -> Self {
        let plan = detail.plan.as_ref().map(|plan| (plan.id, plan.name.clone()));
        Self::new(
            detail.account.clone(),
            plan,
            detail.balance.bytes,
            detail.balance.used_bytes,
        )
    }

    fn new(account: Account, plan: Option<(PlanId, String)>, balance_bytes: i64, used_bytes: i64) -> Self {
        let (plan_id, plan) = plan.unzip();
        Self {
            id: account.id,
            email: account.email,
            first_name: account.first_name,
            last_name: account.last_name,
            company: account.company,
            phone: account.phone,
            status: account.status,
            status_reason: account.status_reason,
            standing: account.standing,
            role: account.role,
            email_verified: account.email_verified,
            plan_id,
            plan,
            gb_balance: signed_gigabytes(balance_bytes),
            gb_used: gigabytes(u64::try_from(used_bytes).unwrap_or(0)),
            balance_bytes,
            used_bytes,
            created_at: account.created_at,
            updated_at: account.updated_at,
            last_login_at: account.last_login_at,
        }
    }
}

impl From<UserRow> for AdminUser {
    fn from(row: UserRow) -> Self {
        Self::new(row.account, row.plan, row.balance_bytes, row.used_bytes)
    }
}
