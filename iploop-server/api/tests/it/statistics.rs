//! What a customer used, in sums: periods in local days, by what requests have in common, as JSON and as CSV.

use std::time::Duration;

use iploop_platform::clock::{Clock as _, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::usage::UsageRecord;
use serde_json::{Value, json};

use crate::harness::Api;
use crate::reading::{account_with_key, record};

const ALL: [&str; 9] = [
    "/api/usage/summary",
    "/api/usage/daily",
    "/api/usage/hourly",
    "/api/usage/by-country",
    "/api/usage/by-key",
    "/api/usage/by-status",
    "/api/usage/by-type",
    "/api/usage/by-destination",
    "/api/usage/recent",
];

fn at(text: &str) -> Timestamp {
    serde_json::from_value(text.into()).unwrap()
}

async fn book(api: &Api, records: &[UsageRecord]) {
    api.store.settle(records, api.clock.now()).await.unwrap();
}

/// Some requests around the harness's now, 2025-11-24T16:00Z.
async fn some_use(api: &Api, account: AccountId, key: ApiKeyId) {
    let now = api.clock.now();
    let hours = |hours: u64| now.minus(Duration::from_secs(hours * 3600));
    let elsewhere = UsageRecord {
        exit_country: Some("US".to_owned()),
        destination: "=cmd().example:80".to_owned(),
        proxy_type: "http".to_owned(),
        ..record(account, key, hours(2), None)
    };
    let failed = UsageRecord {
        exit_country: None,
        ..record(account, key, hours(17), Some("no_exit"))
    };
    let records = [
        record(account, key, hours(1), None),
        record(account, key, hours(1), None),
        elsewhere,
        failed,
        record(account, key, hours(30), None),
    ];
    book(api, &records).await;
}

async fn read(api: &Api, token: &str, path: &str) -> Value {
    let answer = api.get(path).bearer(token).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn an_account_that_used_nothing_gets_empty_answers_and_no_invented_ones() {
    let api = Api::new().await;
    let (_, _, token) = account_with_key(&api, "ada@example.com").await;
    for path in ALL {
        let answer = read(&api, &token, path).await;
        for (name, field) in answer.as_object().unwrap() {
            match field {
                Value::Array(rows) => assert!(rows.is_empty(), "{path} {name}"),
                Value::Object(_) if name == "summary" => {
                    assert_eq!(
                        (&field["totalRequests"], &field["successRate"]),
                        (&json!(0), &Value::Null)
                    );
                }
                _ => {}
            }
        }
    }
    let stats = read(&api, &token, "/api/proxy/stats").await;
    assert_eq!(
        (&stats["summary"]["totalRequests"], &stats["days"]),
        (&json!(0), &json!([]))
    );
}

#[tokio::test]
async fn days_and_hours_are_those_of_the_time_zone_that_is_asked_for() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    book(
        &api,
        &[
            record(account, key, at("2025-11-23T18:14:00Z"), None),
            record(account, key, at("2025-11-23T18:15:00Z"), None),
            record(account, key, at("2025-11-24T10:00:00Z"), None),
        ],
    )
    .await;
    let requests = |rows: &Value, name: &str| -> Vec<(Value, u64)> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| (row[name].clone(), row["totalRequests"].as_u64().unwrap()))
            .filter(|(_, requests)| *requests > 0)
            .collect()
    };
    let daily = read(&api, &token, "/api/usage/daily?days=2").await;
    assert_eq!(
        requests(&daily["days"], "date"),
        [(json!("2025-11-23"), 2), (json!("2025-11-24"), 1)]
    );
    // 18:15 UTC is midnight in Kathmandu.
    let zone = "tz=Asia/Kathmandu";
    let daily = read(&api, &token, &format!("/api/usage/daily?days=2&{zone}")).await;
    assert_eq!(
        requests(&daily["days"], "date"),
        [(json!("2025-11-23"), 1), (json!("2025-11-24"), 2)]
    );
    assert_eq!(daily["period"]["from"], "2025-11-22T18:15:00Z");
    assert_eq!(daily["period"]["tz"], "Asia/Kathmandu");
    let hourly = read(&api, &token, &format!("/api/usage/hourly?days=2&{zone}")).await;
    assert_eq!(hourly["hours"].as_array().unwrap().len(), 24);
    assert_eq!(
        requests(&hourly["hours"], "hour"),
        [(json!(0), 1), (json!(15), 1), (json!(23), 1)]
    );
}

