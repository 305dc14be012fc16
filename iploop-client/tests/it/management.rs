//! The management API.

use std::time::Duration;

use iploop_client::api::keys::CreateKeyBody;
use iploop_client::api::usage::UsageQuery;
use iploop_client::{Api, ConnectError, Error};

use crate::server::{Server, answer, busy};

const KEYS: &str = r#"{"keys": [], "maxKeys": 100, "ofANewerServer": {"a": 1}}"#;

fn api(server: &Server) -> Api {
    Api::at(&format!("http://{}", server.address)).unwrap()
}

fn new_key() -> CreateKeyBody {
    CreateKeyBody {
        name: "crawler".to_owned(),
        ..CreateKeyBody::default()
    }
}

#[tokio::test]
async fn what_changes_nothing_twice_is_asked_again_when_the_server_is_busy() {
    let good = answer("200 OK", "", KEYS);
    let server = Server::start(&[&busy("overloaded"), &busy("overloaded"), &good]).await;
    let keys = api(&server).with_token("t0ken").keys().list_keys().await.unwrap();
    assert_eq!(keys.max_keys, 100);
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    for head in asked {
        assert!(head.starts_with("GET /api/proxy/keys HTTP/1.1\r\n"), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("authorization: bearer t0ken\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn what_makes_something_is_asked_once() {
    let server = Server::start(&[&busy("overloaded"), &busy("overloaded")]).await;
    let error = api(&server).keys().create_key(&new_key()).await.unwrap_err();
    assert_eq!(error.code(), Some("overloaded"));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn patience_ends_with_the_count() {
    let busy = busy("overloaded");
    let server = Server::start(&[&busy, &busy, &busy, &busy]).await;
    let error = api(&server).keys().list_keys().await.unwrap_err();
    assert_eq!(error.refusal().unwrap().retry_after, Some(Duration::ZERO));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn queries_are_written_as_the_document_names_them() {
    let server = Server::start(&[&answer("200 OK", "Content-Type: text/csv\r\n", "day,bytes\r\n")]).await;
    let query = UsageQuery {
        days: Some(7),
        tz: Some("Europe/Berlin & more".to_owned()),
        from: Some("2026-11-01T00:00:00+01:00".parse().unwrap()),
        ..UsageQuery::default()
    };
    let table = api(&server).usage().daily_usage_csv(&query).await.unwrap();
    assert_eq!(table.content_type(), Some("text/csv"));
    assert_eq!(table.bytes(100).await.unwrap(), "day,bytes\r\n");
    let asked = server.asked();
    let target = asked[0].split(' ').nth(1).unwrap();
    assert_eq!(
        target,
        "/api/usage/daily?days=7&from=2026-10-31T23%3A00%3A00Z&tz=Europe%2FBerlin+%26+more&format=csv"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_the_apis_is_told_from_a_refusal() {
    let page = answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>");
    let server = Server::start(&[&page, &answer("200 OK", "", "{\"keys\": 1}")]).await;
    let error = api(&server).keys().list_keys().await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { status: 502, .. }), "{error}");
    let error = api(&server).keys().list_keys().await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { status: 200, .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_silence_and_a_broken_answer_are_three_errors() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    let server = Server::start(&["", cut]).await;
    let builder = Api::builder(&format!("http://{}", server.address));
    let silent = builder.patience(Duration::from_millis(50)).build().unwrap();
    let error = silent.keys().list_keys().await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let error = api(&server).keys().list_keys().await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error}");

    let nobody = Api::at("http://127.0.0.1:9").unwrap();
    let error = nobody.keys().list_keys().await.unwrap_err();
    assert!(
        matches!(error, Error::Connect(ConnectError::Refused { .. })),
        "{error}"
    );
}
