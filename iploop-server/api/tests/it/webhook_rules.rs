//! What may be made of webhooks, by whom, and how often.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use iploop_platform::clock::Clock as _;
use iploop_platform::events::EventKind;
use serde_json::{Value, json};

use crate::harness::Api;
use crate::receiver::{Receiver, Reply};
use crate::webhooks::{PATH, api_for, create, customer, delivery, happen, path};

#[tokio::test]
async fn private_and_plain_addresses_are_refused() {
    let api = Api::new().await;
    let (_, token) = customer(&api).await;
    for (url, word) in [
        ("http://example.com/hook", "https"),
        ("https://127.0.0.1/hook", "public"),
        ("https://[::1]/hook", "public"),
        ("https://[::ffff:10.0.0.1]/hook", "public"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://10.1.2.3/hook", "public"),
        ("https://192.168.0.1/hook", "public"),
        ("https://localhost/hook", "public"),
        ("https://0x7f.1/hook", "address"),
        ("https://2130706433/hook", "address"),
        ("https://user:pw@example.com/", "address"),
        ("https://example.com:22/", "port"),
        ("ftp://example.com/", "address"),
        ("", "address"),
    ] {
        let body = json!({"url": url, "events": ["balance.low"]});
        let answer = api.post(PATH).bearer(&token).json(&body).send().await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{url}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{url}: {detail}");
    }
    let body =
        json!({"url": "https://203.0.114.5/", "events": ["balance.lo"], "description": "x".repeat(201)});
    let answer = api.post(PATH).bearer(&token).json(&body).send().await;
    assert_eq!(
        answer.json()["errors"].as_array().unwrap().len(),
        2,
        "{}",
        answer.text
    );
    for events in [json!([]), json!(["test"])] {
        let body = json!({"url": "https://203.0.114.5/", "events": events});
        let answer = api.post(PATH).bearer(&token).json(&body).send().await;
        assert_eq!(answer.problem().0, 400);
    }
}

#[tokio::test]
async fn a_strangers_webhook_does_not_exist_and_its_secret_is_shown_to_its_owner_only() {
    let receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let stranger = api.token("eve@example.com").await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let secret = webhook["secret"].as_str().unwrap();
    let event = happen(&api, account, EventKind::BalanceLow).await;
    let one = path(&webhook);
    for (method, path, body) in [
        (Method::GET, one.clone(), None),
        (Method::PUT, one.clone(), Some(json!({"isActive": false}))),
        (Method::POST, format!("{one}/test"), None),
        (Method::POST, format!("{one}/regenerate-secret"), None),
        (Method::POST, format!("{one}/reveal-secret"), None),
        (Method::GET, format!("{one}/deliveries"), None),
        (Method::GET, format!("{one}/deliveries/{}", event.id), None),
        (
            Method::POST,
            format!("{one}/deliveries/{}/replay", event.id),
            None,
        ),
        (
            Method::POST,
            format!("{one}/replay"),
            Some(json!({"since": api.clock.now()})),
        ),
        (Method::DELETE, one.clone(), None),
    ] {
        let mut call = api.call(method.clone(), &path).bearer(&stranger);
        if let Some(body) = &body {
            call = call.json(body);
        }
        assert_eq!(call.send().await.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(
            api.call(method.clone(), &path).send().await.status,
            StatusCode::UNAUTHORIZED,
            "{method} {path}"
        );
    }
    for text in [
        api.get(PATH).bearer(&token).send().await.text,
        api.get(&one).bearer(&token).send().await.text,
        api.get(&format!("{one}/deliveries/{}", event.id))
            .bearer(&token)
            .send()
            .await
            .text,
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(
        api.get(PATH).bearer(&stranger).send().await.json()["webhooks"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn twenty_webhooks_are_the_most_also_under_parallel_tries() {
    let receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (_, token) = customer(&api).await;
    let body = json!({"url": receiver.url(), "events": ["balance.low"]});
    let tries = join_all((0..24).map(|_| api.post(PATH).bearer(&token).json(&body).send())).await;
    let refused: Vec<_> = tries
        .iter()
        .filter(|answer| answer.status != StatusCode::CREATED)
        .collect();
    assert_eq!(refused.len(), 4);
    assert!(
        refused
            .iter()
            .all(|answer| answer.problem() == (409, "too_many".to_owned()))
    );
}

#[tokio::test]
async fn an_owner_says_how_long_and_how_often_a_delivery_is_tried() {
    let mut receiver = Receiver::new().await;
    receiver.replies.lock().push_back(Reply::status(500));
    let url = receiver.url();
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let wanted = |timeout: u32, retries: u32| {
        json!({
            "url": url, "events": ["balance.low"], "timeoutSeconds": timeout, "maxRetries": retries,
        })
    };
    for (timeout, retries, field) in [
        (0, 7, "timeoutSeconds"),
        (31, 7, "timeoutSeconds"),
        (30, 8, "maxRetries"),
    ] {
        let refused = api
            .post(PATH)
            .bearer(&token)
            .json(&wanted(timeout, retries))
            .send()
            .await;
        assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    let made = api.post(PATH).bearer(&token).json(&wanted(30, 0)).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let webhook = made.json();
    assert_eq!(
        (&webhook["timeoutSeconds"], &webhook["maxRetries"]),
        (&json!(30), &json!(0))
    );
    let event = happen(&api, account, EventKind::BalanceLow).await;
    receiver.next().await;
    let ended = delivery(&api, &token, &webhook, &event, 1).await;
    assert_eq!(ended["state"], "failed", "no second try");

    let change = async |body: Value| {
        let call = api.call(Method::PUT, &path(&webhook)).bearer(&token).json(&body);
        call.send().await
    };
    assert_eq!(change(json!({"maxRetries": 9})).await.problem().0, 400);
    let changed = change(json!({"timeoutSeconds": null, "maxRetries": 3}))
        .await
        .json();
    assert_eq!(
        (&changed["timeoutSeconds"], &changed["maxRetries"]),
        (&Value::Null, &json!(3))
    );
    let same = change(json!({"description": "other"})).await.json();
    assert_eq!(same["maxRetries"], 3, "what is absent stays");
}

#[tokio::test]
async fn replays_have_a_pace() {
    let receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (_, token) = customer(&api).await;
    let one = path(&create(&api, &token, &receiver.url(), &["balance.low"]).await);
    let replay = async |place: &str, body: Value| {
        let call = api.post(&format!("{one}/{place}")).bearer(&token);
        call.json(&body).send().await
    };
    let nowhere = "deliveries/01900000-0000-7000-8000-0000000000ff/replay";
    for _ in 0..100 {
        assert_eq!(replay(nowhere, json!({})).await.problem().0, 404);
    }
    let refused = replay(nowhere, json!({})).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (429, "10")
    );
    let since = json!({ "since": api.clock.now() });
    for _ in 0..5 {
        assert_eq!(replay("replay", since.clone()).await.status, StatusCode::ACCEPTED);
    }
    let refused = replay("replay", since.clone()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (429, "600")
    );
    api.clock.advance(Duration::from_secs(600));
    assert_eq!(replay("replay", since).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn addresses_are_set_at_a_pace_and_what_asks_no_resolver_at_any() {
    let receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (_, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let change = async |body: Value| {
        let call = api.call(Method::PUT, &path(&webhook)).bearer(&token).json(&body);
        call.send().await
    };
    for _ in 1..60 {
        assert_eq!(
            change(json!({ "url": receiver.url() })).await.status,
            StatusCode::OK
        );
        assert_eq!(change(json!({ "url": "nothing" })).await.problem().0, 400);
    }
    let refused = change(json!({ "url": receiver.url() })).await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
    assert_eq!(refused.header("retry-after"), "20");
    let body = json!({ "url": receiver.url(), "events": ["balance.low"] });
    let refused = api.post(PATH).bearer(&token).json(&body).send().await;
    assert_eq!(refused.problem().0, 429, "a new one sets an address as well");
    assert_eq!(change(json!({ "isActive": true })).await.status, StatusCode::OK);
    let other = api.token("eve@example.com").await;
    let made = api.post(PATH).bearer(&other).json(&body).send().await;
    assert_eq!(made.status, StatusCode::CREATED);
    api.clock.advance(Duration::from_secs(20));
    assert_eq!(
        change(json!({ "url": receiver.url() })).await.status,
        StatusCode::OK
    );
}
