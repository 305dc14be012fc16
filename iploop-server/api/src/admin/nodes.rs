//! Devices: found, looked at, kept out and taken out of service.

use std::net::IpAddr;

use axum::extract::State;
use http::StatusCode;
use iploop_platform::admin::{
    GivenConsent, KnownNode, LiveNode, NodeDetail, NodeQuery, NodeStatus, Withdrawal,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::Point;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accounts::ReasonBody;
use super::actor;
use super::page::{PageQuery, given, named, searched};
use super::records::RefusalInfo;
use crate::error::ApiError;
use crate::extract::{Filters, Json, Path, Query};
use crate::schema::{NodeStatusName, Reason};
use crate::session::Admin;
use crate::state::ApiState;

/// Which devices.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct NodesQuery {
    /// ISO 3166-1 alpha-2.
    #[serde(default)]
    #[param(example = "DE")]
    country: Option<String>,
    /// `available`, `busy`, `inactive`, `banned` or `removed`. Removed ones are in the list where they are asked for.
    #[serde(default)]
    #[param(inline, value_type = Option<NodeStatusName>)]
    status: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    #[serde(default)]
    device_type: Option<String>,
    /// `wifi`, `cellular` or `ethernet`.
    #[serde(default)]
    connection_type: Option<String>,
    /// Of this partner.
    #[serde(default)]
    #[param(format = Uuid)]
    partner: Option<String>,
    /// With this text in address or device id.
    #[serde(default)]
    #[param(max_length = 200)]
    search: Option<String>,
}

/// A device as lists show it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminNode {
    #[schema(value_type = String, format = Uuid)]
    id: NodeId,
    /// The device's own lasting id.
    device_id: String,
    #[schema(value_type = String)]
    ip_address: IpAddr,
    /// ISO 3166-1 alpha-2.
    country: Option<String>,
    /// Its English name.
    country_name: Option<String>,
    region: Option<String>,
    city: Option<String>,
    zip: Option<String>,
    /// Degrees north, to a tenth: of the city or region, as GeoIP has it.
    latitude: Option<f64>,
    /// Degrees east, to a tenth.
    longitude: Option<f64>,
    asn: Option<u32>,
    isp: Option<String>,
    /// The mobile network, where the device is on one.
    carrier: Option<String>,
    connection_type: Option<String>,
    device_type: Option<String>,
    sdk_version: String,
    /// `available`, `busy`, `inactive`, `banned` or `removed`.
    #[schema(value_type = NodeStatusName)]
    status: NodeStatus,
    /// Why it is banned.
    ban_reason: Option<String>,
    /// Until when; none with a reason: for good.
    #[schema(value_type = Option<String>, format = DateTime)]
    banned_until: Option<Timestamp>,
    /// 0 to 100.
    quality_score: Option<u8>,
    /// 10^6 bytes both ways.
    bandwidth_used_mb: f64,
    /// The same in bytes.
    bandwidth_used_bytes: u64,
    total_requests: u64,
    successful_requests: u64,
    /// 0 to 1; none without requests.
    success_rate: Option<f64>,
    #[schema(value_type = String, format = DateTime)]
    last_heartbeat: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_since: Option<Timestamp>,
    /// When it first registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = Uuid)]
    partner_id: PartnerId,
    partner_name: String,
    /// The process that holds its connection; none: not connected, or processes share no state.
    #[schema(value_type = Option<String>, format = Uuid)]
    process: Option<String>,
}

/// A page of devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminNodeList {
    /// The newest first.
    nodes: Vec<AdminNode>,
    /// How many fit in all.
    total: u64,
    /// The page's number, where it was asked for by number.
    page: Option<u32>,
    limit: u32,
    /// There may be more behind it; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<NodeId>,
}

/// All about one device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminNodeDetail {
    node: AdminNode,
    /// As it is connected here now; none: it is not.
    live: Option<LiveInfo>,
    /// What its owners agreed to, newest first, at most 50.
    consents: Vec<ConsentInfo>,
    /// What they withdrew, newest first, at most 50.
    withdrawals: Vec<WithdrawalInfo>,
    /// What it refused in the last seven days, the latest first, at most 50.
    refusals: Vec<RefusalInfo>,
}

