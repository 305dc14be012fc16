//! A registered device's life: pauses, heartbeats, policy, withdrawal, departure.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use iploop_platform::exits::{ExitRequest, Exits};
use iploop_platform::network::Network;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{Heartbeat, SharingStatus, ToHub, ToNode, Withdrawal};
use iploop_protocol::policy::{NarrowDocument, NarrowPolicy, PlatformPolicy};

use crate::exits::request;
use crate::support::{NOW, TestHub, hello, until};

fn status(sharing: bool) -> ToHub {
    ToHub::Status(SharingStatus {
        sharing,
        reason: None,
    })
}

fn withdrawal() -> ToHub {
    ToHub::Withdraw(Withdrawal {
        consent_id: hello(1).consent.id,
        at: NOW.to_string(),
    })
}

fn policy(version: u64) -> PlatformPolicy {
    let lists = NarrowPolicy::new(NarrowDocument {
        deny_suffixes: vec!["gov".into()],
        ..NarrowDocument::default()
    });
    PlatformPolicy::new(version, lists.unwrap(), vec![]).unwrap()
}

#[tokio::test]
async fn a_paused_device_stays_connected_and_gets_no_streams() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    node.say(status(false));
    until(|| hub.hub.stats().available_nodes == 0).await;
    assert_eq!(
        (hub.hub.stats().connected_nodes, hub.hub.stats().busy_nodes),
        (1, 1)
    );
    node.say(status(true));
    until(|| hub.hub.stats().available_nodes == 1).await;
    node.tunnel.drain(Duration::from_secs(1));
    until(|| hub.hub.stats().available_nodes == 0).await;
}

#[tokio::test]
async fn bytes_are_what_the_hub_counted_whatever_a_device_says() {
    let hub = TestHub::start().await;
    let mut node = hub.node_from(1, "127.0.2.7", |_| {}).await;
    let id = node.id();
    let early = Bytes::from(vec![7; 1500]);
    let opening = hub.hub.open(ExitRequest {
        early,
        ..request("country-de")
    });
    let (opened, mut far) = tokio::join!(opening, async {
        node.incoming().await.accept(Duration::ZERO).unwrap()
    });
    far.write_chunk(Bytes::from(vec![9; 500])).await.unwrap();
    let mut near = opened.unwrap().stream;
    assert_eq!(near.read_chunk().await.unwrap().unwrap().len(), 500);
    node.say(ToHub::Heartbeat(Heartbeat {
        bytes_up: u64::MAX,
        bytes_down: 1 << 50,
        ..Heartbeat::default()
    }));
    until(|| hub.hub.stats().bandwidth_bytes == 2000).await;
    drop((near, far));
    node.tunnel.close(CloseCode::Done, None, "");
    until(|| hub.hub.stats() == Default::default()).await;
    hub.hub.drain(Duration::ZERO).await;
    let activity = hub.store.activity.lock();
    let bytes: u64 = activity.iter().map(|one| one.bytes).sum();
    let last = activity.last().unwrap();
    assert_eq!((last.node, bytes, last.connected), (id, 2000, false));
}

#[tokio::test]
async fn a_new_policy_reaches_devices_that_are_there_and_those_that_come() {
    let hub = TestHub::with(Default::default(), |deps| deps.policy = Some(policy(1))).await;
    let mut node = hub.node(1).await;
    let first = node.welcome.clone().unwrap().policy.unwrap().document;
    assert_eq!(first["version"], 1);
    hub.hub.set_policy(Some(&policy(2))).await;
    let ToNode::Policy(update) = node.hears().await else {
        panic!("no policy")
    };
    let read: PlatformPolicy = serde_json::from_value(update.document).unwrap();
    assert_eq!(read, policy(2));
    let later = hub.node(2).await;
    assert_eq!(later.welcome.unwrap().policy.unwrap().document["version"], 2);
}

#[tokio::test]
async fn a_withdrawal_is_stored_and_ends_the_tunnel() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    node.say(withdrawal());
    assert_eq!(node.closed().await.code, CloseCode::Withdrawn);
    let withdrawn = hub.store.withdrawn.lock().clone();
    assert_eq!(
        withdrawn,
        [(hello(1).device.id, hello(1).consent.id.parse().unwrap())]
    );
    until(|| hub.hub.node_count() == 0).await;
}

#[tokio::test]
async fn a_withdrawal_that_can_not_be_stored_is_not_confirmed() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    hub.store.is_down.store(true, Ordering::Relaxed);
    node.say(withdrawal());
    until(|| hub.hub.stats().available_nodes == 0).await;
    let closed = node.closed().await;
    assert_eq!(closed.code, CloseCode::Overloaded);
    assert!(closed.code.is_retryable() && closed.retry_after.is_some());
}

#[tokio::test]
async fn nonsense_after_the_welcome_ends_the_tunnel() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    node.tunnel.send_control(Bytes::from_static(b"nonsense")).unwrap();
    assert_eq!(node.closed().await.code, CloseCode::Malformed);
    let node = hub.node(2).await;
    node.say(ToHub::Hello(Box::new(hello(2))));
    assert_eq!(node.closed().await.code, CloseCode::Unexpected);
}
