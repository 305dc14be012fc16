// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `nodes`: operations of the API, with what they send and answer.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::management::Api;
use crate::values::Timestamp;

/// Operations of this part of the API: [`Api::nodes`].
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a>(pub(super) &'a Api);

impl Nodes<'_> {
    /// The live devices by page, in rows that say nothing of their owners, with the network's counts.
    ///
    /// `GET /api/nodes`.
    pub async fn list(&self, query: &ListQuery) -> Result<NodesAnswer, Error> {
        self.0
            .call(Method::GET, "/api/nodes")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Countries in which a device is live now.
    ///
    /// `GET /api/nodes/countries`.
    pub async fn countries(&self) -> Result<NodeCountries, Error> {
        self.0
            .call(Method::GET, "/api/nodes/countries")
            .answer()
            .await?
            .json()
    }

    /// Counts over the live devices.
    ///
    /// `GET /api/nodes/stats`.
    pub async fn stats(&self) -> Result<NodeStats, Error> {
        self.0
            .call(Method::GET, "/api/nodes/stats")
            .answer()
            .await?
            .json()
    }
}

/// The query of `list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuery {
    /// In this country: two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// `available` or `busy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// `wifi`, `cellular` or `ethernet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most rows wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A country with live devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CountryInfo {
    /// ISO 3166-1 alpha-2; `ZZ`: unknown.
    pub code: String,
    /// `nodes`.
    pub nodes: u64,
}

/// How the network does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NetworkHealth {
    /// `connectedNodes`.
    pub connected_nodes: u64,
    /// `healthy` while at least one device takes requests, else `unhealthy`.
    pub status: String,
}

/// Countries with live devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NodeCountries {
    /// Most devices first.
    pub countries: Vec<CountryInfo>,
    /// `totalCountries`.
    pub total_countries: u64,
}

/// A live device: no id, no address, no provider, as those are a person's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NodeInfo {
    /// `city`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// `connectionType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// ISO 3166-1 alpha-2; none: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// `deviceType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// 0 to 100.
    pub quality_score: u32,
    /// `region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `available`, or `busy`: paused, resting or full.
    pub status: String,
}

/// Counts over the live devices: never a device, an address or a person's provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NodeStats {
    /// Of these, the ones that take requests.
    pub available_nodes: u64,
    /// Mean quality, 0 to 100; none while no device is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_quality: Option<f64>,
    /// Connected, but paused or full.
    pub busy_nodes: u64,
    /// Connected now.
    pub connected_nodes: u64,
    /// Devices by connection.
    pub connection_type_breakdown: BTreeMap<String, u64>,
    /// Devices by country, ISO 3166-1 alpha-2; `ZZ`: unknown.
    pub country_breakdown: BTreeMap<String, u64>,
    /// Devices by type.
    pub device_type_breakdown: BTreeMap<String, u64>,
    /// When it was counted.
    pub timestamp: Timestamp,
    /// The same in bytes.
    pub total_bandwidth_bytes: u64,
    /// 10^6 bytes relayed by the devices connected now, since they connected.
    pub total_bandwidth_mb: f64,
    /// Devices that ever registered.
    pub total_nodes: u64,
}

/// A page of the live devices, and the network's counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NodesAnswer {
    /// How the network does.
    pub health: NetworkHealth,
    /// For the next page; none: this was the last. A page may have fewer rows than it might and not be the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Devices connected now, those that do not fit included.
    pub node_count: u64,
    /// In no order that says anything.
    pub nodes: Vec<NodeInfo>,
    /// Counts over the live devices: never a device, an address or a person's provider.
    pub stats: NodeStats,
    /// `timestamp`.
    pub timestamp: Timestamp,
}

/// How a connected device stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// `available`.
    #[serde(rename = "available")]
    Available,
    /// `busy`.
    #[serde(rename = "busy")]
    Busy,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}
