//! CONNECT and SOCKS5 tunnels, with and without TLS to the proxy.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::exits::Trouble;
use crate::store::KEY;
use crate::world::{Customer, Origin, Setup, World, connect, field, status};

#[tokio::test]
async fn connect_relays_both_ways_with_half_closes() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer
        .send(&connect(origin.address, "-session-a-debug-1"))
        .await;
    let head = customer.head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 Connection established\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "X-IPLoop-Exit-Country"), Some("US"));
    assert_eq!(field(&head, "X-IPLoop-Exit-City"), Some("Miami"));
    assert_eq!(field(&head, "X-IPLoop-Exit-Asn"), Some("64500"));
    assert_eq!(field(&head, "X-IPLoop-Exit-Ip"), Some("198.51.100.1"));
    assert_eq!(field(&head, "X-IPLoop-Session"), Some("a"));
    assert_eq!(
        field(&head, "X-IPLoop-Debug-Parameters"),
        Some("session-a-debug-1")
    );
    assert!(field(&head, "X-IPLoop-Debug").unwrap().contains("attempts=1"));
    let mut at_origin = origin.accept().await;

    customer.send(b"to the origin").await;
    assert_eq!(at_origin.read(13).await, b"to the origin");
    customer.socket.shutdown().await.unwrap();
    assert_eq!(
        at_origin.rest().await,
        "",
        "the customer's end of writing arrives"
    );
    at_origin.send(b"and back").await;
    drop(at_origin);
    assert_eq!(customer.rest().await, "and back");

    let records = world.books().await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.bytes_up, record.bytes_down), (13, 8));
    assert_eq!(
        (record.status, record.error.as_deref(), record.attempts),
        (Some(200), None, 1)
    );
    assert_eq!(
        (record.proxy_type.as_str(), record.session.as_deref()),
        ("connect", Some("a"))
    );
    assert!(record.billable && record.ended_at.is_some() && record.node.is_some());
}

#[tokio::test]
async fn a_client_hello_goes_along_with_the_dial_and_other_bytes_wait() {
    for (early, goes_along) in [(&b"\x16\x03\x01hello"[..], true), (b"SSH-2.0-x\r\n", false)] {
        let mut origin = Origin::start().await;
        let world = World::start(&[origin.address]).await;
        let mut customer = world.connect().await;
        customer
            .send(&[&connect(origin.address, "")[..], early].concat())
            .await;
        customer.head().await;
        assert_eq!(origin.accept().await.read(early.len()).await, early);
        assert_eq!(!world.exits.asked()[0].early.is_empty(), goes_along);
        drop(customer);
        assert_eq!(world.books().await[0].bytes_up, early.len() as u64);
    }
}

#[tokio::test]
async fn socks5_arrives_byte_by_byte_or_all_at_once() {
    for step in [1, 1000] {
        let mut origin = Origin::start().await;
        let world = World::start(&[origin.address]).await;
        let mut customer = world.connect().await;
        let password = format!("{KEY}-country-US");
        let login = socks_login(&password);
        let request = socks_request(origin.address);
        let all = [&[5, 2, 0, 2][..], &login, &request, b"first bytes"].concat();
        for piece in all.chunks(step) {
            customer.send(piece).await;
        }
        assert_eq!(customer.read(2).await, [5, 2]);
        assert_eq!(customer.read(2).await, [1, 0]);
        assert_eq!(customer.read(10).await, [5, 0, 0, 1, 198, 51, 100, 1, 0, 0]);
        let mut at_origin = origin.accept().await;
        assert_eq!(at_origin.read(11).await, b"first bytes");
        at_origin.send(b"back").await;
        assert_eq!(customer.read(4).await, b"back");
        drop((customer, at_origin));
        let records = world.books().await;
        assert_eq!(records[0].proxy_type, "socks5");
        assert_eq!((records[0].bytes_up, records[0].bytes_down), (11, 4));
    }
}

