//! The network with the devices of all processes, as far as figures go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_protocol::targeting::Targeting;
use uuid::Uuid;

use super::Presence;
use crate::admin::{Ban, LiveNode, LiveNodes};
use crate::ids::NodeId;
use crate::network::{CountryPresence, Network, NetworkStats, NodePage, NodeWish, Pool};

/// Figures over all processes; places, pools and rows are of this process, whose requests its devices serve.
pub struct NetworkEverywhere {
    here: Arc<dyn Network>,
    presence: Presence,
}

impl NetworkEverywhere {
    /// Over this process's network.
    pub fn new(here: Arc<dyn Network>, presence: Presence) -> Self {
        Self { here, presence }
    }
}

impl Network for NetworkEverywhere {
    fn stats(&self) -> NetworkStats {
        let others = self.presence.others();
        others.into_iter().fold(self.here.stats(), sum)
    }

    fn locations(&self) -> Vec<CountryPresence> {
        self.here.locations()
    }

    fn pool(&self, targeting: &Targeting) -> Pool {
        self.here.pool(targeting)
    }

    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        self.here.nodes(wish, from, limit)
    }
}

/// Single devices: those of other processes are known, and acted on here only.
pub struct NodesEverywhere {
    here: Arc<dyn LiveNodes>,
    presence: Presence,
}

impl NodesEverywhere {
    /// Over this process's devices.
    pub fn new(here: Arc<dyn LiveNodes>, presence: Presence) -> Self {
        Self { here, presence }
    }
}

#[async_trait]
impl LiveNodes for NodesEverywhere {
    fn live(&self, node: NodeId) -> Option<LiveNode> {
        self.here.live(node)
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        let mut busy = self.here.busy(limit);
        busy.extend(self.presence.busy_elsewhere());
        busy.truncate(limit);
        busy
    }

    fn ban(&self, ban: &Ban) -> bool {
        self.here.ban(ban)
    }

    fn drain_node(&self, node: NodeId, grace: Duration) -> bool {
        self.here.drain_node(node, grace)
    }

    async fn holders(&self, nodes: &[NodeId]) -> Vec<Option<Uuid>> {
        self.presence.holders(nodes).await
    }
}

fn sum(a: NetworkStats, b: NetworkStats) -> NetworkStats {
    let average_quality = match (a.average_quality, b.average_quality) {
        (Some(of_a), Some(of_b)) => {
            let (weight_a, weight_b) = (a.connected_nodes.max(1) as f64, b.connected_nodes.max(1) as f64);
            Some((of_a * weight_a + of_b * weight_b) / (weight_a + weight_b))
        }
        (one, other) => one.or(other),
    };
    NetworkStats {
        connected_nodes: a.connected_nodes.saturating_add(b.connected_nodes),
        available_nodes: a.available_nodes.saturating_add(b.available_nodes),
        busy_nodes: a.busy_nodes.saturating_add(b.busy_nodes),
        country_breakdown: merged(a.country_breakdown, b.country_breakdown),
        device_type_breakdown: merged(a.device_type_breakdown, b.device_type_breakdown),
        connection_type_breakdown: merged(a.connection_type_breakdown, b.connection_type_breakdown),
        average_quality,
        bandwidth_bytes: a.bandwidth_bytes.saturating_add(b.bandwidth_bytes),
    }
}

fn merged(mut a: BTreeMap<String, u64>, b: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (name, count) in b {
        let sum = a.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_processes_add_up_and_quality_counts_by_device() {
        let one = NetworkStats {
            connected_nodes: 3,
            available_nodes: 2,
            busy_nodes: 1,
            country_breakdown: [("DE".to_owned(), 3)].into(),
            average_quality: Some(80.0),
            bandwidth_bytes: 10,
            ..NetworkStats::default()
        };
        let other = NetworkStats {
            connected_nodes: 1,
            available_nodes: 1,
            country_breakdown: [("DE".to_owned(), 1), ("US".to_owned(), 1)].into(),
            average_quality: Some(40.0),
            ..NetworkStats::default()
        };
        let both = sum(one.clone(), other);
        assert_eq!(
            (both.connected_nodes, both.available_nodes, both.busy_nodes),
            (4, 3, 1)
        );
        assert_eq!(both.country_breakdown["DE"], 4);
        assert_eq!(both.average_quality, Some(70.0));
        assert_eq!(sum(one.clone(), NetworkStats::default()), one);
    }
}
