//! `POST /api/proxy/test`: a request through a proxy, which here is a few lines that note what they got.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{Api, Settings};

/// A proxy that answers every connection with this text; the heads that it got.
async fn proxy(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (at, heads)
}

async fn api_with(answer: &'static str) -> (Api, Arc<Mutex<Vec<String>>>, String, String) {
    let (at, heads) = proxy(answer).await;
    let api = Api::with(Settings {
        proxy_at: Some(at),
        ..Settings::default()
    })
    .await;
    let token = api.token("ada@example.com").await;
    let body = json!({"name": "one"});
    let made = api
        .post("/api/proxy/keys")
        .bearer(&token)
        .json(&body)
        .send()
        .await;
    let key = made.json()["key"].as_str().unwrap().to_owned();
    (api, heads, token, key)
}

async fn send(api: &Api, token: &str, body: &Value) -> Value {
    let answer = api.post("/api/proxy/test").bearer(token).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

const SERVED: &str = "HTTP/1.1 200 OK\r\nX-IPLoop-Exit-Country: DE\r\nX-IPLoop-Request-Id: 77\r\n\
                      Content-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_trial_goes_through_the_proxy_with_the_key_and_says_how_it_went() {
    let (api, heads, token, key) = api_with(SERVED).await;
    let body = json!({"apiKey": key, "targeting": "country-DE", "url": "http://example.com/x?y"});
    let answer = send(&api, &token, &body).await;
    assert_eq!(
        (
            &answer["success"],
            &answer["statusCode"],
            &answer["exitCountry"],
            &answer["bytesRead"]
        ),
        (&json!(true), &json!(200), &json!("DE"), &json!(5))
    );
    assert_eq!(answer["requestId"], "77");
    let head = heads.lock().pop().unwrap();
    assert!(
        head.starts_with("GET http://example.com/x?y HTTP/1.1\r\n"),
        "{head}"
    );
    let (_, login) = head.split_once("proxy-authorization: Basic ").unwrap();
    assert!(login.len() > 60);
}

#[tokio::test]
async fn a_refusal_of_the_proxy_is_an_answer_with_its_code() {
    const REFUSED: &str = "HTTP/1.1 503 no_exit\r\nX-IPLoop-Error: no_exit\r\nContent-Length: 0\r\n\r\n";
    let (api, heads, token, key) = api_with(REFUSED).await;
    let answer = send(
        &api,
        &token,
        &json!({"apiKey": key, "url": "https://example.com/secret"}),
    )
    .await;
    assert_eq!(
        (&answer["success"], &answer["statusCode"], &answer["errorCode"]),
        (&json!(false), &json!(503), &json!("no_exit"))
    );
    let head = heads.lock().pop().unwrap();
    assert!(head.starts_with("CONNECT example.com:443 HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_hangs_up_is_told_as_that() {
    let (api, _, token, key) = api_with("").await;
    let answer = send(&api, &token, &json!({"apiKey": key})).await;
    assert_eq!(
        (&answer["success"], &answer["errorCode"]),
        (&json!(false), &json!("proxy_connection_lost"))
    );
}

#[tokio::test]
async fn only_ones_own_keys_and_sound_wishes_are_tried() {
    let (api, heads, token, key) = api_with(SERVED).await;
    let stranger = api.token("eve@example.com").await;
    let code = async |token: &str, body: Value| {
        let answer = api.post("/api/proxy/test").bearer(token).json(&body).send().await;
        answer.problem().1
    };
    assert_eq!(code(&stranger, json!({"apiKey": key})).await, "key_not_found");
    assert_eq!(code(&token, json!({"apiKey": "iploop_1"})).await, "key_not_found");
    let unknown = code(&token, json!({"apiKey": key, "targeting": "contry-US"})).await;
    assert_eq!(unknown, "unknown_parameter");
    for url in [
        "ftp://example.com/",
        "/x",
        "http://u:p@example.com/",
        "http:///x",
        "\r\n",
    ] {
        let refused = code(&token, json!({"apiKey": key, "url": url})).await;
        assert_eq!(refused, "invalid_fields", "{url}");
    }
    assert!(heads.lock().is_empty());
    let elsewhere = Api::new().await;
    let token = elsewhere.token("ada@example.com").await;
    let answer = elsewhere
        .post("/api/proxy/test")
        .bearer(&token)
        .json(&json!({"apiKey": key}));
    assert_eq!(answer.send().await.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn usual_wishes_are_kept_in_canonical_form_and_ready_to_use() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let none = api.get("/api/proxy/config").bearer(&token).send().await.json();
    assert_eq!(
        (&none["targeting"], &none["protocol"], &none["changedAt"]),
        (&json!(""), &json!("http"), &Value::Null)
    );
    let body = json!({"targeting": "-session-a-country-us", "protocol": "socks5"});
    let set = api
        .post("/api/proxy/config")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .json();
    assert_eq!(set["targeting"], "country-US-session-a");
    let ready = set["connectionString"].as_str().unwrap();
    assert!(
        ready.starts_with("socks5h://")
            && ready.ends_with(":API_KEY-country-US-session-a@proxy.iploop.test:1080")
    );
    assert_eq!(
        api.get("/api/proxy/config").bearer(&token).send().await.json(),
        set
    );
    for body in [
        json!({"targeting": "contry-US"}),
        json!({"targeting": "", "color": "red"}),
    ] {
        let refused = api
            .post("/api/proxy/config")
            .bearer(&token)
            .json(&body)
            .send()
            .await;
        assert_eq!(refused.problem().0, 400, "{body}");
    }
}

/// For the visit of every documented operation.
pub(crate) async fn visit_everything() {
    let (api, _, token, key) = api_with(SERVED).await;
    send(&api, &token, &json!({"apiKey": key})).await;
    api.get("/api/proxy/config").bearer(&token).send().await;
    let body = json!({"targeting": "country-US"});
    api.post("/api/proxy/config")
        .bearer(&token)
        .json(&body)
        .send()
        .await;
}
