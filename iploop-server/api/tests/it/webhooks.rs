//! Webhooks from the customer's side: real requests to a receiver on loopback.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use iploop_platform::clock::Clock as _;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::AccountId;
use iploop_platform::webhooks::WebhooksConfig;
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{Api, NOBODY, Settings};
use crate::receiver::{Received, Receiver, Reply};

pub(crate) const PATH: &str = "/api/webhooks";

/// An API on which these receivers may be called.
pub(crate) async fn api_for(receivers: &[&Receiver]) -> Api {
    api_waiting(receivers, WebhooksConfig::default().timeout).await
}

/// The same, which waits so long for an answer.
async fn api_waiting(receivers: &[&Receiver], timeout: Duration) -> Api {
    let webhooks = WebhooksConfig {
        test_allow: receivers
            .iter()
            .map(|receiver| receiver.address.to_string())
            .collect(),
        look_every: Duration::from_millis(50),
        timeout,
        ..WebhooksConfig::default()
    };
    let settings = Settings {
        webhooks,
        ..Settings::default()
    };
    Api::with(settings).await
}

pub(crate) async fn customer(api: &Api) -> (AccountId, String) {
    let login = api.register("ada@example.com").await;
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    (account, login["token"].as_str().unwrap().to_owned())
}

pub(crate) async fn create(api: &Api, token: &str, url: &str, events: &[&str]) -> Value {
    let body = json!({"url": url, "events": events, "description": "mine"});
    let answer = api.post(PATH).bearer(token).json(&body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

pub(crate) fn path(webhook: &Value) -> String {
    format!("{PATH}/{}", webhook["id"].as_str().unwrap())
}

pub(crate) async fn happen(api: &Api, account: AccountId, kind: EventKind) -> Event {
    let event = Event::new(account, kind, api.clock.now(), json!({"balanceBytes": 7}));
    api.store.publish(std::slice::from_ref(&event)).await.unwrap();
    event
}

/// The delivery, once it is no longer as it was.
pub(crate) async fn delivery(api: &Api, token: &str, webhook: &Value, event: &Event, tries: u64) -> Value {
    let one = format!("{}/deliveries/{}", path(webhook), event.id);
    loop {
        let found = api.get(&one).bearer(token).send().await.json();
        if found["tries"].as_u64().unwrap() >= tries {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

fn standard(secret: &str, request: &Received) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, at) = (
        request.header("webhook-id").unwrap(),
        request.header("webhook-timestamp").unwrap(),
    );
    let tag = hmac::sign(&key, format!("{id}.{at}.{}", request.body).as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// A header field of a try, as the log shows it.
fn kept<'a>(try_: &'a Value, which: &str, name: &str) -> Option<&'a str> {
    let mut fields = try_[which].as_array().unwrap().iter();
    fields.find(|field| field["name"] == name)?["value"].as_str()
}

fn ours(secret: &str, request: &Received) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, request.body.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_event_arrives_signed_in_both_ways() {
    let mut receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let event = happen(&api, account, EventKind::BalanceLow).await;
    let got = receiver.next().await;
    assert!(got.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", got.head);
    let secret = webhook["secret"].as_str().unwrap();
    assert_eq!(
        got.header("webhook-signature"),
        Some(standard(secret, &got).as_str())
    );
    assert_eq!(
        got.header("x-iploop-signature"),
        Some(ours(secret, &got).as_str())
    );
    assert_eq!(got.header("x-iploop-event"), Some("balance.low"));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("webhook-id"), Some(event.id.to_string().as_str()));
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(
        (&body["event"], &body["type"]),
        (&json!("balance.low"), &json!("balance.low"))
    );
    assert_eq!(
        (&body["id"], &body["data"]),
        (&json!(event.id), &json!({"balanceBytes": 7}))
    );
    let found = delivery(&api, &token, &webhook, &event, 1).await;
    assert_eq!(
        (&found["state"], &found["statusCode"]),
        (&json!("delivered"), &json!(204))
    );
    assert_eq!(found["requestBody"], got.body);
    // What was sent is shown as it arrived, for whoever looks why a signature does not fit.
    let try_ = &found["attempts"][0];
    for name in [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-iploop-signature",
        "content-type",
    ] {
        assert_eq!(kept(try_, "requestHeaders", name), got.header(name), "{name}");
    }
    assert!(!found.to_string().contains(secret), "{found}");
    let seen = api.get(&path(&webhook)).bearer(&token).send().await.json();
    assert_eq!(
        (&seen["successRate"], &seen["failureCount"]),
        (&json!(100.0), &json!(0))
    );
    // Nothing that it did not ask for.
    happen(&api, account, EventKind::QuotaWarning).await;
    happen(&api, account, EventKind::BalanceLow).await;
    assert_eq!(
        receiver.next().await.header("x-iploop-event"),
        Some("balance.low")
    );
}

#[tokio::test]
async fn a_new_secret_signs_beside_the_old_one_for_a_day() {
    let mut receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let old = webhook["secret"].as_str().unwrap();
    let one = path(&webhook);
    let rotated = api
        .post(&format!("{one}/regenerate-secret"))
        .bearer(&token)
        .send()
        .await
        .json();
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(old, new);
    let revealed = api
        .post(&format!("{one}/reveal-secret"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(revealed, json!({"secret": new, "oldSecret": old}));
    happen(&api, account, EventKind::BalanceLow).await;
    let got = receiver.next().await;
    let both = format!("{} {}", standard(new, &got), standard(old, &got));
    assert_eq!(got.header("webhook-signature"), Some(both.as_str()));
    assert_eq!(got.header("x-iploop-signature"), Some(ours(new, &got).as_str()));
    assert_eq!(
        got.header("x-iploop-signature-old"),
        Some(ours(old, &got).as_str())
    );
    api.clock.advance(Duration::from_secs(24 * 3600));
    // The login has ended as well.
    happen(&api, account, EventKind::BalanceLow).await;
    let got = receiver.next().await;
    assert_eq!(
        got.header("webhook-signature"),
        Some(standard(new, &got).as_str())
    );
    assert_eq!(got.header("x-iploop-signature-old"), None);
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_and_body() {
    let mut receiver = Receiver::new().await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        receiver.url()
    );
    let many = format!(
        "HTTP/1.1 500 x\r\ncontent-length: 100000\r\nX-Trace: 7\r\nset-cookie: a=secret\r\n\r\n{}",
        "y".repeat(100_000)
    );
    receiver.replies.lock().extend([
        Reply::status(500),
        Reply::Raw(redirect),
        Reply::Hang,
        Reply::Raw(many),
        Reply::Raw("no HTTP at all\r\n\r\n".to_owned()),
    ]);
    let api = api_waiting(&[&receiver], Duration::from_secs(2)).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let event = happen(&api, account, EventKind::BalanceLow).await;
    let first = receiver.next().await;
    for tries in 1..=5 {
        let found = delivery(&api, &token, &webhook, &event, tries).await;
        assert_eq!(found["state"], "pending");
        // Within the life of the login.
        api.clock.advance(Duration::from_secs(4 * 3600));
        let again = receiver.next().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
        assert_ne!(
            again.header("webhook-timestamp"),
            first.header("webhook-timestamp")
        );
    }
    let found = delivery(&api, &token, &webhook, &event, 6).await;
    assert_eq!(found["state"], "delivered");
    let errors: Vec<&str> = found["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|try_| try_["error"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(errors[0], "-");
    assert!(errors[1].starts_with("no HTTP answer"), "{errors:?}");
    assert_eq!(errors[2], "answered 500");
    assert!(errors[3].starts_with("no answer within"), "{errors:?}");
    assert_eq!(errors[4..], ["answered 302", "answered 500"]);
    let attempts = &found["attempts"];
    assert_eq!(
        attempts[2]["answer"].as_str().unwrap().len(),
        4096,
        "so much of it is kept"
    );
    assert_eq!(attempts[5]["answer"], "no");
    assert_eq!(kept(&attempts[2], "answerHeaders", "x-trace"), Some("7"));
    assert_eq!(
        kept(&attempts[2], "answerHeaders", "set-cookie"),
        Some("(not kept)")
    );
    assert_eq!(attempts[3]["answerHeaders"], json!([]), "there was none");
    assert_ne!(
        kept(&attempts[0], "requestHeaders", "webhook-signature"),
        kept(&attempts[5], "requestHeaders", "webhook-signature"),
        "each try is signed anew"
    );
}

#[tokio::test]
async fn an_endless_answer_ends_with_what_is_kept_of_it() {
    let mut receiver = Receiver::new().await;
    receiver.replies.lock().push_back(Reply::Endless);
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let event = happen(&api, account, EventKind::BalanceLow).await;
    receiver.next().await;
    let found = delivery(&api, &token, &webhook, &event, 1).await;
    assert_eq!(
        (&found["state"], &found["statusCode"]),
        (&json!("delivered"), &json!(200))
    );
}

#[tokio::test]
async fn a_hanging_receiver_holds_up_nobody_else() {
    let (mut slow, mut quick) = (Receiver::new().await, Receiver::new().await);
    slow.replies.lock().extend((0..40).map(|_| Reply::Hang));
    let api = api_for(&[&slow, &quick]).await;
    let (account, token) = customer(&api).await;
    create(&api, &token, &slow.url(), &["balance.low"]).await;
    for _ in 0..20 {
        happen(&api, account, EventKind::BalanceLow).await;
    }
    slow.next().await;
    create(&api, &token, &quick.url(), &["quota.exceeded"]).await;
    happen(&api, account, EventKind::QuotaExceeded).await;
    quick.next().await;
    slow.next().await;
    assert!(slow.is_quiet(), "two at a time and no more");
}

#[tokio::test]
async fn an_answer_410_switches_it_off_and_its_owner_hears_of_it() {
    let mut receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    receiver.replies.lock().push_back(Reply::status(410));
    let event = happen(&api, account, EventKind::BalanceLow).await;
    receiver.next().await;
    delivery(&api, &token, &webhook, &event, 1).await;
    let off = api.get(&path(&webhook)).bearer(&token).send().await.json();
    assert_eq!(
        (&off["isActive"], &off["disabledBy"]),
        (&json!(false), &json!("gone"))
    );
    api.mail().await;
    let mail = api.mail().await;
    assert_eq!(mail.subject, "A webhook was switched off");
    assert!(
        mail.text.contains(&receiver.url()) && mail.text.contains("410"),
        "{}",
        mail.text
    );
}

#[tokio::test]
async fn the_test_button_says_what_came_back() {
    let mut receiver = Receiver::new().await;
    receiver.replies.lock().push_back(Reply::status(418));
    let api = api_for(&[&receiver]).await;
    let (_, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let one = path(&webhook);
    api.call(Method::PUT, &one)
        .bearer(&token)
        .json(&json!({"isActive": false}))
        .send()
        .await;
    let failed = api
        .post(&format!("{one}/test"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(
        (&failed["delivered"], &failed["statusCode"], &failed["answer"]),
        (&json!(false), &json!(418), &json!("no"))
    );
    let sent = api
        .post(&format!("{one}/test"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(
        (&sent["delivered"], &sent["statusCode"]),
        (&json!(true), &json!(204))
    );
    receiver.next().await;
    let got = receiver.next().await;
    assert_eq!(got.header("x-iploop-event"), Some("test"));
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(
        body["data"],
        json!({"message": "This is a test webhook from IPLoop"})
    );
    assert_eq!(
        got.header("webhook-signature"),
        Some(standard(webhook["secret"].as_str().unwrap(), &got).as_str())
    );
    let seen = api.get(&one).bearer(&token).send().await.json();
    assert_eq!(
        (&seen["failureCount"], &seen["successRate"]),
        (&json!(0), &Value::Null)
    );
    for _ in 0..18 {
        api.post(&format!("{one}/test")).bearer(&token).send().await;
    }
    let refused = api.post(&format!("{one}/test")).bearer(&token).send().await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
    assert_eq!(refused.header("retry-after"), "60");
}

#[tokio::test]
async fn replays_send_again_one_or_all_since_a_time() {
    let mut receiver = Receiver::new().await;
    let api = api_for(&[&receiver]).await;
    let (account, token) = customer(&api).await;
    let webhook = create(&api, &token, &receiver.url(), &["balance.low"]).await;
    let one = path(&webhook);
    let first = happen(&api, account, EventKind::BalanceLow).await;
    receiver.next().await;
    delivery(&api, &token, &webhook, &first, 1).await;
    let again = api
        .post(&format!("{one}/deliveries/{}/replay", first.id))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    let id = first.id.to_string();
    assert_eq!(receiver.next().await.header("webhook-id"), Some(id.as_str()));
    api.call(Method::PUT, &one)
        .bearer(&token)
        .json(&json!({"isActive": false}))
        .send()
        .await;
    api.clock.advance(Duration::from_secs(60));
    let since = api.clock.now();
    let missed = happen(&api, account, EventKind::BalanceLow).await;
    api.call(Method::PUT, &one)
        .bearer(&token)
        .json(&json!({"isActive": true}))
        .send()
        .await;
    let queued = api
        .post(&format!("{one}/replay"))
        .bearer(&token)
        .json(&json!({"since": since}))
        .send()
        .await;
    assert_eq!(queued.json(), json!({"queued": 1}));
    let id = missed.id.to_string();
    assert_eq!(receiver.next().await.header("webhook-id"), Some(id.as_str()));
    let list = api
        .get(&format!("{one}/deliveries?limit=1"))
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(list["deliveries"][0]["eventId"], json!(missed.id));
    let next = format!(
        "{one}/deliveries?limit=1&state=delivered&cursor={}",
        list["nextCursor"].as_str().unwrap()
    );
    let list = api.get(&next).bearer(&token).send().await.json();
    assert_eq!(list["deliveries"][0]["eventId"], json!(first.id));
}

/// Every operation with its success, for the check of the document.
pub(crate) async fn visit_everything(api: &Api, token: &str, account: AccountId) {
    let webhook = create(api, token, &format!("http://{NOBODY}/hook"), &["balance.low"]).await;
    let one = path(&webhook);
    let event = happen(api, account, EventKind::BalanceLow).await;
    for path in [
        PATH.to_owned(),
        one.clone(),
        format!("{one}/deliveries"),
        format!("{one}/deliveries/{}", event.id),
    ] {
        api.get(&path).bearer(token).send().await;
    }
    for path in [
        "test",
        "regenerate-secret",
        "reveal-secret",
        &format!("deliveries/{}/replay", event.id),
    ] {
        api.post(&format!("{one}/{path}")).bearer(token).send().await;
    }
    let since = json!({"since": api.clock.now()});
    api.post(&format!("{one}/replay"))
        .bearer(token)
        .json(&since)
        .send()
        .await;
    api.call(Method::PUT, &one)
        .bearer(token)
        .json(&json!({"description": null}))
        .send()
        .await;
    api.call(Method::DELETE, &one).bearer(token).send().await;
}
