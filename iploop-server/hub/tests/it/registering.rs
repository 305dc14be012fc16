//! From the hello to the welcome, and every way not to get there.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use iploop_hub::HubConfig;
use iploop_platform::exits::ExitError;
use iploop_platform::network::Network;
use iploop_platform::node::Registered;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{Hello, ToHub};
use iploop_protocol::io::{Closed, Initiator};
use serde_json::{Value, json};

use crate::exits::{fails, request};
use crate::support::{NOW, TestHub, TestNode, hello, partner_key, until};

async fn refused(hub: &TestHub, change: impl FnOnce(&mut Hello)) -> Closed {
    let mut hello = hello(9);
    change(&mut hello);
    let node = TestNode::connect(hub.addr(), "127.0.0.1").await;
    node.say(ToHub::Hello(Box::new(hello)));
    let closed = node.closed().await;
    assert_eq!(closed.by, Initiator::Peer, "{closed:?}");
    closed
}

#[tokio::test]
async fn a_device_is_registered_placed_and_listed() {
    let hub = TestHub::start().await;
    let node = hub.node_from(1, "127.0.2.7", |_| {}).await;
    let welcome = node.welcome.as_ref().unwrap();
    assert_eq!(welcome.public_ip, Some([127, 0, 2, 7].into()));
    assert_eq!(welcome.heartbeat_s, 300);
    assert_eq!(
        welcome.platform_addresses,
        [std::net::IpAddr::from([192, 0, 2, 1])]
    );

    let registered = hub.store.registered.lock()[0].clone();
    assert_eq!(registered.id, node.id());
    assert_eq!(registered.place.city.as_deref(), Some("Berlin"));
    assert_eq!(registered.device_type.as_deref(), Some("linux"));
    assert_ne!(registered.device_secret_hash, hello(1).device.secret);
    assert_eq!(registered.device_secret_hash.len(), 64);
    assert_eq!((registered.consent.given_at, registered.now), (NOW, NOW));

    let stats = hub.hub.stats();
    assert_eq!((stats.connected_nodes, stats.available_nodes), (1, 1));
    assert_eq!(stats.country_breakdown["DE"], 1);
    assert_eq!(stats.device_type_breakdown["linux"], 1);
    assert_eq!(stats.connection_type_breakdown["ethernet"], 1);
    let locations = hub.hub.locations();
    assert_eq!(
        (
            locations[0].country.as_str(),
            locations[0].cities[0].city.as_str()
        ),
        ("DE", "Berlin")
    );
}

#[tokio::test]
async fn a_device_that_claims_a_place_or_a_quality_is_where_its_address_is() {
    let hub = TestHub::start().await;
    let node = TestNode::connect(hub.addr(), "127.0.2.7").await;
    let hello = ToHub::Hello(Box::new(hello(1))).encode();
    let mut said: Value = serde_json::from_slice(&hello).unwrap();
    let lies = json!({
        "country": "US", "region": "Florida", "city": "Miami", "asn": 7018, "ip": "198.51.100.7", "quality": 100,
        "latencyMs": 1, "speedMbps": 10_000, "place": {"country": "US", "city": "Miami"},
    });
    for (name, lie) in lies.as_object().unwrap() {
        said[name] = lie.clone();
        said["device"][name] = lie.clone();
    }
    node.tunnel.send_control(said.to_string().into()).unwrap();
    until(|| hub.hub.node_count() == 1).await;
    node.tunnel
        .send_control(
            json!({"type": "heartbeat", "bytesUp": 0, "bytesDown": 0, "streams": 0, "quality": 100, "country": "US"})
                .to_string()
                .into(),
        )
        .unwrap();
    let place = hub.store.registered.lock()[0].place.clone();
    assert_eq!(
        (place.country.as_deref(), place.city.as_deref()),
        (Some("DE"), Some("Berlin"))
    );
    assert_eq!(
        hub.hub.stats().country_breakdown.keys().collect::<Vec<_>>(),
        ["DE"]
    );
    for wish in ["country-us", "city-miami", "asn-7018", "speed-1", "latency-1000"] {
        assert_eq!(fails(&hub, request(wish)).await, ExitError::NoExit, "{wish}");
    }
}

#[tokio::test]
async fn each_refusal_is_told_by_its_code() {
    use CloseCode::{ConsentRequired, InvalidHello, PartnerRejected, TestAllowRefused, TooOld, Version};
    let config = HubConfig {
        min_sdk_version: Some("0.9".into()),
        ..HubConfig::default()
    };
    let hub = TestHub::with(config, |_| {}).await;
    assert_eq!(
        refused(&hub, |hello| hello.versions = vec![1]).await.code,
        Version
    );
    assert_eq!(
        refused(&hub, |hello| hello.device.id = "x".into()).await.code,
        InvalidHello
    );
    assert_eq!(
        refused(&hub, |hello| hello.partner_key = partner_key(3))
            .await
            .code,
        PartnerRejected
    );
    assert_eq!(
        refused(&hub, |hello| hello.partner_key = partner_key(2))
            .await
            .code,
        PartnerRejected
    );
    assert_eq!(
        refused(&hub, |hello| hello.consent.text_version = "2019".into())
            .await
            .code,
        ConsentRequired
    );
    assert_eq!(
        refused(&hub, |hello| hello.consent.minimum_age = false)
            .await
            .code,
        ConsentRequired
    );
    assert_eq!(
        refused(&hub, |hello| hello.device.sdk_version = "0.8".into())
            .await
            .code,
        TooOld
    );
    let test_allow = |hello: &mut Hello| hello.test_allow = vec!["127.0.0.1:1".into()];
    assert_eq!(refused(&hub, test_allow).await.code, TestAllowRefused);
    assert_eq!(hub.hub.node_count(), 0);
    assert!(hub.store.registered.lock().is_empty());
}

