//! The second factor: on, asked for, off, and what a code is worth.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use iploop_platform::clock::Clock as _;
use serde_json::{Value, json};
use totp_rs::Totp;

use crate::harness::{Answer, Api, PASSWORD};

const STEP: Duration = Duration::from_secs(30);

/// An account with a second factor: its token, its authenticator, its recovery codes.
pub(crate) struct Guarded {
    pub(crate) token: String,
    pub(crate) authenticator: Totp,
    pub(crate) recovery_codes: Vec<String>,
}

impl Guarded {
    pub(crate) async fn new(api: &Api, email: &str) -> Self {
        let token = api.token(email).await;
        let authenticator = set_up(api, &token).await;
        let confirmed = confirm(api, &token, &code(api, &authenticator)).await;
        assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text);
        let codes = confirmed.json()["recoveryCodes"].as_array().unwrap().clone();
        Self {
            token,
            authenticator,
            recovery_codes: codes
                .iter()
                .map(|code| code.as_str().unwrap().to_owned())
                .collect(),
        }
    }
}

/// What the authenticator shows now.
pub(crate) fn code(api: &Api, authenticator: &Totp) -> String {
    let seconds = u64::try_from(api.clock.now().as_millis() / 1000).unwrap();
    authenticator.generate(seconds).to_string()
}

async fn set_up(api: &Api, token: &str) -> Totp {
    let body = json!({"password": PASSWORD});
    let answer = api
        .post("/api/auth/two-factor/setup")
        .bearer(token)
        .json(&body)
        .send()
        .await;
    let answer = answer.json();
    assert!(answer["qrSvg"].as_str().unwrap().contains("<svg"));
    let authenticator = Totp::from_url(answer["otpauthUrl"].as_str().unwrap()).unwrap();
    assert_eq!(
        authenticator.secret().to_base32(),
        answer["secret"].as_str().unwrap()
    );
    authenticator
}

async fn confirm(api: &Api, token: &str, code: &str) -> Answer {
    let body = json!({"code": code});
    api.post("/api/auth/two-factor/confirm")
        .bearer(token)
        .json(&body)
        .send()
        .await
}

async fn first_step(api: &Api, client: &str) -> Answer {
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    api.post("/api/auth/login")
        .client(client)
        .json(&body)
        .send()
        .await
}

pub(crate) async fn challenge(api: &Api) -> String {
    let answer = first_step(api, "192.0.2.1").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    answer.json()["challenge"].as_str().unwrap().to_owned()
}

async fn second_step(api: &Api, challenge: &str, code: &str) -> Answer {
    let body = json!({"challenge": challenge, "code": code});
    api.post("/api/auth/login/two-factor").json(&body).send().await
}

fn invalid() -> (u16, String) {
    (401, "code_invalid".to_owned())
}

#[tokio::test]
async fn signing_in_takes_a_code_once_a_second_factor_is_on() {
    let api = Api::new().await;
    let other = api.token("ada@example.com").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let token = api.post("/api/auth/login").json(&body).send().await.json()["token"].clone();
    let token = token.as_str().unwrap();
    api.mail().await;
    let authenticator = set_up(&api, token).await;
    assert_eq!(
        first_step(&api, "192.0.2.1").await.status,
        StatusCode::OK,
        "not confirmed, not asked for"
    );
    let wrong = confirm(&api, token, "000000").await;
    assert_eq!(wrong.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(wrong.json()["errors"][0]["field"], "code");
    let confirmed = confirm(&api, token, &code(&api, &authenticator)).await;
    assert_eq!(confirmed.json()["recoveryCodes"].as_array().unwrap().len(), 10);
    assert_eq!(api.mail().await.subject, "Two-factor authentication is on");
    let old = api.get("/api/auth/profile").bearer(&other).send().await;
    assert_eq!(
        old.problem(),
        (401, "token_revoked".to_owned()),
        "other logins ended"
    );
    let security = api.get("/api/auth/security").bearer(token).send().await.json();
    assert_eq!(
        (&security["twoFactorEnabled"], &security["recoveryCodesLeft"]),
        (&json!(true), &json!(10))
    );

    let asked = first_step(&api, "192.0.2.1").await;
    assert_eq!(
        asked.header("set-cookie"),
        "",
        "nobody is signed in by the password alone"
    );
    insta::assert_snapshot!("challenge", asked.stable());
    let challenge = asked.json()["challenge"].as_str().unwrap().to_owned();
    let bearer = api.get("/api/auth/profile").bearer(&challenge).send().await;
    assert_eq!(
        bearer.problem(),
        (401, "token_invalid".to_owned()),
        "a challenge is no token"
    );
    let again = second_step(&api, &challenge, &code(&api, &authenticator)).await;
    assert_eq!(again.problem(), invalid(), "the code that confirmed is used up");
    api.clock.advance(STEP);
    let signed_in = second_step(&api, &challenge, &code(&api, &authenticator)).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.text);
    assert!(signed_in.header("set-cookie").starts_with("iploop_session="));
    let replayed = second_step(&api, &challenge, &code(&api, &authenticator)).await;
    assert_eq!(replayed.problem(), invalid());
}

