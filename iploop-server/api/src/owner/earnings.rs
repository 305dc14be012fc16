//! What an owner's devices earned hour by hour, and the owners that admins look through.

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::owners::{EarnedHour, OwnerQuery, OwnerRecord};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::DeviceOwner;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::session::Admin;
use crate::state::ApiState;
use crate::usage::in_range;

/// Most rows of one page.
const MAX_PAGE: u32 = 200;

/// Which hours.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HoursQuery {
    /// Before this place: `nextCursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
}

/// Hours in which devices earned.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EarnedHours {
    /// The latest first. An hour is counted 26 hours after it began.
    hours: Vec<EarnedHourInfo>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// What a device earned in an hour.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EarnedHourInfo {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    #[schema(value_type = String, format = Uuid)]
    device_id: NodeId,
    /// Paid bytes of others that it carried.
    bytes: i64,
    /// In 10^-9 credits, with its multipliers: 100 of a byte without any.
    nano_credits: i64,
}

/// Which owners.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnersQuery {
    /// Those whose credits are held back, or the others; absent: all of them.
    #[serde(default)]
    is_held: Option<bool>,
    /// Behind this one: `nextCursor` of the page before.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    cursor: Option<AccountId>,
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
}

/// Owners of devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerList {
    /// Oldest first.
    owners: Vec<OwnerInfo>,
    /// For the next page; null: this was the last.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<AccountId>,
}

/// An account that has devices, or earned by some.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnerInfo {
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    email: String,
    /// Claimed ones.
    devices: u64,
    /// To be spent.
    credits: i64,
    /// Earned and not to be spent yet, in 10^-9 credits.
    pending_nano_credits: i64,
    /// Whether the pending ones wait for an admin.
    is_held: bool,
    /// Why they do.
    held: Option<String>,
}

/// What the account's devices earned hour by hour, those included that it gave up.
#[utoipa::path(
    get, path = "/credits/hours", tag = "owner", params(HoursQuery), security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = EarnedHours, description = "A page of hours"),
        (status = 400, body = crate::problem::Problem, content_type = "application/problem+json", description = "A query that can't be read"),
    )
)]
pub(crate) async fn earned_hours(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Query(query): Query<HoursQuery>,
) -> Result<Json<EarnedHours>, ApiError> {
    in_range("limit", query.limit, MAX_PAGE)?;
    let after = match query.cursor.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(
            place(text)
                .ok_or_else(|| ApiError::MalformedQuery("cursor is no nextCursor of ours".to_owned()))?,
        ),
    };
    let store = &state.parts().store;
    let mut hours = store.earned_hours(account, after, query.limit + 1).await?;
    let last = cut(&mut hours, query.limit);
    Ok(Json(EarnedHours {
        next_cursor: last.map(|last| format!("{}-{}", last.hour.as_millis(), last.node)),
        hours: hours.into_iter().map(EarnedHourInfo::from).collect(),
    }))
}

/// Accounts with devices, with what they earned: those whose credits are held back wait for a look.
#[utoipa::path(
    get, path = "", tag = "admin", params(OwnersQuery), security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = OwnerList, description = "A page of owners"),
        (status = 400, body = crate::problem::Problem, content_type = "application/problem+json", description = "A query that can't be read"),
    )
)]
pub(crate) async fn list_owners(
    State(state): State<ApiState>,
    _: Admin,
    Query(query): Query<OwnersQuery>,
) -> Result<Json<OwnerList>, ApiError> {
    in_range("limit", query.limit, MAX_PAGE)?;
    let wanted = OwnerQuery {
        is_held: query.is_held,
        after: query.cursor,
        limit: query.limit + 1,
    };
    let mut owners = state.parts().store.owner_records(&wanted).await?;
    let last = cut(&mut owners, query.limit);
    Ok(Json(OwnerList {
        next_cursor: last.map(|last| last.account),
        owners: owners.into_iter().map(OwnerInfo::from).collect(),
    }))
}

/// Cuts rows, of which one more was read than wanted, to the page; its last row, if there are more behind it.
fn cut<T: Clone>(rows: &mut Vec<T>, limit: u32) -> Option<T> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    rows.last().filter(|_| more).cloned()
}

/// The place behind an hour of a device.
fn place(text: &str) -> Option<(Timestamp, NodeId)> {
    let (hour, node) = text.split_once('-')?;
    Some((Timestamp::from_millis(hour.parse().ok()?), node.parse().ok()?))
}

fn fifty() -> u32 {
    50
}

impl From<EarnedHour> for EarnedHourInfo {
    fn from(earned: EarnedHour) -> Self {
        Self {
            hour: earned.hour,
            device_id: earned.node,
            bytes: earned.bytes,
            nano_credits: earned.nanos,
        }
    }
}

impl From<OwnerRecord> for OwnerInfo {
    fn from(owner: OwnerRecord) -> Self {
        Self {
            account_id: owner.account,
            email: owner.email,
            devices: owner.devices,
            credits: owner.balance.credits,
            pending_nano_credits: owner.balance.pending_nanos,
            is_held: owner.balance.held.is_some(),
            held: owner.balance.held,
        }
    }
}
