//! Devices that are connected as far as a test says so, and what was done with them.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::admin::{Ban, LiveNode, LiveNodes};
use iploop_platform::device_news::{Connected, News, Said};
use iploop_platform::ids::NodeId;
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Devices {
    pub(crate) connected: Mutex<HashMap<NodeId, LiveNode>>,
    pub(crate) banned: Mutex<Vec<Ban>>,
    pub(crate) heard: Mutex<Vec<News>>,
}

pub(crate) fn live_node() -> LiveNode {
    LiveNode {
        ip: [203, 0, 113, 7].into(),
        is_available: true,
        is_draining: false,
        streams: 3,
        quality: 80,
        reliability: 0.5,
        latency_ms: Some(120),
        speed_mbps: None,
        rtt_ms: Some(20),
        relayed_bytes: 1_000,
    }
}

#[async_trait]
impl Connected for Devices {
    async fn hear(&self, news: &News) {
        self.heard.lock().push(news.clone());
    }

    fn said(&self, node: NodeId) -> Option<Said> {
        self.connected.lock().get(&node).map(|live| Said {
            is_sharing: live.is_available,
            reason: (!live.is_available).then(|| "paused_from_afar".to_owned()),
        })
    }
}

impl LiveNodes for Devices {
    fn live(&self, node: NodeId) -> Option<LiveNode> {
        self.connected.lock().get(&node).copied()
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        let connected = self.connected.lock();
        let busy = connected.iter().filter(|(_, live)| !live.is_available);
        busy.take(limit).map(|(node, _)| *node).collect()
    }

    fn ban(&self, ban: &Ban) -> bool {
        self.banned.lock().push(ban.clone());
        self.connected.lock().remove(&ban.node).is_some()
    }

    fn drain_node(&self, node: NodeId, _: Duration) -> bool {
        match self.connected.lock().get_mut(&node) {
            Some(live) => {
                (live.is_available, live.is_draining) = (false, true);
                true
            }
            None => false,
        }
    }
}