/// A connected device now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LiveInfo {
    #[schema(value_type = String)]
    ip_address: IpAddr,
    /// Whether it takes streams now.
    is_available: bool,
    /// Whether it was asked to leave.
    is_draining: bool,
    /// Streams that run through it.
    streams: u32,
    /// 0 to 100.
    quality: u8,
    /// The share of dials that work, as far as it is the device's doing: 0 to 1.
    reliability: f32,
    /// The way to it, its dial and back, once measured.
    latency_ms: Option<u64>,
    /// Mbit/s towards customers, once measured.
    speed_mbps: Option<u16>,
    /// Round trip to it without a dial, once measured.
    rtt_ms: Option<u64>,
    /// Relayed since it connected.
    relayed_bytes: u64,
}

/// A consent record.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConsentInfo {
    #[schema(value_type = String, format = Uuid)]
    id: ConsentId,
    text_version: String,
    /// SHA-256 of the text, in hex.
    text_hash: String,
    language: String,
    /// How the owner agreed: `button`, `command-line`, …
    act: String,
    app_id: String,
    app_version: String,
    #[schema(value_type = String, format = Uuid)]
    partner_id: PartnerId,
    minimum_age: bool,
    #[schema(value_type = String, format = DateTime)]
    given_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn_at: Option<Timestamp>,
}

/// An owner's no.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WithdrawalInfo {
    #[schema(value_type = String, format = Uuid)]
    consent_id: ConsentId,
    #[schema(value_type = String, format = DateTime)]
    withdrawn_at: Timestamp,
}

/// A ban.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BanBody {
    /// The device is kept out before this time; absent: for good.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    until: Option<Timestamp>,
    /// For the record, and for the device.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Devices, newest first, by page or cursor.
