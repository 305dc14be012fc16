//! Keys that admit addresses without a password, and the addresses that an account has proven.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Api};

const ADDRESSES: &str = "/api/proxy/addresses";
const HOME: &str = "8.8.8.8";

async fn create(api: &Api, token: &str, body: &Value) -> Answer {
    api.post("/api/proxy/keys").bearer(token).json(body).send().await
}

async fn listing(api: &Api, token: &str, networks: &[&str]) -> String {
    let body = json!({"name": "home", "ipWhitelist": networks, "ipLogin": true});
    let created = create(api, token, &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let created = created.json();
    assert_eq!(
        (&created["ipLogin"], &created["ipWhitelist"]),
        (&json!(true), &json!(networks))
    );
    format!("/api/proxy/keys/{}", created["id"].as_str().unwrap())
}

async fn claim(api: &Api, token: &str, client: &str) -> Answer {
    api.post(ADDRESSES).bearer(token).client(client).send().await
}

/// Every operation once, for the document.
pub(crate) async fn visit_everything(api: &Api, token: &str) {
    listing(api, token, &[HOME]).await;
    claim(api, token, HOME).await;
    api.get(ADDRESSES).bearer(token).send().await;
    api.call(Method::DELETE, &format!("{ADDRESSES}/{HOME}"))
        .bearer(token)
        .send()
        .await;
}

#[tokio::test]
async fn logins_by_address_need_a_narrow_list_first_and_for_as_long_as_they_are_on() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    for networks in [
        json!([]),
        json!(["8.8.0.0/16"]),
        json!(["2a00::/32"]),
        json!(["10.0.0.1"]),
        json!(["127.0.0.1"]),
    ] {
        let body = json!({"name": "k", "ipWhitelist": networks, "ipLogin": true});
        let refused = create(&api, &token, &body).await;
        assert_eq!(
            refused.problem(),
            (400, "invalid_fields".to_owned()),
            "{networks}"
        );
        assert_eq!(refused.json()["errors"][0]["field"], "ipWhitelist");
    }
    let plain = create(&api, &token, &json!({"name": "k"})).await.json();
    assert_eq!(plain["ipLogin"], false);
    let key = format!("/api/proxy/keys/{}", plain["id"].as_str().unwrap());
    let patch = async |body: Value| {
        api.call(Method::PATCH, &key)
            .bearer(&token)
            .json(&body)
            .send()
            .await
    };
    let put = async |ips: Value| {
        api.call(Method::PUT, &format!("{key}/whitelist"))
            .bearer(&token)
            .json(&json!({"ips": ips}))
            .send()
            .await
    };
    let early = patch(json!({"ipLogin": true})).await;
    assert_eq!(early.problem(), (400, "invalid_fields".to_owned()));
    assert_eq!(early.json()["errors"][0]["field"], "ipLogin");
    assert_eq!(put(json!([HOME])).await.status, StatusCode::OK);
    assert_eq!(patch(json!({"ipLogin": true})).await.json()["ipLogin"], true);
    for ips in [json!([]), json!(["8.0.0.0/8"])] {
        assert_eq!(put(ips).await.problem(), (400, "invalid_fields".to_owned()));
    }
    assert_eq!(
        api.get(&key).bearer(&token).send().await.json()["ipWhitelist"],
        json!([HOME])
    );
    assert_eq!(put(json!(["8.8.4.0/24"])).await.status, StatusCode::OK);
    assert_eq!(patch(json!({"ipLogin": false})).await.json()["ipLogin"], false);
    assert_eq!(put(json!([])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_is_proven_by_asking_from_it_and_is_one_accounts() {
    let api = Api::new().await;
    let (ada, grace) = (
        api.token("ada@example.com").await,
        api.token("grace@example.com").await,
    );
    let unlisted = claim(&api, &ada, HOME).await;
    assert_eq!(unlisted.problem(), (400, "invalid_fields".to_owned()));
    listing(&api, &ada, &["8.8.8.0/24"]).await;
    listing(&api, &grace, &[HOME]).await;
    let proven = claim(&api, &ada, HOME).await;
    assert_eq!(
        (proven.status, &proven.json()["address"]),
        (StatusCode::OK, &json!(HOME))
    );
    assert_eq!(claim(&api, &ada, HOME).await.status, StatusCode::OK);
    let taken = claim(&api, &grace, HOME).await;
    assert_eq!(taken.problem(), (409, "address_taken".to_owned()));
    let list = async |token: &str| api.get(ADDRESSES).bearer(token).send().await.json();
    assert_eq!(list(&ada).await["addresses"][0]["address"], HOME);
    assert_eq!(list(&grace).await["addresses"], json!([]));
    let release = async |token: &str, address: &str| {
        api.call(Method::DELETE, &format!("{ADDRESSES}/{address}"))
            .bearer(token)
            .send()
            .await
    };
    for (token, address) in [(&grace, HOME), (&ada, "8.8.8.9"), (&ada, "nowhere")] {
        let unknown = release(token, address).await;
        assert_eq!(
            unknown.problem(),
            (404, "address_not_found".to_owned()),
            "{address}"
        );
    }
    assert_eq!(release(&ada, HOME).await.status, StatusCode::NO_CONTENT);
    assert_eq!(claim(&api, &grace, HOME).await.status, StatusCode::OK);
}
