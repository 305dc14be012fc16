//! Plain requests through an exit: what the origin hears, what the customer hears.

use crate::world::{Customer, Origin, Setup, World, echo_origin, field, get, login, status};

use tokio::net::TcpStream;

/// A request without a body that leaves the connection open.
fn request(line: &str, to: std::net::SocketAddr, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: {to}\r\n{}{fields}\r\n", login("")).into_bytes()
}

#[tokio::test]
async fn one_connection_reaches_several_destinations() {
    let (one, _one) = echo_origin().await;
    let (two, _two) = echo_origin().await;
    let world = World::start(&[one, two]).await;
    let mut customer = world.connect().await;
    for (number, to) in [one, two, one].into_iter().enumerate() {
        customer
            .send(&request(
                &format!("GET http://{to}/{number}"),
                to,
                "X-Custom: yes\r\nProxy-Connection: keep-alive\r\n",
            ))
            .await;
        let (head, body) = customer.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(field(&head, "X-IPLoop-Exit-Country"), Some("US"));
        assert!(field(&head, "X-IPLoop-Request-Id").is_some() && field(&head, "Connection").is_none());
        assert_eq!(
            body,
            format!("GET /{number} HTTP/1.1\r\nHost: {to}\r\nX-Custom: yes\r\n\r\n")
        );
    }
    let records = world.books().await;
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!((record.proxy_type.as_str(), record.status), ("http", Some(200)));
        assert!(record.bytes_up > 0 && record.bytes_down > record.bytes_up);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let mut customer = world.connect().await;
    let requests: Vec<u8> = (0..5)
        .flat_map(|number| request(&format!("GET http://{to}/{number}"), to, ""))
        .collect();
    customer.send(&requests).await;
    for number in 0..5 {
        let (_, body) = customer.answer().await;
        assert!(body.starts_with(&format!("GET /{number} ")), "{body}");
    }
}

#[tokio::test]
async fn a_request_rides_with_the_dial_only_if_it_may_arrive_twice() {
    for (method, body, rides) in [
        ("GET", "", true),
        ("DELETE", "", true),
        ("POST", "Content-Length: 0\r\n", false),
        ("PUT", "Content-Length: 2\r\n\r\nab", false),
    ] {
        let (to, _origin) = echo_origin().await;
        let world = World::start(&[to]).await;
        let mut customer = world.connect().await;
        customer
            .send(&request(&format!("{method} http://{to}/"), to, body))
            .await;
        assert_eq!(status(&customer.head().await), 200);
        assert_eq!(!world.exits.asked()[0].early.is_empty(), rides, "{method}");
    }
}

#[tokio::test]
async fn content_goes_up_by_length_and_by_chunks() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    for (fields, content, expected) in [
        ("Content-Length: 11\r\n", "hello world", "hello world"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n",
            "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
    ] {
        let mut customer = world.connect().await;
        customer
            .send(&request(&format!("POST http://{to}/"), to, fields))
            .await;
        let mut at_origin = origin.accept().await;
        assert!(at_origin.head().await.contains(fields));
        customer.send(content.as_bytes()).await;
        assert_eq!(
            String::from_utf8(at_origin.read(expected.len()).await).unwrap(),
            expected
        );
        at_origin
            .send(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(customer.answer().await.1, "ok");
        // The same connection serves another request.
        customer
            .send(&request(&format!("GET http://{to}/next"), to, ""))
            .await;
        assert!(origin.accept().await.head().await.starts_with("GET /next "));
    }
}

#[tokio::test]
async fn expect_continue_waits_for_the_origin() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let mut customer = world.connect().await;
    customer
        .send(&request(
            &format!("PUT http://{to}/"),
            to,
            "Expect: 100-continue\r\nContent-Length: 4\r\n",
        ))
        .await;
    let mut at_origin = origin.accept().await;
    assert!(at_origin.head().await.contains("Expect: 100-continue\r\n"));
    at_origin
        .send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        .await;
    assert_eq!(customer.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(
        customer.head().await,
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    );
    customer.send(b"body").await;
    assert_eq!(at_origin.read(4).await, b"body");
    at_origin.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(status(&customer.head().await), 204);
}

#[tokio::test]
async fn an_answer_before_the_content_was_read_ends_the_connection() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let mut customer = world.connect().await;
    customer
        .send(&request(
            &format!("PUT http://{to}/"),
            to,
            "Content-Length: 1000000\r\n",
        ))
        .await;
    let mut at_origin = origin.accept().await;
    at_origin.head().await;
    at_origin
        .send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = customer.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Too Large\r\n") && answer.ends_with("no"),
        "{answer}"
    );
    assert_eq!(field(&answer, "Connection"), Some("close"), "{answer}");
}