#[tokio::test]
async fn socks5_refusals_have_their_codes() {
    let origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let login = socks_login;
    let wrong = format!("{}f", &KEY[..KEY.len() - 1]);
    let greet = &[5, 1, 2][..];
    for (messages, expected) in [
        (vec![vec![5, 1, 0]], vec![5, 0xff]),
        (vec![vec![5, 0]], vec![5, 0xff]),
        (vec![vec![5, 3, 0, 1, 3]], vec![5, 0xff]),
        (
            vec![vec![4, 1, 0, 80, 127, 0, 0, 1, 0]],
            vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        ),
        (vec![greet.to_vec(), login(&wrong)], vec![5, 2, 1, 1]),
        (vec![greet.to_vec(), login("nonsense")], vec![5, 2, 1, 1]),
        (vec![greet.to_vec(), vec![9]], vec![5, 2, 1, 1]),
        (
            vec![greet.to_vec(), login(KEY), vec![5, 2, 0, 1, 1, 2, 3, 4, 0, 80]],
            vec![5, 2, 1, 0, 5, 7],
        ),
        (
            vec![greet.to_vec(), login(KEY), vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0]],
            vec![5, 2, 1, 0, 5, 7],
        ),
        (
            vec![greet.to_vec(), login(KEY), vec![5, 1, 0, 9]],
            vec![5, 2, 1, 0, 5, 8],
        ),
        (vec![greet.to_vec(), login(KEY), vec![4]], vec![5, 2, 1, 0, 5, 1]),
        (
            vec![greet.to_vec(), login(KEY), vec![5, 1, 0, 1, 10, 0, 0, 1, 0, 80]],
            vec![5, 2, 1, 0, 5, 2],
        ),
        (
            vec![
                greet.to_vec(),
                login(&format!("{KEY}-contry-US")),
                socks_request(origin.address),
            ],
            vec![5, 2, 1, 0, 5, 1],
        ),
    ] {
        let mut customer = world.connect().await;
        customer.send(&messages.concat()).await;
        let mut answer = vec![0; expected.len()];
        tokio::io::AsyncReadExt::read_exact(&mut customer.socket, &mut answer)
            .await
            .unwrap();
        assert_eq!(answer, expected, "{messages:?}");
        customer.rest().await;
    }
    assert!(world.exits.asked().is_empty());
}

#[tokio::test]
async fn socks5_replies_say_what_the_exit_met() {
    use iploop_platform::exits::ExitError;
    for (error, reply) in [
        (ExitError::ConnectionRefused, 5),
        (ExitError::Unreachable, 3),
        (ExitError::DnsFailed, 4),
        (ExitError::ConnectTimeout, 4),
        (ExitError::Forbidden("device_network".to_owned()), 2),
        (ExitError::Draining, 1),
    ] {
        let origin = Origin::start().await;
        let world = World::start(&[origin.address]).await;
        for number in [1, 2] {
            world.exits.trouble(number, Trouble::Error(error.clone()));
        }
        let mut customer = world.connect().await;
        let password = socks_login(KEY);
        customer
            .send(&[&[5, 1, 2][..], &password, &socks_request(origin.address)].concat())
            .await;
        assert_eq!(customer.read(6).await[4..], [5, reply], "{error}");
    }
}

#[tokio::test]
async fn tls_to_the_proxy_carries_http_and_socks() {
    let mut origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut setup = Setup::default();
    (setup.config.tls_cert, setup.config.tls_key) = (Some(cert), Some(key));
    let world = World::start_with(setup, &[origin.address]).await;

    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for socks in [false, true] {
        let plain = TcpStream::connect(world.address).await.unwrap();
        let mut customer = Customer::new(
            connector
                .connect("proxy.test".try_into().unwrap(), plain)
                .await
                .unwrap(),
        );
        if socks {
            let password = socks_login(KEY);
            customer
                .send(&[&[5, 1, 2][..], &password, &socks_request(origin.address)].concat())
                .await;
            assert_eq!(customer.read(14).await[..6], [5, 2, 1, 0, 5, 0]);
        } else {
            customer.send(&connect(origin.address, "")).await;
            assert_eq!(status(&customer.head().await), 200);
        }
        customer.send(b"ping").await;
        let mut at_origin = origin.accept().await;
        assert_eq!(at_origin.read(4).await, b"ping");
        at_origin.send(b"pong").await;
        assert_eq!(customer.read(4).await, b"pong");
    }
}

