//! What admins do with single devices.

use std::time::Duration;

use bytes::Bytes;
use iploop_platform::admin::{Ban, LiveNodes};
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::{ExitError, Exits};
use iploop_platform::ids::NodeId;
use iploop_platform::network::Network;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{SharingStatus, ToHub};
use iploop_protocol::io::Event;

use crate::exits::request;
use crate::support::{NOW, PATIENCE, TestHub, until};

#[tokio::test]
async fn a_connected_device_shows_where_it_is_and_what_it_does() {
    let hub = TestHub::start().await;
    let mut node = hub.node_from(1, "127.0.2.7", |_| {}).await;
    let id = node.id();
    let live = hub.hub.live(id).unwrap();
    assert_eq!(live.ip.to_string(), "127.0.2.7");
    assert!(live.is_available && !live.is_draining);
    assert_eq!((live.streams, live.relayed_bytes), (0, 0));
    assert_eq!(hub.hub.live(NodeId::new()), None);

    let (opened, at_device) = tokio::join!(hub.hub.open(request("")), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let _open = (opened.unwrap(), at_device.unwrap());
    assert_eq!(hub.hub.live(id).unwrap().streams, 1);
    assert_eq!(hub.hub.busy(10), []);
    let paused = SharingStatus {
        sharing: false,
        reason: None,
    };
    node.say(ToHub::Status(paused));
    until(|| hub.hub.busy(10) == [id]).await;
    assert!(!hub.hub.live(id).unwrap().is_available);
    assert_eq!(hub.hub.busy(0), []);
}

#[tokio::test]
async fn a_banned_device_is_cut_at_once_with_the_reason() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let (opened, at_device) = tokio::join!(hub.hub.open(request("")), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let (mut stream, _at_device) = (opened.unwrap().stream, at_device.unwrap());
    let ban = Ban {
        node: node.id(),
        reason: "sends what it was not asked for".into(),
        until: None,
    };
    assert!(hub.hub.ban(&ban));
    assert!(stream.read_chunk().await.is_err());
    let closed = node.closed().await;
    assert_eq!(closed.code, CloseCode::Banned);
    assert!(
        closed.reason.contains("sends what it was not asked for"),
        "{closed:?}"
    );
    until(|| hub.hub.stats().connected_nodes == 0).await;
    assert!(!hub.hub.ban(&ban), "nobody is there");
}

#[tokio::test]
async fn a_drained_device_gets_no_stream_and_leaves_when_the_last_one_has_ended() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let id = node.id();
    let (opened, at_device) = tokio::join!(hub.hub.open(request("")), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let (mut opened, mut at_device) = (opened.unwrap(), at_device.unwrap());
    assert!(hub.hub.drain_node(id, NOW, PATIENCE));
    assert!(hub.hub.drain_node(id, NOW, PATIENCE), "heard again");
    while !matches!(node.event().await.unwrap(), Event::Draining { .. }) {}
    assert!(hub.hub.live(id).unwrap().is_draining);
    // Its owner's word does not bring it back into service.
    let sharing = SharingStatus {
        sharing: true,
        reason: None,
    };
    node.say(ToHub::Status(sharing));
    let refused = hub.hub.open(request("")).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.error, ExitError::NoExit);
    let stream = &mut opened.stream;
    stream.write_chunk(Bytes::from_static(b"ping")).await.unwrap();
    assert_eq!(at_device.read_chunk().await.unwrap().unwrap(), "ping");
    drop((opened, at_device));
    let closed = node.closed().await;
    assert_eq!(closed.code, CloseCode::ShuttingDown, "{closed:?}");
    assert!(closed.retry_after.is_some());
    assert!(!hub.hub.drain_node(NodeId::new(), NOW, PATIENCE));
}

#[tokio::test]
async fn a_drained_device_without_streams_leaves_at_once() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    assert!(hub.hub.drain_node(node.id(), NOW, PATIENCE));
    assert_eq!(node.closed().await.code, CloseCode::ShuttingDown);
}

#[tokio::test]
async fn a_device_that_came_after_it_was_drained_stays() {
    let hub = TestHub::start().await;
    let node = hub.node(1).await;
    let before = Timestamp::from_millis(0);
    assert!(!hub.hub.drain_node(node.id(), before, PATIENCE));
    assert!(!hub.hub.live(node.id()).unwrap().is_draining);
}
