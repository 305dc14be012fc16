//! HTTP/1.0: one answer, in its own form, and then the end (`docs/decisions/0009-http10-keep-alive.md`).

use std::net::SocketAddr;

use crate::world::{Origin, World, echo_origin, field, login, status};

/// What clients of the nineties send to stay connected. A proxy may not hear it.
const STAY: &str = "Connection: keep-alive\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n";

fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.0\r\n{STAY}{fields}\r\n")
}

#[tokio::test]
async fn one_answer_and_an_end_whatever_the_client_asks_for() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let login = login("");
    for (line, fields, expected) in [
        (format!("GET http://{to}/"), login.as_str(), 200),
        (format!("HEAD http://{to}/"), &login, 200),
        ("GET http://echo.iploop/ip".to_owned(), &login, 200),
        ("HEAD http://echo.iploop/ip".to_owned(), &login, 200),
        (format!("GET http://{to}/"), "", 407),
        (format!("CONNECT {to}"), "", 407),
        ("CONNECT 10.0.0.1:443".to_owned(), &login, 403),
        ("GET http://10.0.0.1/".to_owned(), &login, 403),
    ] {
        // The second request was sent in the hope that the first leaves the connection open.
        let second = request(&format!("GET http://{to}/second"), &login);
        let answer = world
            .ask(format!("{}{second}", request(&line, fields)).as_bytes())
            .await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        assert_eq!(field(&answer, "Connection"), Some("close"), "{line}: {answer}");
        assert_eq!(
            answer.matches("X-IPLoop-Request-Id:").count(),
            1,
            "one answer to {line}: {answer}"
        );
        assert!(
            !answer.contains("Keep-Alive") && !answer.contains("/second"),
            "{line}: {answer}"
        );
    }
}

#[tokio::test]
async fn neither_chunks_nor_interim_answers_nor_trailers_reach_it() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let world = World::start(&[to]).await;
    for (version, content) in [
        ("HTTP/1.0", "abcde"),
        ("HTTP/1.1", "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ] {
        let mut customer = world.connect().await;
        let fields = format!("{}Host: {to}\r\nConnection: close\r\n", login(""));
        customer
            .send(
                format!(
                    "POST http://{to}/ {version}\r\n{fields}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
                )
                .as_bytes(),
            )
            .await;
        let mut at_origin = origin.accept().await;
        let head = at_origin.head().await;
        assert_eq!(head.contains("Expect:"), version == "HTTP/1.1", "{head}");
        assert_eq!(at_origin.read(2).await, b"hi");
        at_origin
            .send(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
            )
            .await;
        let answer = customer.rest().await;
        let interim = if version == "HTTP/1.0" { 0 } else { 2 };
        assert_eq!(answer.matches("HTTP/1.1 1").count(), interim, "{answer}");
        if version == "HTTP/1.0" {
            let (head, got) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            for none in ["Transfer-Encoding", "Trailer", "Content-Length"] {
                assert!(!head.contains(none), "{none} in {head}");
            }
            assert_eq!(got, content);
        } else {
            assert!(answer.ends_with(content), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf",
    ] {
        let mut origin = Origin::start().await;
        let to = origin.address;
        let world = World::start(&[to]).await;
        let mut customer = world.connect().await;
        customer
            .send(request(&format!("GET http://{to}/"), &login("")).as_bytes())
            .await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        at_origin.send(answer.as_bytes()).await;
        customer.head().await;
        assert_eq!(customer.read(4).await, b"half");
        drop(at_origin);
        // Its content ends with the connection, so nothing but a reset tells the one from the other.
        let end = tokio::io::AsyncReadExt::read(&mut customer.socket, &mut [0; 8]).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_tunnel_opens_with_and_without_host() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    for host in [None, Some(to)] {
        let mut customer = world.connect().await;
        let host = host.map_or(String::new(), |host: SocketAddr| format!("Host: {host}\r\n"));
        customer
            .send(request(&format!("CONNECT {to}"), &format!("{host}{}", login(""))).as_bytes())
            .await;
        let head = customer.head().await;
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(field(&head, "Connection"), None, "a tunnel goes on: {head}");
        customer
            .send(b"GET /inside HTTP/1.1\r\nHost: inside\r\n\r\n")
            .await;
        assert!(customer.answer().await.1.starts_with("GET /inside "));
    }
}