#[tokio::test]
async fn answers_are_delimited_anew_and_otherwise_untouched() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nX-T: u\r\n\r\n";
    for (line, answer, content) in [
        ("HTTP/1.1", chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: u\r\n\r\n"),
        ("HTTP/1.0", chunked, "abcde"),
        (
            "HTTP/1.1",
            "HTTP/1.0 200 OK\r\n\r\nabcde",
            "5\r\nabcde\r\n0\r\n\r\n",
        ),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nabcde", "abcde"),
        (
            "HTTP/1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcde",
            "abc",
        ),
        (
            "HTTP/1.1",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc",
            "",
        ),
    ] {
        let mut origin = Origin::start().await;
        let to = origin.address;
        let world = World::start(&[to]).await;
        let mut customer = world.connect().await;
        let fields = format!("Host: {to}\r\nConnection: close\r\n{}", login(""));
        customer
            .send(format!("GET http://{to}/ {line}\r\n{fields}\r\n").as_bytes())
            .await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        at_origin.send(answer.as_bytes()).await;
        drop(at_origin);
        let got = customer.rest().await;
        let (head, got) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(got, content, "{head}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        assert_eq!(
            head.contains("Transfer-Encoding: chunked"),
            got.ends_with("0\r\n\r\n") || got.contains("X-T")
        );
    }
}

#[tokio::test]
async fn head_answers_have_no_content() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let mut customer = world.connect().await;
    for _ in 0..2 {
        customer
            .send(&request(&format!("HEAD http://{to}/"), to, ""))
            .await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        at_origin
            .send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .await;
        let head = customer.head().await;
        assert_eq!(field(&head, "Content-Length"), Some("5"));
    }
}

#[tokio::test]
async fn ambiguous_answers_become_502_and_never_reach_the_customer() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nsecret",
        "HTTP/1.1 200 OK\nX: secret\n\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0secret\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: secret\r\n\r\n",
        "HTTP/3.0 200 secret\r\n\r\n",
        "secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: secret",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecretsecret",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\nsecret\r\n\r\n",
    ] {
        let mut origin = Origin::start().await;
        let world = World::start(&[origin.address]).await;
        let mut customer = world.connect().await;
        customer.send(&get(origin.address, "")).await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        at_origin.send(answer.as_bytes()).await;
        drop(at_origin);
        let got = customer.rest().await;
        assert_eq!(
            (status(&got), field(&got, "X-IPLoop-Error")),
            (502, Some("upstream_protocol")),
            "{answer}: {got}"
        );
        assert!(!got.contains("secret"), "{got}");
        drop(customer);
        let records = world.books().await;
        assert_eq!(records[0].error.as_deref(), Some("upstream_protocol"));
    }
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_customer_too() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin = origin.accept().await;
    at_origin.head().await;
    at_origin
        .send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    customer.head().await;
    assert_eq!(customer.read(4).await, b"half");
    drop(at_origin);
    let end = tokio::io::AsyncReadExt::read(&mut customer.socket, &mut [0; 8]).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(world.books().await[0].error.as_deref(), Some("incomplete_answer"));
}

