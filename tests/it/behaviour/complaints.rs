//! What customers complain about most, each as the promise that answers it (`docs/selection.md`, Usual complaints).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::harness::{Place, Response, Settings, World, read_head, read_response};

fn id_of(answer: &Response) -> &str {
    answer.field("X-IPLoop-Request-Id").unwrap()
}

#[test]
fn without_a_session_the_exit_changes_on_one_connection_and_with_each_tunnel() {
    let world = World::start();
    let customer = world.customer();
    let everywhere =
        BTreeSet::from([Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV].map(|place| place.address));
    let assert_rotates = |way: &str, exits: &[String]| {
        let seen: BTreeSet<&str> = exits.iter().map(String::as_str).collect();
        assert_eq!(seen, everywhere, "{way}: {exits:?}");
        let changes = exits.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(changes, "{way}, from one to the next: {exits:?}");
    };
    let ip = |answer: Response| answer.json()["ip"].as_str().unwrap().to_owned();

    let mut stream = customer.dial();
    let (url, host) = (world.origin.url("/echo"), world.origin.http);
    let on_one_connection: Vec<String> = (0..16)
        .map(|_| {
            let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", customer.login());
            stream.write_all(request.as_bytes()).unwrap();
            ip(read_response(&mut stream, false).unwrap())
        })
        .collect();
    assert_rotates("plain requests", &on_one_connection);
    let connects: Vec<String> = (0..16)
        .map(|_| ip(customer.connect(host).ok().unwrap().get("/echo")))
        .collect();
    assert_rotates("CONNECT", &connects);
    let socks: Vec<String> = (0..16)
        .map(|_| ip(customer.socks5(host).ok().unwrap().get("/echo")))
        .collect();
    assert_rotates("SOCKS5", &socks);
    // What is said inside of a tunnel is one connection to the destination, and has one exit.
    let mut tunnel = customer.connect(host).ok().unwrap();
    let inside: BTreeSet<String> = (0..4)
        .map(|_| {
            let request = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n");
            tunnel.stream.write_all(request.as_bytes()).unwrap();
            ip(read_response(&mut tunnel.stream, false).unwrap())
        })
        .collect();
    assert_eq!(inside.len(), 1, "{inside:?}");
}

/// A destination that answers each path in its own bad way.
fn bad_destination() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process: it holds nothing but its socket.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let head = read_head(&mut stream).unwrap_or_default();
            let answer: &[u8] = match head.split(' ').nth(1) {
                Some("/nonsense") => b"220 mail.example ESMTP\r\n\r\n",
                Some("/two-lengths") => {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
                }
                Some("/own") => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                // Hangs up.
                _ => b"",
            };
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn a_502_says_who_failed_and_how_in_the_answer_and_in_the_receipt() {
    let bad = bad_destination();
    // The port was the test's own a moment ago, and nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings::with_places(&[Place::BERLIN])
        .set("IPLOOP_EXIT__TEST_ALLOW", &json!([bad, closed]).to_string())
        .test_allow(bad)
        .test_allow(closed);
    let world = World::start_with(settings);
    let (api, customer) = (world.signed_in(), world.customer());
    for (url, code, error) in [
        (
            format!("http://{closed}/"),
            "connection_refused",
            "connection_refused",
        ),
        (
            format!("http://{bad}/hang-up"),
            "connection_reset",
            "connection_terminated",
        ),
        (
            format!("http://{bad}/nonsense"),
            "upstream_protocol",
            "http_protocol_error",
        ),
        (
            format!("http://{bad}/two-lengths"),
            "upstream_protocol",
            "http_protocol_error",
        ),
    ] {
        let answer = customer.get(&url);
        assert_eq!(
            (answer.status, answer.code()),
            (502, code),
            "{url}: {}",
            answer.head
        );
        let line = format!("HTTP/1.1 502 {code}\r\n");
        assert!(answer.head.starts_with(&line), "{url}: {}", answer.head);
        let status = format!("iploop; error={error}");
        assert_eq!(answer.field("Proxy-Status"), Some(status.as_str()), "{url}");
        let problem = answer.json();
        for text in ["detail", "hint"] {
            assert!(!problem[text].as_str().unwrap().is_empty(), "{url}: {problem}");
        }
        let receipt = api.receipt(id_of(&answer));
        assert_eq!(receipt["errorMessage"], code, "{url}: {receipt}");
    }
    // A destination's own 502 is passed on as it is: no code of ours, and the exit that it came by.
    let own = customer.get(&format!("http://{bad}/own"));
    assert!(
        own.head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{}",
        own.head
    );
    assert_eq!((own.code(), own.field("Proxy-Status")), ("", None));
    assert_eq!(own.field("X-IPLoop-Exit-Ip"), Some(Place::BERLIN.address));
    let receipt = api.receipt(id_of(&own));
    assert_eq!(
        (&receipt["errorMessage"], &receipt["statusCode"]),
        (&json!(null), &json!(502))
    );
    // That this host refuses this exit is remembered, and counted.
    let metrics = world.metrics().get("/metrics").text();
    let refusals = metrics
        .lines()
        .find(|line| line.starts_with("iploop_gateway_host_refusals_total"));
    assert!(refusals.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
}

#[test]
fn the_exit_that_the_origin_saw_is_named_by_the_answer_the_reply_and_the_receipt() {
    let world = World::start();
    let (api, customer) = (world.signed_in(), world.customer());
    for place in [Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV] {
        let there = customer.with(&format!("-country-{}", place.country));
        let plain = there.get(&world.origin.url("/echo"));
        let mut tunnel = there.connect(world.origin.http).ok().unwrap();
        let inside = tunnel.get("/echo");
        for (answer, seen) in [(&plain, &plain), (&tunnel.answer, &inside)] {
            assert_eq!(seen.json()["ip"], place.address);
            assert_eq!(answer.field("X-IPLoop-Exit-Ip"), Some(place.address));
            assert_eq!(answer.field("X-IPLoop-Exit-Country"), Some(place.country));
            assert_eq!(answer.field("X-IPLoop-Exit-City"), Some(place.city));
            assert_eq!(answer.field("X-IPLoop-Exit-Asn"), Some(&*place.asn.to_string()));
        }
        let ids = [id_of(&plain), id_of(&tunnel.answer)].map(str::to_owned);
        drop(tunnel);
        for id in ids {
            let receipt = api.receipt(&id);
            // Not the whole address: it is somebody's home, and the log is kept for long.
            assert_eq!(receipt["exitNetwork"], "127.0.1.0/24", "{receipt}");
            assert_eq!(receipt["exitAsn"], place.asn, "{receipt}");
            assert_eq!(
                (&receipt["targetCountry"], &receipt["targetCity"]),
                (&json!(place.country), &json!(place.city))
            );
        }
        // SOCKS5 has no fields: the reply's bound address is the exit's.
        let SocketAddr::V4(to) = world.origin.http else {
            panic!("the origin has an IPv6 address")
        };
        let mut stream = there.dial();
        let login = there.socks5_login();
        let request = [&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()];
        let said = [&[5, 1, 2], &login[..], &request.concat()].concat();
        stream.write_all(&said).unwrap();
        let mut heard = [0; 14];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..8], [5, 2, 1, 0, 5, 0, 0, 1]);
        let bound = std::net::Ipv4Addr::new(heard[8], heard[9], heard[10], heard[11]);
        assert_eq!(bound.to_string(), place.address);
    }
}
