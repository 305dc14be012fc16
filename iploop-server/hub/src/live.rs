//! Single devices, as admins look at them and act on them.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::admin::{Ban, LiveNode, LiveNodes};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::NodeId;
use iploop_protocol::codes::CloseCode;
use tokio::time::Instant;

use crate::directory::NodeKey;
use crate::hub::Hub;
use crate::node::Node;
use crate::registration::banned_text;

impl LiveNodes for Hub {
    fn live(&self, id: NodeId) -> Option<LiveNode> {
        let now = Instant::now().into_std();
        let (node, is_available, streams) = {
            let mut live = self.shared.live.lock();
            live.wake(now);
            let (key, node) = live.find(id)?;
            (Arc::clone(node), live.is_available(key), live.streams(key)?)
        };
        let figures = node.figures(now);
        Some(LiveNode {
            ip: node.exit.ip,
            is_available,
            is_draining: node.is_draining(),
            streams,
            quality: figures.quality,
            reliability: node.reliability(now),
            latency_ms: figures.latency.map(millis),
            speed_mbps: figures.speed_mbps,
            rtt_ms: node.tunnel.rtt().map(millis),
            relayed_bytes: node.tunnel.relayed_bytes(),
        })
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        let mut live = self.shared.live.lock();
        live.wake(Instant::now().into_std());
        live.unavailable(limit)
    }

    fn ban(&self, ban: &Ban) -> bool {
        let Some((_, node)) = self.connected(ban.node) else {
            return false;
        };
        node.tunnel
            .close(CloseCode::Banned, None, &banned_text(&ban.reason, ban.until));
        true
    }

    fn drain_node(&self, id: NodeId, asked_at: Timestamp, grace: Duration) -> bool {
        let Some((key, node)) = self.connected(id) else {
            return false;
        };
        // One that was sent away for a moment and is back, is not meant.
        if node.since > asked_at {
            return false;
        }
        if node.is_draining() {
            return true;
        }
        node.start_draining(Instant::now() + grace);
        self.shared.renew_sharing(key, &node);
        let streams = self.shared.live.lock().streams(key);
        node.tunnel.drain(grace);
        if streams.is_none_or(|streams| streams == 0) {
            node.end_drained(self.shared.spread_retry());
        }
        true
    }
}

impl Hub {
    pub(crate) fn connected(&self, id: NodeId) -> Option<(NodeKey, Arc<Node>)> {
        let live = self.shared.live.lock();
        live.find(id).map(|(key, node)| (key, Arc::clone(node)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
