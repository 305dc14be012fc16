//! The network in aggregates, as customers may see it: never a device, an address or a person's provider.

use std::collections::BTreeMap;

use iploop_protocol::targeting::Targeting;
use serde::{Deserialize, Serialize};

/// Reads the live directory. Implemented by the hub.
pub trait Network: Send + Sync + 'static {
    /// Counts over all live devices.
    fn stats(&self) -> NetworkStats;
    /// Countries and cities in which at least one device is live.
    fn locations(&self) -> Vec<CountryPresence>;
    /// The devices that could serve these wishes now.
    fn pool(&self, targeting: &Targeting) -> Pool;
    /// Live devices that fit, one row each without anything of their owner's, at most `limit`, from a place in the list on.
    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage;
}

/// Which rows of the list are wanted. What is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeWish {
    /// In this country, in capitals.
    pub country: Option<String>,
    /// Takes streams now, or does not.
    pub is_available: Option<bool>,
    /// `wifi`, `cellular` or `ethernet`.
    pub connection_type: Option<String>,
    /// `android`, `windows`, …
    pub device_type: Option<String>,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePage {
    /// In no order that says anything.
    pub rows: Vec<NodeRow>,
    /// Where to go on; none: this was the end. A page may have fewer rows than it might and not be the last.
    pub next: Option<u32>,
}

/// A live device as customers may see it: no id, no address, no provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Region or state.
    pub region: Option<String>,
    /// City.
    pub city: Option<String>,
    /// `wifi`, `cellular` or `ethernet`.
    pub connection_type: Option<String>,
    /// `android`, `windows`, …
    pub device_type: Option<String>,
    /// Takes streams now; else it is paused, resting or full.
    pub is_available: bool,
    /// 0 to 100.
    pub quality_score: u8,
}

impl NodeWish {
    /// Whether a row is wanted.
    pub fn takes(&self, row: &NodeRow) -> bool {
        let fits = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        fits(&self.country, &row.country)
            && fits(&self.connection_type, &row.connection_type)
            && fits(&self.device_type, &row.device_type)
            && self.is_available.is_none_or(|wanted| wanted == row.is_available)
    }
}

/// The devices that fit one customer's wishes and can take a stream now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pool {
    /// How many.
    pub nodes: u64,
    /// False where so many had to be looked at that a sample was: `nodes` is an estimate then.
    pub exact: bool,
    /// The chance that one dial through one of them does not fail by the device's fault; none without any of them.
    pub dial_success: Option<f64>,
}

/// Counts over the live devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStats {
    /// Connected devices.
    pub connected_nodes: u64,
    /// Of these, the ones that take streams now.
    pub available_nodes: u64,
    /// Connected but paused or full.
    pub busy_nodes: u64,
    /// Devices by ISO 3166-1 alpha-2 code; `ZZ` where the place is unknown.
    pub country_breakdown: BTreeMap<String, u64>,
    /// Devices by type (`android`, `windows`, …).
    pub device_type_breakdown: BTreeMap<String, u64>,
    /// Devices by connection (`wifi`, `cellular`, `ethernet`).
    pub connection_type_breakdown: BTreeMap<String, u64>,
    /// Mean quality score, 0 to 100; absent while no device is connected.
    pub average_quality: Option<f64>,
    /// Bytes relayed by the devices connected now, since they connected.
    pub bandwidth_bytes: u64,
}

/// A country in which devices are live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountryPresence {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Live devices there.
    pub nodes: u64,
    /// Cities with live devices, most first.
    pub cities: Vec<CityPresence>,
}

/// A city in which devices are live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CityPresence {
    /// The city's name.
    pub city: String,
    /// Live devices there.
    pub nodes: u64,
}
