//! What an owner does by the account that claimed the device: pairing codes, and wishes from afar.

use iploop_node::{Event, Link, NodeError, NotSharing, PairingCode};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::{Notice, OwnersWish, Pairing, SharingStatus, ToHub, ToNode, capability};

use crate::world::{Device, FakeHub, World, echo, exchange, sharing, wait_for};

fn wish(device: &Device, paused: bool) {
    device.send(&ToNode::Wish(OwnersWish { paused }));
}

/// Ready when the node has heard all that was said.
async fn heard(device: &Device, events: &mut tokio::sync::broadcast::Receiver<Event>) {
    device.send(&ToNode::Notice(Notice {
        code: "said".into(),
        message: "all".into(),
    }));
    wait_for(events, |event| {
        matches!(event, Event::Notice { .. }).then_some(())
    })
    .await;
}

async fn status(device: &mut Device) -> SharingStatus {
    match device.message().await {
        ToHub::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn paused(reason: &str) -> SharingStatus {
    SharingStatus {
        sharing: false,
        reason: Some(reason.to_owned()),
    }
}

#[tokio::test]
async fn a_wish_from_afar_pauses_the_device_which_says_so_and_goes_on_when_it_ends() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let node = world.start(hub.config(&[echo])).await;
    let mut events = node.events();
    let mut device = hub.register().await;
    assert!(
        device
            .hello
            .capabilities
            .iter()
            .any(|can| can == capability::WISH)
    );
    sharing(&mut events).await;
    wish(&device, true);
    assert_eq!(status(&mut device).await, paused("paused_from_afar"));
    let refused = device.refusal(&echo.to_string()).await;
    assert_eq!(refused, (ResetCode::Paused, "paused_from_afar".into()));
    assert_eq!(node.status().reason, Some(NotSharing::PausedFromAfar));
    assert!(node.status().paused_from_afar);
    wish(&device, false);
    assert_eq!(status(&mut device).await, SharingStatus::default());
    let mut stream = device.open(&echo.to_string()).await.unwrap();
    assert_eq!(exchange(&mut stream, b"again").await.unwrap(), b"again");
}

#[tokio::test]
async fn no_wish_from_afar_ends_a_pause_at_the_device_or_a_withdrawal() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let mut device = hub.register().await;
    sharing(&mut events).await;
    node.pause().await.unwrap();
    assert_eq!(status(&mut device).await, paused("paused_by_owner"));
    wish(&device, true);
    wish(&device, false);
    // And the other way round: the owner at the device does not end the wish unawares.
    wish(&device, true);
    heard(&device, &mut events).await;
    node.resume().await.unwrap();
    assert_eq!(status(&mut device).await, paused("paused_from_afar"));
    wish(&device, false);
    assert!(status(&mut device).await.sharing);

    let hub_side = async {
        assert!(matches!(device.message().await, ToHub::Withdraw(_)));
        wish(&device, false);
        device.tunnel.close(CloseCode::Withdrawn, None, "");
    };
    let (withdrawn, ()) = tokio::join!(node.withdraw(""), hub_side);
    assert!(withdrawn.unwrap());
    assert_eq!(node.status().reason, Some(NotSharing::Withdrawn));
}

#[tokio::test(start_paused = true)]
async fn a_wish_in_the_welcome_holds_from_the_start_and_for_that_connection() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut device = hub.accept().await;
    device.welcome_with(None, None, &[], true);
    assert_eq!(status(&mut device).await, paused("paused_from_afar"));
    device.tunnel.close(CloseCode::Replaced, None, "");
    let mut device = hub.accept().await;
    assert_eq!(device.hello.status, paused("paused_from_afar"));
    // A hub that knows no wishes.
    device.welcome(None);
    assert!(status(&mut device).await.sharing);
    assert_eq!(node.status().link, Link::Connected);
}

#[tokio::test]
async fn a_pairing_code_is_what_the_hub_answers() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let early = node.pairing_code().await;
    assert!(matches!(early, Err(NodeError::Network(_))), "{early:?}");
    let mut device = hub.accept().await;
    device.welcome_with(None, None, &[capability::PAIRING], false);
    sharing(&mut events).await;
    for (answer, expected) in [
        (
            Pairing {
                code: Some("7KQ2M9XA".into()),
                seconds: 600,
            },
            Some(PairingCode {
                code: "7KQ2M9XA".into(),
                good_for_s: 600,
            }),
        ),
        (
            Pairing {
                code: None,
                seconds: 7,
            },
            None,
        ),
    ] {
        // One that nobody asked for says nothing.
        device.send(&ToNode::Pairing(Pairing {
            code: Some("UNASKED2".into()),
            seconds: 1,
        }));
        heard(&device, &mut events).await;
        let hub_side = async {
            assert_eq!(device.message().await, ToHub::Pair);
            device.send(&ToNode::Pairing(answer));
        };
        let (code, ()) = tokio::join!(node.pairing_code(), hub_side);
        assert_eq!(code.ok(), expected);
    }
    let hub_side = async {
        assert_eq!(device.message().await, ToHub::Pair);
        device.tunnel.close(CloseCode::ShuttingDown, None, "");
    };
    let (code, ()) = tokio::join!(node.pairing_code(), hub_side);
    assert!(matches!(code, Err(NodeError::Network(_))), "{code:?}");
}

#[tokio::test]
async fn a_hub_without_pairing_is_not_asked() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let mut device = hub.register().await;
    sharing(&mut events).await;
    let refused = node.pairing_code().await.unwrap_err();
    assert!(refused.to_string().contains("no pairing codes"), "{refused}");
    node.pause().await.unwrap();
    assert_eq!(
        status(&mut device).await,
        paused("paused_by_owner"),
        "the next it says"
    );
}
