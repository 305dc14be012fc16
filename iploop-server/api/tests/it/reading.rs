//! What a customer reads: the endpoint, the places, the network, the usage.

use std::time::Duration;

use iploop_platform::clock::{Clock as _, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, NodeId, RequestId};
use iploop_platform::usage::{Timings, UsageRecord};
use serde_json::{Value, json};

use crate::devices::{new_partner, registered, registration};
use crate::harness::Api;

#[tokio::test]
async fn the_endpoint_is_shown_with_ready_examples() {
    let api = Api::new().await;
    let login = api.register("ada@example.com").await;
    let token = login["token"].as_str().unwrap();
    let answer = api.get("/api/proxy/endpoint").bearer(token).send().await;
    let id = login["user"]["id"].as_str().unwrap();
    insta::assert_snapshot!("endpoint", answer.stable().replace(id, "[uuid]"));
}

#[tokio::test]
async fn the_examples_and_parameters_are_read_by_the_grammar_as_meant() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let answer = api.get("/api/proxy/endpoint").bearer(&token).send().await.json();
    let key = format!("iploop_{}", "0a".repeat(24));
    for parameter in answer["parameters"].as_array().unwrap() {
        let example = parameter["example"].as_str().unwrap();
        if !example.starts_with('-') {
            continue;
        }
        // `lifetime`, `idle` and `failover` belong to a session; `rotate` and the others stand alone.
        let session = if ["-lifetime", "-idle", "-failover"]
            .iter()
            .any(|name| example.starts_with(name))
        {
            "-session-a"
        } else {
            ""
        };
        let password = format!("{key}{session}{example}");
        let parsed = iploop_protocol::targeting::Credentials::parse("iploop", &password);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}

#[tokio::test]
async fn places_are_public_and_aggregates_only() {
    let api = Api::new().await;
    let answer = api.get("/api/proxy/locations").send().await;
    insta::assert_snapshot!("locations", answer.stable());
    assert_eq!(answer.header("cache-control"), "public, max-age=5");
}

#[tokio::test]
async fn node_stats_are_counts_and_need_a_login() {
    let api = Api::new().await;
    assert_eq!(
        api.get("/api/nodes/stats").send().await.problem(),
        (401, "login_required".to_owned())
    );
    let token = api.token("ada@example.com").await;
    insta::assert_snapshot!(
        "node_stats",
        api.get("/api/nodes/stats").bearer(&token).send().await.stable()
    );
}

/// One ended request of an account.
pub(crate) fn record(
    account: AccountId,
    key: ApiKeyId,
    started_at: Timestamp,
    error: Option<&str>,
) -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        account,
        api_key: key,
        gateway: GatewayId::new(),
        node: None,
        session: None,
        bytes_up: 1_000,
        bytes_down: 249_000,
        billable: error.is_none(),
        proxy_type: "connect".to_owned(),
        destination: "example.com:443".to_owned(),
        exit_country: Some("DE".to_owned()),
        exit_city: None,
        exit_asn: None,
        exit_ip: None,
        timings: Timings::default(),
        status: Some(if error.is_none() { 200 } else { 503 }),
        error: error.map(str::to_owned),
        attempts: 1,
        started_at,
        ended_at: Some(started_at.plus(Duration::from_millis(120))),
    }
}

/// The answer to a wish for a key.
pub(crate) async fn new_key(api: &Api, token: &str, wanted: Value) -> Value {
    let made = api
        .post("/api/proxy/keys")
        .bearer(token)
        .json(&wanted)
        .send()
        .await;
    made.json()
}

pub(crate) async fn account_with_key(api: &Api, email: &str) -> (AccountId, ApiKeyId, String) {
    let login = api.register(email).await;
    let token = login["token"].as_str().unwrap().to_owned();
    let key = new_key(api, &token, json!({"name": "one"})).await;
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    (
        id(&login["user"]).parse().unwrap(),
        id(&key).parse().unwrap(),
        token,
    )
}

