//! Sticky sessions by API.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Api};

const PATH: &str = "/api/proxy/sessions";

async fn create(api: &Api, token: &str, targeting: &str) -> Answer {
    let body = json!({ "targeting": targeting });
    api.post(PATH).bearer(token).json(&body).send().await
}

fn ids(list: &Value) -> Vec<&str> {
    let sessions = list["sessions"].as_array().unwrap();
    sessions
        .iter()
        .map(|session| session["id"].as_str().unwrap())
        .collect()
}

/// A token of an account on a plan that has sticky sessions, and no networks to choose.
async fn customer(api: &Api, email: &str) -> String {
    api.token_on("Growth", email).await
}

#[tokio::test]
async fn a_session_made_ahead_comes_with_a_ready_login() {
    let api = Api::new().await;
    let token = customer(&api, "ada@example.com").await;
    let made = create(&api, &token, "country-us-session-cart-17-lifetime-30").await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    assert_eq!(made["id"], "cart-17");
    assert_eq!((&made["exit"], &made["requests"]), (&Value::Null, &json!(0)));
    let username = made["login"]["username"].as_str().unwrap();
    let key = format!("iploop_{}", "0a".repeat(24));
    let login = iploop_protocol::targeting::Credentials::parse(username, &key).unwrap();
    assert_eq!(login.targeting.to_string(), made["targeting"].as_str().unwrap());
    let curl = made["login"]["curl"].as_str().unwrap();
    assert!(
        curl.contains(&format!("{username}:API_KEY@proxy.iploop.test:7777")),
        "{curl}"
    );

    let nameless = create(&api, &token, "country-DE").await.json();
    let id = nameless["id"].as_str().unwrap();
    assert!(
        nameless["targeting"]
            .as_str()
            .unwrap()
            .contains(&format!("session-{id}"))
    );
    let again = create(&api, &token, "session-cart-17").await;
    assert_eq!(again.problem(), (409, "session_exists".to_owned()));
}

#[tokio::test]
async fn wishes_that_can_not_be_are_refused_in_the_words_of_the_gateway() {
    let api = Api::new().await;
    let token = customer(&api, "ada@example.com").await;
    for (targeting, status, code) in [
        ("country-XX-session-a", 400, "invalid_country"),
        ("contry-US", 400, "unknown_parameter"),
        ("session-a-session-b", 400, "duplicate_parameter"),
        ("rotate-request", 400, "conflicting_parameters"),
        ("lifetime-1s", 400, "invalid_value"),
        ("session-a-asn-64500", 403, "plan_feature"),
    ] {
        let answer = create(&api, &token, targeting).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{targeting}");
    }
    let starter = api.token("eve@example.com").await;
    let answer = create(&api, &starter, "session-a").await;
    assert_eq!(answer.problem(), (403, "plan_feature".to_owned()));
}

#[tokio::test]
async fn sessions_are_listed_in_bounded_pages_and_never_another_accounts() {
    let api = Api::new().await;
    let (owner, stranger) = (
        customer(&api, "ada@example.com").await,
        customer(&api, "eve@example.com").await,
    );
    for name in ["c", "a", "b"] {
        create(&api, &owner, &format!("session-{name}")).await;
    }
    create(&api, &stranger, "session-a").await;
    let get = |token: String, query: &'static str| {
        let api = &api;
        async move { api.get(&format!("{PATH}{query}")).bearer(&token).send().await }
    };
    let all = get(owner.clone(), "").await.json();
    assert_eq!(
        (ids(&all), &all["nextCursor"]),
        (vec!["a", "b", "c"], &Value::Null)
    );
    let first = get(owner.clone(), "?limit=2").await.json();
    assert_eq!((ids(&first), &first["nextCursor"]), (vec!["a", "b"], &json!("b")));
    let second = get(owner.clone(), "?limit=2&cursor=b").await.json();
    assert_eq!((ids(&second), &second["nextCursor"]), (vec!["c"], &Value::Null));
    for query in ["?limit=0", "?limit=101"] {
        let answer = get(owner.clone(), query).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()));
    }
    let unsigned = api.get(PATH).send().await;
    assert_eq!(unsigned.problem(), (401, "login_required".to_owned()));

    for (method, path) in [
        (Method::GET, "b"),
        (Method::POST, "b/rotate"),
        (Method::DELETE, "b"),
        (Method::GET, "never"),
        (Method::GET, "%00"),
        (Method::GET, "a-city-b"),
        (Method::DELETE, "%ff"),
    ] {
        let answer = api
            .call(method, &format!("{PATH}/{path}"))
            .bearer(&stranger)
            .send()
            .await;
        assert_eq!(answer.problem(), (404, "session_not_found".to_owned()), "{path}");
    }
    assert_eq!(ids(&get(owner, "").await.json()).len(), 3);
}