#[tokio::test]
async fn every_sum_of_the_same_period_is_the_same_sum() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    some_use(&api, account, key).await;
    let query = "days=3&tz=America/St_Johns";
    let summary = read(&api, &token, &format!("/api/usage/summary?{query}")).await;
    let total = |rows: &Value, field: &str| -> u64 {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row[field].as_u64().unwrap()).sum()
    };
    for (path, rows) in [
        ("daily", "days"),
        ("hourly", "hours"),
        ("by-country", "countries"),
        ("by-key", "keys"),
        ("by-status", "statuses"),
        ("by-type", "types"),
        ("by-destination", "destinations"),
        ("by-destination", "destinations"),
    ] {
        let answer = read(&api, &token, &format!("/api/usage/{path}?{query}&key={key}")).await;
        for field in ["totalRequests", "totalBytes", "billedBytes", "failedRequests"] {
            assert_eq!(
                total(&answer[rows], field),
                summary["summary"][field],
                "{path} {field}"
            );
        }
    }
    let few = read(
        &api,
        &token,
        &format!("/api/usage/by-destination?{query}&limit=1"),
    )
    .await;
    assert_eq!(few["destinations"][0]["host"], "example.com");
    assert_eq!(few["destinations"][1]["host"], Value::Null);
    assert_eq!(total(&few["destinations"], "totalRequests"), 5);
    let stats = read(&api, &token, "/api/proxy/stats").await;
    assert_eq!(
        (
            stats["summary"]["totalRequests"].as_u64(),
            total(&stats["days"], "totalRequests")
        ),
        (Some(5), 5)
    );
}

#[tokio::test]
async fn a_summary_stands_beside_the_same_stretch_of_the_period_before() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    some_use(&api, account, key).await;
    let answer = read(&api, &token, "/api/usage/summary?days=1").await;
    assert_eq!(answer["summary"]["totalRequests"], 3);
    assert_eq!(
        answer["previous"]["summary"]["totalRequests"], 1,
        "10:00, and not 23:00"
    );
    assert_eq!(
        (
            &answer["previous"]["period"]["from"],
            &answer["previous"]["period"]["to"]
        ),
        (&json!("2025-11-23T00:00:00Z"), &json!("2025-11-23T16:15:00Z"))
    );
}

#[tokio::test]
async fn breakdowns_name_what_they_count() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    some_use(&api, account, key).await;
    let mut text = String::new();
    for path in ["by-country", "by-key", "by-status", "by-type", "by-destination"] {
        let csv = api
            .get(&format!("/api/usage/{path}?days=2&format=csv"))
            .bearer(&token)
            .send()
            .await;
        assert_eq!(
            csv.header("content-type"),
            "text/csv; charset=utf-8; header=present"
        );
        assert!(csv.header("content-disposition").starts_with("attachment"));
        text.push_str(&csv.text.replace(&key.to_string(), "[key]"));
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn every_sum_is_to_be_had_as_csv_too() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    some_use(&api, account, key).await;
    for path in ALL {
        let csv = api.get(&format!("{path}?format=csv")).bearer(&token).send().await;
        let mut lines = csv.text.split("\r\n");
        let columns = lines.next().unwrap().split(',').count();
        assert!(csv.text.ends_with("\r\n") && columns > 8, "{path}: {}", csv.text);
        assert!(
            lines
                .filter(|line| !line.is_empty())
                .all(|line| line.split(',').count() == columns)
        );
    }
}

#[tokio::test]
async fn nothing_is_told_of_another_accounts_key_nor_of_its_use() {
    let api = Api::new().await;
    let (account, key, _) = account_with_key(&api, "ada@example.com").await;
    let (_, _, stranger) = account_with_key(&api, "eve@example.com").await;
    some_use(&api, account, key).await;
    for path in ALL {
        let answer = api
            .get(&format!("{path}?key={key}"))
            .bearer(&stranger)
            .send()
            .await;
        assert_eq!(answer.problem(), (404, "key_not_found".to_owned()), "{path}");
        let own = read(&api, &stranger, path).await;
        assert!(!own.to_string().contains(&key.to_string()), "{path}");
        assert_eq!(api.get(path).send().await.problem().0, 401, "{path}");
    }
}

#[tokio::test]
async fn a_period_that_is_none_is_refused_by_its_field() {
    let api = Api::new().await;
    let (_, _, token) = account_with_key(&api, "ada@example.com").await;
    for (query, field) in [
        ("days=0", "days"),
        ("days=367", "days"),
        ("days=7&from=2025-01-01T00:00:00Z", "days"),
        ("to=2025-01-01T00:00:00Z", "from"),
        ("from=2025-01-02T00:00:00Z&to=2025-01-01T00:00:00Z", "to"),
        ("from=2020-01-02T00:00:00Z", "to"),
        ("from=0000-01-01T00:00:00Z", "to"),
        ("tz=Europe/Bielefeld", "tz"),
    ] {
        let answer = api
            .get(&format!("/api/usage/daily?{query}"))
            .bearer(&token)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{query}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
    let whole = "from=2025-11-24T15:07:00Z&to=2025-11-24T15:08:00Z";
    let daily = read(&api, &token, &format!("/api/usage/daily?{whole}")).await;
    assert_eq!(daily["period"]["from"], "2025-11-24T15:00:00Z");
    assert_eq!(daily["period"]["to"], "2025-11-24T15:15:00Z");
}

/// For the visit of every documented operation.
pub(crate) async fn visit_everything(api: &Api, token: &str) {
    for path in ALL {
        api.get(path).bearer(token).send().await;
        api.get(&format!("{path}?format=csv")).bearer(token).send().await;
    }
    for path in ["/api/proxy/stats", "/api/nodes", "/api/nodes/countries"] {
        api.get(path).bearer(token).send().await;
    }
}
