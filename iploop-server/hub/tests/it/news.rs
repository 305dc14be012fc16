//! What devices hear, or leave for, while they are connected.

use std::time::Duration;

use iploop_hub::HubConfig;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::device_news::{Connected, News, Said};
use iploop_platform::exits::{ExitError, Exits};
use iploop_platform::ids::{ConsentId, PartnerId};
use iploop_platform::network::Network;
use iploop_platform::partners::{AppPlatform, AppStanding, AppState};
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{OwnersWish, Pairing, SharingStatus, ToHub, ToNode, capability};

use crate::exits::request;
use crate::support::{TestHub, TestNode, hello, until};

fn hears_wishes(hello: &mut iploop_protocol::control::Hello) {
    hello.capabilities = vec![capability::WISH.to_owned()];
}

fn status(sharing: bool, reason: &str) -> ToHub {
    ToHub::Status(SharingStatus {
        sharing,
        reason: Some(reason.to_owned()),
    })
}

async fn no_exit(hub: &TestHub) {
    let opened = hub.hub.open(request("")).await;
    let refused = opened.err().map(|refused| refused.error);
    assert_eq!(refused, Some(ExitError::NoExit));
}

async fn is_served_by(hub: &TestHub, node: &mut TestNode) {
    let (opened, at_device) = tokio::join!(hub.hub.open(request("")), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    assert!(opened.is_ok() && at_device.is_some());
}

async fn wish(hub: &TestHub, node: &TestNode, is_paused: bool) {
    let node = node.id();
    hub.hub.hear(&News::Wish { node, is_paused }).await;
}

#[tokio::test]
async fn a_wish_is_told_once_and_no_stream_comes_meanwhile() {
    let hub = TestHub::start().await;
    let mut node = hub.node_from(1, "127.0.0.1", hears_wishes).await;
    wish(&hub, &node, true).await;
    wish(&hub, &node, true).await;
    assert_eq!(node.hears().await, ToNode::Wish(OwnersWish { paused: true }));
    no_exit(&hub).await;
    node.say(status(false, "paused_from_afar"));
    let said = Said {
        is_sharing: false,
        reason: Some("paused_from_afar".into()),
    };
    until(|| hub.hub.said(node.id()).as_ref() == Some(&said)).await;
    // A device that shares all the same gets nothing.
    node.say(status(true, "stubborn"));
    until(|| hub.hub.said(node.id()).unwrap().is_sharing).await;
    no_exit(&hub).await;
    wish(&hub, &node, false).await;
    assert_eq!(
        node.hears().await,
        ToNode::Wish(OwnersWish { paused: false }),
        "told of the first one once"
    );
    is_served_by(&hub, &mut node).await;
}

#[tokio::test]
async fn the_end_of_a_wish_does_not_end_the_devices_own_pause() {
    let hub = TestHub::start().await;
    let node = hub.node_from(1, "127.0.0.1", hears_wishes).await;
    node.say(status(false, "paused_by_owner"));
    until(|| !hub.hub.said(node.id()).unwrap().is_sharing).await;
    wish(&hub, &node, true).await;
    wish(&hub, &node, false).await;
    no_exit(&hub).await;
}

#[tokio::test]
async fn a_wish_of_before_stands_in_the_welcome() {
    let hub = TestHub::start().await;
    hub.store.paused.lock().push(hello(1).device.id);
    let mut node = hub.node_from(1, "127.0.0.1", hears_wishes).await;
    assert!(node.welcome.as_ref().unwrap().paused);
    assert!(hub.hub.said(node.id()).unwrap().is_sharing, "it did not know yet");
    no_exit(&hub).await;
    wish(&hub, &node, false).await;
    assert_eq!(node.hears().await, ToNode::Wish(OwnersWish { paused: false }));
    is_served_by(&hub, &mut node).await;
}

#[tokio::test]
async fn a_device_that_hears_no_wishes_is_told_none_and_gets_no_stream() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    wish(&hub, &node, true).await;
    no_exit(&hub).await;
    wish(&hub, &node, false).await;
    is_served_by(&hub, &mut node).await;
}

#[tokio::test]
async fn a_device_gets_a_pairing_code_and_not_another_one_at_once() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let offered = &node.welcome.as_ref().unwrap().capabilities;
    assert_eq!(*offered, [capability::PAIRING]);
    node.say(ToHub::Pair);
    let ToNode::Pairing(Pairing {
        code: Some(code),
        seconds: 600,
    }) = node.hears().await
    else {
        panic!("no code");
    };
    let kept = hub.store.codes.lock().clone();
    assert_eq!(kept, [(node.id(), ApiKeyHash::of(&code).to_hex())]);
    node.say(ToHub::Pair);
    let ToNode::Pairing(Pairing { code: None, seconds }) = node.hears().await else {
        panic!("another code");
    };
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(hub.store.codes.lock().len(), 1);
}

