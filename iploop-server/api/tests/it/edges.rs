//! What is nobody's endpoint, and what every answer carries.

use axum::body::{Body, Bytes};
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, Api};

#[tokio::test]
async fn unknown_paths_and_methods_are_problem_documents() {
    let api = Api::new().await;
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/api/auth",
        "/api/auth/loginx",
        "/api/proxy/keys/a/b/c",
        "/%00",
        "//",
    ] {
        assert_eq!(
            api.get(path).send().await.problem(),
            (404, "not_found".to_owned()),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::GET, "/api/auth/login", "POST"),
        (Method::DELETE, "/api/auth/profile", "GET,HEAD,PATCH"),
        (Method::OPTIONS, "/api/auth/login", "POST"),
        (Method::POST, "/", "GET,HEAD"),
        (Method::TRACE, "/healthz", "GET,HEAD"),
    ] {
        let answer = api.call(method.clone(), path).send().await;
        assert_eq!(
            answer.problem(),
            (405, "method_not_allowed".to_owned()),
            "{method} {path}"
        );
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_that_are_not_the_documented_json_are_refused() {
    let api = Api::new().await;
    let login = || api.post("/api/auth/login");
    for media in [
        "text/plain",
        "application/jsonx",
        "multipart/form-data; boundary=x",
        "",
        "application/x-www-form-urlencoded",
    ] {
        let answer = login().header("content-type", media).body("{}").send().await;
        assert_eq!(
            answer.problem(),
            (415, "unsupported_media_type".to_owned()),
            "{media}"
        );
    }
    assert_eq!(
        login().body("{}").send().await.problem(),
        (415, "unsupported_media_type".to_owned())
    );
    let deep = "[".repeat(10_000);
    for body in [
        "",
        "{",
        "nul",
        "\u{0}",
        "{\"email\":\"a\"} x",
        "{\"email\":{}}",
        "[1,2]",
        "\"\\ud800\"",
        &deep,
    ] {
        let answer = login()
            .header("content-type", "Application/JSON; charset=utf-8")
            .body(body.to_owned())
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "malformed_body".to_owned()), "{body:?}");
    }
    let not_utf8 = login()
        .header("content-type", "application/json")
        .body(&b"{\"email\":\"\xff\"}"[..])
        .send()
        .await;
    assert_eq!(not_utf8.problem(), (400, "malformed_body".to_owned()));
    let form = api
        .post("/api/auth/verify-email")
        .form("token=%ff&token=b")
        .send()
        .await;
    assert_eq!(form.problem(), (400, "malformed_body".to_owned()));
}

#[tokio::test]
async fn what_can_not_be_read_is_named() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let detail = |answer: Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    for (query, field) in [
        ("days=many", "days: "),
        ("key=x", "key: "),
        ("from=now", "from: "),
    ] {
        let path = format!("/api/usage/daily?{query}");
        let said = detail(api.get(&path).bearer(&token).send().await);
        assert!(said.starts_with(field), "{query}: {said}");
    }
    let key = json!({"name": "a", "ipWhitelist": ["192.0.2.1", 7], "limits": null});
    let said = detail(api.post("/api/proxy/keys").bearer(&token).json(&key).send().await);
    assert!(said.starts_with("ipWhitelist[1]: "), "{said}");
    let said = detail(
        api.post("/api/auth/login")
            .json(&json!({"email": 1}))
            .send()
            .await,
    );
    assert!(said.starts_with("email: "), "{said}");
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused_with_and_without_a_length() {
    let api = Api::new().await;
    let large = json!({"email": "x".repeat(64 * 1024)});
    let answer = api.post("/api/auth/login").json(&large).send().await;
    assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    let chunks =
        futures_util::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024]))));
    let answer = api
        .post("/api/auth/login")
        .header("content-type", "application/json")
        .body(Body::from_stream(chunks))
        .send()
        .await;
    assert_eq!(answer.problem(), (413, "body_too_large".to_owned()));
    let just_fits = json!({"email": "x".repeat(64 * 1024 - 12)});
    assert_eq!(just_fits.to_string().len(), 64 * 1024);
    let answer = api.post("/api/auth/login").json(&just_fits).send().await;
    assert_eq!(answer.problem(), (401, "invalid_credentials".to_owned()));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let api = Api::in_memory().await;
    // Not before the database is open: its own waits would run out in paused time.
    tokio::time::pause();
    let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = api
        .post("/api/auth/login")
        .header("content-type", "application/json")
        .body(silent)
        .send()
        .await;
    assert_eq!(answer.problem(), (408, "body_timeout".to_owned()));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_senders_fault() {
    let api = Api::new().await;
    let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("cut"))]);
    let answer = api
        .post("/api/auth/login")
        .header("content-type", "application/json")
        .body(Body::from_stream(broken))
        .send()
        .await;
    assert_eq!(answer.problem(), (400, "malformed_body".to_owned()));
}

#[tokio::test]
async fn every_answer_is_guarded_and_named() {
    let api = Api::new().await;
    for path in [
        "/",
        "/healthz",
        "/api/openapi.json",
        "/nothing",
        "/api/auth/profile",
        "/style.css",
    ] {
        let answer = api.get(path).header("x-iploop-request-id", "mine").send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'"),
            "{path}"
        );
        assert_eq!(
            answer.header("x-iploop-request-id").len(),
            36,
            "{path}: our own id, not the client's"
        );
        assert_eq!(
            answer.header("strict-transport-security"),
            "",
            "{path}: not without TLS"
        );
    }
}

#[tokio::test]
async fn other_origins_are_told_nothing() {
    let api = Api::new().await;
    let answer = api
        .get("/api/proxy/locations")
        .header("origin", "https://evil.example")
        .send()
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let api = Api::new().await;
    let answer = api.call(Method::HEAD, "/").send().await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
}
