//! The customer's keys, under both of their names.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use iploop_platform::api_key::ApiKeyHash;
use serde_json::{Value, json};

use crate::harness::Api;

const NAMES: [&str; 2] = ["/api/proxy/keys", "/api/auth/api-keys"];

async fn create(api: &Api, token: &str, name: &str) -> Value {
    let answer = api
        .post(NAMES[0])
        .bearer(token)
        .json(&json!({"name": name}))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_as_its_hash() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let created = api
        .post(NAMES[0])
        .bearer(&token)
        .json(&json!({"name": " scraper "}))
        .send()
        .await;
    insta::assert_snapshot!("key_created", created.stable());
    let key = created.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("iploop_") && key.len() == 7 + 48, "{key}");
    assert_eq!(created.json()["keyPrefix"], key[..14]);
    assert!(api.store.key_grant(ApiKeyHash::of(&key)).await.unwrap().is_some());
    for path in NAMES {
        let list = api.get(path).bearer(&token).send().await;
        assert!(!list.text.contains(&key[14..]), "{}", list.text);
        insta::allow_duplicates! { insta::assert_snapshot!("key_list", list.stable()); }
    }
}

#[tokio::test]
async fn a_key_is_switched_restricted_and_deleted_and_the_gateway_hears_of_each() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let key = create(&api, &token, "one").await;
    let path = format!("{}/{}", NAMES[1], key["id"].as_str().unwrap());

    let off = api
        .call(Method::PATCH, &path)
        .bearer(&token)
        .json(&json!({"isActive": false}))
        .send()
        .await;
    assert_eq!(off.json()["isActive"], false);
    let ips = json!({"ips": ["192.0.2.7", "198.51.100.9/24"]});
    let listed = api
        .call(Method::PUT, &format!("{path}/whitelist"))
        .bearer(&token)
        .json(&ips)
        .send()
        .await;
    assert_eq!(
        listed.json()["ipWhitelist"],
        json!(["192.0.2.7", "198.51.100.0/24"])
    );
    let read = api.get(&path).bearer(&token).send().await.json();
    assert_eq!(
        (&read["isActive"], &read["ipWhitelist"]),
        (&json!(false), &listed.json()["ipWhitelist"])
    );
    let gone = api.call(Method::DELETE, &path).bearer(&token).send().await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(api.changes.keys.lock().len(), 3);

    let again = api.call(Method::DELETE, &path).bearer(&token).send().await;
    assert_eq!(again.problem(), (404, "key_not_found".to_owned()));
    assert_eq!(
        api.get(&path).bearer(&token).send().await.problem(),
        (404, "key_not_found".to_owned())
    );
}

#[tokio::test]
async fn five_keys_are_the_most_also_under_parallel_tries() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let tries = join_all((0..20).map(|n| {
        api.post(NAMES[n % 2])
            .bearer(&token)
            .json(&json!({"name": "k"}))
            .send()
    }))
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = tries
        .iter()
        .partition(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(made.len(), 5);
    for answer in refused {
        assert_eq!(answer.problem(), (400, "key_limit_reached".to_owned()));
        assert_eq!(answer.json()["detail"], "Maximum number of API keys reached");
    }
}

#[tokio::test]
async fn a_strangers_key_does_not_exist() {
    let api = Api::new().await;
    let owner = api.token("ada@example.com").await;
    let stranger = api.token("eve@example.com").await;
    let key = create(&api, &owner, "one").await;
    for name in NAMES {
        let path = format!("{name}/{}", key["id"].as_str().unwrap());
        for answer in [
            api.get(&path).bearer(&stranger).send().await,
            api.call(Method::PATCH, &path)
                .bearer(&stranger)
                .json(&json!({"isActive": false}))
                .send()
                .await,
            api.call(Method::PUT, &format!("{path}/whitelist"))
                .bearer(&stranger)
                .json(&json!({"ips": []}))
                .send()
                .await,
            api.call(Method::DELETE, &path).bearer(&stranger).send().await,
        ] {
            assert_eq!(answer.problem(), (404, "key_not_found".to_owned()));
        }
    }
    let path = format!("{}/{}", NAMES[0], key["id"].as_str().unwrap());
    assert_eq!(
        api.get(&path).bearer(&owner).send().await.json()["isActive"],
        true
    );
    assert_eq!(
        api.get(NAMES[0]).bearer(&stranger).send().await.json()["keys"],
        json!([])
    );
}

