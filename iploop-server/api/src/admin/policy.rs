//! The platform's lists and limits.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::abuse::{Entry, EntryKind, PolicyOverview};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PolicyEntryId;
use iploop_protocol::policy::{AbuseLimits, seed_categories};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::actor;
use crate::error::ApiError;
use crate::extract::{Filters, Json, Path, Query};
use crate::schema::{EntryKindName, Reason};
use crate::session::Admin;
use crate::state::ApiState;

/// Most entries in one answer.
const MAX_PAGE: usize = 500;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntriesQuery {
    /// Of this category only.
    #[serde(default)]
    category: Option<String>,
    /// Behind this entry: the last one of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    after: Option<PolicyEntryId>,
}

/// The policy in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyAnswer {
    /// Counts up with every change; devices name it in their logs.
    version: u64,
    /// The operator's file's part of it.
    file_version: u64,
    limits: LimitsInfo,
    /// Whether an admin set the limits, in place of the file's.
    limits_are_set: bool,
    categories: Vec<CategoryInfo>,
    /// Entries that admins added, oldest first, at most 500.
    entries: Vec<EntryInfo>,
    /// There are more behind this entry; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_after: Option<PolicyEntryId>,
}

/// A category of the list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CategoryInfo {
    name: String,
    is_on: bool,
    /// Comes with the product, with so many suffixes of its own.
    seed_suffixes: usize,
    /// Entries that admins added.
    entries: usize,
}

/// An entry of the list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryInfo {
    #[schema(value_type = String, format = Uuid)]
    id: PolicyEntryId,
    /// `suffix`, `address` or `port`.
    #[schema(value_type = EntryKindName)]
    kind: EntryKind,
    /// In canonical form.
    value: String,
    category: String,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    added_at: Timestamp,
}

/// Limits of one customer on one device.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LimitsInfo {
    /// Connections open at the same time.
    #[schema(maximum = 4294967295_i64)]
    open_streams: u32,
    /// New ones a second.
    #[schema(maximum = 4294967295_i64)]
    dials_per_second: u32,
    /// Different ports of one host a minute.
    #[schema(maximum = 4294967295_i64)]
    ports_per_host_per_minute: u32,
    /// Different hosts a minute.
    #[schema(maximum = 4294967295_i64)]
    hosts_per_minute: u32,
    /// Dials from which the share of failed ones counts.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    failure_min_dials: u32,
    /// Failed dials in per cent; above it the customer is stopped there.
    #[schema(maximum = 100)]
    failure_percent: u8,
    /// Seconds in which they count.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    failure_window_seconds: u32,
    /// Seconds for which it is stopped.
    #[schema(maximum = 4294967295_i64)]
    failure_pause_seconds: u32,
    /// New connections a second to one destination host, of all customers together.
    #[schema(maximum = 4294967295_i64)]
    dials_per_host_per_second: u32,
}

/// An entry to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddEntryBody {
    /// `suffix`, `address` or `port`.
    #[schema(value_type = EntryKindName)]
    kind: EntryKind,
    /// A domain, an address or CIDR prefix, a port or a range of ports.
    #[schema(min_length = 1)]
    value: String,
    /// Lower case with `_` between words.
    #[schema(pattern = "^[a-z0-9_]{1,40}$")]
    category: String,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReasonQuery {
    /// For the record.
    #[param(value_type = Reason)]
    pub(crate) reason: String,
}

/// A category to be switched.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SwitchBody {
    is_on: bool,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Limits to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLimitsBody {
    /// All of them; null: as the operator's file says.
    #[schema(required)]
    #[serde(deserialize_with = "Option::deserialize")]
    limits: Option<LimitsInfo>,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// The policy in force, with what admins stored.
#[utoipa::path(
    get, path = "/policy", tag = "admin", params(EntriesQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PolicyAnswer, description = "The policy"))
)]
pub(crate) async fn get_policy(
    State(state): State<ApiState>,
    _: Admin,
    Filters(query): Filters<EntriesQuery>,
) -> Result<Json<PolicyAnswer>, ApiError> {
    Ok(Json(answer(state.parts().abuse.overview(), &query)))
}

