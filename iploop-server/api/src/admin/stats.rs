//! Figures of the whole platform.

use std::collections::BTreeMap;

use axum::extract::State;
use iploop_platform::admin::{Traffic, UserCounts};
use iploop_platform::clock::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::Json;
use crate::session::Admin;
use crate::state::ApiState;
use crate::units::gigabytes;

/// Figures of the whole platform.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminStats {
    users: UserFigures,
    /// Accounts that are not deleted, by the name of their plan.
    plans: BTreeMap<String, u64>,
    /// All requests ever.
    all_time: TrafficFigures,
    /// Those that began in the last 24 hours.
    last_day: TrafficFigures,
    /// Failed ones of the last 24 hours by their code, at most 50.
    errors: BTreeMap<String, u64>,
    nodes: NodeFigures,
    /// When it was counted.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Accounts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserFigures {
    /// Not deleted.
    total: u64,
    active: u64,
    suspended: u64,
    deleted: u64,
    /// Active admins.
    admins: u64,
    /// With a verified address.
    verified: u64,
    /// Registered in the last 24 hours.
    new: u64,
    /// Signed in in the last 24 hours.
    signed_in: u64,
}

/// Requests and bytes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrafficFigures {
    requests: u64,
    /// Ended well, or run still.
    successful: u64,
    /// 10^9 bytes, both ways.
    bandwidth_gb: f64,
    bytes_up: u64,
    bytes_down: u64,
    /// What customers pay for of them.
    billed_bytes: u64,
}

/// Devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeFigures {
    /// Ever registered.
    total: u64,
    /// Ever registered, by `available`, `inactive`, `banned` and `removed`.
    by_status: BTreeMap<String, u64>,
    /// Processes whose connected devices these are: 1 where none share a Redis, or while it is away.
    processes: u64,
    /// Connected now, to all processes that share a Redis.
    connected: u64,
    /// Of these, the ones that take requests.
    available: u64,
    /// Connected, but paused, full or resting.
    busy: u64,
    /// Connected ones by country; `ZZ`: unknown.
    by_country: BTreeMap<String, u64>,
    /// Connected ones by type.
    by_device_type: BTreeMap<String, u64>,
    /// Connected ones by connection.
    by_connection_type: BTreeMap<String, u64>,
    /// Heard of in the last 24 hours, by the version of their library, at most 100.
    by_version: BTreeMap<String, u64>,
    /// Of connected ones, 0 to 100.
    average_quality: Option<f64>,
}

/// Figures of the whole platform, at most half a minute old.
#[utoipa::path(
    get, path = "/stats", tag = "admin", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminStats, description = "The figures"))
)]
pub(crate) async fn get_stats(State(state): State<ApiState>, _: Admin) -> Result<Json<AdminStats>, ApiError> {
    let stats = state.parts().admin.stats().await?;
    let (stored, network) = (&stats.stored, &stats.network);
    Ok(Json(AdminStats {
        users: stored.users.into(),
        plans: stored.plans.clone(),
        all_time: stored.all_time.into(),
        last_day: stored.recent.into(),
        errors: stored.errors.clone(),
        nodes: NodeFigures {
            total: stored.nodes.values().sum(),
            by_status: stored.nodes.clone(),
            processes: stats.processes,
            connected: network.connected_nodes,
            available: network.available_nodes,
            busy: network.busy_nodes,
            by_country: network.country_breakdown.clone(),
            by_device_type: network.device_type_breakdown.clone(),
            by_connection_type: network.connection_type_breakdown.clone(),
            by_version: stored.versions.clone(),
            average_quality: network.average_quality,
        },
        timestamp: stats.at,
    }))
}

impl From<UserCounts> for UserFigures {
    fn from(users: UserCounts) -> Self {
        Self {
            total: users.total,
            active: users.active,
            suspended: users.suspended,
            deleted: users.deleted,
            admins: users.admins,
            verified: users.verified,
            new: users.new,
            signed_in: users.signed_in,
        }
    }
}

impl From<Traffic> for TrafficFigures {
    fn from(traffic: Traffic) -> Self {
        Self {
            requests: traffic.requests,
            successful: traffic.successful,
            bandwidth_gb: gigabytes(traffic.bytes_up.saturating_add(traffic.bytes_down)),
            bytes_up: traffic.bytes_up,
            bytes_down: traffic.bytes_down,
            billed_bytes: traffic.billed_bytes,
        }
    }
}
