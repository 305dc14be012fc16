//! What a customer wants to be told, and the mails that follow from it.

use std::time::Duration;

use http::{Method, StatusCode};
use iploop_platform::clock::Clock as _;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::AccountId;
use iploop_platform::notices::Report;
use serde_json::{Value, json};

use crate::harness::Api;

const PATH: &str = "/api/auth/notifications";

async fn customer(api: &Api) -> (AccountId, String) {
    let login = api.register("ada@example.com").await;
    let verify = api.mail_token().await;
    api.post("/api/auth/verify-email")
        .json(&json!({"token": verify}))
        .send()
        .await;
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    (account, login["token"].as_str().unwrap().to_owned())
}

async fn set(api: &Api, token: &str, body: Value) -> Value {
    let answer = api.call(Method::PUT, PATH).bearer(token).json(&body).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn happen(api: &Api, account: AccountId, kind: EventKind, data: Value) {
    let event = Event::new(account, kind, api.clock.now(), data);
    api.store.publish(&[event]).await.unwrap();
}

#[tokio::test]
async fn preferences_have_their_defaults_and_change_one_by_one() {
    let api = Api::new().await;
    let (_, token) = customer(&api).await;
    let defaults = api.get(PATH).bearer(&token).send().await;
    insta::assert_snapshot!(defaults.stable());
    let changed = set(
        &api,
        &token,
        json!({"weeklyReports": false, "usageThresholdPercent": 90}),
    )
    .await;
    assert_eq!(
        (&changed["weeklyReports"], &changed["monthlyReports"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(api.get(PATH).bearer(&token).send().await.json(), changed);
    for (body, code) in [
        (json!({"usageThresholdPercent": 0}), "invalid_fields"),
        (json!({"usageThresholdPercent": 101}), "invalid_fields"),
        (json!({"balanceLowBytes": -1}), "invalid_fields"),
        (json!({"weekly": false}), "malformed_body"),
    ] {
        let answer = api
            .call(Method::PUT, PATH)
            .bearer(&token)
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn mails_follow_from_events_as_far_as_they_are_wanted() {
    let api = Api::new().await;
    let (account, token) = customer(&api).await;
    let data = json!({"percentUsed": 81, "balanceBytes": 950_000_000});
    happen(&api, account, EventKind::QuotaWarning, data.clone()).await;
    assert_eq!(api.notices.send_due().await.unwrap(), 1);
    let mail = api.mail().await;
    assert_eq!(
        (mail.to.as_str(), mail.subject.as_str()),
        ("ada@example.com", "Most of your traffic is used")
    );
    assert!(
        mail.text.contains("81 % of your last top-up") && mail.text.contains("0.95 GB"),
        "{}",
        mail.text
    );
    assert!(mail.html.contains("81 % of your last top-up"));
    set(
        &api,
        &token,
        json!({"usageAlerts": false, "billingAlerts": false}),
    )
    .await;
    happen(&api, account, EventKind::QuotaExceeded, data).await;
    happen(
        &api,
        account,
        EventKind::PaymentSuccess,
        json!({"amount": "49.00", "currency": "USD"}),
    )
    .await;
    happen(
        &api,
        account,
        EventKind::PaymentFailed,
        json!({"amount": "49.00", "currency": "USD"}),
    )
    .await;
    assert_eq!(api.notices.send_due().await.unwrap(), 3);
    assert_eq!(
        api.mail().await.subject,
        "A payment did not go through",
        "in any case"
    );
    assert!(api.no_mail_is_queued().await);
    assert_eq!(api.notices.send_due().await.unwrap(), 0);
}

#[tokio::test]
async fn a_report_goes_out_once_to_who_used_something_and_one_click_ends_it() {
    let api = Api::new().await;
    let (account, _) = customer(&api).await;
    api.token("idle@example.com").await;
    let verify = api.mail_token().await;
    api.post("/api/auth/verify-email")
        .json(&json!({"token": verify}))
        .send()
        .await;
    crate::requests::some_request(&api, account).await;
    // The clock of these tests starts on Monday, 24 November 2025, 16:00.
    let week = Duration::from_secs(7 * 24 * 3600);
    api.clock.advance(week);
    let restarted = api.restarted().await;
    assert_eq!(
        api.notices.queue_reports().await.unwrap() + restarted.notices.queue_reports().await.unwrap(),
        4,
        "a week and a month for two"
    );
    while api.notices.send_due().await.unwrap() > 0 {}
    let (mut first, mut second) = (api.mail().await, api.mail().await);
    if first.subject.contains("month") {
        std::mem::swap(&mut first, &mut second);
    }
    assert!(
        first.subject.starts_with("Your IPLoop week: "),
        "{}",
        first.subject
    );
    assert!(
        first.text.contains("from 2025-11-24 to 2025-11-30 (UTC)"),
        "{}",
        first.text
    );
    assert!(
        second.text.contains("from 2025-11-01 to 2025-11-30 (UTC)"),
        "{}",
        second.text
    );
    assert!(api.no_mail_is_queued().await, "the idle one gets none");

    let link = first.unsubscribe.unwrap();
    let path = link.strip_prefix("http://iploop.test").unwrap();
    let page = api.get(path).send().await;
    assert!(
        page.status == StatusCode::OK && page.text.contains("<button>"),
        "{}",
        page.text
    );
    let weekly = async || {
        let login = json!({"email": "ada@example.com", "password": crate::harness::PASSWORD});
        let token = api.post("/api/auth/login").json(&login).send().await.json()["token"]
            .as_str()
            .unwrap()
            .to_owned();
        let found = api.get(PATH).bearer(&token).send().await.json();
        (found["weeklyReports"].clone(), found["monthlyReports"].clone())
    };
    assert_eq!(weekly().await, (json!(true), json!(true)), "looking ends nothing");
    let click = api.post(path).form("List-Unsubscribe=One-Click").send().await;
    assert_eq!(click.status, StatusCode::OK);
    assert_eq!(weekly().await, (json!(false), json!(true)));
    for bad in ["/api/mail/unsubscribe", "/api/mail/unsubscribe?token=a.weekly.b"] {
        assert_eq!(api.post(bad).send().await.status, StatusCode::BAD_REQUEST);
        assert_eq!(api.get(bad).send().await.status, StatusCode::BAD_REQUEST);
    }
    api.clock.advance(week);
    crate::requests::some_request(&api, account).await;
    api.clock.advance(week);
    api.notices.queue_reports().await.unwrap();
    while api.notices.send_due().await.unwrap() > 0 {}
    assert!(api.no_mail_is_queued().await);
}

/// Every operation with its success, for the check of the document.
pub(crate) async fn visit_everything(api: &Api, token: &str, account: AccountId) {
    api.get(PATH).bearer(token).send().await;
    set(api, token, json!({"balanceLowBytes": 5})).await;
    let link = api.notices.report_link(account, Report::Monthly);
    let path = link.strip_prefix("http://iploop.test").unwrap();
    api.get(path).send().await;
    api.post(path).send().await;
}
