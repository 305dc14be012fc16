//! What is noticed without an act of ours: balances, failed requests, exits that come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::clock::Clock as _;
use iploop_platform::events::{EventKind, EventTask, EventsConfig};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::network::{CountryPresence, Network, NetworkStats, NodePage, NodeWish, Pool};
use iploop_platform::usage::UsageRecord;
use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Api, NOBODY};

/// Exits by country, as a test sets them.
#[derive(Default)]
struct Exits(Mutex<BTreeMap<String, u64>>);

impl Network for Exits {
    fn stats(&self) -> NetworkStats {
        NetworkStats {
            country_breakdown: self.0.lock().clone(),
            ..NetworkStats::default()
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        Vec::new()
    }

    fn pool(&self, _: &Targeting) -> Pool {
        Pool::default()
    }

    fn nodes(&self, _: &NodeWish, _: u32, _: usize) -> NodePage {
        NodePage::default()
    }
}

/// An API, the looks of two processes on its data, and a customer whose webhook asks for these events.
struct World {
    api: Api,
    exits: Arc<Exits>,
    looks: [EventTask; 2],
    account: AccountId,
    token: String,
    deliveries: String,
}

impl World {
    async fn new(events: &[&str]) -> Self {
        let api = Api::new().await;
        let login = api.register("ada@example.com").await;
        let token = login["token"].as_str().unwrap().to_owned();
        let body = json!({"url": format!("http://{NOBODY}/"), "events": events});
        let webhook = api
            .post("/api/webhooks")
            .bearer(&token)
            .json(&body)
            .send()
            .await
            .json();
        let exits = Arc::new(Exits::default());
        let look = || {
            let (store, clock) = (Arc::clone(&api.store), api.clock.clone());
            EventTask::new(store, clock, exits.clone(), EventsConfig::default())
        };
        Self {
            looks: [look(), look()],
            exits,
            account: login["user"]["id"].as_str().unwrap().parse().unwrap(),
            token,
            deliveries: format!("/api/webhooks/{}/deliveries", webhook["id"].as_str().unwrap()),
            api,
        }
    }

    /// Kind and particulars of what the webhook is told, oldest first.
    async fn told(&self) -> Vec<(String, Value)> {
        let list = self
            .api
            .get(&self.deliveries)
            .bearer(&self.token)
            .send()
            .await
            .json();
        let mut told = Vec::new();
        for delivery in list["deliveries"].as_array().unwrap().iter().rev() {
            let one = format!("{}/{}", self.deliveries, delivery["eventId"].as_str().unwrap());
            let found = self.api.get(&one).bearer(&self.token).send().await.json();
            let body: Value = serde_json::from_str(found["requestBody"].as_str().unwrap()).unwrap();
            told.push((body["event"].as_str().unwrap().to_owned(), body["data"].clone()));
        }
        told
    }

    fn record(&self, bytes_down: u64, error: Option<&str>) -> UsageRecord {
        let now = self.api.clock.now();
        UsageRecord {
            bytes_down,
            bytes_up: 0,
            error: error.map(str::to_owned),
            ended_at: Some(now),
            ..crate::reading::record(self.account, ApiKeyId::new(), now, None)
        }
    }

    async fn book(&self, records: &[UsageRecord]) {
        self.api
            .store
            .settle(records, self.api.clock.now())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn each_mark_of_a_balance_is_told_once_and_also_by_mail() {
    let world = World::new(&[
        "usage.threshold",
        "quota.warning",
        "quota.exceeded",
        "balance.low",
    ])
    .await;
    world.api.mail().await;
    let look = async || {
        for look in &world.looks {
            look.look_at_purses().await.unwrap();
        }
    };
    look().await;
    for gigabytes in [3_u64, 0, 2, 0] {
        world.book(&[world.record(gigabytes * 1_000_000_000, None)]).await;
        look().await;
    }
    let told = world.told().await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "usage.threshold",
            "quota.warning",
            "balance.low",
            "quota.exceeded"
        ]
    );
    let half = json!({"percentUsed": 60, "balanceBytes": 2_000_000_000_i64, "topUpBytes": 5_000_000_000_i64, "thresholdPercent": 50});
    assert_eq!(told[0].1, half);
    assert_eq!(told[2].1["thresholdBytes"], 500_000_000);
    while world.api.notices.send_due().await.unwrap() > 0 {}
    let subjects = [world.api.mail().await.subject, world.api.mail().await.subject];
    assert_eq!(
        subjects,
        ["Most of your traffic is used", "Your traffic is used up"]
    );
    assert!(world.api.no_mail_is_queued().await);
    // A top-up begins anew.
    let (store, now) = (&world.api.store, world.api.clock.now());
    store
        .credit(world.account, 4_000_000_000, "more", "k", now)
        .await
        .unwrap();
    look().await;
    world.book(&[world.record(2_000_000_000, None)]).await;
    look().await;
    let told = world.told().await;
    assert_eq!((told.len(), told[4].0.as_str()), (5, "usage.threshold"));
}

#[tokio::test]
async fn failed_requests_are_told_in_samples_with_the_number_of_the_rest() {
    let world = World::new(&["request.failed"]).await;
    let look = async || {
        for look in &world.looks {
            look.look_at_failures().await.unwrap();
        }
    };
    look().await;
    world.api.clock.advance(Duration::from_secs(5));
    let failed: Vec<_> = (0..7).map(|_| world.record(1, Some("node_timeout"))).collect();
    world.book(&failed).await;
    world.book(&[world.record(1, None)]).await;
    look().await;
    assert_eq!(
        world.told().await,
        [],
        "what ended just now may not be booked yet"
    );
    world.api.clock.advance(Duration::from_secs(20));
    look().await;
    let told = world.told().await;
    assert_eq!(told.len(), 5);
    let suppressed: Vec<_> = told
        .iter()
        .map(|(_, data)| data["suppressed"].as_u64().unwrap())
        .collect();
    assert_eq!(suppressed, [0, 0, 0, 0, 2]);
    assert_eq!(told[0].1["code"], "node_timeout");
    assert_eq!(told[0].1["requestId"], json!(failed[0].id));
    world.api.clock.advance(Duration::from_secs(20));
    look().await;
    assert_eq!(world.told().await.len(), 5, "once");
}

#[tokio::test]
async fn exits_that_come_and_go_are_told_by_country_and_count_only() {
    let world = World::new(&["node.connected", "node.disconnected"]).await;
    let set = |counts: &[(&str, u64)]| {
        *world.exits.0.lock() = counts
            .iter()
            .map(|(country, count)| ((*country).to_owned(), *count))
            .collect();
    };
    let look = async || {
        for look in &world.looks {
            look.look_at_network().await.unwrap();
        }
    };
    set(&[("DE", 2)]);
    look().await;
    world.api.clock.advance(Duration::from_secs(60));
    set(&[("DE", 1), ("US", 3)]);
    look().await;
    look().await;
    let told = world.told().await;
    let entry = |country: &str, count: u64, online: u64| json!({"countries": [{"country": country, "count": count, "online": online}]});
    assert_eq!(
        told,
        [
            (EventKind::NodeConnected.as_str().to_owned(), entry("US", 3, 3)),
            (EventKind::NodeDisconnected.as_str().to_owned(), entry("DE", 1, 1)),
        ]
    );
}