#[tokio::test]
async fn usage_is_summed_over_the_days_and_never_another_accounts() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let (stranger, strange_key, strange_token) = account_with_key(&api, "eve@example.com").await;
    let now = api.clock.now();
    let hours = |hours: u64| now.minus(Duration::from_secs(hours * 3600));
    let records = [
        record(account, key, hours(1), None),
        record(account, key, hours(2), None),
        record(account, key, hours(3), Some("no_exit")),
        record(account, key, hours(40), None),
        record(stranger, strange_key, hours(1), None),
    ];
    api.store.settle(&records, now).await.unwrap();

    let day = api.get("/api/usage/summary?days=1").bearer(&token).send().await;
    insta::assert_snapshot!("usage_summary", day.stable());
    let month = api.get("/api/usage/summary").bearer(&token).send().await.json();
    assert_eq!(month["summary"]["totalRequests"], 4);
    assert_eq!(month["period"]["days"], 30);
    let recent = api.get("/api/usage/recent?limit=2").bearer(&token).send().await;
    insta::assert_snapshot!(
        "usage_recent",
        recent.stable().replace(&key.to_string(), "[uuid]")
    );
    let strange = api
        .get("/api/usage/recent")
        .bearer(&strange_token)
        .send()
        .await
        .json();
    assert_eq!(strange["requests"].as_array().unwrap().len(), 1);
    let balance = api.get("/api/auth/profile").bearer(&token).send().await.json()["balance"].clone();
    assert_eq!(balance["balanceBytes"], 5_000_000_000_u64 - 3 * 250_000);
}

#[tokio::test]
async fn requests_name_no_device() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let node = device(&api).await;
    let with_node = UsageRecord {
        node: Some(node),
        ..record(account, key, api.clock.now(), None)
    };
    api.store.settle(&[with_node], api.clock.now()).await.unwrap();
    let recent = api.get("/api/usage/recent").bearer(&token).send().await;
    assert!(recent.text.contains("example.com:443"));
    assert!(
        !recent.text.contains("node") && !recent.text.contains(&node.to_string()),
        "{}",
        recent.text
    );
    assert_eq!(
        api.get("/api/nodes/stats").bearer(&token).send().await.json()["totalNodes"],
        1
    );
}

/// A registered device.
async fn device(api: &Api) -> NodeId {
    let partner = new_partner(api, "Acme").await;
    registered(api, registration(api, partner, "device-0000000000000001")).await
}

