//! What admins read: complaints, refusals, and the audit record.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use iploop_platform::abuse::{AuditAction, AuditEntry, AuditQuery, ExitUse, ExitUseQuery};
use iploop_platform::abuse::{RefusalCount, RefusalQuery};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, ApiKeyId, AuditId, NodeId, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::actor;
use crate::error::ApiError;
use crate::extract::{Filters, Json, Query};
use crate::schema::{ActionName, Address, Reason};
use crate::session::Admin;
use crate::state::ApiState;

/// Most rows in one answer.
const MAX_ROWS: u32 = 500;
/// Furthest that a complaint's time may be off, in seconds.
const MAX_WITHIN: u64 = 3600;
/// Most days back.
const MAX_DAYS: u32 = 366;
const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// What a complaint says.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LookupQuery {
    /// The address that was seen.
    #[param(inline, value_type = Address)]
    ip: IpAddr,
    /// When it was seen.
    #[param(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Seconds by which that time may be off.
    #[serde(default = "a_minute")]
    #[param(minimum = 0, maximum = 3600, default = 60)]
    within: u64,
    /// Why it is looked up, for the record: a ticket, a complaint.
    #[param(value_type = Reason)]
    reason: String,
}

/// Who left by an address.
#[derive(Serialize, ToSchema)]
pub(crate) struct LookupAnswer {
    /// The newest first, at most 500.
    requests: Vec<ExitUseInfo>,
}

/// A request that left by the address, around that time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExitUseInfo {
    #[schema(value_type = String, format = Uuid)]
    request_id: RequestId,
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    #[schema(value_type = String, format = Uuid)]
    api_key_id: ApiKeyId,
    #[schema(value_type = Option<String>, format = Uuid)]
    node_id: Option<NodeId>,
    /// Host and port.
    destination: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// None while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

/// Which refusals.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct RefusalsQuery {
    /// Days back from now, today included.
    #[serde(default = "a_week")]
    #[param(minimum = 1, maximum = 366, default = 7)]
    days: u32,
    /// Of this customer.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    account: Option<AccountId>,
    /// By this device.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    node: Option<NodeId>,
    /// By this rule's class, or `limit_` and a limit's name.
    #[serde(default)]
    cause: Option<String>,
}

/// Counts of refusals.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusalsAnswer {
    /// The latest first, at most 500.
    refusals: Vec<RefusalInfo>,
}

/// How often a rule or limit stood in a customer's way on one UTC day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefusalInfo {
    /// The day's beginning.
    #[schema(value_type = String, format = DateTime)]
    day: Timestamp,
    /// The rule's class, or `limit_` and a limit's name.
    cause: String,
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    /// None: the server refused, no device was asked.
    #[schema(value_type = Option<String>, format = Uuid)]
    node_id: Option<NodeId>,
    count: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

/// Which records.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditFilter {
    /// Older than this record: `nextCursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    cursor: Option<AuditId>,
    /// About this customer.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    account: Option<AccountId>,
    /// `account_suspended`, `policy_entry_added`, …
    #[serde(default)]
    #[param(inline, value_type = Option<ActionName>)]
    action: Option<String>,
    /// By this admin.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    actor: Option<AccountId>,
    /// About exactly this: the id of a user, device, plan or entry, a category, an address.
    #[serde(default)]
    subject: Option<String>,
    /// Made at or after this.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Made before this.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

impl AuditFilter {
    pub(super) fn read(self, limit: u32) -> Result<AuditQuery, ApiError> {
        let action = self.action.as_deref().map(str::parse::<AuditAction>).transpose();
        Ok(AuditQuery {
            before: self.cursor,
            account: self.account,
            action: action.map_err(|_| out_of_bounds("action", "the name of an action"))?,
            actor: self.actor,
            subject: self.subject,
            from: self.from,
            to: self.to,
            limit,
        })
    }
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditPageQuery {
    /// Most records wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: u32,
}

/// A page of audit records.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditAnswer {
    /// The newest first.
    records: Vec<AuditInfo>,
    /// There may be more behind it; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<AuditId>,
}

/// One change: who, when, from what to what, and why.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditInfo {
    #[schema(value_type = String, format = Uuid)]
    id: AuditId,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `admin`, `user`, `system` or `command_line`.
    actor: &'static str,
    /// The admin or user.
    #[schema(value_type = Option<String>, format = Uuid)]
    actor_id: Option<AccountId>,
    action: &'static str,
    /// The customer it is about.
    #[schema(value_type = Option<String>, format = Uuid)]
    account_id: Option<AccountId>,
    /// What it is about.
    subject: String,
    /// As it was.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    before: Value,
    /// As it is now.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    after: Value,
    reason: String,
}

