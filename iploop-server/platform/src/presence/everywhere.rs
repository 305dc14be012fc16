//! The network with the devices of all processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_protocol::targeting::Targeting;
use uuid::Uuid;

use super::questions::{Answer, Processes, Question};
use super::{Presence, places};
use crate::admin::{Ban, LiveNode, LiveNodes};
use crate::clock::Timestamp;
use crate::device_news::{Connected, News, Said};
use crate::ids::NodeId;
use crate::network::{CountryPresence, Network, NetworkStats, NodePage, NodePlace, NodeRow, NodeWish, Pool};

/// Devices in one question about what they say.
const SAID_TOGETHER: usize = 1_000;

/// The devices of all processes together.
pub struct NetworkEverywhere {
    here: Arc<dyn Network>,
    presence: Presence,
    others: Processes,
}

impl NetworkEverywhere {
    /// Over this process's network.
    pub fn new(here: Arc<dyn Network>, presence: Presence, others: Processes) -> Self {
        Self {
            here,
            presence,
            others,
        }
    }
}

#[async_trait]
impl Network for NetworkEverywhere {
    fn stats(&self) -> NetworkStats {
        let others = self.presence.figures_elsewhere();
        others.into_iter().fold(self.here.stats(), sum)
    }

    fn locations(&self) -> Vec<CountryPresence> {
        let here = places::largest(self.here.locations());
        places::sum(here.iter().chain(&self.presence.places_elsewhere()))
    }

    fn pool(&self, targeting: &Targeting) -> Pool {
        self.here.pool(targeting)
    }

    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        self.here.nodes(wish, from, limit)
    }

    async fn pool_everywhere(&self, targeting: &Targeting) -> Pool {
        let answers = self.others.ask_all(&Question::Pool(targeting.to_string())).await;
        let others = answers.into_iter().filter_map(|answer| match answer {
            Answer::Pool(pool) => Some(pool),
            _ => None,
        });
        others.fold(self.here.pool(targeting), both_pools)
    }

    async fn nodes_everywhere(
        &self,
        wish: &NodeWish,
        from: NodePlace,
        limit: usize,
    ) -> (Vec<NodeRow>, Option<NodePlace>) {
        let mut processes = self.presence.others();
        processes.push(self.presence.process());
        processes.sort_unstable();
        // One that is gone is passed over with its rows.
        let first = from
            .process
            .map_or(0, |process| processes.partition_point(|other| *other < process));
        let mut rest = processes.get(first..).unwrap_or_default().iter().peekable();
        while let Some(&process) = rest.next() {
            let is_same = from.process.is_none_or(|wanted| wanted == process);
            let slot = if is_same { from.slot } else { 0 };
            let page = self.page_of(process, wish, slot, limit).await;
            let next = match page.next {
                Some(slot) => Some((process, slot)),
                None => rest.peek().map(|process| (**process, 0)),
            };
            if !page.rows.is_empty() || page.next.is_some() || next.is_none() {
                let next = next.map(|(process, slot)| NodePlace {
                    process: Some(process),
                    slot,
                });
                return (page.rows, next);
            }
        }
        (Vec::new(), None)
    }

    fn is_whole(&self) -> bool {
        self.presence.is_whole()
    }

    fn processes(&self) -> u64 {
        u64::try_from(self.presence.others().len())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

impl NetworkEverywhere {
    async fn page_of(&self, process: Uuid, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        if process == self.presence.process() {
            return self.here.nodes(wish, from, limit);
        }
        let question = Question::Nodes {
            wish: wish.clone(),
            from,
            limit,
        };
        match self.others.ask(process, &question).await {
            Some(Answer::Nodes(page)) => page,
            _ => NodePage::default(),
        }
    }
}

/// Single devices, at whichever process.
pub struct NodesEverywhere {
    nodes: Arc<dyn LiveNodes>,
    connected: Arc<dyn Connected>,
    presence: Presence,
    others: Processes,
}

impl NodesEverywhere {
    /// Over this process's devices.
    pub fn new(
        nodes: Arc<dyn LiveNodes>,
        connected: Arc<dyn Connected>,
        presence: Presence,
        others: Processes,
    ) -> Self {
        Self {
            nodes,
            connected,
            presence,
            others,
        }
    }
}

#[async_trait]
impl LiveNodes for NodesEverywhere {
    fn live(&self, node: NodeId) -> Option<LiveNode> {
        self.nodes.live(node)
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        let mut busy = self.nodes.busy(limit);
        busy.extend(self.presence.busy_elsewhere());
        busy.truncate(limit);
        busy
    }

    fn ban(&self, ban: &Ban) -> bool {
        self.nodes.ban(ban)
    }

    fn drain_node(&self, node: NodeId, asked_at: Timestamp, grace: Duration) -> bool {
        self.nodes.drain_node(node, asked_at, grace)
    }

    async fn live_anywhere(&self, node: NodeId) -> Option<LiveNode> {
        if let Some(live) = self.nodes.live(node) {
            return Some(live);
        }
        let process = self.presence.elsewhere(node).await?;
        match self.others.ask(process, &Question::Live(node)).await {
            Some(Answer::Live(live)) => live,
            _ => None,
        }
    }

    async fn is_connected(&self, node: NodeId) -> Option<bool> {
        if self.nodes.live(node).is_some() {
            return Some(true);
        }
        let found = self.presence.find(node).await.ok()?;
        Some(found.is_some())
    }

    async fn holders(&self, nodes: &[NodeId]) -> Vec<Option<Uuid>> {
        self.presence.holders(nodes).await
    }
}

#[async_trait]
impl Connected for NodesEverywhere {
    async fn hear(&self, news: &News) {
        self.connected.hear(news).await;
    }

    fn said(&self, node: NodeId) -> Option<Said> {
        self.connected.said(node)
    }

    async fn said_anywhere(&self, nodes: &[NodeId]) -> Vec<Option<Said>> {
        let mut said: Vec<Option<Said>> = nodes.iter().map(|node| self.connected.said(*node)).collect();
        let missing: Vec<usize> = (0..nodes.len()).filter(|at| said[*at].is_none()).collect();
        for part in missing.chunks(SAID_TOGETHER) {
            let question = Question::Said(part.iter().map(|at| nodes[*at]).collect());
            for answer in self.others.ask_all(&question).await {
                let Answer::Said(there) = answer else { continue };
                for (at, there) in part.iter().zip(there) {
                    if let Some(there) = there {
                        said[*at] = Some(there);
                    }
                }
            }
        }
        said
    }
}

/// The chance of one dial counts by device.
fn both_pools(a: Pool, b: Pool) -> Pool {
    let dial_success = match (a.dial_success, b.dial_success) {
        (Some(of_a), Some(of_b)) => Some(weighed((of_a, a.nodes), (of_b, b.nodes))),
        (one, other) => one.or(other),
    };
    Pool {
        nodes: a.nodes.saturating_add(b.nodes),
        exact: a.exact && b.exact,
        dial_success,
    }
}

/// The mean of two, each by its number of devices.
fn weighed((a, of_a): (f64, u64), (b, of_b): (f64, u64)) -> f64 {
    let (of_a, of_b) = (of_a.max(1) as f64, of_b.max(1) as f64);
    (a * of_a + b * of_b) / (of_a + of_b)
}

fn sum(a: NetworkStats, b: NetworkStats) -> NetworkStats {
    let average_quality = match (a.average_quality, b.average_quality) {
        (Some(of_a), Some(of_b)) => Some(weighed((of_a, a.connected_nodes), (of_b, b.connected_nodes))),
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
