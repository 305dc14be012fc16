//! `/api/nodes/stats`: the network in aggregates.

use std::collections::BTreeMap;

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/nodes`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// Counts over the live devices: never a device, an address or a person's provider.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStats {
    /// Devices that ever registered.
    total_nodes: u64,
    /// Connected now.
    connected_nodes: u64,
    /// Of these, the ones that take requests.
    available_nodes: u64,
    /// Connected, but paused or full.
    busy_nodes: u64,
    /// Devices by country, ISO 3166-1 alpha-2; `ZZ`: unknown.
    country_breakdown: BTreeMap<String, u64>,
    /// Devices by type.
    device_type_breakdown: BTreeMap<String, u64>,
    /// Devices by connection.
    connection_type_breakdown: BTreeMap<String, u64>,
    /// Mean quality, 0 to 100; none while no device is connected.
    average_quality: Option<f64>,
    /// 10^6 bytes relayed by the devices connected now, since they connected.
    total_bandwidth_mb: f64,
    /// The same in bytes.
    total_bandwidth_bytes: u64,
    /// When it was counted.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Counts over the live devices.
#[utoipa::path(
    get, path = "/stats", tag = "nodes", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NodeStats, description = "The counts, at most a second old"))
)]
pub(crate) async fn stats(State(state): State<ApiState>, _: SignedIn) -> Result<Json<NodeStats>, ApiError> {
    let total_nodes = state.parts().store.node_count().await?;
    let stats = state.network().snapshot().stats.clone();
    Ok(Json(NodeStats {
        total_nodes,
        connected_nodes: stats.connected_nodes,
        available_nodes: stats.available_nodes,
        busy_nodes: stats.busy_nodes,
        country_breakdown: stats.country_breakdown,
        device_type_breakdown: stats.device_type_breakdown,
        connection_type_breakdown: stats.connection_type_breakdown,
        average_quality: stats.average_quality,
        total_bandwidth_mb: stats.bandwidth_bytes as f64 / 1e6,
        total_bandwidth_bytes: stats.bandwidth_bytes,
        timestamp: state.parts().clock.now(),
    }))
}
