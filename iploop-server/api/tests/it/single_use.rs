//! Codes that are good once, used fifty times at the same moment at two processes.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, get};
use crate::two_factor::{Guarded, challenge};

const TRIES: u8 = 50;

/// How many of fifty parallel tries succeed, each from a network of its own and every other at another process.
async fn won(api: &Api, path: &str, body: impl Fn(u8) -> Value) -> usize {
    let elsewhere = api.restarted().await;
    let tries = join_all((0..TRIES).map(|number| {
        let server = if number % 2 == 0 { api } else { &elsewhere };
        let call = server
            .post(path)
            .client(&format!("198.51.{number}.1"))
            .json(&body(number));
        async move { call.send().await.status }
    }))
    .await;
    assert!(
        tries.iter().all(|status| status.as_u16() < 500),
        "{path}: {tries:?}"
    );
    tries.iter().filter(|status| **status == StatusCode::OK).count()
}

#[tokio::test]
async fn every_code_of_a_mail_is_used_once_of_fifty_parallel_tries() {
    let api = Api::new().await;
    api.token("ada@example.com").await;
    let token = api.mail_token().await;
    let verified = won(&api, "/api/auth/verify-email", |_| json!({"token": token})).await;
    assert_eq!(verified, 1);

    api.post("/api/auth/forgot-password")
        .json(&json!({"email": "ada@example.com"}))
        .send()
        .await;
    let token = api.mail_token().await;
    let password = |number: u8| format!("a password of try {number}");
    let body = |number| json!({"token": token, "password": password(number)});
    assert_eq!(won(&api, "/api/auth/reset-password", body).await, 1);
    // It is the winner's password that holds, and no other.
    let logins = join_all((0..TRIES).map(|number| {
        let body = json!({"email": "ada@example.com", "password": password(number)});
        let call = api.post("/api/auth/login").client(&format!("198.51.{number}.2"));
        async move { call.json(&body).send().await.status }
    }))
    .await;
    let held = logins.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(held, 1, "{logins:?}");
}

#[tokio::test]
async fn a_recovery_code_is_used_once_of_fifty_parallel_tries() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let challenge = challenge(&api).await;
    let body = |_| json!({"challenge": challenge, "code": guarded.recovery_codes[0]});
    assert_eq!(won(&api, "/api/auth/login/two-factor", body).await, 1);
    let left = get(&api, &guarded.token, "/api/auth/security").await.json();
    assert_eq!(left["recoveryCodesLeft"], 9, "{left}");
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    let again = api.post("/api/auth/login").json(&login).send().await;
    assert_eq!(
        again.status,
        StatusCode::ACCEPTED,
        "the second factor is still on"
    );
}