#[tokio::test]
async fn what_is_no_key_id_names_no_key() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    for id in [
        "x",
        "0",
        "00000000-0000-0000-0000-000000000000",
        "%00",
        "%F0%9F%98%80",
        "%ff",
        "..%2f",
    ] {
        let answer = api.get(&format!("{}/{id}", NAMES[0])).bearer(&token).send().await;
        assert_eq!(answer.problem(), (404, "key_not_found".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn wrong_fields_of_a_key_are_named() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let create = |body: Value| api.post(NAMES[0]).bearer(&token).json(&body).send();
    for body in [
        json!({}),
        json!({"name": " "}),
        json!({"name": "x".repeat(101)}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "a", "expiresAt": "2001-01-01T00:00:00Z"}),
    ] {
        assert_eq!(
            create(body.clone()).await.problem(),
            (400, "invalid_fields".to_owned()),
            "{body}"
        );
    }
    for body in [
        json!({"name": 5}),
        json!({"name": null}),
        json!([]),
        json!("x"),
        json!({"name": "a", "expiresAt": "soon"}),
        json!({"name": "a", "limit": {"bytesPerDay": 5}}),
    ] {
        assert_eq!(
            create(body.clone()).await.problem(),
            (400, "malformed_body".to_owned()),
            "{body}"
        );
    }
    let later = create(json!({"name": "a", "expiresAt": "2099-01-01T00:00:00Z"})).await;
    assert_eq!(later.json()["expiresAt"], "2099-01-01T00:00:00Z");

    let path = format!("{}/{}", NAMES[0], later.json()["id"].as_str().unwrap());
    let missing = api
        .call(Method::PATCH, &path)
        .bearer(&token)
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(missing.problem(), (400, "malformed_body".to_owned()));
    let whitelist = format!("{path}/whitelist");
    for ips in [
        json!(["example.com"]),
        json!(vec!["192.0.2.1"; 51]),
        json!(["10.0.0.0/33"]),
    ] {
        let answer = api
            .call(Method::PUT, &whitelist)
            .bearer(&token)
            .json(&json!({"ips": ips}))
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()));
        assert_eq!(answer.json()["errors"][0]["field"], "ips");
    }
}

#[tokio::test]
async fn limits_are_set_read_and_lifted() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let limits = json!({
        "requestsPerSecond": 5, "burst": 20, "maxConnections": 3,
        "bytesPerDay": 1_000_000_000, "bytesPerMonth": 5_000_000_000_u64, "bytesTotal": 9_000_000_000_u64,
        "countries": ["DE", "FR"],
        "allowDestinations": ["example.com", "198.51.100.0/24"],
        "denyDestinations": ["private.example.com"],
        "ports": [80, 443],
    });
    let created = api
        .post(NAMES[0])
        .bearer(&token)
        .json(&json!({"name": "narrow", "limits": limits}))
        .send()
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.json()["limits"], limits);
    let path = format!("{}/{}", NAMES[0], created.json()["id"].as_str().unwrap());
    let patch = |body: Value| api.call(Method::PATCH, &path).bearer(&token).json(&body).send();

    let renamed = patch(json!({"name": "wide", "expiresAt": "2099-01-01T00:00:00Z"}))
        .await
        .json();
    assert_eq!(
        (&renamed["name"], &renamed["expiresAt"], &renamed["limits"]),
        (&json!("wide"), &json!("2099-01-01T00:00:00Z"), &limits)
    );
    let lifted = patch(
        json!({"limits": {"bytesPerDay": null, "burst": 7, "requestsPerSecond": 7}, "expiresAt": null}),
    )
    .await
    .json();
    assert_eq!(lifted["expiresAt"], Value::Null);
    assert_eq!(lifted["limits"]["requestsPerSecond"], 7);
    assert_eq!(lifted["limits"]["bytesPerDay"], Value::Null);
    assert_eq!(lifted["limits"]["countries"], json!([]));
    assert_eq!(lifted["isActive"], true);
    assert_eq!(api.get(&path).bearer(&token).send().await.json(), lifted);
    assert_eq!(
        api.changes.keys.lock().len(),
        2,
        "the gateway hears of each change"
    );
}

#[tokio::test]
async fn every_wrong_limit_is_named_and_changes_nothing() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let key = create(&api, &token, "one").await;
    let path = format!("{}/{}", NAMES[0], key["id"].as_str().unwrap());
    let wrong = json!({"name": "two", "limits": {
        "requestsPerSecond": 0, "maxConnections": 0, "bytesPerDay": 0, "countries": ["UK"],
        "allowDestinations": ["*.example.com"], "denyDestinations": ["https://example.com"], "ports": [0],
    }});
    let answer = api
        .call(Method::PATCH, &path)
        .bearer(&token)
        .json(&wrong)
        .send()
        .await;
    assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()));
    let errors = answer.json()["errors"].clone();
    let fields: Vec<&str> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields.len(), 7, "{fields:?}");
    assert!(
        fields.iter().all(|field| field.starts_with("limits.")),
        "{fields:?}"
    );
    assert_eq!(api.get(&path).bearer(&token).send().await.json()["name"], "one");
    for body in [
        json!({"limits": {"bytesPerYear": 5}}),
        json!({"limits": {"ports": [70_000]}}),
        json!({"limits": {"bytesPerDay": -1}}),
        json!({"limits": []}),
        json!({"name": "two", "limit": {"bytesPerDay": 5}}),
    ] {
        let answer = api
            .call(Method::PATCH, &path)
            .bearer(&token)
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "malformed_body".to_owned()), "{body}");
    }
}
