//! Devices of the tests: those that register, and those that are connected as far as a test says so, with what was done to
//! them.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::admin::{Ban, LiveNode, LiveNodes};
use iploop_platform::clock::{Clock as _, Timestamp};
use iploop_platform::device_news::{Connected, News, Said};
use iploop_platform::exits::Place;
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::{ConsentRecord, GeoFacts, NodeRegistration, Registered};
use iploop_platform::partners::{self, WantedPartner};
use parking_lot::Mutex;
use serde_json::json;

use crate::harness::Api;
use crate::partners::by_command_line;

/// A new partner.
pub(crate) async fn new_partner(api: &Api, name: &str) -> PartnerId {
    let wanted = WantedPartner {
        name,
        email: None,
        revenue_share_percent: None,
    };
    let created = partners::create(&*api.store, &*api.clock, wanted, by_command_line()).await;
    created.unwrap().partner.id
}

/// With what a device of this partner registers: a consent, and nothing known of where it is.
pub(crate) fn registration(api: &Api, partner: PartnerId, device_id: &str) -> NodeRegistration {
    NodeRegistration {
        id: NodeId::new(),
        device_id: device_id.to_owned(),
        device_secret_hash: "00".repeat(32),
        partner,
        ip: [203, 0, 113, 77].into(),
        geo: GeoFacts::default(),
        place: Place::default(),
        connection_type: None,
        device_type: None,
        sdk_version: "1".to_owned(),
        consent: ConsentRecord {
            id: ConsentId::new(),
            text_version: "1".to_owned(),
            text_hash: "00".repeat(32),
            language: "en".to_owned(),
            given_at: api.clock.now(),
            act: "button".to_owned(),
            app_id: "app".to_owned(),
            app_version: "1".to_owned(),
            networks: json!(["wifi"]),
            minimum_age: true,
        },
        review_apps: false,
        now: api.clock.now(),
    }
}

/// Registers a device.
pub(crate) async fn registered(api: &Api, registration: NodeRegistration) -> NodeId {
    match api.store.register_node(registration).await.unwrap() {
        Registered::Accepted(node) => node,
        refused => panic!("{refused:?}"),
    }
}

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

    fn drain_node(&self, node: NodeId, _: Timestamp, _: Duration) -> bool {
        match self.connected.lock().get_mut(&node) {
            Some(live) => {
                (live.is_available, live.is_draining) = (false, true);
                true
            }
            None => false,
        }
    }
}