#[tokio::test]
async fn without_requests_nothing_is_invented() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let summary = api.get("/api/usage/summary").bearer(&token).send().await.json()["summary"].clone();
    assert_eq!(summary["totalRequests"], 0);
    assert_eq!(
        (&summary["successRate"], &summary["avgResponseTimeMs"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        api.get("/api/usage/recent").bearer(&token).send().await.json(),
        json!({"requests": []})
    );
}

#[tokio::test]
async fn days_and_limit_have_bounds() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    for path in [
        "summary?days=0",
        "summary?days=367",
        "recent?limit=0",
        "recent?limit=101",
    ] {
        let answer = api.get(&format!("/api/usage/{path}")).bearer(&token).send().await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{path}");
    }
    for path in [
        "summary?days=-1",
        "summary?days=x",
        "recent?limit=99999999999",
        "recent?limit=%ff",
        "recent?limit=",
    ] {
        let answer = api.get(&format!("/api/usage/{path}")).bearer(&token).send().await;
        assert_eq!(answer.problem(), (400, "malformed_query".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn parameters_are_explained_with_their_gates_pool_and_chance() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let explain = |params: &str| {
        api.get(&format!("/api/proxy/explain?params={params}"))
            .bearer(&token)
    };
    let whole = explain("-country-us%2Bca-city-new_york-speed-10-session-a-debug-1")
        .send()
        .await;
    insta::assert_snapshot!("explain", whole.stable());

    let one = explain("country-DE").send().await.json();
    assert_eq!(one["pool"]["nodes"], 1);
    assert_eq!(one["chance"]["attempts"], 1, "no more attempts than exits");
    assert_eq!(one["chance"]["success"], 0.75);
    let nobody = explain("country-FR").send().await.json();
    assert_eq!(
        (&nobody["pool"]["nodes"], &nobody["chance"]["success"]),
        (&json!(0), &json!(0.0))
    );
    let nothing = api.get("/api/proxy/explain").bearer(&token).send().await.json();
    assert_eq!(
        (&nothing["parameters"], &nothing["pool"]["nodes"]),
        (&json!(""), &json!(3))
    );
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_answered_as_the_proxy_does() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    for (text, code) in [
        ("contry-US", "unknown_parameter"),
        ("country-US-country-CA", "duplicate_parameter"),
        ("session-a-rotate-request", "conflicting_parameters"),
        ("country-UK", "invalid_country"),
        ("lifetime-1s", "invalid_value"),
    ] {
        let answer = api
            .get(&format!("/api/proxy/explain?params={text}"))
            .bearer(&token)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, code.to_owned()));
        let problem = answer.json();
        let error = iploop_protocol::targeting::Targeting::parse(text).unwrap_err();
        assert_eq!(problem["detail"], error.to_string());
        assert_eq!(problem["hint"], error.hint());
        assert_eq!(problem["parameter"].as_str(), error.parameter());
    }
}

#[tokio::test]
async fn a_key_may_ask_for_an_explanation_as_well() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let made = new_key(&api, &token, json!({"name": "one"})).await;
    let key = made["key"].as_str().unwrap();
    let ask = |token: &str| api.get("/api/proxy/explain?params=country-DE").bearer(token);
    assert_eq!(ask(key).send().await.json()["pool"]["nodes"], 1);
    let two = json!({"name": "two", "limits": {"countries": ["US"]}});
    let limited = new_key(&api, &token, two).await;
    let limited = limited["key"].as_str().unwrap();
    assert_eq!(
        ask(limited).send().await.json()["pool"]["nodes"],
        0,
        "not for this key"
    );
    let all = api.get("/api/proxy/explain").bearer(limited).send().await.json();
    assert_eq!(
        (&all["parameters"], &all["pool"]["nodes"]),
        (&json!("country-US"), &json!(2))
    );
    let unknown = format!("iploop_{}", "0a".repeat(24));
    for wrong in [unknown.as_str(), "iploop_short", ""] {
        assert_eq!(ask(wrong).send().await.problem().0, 401, "{wrong}");
    }
    let one = format!("/api/proxy/keys/{}", made["id"].as_str().unwrap());
    api.call(http::Method::PATCH, &one)
        .bearer(&token)
        .json(&json!({"isActive": false}))
        .send()
        .await;
    assert_eq!(ask(key).send().await.problem(), (401, "token_invalid".to_owned()));
    assert_eq!(
        api.get("/api/proxy/explain").send().await.problem(),
        (401, "login_required".to_owned())
    );
}

#[tokio::test]
async fn an_account_explains_so_often_at_once_and_no_other_waits_for_it() {
    let api = Api::new().await;
    let (ada, grace) = (
        api.token("ada@example.com").await,
        api.token("grace@example.com").await,
    );
    let made = api
        .post("/api/proxy/keys")
        .bearer(&ada)
        .json(&json!({"name": "one"}))
        .send()
        .await
        .json();
    let key = made["key"].as_str().unwrap();
    let ask = |token: &str| api.get("/api/proxy/explain?params=country-DE").bearer(token);
    for n in 0..60 {
        let asker = if n % 2 == 0 { key } else { &ada };
        assert_eq!(ask(asker).send().await.status, 200);
    }
    for asker in [key, &ada] {
        let refused = ask(asker).send().await;
        assert_eq!(refused.problem(), (429, "too_many_requests".to_owned()));
        assert_eq!(refused.header("retry-after"), "1");
    }
    assert_eq!(ask(&grace).send().await.status, 200);
}

#[tokio::test]
async fn devices_are_read_page_by_page_behind_the_cursor_of_the_one_before() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let page = async |query: &str| {
        let answer = api
            .get(&format!("/api/nodes?limit=2{query}"))
            .bearer(&token)
            .send()
            .await;
        answer.json()
    };
    let (mut rows, mut query) = (0, String::new());
    let first = page("").await;
    let all = first["nodeCount"].as_u64().unwrap();
    assert!(all > 2, "{first}");
    loop {
        let page = page(&query).await;
        rows += page["nodes"].as_array().unwrap().len() as u64;
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        query = format!("&cursor={cursor}");
    }
    assert_eq!(rows, all);
    let wrong = api.get("/api/nodes?cursor=x").bearer(&token).send().await;
    assert_eq!(wrong.problem(), (400, "invalid_fields".to_owned()));
}
