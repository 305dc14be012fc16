//! Requests through the proxy.

use iploop_client::http::{Method, Request};
use iploop_client::targeting::Targeting;
use iploop_client::{Customer, Error};

use crate::server::{Server, answer, busy};

fn customer(server: &Server) -> Customer {
    let key = format!("iploop_{}", "0a".repeat(24));
    Customer::at(&format!("http://{}", server.address), &key).unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (there, value) = line.split_once(": ")?;
        there.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn a_forwarded_request_names_the_whole_address_and_the_login() {
    let server = Server::start(&[&answer("200 OK", "X-IPLoop-Exit-Country: US\r\n", "hello")]).await;
    let customer = customer(&server).with(Targeting::parse("country-US").unwrap());
    let got = customer.get("http://example.com:8080/a?b=c").await.unwrap();
    assert_eq!(got.told.exit.country.as_deref(), Some("US"));
    assert!(!got.headers.contains_key("x-iploop-exit-country"));
    assert_eq!(got.bytes(5).await.unwrap(), "hello");
    let head = server.asked().remove(0);
    assert!(
        head.starts_with("GET http://example.com:8080/a?b=c HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "host"), Some("example.com:8080"));
    assert!(
        field(&head, "proxy-authorization").unwrap().starts_with("Basic "),
        "{head}"
    );
    assert_eq!(field(&head, "x-iploop-rotate"), None);
}

#[tokio::test]
async fn a_tunnel_that_is_refused_says_the_gateways_code() {
    let refused = "X-IPLoop-Error: credentials_invalid\r\nX-IPLoop-Request-Id: 0193a1b2-0000-7000-8000-000000000001\r\n";
    let server = Server::start(&[&answer("407 credentials_invalid", refused, "not a document")]).await;
    let error = customer(&server)
        .rotating()
        .get("https://example.com/")
        .await
        .unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.status(), refusal.code()), (407, "credentials_invalid"));
    assert_eq!(
        refusal.problem.request_id.to_string(),
        "0193a1b2-0000-7000-8000-000000000001"
    );
    let head = server.asked().remove(0);
    assert!(head.starts_with("CONNECT example.com:443 HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "x-iploop-rotate"), Some("1"));
}

#[tokio::test]
async fn a_destinations_own_error_is_its_answer_and_not_repeated() {
    let server = Server::start(&[&answer("503 Busy", "Retry-After: 0\r\n", "busy")]).await;
    let got = customer(&server).get("http://example.com/").await.unwrap();
    assert_eq!(got.status, 503);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_tunnel_refused_by_something_else_is_no_refusal_of_ours() {
    let server = Server::start(&[&answer("403 Forbidden", "", "go away")]).await;
    let error = customer(&server).get("https://example.com/").await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { status: 403, .. }), "{error}");
}

#[tokio::test]
async fn what_the_gateway_refuses_for_now_is_repeated_if_it_is_safe() {
    let good = answer("200 OK", "", "");
    let server = Server::start(&[&busy("no_exit"), &busy("draining"), &good]).await;
    assert_eq!(
        customer(&server).get("http://example.com/").await.unwrap().status,
        200
    );
    assert_eq!(server.asked().len(), 3);

    let server = Server::start(&[&busy("no_exit"), &good]).await;
    let order = Request::builder().method(Method::POST).uri("http://example.com/");
    let error = customer(&server)
        .request(order.body("one".into()).unwrap())
        .await
        .unwrap_err();
    assert_eq!((error.code(), server.asked().len()), (Some("no_exit"), 1));

    // What stays so is not asked again.
    let server = Server::start(&[&busy("session_exit_gone"), &good]).await;
    let error = customer(&server).get("http://example.com/").await.unwrap_err();
    assert_eq!(
        (error.code(), server.asked().len()),
        (Some("session_exit_gone"), 1)
    );
}

#[tokio::test]
async fn what_is_no_address_is_not_sent() {
    let server = Server::start(&[]).await;
    for url in ["/path", "ftp://example.com/", "http://ada:secret@example.com/"] {
        let error = customer(&server).get(url).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{url}: {error}");
    }
    let tunnel = Request::builder()
        .method(Method::CONNECT)
        .uri("http://example.com/");
    let error = customer(&server)
        .request(tunnel.body("".into()).unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
