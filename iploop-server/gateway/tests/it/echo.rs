//! The built-in echo: no exit, no cost, but a login.

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
