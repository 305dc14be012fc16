//! UDP ASSOCIATE from a customer's socket through gateway, hub and device to an origin and back.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use crate::harness::{Customer, PATIENCE, Place, Settings, World, eventually, policy};

/// An association, if it is open already: the connection that keeps it, and where datagrams go.
fn associate(customer: &Customer) -> Option<(TcpStream, SocketAddr)> {
    let mut stream = customer.dial();
    let request = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
    let said = [&[5, 1, 2][..], &customer.socks5_login(), &request].concat();
    stream.write_all(&said).unwrap();
    let mut heard = [0; 14];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard[..4], [5, 2, 1, 0]);
    if heard[5] != 0 {
        return None;
    }
    let ip = Ipv4Addr::new(heard[8], heard[9], heard[10], heard[11]);
    let port = u16::from_be_bytes([heard[12], heard[13]]);
    Some((stream, SocketAddr::new(ip.into(), port)))
}

#[test]
fn datagrams_leave_by_the_country_asked_for_once_the_operator_opens_them() {
    let world = World::start_with(Settings::with_places(&[Place::NEW_YORK, Place::BERLIN]));
    let customer = world.customer().with("-country-DE");
    // Where the origin listens for connections, an echo takes datagrams: the address is open for tests.
    let echo = UdpSocket::bind(world.origin.http).unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(associate(&customer).is_none(), "closed by default");

    let mut opened: serde_json::Value = serde_json::from_str(&policy()).unwrap();
    opened["version"] = 2.into();
    opened["openUdp"] = true.into();
    let file = world.folder().join("policy.json");
    std::fs::write(file.with_extension("new"), opened.to_string()).unwrap();
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    // The server reads the file again by itself, and tells its devices.
    let (_control, relay) = eventually("datagrams are open", || associate(&customer));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let SocketAddr::V4(to) = world.origin.http else {
        panic!("the origin has an IPv6 address")
    };
    let header = [&[0, 0, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat();
    let mut buffer = [0; 2048];
    for size in [1, 1200] {
        let content = vec![7; size];
        socket.send_to(&[&header[..], &content].concat(), relay).unwrap();
        let (length, from) = echo.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], content);
        assert_eq!(from.ip().to_string(), Place::BERLIN.address);
        echo.send_to(&buffer[..length], from).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], [&header[..], &content].concat());
    }
}
