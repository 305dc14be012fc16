//! The link to the hub: losing it, finding it again, and knowing when not to.

use std::time::Duration;

use iploop_node::{Event, Link, NodeConfig};
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{MAX_TEXT_BYTES, Notice, ToHub, ToNode};
use iploop_protocol::io::Initiator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::world::{
    Device, FakeHub, World, config_for, destination, echo, exchange, nobody, sharing, wait_for,
};

fn retry_in(event: &Event) -> Option<u64> {
    match event {
        Event::Disconnected { retry_in_ms, .. } => Some(*retry_in_ms),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_hub_is_tried_again_with_growing_waits_and_found_again() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let address = hub.address();
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let device = hub.register().await;
    sharing(&mut events).await;
    drop(hub);
    drop(device);
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(wait_for(&mut events, retry_in).await / 1000);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    let hub = FakeHub::bind_again(address).await;
    let begin = Instant::now();
    let _device = hub.register().await;
    sharing(&mut events).await;
    assert!(begin.elapsed() <= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_network_change_ends_the_wait() {
    let world = World::new();
    let address = nobody().await;
    let node = world.start(config_for(&format!("ws://{address}/ws"), &[])).await;
    let mut events = node.events();
    while wait_for(&mut events, retry_in).await < 30_000 {}
    let hub = FakeHub::bind_again(address).await;
    let begin = Instant::now();
    node.network_changed();
    let _device = hub.register().await;
    sharing(&mut events).await;
    assert!(begin.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_hubs_wish_decides_when_to_come_back() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let device = hub.accept().await;
    device
        .close(CloseCode::Overloaded, Some(Duration::from_secs(90)))
        .await;
    assert_eq!(wait_for(&mut events, retry_in).await, 99_000);
    let begin = Instant::now();
    let device = hub.accept().await;
    assert_eq!(begin.elapsed().as_secs(), 99);
    drop(device);

    // The same wish, said by HTTP.
    let mut connection = hub.accept_tcp().await;
    let mut request = [0; 1024];
    assert!(connection.read(&mut request).await.unwrap() > 0);
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    connection.write_all(answer).await.unwrap();
    wait_for(&mut events, |event| retry_in(event).filter(|ms| *ms == 66_000)).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_good_stays_away_and_says_why() {
    for code in CloseCode::ALL.iter().filter(|code| !code.is_retryable()) {
        let (world, hub) = (World::new(), FakeHub::bind().await);
        let node = world.start(hub.config(&[])).await;
        let mut events = node.events();
        let device = hub.accept().await;
        device.send(&ToNode::Notice(Notice {
            code: "why".into(),
            message: "because".into(),
        }));
        // Whatever the hub wishes.
        device.close(*code, Some(Duration::from_secs(5))).await;
        let problem = "as the test says".to_owned();
        let link = node.ended().await;
        match code {
            CloseCode::ConsentRequired => assert_eq!(link, Link::ConsentNeeded { problem }),
            CloseCode::Withdrawn => assert_eq!(link, Link::Withdrawn { delivered: true }),
            code => {
                let code = code.name();
                assert_eq!(link, Link::Rejected { code, problem });
            }
        }
        assert!(!node.status().sharing && node.status().reason.is_some());
        node.network_changed();
        let back = timeout(Duration::from_secs(3600), hub.accept_tcp()).await;
        assert!(back.is_err(), "{code} did not keep it away");
        wait_for(&mut events, |event| {
            matches!(event, Event::Ended { .. }).then_some(())
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_never_welcomes_is_left() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let _node = world.start(hub.config(&[])).await;
    let device = hub.accept().await;
    // Else this side's own patience would end at the same moment.
    device.tunnel.establish(0);
    device.send(&ToNode::Notice(Notice {
        code: "wait".into(),
        message: "a moment".into(),
    }));
    let closed = device.closed().await;
    assert_eq!(
        (closed.code, closed.by),
        (CloseCode::HandshakeTimeout, Initiator::Peer)
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_does_not_hold_a_device() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let _silent = hub.accept_tcp().await;
    let begin = Instant::now();
    wait_for(&mut events, retry_in).await;
    assert_eq!(begin.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_tell_what_was_served_on_this_connection() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let _node = world.start(hub.config(&[echo])).await;
    let mut device = hub.register().await;
    let mut stream = device.open(&echo.to_string()).await.unwrap();
    exchange(&mut stream, &[0; 1000]).await.unwrap();
    device.refusal("127.0.0.1:1").await;
    let ToHub::Heartbeat(heartbeat) = device.message().await else {
        panic!("something else was said");
    };
    assert_eq!(
        (heartbeat.bytes_up, heartbeat.bytes_down, heartbeat.streams),
        (1000, 1000, 1)
    );
    assert_eq!(heartbeat.refused.get("forbidden"), Some(&1));
}

#[tokio::test]
async fn shutting_down_lets_open_streams_finish() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let (listener, address) = destination().await;
    let node = world.start(hub.config(&[address])).await;
    let device = hub.register().await;
    let mut stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let hub_side = async {
        let mut events = device.events;
        loop {
            match events.next().await {
                Some(iploop_protocol::io::Event::Draining { .. }) => break,
                Some(_) => {}
                None => panic!("it did not drain"),
            }
        }
        socket.write_all(b"the rest").await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = exchange(&mut stream, b"thanks").await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        (answer, heard)
    };
    let ((), (answer, heard)) = tokio::join!(node.shutdown(Duration::from_secs(60)), hub_side);
    assert_eq!(
        (answer.as_slice(), heard.as_slice()),
        (&b"the rest"[..], &b"thanks"[..])
    );
    assert_eq!(node.status().link, Link::Stopped);
}

#[tokio::test]
async fn dropping_the_node_stops_everything() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let (listener, address) = destination().await;
    let node = world.start(hub.config(&[address])).await;
    let device = hub.register().await;
    let _stream = device.open(&address.to_string()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    drop(node);
    assert!(
        socket.read(&mut [0; 1]).await.is_err(),
        "an abort, not an end in order"
    );
    let closed = device.closed().await;
    assert_eq!(closed.by, Initiator::Transport, "{closed:?}");
    drop(world.state_when_free().await);
}

#[tokio::test]
async fn a_hub_behind_tls_is_checked_by_the_certificates_that_are_given() {
    let world = World::new();
    let hub = FakeHub::bind().await;
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let ca = world.folder.path().join("ca.pem");
    let url = format!("wss://{}/ws", hub.address());
    let config = NodeConfig {
        ca: Some(ca.clone()),
        ..config_for(&url, &[])
    };
    let acceptor = {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(server))
    };

    std::fs::write(&ca, other.cert.pem()).unwrap();
    let node = world.start(config.clone()).await;
    let mut events = node.events();
    let refused = acceptor.accept(hub.accept_tcp().await).await;
    assert!(refused.is_err());
    let problem = wait_for(&mut events, |event| match event {
        Event::Disconnected { problem, .. } => Some(problem.clone()),
        _ => None,
    });
    assert!(problem.await.contains("certificate"));
    node.shutdown(Duration::ZERO).await;
    drop(node);

    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let node = world.start(config).await;
    let mut events = node.events();
    let wire = acceptor.accept(hub.accept_tcp().await).await.unwrap();
    let device = Device::over(wire).await;
    device.welcome(None);
    sharing(&mut events).await;
}

#[tokio::test]
async fn who_wrote_an_address_without_a_hub_is_told_what_is_wrong_with_it() {
    for (scheme, told) in [("ws", "ends in /ws"), ("wss", "ws://, not wss://")] {
        let (world, hub) = (World::new(), FakeHub::bind().await);
        let url = format!("{scheme}://{}/", hub.address());
        let node = world.start(config_for(&url, &[])).await;
        let mut events = node.events();
        let mut socket = hub.accept_tcp().await;
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        let problem = wait_for(&mut events, |event| match event {
            Event::Disconnected { problem, .. } => Some(problem.clone()),
            _ => None,
        });
        let problem = problem.await;
        assert!(problem.contains(told), "{problem}");
    }
}

#[tokio::test]
async fn a_hub_that_says_more_than_the_protocol_allows_is_left() {
    let longest = "x".repeat(MAX_TEXT_BYTES);
    for (message, is_left) in [(longest.clone(), false), (longest + "x", true)] {
        let (world, hub) = (World::new(), FakeHub::bind().await);
        let node = world.start(hub.config(&[])).await;
        let mut events = node.events();
        let device = hub.register().await;
        let code = "news".to_owned();
        device.send(&ToNode::Notice(Notice {
            code,
            message: message.clone(),
        }));
        if is_left {
            let closed = device.closed().await;
            assert_eq!((closed.code, closed.by), (CloseCode::Malformed, Initiator::Peer));
        } else {
            let told = wait_for(&mut events, |event| match event {
                Event::Notice { message, .. } => Some(message.clone()),
                _ => None,
            });
            assert_eq!(told.await, message);
        }
    }
}