#[tokio::test]
async fn the_end_of_the_balance_ends_the_tunnel() {
    let mut origin = Origin::start().await;
    let balance_bytes = 200_000;
    let setup = Setup {
        balance_bytes,
        ..Setup::default()
    };
    let world = World::start_with(setup, &[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    customer.head().await;
    let mut at_origin = origin.accept().await;
    let sending = tokio::spawn(async move {
        at_origin.send(&vec![7; 4_000_000]).await;
        at_origin
    });
    let received = customer.rest().await.len() as u64;
    assert!(
        received <= balance_bytes + 64 * 1024,
        "{received} bytes for a balance of {balance_bytes}"
    );
    drop(sending.await.unwrap());

    let answer = world.ask(&connect(origin.address, "")).await;
    assert_eq!(status(&answer), 402, "{answer}");
    assert_eq!(field(&answer, "X-IPLoop-Error"), Some("balance_depleted"));
    let records = world.books().await;
    assert_eq!(records[0].error.as_deref(), Some("balance_depleted"));
    assert!(records[0].bytes_down <= balance_bytes + 64 * 1024);
}

#[tokio::test]
async fn an_exit_that_is_lost_breaks_the_tunnel_rather_than_ending_it() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    customer.head().await;
    let mut at_origin = origin.accept().await;
    at_origin.send(b"half").await;
    assert_eq!(customer.read(4).await, b"half");
    world.exits.cut(1);
    let end = tokio::io::AsyncReadExt::read(&mut customer.socket, &mut [0; 8]).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let records = world.books().await;
    assert_eq!(records[0].error.as_deref(), Some("exit_lost"));
    assert!(!records[0].billable, "a failure of ours costs nothing");
    assert_eq!(
        records[0].bytes_down, 4,
        "what was delivered is on record all the same"
    );
}

fn socks_request(to: std::net::SocketAddr) -> Vec<u8> {
    let ip: std::net::Ipv4Addr = to.ip().to_string().parse().expect("loopback here is IPv4");
    [&[5, 1, 0, 1][..], &ip.octets(), &to.port().to_be_bytes()].concat()
}

pub(crate) fn socks_login(password: &str) -> Vec<u8> {
    let length = u8::try_from(password.len()).expect("it fits a field");
    [&[1, 6][..], b"iploop", &[length], password.as_bytes()].concat()
}

#[tokio::test]
async fn what_follows_a_refused_connect_is_no_request() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let refused = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let hidden = format!(
        "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{}\r\n",
        crate::world::login("")
    );
    let answer = world.ask(format!("{refused}{hidden}").as_bytes()).await;
    assert_eq!(
        (status(&answer), field(&answer, "Connection")),
        (407, Some("close"))
    );
    assert!(world.exits.asked().is_empty());

    // Without anything behind it the connection stays, so that the login can follow.
    let mut customer = world.connect().await;
    customer.send(refused.as_bytes()).await;
    assert_eq!(status(&customer.answer().await.0), 407);
    customer.send(&connect(to, "")).await;
    assert_eq!(status(&customer.head().await), 200);
    origin.accept().await;
}

#[tokio::test]
async fn a_slow_reader_gets_what_was_booked_before_its_exit_broke() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut customer = Customer::new(socket.connect(world.address).await.unwrap());
    customer.send(&connect(origin.address, "")).await;
    customer.head().await;
    let mut at_origin = origin.accept().await;
    at_origin.send(&[7; 200_000]).await;
    world.exits.cut(1);
    let (mut received, mut piece) = (0, [0; 1000]);
    let end = loop {
        match tokio::io::AsyncReadExt::read(&mut customer.socket, &mut piece).await {
            Ok(0) => break None,
            Ok(bytes) => received += bytes as u64,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    assert_eq!(world.books().await[0].bytes_down, received);
}
