//! Registering, proving the address, passwords.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use iploop_platform::accounts::AccountsConfig;
use serde_json::json;

use crate::harness::{Api, PASSWORD, Settings};

#[tokio::test]
async fn registering_signs_in_with_five_free_gigabytes_on_starter() {
    let api = Api::new().await;
    let body = json!({
        "email": " Ada@Example.com ", "password": PASSWORD, "confirmPassword": PASSWORD,
        "firstName": "Ada", "lastName": "Lovelace", "company": "Analytical Engines",
    });
    let answer = api.post("/api/auth/register").json(&body).send().await;
    insta::assert_snapshot!("register", answer.stable());
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(
        "profile",
        api.get("/api/auth/profile").bearer(&token).send().await.stable()
    );

    let mail = api.mail().await;
    assert_eq!(mail.to.as_str(), "Ada@Example.com");
    assert!(
        mail.text
            .contains("http://iploop.test/api/auth/verify-email?token="),
        "{}",
        mail.text
    );
}

#[tokio::test]
async fn every_wrong_field_of_a_registration_is_named_at_once() {
    let api = Api::new().await;
    let body = json!({"email": "ada", "password": "short", "firstName": "A", "company": "x".repeat(256)});
    let answer = api.post("/api/auth/register").json(&body).send().await;
    insta::assert_snapshot!("register_invalid", answer.stable());
    assert_eq!(
        api.post("/api/auth/register")
            .json(&json!({}))
            .send()
            .await
            .json()["errors"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test]
async fn a_weak_password_alone_is_said_in_the_words_of_the_product() {
    let api = Api::new().await;
    let body = json!({"email": "ada@example.com", "password": "1234567", "firstName": "Ada", "lastName": "Lovelace"});
    let answer = api.post("/api/auth/register").json(&body).send().await;
    assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(answer.json()["detail"], "Password must be at least 8 characters");
}

#[tokio::test]
async fn an_address_registers_once_whatever_its_case() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let body =
        json!({"email": "ADA@example.COM", "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
    let answer = api.post("/api/auth/register").json(&body).send().await;
    assert_eq!(answer.problem(), (409, "email_taken".to_owned()));
    assert_eq!(answer.json()["detail"], "User already exists");
}

#[tokio::test]
async fn fields_that_are_not_the_customers_never_stick() {
    let api = Api::new().await;
    let body = json!({
        "email": "ada@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace",
        "role": "admin", "status": "suspended", "emailVerified": true, "email_verified": true,
        "id": "00000000-0000-0000-0000-000000000001", "bonusBytes": 9_000_000_000_000_i64,
    });
    let user = api.post("/api/auth/register").json(&body).send().await.json()["user"].clone();
    assert_eq!(user["role"], "customer");
    assert_eq!(user["status"], "active");
    assert_eq!(user["emailVerified"], false);
    assert_ne!(user["id"], "00000000-0000-0000-0000-000000000001");
}

#[tokio::test]
async fn registrations_from_one_network_are_limited() {
    let accounts = AccountsConfig {
        registrations_per_hour: 2,
        ..AccountsConfig::default()
    };
    let api = Api::with(Settings {
        accounts,
        ..Settings::default()
    })
    .await;
    let register = |number: u32, client: &'static str| {
        let email = format!("ada{number}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
        api.post("/api/auth/register").client(client).json(&body).send()
    };
    assert_eq!(register(1, "2001:db8::1").await.status, StatusCode::CREATED);
    assert_eq!(register(2, "2001:db8::2").await.status, StatusCode::CREATED);
    let refused = register(3, "2001:db8::3").await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
    assert_eq!(refused.header("retry-after"), "1800");
    assert_eq!(register(4, "2001:db8:0:1::1").await.status, StatusCode::CREATED);
    api.clock.advance(Duration::from_secs(1800));
    assert_eq!(register(3, "2001:db8::3").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_verification_link_verifies_by_its_button_only_and_once() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let link = api.mail_token().await;
    let page = api
        .get(&format!("/api/auth/verify-email?token={link}"))
        .send()
        .await;
    assert_eq!(page.status, StatusCode::OK);
    insta::assert_snapshot!("verify_page", page.text.replace(&link, "[token]"));
    let verified = async || {
        let profile = api.get("/api/auth/profile").bearer(&token).send().await.json();
        profile["user"]["emailVerified"].as_bool().unwrap()
    };
    assert!(
        !verified().await,
        "opening the link is not enough: mail scanners do"
    );

    let pressed = api
        .post("/api/auth/verify-email")
        .form(&format!("token={link}"))
        .send()
        .await;
    assert_eq!(pressed.status, StatusCode::OK);
    assert!(
        pressed.text.contains("Your email address is verified"),
        "{}",
        pressed.text
    );
    assert!(verified().await);
    assert_eq!(
        api.changes.accounts.lock().len(),
        1,
        "the gateway hears of it at once"
    );

    for again in [
        api.get(&format!("/api/auth/verify-email?token={link}"))
            .send()
            .await,
        api.post("/api/auth/verify-email")
            .form(&format!("token={link}"))
            .send()
            .await,
    ] {
        assert_eq!(again.status, StatusCode::BAD_REQUEST);
        assert!(again.header("content-type").starts_with("text/html"));
    }
    let again = api
        .post("/api/auth/verify-email")
        .json(&json!({"token": link}))
        .send()
        .await;
    assert_eq!(again.problem(), (400, "invalid_token".to_owned()));
}

#[tokio::test]
async fn a_verification_link_is_good_for_a_day() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let link = api.mail_token().await;
    api.clock.advance(Duration::from_secs(24 * 3600));
    let late = api
        .post("/api/auth/verify-email")
        .json(&json!({"token": link}))
        .send()
        .await;
    assert_eq!(late.problem(), (400, "invalid_token".to_owned()));
}

#[tokio::test]
async fn another_verification_mail_replaces_the_first_and_is_limited() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let first = api.mail_token().await;
    for _ in 0..6 {
        let answer = api
            .post("/api/auth/resend-verification")
            .bearer(&token)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let refused = api
        .post("/api/auth/resend-verification")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));

    let mut newest = String::new();
    for _ in 0..6 {
        newest = api.mail_token().await;
    }
    let old = api
        .post("/api/auth/verify-email")
        .json(&json!({"token": first}))
        .send()
        .await;
    assert_eq!(old.problem(), (400, "invalid_token".to_owned()));
    let verified = api
        .post("/api/auth/verify-email")
        .json(&json!({"token": newest}))
        .send()
        .await;
    assert_eq!(verified.status, StatusCode::OK);
    let needless = api
        .post("/api/auth/resend-verification")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(needless.problem(), (409, "already_verified".to_owned()));
}

#[tokio::test]
async fn forgot_password_answers_alike_for_known_and_unknown_addresses() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    api.mail().await;
    let forgot = |email: &'static str| {
        api.post("/api/auth/forgot-password")
            .json(&json!({"email": email}))
            .send()
    };
    let unknown = forgot("eve@example.com").await;
    let known = forgot("Ada@example.com").await;
    assert_eq!((unknown.status, &unknown.text), (known.status, &known.text));
    let mail = api.mail().await;
    assert_eq!(
        mail.to.as_str(),
        "ada@example.com",
        "to the address on file; the unknown one, asked first, got none"
    );
    assert!(api.no_mail_is_queued().await);
}