#[tokio::test]
async fn the_store_s_verdict_is_told_by_its_code() {
    let hub = TestHub::start().await;
    let banned = Registered::Banned {
        reason: "abuse".into(),
        until: None,
    };
    for (verdict, code) in [
        (banned, CloseCode::Banned),
        (Registered::SecretMismatch, CloseCode::InvalidHello),
        (Registered::ConsentWithdrawn, CloseCode::ConsentRequired),
    ] {
        *hub.store.verdict.lock() = Some(verdict);
        let closed = refused(&hub, |_| {}).await;
        assert_eq!(closed.code, code);
        assert!(!closed.code.is_retryable() && closed.retry_after.is_none());
    }
    assert_eq!(hub.hub.node_count(), 0);
}

#[tokio::test]
async fn a_store_that_is_away_sends_devices_to_come_back() {
    let hub = TestHub::start().await;
    hub.store.is_down.store(true, Ordering::Relaxed);
    let closed = refused(&hub, |_| {}).await;
    assert_eq!(closed.code, CloseCode::Overloaded);
    assert!(closed.retry_after.is_some());
    hub.store.is_down.store(false, Ordering::Relaxed);
    hub.node(1).await;
}

#[tokio::test]
async fn more_registrations_than_the_line_holds_are_sent_away() {
    let config = HubConfig {
        registrations: 1,
        registration_queue: 1,
        ..HubConfig::default()
    };
    let hub = TestHub::with(config, |_| {}).await;
    let all = hub.store.turnstile.forget_permits(usize::MAX);
    let mut waiting = Vec::new();
    for n in 1..=2 {
        let node = TestNode::connect(hub.addr(), "127.0.0.1").await;
        node.say(ToHub::Hello(Box::new(hello(n))));
        waiting.push(node);
    }
    // One of three is beyond the line; which one arrives last is the network's choice.
    let third = TestNode::connect(hub.addr(), "127.0.0.1").await;
    third.say(ToHub::Hello(Box::new(hello(3))));
    waiting.push(third);
    let ends: Vec<_> = waiting.into_iter().map(|node| Box::pin(node.closed())).collect();
    let (closed, _, others) = futures_util::future::select_all(ends).await;
    assert_eq!(closed.code, CloseCode::Overloaded);
    assert!(closed.retry_after.is_some());
    hub.store.turnstile.add_permits(all);
    until(|| hub.hub.node_count() == 2).await;
    drop(others);
}

#[tokio::test]
async fn a_device_that_connects_again_replaces_itself() {
    let hub = TestHub::start().await;
    let first = hub.node(1).await;
    let second = TestNode::connect(hub.addr(), "127.0.0.1").await;
    second.say(ToHub::Hello(Box::new(hello(1))));
    assert_eq!(first.closed().await.code, CloseCode::Replaced);
    until(|| hub.hub.node_count() == 1).await;
    assert!(!second.driver.is_finished());
}

#[tokio::test]
async fn what_is_no_hello_is_refused() {
    let hub = TestHub::start().await;
    let garbage = TestNode::connect(hub.addr(), "127.0.0.1").await;
    garbage
        .tunnel
        .send_control(Bytes::from_static(b"{\"type\":\"hello\"}"))
        .unwrap();
    assert_eq!(garbage.closed().await.code, CloseCode::InvalidHello);
    let early = TestNode::connect(hub.addr(), "127.0.0.1").await;
    early.say(ToHub::Heartbeat(Default::default()));
    assert_eq!(early.closed().await.code, CloseCode::Unexpected);
    let unknown = TestNode::connect(hub.addr(), "127.0.0.1").await;
    unknown
        .tunnel
        .send_control(Bytes::from_static(b"{\"type\":\"greeting\"}"))
        .unwrap();
    unknown.say(ToHub::Hello(Box::new(hello(1))));
    until(|| hub.hub.node_count() == 1).await;
}

#[tokio::test]
async fn a_test_hub_takes_test_devices() {
    let hub = TestHub::with(HubConfig::default(), |deps| deps.test_allow = true).await;
    hub.node_from(1, "127.0.0.1", |hello| {
        hello.test_allow = vec!["127.0.0.1:8080".into()]
    })
    .await;
}
