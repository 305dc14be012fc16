//! Datagrams, as a hub that checks nothing itself sends them.

use std::net::SocketAddr;

use bytes::Bytes;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::{GrantsUpdate, ToNode};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{OpenError, OpenRequest, Stream};
use iploop_protocol::tunnel::StreamError;
use tokio::net::UdpSocket;

use crate::world::{Device, FakeHub, PATIENCE, World};

fn opened() -> serde_json::Value {
    serde_json::json!({ "format": 1, "version": 1, "openUdp": true })
}

async fn associate(device: &Device) -> Result<Stream, OpenError> {
    let request = OpenRequest {
        kind: StreamKind::Udp,
        destination: "0.0.0.0:0".parse().unwrap(),
        customer: 1,
        early: Bytes::new(),
        timeout: PATIENCE,
    };
    device.tunnel.open(request).await.map(|(stream, _)| stream)
}

/// A place that sends back what it gets.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    address
}

fn send(stream: &mut Stream, to: impl Into<Destination>, data: &'static [u8]) {
    stream.send_datagram(to.into(), Bytes::from_static(data)).unwrap();
}

#[tokio::test]
async fn datagrams_go_out_and_come_back_from_whom_they_went_to() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target_at = target.local_addr().unwrap();
    let node = world.start(hub.config(&[echo, target_at])).await;
    let device = hub.accept().await;
    device.welcome(Some(opened()));
    assert_eq!(device.hello.capabilities, ["udp", "wish"]);
    let mut stream = associate(&device).await.unwrap();
    for data in [&b"one"[..], b"", b"three"] {
        send(&mut stream, echo, data);
        let (from, back) = stream.receive_datagram().await.unwrap();
        assert_eq!((from, &back[..]), (echo.into(), data));
    }
    // A name too.
    world.name("echo.example", &["127.0.0.1"]);
    let name: Destination = format!("echo.example:{}", echo.port()).parse().unwrap();
    for _ in 0..2 {
        send(&mut stream, name.clone(), b"by name");
        assert_eq!(stream.receive_datagram().await.unwrap().0, echo.into());
    }
    assert_eq!(world.names.asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    // Whom nothing was sent to is not heard, although the port is open.
    send(&mut stream, target_at, b"hello");
    let mut buffer = [0; 16];
    let (_, device_at) = target.recv_from(&mut buffer).await.unwrap();
    stranger.send_to(b"from a stranger", device_at).await.unwrap();
    target.send_to(b"from the target", device_at).await.unwrap();
    let (from, back) = stream.receive_datagram().await.unwrap();
    assert_eq!((from, &back[..]), (target_at.into(), &b"from the target"[..]));
    let status = node.status();
    assert_eq!(status.open_streams, 1);
    drop(stream);
}

#[tokio::test]
async fn each_datagram_is_checked_by_itself() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let victim = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let victim_at = victim.local_addr().unwrap();
    let node = world.start(hub.config(&[echo])).await;
    let device = hub.accept().await;
    device.welcome(Some(opened()));
    world.name("home.example", &["127.0.0.1"]);
    world.name("mixed.example", &["1.1.1.1", "10.0.0.1"]);
    let mut stream = associate(&device).await.unwrap();
    let forbidden = [
        victim_at.to_string(),
        "192.168.1.1:443".to_owned(),
        "1.1.1.1:53".to_owned(),
        "1.1.1.1:8443".to_owned(),
        "printer.local:443".to_owned(),
        "mixed.example:443".to_owned(),
        "home.example:443".to_owned(),
    ];
    for to in &forbidden {
        send(&mut stream, to.parse::<Destination>().unwrap(), b"knock");
    }
    // Names take a moment: until all have been refused.
    while node.status().streams_refused.get("forbidden") != Some(&(forbidden.len() as u64)) {
        send(&mut stream, echo, b"and on it goes");
        assert_eq!(stream.receive_datagram().await.unwrap().0, echo.into());
    }
    assert!(victim.try_recv(&mut [0; 8]).is_err());
}

#[tokio::test]
async fn peers_are_bounded_and_datagrams_are_closed_by_default() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let mut sockets = Vec::new();
    for _ in 0..40 {
        sockets.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<SocketAddr> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
    let echo = echo().await;
    let allowed: Vec<SocketAddr> = addresses.iter().copied().chain([echo]).take(16).collect();
    let _node = world.start(hub.config(&allowed)).await;
    let mut device = hub.accept().await;
    device.welcome(Some(serde_json::json!({ "format": 1, "version": 1 })));
    let Err(OpenError::Refused { code, .. }) = associate(&device).await else {
        panic!("datagrams are open by default");
    };
    assert_eq!(code, ResetCode::Unsupported);
    // Ten ports of one host a minute, as for connections.
    device.send(&ToNode::Policy(iploop_protocol::control::PolicyUpdate {
        document: opened(),
    }));
    let mut stream = loop {
        match associate(&device).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    for to in &allowed {
        send(&mut stream, *to, b"x");
    }
    send(&mut stream, allowed[0], b"last");
    let mut buffer = [0; 8];
    let mut heard = 0;
    loop {
        let length = sockets[0].recv(&mut buffer).await.unwrap();
        if &buffer[..length] == b"last" {
            break;
        }
    }
    for socket in &sockets {
        heard += usize::from(socket.try_recv(&mut buffer).is_ok());
    }
    assert_eq!(heard, 9, "ten with the first one, which was read");
    // The owner's word ends it.
    drop(_node);
    assert!(matches!(
        stream.receive_datagram().await,
        Err(StreamError::Reset { .. } | StreamError::Closed)
    ));
    while device.events.next().await.is_some() {}
}

#[tokio::test]
async fn a_grant_opens_datagrams_for_its_customer_alone() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let _node = world.start(hub.config(&[echo])).await;
    let device = hub.register().await;
    assert!(associate(&device).await.is_err());
    let grants = serde_json::json!([{ "opening": { "rule": "udp_closed" }, "untilMs": u64::MAX }]);
    let opened = |customer: u64| {
        ToNode::Grants(GrantsUpdate {
            customer: format!("{customer:016x}"),
            grants: grants.clone(),
        })
    };
    // Messages and streams keep their order.
    device.send(&opened(2));
    assert!(associate(&device).await.is_err());
    device.send(&opened(1));
    let mut stream = associate(&device).await.unwrap();
    send(&mut stream, echo, b"granted");
    assert_eq!(&stream.receive_datagram().await.unwrap().1[..], b"granted");
}
