//! The network in aggregates, as customers may see it: never a device, an address or a person's provider.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use iploop_protocol::targeting::Targeting;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Reads the live directory. Implemented by the hub for its own process, and by
/// [`NetworkEverywhere`](crate::presence::NetworkEverywhere) for all that share state.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Counts over all live devices.
    fn stats(&self) -> NetworkStats;
    /// Countries and cities in which at least one device is live.
    fn locations(&self) -> Vec<CountryPresence>;
    /// The devices that could serve these wishes now.
    fn pool(&self, targeting: &Targeting) -> Pool;
    /// Live devices that fit, one row each without anything of their owner's, at most `limit`, from a place in the list on.
    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage;
    /// As [`Network::pool`], of all processes.
    async fn pool_everywhere(&self, targeting: &Targeting) -> Pool {
        self.pool(targeting)
    }
    /// As [`Network::nodes`], of all processes, one after the other.
    async fn nodes_everywhere(
        &self,
        wish: &NodeWish,
        from: NodePlace,
        limit: usize,
    ) -> (Vec<NodeRow>, Option<NodePlace>) {
        let page = self.nodes(wish, from.slot, limit);
        let next = page.next.map(|slot| NodePlace { process: None, slot });
        (page.rows, next)
    }
    /// Whether the figures are of all processes; false: some may not be heard of just now.
    fn is_whole(&self) -> bool {
        true
    }
    /// Processes whose devices these are, this one included.
    fn processes(&self) -> u64 {
        1
    }
}

/// A place in the list of the devices of all processes. As text a number, behind the process and a dot where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodePlace {
    /// Whose list; none: the first one's.
    pub process: Option<Uuid>,
    /// Where in it.
    pub slot: u32,
}

impl fmt::Display for NodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "{}.{}", process.simple(), self.slot),
            None => write!(f, "{}", self.slot),
        }
    }
}

/// A text names no place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place in the list")]
pub struct NoPlace;

impl FromStr for NodePlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (process, slot) = match text.split_once('.') {
            Some((process, slot)) => (Some(process.parse().map_err(|_| NoPlace)?), slot),
            None => (None, text),
        };
        let slot = slot.parse().map_err(|_| NoPlace)?;
        Ok(Self { process, slot })
    }
}

/// Which rows of the list are wanted. What is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePage {
    /// In no order that says anything.
    pub rows: Vec<NodeRow>,
    /// Where to go on; none: this was the end. A page may have fewer rows than it might and not be the last.
    pub next: Option<u32>,
}

/// A live device as customers may see it: no id, no address, no provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CityPresence {
    /// The city's name.
    pub city: String,
    /// Live devices there.
    pub nodes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written_and_nothing_else_is_one() {
        for process in [None, Some(Uuid::from_u128(7))] {
            let place = NodePlace { process, slot: 41 };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in [
            "",
            ".",
            "x",
            "-1",
            "7.7",
            "4294967296",
            "00000000000000000000000000000007.",
        ] {
            assert_eq!(wrong.parse::<NodePlace>(), Err(NoPlace), "{wrong}");
        }
    }
}
