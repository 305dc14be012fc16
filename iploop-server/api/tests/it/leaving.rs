//! Taking one's data along, and leaving.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use iploop_platform::accounts::{Page, PersonalData};
use iploop_platform::clock::Clock as _;
use iploop_platform::ids::AccountId;
use iploop_platform::store::StoreError;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD, Settings};
use crate::two_factor::{Guarded, code};

async fn leave(api: &Api, token: &str, body: Value) -> Answer {
    api.call(Method::DELETE, "/api/auth/account")
        .bearer(token)
        .json(&body)
        .send()
        .await
}

/// Every operation of an owner's that the walk through the document does not make itself.
pub(crate) async fn visit_everything(api: &Api) {
    let email = "guarded@example.com";
    let guarded = Guarded::new(api, email).await;
    let token = guarded.token.as_str();
    let body = json!({"email": email, "password": PASSWORD});
    let asked = api.post("/api/auth/login").json(&body).send().await.json();
    let body = json!({"challenge": asked["challenge"], "code": guarded.recovery_codes[0]});
    let other = api
        .post("/api/auth/login/two-factor")
        .json(&body)
        .send()
        .await
        .json();
    let other = other["token"].as_str().unwrap();
    let listed = api.get("/api/auth/sessions").bearer(other).send().await.json();
    let sessions = listed["sessions"].as_array().unwrap();
    let current = sessions.iter().find(|login| login["isCurrent"] == true).unwrap();
    let one = format!("/api/auth/sessions/{}", current["id"].as_str().unwrap());
    api.call(Method::DELETE, &one).bearer(token).send().await;
    api.call(Method::DELETE, "/api/auth/sessions")
        .bearer(token)
        .send()
        .await;
    for (path, body) in [
        ("/api/auth/profile", json!({"timeZone": "Europe/Berlin"})),
        ("/api/auth/security", json!({"sessionTimeoutMinutes": 60})),
    ] {
        api.call(Method::PATCH, path)
            .bearer(token)
            .json(&body)
            .send()
            .await;
    }
    api.get("/api/auth/security").bearer(token).send().await;
    api.get("/api/auth/export").bearer(token).send().await;
    let renew = json!({"password": PASSWORD, "code": guarded.recovery_codes[1]});
    let path = "/api/auth/two-factor/recovery-codes";
    let renewed = api.post(path).bearer(token).json(&renew).send().await.json();
    let disable = json!({"password": PASSWORD, "code": renewed["recoveryCodes"][0]});
    api.post("/api/auth/two-factor/disable")
        .bearer(token)
        .json(&disable)
        .send()
        .await;
    leave(api, token, json!({"password": PASSWORD, "confirmEmail": email})).await;
}

