//! The network in aggregates, as customers may see it: never a device, an address or a person's provider.

use std::collections::BTreeMap;

use iploop_protocol::targeting::Targeting;
use serde::Serialize;

/// Reads the live directory. Implemented by the hub.
pub trait Network: Send + Sync + 'static {
    /// Counts over all live devices.
    fn stats(&self) -> NetworkStats;
    /// Countries and cities in which at least one device is live.
    fn locations(&self) -> Vec<CountryPresence>;
    /// The devices that could serve these wishes now.
    fn pool(&self, targeting: &Targeting) -> Pool;
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
