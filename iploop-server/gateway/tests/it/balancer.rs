//! Connections that a balancer passes on: who they are from is what it says, if it is trusted.

use crate::store::KEY;
use crate::world::{Customer, Setup, World, echo_origin, field, get, status};

async fn behind_a_balancer(to: std::net::SocketAddr) -> World {
    let mut setup = Setup::default();
    setup.config.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    World::start_with(setup, &[to]).await
}

#[tokio::test]
async fn a_trusted_balancers_word_decides_who_the_customer_is() {
    let (to, _origin) = echo_origin().await;
    let world = behind_a_balancer(to).await;
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 7, 198, 51, 100, 1, 4, 0, 0x1e, 0x61],
    ]
    .concat();
    let mut names = Vec::new();
    for preface in [
        &b"PROXY TCP4 192.0.2.7 198.51.100.1 1024 7777\r\n"[..],
        &v2,
        b"PROXY TCP4 192.0.2.8 198.51.100.1 1024 7777\r\n",
    ] {
        // A session whose name is derived from the client's address shows what was believed.
        let request = [preface, &get(to, "-sesstype-sticky")].concat();
        let answer = world.ask(&request).await;
        assert_eq!(status(&answer), 200, "{answer}");
        names.push(field(&answer, "X-IPLoop-Session").unwrap().to_owned());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[0], names[2]);
    // Byte by byte, and SOCKS5 behind it.
    let mut customer: Customer<_> = world.connect().await;
    for byte in b"PROXY UNKNOWN\r\n\x05\x01\x02" {
        customer.send(&[*byte]).await;
    }
    assert_eq!(customer.read(2).await, [5, 2]);
}

#[tokio::test]
async fn a_balancer_must_say_it_and_nobody_else_may() {
    let (to, _origin) = echo_origin().await;
    let preface = b"PROXY TCP4 192.0.2.7 198.51.100.1 1024 7777\r\n";
    let with_preface = [&preface[..], &get(to, "")].concat();
    for (world, request) in [
        (World::start(&[to]).await, &with_preface),
        (behind_a_balancer(to).await, &get(to, "")),
    ] {
        let answer = world.ask(request).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (400, Some("proxy_protocol")),
            "{answer}"
        );
        assert!(!answer.contains(KEY));
    }
    let post = format!("POST http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let answer = World::start(&[to]).await.ask(post.as_bytes()).await;
    assert_eq!(status(&answer), 407, "{answer}");
}

#[tokio::test]
async fn a_keys_list_is_asked_for_the_address_that_a_trusted_balancer_names() {
    let (to, _origin) = echo_origin().await;
    let setup = |trusted: &str| {
        let mut setup = Setup {
            whitelist: vec!["192.0.2.0/24".parse().unwrap()],
            ..Setup::default()
        };
        setup.config.proxy_protocol_from = vec![trusted.parse().unwrap()];
        setup
    };
    let world = World::start_with(setup("127.0.0.0/8"), &[to]).await;
    for (client, expected, code) in [
        ("192.0.2.7", 200, None),
        ("198.51.100.7", 403, Some("ip_not_allowed")),
        ("127.0.0.1", 403, Some("ip_not_allowed")),
    ] {
        let preface = format!("PROXY TCP4 {client} 198.51.100.1 1024 7777\r\n");
        let answer = world.ask(&[preface.as_bytes(), &get(to, "")].concat()).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (expected, code),
            "{client}: {answer}"
        );
    }
    // From anybody else the preface is refused, and without it the real address counts.
    let world = World::start_with(setup("10.0.0.0/8"), &[to]).await;
    let preface = b"PROXY TCP4 192.0.2.7 198.51.100.1 1024 7777\r\n";
    let answer = world.ask(&[&preface[..], &get(to, "")].concat()).await;
    assert_eq!(status(&answer), 400, "{answer}");
    let answer = world.ask(&get(to, "")).await;
    assert_eq!(field(&answer, "X-IPLoop-Error"), Some("ip_not_allowed"));
}