#[tokio::test]
async fn a_reset_link_sets_the_password_once_and_ends_every_login() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    api.mail().await;
    api.post("/api/auth/forgot-password")
        .json(&json!({"email": "ada@example.com"}))
        .send()
        .await;
    let link = api.mail_token().await;
    let good = api
        .get(&format!("/api/auth/verify-reset-token?token={link}"))
        .send()
        .await;
    assert_eq!(good.json(), json!({"valid": true}));
    let weak = api
        .post("/api/auth/reset-password")
        .json(&json!({"token": link, "password": "short"}))
        .send()
        .await;
    assert_eq!(weak.problem(), (400, "invalid_fields".to_owned()));

    let reset = |password: String| {
        api.post("/api/auth/reset-password")
            .json(&json!({"token": link, "password": password}))
            .send()
    };
    let tries = join_all((0..20).map(|number| reset(format!("password number {number}")))).await;
    let won: Vec<usize> = tries
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.status == StatusCode::OK)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(won.len(), 1, "exactly one of many parallel tries");
    let old = api.get("/api/auth/profile").bearer(&token).send().await;
    assert_eq!(old.problem(), (401, "token_revoked".to_owned()));
    let body = json!({"email": "ada@example.com", "password": format!("password number {}", won[0])});
    assert_eq!(
        api.post("/api/auth/login").json(&body).send().await.status,
        StatusCode::OK
    );
    let used = api
        .get(&format!("/api/auth/verify-reset-token?token={link}"))
        .send()
        .await;
    assert_eq!(used.problem(), (400, "invalid_token".to_owned()));
}

