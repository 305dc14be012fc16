//! What happens now, as server-sent events.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::ConnectInfo;
use futures_util::StreamExt as _;
use http::{Request, Response};
use iploop_platform::clock::Clock as _;
use tower::ServiceExt as _;

use crate::harness::Api;
use crate::reading::{account_with_key, record};

/// An open answer.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(api: &Api, token: &str, path: &str, last: Option<&str>) -> Self {
        let response = respond(api, token, path, last).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert!(
            response.headers()["cache-control"]
                .to_str()
                .unwrap()
                .starts_with("no-")
        );
        let mut events = Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        };
        assert!(events.next().await.unwrap().starts_with("retry: "));
        events
    }

    /// The next block; none at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

async fn respond(api: &Api, token: &str, path: &str, last: Option<&str>) -> Response<Body> {
    let mut request = Request::get(path)
        .header("host", "iploop.test")
        .header("authorization", format!("Bearer {token}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4242))));
    api.router.clone().oneshot(request).await.unwrap()
}

fn field<'a>(block: &'a str, name: &str) -> &'a str {
    let line = block.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
}

#[tokio::test]
async fn requests_come_as_they_end_and_go_on_after_the_last_one_seen() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let end = |error: Option<&'static str>| {
        let record = record(account, key, api.clock.now(), error);
        api.live.request_ended(account, || record);
    };
    let mut events = Events::open(&api, &token, "/api/live", None).await;
    end(None);
    let first = events.next().await.unwrap();
    assert_eq!(field(&first, "event"), "request");
    let shown: serde_json::Value = serde_json::from_str(field(&first, "data")).unwrap();
    assert_eq!(
        (&shown["destination"], &shown["success"]),
        (&"example.com:443".into(), &true.into())
    );
    drop(events);
    end(Some("no_exit"));
    let mut back = Events::open(
        &api,
        &token,
        "/api/live?topics=requests",
        Some(field(&first, "id")),
    )
    .await;
    let second = back.next().await.unwrap();
    assert!(field(&second, "data").contains("no_exit"), "{second}");
    let mut stranger = Events::open(&api, &token, "/api/live", Some("what is this")).await;
    assert_eq!(field(&stranger.next().await.unwrap(), "event"), "gap");
}

#[tokio::test]
async fn it_ends_with_the_login_and_when_the_process_drains() {
    let api = Api::in_memory().await;
    let (_, _, token) = account_with_key(&api, "ada@example.com").await;
    let mut events = Events::open(&api, &token, "/api/live", None).await;
    api.post("/api/auth/logout").bearer(&token).send().await;
    tokio::time::pause();
    assert_eq!(events.next().await, None, "within ten seconds");
    tokio::time::resume();

    let (_, _, token) = account_with_key(&api, "bob@example.com").await;
    let mut events = Events::open(&api, &token, "/api/live", None).await;
    api.draining.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_silent_connection_is_kept_by_comments() {
    let api = Api::in_memory().await;
    let (_, _, token) = account_with_key(&api, "ada@example.com").await;
    let mut events = Events::open(&api, &token, "/api/live", None).await;
    tokio::time::pause();
    let comment = tokio::time::timeout(Duration::from_secs(16), events.next()).await;
    assert_eq!(comment.unwrap().unwrap().trim(), ":");
}

#[tokio::test]
async fn an_account_has_few_connections_and_only_admins_see_the_network() {
    let api = Api::new().await;
    let (_, _, token) = account_with_key(&api, "ada@example.com").await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(Events::open(&api, &token, "/api/live", None).await);
    }
    let refused = api.get("/api/live").bearer(&token).send().await;
    assert_eq!(refused.problem(), (429, "too_many_live".to_owned()));
    held.pop();
    Events::open(&api, &token, "/api/live", None).await;
    let refused = api.get("/api/admin/live").bearer(&token).send().await;
    assert_eq!(refused.problem(), (403, "admin_only".to_owned()));
    let (_, admin) = api.admin().await;
    Events::open(&api, &admin, "/api/admin/live", None).await;
    let refused = api.get("/api/live?topics=passwords").bearer(&admin).send().await;
    assert_eq!(refused.problem().0, 400);
    assert_eq!(api.get("/api/live").send().await.problem().0, 401);
}

/// For the visit of every documented operation: on an API that drains, so that the answers end.
pub(crate) async fn visit_everything() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    api.draining.cancel();
    api.get("/api/live").bearer(&admin).send().await;
    api.get("/api/admin/live").bearer(&admin).send().await;
}