#[tokio::test]
async fn a_withdrawal_elsewhere_closes_the_connection_that_it_is_about_with_its_streams() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let (opened, _at_device) = tokio::join!(hub.hub.open(request("")), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let mut stream = opened.unwrap().stream;
    let other = hub.node(2).await;
    let (node_id, consent) = (node.id(), hello(1).consent.id.parse().unwrap());
    let news = |consent| News::Withdrawn {
        node: node_id,
        consent,
    };
    hub.hub.hear(&news(ConsentId::new())).await;
    assert!(node.tunnel.is_open(), "of an earlier consent");
    hub.hub.hear(&news(consent)).await;
    assert!(stream.read_chunk().await.is_err());
    assert_eq!(node.closed().await.code, CloseCode::Withdrawn);
    assert!(other.tunnel.is_open());
    hub.hub.hear(&News::Erased(other.id())).await;
    assert_eq!(other.closed().await.code, CloseCode::Withdrawn);
}

fn named(app: &'static str, os: &'static str) -> impl FnOnce(&mut iploop_protocol::control::Hello) {
    move |hello| {
        hello.device.app_id = app.to_owned();
        hello.device.os = os.to_owned();
    }
}

/// An app "com.a" on these platforms, and nothing else.
fn apps(partner: PartnerId, states: &[(AppPlatform, AppState)]) -> News {
    let apps = states.iter().map(|(platform, state)| AppStanding {
        bundle_id: "com.a".into(),
        platform: *platform,
        state: *state,
    });
    News::Apps {
        partner,
        apps: apps.collect(),
    }
}

#[tokio::test]
async fn an_app_that_is_stopped_loses_its_devices_and_no_others() {
    let hub = TestHub::start().await;
    let stopped = hub.node_from(1, "127.0.0.1", named("com.a", "android")).await;
    let elsewhere = hub.node_from(2, "127.0.0.1", named("com.a", "ios")).await;
    let another = hub.node_from(3, "127.0.0.1", named("com.b", "android")).await;
    let unnamed = hub.node_from(4, "127.0.0.1", named("com.a", "toaster")).await;
    let partner = hub.store.registered.lock()[0].partner;
    let (android, ios) = (AppPlatform::Android, AppPlatform::Ios);
    let both = [(android, AppState::Suspended), (ios, AppState::Pending)];
    hub.hub.hear(&apps(PartnerId::new(), &both)).await;
    hub.hub.hear(&apps(partner, &both)).await;
    let closed = stopped.closed().await;
    assert_eq!(closed.code, CloseCode::PartnerRejected);
    assert!(closed.reason.contains("app"), "{closed:?}");
    assert!(elsewhere.tunnel.is_open() && another.tunnel.is_open() && unnamed.tunnel.is_open());
    hub.hub.hear(&apps(partner, &both[..1])).await;
    assert_eq!(unnamed.closed().await.code, CloseCode::PartnerRejected);
    assert!(elsewhere.tunnel.is_open() && another.tunnel.is_open());
    hub.hub.hear(&News::Partner(partner)).await;
    assert_eq!(elsewhere.closed().await.code, CloseCode::PartnerRejected);
    assert_eq!(another.closed().await.code, CloseCode::PartnerRejected);
    until(|| hub.hub.stats().connected_nodes == 0).await;
}

#[tokio::test]
async fn where_apps_are_reviewed_one_that_is_pending_or_gone_loses_its_devices_with_their_streams() {
    let hub = TestHub::with(HubConfig::default(), |deps| deps.review_apps = true).await;
    let mut pending = hub.node_from(1, "127.0.0.1", named("com.a", "android")).await;
    let approved = hub.node_from(2, "127.0.0.1", named("com.a", "ios")).await;
    let partner = hub.store.registered.lock()[0].partner;
    let (android, ios) = (AppPlatform::Android, AppPlatform::Ios);
    let both = [(android, AppState::Approved), (ios, AppState::Approved)];
    hub.hub.hear(&apps(partner, &both)).await;
    assert!(pending.tunnel.is_open() && approved.tunnel.is_open());
    let (opened, _at_device) = tokio::join!(hub.hub.open(request("os-android")), async {
        pending.incoming().await.accept(Duration::ZERO)
    });
    let mut stream = opened.unwrap().stream;
    let both = [(android, AppState::Pending), (ios, AppState::Approved)];
    hub.hub.hear(&apps(partner, &both)).await;
    assert!(stream.read_chunk().await.is_err());
    assert_eq!(pending.closed().await.code, CloseCode::PartnerRejected);
    assert!(approved.tunnel.is_open());
    hub.hub.hear(&apps(partner, &both[..1])).await;
    assert_eq!(approved.closed().await.code, CloseCode::PartnerRejected);
}
