//! The built-in echo: no exit, no cost, but a login.

use crate::store::KEY;
use crate::tunnels::socks_login;
use crate::world::{World, field, login, status};

fn ask(path: &str, fields: &str) -> Vec<u8> {
    format!("GET http://echo.iploop{path} HTTP/1.1\r\nHost: echo.iploop\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn the_echo_says_what_it_sees_and_costs_nothing() {
    let world = World::start(&[]).await;
    let mut customer = world.connect().await;
    customer.send(&ask("/ip", &login(""))).await;
    let (head, body) = customer.answer().await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(field(&head, "X-IPLoop-Request-Id").is_some());
    assert_eq!(body, "{\"ip\":\"127.0.0.1\"}\n");

    let fields = format!(
        "{}User-Agent: mine\r\nX-Test: a\r\nX-Test: b\r\nTE: trailers\r\n",
        login("-profile-firefox-linux")
    );
    customer.send(&ask("/headers?x", &fields)).await;
    let (_, body) = customer.answer().await;
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    let headers = seen["headers"].as_object().unwrap();
    assert_eq!(headers["X-Test"], "a, b");
    assert!(headers["User-Agent"].as_str().unwrap().contains("Firefox"));
    assert_eq!(
        headers.len(),
        3,
        "what ends at the proxy, and the login, is not there: {body}"
    );

    customer.send(&ask("/other", &login(""))).await;
    assert_eq!(status(&customer.answer().await.0), 404);
    customer.send(&ask("/ip", "")).await;
    assert_eq!(status(&customer.answer().await.0), 407);
    assert!(world.exits.asked().is_empty());
    drop(customer);
    for record in world.books().await {
        assert_eq!((record.bytes_up, record.bytes_down), (0, 0));
    }
}

#[tokio::test]
async fn at_any_other_port_the_echo_says_where_it_is() {
    let world = World::start(&[]).await;
    for ask in [
        format!(
            "CONNECT echo.iploop:443 HTTP/1.1\r\nHost: echo.iploop\r\nConnection: close\r\n{}\r\n",
            login("")
        ),
        format!(
            "GET http://echo.iploop:8080/ip HTTP/1.1\r\nHost: echo.iploop:8080\r\nConnection: close\r\n{}\r\n",
            login("-dns-gateway")
        ),
    ] {
        let answer = world.ask(ask.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 echo_is_plain_http\r\n"),
            "{answer}"
        );
        assert!(answer.contains("http://echo.iploop/ip"), "{answer}");
    }
    let mut customer = world.connect().await;
    let name = [&[5, 1, 0, 3, 11][..], b"echo.iploop", &[1, 187]].concat();
    customer
        .send(&[&[5, 1, 2][..], &socks_login(KEY), &name].concat())
        .await;
    assert_eq!(
        customer.read(14).await,
        [5, 2, 1, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]
    );
    assert!(world.exits.asked().is_empty());
}

#[tokio::test]
async fn the_echo_answers_in_tunnels_too() {
    let world = World::start(&[]).await;
    let ask = "GET /ip HTTP/1.1\r\nHost: echo.iploop\r\n\r\nHEAD /ip HTTP/1.1\r\nHost: echo.iploop\r\nConnection: close\r\n\r\n";
    let answers = |text: &str| {
        let bodies = text.matches("\r\n\r\n{\"ip\":\"127.0.0.1\"}\n").count();
        (text.matches("HTTP/1.1 200 OK\r\n").count(), bodies)
    };

    let mut customer = world.connect().await;
    let connect = format!(
        "CONNECT echo.iploop:80 HTTP/1.1\r\nHost: echo.iploop:80\r\n{}\r\n",
        login("")
    );
    customer.send(connect.as_bytes()).await;
    let head = customer.head().await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(field(&head, "X-IPLoop-Request-Id").is_some());
    customer.send(ask.as_bytes()).await;
    let rest = customer.rest().await;
    assert_eq!(answers(&rest), (2, 1), "{rest}");

    let mut customer = world.connect().await;
    let name = [&[5, 1, 0, 3, 11][..], b"echo.iploop", &[0, 80]].concat();
    let all = [&[5, 1, 2][..], &socks_login(KEY), &name, ask.as_bytes()].concat();
    customer.send(&all).await;
    assert_eq!(
        customer.read(14).await,
        [5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    );
    let rest = customer.rest().await;
    assert_eq!(answers(&rest), (2, 1), "{rest}");

    // What is no request ends the tunnel.
    let mut customer = world.connect().await;
    customer.send(connect.as_bytes()).await;
    customer.head().await;
    customer.send(b"\x16\x03\x01\x00\x05hello").await;
    assert_eq!(customer.rest().await, "");

    assert!(world.exits.asked().is_empty());
    drop(customer);
    let records = world.books().await;
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(
            (record.bytes_up, record.bytes_down, record.status),
            (0, 0, Some(200))
        );
    }
}