#[tokio::test]
async fn an_account_goes_with_its_keys_logins_and_name_and_its_address_is_free() {
    let api = Api::alone().await;
    let login = api.register("ada@example.com").await;
    let token = login["token"].as_str().unwrap();
    let account: AccountId = login["user"]["id"].as_str().unwrap().parse().unwrap();
    api.mail().await;
    let body = json!({"name": "one"});
    let key = api
        .post("/api/proxy/keys")
        .bearer(token)
        .json(&body)
        .send()
        .await
        .json();
    let hash = iploop_platform::api_key::ApiKeyHash::of(key["key"].as_str().unwrap());

    for (body, field) in [
        (
            json!({"password": PASSWORD, "confirmEmail": "eve@example.com"}),
            "confirmEmail",
        ),
        (json!({"password": PASSWORD}), "confirmEmail"),
        (
            json!({"password": "wrong one", "confirmEmail": "ada@example.com"}),
            "password",
        ),
    ] {
        let refused = leave(&api, token, body).await;
        assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    let gone = leave(
        &api,
        token,
        json!({"password": PASSWORD, "confirmEmail": " ADA@example.com"}),
    )
    .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(*api.changes.suspended.lock(), [account], "what runs is cut");
    assert!(api.store.key_grant(hash).await.unwrap().is_none());
    let mail = api.mail().await;
    assert_eq!(
        (mail.to.as_str(), mail.subject.as_str()),
        ("ada@example.com", "Your IPLoop account was deleted")
    );

    let after = api.get("/api/auth/profile").bearer(token).send().await;
    assert_eq!(after.problem(), (401, "token_invalid".to_owned()));
    let buried = format!("{account}@deleted.invalid");
    for email in ["ada@example.com", &buried] {
        let body = json!({"email": email, "password": PASSWORD});
        let refused = api.post("/api/auth/login").json(&body).send().await;
        assert_eq!(refused.problem(), (401, "invalid_credentials".to_owned()));
    }
    let rest = api.store.account(account).await.unwrap().unwrap();
    assert_eq!(
        (rest.first_name, rest.last_name, rest.email),
        (String::new(), String::new(), buried)
    );
    let again = api.register("ada@example.com").await;
    assert_ne!(again["user"]["id"], login["user"]["id"]);
}

#[tokio::test]
async fn leaving_takes_the_second_factor_where_one_is_on() {
    let api = Api::new().await;
    let guarded = Guarded::new(&api, "ada@example.com").await;
    let without = json!({"password": PASSWORD, "confirmEmail": "ada@example.com"});
    let refused = leave(&api, &guarded.token, without).await;
    assert_eq!(refused.json()["errors"][0]["field"], "code");
    api.clock.advance(std::time::Duration::from_secs(30));
    let shown = code(&api, &guarded.authenticator);
    let with = json!({"password": PASSWORD, "confirmEmail": "ada@example.com", "code": shown});
    assert_eq!(
        leave(&api, &guarded.token, with).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn the_last_admin_stays() {
    let api = Api::new().await;
    let (admin, token) = api.admin().await;
    let body = json!({"password": PASSWORD, "confirmEmail": admin.email});
    assert_eq!(
        leave(&api, &token, body).await.problem(),
        (409, "last_admin".to_owned())
    );
}

/// Another area's data, in three pages.
struct AnotherArea;

#[async_trait]
impl PersonalData for AnotherArea {
    fn name(&self) -> &'static str {
        "anotherArea"
    }

    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError> {
        let number: u32 = after.map_or(0, |after| after.parse().unwrap());
        Ok(Page {
            items: vec![json!({"owner": account, "number": number})],
            next: (number < 2).then(|| (number + 1).to_string()),
        })
    }
}

#[tokio::test]
async fn an_export_holds_everything_and_no_secret() {
    let api = Api::with(Settings {
        personal_data: vec![Arc::new(AnotherArea)],
        ..Settings::default()
    })
    .await;
    let login = api.register("ada@example.com").await;
    let token = login["token"].as_str().unwrap();
    let account: AccountId = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let stranger = api.register("eve@example.com").await["user"]["id"].clone();
    let body = json!({"name": "one"});
    let key = api
        .post("/api/proxy/keys")
        .bearer(token)
        .json(&body)
        .send()
        .await
        .json();
    for number in 0..1_100 {
        let key = format!("gift {number}");
        api.store
            .credit(account, 1, "gift", &key, api.clock.now())
            .await
            .unwrap();
    }
    crate::requests::some_request(&api, account).await;
    api.clock.advance(std::time::Duration::from_secs(1));
    let answer = api.get("/api/auth/export").bearer(token).send().await;
    assert!(answer.header("content-disposition").starts_with("attachment;"));
    let data = answer.json();
    assert_eq!(data["profile"]["email"], "ada@example.com");
    assert_eq!(data["apiKeys"][0]["name"], "one");
    assert_eq!(data["logins"][0]["ipAddress"], "192.0.2.1");
    assert_eq!(data["loginNetworks"][0]["network"], "192.0.2.0/24");
    assert_eq!(data["provenAddresses"], json!([]));
    assert_eq!(data["security"][0]["twoFactorEnabled"], false);
    assert_eq!(
        data["transactions"].as_array().unwrap().len(),
        1_102,
        "over several reads"
    );
    assert_eq!(data["usage"][0]["totalRequests"], 1);
    let numbers: Vec<_> = data["anotherArea"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| &device["number"])
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    for secret in [
        key["key"].as_str().unwrap(),
        token,
        "argon2",
        stranger.as_str().unwrap(),
    ] {
        assert!(!answer.text.contains(secret), "{secret}");
    }
}