/// Who left by an exit's address at a time, for complaints. Looking it up is itself on record.
#[utoipa::path(
    get, path = "/exits/lookup", tag = "admin", params(LookupQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = LookupAnswer, description = "The requests"))
)]
pub(crate) async fn look_up_exit(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Query(query): Query<LookupQuery>,
) -> Result<Json<LookupAnswer>, ApiError> {
    if query.within > MAX_WITHIN {
        return Err(out_of_bounds("within", "0 to 3600"));
    }
    let wanted = ExitUseQuery {
        ip: query.ip,
        at: query.at,
        within: Duration::from_secs(query.within),
        limit: MAX_ROWS,
    };
    let abuse = &state.parts().abuse;
    let uses = abuse
        .look_up_exit(actor(&admin.account), wanted, &query.reason)
        .await?;
    let requests = uses.into_iter().map(ExitUseInfo::from).collect();
    Ok(Json(LookupAnswer { requests }))
}

/// Refusals by rule or limit, customer, device and day.
#[utoipa::path(
    get, path = "/refusals", tag = "admin", params(RefusalsQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = RefusalsAnswer, description = "The counts, some seconds behind"))
)]
pub(crate) async fn list_refusals(
    State(state): State<ApiState>,
    _: Admin,
    Filters(query): Filters<RefusalsQuery>,
) -> Result<Json<RefusalsAnswer>, ApiError> {
    if !(1..=MAX_DAYS).contains(&query.days) {
        return Err(out_of_bounds("days", "1 to 366"));
    }
    let today = state.parts().clock.now();
    let wanted = RefusalQuery {
        from_day: today
            .minus(DAY * (query.days - 1))
            .as_millis()
            .div_euclid(DAY_MILLIS),
        account: query.account,
        node: query.node,
        cause: query.cause,
        limit: MAX_ROWS,
    };
    let refusals = state.parts().abuse.refusals(&wanted).await?;
    let refusals = refusals.into_iter().map(RefusalInfo::from).collect();
    Ok(Json(RefusalsAnswer { refusals }))
}

/// Every change that admins or the server's rules made, every look-up of an exit, and every look at a customer's account.
#[utoipa::path(
    get, path = "/audit", tag = "admin", params(AuditFilter, AuditPageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AuditAnswer, description = "A page of records"))
)]
pub(crate) async fn list_audit(
    State(state): State<ApiState>,
    _: Admin,
    Filters(filter): Filters<AuditFilter>,
    Query(query): Query<AuditPageQuery>,
) -> Result<Json<AuditAnswer>, ApiError> {
    if !(1..=MAX_ROWS).contains(&query.limit) {
        return Err(out_of_bounds("limit", "1 to 500"));
    }
    let wanted = filter.read(query.limit)?;
    let records = state.parts().abuse.audit(&wanted).await?;
    let is_full = u32::try_from(records.len()).is_ok_and(|count| count == query.limit);
    let next_cursor = records.last().map(|record| record.id).filter(|_| is_full);
    Ok(Json(AuditAnswer {
        records: records.into_iter().map(AuditInfo::from).collect(),
        next_cursor,
    }))
}

fn out_of_bounds(field: &'static str, bounds: &str) -> ApiError {
    ApiError::InvalidFields(vec![FieldProblem::new(
        field,
        format!("{field} must be {bounds}"),
    )])
}

fn a_minute() -> u64 {
    60
}

fn a_week() -> u32 {
    7
}

fn fifty() -> u32 {
    50
}

impl From<ExitUse> for ExitUseInfo {
    fn from(used: ExitUse) -> Self {
        Self {
            request_id: used.request,
            account_id: used.account,
            api_key_id: used.api_key,
            node_id: used.node,
            destination: used.destination,
            started_at: used.started_at,
            ended_at: used.ended_at,
        }
    }
}

impl From<RefusalCount> for RefusalInfo {
    fn from(count: RefusalCount) -> Self {
        Self {
            day: Timestamp::from_millis(count.day.saturating_mul(DAY_MILLIS)),
            cause: count.cause,
            account_id: count.account,
            node_id: count.node,
            count: count.count,
            first_at: count.first_at,
            last_at: count.last_at,
        }
    }
}

impl From<AuditEntry> for AuditInfo {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: entry.actor.as_str(),
            actor_id: entry.actor.account(),
            action: entry.action.as_str(),
            account_id: entry.account,
            subject: entry.subject,
            before: entry.before,
            after: entry.after,
            reason: entry.reason,
        }
    }
}