#[tokio::test]
async fn a_session_is_rotated_shown_and_ended() {
    let api = Api::new().await;
    let token = customer(&api, "ada@example.com").await;
    for name in ["a", "b", "c"] {
        create(&api, &token, &format!("session-{name}-rotate-manual")).await;
    }
    let call = |method: Method, path: &'static str| {
        let call = api.call(method, &format!("{PATH}{path}"));
        call.bearer(&token).send()
    };
    assert_eq!(call(Method::POST, "/a/rotate").await.json()["rotations"], 1);
    let shown = call(Method::GET, "/a").await;
    insta::assert_snapshot!("sticky_session", without_key(&shown));
    assert!(!shown.text.contains("node"), "{}", shown.text);
    assert_eq!(call(Method::DELETE, "/a").await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        call(Method::DELETE, "/a").await.problem(),
        (404, "session_not_found".to_owned())
    );
    assert_eq!(call(Method::DELETE, "").await.json(), json!({"ended": 2}));
    assert_eq!(ids(&call(Method::GET, "").await.json()), Vec::<&str>::new());
}

fn without_key(answer: &Answer) -> String {
    let key = answer.json()["apiKeyId"].as_str().unwrap().to_owned();
    answer.stable().replace(&key, "[uuid]")
}

#[tokio::test]
async fn one_session_too_many_is_refused_until_another_ends() {
    let api = Api::new().await;
    let token = customer(&api, "ada@example.com").await;
    for name in ["a", "b", "c", "d", "e"] {
        create(&api, &token, &format!("session-{name}")).await;
    }
    let refused = create(&api, &token, "session-f").await;
    assert_eq!(refused.problem(), (429, "too_many_sessions".to_owned()));
    assert_eq!(refused.header("retry-after"), "42");
}

#[tokio::test]
async fn a_key_acts_for_its_accounts_sessions_while_it_serves_at_the_proxy() {
    let api = Api::new().await;
    let token = customer(&api, "ada@example.com").await;
    let made = crate::reading::new_key(&api, &token, json!({"name": "one"})).await;
    let key = made["key"].as_str().unwrap();
    let stranger = customer(&api, "eve@example.com").await;
    assert_eq!(create(&api, &stranger, "session-b").await.status, 201);

    assert_eq!(create(&api, key, "session-a-rotate-manual").await.status, 201);
    let call =
        |method: Method, path: &'static str| api.call(method, &format!("{PATH}{path}")).bearer(key).send();
    assert_eq!(ids(&call(Method::GET, "").await.json()), ["a"]);
    assert_eq!(call(Method::GET, "/a").await.json()["rotations"], 0);
    assert_eq!(call(Method::POST, "/a/rotate").await.json()["rotations"], 1);
    assert_eq!(call(Method::POST, "/b/rotate").await.problem().0, 404);
    assert_eq!(call(Method::DELETE, "/a").await.status, StatusCode::NO_CONTENT);
    assert_eq!(create(&api, key, "session-c").await.status, 201);
    assert_eq!(call(Method::DELETE, "").await.json(), json!({"ended": 1}));

    let whitelist = format!("/api/proxy/keys/{}/whitelist", made["id"].as_str().unwrap());
    let listed = json!({"ips": ["192.0.2.0/24"]});
    api.call(Method::PUT, &whitelist)
        .bearer(&token)
        .json(&listed)
        .send()
        .await;
    let from = |client: &'static str| api.get(PATH).bearer(key).client(client).send();
    assert_eq!(from("192.0.2.7").await.status, StatusCode::OK);
    assert_eq!(
        from("198.51.100.7").await.problem(),
        (401, "address_not_allowed".to_owned())
    );

    let one = format!("/api/proxy/keys/{}", made["id"].as_str().unwrap());
    api.call(Method::PATCH, &one)
        .bearer(&token)
        .json(&json!({"isActive": false}))
        .send()
        .await;
    let switched_off = from("192.0.2.7").await;
    assert_eq!(switched_off.problem(), (401, "token_invalid".to_owned()));
    let unknown = format!("iploop_{}", "0a".repeat(24));
    for wrong in [unknown.as_str(), "iploop_short"] {
        assert_eq!(create(&api, wrong, "session-d").await.problem().0, 401, "{wrong}");
    }
}