#[tokio::test]
async fn the_reset_page_works_without_script() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    api.mail().await;
    api.post("/api/auth/forgot-password")
        .json(&json!({"email": "ada@example.com"}))
        .send()
        .await;
    let mail = api.mail().await;
    let (_, rest) = mail.text.split_once("http://iploop.test").unwrap();
    let path = rest.split_whitespace().next().unwrap();
    let page = api.get(path).send().await;
    let (_, link) = path.split_once("?token=").unwrap();
    insta::assert_snapshot!("reset_page", page.text.replace(link, "[token]"));

    let weak = api
        .post("/api/auth/reset-password")
        .form(&format!("token={link}&password=short"))
        .send()
        .await;
    assert_eq!(weak.status, StatusCode::BAD_REQUEST);
    assert!(weak.text.contains("Password must be at least 8 characters") && weak.text.contains("<form"));
    let done = api
        .post("/api/auth/reset-password")
        .form(&format!("token={link}&password=a+new+password"))
        .send()
        .await;
    assert_eq!(done.status, StatusCode::OK);
    let body = json!({"email": "ada@example.com", "password": "a new password"});
    assert_eq!(
        api.post("/api/auth/login").json(&body).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_reset_link_is_good_for_an_hour() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    api.mail().await;
    api.post("/api/auth/forgot-password")
        .json(&json!({"email": "ada@example.com"}))
        .send()
        .await;
    let link = api.mail_token().await;
    api.clock.advance(Duration::from_secs(3600));
    let late = api
        .post("/api/auth/reset-password")
        .json(&json!({"token": link, "password": PASSWORD}))
        .send()
        .await;
    assert_eq!(late.problem(), (400, "invalid_token".to_owned()));
}

#[tokio::test]
async fn changing_the_password_needs_the_current_one_and_ends_other_logins() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let change = |current: &str, new: &str| {
        let body = json!({"currentPassword": current, "newPassword": new});
        api.call(Method::PUT, "/api/auth/password")
            .bearer(&token)
            .json(&body)
            .send()
    };
    let wrong = change("not the password", "a new password").await;
    assert_eq!(wrong.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(wrong.json()["errors"][0]["field"], "currentPassword");
    let weak = change(PASSWORD, "short").await;
    assert_eq!(weak.json()["errors"][0]["field"], "newPassword");

    let changed = change(PASSWORD, "a new password").await;
    assert_eq!(changed.status, StatusCode::OK);
    assert!(changed.header("set-cookie").starts_with("iploop_session="));
    let old = api.get("/api/auth/profile").bearer(&token).send().await;
    assert_eq!(old.problem(), (401, "token_revoked".to_owned()));
    let fresh = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        api.get("/api/auth/profile").bearer(&fresh).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn of_parallel_changes_of_a_password_one_counts() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let answers = join_all((0..5).map(|number| {
        let body = json!({"currentPassword": PASSWORD, "newPassword": format!("another password {number}")});
        let call = api.call(Method::PUT, "/api/auth/password");
        call.bearer(&token).json(&body).send()
    }))
    .await;
    let changed: Vec<usize> = (0..5)
        .filter(|number| answers[*number].status == StatusCode::OK)
        .collect();
    assert_eq!(changed.len(), 1, "the others' current password was none any more");
    let password = format!("another password {}", changed[0]);
    let body = json!({"email": "ada@example.com", "password": password});
    let login = api.post("/api/auth/login").json(&body).send().await;
    assert_eq!(login.status, StatusCode::OK);
}
