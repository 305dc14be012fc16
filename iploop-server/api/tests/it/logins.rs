//! Logins as their owner sees and ends them, how long they may be idle, and from where they are let in.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD};

const MINUTE: Duration = Duration::from_secs(60);

async fn sign_in(api: &Api, client: &str, agent: &str) -> Answer {
    api.post("/api/auth/login")
        .client(client)
        .header("user-agent", agent)
        .json(&json!({"email": "ada@example.com", "password": PASSWORD}))
        .send()
        .await
}

async fn token_from(api: &Api, client: &str, agent: &str) -> String {
    let answer = sign_in(api, client, agent).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn sessions(api: &Api, token: &str) -> Vec<Value> {
    let answer = api.get("/api/auth/sessions").bearer(token).send().await;
    answer.json()["sessions"].as_array().unwrap().clone()
}

async fn works(api: &Api, token: &str) -> bool {
    api.get("/api/auth/profile").bearer(token).send().await.status == StatusCode::OK
}

async fn refusal(api: &Api, token: &str) -> (u16, String) {
    api.get("/api/auth/profile").bearer(token).send().await.problem()
}

async fn set_security(api: &Api, token: &str, body: Value) -> Answer {
    api.call(Method::PATCH, "/api/auth/security")
        .bearer(token)
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn an_owner_sees_every_login_and_which_one_asks() {
    let api = Api::new().await;
    let here = api.token("ada@example.com").await;
    api.clock.advance(Duration::from_secs(5));
    token_from(&api, "198.51.100.7", "Firefox on a phone").await;
    let listed = sessions(&api, &here).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (
            &listed[0]["ipAddress"],
            &listed[0]["userAgent"],
            &listed[0]["isCurrent"]
        ),
        (
            &json!("198.51.100.7"),
            &json!("Firefox on a phone"),
            &json!(false)
        )
    );
    assert_eq!(listed[1]["isCurrent"], true);
    api.clock.advance(MINUTE);
    let listed = sessions(&api, &here).await;
    assert_eq!(
        listed[0]["isCurrent"], true,
        "seen last, though not written down yet"
    );
}

#[tokio::test]
async fn an_ended_login_is_refused_here_elsewhere_and_after_a_restart() {
    let api = Api::new().await;
    let here = api.token("ada@example.com").await;
    let elsewhere = api.restarted().await;
    let lost = token_from(&api, "198.51.100.7", "lost phone").await;
    assert!(works(&elsewhere, &lost).await);
    let id = sessions(&api, &lost).await[0]["id"].as_str().unwrap().to_owned();
    let stranger = api.token("eve@example.com").await;
    let end = |token: String| {
        let path = format!("/api/auth/sessions/{id}");
        let call = api.call(Method::DELETE, &path).bearer(&token);
        async move { call.send().await }
    };
    assert_eq!(end(stranger).await.problem(), (404, "not_found".to_owned()));
    assert_eq!(end(here.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(end(here.clone()).await.problem(), (404, "not_found".to_owned()));
    let nonsense = api
        .call(Method::DELETE, "/api/auth/sessions/x")
        .bearer(&here)
        .send()
        .await;
    assert_eq!(nonsense.problem(), (404, "not_found".to_owned()));

    let revoked = (401, "token_revoked".to_owned());
    assert_eq!(refusal(&api, &lost).await, revoked);
    assert_eq!(
        refusal(&elsewhere, &lost).await,
        revoked,
        "without waiting for a refresh"
    );
    assert_eq!(refusal(&api.restarted().await, &lost).await, revoked);
    assert!(works(&api, &here).await);
}

#[tokio::test]
async fn all_other_logins_end_at_once() {
    let api = Api::new().await;
    let here = api.token("ada@example.com").await;
    let others = [
        token_from(&api, "198.51.100.7", "a").await,
        token_from(&api, "198.51.100.8", "b").await,
    ];
    let stranger = api.token("eve@example.com").await;
    let ended = api
        .call(Method::DELETE, "/api/auth/sessions")
        .bearer(&here)
        .send()
        .await;
    assert_eq!(ended.json(), json!({"ended": 2}));
    for other in others {
        assert_eq!(refusal(&api, &other).await, (401, "token_revoked".to_owned()));
    }
    assert!(works(&api, &here).await && works(&api, &stranger).await);
}

#[tokio::test]
async fn a_new_password_leaves_no_other_login_on_the_list() {
    let api = Api::new().await;
    let here = api.token("ada@example.com").await;
    token_from(&api, "198.51.100.7", "a").await;
    api.mail().await;
    api.mail().await;
    let body = json!({"currentPassword": PASSWORD, "newPassword": "a new password"});
    let changed = api
        .call(Method::PUT, "/api/auth/password")
        .bearer(&here)
        .json(&body)
        .send()
        .await;
    let fresh = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(sessions(&api, &fresh).await.len(), 1);
    assert_eq!(api.mail().await.subject, "Your IPLoop password was changed");
}

#[tokio::test]
async fn an_idle_login_ends_for_good_and_a_used_one_goes_on() {
    let api = Api::new().await;
    let idle = api.token("ada@example.com").await;
    let used = token_from(&api, "192.0.2.1", "a").await;
    let set = set_security(&api, &used, json!({"sessionTimeoutMinutes": 15})).await;
    assert_eq!(set.json()["sessionTimeoutMinutes"], 15);
    let elsewhere = api.restarted().await;
    for minute in 0..20 {
        api.clock.advance(MINUTE);
        let server = if minute % 2 == 0 { &api } else { &elsewhere };
        assert!(works(server, &used).await, "minute {minute}");
        // What the background task does.
        api.logins.refresh().await.unwrap();
        elsewhere.logins.refresh().await.unwrap();
    }
    assert_eq!(refusal(&api, &idle).await, (401, "login_idle".to_owned()));
    assert_eq!(refusal(&api, &idle).await, (401, "token_revoked".to_owned()));
    set_security(&api, &used, json!({"sessionTimeoutMinutes": null})).await;
    assert_eq!(refusal(&api, &idle).await.0, 401, "for good");
    api.clock.advance(MINUTE * 300);
    assert!(works(&api, &used).await, "no limit any more");
}

#[tokio::test]
async fn a_login_is_never_called_idle_early() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    set_security(&api, &token, json!({"sessionTimeoutMinutes": 15})).await;
    // Not written down: the minute is not over. Another process knows nothing of it.
    api.clock.advance(Duration::from_secs(59));
    assert!(works(&api, &token).await);
    api.clock.advance(MINUTE * 15 - Duration::from_millis(1));
    assert!(works(&api.restarted().await, &token).await);
    api.clock.advance(MINUTE * 15 + Duration::from_secs(75));
    assert_eq!(refusal(&api, &token).await, (401, "login_idle".to_owned()));
}

#[tokio::test]
async fn only_the_named_networks_sign_in_and_use_the_api() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let elsewhere = token_from(&api, "198.51.100.7", "a").await;
    let list = json!({"ipAllowList": ["192.0.2.0/24", "2001:db8::1", "192.0.2.9/24"]});
    let set = set_security(&api, &token, list).await;
    assert_eq!(set.json()["ipAllowList"], json!(["192.0.2.0/24", "2001:db8::1"]));
    let not_allowed = (401, "address_not_allowed".to_owned());
    let profile = api
        .get("/api/auth/profile")
        .client("198.51.100.7")
        .bearer(&elsewhere);
    assert_eq!(profile.send().await.problem(), not_allowed);
    assert_eq!(sign_in(&api, "198.51.100.7", "a").await.problem(), not_allowed);
    let body = json!({"email": "ada@example.com", "password": "not the password"});
    let wrong = api
        .post("/api/auth/login")
        .client("198.51.100.7")
        .json(&body)
        .send()
        .await;
    assert_eq!(
        wrong.problem(),
        (401, "invalid_credentials".to_owned()),
        "a guess learns nothing"
    );
    assert_eq!(sign_in(&api, "192.0.2.200", "a").await.status, StatusCode::OK);
    assert_eq!(sign_in(&api, "2001:db8::1", "a").await.status, StatusCode::OK);
    assert_eq!(
        set_security(&api, &token, json!({"ipAllowList": []}))
            .await
            .json()["ipAllowList"],
        json!([])
    );
    assert_eq!(sign_in(&api, "198.51.100.7", "a").await.status, StatusCode::OK);
}

#[tokio::test]
async fn settings_that_can_not_be_are_refused() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let many: Vec<String> = (0..51).map(|number| format!("10.0.0.{number}")).collect();
    for (body, field) in [
        (json!({"ipAllowList": ["198.51.100.0/24"]}), "ipAllowList"),
        (json!({"ipAllowList": ["192.0.2.1", "x"]}), "ipAllowList"),
        (json!({"ipAllowList": many}), "ipAllowList"),
        (json!({"sessionTimeoutMinutes": 5}), "sessionTimeoutMinutes"),
    ] {
        let refused = set_security(&api, &token, body).await;
        assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    let unknown = set_security(&api, &token, json!({"twoFactorEnabled": false})).await;
    assert_eq!(unknown.problem(), (400, "malformed_body".to_owned()));
    let security = api.get("/api/auth/security").bearer(&token).send().await;
    assert_eq!(
        security.json(),
        json!({"twoFactorEnabled": false, "recoveryCodesLeft": null, "sessionTimeoutMinutes": null, "ipAllowList": []})
    );
}

#[tokio::test]
async fn a_sign_in_from_a_new_network_is_told_once() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    api.mail().await;
    sign_in(&api, "192.0.2.99", "the same network").await;
    sign_in(&api, "198.51.100.7", "Mozilla/5.0 (X11)").await;
    sign_in(&api, "198.51.100.8", "again").await;
    let mail = api.mail().await;
    assert_eq!(mail.subject, "A sign-in to IPLoop from a new network");
    assert!(
        mail.text
            .contains("Address: 198.51.100.7. Program: Mozilla/5.0 (X11)."),
        "{}",
        mail.text
    );
    assert!(mail.text.contains("http://iploop.test/settings"), "{}", mail.text);
    // The queue keeps the order: another notice would come before this one.
    let body = json!({"email": "ada@example.com"});
    api.post("/api/auth/forgot-password").json(&body).send().await;
    assert_eq!(api.mail().await.subject, "Set a new IPLoop password");
}

