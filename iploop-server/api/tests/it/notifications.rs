//! What a customer wants to be told, and the mails that follow from it.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use iploop_platform::clock::Clock as _;
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::AccountId;
use iploop_platform::keys::Rate;
use iploop_platform::notices::{RateAlerts, Report};
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

async fn patch(api: &Api, token: &str, path: &str, body: Value) {
    let answer = api
        .call(Method::PATCH, path)
        .bearer(token)
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn security_mails_stop_when_they_are_switched_off_which_is_told() {
    let api = Api::new().await;
    let (_, token) = customer(&api).await;
    patch(
        &api,
        &token,
        "/api/auth/security",
        json!({"ipAllowList": ["192.0.2.0/24"]}),
    )
    .await;
    let listed = api.mail().await;
    assert_eq!(listed.subject, "The networks that may sign in were changed");
    assert!(listed.text.contains("from 1 network only"), "{}", listed.text);
    patch(
        &api,
        &token,
        "/api/auth/security",
        json!({"sessionTimeoutMinutes": 30}),
    )
    .await;
    for name in ["first", "second"] {
        let key = api
            .post("/api/proxy/keys")
            .bearer(&token)
            .json(&json!({ "name": name }));
        assert_eq!(key.send().await.status, StatusCode::CREATED);
    }
    let made = api.mail().await;
    assert_eq!(made.subject, "An API key was made");
    assert!(
        made.text.contains("Name: first. It begins with iploop_"),
        "{}",
        made.text
    );
    assert!(
        api.no_mail_is_queued().await,
        "one an hour, and none for the time-out"
    );

    set(&api, &token, json!({"securityAlerts": false})).await;
    assert_eq!(api.mail().await.subject, "Security mails are switched off");
    patch(&api, &token, "/api/auth/security", json!({"ipAllowList": []})).await;
    let body = json!({"currentPassword": crate::harness::PASSWORD, "newPassword": "a new password"});
    let changed = api
        .call(Method::PUT, "/api/auth/password")
        .bearer(&token)
        .json(&body);
    assert_eq!(changed.send().await.status, StatusCode::OK);
    assert!(api.no_mail_is_queued().await);
}

#[tokio::test]
async fn a_mail_with_a_link_survives_a_restart_and_only_the_newest_link_works() {
    let api = Api::new().await;
    customer(&api).await;
    let forgot = json!({"email": "ada@example.com"});
    for _ in 0..2 {
        api.post("/api/auth/forgot-password").json(&forgot).send().await;
    }
    let after = api.restarted().await;
    let (first, second) = (after.mail_token().await, after.mail_token().await);
    let reset = async |token: &str| {
        let body = json!({"token": token, "password": "a new password"});
        after
            .post("/api/auth/reset-password")
            .json(&body)
            .send()
            .await
            .status
    };
    assert_eq!(reset(&first).await, StatusCode::BAD_REQUEST);
    assert_eq!(reset(&second).await, StatusCode::OK);
    assert_eq!(after.mail().await.subject, "Your IPLoop password was changed");

    api.post("/api/auth/forgot-password").json(&forgot).send().await;
    api.clock.advance(Duration::from_secs(3600));
    assert!(
        after.no_mail_is_queued().await,
        "an hour later nobody waits for it any more"
    );
}

#[tokio::test]
async fn a_report_goes_by_its_readers_own_days() {
    let api = Api::new().await;
    let (account, token) = customer(&api).await;
    let zone = json!({"timeZone": "Asia/Tokyo"});
    patch(&api, &token, "/api/auth/profile", zone).await;
    crate::requests::some_request(&api, account).await;
    // From Monday, 24 November, 16:00 UTC to 21:59 on Sunday: 6:59 on Monday in Tokyo.
    let minute = Duration::from_secs(60);
    api.clock.advance(minute * (6 * 24 * 60 + 5 * 60 + 59));
    assert_eq!(api.notices.queue_reports().await.unwrap(), 0);
    api.clock.advance(minute);
    assert_eq!(
        api.notices.queue_reports().await.unwrap(),
        2,
        "a week and a month"
    );
    let mails = [api.mail().await, api.mail().await];
    let week = mails.iter().find(|mail| mail.subject.contains("week")).unwrap();
    assert!(
        week.text.contains("from 2025-11-24 to 2025-11-30 (Asia/Tokyo)"),
        "{}",
        week.text
    );
}

#[tokio::test]
async fn a_key_at_its_rate_is_mailed_once_an_hour_if_that_is_wanted() {
    let api = Api::new().await;
    let (account, token) = customer(&api).await;
    let made = api
        .post("/api/proxy/keys")
        .bearer(&token)
        .json(&json!({"name": "Crawler"}));
    assert_eq!(made.send().await.status, StatusCode::CREATED);
    api.mail().await;
    let key = api.store.api_keys(account).await.unwrap().remove(0);
    let (one, two) = (
        RateAlerts::new(Arc::clone(&api.store) as _),
        RateAlerts::new(Arc::clone(&api.store) as _),
    );
    let refused = async || {
        for alerts in [&one, &two, &one] {
            let rate = Rate {
                per_second: 20,
                burst: 40,
            };
            alerts.note(&key, rate, api.clock.now());
            alerts.tell().await.unwrap();
        }
    };
    refused().await;
    let mail = api.mail().await;
    assert_eq!(mail.subject, "A key reached its rate limit");
    for part in ["Key: Crawler (iploop_", "Requests a second: 20"] {
        assert!(mail.text.contains(part), "{}", mail.text);
    }
    assert!(api.no_mail_is_queued().await);
    api.clock.advance(Duration::from_secs(3600));
    refused().await;
    assert_eq!(api.mail().await.subject, "A key reached its rate limit");
    set(&api, &token, json!({"rateLimitAlerts": false})).await;
    api.clock.advance(Duration::from_secs(3600));
    refused().await;
    assert!(api.no_mail_is_queued().await);
}

const MAINTENANCE: &str = "/api/admin/maintenance";

fn work() -> Value {
    json!({
        "startsAt": "2025-11-30T02:00:00Z", "endsAt": "2025-11-30T04:00:00Z",
        "message": "Logins may fail for some minutes.", "reason": "a new database",
    })
}

#[tokio::test]
async fn planned_work_is_told_to_who_wants_to_know_and_is_on_record() {
    let api = Api::new().await;
    let (_, token) = customer(&api).await;
    let (_, admin) = api.admin().await;
    let announce = async |token: &str, body: Value| {
        let call = api.post(MAINTENANCE).bearer(token).json(&body);
        call.send().await
    };
    let refused = announce(&token, work()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let mut over = work();
    over["endsAt"] = json!("2025-11-20T00:00:00Z");
    let invalid = announce(&admin, over).await;
    assert_eq!(invalid.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(invalid.json()["errors"][0]["field"], "endsAt");
    assert_eq!(announce(&admin, work()).await.status, StatusCode::ACCEPTED);
    assert!(api.no_mail_is_queued().await, "off by default");

    set(&api, &token, json!({"maintenanceAlerts": true})).await;
    assert!(api.no_mail_is_queued().await, "what was told was told");
    assert_eq!(announce(&admin, work()).await.status, StatusCode::ACCEPTED);
    let mail = api.mail().await;
    assert_eq!(mail.subject, "Planned work on IPLoop");
    for part in [
        "Logins may fail",
        "From: 2025-11-30T02:00:00Z",
        "To: 2025-11-30T04:00:00Z",
    ] {
        assert!(mail.text.contains(part), "{}", mail.text);
    }
    assert!(api.no_mail_is_queued().await);
    let path = "/api/admin/audit?action=maintenance_announced";
    let audit = api.get(path).bearer(&admin).send().await.json();
    assert_eq!(audit["records"].as_array().unwrap().len(), 2);
    assert_eq!(audit["records"][0]["reason"], "a new database");
    for _ in 2..20 {
        assert_eq!(announce(&admin, work()).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(
        announce(&admin, work()).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
}

/// The same for what admins do here.
pub(crate) async fn visit_announcements(api: &Api, admin: &str) {
    api.post(MAINTENANCE).bearer(admin).json(&work()).send().await;
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
