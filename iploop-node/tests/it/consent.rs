//! Consent, its withdrawal and the owner's pause.

use std::time::Duration;

use iploop_node::{
    CONSENT_LASTS, ConsentError, Event, Link, Node, NodeError, NotSharing, deliver_withdrawal, text_hash,
};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::ToHub;
use iploop_protocol::tunnel::StreamError;
use tokio::io::AsyncWriteExt;

use crate::world::{FakeHub, KEY, TEXT, World, config_for, echo, exchange, nobody, sharing, wait_for};

#[tokio::test]
async fn a_device_registers_with_its_consent_record() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let device = hub.register().await;
    let hello = &device.hello;
    assert_eq!(hello.partner_key, KEY);
    assert_eq!(hello.consent.text_version, "2026-11");
    assert_eq!(hello.consent.text_hash, text_hash(TEXT));
    assert_eq!(hello.consent.given_at, "2026-11-24T12:00:00Z");
    assert_eq!(hello.consent.networks, ["wifi", "ethernet"]);
    assert!(hello.consent.minimum_age && hello.status.sharing);
    assert_eq!(hello.device.net.as_deref(), Some("ethernet"));
    assert_eq!(hello.device.id, node.status().device_id);
    sharing(&mut events).await;
    let status = node.status();
    assert!(status.sharing && status.link == Link::Connected);
    assert_eq!(
        status.node_id.as_deref(),
        Some("0199c0de-0000-7000-8000-000000000001")
    );
}

#[tokio::test]
async fn a_consent_of_last_year_starts_nothing() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let consent = world.consent();
    *world.clock.0.lock() += CONSENT_LASTS + Duration::from_secs(1);
    let started = Node::start_with(hub.config(&[]), world.state(), consent, world.parts()).await;
    assert!(matches!(
        started.err(),
        Some(NodeError::Consent(ConsentError::Expired { .. }))
    ));
}

#[tokio::test]
async fn withdrawing_ends_streams_and_connection_and_the_hub_is_told() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let node = world.start(hub.config(&[echo])).await;
    let mut device = hub.register().await;
    let mut stream = device.open(&echo.to_string()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_chunk().await.unwrap().unwrap(), "x");
    let consent = device.hello.consent.clone();
    let hub_side = async {
        let error = stream.read_chunk().await.unwrap_err();
        assert!(
            matches!(&error, StreamError::Reset { code: ResetCode::Paused, detail } if detail == "withdrawn"),
            "{error:?}"
        );
        let ToHub::Withdraw(withdrawal) = device.message().await else {
            panic!("something else was said");
        };
        assert_eq!(withdrawal.consent_id, consent.id);
        device.close(CloseCode::Withdrawn, None).await;
    };
    let (delivered, ()) = tokio::join!(node.withdraw("moving"), hub_side);
    assert!(delivered.unwrap());
    assert_eq!(node.ended().await, Link::Withdrawn { delivered: true });
    assert_eq!(node.status().reason, Some(NotSharing::Withdrawn));
    drop(node);
}

#[tokio::test]
async fn a_withdrawal_without_a_network_holds_after_a_restart_and_is_delivered_later() {
    let world = World::new();
    let nowhere = config_for(&format!("ws://{}/ws", nobody().await), &[]);
    let node = world.start(nowhere.clone()).await;
    let consent = world.consent();
    assert!(!node.withdraw("").await.unwrap());
    node.shutdown(Duration::ZERO).await;
    drop(node);

    // The consent that was withdrawn starts nothing, and one from before the withdrawal neither.
    *world.clock.0.lock() += Duration::from_secs(1);
    let started = Node::start_with(nowhere, world.state(), consent, world.parts()).await;
    assert!(matches!(
        started.err(),
        Some(NodeError::Consent(ConsentError::Withdrawn { .. }))
    ));

    let hub = FakeHub::bind().await;
    let hub_side = async {
        let mut device = hub.register().await;
        assert!(!device.hello.status.sharing);
        assert_eq!(device.hello.status.reason.as_deref(), Some("withdrawn"));
        assert_eq!(device.refusal("1.1.1.1:80").await.0, ResetCode::Paused);
        let ToHub::Withdraw(withdrawal) = device.message().await else {
            panic!("something else was said");
        };
        assert_eq!(withdrawal.consent_id, device.hello.consent.id);
        device.close(CloseCode::Withdrawn, None).await;
    };
    let (delivered, ()) = tokio::join!(deliver_withdrawal(hub.config(&[]), world.state()), hub_side);
    assert!(delivered.unwrap());
    // Once is enough: this one makes no connection.
    assert!(deliver_withdrawal(hub.config(&[]), world.state()).await.unwrap());

    // A new act of the owner is a new consent.
    assert!(world.try_start(hub.config(&[])).await.is_ok());
}

#[tokio::test]
async fn a_withdrawal_at_the_hub_holds_on_the_device() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    hub.register().await.close(CloseCode::Withdrawn, None).await;
    assert_eq!(node.ended().await, Link::Withdrawn { delivered: true });
    drop(node);
    let state = world.state_when_free().await;
    assert!(matches!(
        state.consent().unwrap(),
        iploop_node::OwnersWord::Withdrawn(withdrawn) if withdrawn.is_delivered()
    ));
}

#[tokio::test(start_paused = true)]
async fn a_pause_refuses_new_streams_gives_open_ones_ten_seconds_and_survives_a_restart() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let node = world.start(hub.config(&[echo])).await;
    let mut events = node.events();
    let mut device = hub.register().await;
    sharing(&mut events).await;
    let mut stream = device.open(&echo.to_string()).await.unwrap();
    let begin = tokio::time::Instant::now();
    node.pause().await.unwrap();
    let ToHub::Status(status) = device.message().await else {
        panic!("something else was said");
    };
    assert_eq!(
        (status.sharing, status.reason.as_deref()),
        (false, Some("paused_by_owner"))
    );
    let refused = device.refusal(&echo.to_string()).await;
    assert_eq!(refused, (ResetCode::Paused, "paused_by_owner".into()));
    stream.write_all(b"still").await.unwrap();
    assert_eq!(stream.read_chunk().await.unwrap().unwrap(), "still");
    assert!(stream.read_chunk().await.is_err());
    assert_eq!(begin.elapsed().as_secs(), 10);
    node.resume().await.unwrap();
    let ToHub::Status(status) = device.message().await else {
        panic!("something else was said");
    };
    assert!(status.sharing);
    let mut stream = device.open(&echo.to_string()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"again").await.unwrap(), b"again");

    node.pause().await.unwrap();
    node.shutdown(Duration::ZERO).await;
    drop(node);
    let node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    assert!(!device.hello.status.sharing);
    assert_eq!(node.status().reason, Some(NotSharing::Paused));
}

#[tokio::test]
async fn conditions_pause_and_resume_by_themselves() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let _device = hub.register().await;
    sharing(&mut events).await;
    let not_sharing = |event: &Event| match event {
        Event::NotSharing { reason, .. } => Some(*reason),
        _ => None,
    };
    node.set_conditions(iploop_node::Conditions {
        metered: true,
        ..Default::default()
    });
    assert_eq!(wait_for(&mut events, not_sharing).await, NotSharing::Metered);
    node.set_conditions(iploop_node::Conditions::default());
    sharing(&mut events).await;
    *world.network.0.lock() = None;
    node.network_changed();
    assert_eq!(
        wait_for(&mut events, not_sharing).await,
        NotSharing::NetworkUnknown
    );
}
