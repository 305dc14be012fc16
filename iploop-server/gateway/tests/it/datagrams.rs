//! SOCKS5 UDP ASSOCIATE, from the customer's socket to an origin and back.

use std::net::{IpAddr, SocketAddr};

use iploop_protocol::policy::PlatformPolicy;
use tokio::net::{TcpStream, UdpSocket};

use crate::store::KEY;
use crate::world::{Customer, Setup, World, loopback};

/// An association: the connection that keeps it, and where its datagrams go.
struct Association {
    control: Customer<TcpStream>,
    relay: SocketAddr,
}

async fn world(origins: &[SocketAddr], balance_bytes: u64) -> World {
    let policy = PlatformPolicy::parse(r#"{"format":1,"version":1,"openUdp":true}"#).unwrap();
    let setup = Setup {
        policy: Some(policy),
        balance_bytes,
        ..Setup::default()
    };
    World::start_with(setup, origins).await
}

fn request(command: u8, from: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = from.ip() else {
        panic!("loopback is IPv4 here")
    };
    let login = [
        &[5, 1, 2, 1, 6][..],
        b"iploop",
        &[u8::try_from(KEY.len()).unwrap()],
        KEY.as_bytes(),
    ];
    [
        &login.concat()[..],
        &[5, command, 0, 1],
        &ip.octets(),
        &from.port().to_be_bytes(),
    ]
    .concat()
}

async fn associate(world: &World, from: SocketAddr) -> Association {
    let mut control = world.connect().await;
    control.send(&request(3, from)).await;
    assert_eq!(control.read(8).await, [5, 2, 1, 0, 5, 0, 0, 1]);
    let bound = control.read(6).await;
    let ip: [u8; 4] = bound[..4].try_into().unwrap();
    let port = u16::from_be_bytes([bound[4], bound[5]]);
    Association {
        control,
        relay: SocketAddr::new(ip.into(), port),
    }
}

fn anywhere() -> SocketAddr {
    "0.0.0.0:0".parse().unwrap()
}

fn datagram(to: SocketAddr, fragment: u8, data: &[u8]) -> Vec<u8> {
    let IpAddr::V4(ip) = to.ip() else {
        panic!("loopback is IPv4 here")
    };
    [
        &[0, 0, fragment, 1][..],
        &ip.octets(),
        &to.port().to_be_bytes(),
        data,
    ]
    .concat()
}

fn by_name(port: u16, data: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 3, 12][..], b"echo.example", &port.to_be_bytes(), data].concat()
}

async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    address
}

async fn heard(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    buffer[..length].to_vec()
}

#[tokio::test]
async fn datagrams_come_back_with_their_address_and_are_metered() {
    let echo = echo().await;
    let world = world(&[echo], 1 << 30).await;
    let association = associate(&world, anywhere()).await;
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    for data in [&b"hello"[..], &[b'x'; 1400]] {
        socket
            .send_to(&datagram(echo, 0, data), association.relay)
            .await
            .unwrap();
        assert_eq!(heard(&socket).await, datagram(echo, 0, data));
    }
    // By name: its answer comes from the address.
    socket
        .send_to(&by_name(echo.port(), b"named"), association.relay)
        .await
        .unwrap();
    assert_eq!(heard(&socket).await, datagram(echo, 0, b"named"));
    drop(association);
    let records = world.books().await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.bytes_up, record.bytes_down), (1410, 1410));
    assert_eq!(record.destination, echo.to_string());
    assert_eq!(record.proxy_type, "socks5");
}

#[tokio::test]
async fn only_the_customers_own_whole_datagrams_to_open_places_go_on() {
    let echo = echo().await;
    let closed = UdpSocket::bind(loopback()).await.unwrap();
    let world = world(&[echo], 1 << 30).await;
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    // The customer says which port it sends from: nobody else's is taken, also before its first.
    let association = associate(&world, socket.local_addr().unwrap()).await;
    let thief = UdpSocket::bind(loopback()).await.unwrap();
    let far_thief = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    for other in [&thief, &far_thief] {
        other
            .send_to(&datagram(echo, 0, b"stolen"), association.relay)
            .await
            .unwrap();
    }
    for refused in [
        datagram(echo, 1, b"a fragment"),
        datagram(closed.local_addr().unwrap(), 0, b"a closed place"),
        datagram("192.168.1.1:443".parse().unwrap(), 0, b"a private place"),
        datagram("1.1.1.1:53".parse().unwrap(), 0, b"a forbidden port"),
        datagram(echo, 0, &[b'x'; 2049]),
        b"nonsense".to_vec(),
        Vec::new(),
    ] {
        socket.send_to(&refused, association.relay).await.unwrap();
    }
    socket
        .send_to(&datagram(echo, 0, b"good"), association.relay)
        .await
        .unwrap();
    assert_eq!(heard(&socket).await, datagram(echo, 0, b"good"));
    assert!(closed.try_recv(&mut [0; 8]).is_err());
    assert!(thief.try_recv(&mut [0; 64]).is_err() && far_thief.try_recv(&mut [0; 64]).is_err());
    drop(association);
    let records = world.books().await;
    assert_eq!((records[0].bytes_up, records[0].bytes_down), (4, 4));
}

#[tokio::test]
async fn an_association_ends_with_its_connection_and_the_connection_with_its_exit() {
    let echo = echo().await;
    let world = world(&[echo], 1 << 30).await;
    let association = associate(&world, anywhere()).await;
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    socket.connect(association.relay).await.unwrap();
    socket.send(&datagram(echo, 0, b"x")).await.unwrap();
    heard(&socket).await;
    drop(association);
    // The relay's port closes: the system says so to whoever still sends.
    let refused = loop {
        match socket.send(&datagram(echo, 0, b"x")).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let mut association = associate(&world, anywhere()).await;
    let asked = world.exits.asked();
    world.exits.cut(asked.last().unwrap().exit.unwrap());
    assert_eq!(association.control.rest().await, "");
    let codes: Vec<Option<u16>> = world.books().await.iter().map(|record| record.status).collect();
    assert_eq!(codes, [Some(200), Some(200)]);
}

#[tokio::test]
async fn an_empty_balance_ends_an_association() {
    let echo = echo().await;
    let world = world(&[echo], 3000).await;
    let mut association = associate(&world, anywhere()).await;
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    for _ in 0..4 {
        socket
            .send_to(&datagram(echo, 0, &[b'x'; 1000]), association.relay)
            .await
            .unwrap();
    }
    assert_eq!(association.control.rest().await, "");
    let records = world.books().await;
    assert!(records[0].bytes_up + records[0].bytes_down <= 3000);
}

#[tokio::test]
async fn bind_is_never_offered_and_datagrams_only_where_they_are_open() {
    let closed = World::start(&[]).await;
    let open = world(&[], 1 << 30).await;
    for (world, command) in [(&closed, 3), (&closed, 2), (&open, 2)] {
        let mut customer = world.connect().await;
        customer.send(&request(command, anywhere())).await;
        let answer = customer.read(14).await;
        assert_eq!(answer[4..6], [5, 7], "command {command}");
    }
}
