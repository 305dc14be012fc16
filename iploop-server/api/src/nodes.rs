//! `/api/nodes`: the network in aggregates, and its devices in rows that say nothing of their owners.

use std::collections::BTreeMap;

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::network::{NodePlace, NodeRow, NodeWish};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::schema::LiveStatusName;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/nodes`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(stats))
        .routes(routes!(countries))
}

/// Most rows in one page.
const MAX_PAGE: u32 = 200;

/// Which devices. All that is given must fit.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct NodesQuery {
    /// In this country: two letters.
    country: Option<String>,
    /// `available` or `busy`.
    #[param(inline, value_type = Option<LiveStatusName>)]
    status: Option<String>,
    /// `wifi`, `cellular` or `ethernet`.
    connection_type: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    device_type: Option<String>,
    /// Go on behind this place: the `nextCursor` of a page.
    #[param(pattern = "^([0-9a-f]{32}\\.)?[0-9]{1,9}$")]
    cursor: Option<String>,
    /// Most rows wanted.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: u32,
}

/// A page of the live devices, and the network's counts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodesAnswer {
    /// In no order that says anything.
    nodes: Vec<NodeInfo>,
    /// Devices connected now, those that do not fit included.
    node_count: u64,
    /// For the next page; none: this was the last. A page may have fewer rows than it might and not be the last.
    next_cursor: Option<String>,
    stats: NodeStats,
    health: NetworkHealth,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// A live device: no id, no address, no provider, as those are a person's.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    /// `available`, or `busy`: paused, resting or full.
    status: &'static str,
    /// ISO 3166-1 alpha-2; none: not known.
    country: Option<String>,
    region: Option<String>,
    city: Option<String>,
    connection_type: Option<String>,
    device_type: Option<String>,
    /// 0 to 100.
    quality_score: u8,
}

/// How the network does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NetworkHealth {
    /// `healthy` while at least one device takes requests, else `unhealthy`.
    status: &'static str,
    connected_nodes: u64,
}

/// Countries with live devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeCountries {
    /// Most devices first.
    countries: Vec<CountryInfo>,
    total_countries: usize,
}

/// A country with live devices.
#[derive(Serialize, ToSchema)]
struct CountryInfo {
    /// ISO 3166-1 alpha-2; `ZZ`: unknown.
    #[schema(example = "DE")]
    code: String,
    nodes: u64,
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

/// The live devices by page, in rows that say nothing of their owners, with the network's counts.
#[utoipa::path(
    get, path = "", tag = "nodes", params(NodesQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NodesAnswer, description = "A page"))
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    _: SignedIn,
    Query(query): Query<NodesQuery>,
) -> Result<Json<NodesAnswer>, ApiError> {
    if !(1..=MAX_PAGE).contains(&query.limit) {
        let message = format!("limit must be between 1 and {MAX_PAGE}");
        return Err(ApiError::InvalidFields(vec![FieldProblem::new("limit", message)]));
    }
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let is_available = match given(query.status).as_deref() {
        None => None,
        Some("available") => Some(true),
        Some("busy") => Some(false),
        Some(_) => {
            let problem = FieldProblem::new("status", "status must be available or busy");
            return Err(ApiError::InvalidFields(vec![problem]));
        }
    };
    let wish = NodeWish {
        country: given(query.country).map(|code| code.to_ascii_uppercase()),
        is_available,
        connection_type: given(query.connection_type),
        device_type: given(query.device_type),
    };
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let from: NodePlace = match given(query.cursor) {
        None => NodePlace::default(),
        Some(cursor) => cursor.parse().map_err(|_| {
            let message = "cursor must be the nextCursor of a page before";
            ApiError::InvalidFields(vec![FieldProblem::new("cursor", message)])
        })?,
    };
    let (rows, next) = state.parts().network.nodes_everywhere(&wish, from, limit).await;
    let stats = counts(&state).await?;
    Ok(Json(NodesAnswer {
        nodes: rows.into_iter().map(NodeInfo::from).collect(),
        node_count: stats.connected_nodes,
        next_cursor: next.map(|place| place.to_string()),
        health: NetworkHealth {
            status: if stats.available_nodes > 0 {
                "healthy"
            } else {
                "unhealthy"
            },
            connected_nodes: stats.connected_nodes,
        },
        timestamp: stats.timestamp,
        stats,
    }))
}

impl From<NodeRow> for NodeInfo {
    fn from(row: NodeRow) -> Self {
        Self {
            status: if row.is_available { "available" } else { "busy" },
            country: row.country,
            region: row.region,
            city: row.city,
            connection_type: row.connection_type,
            device_type: row.device_type,
            quality_score: row.quality_score,
        }
    }
}

/// Countries in which a device is live now.
#[utoipa::path(
    get, path = "/countries", tag = "nodes", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NodeCountries, description = "The countries"))
)]
pub(crate) async fn countries(
    State(state): State<ApiState>,
    _: SignedIn,
) -> Result<Json<NodeCountries>, ApiError> {
    let snapshot = state.network().snapshot();
    let mut countries: Vec<CountryInfo> = snapshot
        .stats
        .country_breakdown
        .iter()
        .map(|(code, nodes)| CountryInfo {
            code: code.clone(),
            nodes: *nodes,
        })
        .collect();
    countries.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.code.cmp(&b.code)));
    Ok(Json(NodeCountries {
        total_countries: countries.iter().filter(|country| country.code != "ZZ").count(),
        countries,
    }))
}

/// Counts over the live devices.
#[utoipa::path(
    get, path = "/stats", tag = "nodes", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NodeStats, description = "The counts, at most a second old"))
)]
pub(crate) async fn stats(State(state): State<ApiState>, _: SignedIn) -> Result<Json<NodeStats>, ApiError> {
    counts(&state).await.map(Json)
}

async fn counts(state: &ApiState) -> Result<NodeStats, ApiError> {
    let count = state.parts().store.node_count();
    let total_nodes = state.network().registered(count).await?;
    let stats = state.network().snapshot().stats.clone();
    Ok(NodeStats {
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
    })
}

fn hundred() -> u32 {
    100
}
