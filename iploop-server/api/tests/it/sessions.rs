//! Signing in, staying in, getting out.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD, Settings};

async fn login(api: &Api, email: &str, password: &str) -> Answer {
    login_from(api, "192.0.2.1", email, password).await
}

async fn login_from(api: &Api, client: &str, email: &str, password: &str) -> Answer {
    api.post("/api/auth/login")
        .client(client)
        .json(&json!({"email": email, "password": password}))
        .send()
        .await
}

async fn profile_status(api: &Api, token: &str) -> (u16, String) {
    api.get("/api/auth/profile").bearer(token).send().await.problem()
}

#[tokio::test]
async fn signing_in_answers_token_user_and_csrf_token() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let answer = login(&api, "ADA@example.com", PASSWORD).await;
    insta::assert_snapshot!("login", answer.stable());
    let cookie = answer.header("set-cookie");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        cookie,
        format!("iploop_session={token}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_bound_to_the_host() {
    let api = Api::with(Settings {
        public_url: "https://iploop.test",
        ..Settings::default()
    })
    .await;
    let body =
        json!({"email": "ada@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
    let answer = api.post("/api/auth/register").json(&body).send().await;
    let cookie = answer.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-iploop_session=") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure")
    );
    assert!(answer.header("strict-transport-security").starts_with("max-age="));
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(
        api.get("/api/auth/profile")
            .header("cookie", pair)
            .send()
            .await
            .status,
        StatusCode::OK
    );
    let other_name = pair.replace("__Host-", "");
    let refused = api
        .get("/api/auth/profile")
        .header("cookie", &other_name)
        .send()
        .await;
    assert_eq!(refused.problem(), (401, "login_required".to_owned()));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let wrong = login(&api, "ada@example.com", "not the password").await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials".to_owned()));
    assert_eq!(wrong.json()["detail"], "Invalid email or password");
    for email in ["eve@example.com", "", "no address", "a\0b@example.com"] {
        assert_eq!(
            login(&api, email, PASSWORD).await.stable(),
            wrong.stable(),
            "{email:?}"
        );
    }
    assert_eq!(
        login(&api, "ada@example.com", &"x".repeat(10_000)).await.stable(),
        wrong.stable()
    );
}

#[tokio::test]
async fn guessing_is_throttled_and_does_not_lock_the_owner_out() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    for _ in 0..15 {
        assert_eq!(
            login(&api, "ada@example.com", "a guess").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let refused = login(&api, "ada@example.com", PASSWORD).await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
    assert_eq!(refused.header("retry-after"), "240");
    assert_eq!(
        login_from(&api, "198.51.100.1", "ada@example.com", PASSWORD)
            .await
            .status,
        StatusCode::OK
    );
    api.clock.advance(Duration::from_secs(240));
    assert_eq!(
        login(&api, "ada@example.com", PASSWORD).await.status,
        StatusCode::OK
    );
}

/// How many of so many sign-ins at once were answered so.
async fn at_once(api: &Api, passwords: &[&str]) -> BTreeMap<u16, usize> {
    let answers = join_all(
        passwords
            .iter()
            .map(|password| login(api, "ada@example.com", password)),
    );
    let mut statuses = BTreeMap::new();
    for answer in answers.await {
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    statuses
}

#[tokio::test]
async fn right_passwords_at_the_same_time_are_not_refused() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    assert_eq!(at_once(&api, &[PASSWORD; 40]).await, BTreeMap::from([(200, 40)]));
    for _ in 0..14 {
        login(&api, "ada@example.com", "a guess").await;
    }
    // One try is left: they go through it one after the other.
    assert_eq!(at_once(&api, &[PASSWORD; 16]).await, BTreeMap::from([(200, 16)]));
}

#[tokio::test]
async fn guesses_at_the_same_time_get_no_more_tries_than_one_after_the_other() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let heard = at_once(&api, &["a guess"; 50]).await;
    assert_eq!(heard, BTreeMap::from([(401, 15), (429, 35)]));
    let again = at_once(&api, &["a guess"; 50]).await;
    assert_eq!(again, BTreeMap::from([(429, 50)]));
    let restarted = api.restarted().await;
    let refused = login(&restarted, "ada@example.com", PASSWORD).await;
    assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
}

#[tokio::test]
async fn guesses_beside_right_passwords_count_all_the_same() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    let mixed: Vec<&str> = [PASSWORD, "a guess"].into_iter().cycle().take(60).collect();
    let heard = at_once(&api, &mixed).await;
    assert_eq!(heard.get(&401), Some(&15), "{heard:?}");
    assert_eq!(heard.values().sum::<usize>(), 60);
}

#[tokio::test]
async fn guessing_from_many_networks_is_throttled_by_account_known_or_not() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    for email in ["ada@example.com", "eve@example.com"] {
        for number in 0..60 {
            let client = format!("198.51.100.{number}");
            assert_eq!(
                login_from(&api, &client, email, "a guess").await.status,
                StatusCode::UNAUTHORIZED
            );
        }
        let refused = login_from(&api, "203.0.113.1", email, "a guess").await;
        assert_eq!(
            refused.problem(),
            (429, "too_many_requests".to_owned()),
            "{email}"
        );
    }
}

