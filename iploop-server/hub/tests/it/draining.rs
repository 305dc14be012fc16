//! Shutting down in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iploop_platform::exits::{Avoid, CustomerTerms, ExitError, ExitRequest, Exits};
use iploop_platform::ids::AccountId;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::io::Event;
use iploop_protocol::targeting::Targeting;
use tokio::time::Instant;

use crate::support::{PATIENCE, TestHub};

fn request() -> ExitRequest {
    ExitRequest {
        account: AccountId::new(),
        terms: CustomerTerms::default(),
        targeting: Arc::new(Targeting::default()),
        prefer: None,
        avoid: Avoid::default(),
        destination: "example.com:443".parse().unwrap(),
        transport: iploop_protocol::policy::Transport::Tcp,
        early: Bytes::new(),
        deadline: Instant::now() + PATIENCE,
        hedges: 0,
    }
}

#[tokio::test]
async fn open_streams_finish_then_devices_are_sent_away_with_a_time() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let (opened, at_device) = tokio::join!(hub.hub.open(request()), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let (mut stream, mut at_device) = (opened.unwrap().stream, at_device.unwrap());

    let draining = tokio::spawn({
        let hub = hub.hub.clone();
        async move { hub.drain(PATIENCE).await }
    });
    while !matches!(node.event().await.unwrap(), Event::Draining { .. }) {}
    let refused = hub.hub.open(request()).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.error, ExitError::Draining);

    // The stream that is open goes on, both ways, to its end.
    stream.write_chunk(Bytes::from_static(b"ping")).await.unwrap();
    assert_eq!(at_device.read_chunk().await.unwrap().unwrap(), "ping");
    at_device.write_chunk(Bytes::from_static(b"pong")).await.unwrap();
    assert_eq!(stream.read_chunk().await.unwrap().unwrap(), "pong");
    assert!(!draining.is_finished());
    drop((stream, at_device));

    let closed = node.closed().await;
    assert_eq!(closed.code, CloseCode::ShuttingDown, "{closed:?}");
    assert!(
        closed
            .retry_after
            .is_some_and(|after| after >= Duration::from_secs(1))
    );
    draining.await.unwrap();
    hub.run.await.unwrap();
}

#[tokio::test]
async fn streams_that_do_not_finish_are_cut_after_the_grace() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let (opened, _at_device) = tokio::join!(hub.hub.open(request()), async {
        node.incoming().await.accept(Duration::ZERO)
    });
    let mut stream = opened.unwrap().stream;
    hub.hub.drain(Duration::from_millis(1)).await;
    assert!(stream.read_chunk().await.is_err());
    assert_eq!(node.closed().await.code, CloseCode::ShuttingDown);
    hub.run.await.unwrap();
}

#[tokio::test]
async fn a_hub_that_never_ran_drains_as_well() {
    let hub = TestHub::start().await;
    hub.hub.drain(Duration::ZERO).await;
    hub.hub.drain(Duration::ZERO).await;
    hub.run.await.unwrap();
}