#[tokio::test]
async fn a_code_signs_in_exactly_once_of_fifty_parallel_tries_at_two_processes() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let elsewhere = api.restarted().await;
    api.clock.advance(STEP);
    let shown = code(&api, &guarded.authenticator);
    let challenge = challenge(&api).await;
    // One network each, or the throttle would end it before the code does.
    let tries = join_all((0..50).map(|number| {
        let body = json!({"challenge": challenge, "code": shown});
        let server = if number % 2 == 0 { &api } else { &elsewhere };
        let call = server
            .post("/api/auth/login/two-factor")
            .client(&format!("198.51.{number}.1"));
        async move { call.json(&body).send().await.status }
    }))
    .await;
    let won = tries.iter().filter(|status| **status == StatusCode::OK).count();
    assert_eq!(won, 1, "{tries:?}");
}

#[tokio::test]
async fn a_recovery_code_counts_once_and_its_use_is_told() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    for _ in 0..2 {
        api.mail().await;
    }
    let first = guarded.recovery_codes[0].to_uppercase();
    let challenge = challenge(&api).await;
    assert_eq!(second_step(&api, &challenge, &first).await.status, StatusCode::OK);
    let mail = api.mail().await;
    assert_eq!(mail.subject, "A recovery code was used");
    assert!(mail.text.contains("left: 9."), "{}", mail.text);
    assert_eq!(second_step(&api, &challenge, &first).await.problem(), invalid());

    let renew = json!({"password": PASSWORD, "code": guarded.recovery_codes[1]});
    let path = "/api/auth/two-factor/recovery-codes";
    let renewed = api
        .post(path)
        .bearer(&guarded.token)
        .json(&renew)
        .send()
        .await
        .json();
    let fresh = renewed["recoveryCodes"][0].as_str().unwrap();
    assert_eq!(
        second_step(&api, &challenge, &guarded.recovery_codes[2])
            .await
            .problem(),
        invalid()
    );
    assert_eq!(second_step(&api, &challenge, fresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_challenge_is_good_for_its_account_password_and_five_minutes() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let good = challenge(&api).await;
    let (claim, tag) = good.rsplit_once('.').unwrap();
    let eve = api.register("eve@example.com").await["user"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = format!("{eve}{}.{tag}", &claim[36..]);
    let bad = |answer: Answer| assert_eq!(answer.problem(), (401, "challenge_invalid".to_owned()));
    api.clock.advance(STEP);
    for text in ["", "x", claim, &good[..good.len() - 1], &other, &guarded.token] {
        bad(second_step(&api, text, &code(&api, &guarded.authenticator)).await);
    }
    api.clock.advance(Duration::from_secs(5 * 60 - 30));
    bad(second_step(&api, &good, &code(&api, &guarded.authenticator)).await);

    let good = challenge(&api).await;
    assert_eq!(
        second_step(&api.restarted().await, &good, &code(&api, &guarded.authenticator))
            .await
            .status,
        StatusCode::OK,
        "another process takes it"
    );
    let body = json!({"currentPassword": PASSWORD, "newPassword": "a new password"});
    api.call(http::Method::PUT, "/api/auth/password")
        .bearer(&guarded.token)
        .json(&body)
        .send()
        .await;
    api.clock.advance(STEP);
    bad(second_step(&api, &good, &code(&api, &guarded.authenticator)).await);
}

#[tokio::test]
async fn guessing_codes_is_throttled_by_account_and_network_at_all_processes_together() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let challenge = challenge(&api).await;
    let elsewhere = api.restarted().await;
    let guess = async |server: &Api, client: &str, code: &str| {
        let body = json!({"challenge": challenge, "code": code});
        server
            .post("/api/auth/login/two-factor")
            .client(client)
            .json(&body)
            .send()
            .await
    };
    for number in 0..10 {
        let server = if number % 2 == 0 { &api } else { &elsewhere };
        assert_eq!(guess(server, "198.51.100.1", "000000").await.problem(), invalid());
    }
    let refused = guess(&api, "198.51.100.1", "000000").await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
    for number in 0..10 {
        assert_eq!(
            guess(&elsewhere, &format!("203.0.{number}.1"), "000000")
                .await
                .problem(),
            invalid()
        );
    }
    api.clock.advance(STEP);
    let right = guess(&api, "203.0.113.1", &code(&api, &guarded.authenticator)).await;
    assert_eq!(
        right.problem(),
        (429, "too_many_requests".to_owned()),
        "for the whole account"
    );
}

#[tokio::test]
async fn turning_it_off_takes_password_and_code() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    for _ in 0..2 {
        api.mail().await;
    }
    let disable = async |password: &str, code: &str| {
        let body = json!({"password": password, "code": code});
        let call = api.post("/api/auth/two-factor/disable").bearer(&guarded.token);
        call.json(&body).send().await
    };
    api.clock.advance(STEP);
    let shown = code(&api, &guarded.authenticator);
    let field = |answer: Answer| answer.json()["errors"][0]["field"].clone();
    assert_eq!(field(disable("not the password", &shown).await), "password");
    assert_eq!(field(disable(PASSWORD, "000000").await), "code");
    let on = json!({"password": PASSWORD});
    let path = "/api/auth/two-factor/setup";
    let setup = api.post(path).bearer(&guarded.token).json(&on).send().await;
    assert_eq!(setup.problem(), (409, "two_factor_on".to_owned()));
    assert_eq!(disable(PASSWORD, &shown).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.mail().await.subject, "Two-factor authentication is off");
    assert_eq!(
        disable(PASSWORD, &shown).await.problem(),
        (409, "two_factor_off".to_owned())
    );
    let confirmed = confirm(&api, &guarded.token, &shown).await;
    assert_eq!(confirmed.problem(), (409, "two_factor_off".to_owned()));
    assert_eq!(first_step(&api, "192.0.2.1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_database_holds_no_secret_in_the_clear() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let login: Value = api
        .get("/api/auth/profile")
        .bearer(&guarded.token)
        .send()
        .await
        .json();
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let stored = api.store.second_factor(account).await.unwrap().unwrap();
    let secret = guarded.authenticator.secret();
    let hex: String = secret
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(!stored.sealed_secret.contains(&hex) && !stored.sealed_secret.contains(&secret.to_base32()));
    let code = &guarded.recovery_codes[0];
    let left = api
        .store
        .use_recovery_code(account, code, api.clock.now())
        .await
        .unwrap();
    assert_eq!(left, None, "codes lie there as hashes");
}

#[tokio::test]
async fn a_known_and_an_unknown_address_look_alike_until_the_password_is_right() {
    let api = Api::new().await;
    Guarded::new(&api, "ada@example.com").await;
    let wrong = async |email: &str| {
        let body = json!({"email": email, "password": "not the password"});
        api.post("/api/auth/login").json(&body).send().await.stable()
    };
    assert_eq!(wrong("ada@example.com").await, wrong("eve@example.com").await);
}
