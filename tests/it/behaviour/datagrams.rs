//! UDP ASSOCIATE from a customer's socket through gateway, hub and device to an origin and back.

use std::net::{SocketAddr, UdpSocket};

use serde_json::json;

use crate::harness::{PATIENCE, Place, Settings, World, eventually, manage, policy};

/// What stands before a datagram's content.
fn header(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else {
        panic!("the origin has an IPv6 address")
    };
    [&[0, 0, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat()
}

#[test]
fn datagrams_leave_by_the_country_asked_for_once_the_operator_opens_them() {
    let world = World::start_with(Settings::with_places(&[Place::NEW_YORK, Place::BERLIN]));
    let customer = world.customer().with("-country-DE");
    // Where the origin listens for connections, an echo takes datagrams: the address is open for tests.
    let echo = UdpSocket::bind(world.origin.http).unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(customer.associate().is_none(), "closed by default");

    let mut opened: serde_json::Value = serde_json::from_str(&policy()).unwrap();
    opened["version"] = 2.into();
    opened["openUdp"] = true.into();
    let file = world.folder().join("policy.json");
    std::fs::write(file.with_extension("new"), opened.to_string()).unwrap();
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    // The server reads the file again by itself, and tells its devices.
    let (_control, relay) = eventually("datagrams are open", || customer.associate());

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let header = header(world.origin.http);
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

#[test]
fn a_grant_opens_datagrams_for_one_customer_until_it_is_revoked() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let (customer, other) = (
        world.customer(),
        world.customer_of(&world.create_account("other@example.com", true)),
    );
    assert!(customer.associate().is_none() && other.associate().is_none());
    let created = [
        "account",
        "create",
        "--email",
        "admin@example.com",
        "--admin",
        "--verified",
    ];
    let admin = manage(world.folder(), &created);
    let login = json!({"email": "admin@example.com", "password": admin["password"]});
    let token = world.api().post("/api/auth/login", &login).json();
    let api = world.api().with_token(token["token"].as_str().unwrap());
    let now = api.get("/api/nodes/stats").json()["timestamp"].clone();
    let (year, rest) = now.as_str().unwrap().split_once('-').unwrap();
    let until = format!("{}-{rest}", year.parse::<u32>().unwrap() + 1);
    let grants = format!("/api/admin/accounts/{}/grants", world.account.id);
    let body = json!({"rule": "udp_closed", "until": until, "reason": "a test"});
    let given = api.post(&grants, &body);
    assert_eq!(given.status, 201, "{}", given.text());

    let echo = UdpSocket::bind(world.origin.http).unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_control, relay) = customer.associate().expect("open for this customer");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let datagram = [&header(world.origin.http)[..], b"hello"].concat();
    socket.send_to(&datagram, relay).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = echo.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.ip().to_string().as_str()),
        (&b"hello"[..], Place::BERLIN.address)
    );
    echo.send_to(b"hello", from).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], datagram);
    assert!(other.associate().is_none(), "closed for everybody else");

    let id = given.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.delete(&format!("{grants}/{id}?reason=over")).status, 204);
    assert!(customer.associate().is_none());
}