#[tokio::test]
async fn what_was_good_before_a_malformed_chunk_arrives_before_the_break() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin = origin.accept().await;
    at_origin.head().await;
    at_origin
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    customer.head().await;
    assert_eq!(customer.read(8).await, b"3\r\nabc\r\n");
    at_origin.send(b"3\r\ndef\r\nzz\r\n").await;
    assert_eq!(customer.read(8).await, b"3\r\ndef\r\n");
    let end = tokio::io::AsyncReadExt::read(&mut customer.socket, &mut [0; 8]).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(world.books().await[0].error.as_deref(), Some("incomplete_answer"));
}

#[tokio::test]
async fn a_websocket_passes_through_a_plain_request() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    let mut customer = world.connect().await;
    customer
        .send(&request(
            &format!("GET http://{to}/ws"),
            to,
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        ))
        .await;
    let mut at_origin = origin.accept().await;
    assert!(
        at_origin
            .head()
            .await
            .contains("Connection: Upgrade\r\nUpgrade: websocket\r\n")
    );
    at_origin
        .send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
        .await;
    let head = customer.head().await;
    assert!(
        head.contains("Upgrade: websocket\r\n") && head.contains("Connection: Upgrade\r\n"),
        "{head}"
    );
    assert_eq!(customer.read(5).await, b"first");
    customer.send(b"frames").await;
    assert_eq!(at_origin.read(6).await, b"frames");
    at_origin.send(b"back").await;
    assert_eq!(customer.read(4).await, b"back");
}

#[tokio::test]
async fn a_preset_changes_the_user_agent_of_plain_requests() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let answer = world.ask(&get(to, "-profile-chrome-win")).await;
    assert!(
        answer.contains("\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_proxy_names_itself_only_where_the_operator_says_so() {
    for via in [false, true] {
        let (to, _origin) = echo_origin().await;
        let mut setup = Setup::default();
        setup.config.via = via;
        let world = World::start_with(setup, &[to]).await;
        let answer = world.ask(&get(to, "-profile-chrome-win")).await;
        assert_eq!(status(&answer), 200);
        // Once in our answer's head, once in the request's, which is the content here.
        assert_eq!(
            answer.matches("Via: 1.1 iploop\r\n").count(),
            if via { 2 } else { 0 },
            "{answer}"
        );
    }
}

#[tokio::test]
async fn origins_cannot_speak_in_our_name() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin = origin.accept().await;
    let head = at_origin.head().await;
    assert!(
        !head.contains("IPLoop") && !head.contains("Proxy") && !head.contains("Via"),
        "{head}"
    );
    at_origin
        .send(b"HTTP/1.1 200 OK\r\nX-IPLoop-Exit-Ip: 1.1.1.1\r\nProxy-Authenticate: Basic\r\nProxy-Status: x\r\nContent-Length: 0\r\n\r\n")
        .await;
    let got = customer.rest().await;
    assert_eq!(got.matches("X-IPLoop-Exit-Ip").count(), 1);
    assert!(
        got.contains("X-IPLoop-Exit-Ip: 198.51.100.1\r\n") && !got.contains("Proxy-"),
        "{got}"
    );
}

#[tokio::test]
async fn a_slow_customer_gets_everything() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin: Customer<TcpStream> = origin.accept().await;
    at_origin.head().await;
    let content: Vec<u8> = (0..1_000_000u32)
        .map(|number| u8::try_from(number % 251).unwrap())
        .collect();
    let expected = content.clone();
    let sending = tokio::spawn(async move {
        at_origin
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes())
            .await;
        at_origin.send(&content).await;
        at_origin
    });
    customer.head().await;
    for part in expected.chunks(1000) {
        assert!(customer.read(part.len()).await == part);
    }
    drop(sending.await.unwrap());
    let record = world.books().await.remove(0);
    assert!(record.bytes_down > 1_000_000 && record.bytes_down < 1_000_200);
}
