//! What is no token: wrong in algorithm, type, time, issuer, account, login or password, here and after a restart.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use iploop_platform::login::SigningSecret;
use ring::hmac;
use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD};

/// 32 bytes in hex.
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn secret() -> SigningSecret {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login-secret");
    SigningSecret::load_or_create(&path).unwrap();
    // Written over: the file keeps its mode.
    fs::write(&path, SECRET).unwrap();
    SigningSecret::load(&path).unwrap().unwrap()
}

/// Signed with our key, whatever it says.
fn forged(header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &(0..32).collect::<Vec<u8>>());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

#[tokio::test]
async fn a_token_that_is_wrong_in_anything_is_refused_also_after_a_restart() {
    let api = Api::signing_with(secret()).await;
    let token = api.token("ada@example.com").await;
    let eve = api.register("eve@example.com").await;
    let (header, claims) = parts(&token);
    let (_, of_eve) = parts(eve["token"].as_str().unwrap());
    let iat = claims["iat"].as_i64().unwrap();
    let invalid = "token_invalid";
    let table = [
        (
            "algorithm none",
            with(&header, "alg", json!("none")),
            claims.clone(),
            invalid,
        ),
        (
            "algorithm HS384",
            with(&header, "alg", json!("HS384")),
            claims.clone(),
            invalid,
        ),
        (
            "algorithm RS256",
            with(&header, "alg", json!("RS256")),
            claims.clone(),
            invalid,
        ),
        (
            "type",
            with(&header, "typ", json!("challenge+jwt")),
            claims.clone(),
            invalid,
        ),
        (
            "key id",
            with(&header, "kid", json!("00000000")),
            claims.clone(),
            invalid,
        ),
        (
            "issuer",
            header.clone(),
            with(&claims, "iss", json!("elsewhere")),
            invalid,
        ),
        (
            "no expiry",
            header.clone(),
            with(&claims, "exp", Value::Null),
            invalid,
        ),
        (
            "from the future",
            header.clone(),
            with(&claims, "iat", json!(iat + 120)),
            invalid,
        ),
        (
            "expired",
            header.clone(),
            with(&claims, "exp", json!(iat)),
            "token_expired",
        ),
        (
            "no account",
            header.clone(),
            with(&claims, "sub", json!(uuid_of(7))),
            invalid,
        ),
        (
            "another's login",
            header.clone(),
            with(&claims, "jti", of_eve["jti"].clone()),
            "token_revoked",
        ),
        (
            "a login that never was",
            header.clone(),
            with(&claims, "jti", json!(uuid_of(7))),
            "token_revoked",
        ),
        (
            "another password",
            header.clone(),
            with(&claims, "pwd", json!("0123456789abcdef")),
            "token_revoked",
        ),
        (
            "another account",
            header.clone(),
            with(&claims, "sub", of_eve["sub"].clone()),
            "token_revoked",
        ),
    ];
    let restarted = api.restarted().await;
    for server in [&api, &restarted] {
        let good = forged(&header, &claims);
        let answer = server.get("/api/auth/profile").bearer(&good).send().await;
        assert_eq!(answer.status, StatusCode::OK, "the forgery itself is sound");
        for (what, header, claims, code) in &table {
            let answer = server
                .get("/api/auth/profile")
                .bearer(&forged(header, claims))
                .send()
                .await;
            assert_eq!(answer.problem(), (401, (*code).to_owned()), "{what}");
        }
    }
}

#[tokio::test]
async fn what_ended_stays_ended_after_a_restart() {
    let api = Api::new().await;
    let out = api.token("ada@example.com").await;
    api.post("/api/auth/logout").bearer(&out).send().await;
    let grace = api.token("grace@example.com").await;
    let body = json!({"currentPassword": PASSWORD, "newPassword": "a new password"});
    api.call(http::Method::PUT, "/api/auth/password")
        .bearer(&grace)
        .json(&body)
        .send()
        .await;
    let late = api.token("eve@example.com").await;
    let restarted = api.restarted().await;
    let refusal = async |token: &str| {
        restarted
            .get("/api/auth/profile")
            .bearer(token)
            .send()
            .await
            .problem()
    };
    assert_eq!(refusal(&out).await, (401, "token_revoked".to_owned()));
    assert_eq!(refusal(&grace).await, (401, "token_revoked".to_owned()));
    api.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(refusal(&late).await, (401, "token_expired".to_owned()));
    restarted.logins.refresh().await.unwrap();
    assert_eq!(
        refusal(&late).await,
        (401, "token_expired".to_owned()),
        "its row is forgotten"
    );
}

fn uuid_of(number: u8) -> String {
    format!("00000000-0000-7000-8000-0000000000{number:02x}")
}
