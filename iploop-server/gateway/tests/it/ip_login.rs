//! Customers without a password, known by their address.

use std::net::{Ipv4Addr, SocketAddr};

use http::Request;
use tokio::net::{TcpSocket, TcpStream};

use crate::http2::Secure;
use crate::store::KEY;
use crate::world::{Customer, Setup, World, base64, echo_origin, field, get, login, status};

/// A key that lists these networks, with or without logins by address.
fn listing(networks: &[&str], ip_login: bool) -> Setup {
    Setup {
        whitelist: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ip_login,
        ..Setup::default()
    }
}

async fn at_home(to: SocketAddr) -> World {
    World::start_with(listing(&["127.0.0.1/32", "127.0.0.2/32"], true), &[to]).await
}

/// A GET with these fields.
fn get_with(to: SocketAddr, fields: &str) -> Vec<u8> {
    format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{fields}\r\n").into_bytes()
}

fn user_alone(user: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", base64(&format!("{user}:")))
}

async fn prove(world: &World, to: SocketAddr) {
    let answer = world.ask(&get(to, "")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    world.admission.refresh_addresses().await.unwrap();
}

async fn connect_from(world: &World, last: u8) -> Customer<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    Customer::new(socket.connect(world.address).await.unwrap())
}

#[tokio::test]
async fn a_proven_address_needs_no_password_for_requests_and_tunnels() {
    let (to, _origin) = echo_origin().await;
    let world = at_home(to).await;
    let unknown = world.ask(&get_with(to, "")).await;
    assert_eq!(
        (status(&unknown), field(&unknown, "X-IPLoop-Error")),
        (407, Some("credentials_missing"))
    );
    prove(&world, to).await;
    for (fields, session) in [
        (String::new(), None),
        (user_alone("iploop"), None),
        (user_alone(""), None),
        (user_alone("iploop-session-a"), Some("a")),
    ] {
        let answer = world.ask(&get_with(to, &fields)).await;
        assert_eq!(status(&answer), 200, "{fields}: {answer}");
        assert!(!answer.contains("Authorization"), "{answer}");
        assert_eq!(field(&answer, "X-IPLoop-Session"), session, "{fields}");
    }
    let mut customer = world.connect().await;
    let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    customer.send(connect.as_bytes()).await;
    assert_eq!(status(&customer.head().await), 200);
    customer
        .send(format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
        .await;
    assert_eq!(status(&customer.head().await), 200);
    drop(customer);
    let account = world.store.account();
    let records = world.books().await;
    assert!(records.len() >= 6 && records.iter().all(|record| record.account == account));
}

#[tokio::test]
async fn what_is_said_is_believed_before_the_address() {
    let (to, _origin) = echo_origin().await;
    let world = at_home(to).await;
    prove(&world, to).await;
    let wrong_key = KEY.replace("00", "ff");
    for (fields, expected, code) in [
        (login(""), 200, None),
        (
            format!(
                "Proxy-Authorization: Basic {}\r\n",
                base64(&format!("iploop:{wrong_key}"))
            ),
            407,
            Some("credentials_invalid"),
        ),
        (user_alone("0123456789ab"), 407, Some("credentials_invalid")),
        (user_alone("iploop-country-UK"), 400, Some("invalid_country")),
        (
            "Proxy-Authorization: Bearer x\r\n".to_owned(),
            407,
            Some("credentials_invalid"),
        ),
    ] {
        let answer = world.ask(&get_with(to, &fields)).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (expected, code),
            "{fields}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_listed_address_that_proved_nothing_and_a_key_without_the_flag_need_one() {
    let (to, _origin) = echo_origin().await;
    let world = at_home(to).await;
    prove(&world, to).await;
    // On the same list, and another machine.
    let mut neighbour = connect_from(&world, 2).await;
    neighbour
        .send(&get_with(to, &user_alone("iploop-country-UK")))
        .await;
    let answer = neighbour.rest().await;
    assert_eq!(status(&answer), 407, "{answer}");
    let world = World::start_with(listing(&["127.0.0.1/32"], false), &[to]).await;
    prove(&world, to).await;
    let answer = world.ask(&get_with(to, "")).await;
    assert_eq!(status(&answer), 407, "{answer}");
}

#[tokio::test]
async fn socks5_offers_no_login_to_known_addresses_alone() {
    let (to, _origin) = echo_origin().await;
    let world = at_home(to).await;
    let SocketAddr::V4(address) = to else {
        panic!("IPv4")
    };
    let request = [
        &[5, 1, 0, 1][..],
        &address.ip().octets(),
        &address.port().to_be_bytes(),
    ]
    .concat();
    let greet = async |methods: &[u8]| {
        let mut customer = world.connect().await;
        let length = u8::try_from(methods.len()).unwrap();
        customer.send(&[&[5, length][..], methods].concat()).await;
        let answer = customer.read(2).await;
        (customer, answer[1])
    };
    assert_eq!(greet(&[0]).await.1, 0xff);
    prove(&world, to).await;
    let (mut customer, method) = greet(&[0, 1]).await;
    assert_eq!(method, 0);
    customer.send(&request).await;
    assert_eq!(customer.read(10).await[..2], [5, 0]);
    customer
        .send(format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
        .await;
    assert_eq!(status(&customer.head().await), 200);
    // Who has a password is asked for it; an empty one leaves the address, and room for wishes.
    let (mut customer, method) = greet(&[0, 2]).await;
    assert_eq!(method, 2);
    customer
        .send(&[&[1, 16][..], b"iploop-session-a", &[0]].concat())
        .await;
    assert_eq!(customer.read(2).await, [1, 0]);
    customer.send(&request).await;
    assert_eq!(customer.read(10).await[..2], [5, 0]);
}

#[tokio::test]
async fn the_address_is_the_one_that_a_trusted_balancer_names() {
    let (to, _origin) = echo_origin().await;
    let mut setup = listing(&["11.0.0.7/32"], true);
    setup.config.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    let world = World::start_with(setup, &[to]).await;
    let from = |last: u8, request: Vec<u8>| {
        let preface = format!("PROXY TCP4 11.0.0.{last} 198.51.100.1 1024 7777\r\n");
        [preface.as_bytes(), &request].concat()
    };
    let proof = world.ask(&from(7, get(to, ""))).await;
    assert_eq!(status(&proof), 200, "{proof}");
    world.admission.refresh_addresses().await.unwrap();
    assert_eq!(status(&world.ask(&from(7, get_with(to, ""))).await), 200);
    assert_eq!(status(&world.ask(&from(8, get_with(to, ""))).await), 407);
    // The balancer speaking for itself is no customer.
    let own = [b"PROXY UNKNOWN\r\n", &get_with(to, "")[..]].concat();
    assert_eq!(status(&world.ask(&own).await), 407);
}

#[tokio::test]
async fn by_http2_a_proven_address_opens_tunnels_and_another_does_not() {
    let (to, _origin) = echo_origin().await;
    let mut secure = Secure::start(listing(&["127.0.0.1/32", "127.0.0.2/32"], true), &[to]).await;
    prove(&secure.world, to).await;
    let plain = format!("http://{to}/");
    for (last, user, expected, session) in [
        (1, None, 200, None),
        (1, Some("iploop:"), 200, None),
        (1, Some("iploop-session-a:"), 200, Some("a")),
        (1, Some("iploop:iploop_wrong"), 407, None),
        (2, None, 407, None),
        (2, Some("iploop-session-a:"), 407, None),
    ] {
        let mut client = secure.connect_from(last).await;
        for request in [Request::connect(to.to_string()), Request::get(&plain)] {
            let request = match user {
                Some(user) => request.header("proxy-authorization", format!("Basic {}", base64(user))),
                None => request,
            };
            let request = request.body(()).unwrap();
            let is_tunnel = request.method() == http::Method::CONNECT;
            let (answer, _send) = client.send_request(request, !is_tunnel).unwrap();
            let answer = answer.await.unwrap();
            let shown = format!("{user:?} from 127.0.0.{last}, tunnel {is_tunnel}");
            assert_eq!(answer.status(), expected, "{shown}");
            let named = answer.headers().get("x-iploop-session");
            assert_eq!(named.map(|name| name.to_str().unwrap()), session, "{shown}");
        }
    }
}