#[tokio::test]
async fn right_passwords_are_never_throttled() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    for _ in 0..130 {
        assert_eq!(
            login(&api, "ada@example.com", PASSWORD).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_login_lasts_a_day() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    api.clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert_eq!(
        api.get("/api/auth/profile").bearer(&token).send().await.status,
        StatusCode::OK
    );
    api.clock.advance(Duration::from_secs(1));
    assert_eq!(
        profile_status(&api, &token).await,
        (401, "token_expired".to_owned())
    );
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let elsewhere = Api::new().await.token("ada@example.com").await;
    for bad in [
        "x",
        "a.b.c",
        "",
        &token[1..],
        &token[..token.len() - 2],
        &elsewhere,
        &"a".repeat(10_000),
    ] {
        assert_eq!(
            profile_status(&api, bad).await,
            (401, "token_invalid".to_owned()),
            "{bad}"
        );
    }
    let basic = api
        .get("/api/auth/profile")
        .header("authorization", "Basic YTpi")
        .send()
        .await;
    assert_eq!(basic.problem(), (401, "token_invalid".to_owned()));
    let none = api.get("/api/auth/profile").send().await;
    assert_eq!(none.problem(), (401, "login_required".to_owned()));
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"iploop\"");
}

#[tokio::test]
async fn signing_out_revokes_the_token_here_and_after_a_restart() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let other = login(&api, "ada@example.com", PASSWORD).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let out = api.post("/api/auth/logout").bearer(&token).send().await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(
        out.header("set-cookie"),
        "iploop_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    );
    assert_eq!(
        profile_status(&api, &token).await,
        (401, "token_revoked".to_owned())
    );
    let restarted = api.restarted().await;
    assert_eq!(
        profile_status(&restarted, &token).await,
        (401, "token_revoked".to_owned())
    );
    assert_eq!(
        restarted
            .get("/api/auth/profile")
            .bearer(&other)
            .send()
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn another_process_learns_of_a_sign_out() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let other = api.restarted().await;
    api.post("/api/auth/logout").bearer(&token).send().await;
    other.logins.refresh().await.unwrap();
    assert_eq!(
        profile_status(&other, &token).await,
        (401, "token_revoked".to_owned())
    );
}

/// A signed-in browser: its cookie and CSRF token.
async fn browser(api: &Api, email: &str) -> (String, String) {
    let login: Value = api.register(email).await;
    let cookie = format!("theme=dark; iploop_session={}", login["token"].as_str().unwrap());
    (cookie, login["csrfToken"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_cookie_alone_reads_but_changes_nothing() {
    let api = Api::new().await;
    let (cookie, csrf) = browser(&api, "ada@example.com").await;
    let (_, other_csrf) = browser(&api, "eve@example.com").await;
    let profile = api
        .get("/api/auth/profile")
        .header("cookie", &cookie)
        .send()
        .await;
    assert_eq!(
        profile.json()["csrfToken"],
        csrf,
        "a page that was loaded again finds its token"
    );

    let create = || {
        api.post("/api/proxy/keys")
            .header("cookie", &cookie)
            .json(&json!({"name": "one"}))
    };
    for refused in [
        create().send().await,
        create().header("x-csrf-token", "").send().await,
        create().header("x-csrf-token", &other_csrf).send().await,
        api.post("/api/auth/logout")
            .header("cookie", &cookie)
            .send()
            .await,
        api.call(Method::DELETE, "/api/proxy/keys/x")
            .header("cookie", &cookie)
            .send()
            .await,
    ] {
        assert_eq!(refused.problem(), (403, "csrf_token_invalid".to_owned()));
    }
    assert_eq!(
        create().header("x-csrf-token", &csrf).send().await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_bad_bearer_token_is_not_made_up_for_by_a_cookie() {
    let api = Api::new().await;
    let (cookie, _) = browser(&api, "ada@example.com").await;
    let answer = api
        .get("/api/auth/profile")
        .header("cookie", &cookie)
        .bearer("x")
        .send()
        .await;
    assert_eq!(answer.problem(), (401, "token_invalid".to_owned()));
}

#[tokio::test]
async fn only_admins_make_partners() {
    let api = Api::new().await;
    let customer = api.token("ada@example.com").await;
    let (_, admin) = api.admin().await;
    let create = |token: &str| {
        let body = json!({"name": "Acme", "email": "dev@acme.test"});
        api.post("/api/partners").bearer(token).json(&body).send()
    };
    assert_eq!(create(&customer).await.problem(), (403, "admin_only".to_owned()));
    let created = create(&admin).await;
    insta::assert_snapshot!("partner", created.stable());
    let key = created.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("iplp_") && key.len() == 5 + 48, "{key}");
    let hash = iploop_platform::api_key::ApiKeyHash::of(&key);
    assert_eq!(
        api.store
            .partner_by_key(hash, iploop_platform::clock::Timestamp::default())
            .await
            .unwrap()
            .unwrap()
            .name,
        "Acme"
    );
}

#[tokio::test]
async fn tries_at_a_throttled_account_do_not_use_up_the_networks_allowance() {
    let api = Api::new().await;
    api.register("ada@example.com").await;
    for _ in 0..300 {
        login(&api, "eve@example.com", "a guess").await;
    }
    assert_eq!(
        login(&api, "ada@example.com", PASSWORD).await.status,
        StatusCode::OK
    );
}