/// Puts a host suffix, an address or a port on the platform's list: in force at the gateway at once and on devices within
/// seconds.
#[utoipa::path(
    post, path = "/policy/entries", tag = "admin", request_body = AddEntryBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = EntryInfo, description = "The entry"))
)]
pub(crate) async fn add_entry(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<AddEntryBody>,
) -> Result<Response, ApiError> {
    let AddEntryBody {
        kind,
        value,
        category,
        reason,
    } = body;
    let abuse = &state.parts().abuse;
    let entry = abuse
        .add_entry(actor(&admin.account), kind, &value, &category, &reason)
        .await?;
    Ok((StatusCode::CREATED, Json(EntryInfo::from(entry))).into_response())
}

/// Takes an entry off the list.
#[utoipa::path(
    delete, path = "/policy/entries/{entryId}", tag = "admin",
    params(("entryId" = String, Path, format = Uuid), ReasonQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Removed"))
)]
pub(crate) async fn remove_entry(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(entry): Path<String>,
    Query(query): Query<ReasonQuery>,
) -> Result<StatusCode, ApiError> {
    let entry = entry.parse().map_err(|_| ApiError::NotFound)?;
    let abuse = &state.parts().abuse;
    abuse
        .remove_entry(actor(&admin.account), entry, &query.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a category of the list on or off.
#[utoipa::path(
    put, path = "/policy/categories/{category}", tag = "admin", params(("category" = String, Path)),
    request_body = SwitchBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Switched"))
)]
pub(crate) async fn switch_category(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(category): Path<String>,
    Json(body): Json<SwitchBody>,
) -> Result<StatusCode, ApiError> {
    let abuse = &state.parts().abuse;
    abuse
        .switch_category(actor(&admin.account), &category, body.is_on, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the limits per customer and device.
#[utoipa::path(
    put, path = "/policy/limits", tag = "admin", request_body = SetLimitsBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Set"))
)]
pub(crate) async fn set_limits(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<SetLimitsBody>,
) -> Result<StatusCode, ApiError> {
    let abuse = &state.parts().abuse;
    let limits = body.limits.map(AbuseLimits::from);
    abuse
        .set_limits(actor(&admin.account), limits, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(overview: PolicyOverview, query: &EntriesQuery) -> PolicyAnswer {
    let stored = &overview.stored;
    let categories = stored.category_names().into_iter().map(|name| {
        let seed = seed_categories().iter().find(|seed| seed.category == name);
        CategoryInfo {
            name: name.to_owned(),
            is_on: stored.is_on(name),
            seed_suffixes: seed.map_or(0, |seed| seed.deny_suffixes.len()),
            entries: stored
                .entries
                .iter()
                .filter(|entry| entry.category == name)
                .count(),
        }
    });
    let categories = categories.collect();
    let wanted = |entry: &&Entry| query.category.as_ref().is_none_or(|name| entry.category == *name);
    let begin = query.after.map_or(0, |after| {
        let at = stored.entries.iter().position(|entry| entry.id == after);
        at.map_or(stored.entries.len(), |at| at + 1)
    });
    let mut rest = stored
        .entries
        .get(begin..)
        .unwrap_or_default()
        .iter()
        .filter(wanted);
    let entries: Vec<EntryInfo> = rest
        .by_ref()
        .take(MAX_PAGE)
        .cloned()
        .map(EntryInfo::from)
        .collect();
    let next_after = rest.next().and(entries.last().map(|entry| entry.id));
    PolicyAnswer {
        version: overview.version,
        file_version: overview.file_version,
        limits: overview.limits.into(),
        limits_are_set: overview.limits_are_set,
        categories,
        entries,
        next_after,
    }
}

impl From<Entry> for EntryInfo {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            value: entry.value,
            category: entry.category,
            reason: entry.reason,
            added_at: entry.added_at,
        }
    }
}

macro_rules! same_fields {
    ($from:ty => $to:ty { $($field:ident)* }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                Self { $($field: from.$field,)* }
            }
        }
    };
    ($one:ty, $other:ty, $fields:tt) => {
        same_fields!($one => $other $fields);
        same_fields!($other => $one $fields);
    };
}

same_fields!(AbuseLimits, LimitsInfo, {
    open_streams dials_per_second ports_per_host_per_minute hosts_per_minute failure_min_dials failure_percent
    failure_window_seconds failure_pause_seconds dials_per_host_per_second
});