#[utoipa::path(
    get, path = "/nodes", tag = "admin", params(NodesQuery, PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminNodeList, description = "A page of devices"))
)]
pub(crate) async fn list_nodes(
    State(state): State<ApiState>,
    _: Admin,
    Filters(query): Filters<NodesQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<AdminNodeList>, ApiError> {
    let place = page.read()?;
    let text = |text: &Option<String>| given(text.as_deref()).map(str::to_owned);
    let wanted = NodeQuery {
        country: text(&query.country).map(|country| country.to_ascii_uppercase()),
        status: named(
            "status",
            query.status.as_deref(),
            "available, busy, inactive, banned or removed",
        )?,
        device_type: text(&query.device_type),
        connection_type: text(&query.connection_type),
        partner: named("partner", query.partner.as_deref(), "the id of a partner")?,
        search: searched(query.search.as_deref())?,
        before: place.before,
        offset: place.offset,
        limit: place.limit,
        busy: Vec::new(),
    };
    let found = state.parts().admin.nodes(wanted).await?;
    let next_cursor = page.next(&found.rows, |row| row.id);
    Ok(Json(AdminNodeList {
        nodes: found.rows.into_iter().map(AdminNode::from).collect(),
        total: found.total,
        page: page.number(),
        limit: page.limit(),
        next_cursor,
    }))
}

/// One device with its connection, consent and refusals.
#[utoipa::path(
    get, path = "/nodes/{nodeId}", tag = "admin", params(("nodeId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminNodeDetail, description = "The device"))
)]
pub(crate) async fn get_node(
    State(state): State<ApiState>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<AdminNodeDetail>, ApiError> {
    let detail = state.parts().admin.node(id(&node)?).await?;
    Ok(Json(detail.into()))
}

/// Keeps a device out: its connection ends now, and registration is refused with the reason until the ban ends. Banning
/// again changes reason and end.
#[utoipa::path(
    post, path = "/nodes/{nodeId}/ban", tag = "admin", params(("nodeId" = String, Path, format = Uuid)),
    request_body = BanBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Banned"))
)]
pub(crate) async fn ban_node(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(node): Path<String>,
    Json(body): Json<BanBody>,
) -> Result<StatusCode, ApiError> {
    let nodes = &state.parts().admin;
    nodes
        .ban_node(actor(&admin.account), id(&node)?, body.until, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a ban.
#[utoipa::path(
    post, path = "/nodes/{nodeId}/unban", tag = "admin", params(("nodeId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It may come back"))
)]
pub(crate) async fn unban_node(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(node): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    let nodes = &state.parts().admin;
    nodes
        .unban_node(actor(&admin.account), id(&node)?, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a connected device out of service: no new streams, 30 seconds for those that run, then it is asked to come back
/// later. Without a Redis a device whose process crashed counts as connected for up to 11 minutes.
#[utoipa::path(
    post, path = "/nodes/{nodeId}/drain", tag = "admin", params(("nodeId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 202, description = "It is leaving"))
)]
pub(crate) async fn drain_node(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(node): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    let nodes = &state.parts().admin;
    nodes
        .drain_node(actor(&admin.account), id(&node)?, &body.reason)
        .await?;
    Ok(StatusCode::ACCEPTED)
}

fn id(text: &str) -> Result<NodeId, ApiError> {
    text.parse().map_err(|_| ApiError::NodeNotFound)
}

impl From<KnownNode> for AdminNode {
    fn from(node: KnownNode) -> Self {
        let success_rate =
            (node.total_requests > 0).then(|| node.successful_requests as f64 / node.total_requests as f64);
        Self {
            id: node.id,
            device_id: node.device_id,
            ip_address: node.ip,
            country: node.place.country,
            country_name: node.geo.country_name,
            latitude: node.geo.point.map(Point::latitude),
            longitude: node.geo.point.map(Point::longitude),
            carrier: node.geo.carrier,
            region: node.place.region,
            city: node.place.city,
            zip: node.place.zip,
            asn: node.place.asn,
            isp: node.place.isp,
            connection_type: node.connection_type,
            device_type: node.device_type,
            sdk_version: node.sdk_version,
            status: node.status,
            ban_reason: node.ban_reason,
            banned_until: node.banned_until,
            quality_score: node.quality_score,
            bandwidth_used_mb: node.bandwidth_used_bytes as f64 / 1e6,
            bandwidth_used_bytes: node.bandwidth_used_bytes,
            total_requests: node.total_requests,
            successful_requests: node.successful_requests,
            success_rate,
            last_heartbeat: node.last_heartbeat,
            connected_since: node.connected_since,
            created_at: node.created_at,
            partner_id: node.partner,
            partner_name: node.partner_name,
            process: node.process.map(|process| process.to_string()),
        }
    }
}

impl From<NodeDetail> for AdminNodeDetail {
    fn from(detail: NodeDetail) -> Self {
        Self {
            node: detail.node.into(),
            live: detail.live.map(LiveInfo::from),
            consents: detail.consents.into_iter().map(ConsentInfo::from).collect(),
            withdrawals: detail.withdrawals.into_iter().map(WithdrawalInfo::from).collect(),
            refusals: detail.refusals.into_iter().map(RefusalInfo::from).collect(),
        }
    }
}

impl From<LiveNode> for LiveInfo {
    fn from(live: LiveNode) -> Self {
        Self {
            ip_address: live.ip,
            is_available: live.is_available,
            is_draining: live.is_draining,
            streams: live.streams,
            quality: live.quality,
            reliability: live.reliability,
            latency_ms: live.latency_ms,
            speed_mbps: live.speed_mbps,
            rtt_ms: live.rtt_ms,
            relayed_bytes: live.relayed_bytes,
        }
    }
}

impl From<GivenConsent> for ConsentInfo {
    fn from(given: GivenConsent) -> Self {
        let record = given.record;
        Self {
            id: record.id,
            text_version: record.text_version,
            text_hash: record.text_hash,
            language: record.language,
            act: record.act,
            app_id: record.app_id,
            app_version: record.app_version,
            partner_id: given.partner,
            minimum_age: record.minimum_age,
            given_at: record.given_at,
            recorded_at: given.recorded_at,
            withdrawn_at: given.withdrawn_at,
        }
    }
}

impl From<Withdrawal> for WithdrawalInfo {
    fn from(withdrawal: Withdrawal) -> Self {
        Self {
            consent_id: withdrawal.consent,
            withdrawn_at: withdrawal.at,
        }
    }
}