#[tokio::test]
async fn a_profile_changes_in_what_is_given() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let change = async |body: Value| {
        api.call(Method::PATCH, "/api/auth/profile")
            .bearer(&token)
            .json(&body)
            .send()
            .await
    };
    let body = json!({"lastName": " King ", "company": "Engines", "phone": "0049 30/123-4567", "timeZone": "europe/london"});
    let user = change(body).await.json()["user"].clone();
    assert_eq!(
        (
            &user["firstName"],
            &user["lastName"],
            &user["company"],
            &user["phone"],
            &user["timeZone"]
        ),
        (
            &json!("Ada"),
            &json!("King"),
            &json!("Engines"),
            &json!("+49301234567"),
            &json!("Europe/London")
        )
    );
    let user = change(json!({"company": null})).await.json()["user"].clone();
    assert_eq!(
        (&user["company"], &user["phone"]),
        (&Value::Null, &json!("+49301234567"))
    );
    let profile = api.get("/api/auth/profile").bearer(&token).send().await.json();
    assert_eq!(profile["user"], user);

    let refused = change(json!({"firstName": "A", "phone": "12", "timeZone": "Mars/Olympus"})).await;
    assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 3);
    for body in [json!({"email": "eve@example.com"}), json!({"role": "admin"})] {
        assert_eq!(change(body).await.problem(), (400, "malformed_body".to_owned()));
    }
}

#[tokio::test]
async fn a_common_password_is_refused_wherever_one_is_set() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    api.mail().await;
    let common = "Password123";
    let register =
        json!({"email": "eve@example.com", "password": common, "firstName": "Eve", "lastName": "Adams"});
    let change = json!({"currentPassword": PASSWORD, "newPassword": common});
    let body = json!({"email": "ada@example.com"});
    api.post("/api/auth/forgot-password").json(&body).send().await;
    let reset = json!({"token": api.mail_token().await, "password": common});
    for (answer, field) in [
        (
            api.post("/api/auth/register").json(&register).send().await,
            "password",
        ),
        (
            api.call(Method::PUT, "/api/auth/password")
                .bearer(&token)
                .json(&change)
                .send()
                .await,
            "newPassword",
        ),
        (
            api.post("/api/auth/reset-password").json(&reset).send().await,
            "password",
        ),
    ] {
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()));
        let error = &answer.json()["errors"][0];
        assert_eq!(error["field"], field);
        assert!(error["message"].as_str().unwrap().contains("most common"));
    }
}
