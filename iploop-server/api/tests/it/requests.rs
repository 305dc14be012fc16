//! The request log: found, paged, exported, and the receipt of one request.

use std::collections::BTreeSet;
use std::time::Duration;

use iploop_platform::clock::Clock as _;
use iploop_platform::ids::{AccountId, ApiKeyId, RequestId};
use iploop_platform::usage::{Timings, UsageRecord};
use serde_json::{Value, json};

use crate::harness::Api;
use crate::reading::{account_with_key, record};

/// Books one request of an account; its id.
pub(crate) async fn some_request(api: &Api, account: AccountId) -> RequestId {
    let booked = record(account, ApiKeyId::new(), api.clock.now(), None);
    api.store
        .settle(std::slice::from_ref(&booked), api.clock.now())
        .await
        .unwrap();
    booked.id
}

fn ids(page: &Value) -> Vec<String> {
    let requests = page["requests"].as_array().unwrap().iter();
    requests
        .map(|request| request["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_receipt_says_what_was_relayed_paid_and_how_long_it_took() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let (_, _, stranger) = account_with_key(&api, "eve@example.com").await;
    let served = UsageRecord {
        exit_asn: Some(64500),
        exit_ip: Some("203.0.113.77".parse().unwrap()),
        exit_city: Some("Berlin".to_owned()),
        session: Some("shop".to_owned()),
        timings: Timings {
            select_ms: Some(1),
            dial_ms: Some(40),
            first_byte_ms: Some(90),
        },
        ..record(account, key, api.clock.now(), None)
    };
    let broken = record(account, key, api.clock.now(), Some("exit_lost"));
    api.store
        .settle(&[served.clone(), broken.clone()], api.clock.now())
        .await
        .unwrap();
    let receipt = async |id: RequestId, token: &str| {
        let path = format!("/api/usage/requests/{id}");
        api.get(&path).bearer(token).send().await
    };
    insta::assert_snapshot!(
        "receipt",
        receipt(served.id, &token)
            .await
            .stable()
            .replace(&key.to_string(), "[key]")
    );
    let broken = receipt(broken.id, &token).await.json();
    assert_eq!(
        (&broken["totalBytes"], &broken["billedBytes"], &broken["billable"]),
        (&json!(250_000), &json!(0), &json!(false))
    );
    for answer in [
        receipt(served.id, &stranger).await,
        receipt(RequestId::new(), &token).await,
        api.get("/api/usage/requests/x").bearer(&token).send().await,
    ] {
        assert_eq!(answer.problem(), (404, "request_not_found".to_owned()));
    }
    let path = format!("/api/usage/requests/{}", served.id);
    assert_eq!(
        api.get(&path).send().await.problem(),
        (401, "login_required".to_owned())
    );
}

#[tokio::test]
async fn ledger_receipts_and_usage_agree_on_what_was_paid() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let now = api.clock.now();
    let records = [
        record(account, key, now, None),
        record(account, key, now, Some("exit_lost")),
        record(account, key, now, None),
    ];
    api.store.settle(&records, now).await.unwrap();
    api.clock.advance(Duration::from_secs(1));
    let summary = api.get("/api/usage/summary").bearer(&token).send().await.json();
    let page = api.get("/api/usage/requests").bearer(&token).send().await.json();
    let receipts: u64 = page["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["billedBytes"].as_u64().unwrap())
        .sum();
    let ledger = api.store.balance(account).await.unwrap().used_bytes;
    assert_eq!(summary["summary"]["billedBytes"], json!(500_000));
    assert_eq!((receipts, ledger), (500_000, 500_000));
}

#[tokio::test]
async fn pages_are_found_by_filters_and_stable_while_requests_come() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let (stranger, strange_key, _) = account_with_key(&api, "eve@example.com").await;
    let now = api.clock.now();
    let begun = |n: u64| now.plus(Duration::from_millis(n / 2));
    let mut records: Vec<UsageRecord> = (0..25).map(|n| record(account, key, begun(n), None)).collect();
    records[3].error = Some("no_exit".to_owned());
    records[3].destination = "[2001:db8::1]:443".to_owned();
    let foreign = record(stranger, strange_key, now, Some("no_exit"));
    let of_foreign = format!("/api/usage/requests/{}", foreign.id);
    api.store.settle(&records, now).await.unwrap();
    api.store.settle(&[foreign], now).await.unwrap();
    assert_eq!(api.get(&of_foreign).bearer(&token).send().await.status, 404);

    let mut seen = Vec::new();
    let mut path = "/api/usage/requests?limit=10".to_owned();
    loop {
        let page = api.get(&path).bearer(&token).send().await.json();
        seen.extend(ids(&page));
        let late = record(account, key, now.plus(Duration::from_secs(60)), None);
        api.store.settle(&[late], now).await.unwrap();
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/usage/requests?limit=10&cursor={cursor}");
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25, "none twice");

    for filter in [
        "code=no_exit",
        "host=[2001:DB8::1]",
        "host=2001:db8::1&type=connect&country=de&status=200",
    ] {
        let path = format!("/api/usage/requests?{filter}");
        let page = api.get(&path).bearer(&token).send().await.json();
        assert_eq!(ids(&page), [records[3].id.to_string()], "{filter}");
        assert_eq!(page["nextCursor"], Value::Null);
    }
    for (query, code) in [
        ("limit=0", "invalid_fields"),
        ("limit=101", "invalid_fields"),
        ("cursor=x", "invalid_fields"),
        ("from=yesterday", "malformed_query"),
        ("apiKeyId=x", "malformed_query"),
        ("status=70000", "malformed_query"),
    ] {
        let path = format!("/api/usage/requests?{query}");
        let answer = api.get(&path).bearer(&token).send().await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn an_export_is_whole_over_many_reads_and_no_cell_is_a_formula() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let now = api.clock.now();
    let mut records: Vec<UsageRecord> = (0..2_345)
        .map(|n| record(account, key, now.plus(Duration::from_millis(n / 3)), None))
        .collect();
    records[0].session = Some("=HYPERLINK(\"http://evil.test\")".to_owned());
    for part in records.chunks(1000) {
        api.store.settle(part, now).await.unwrap();
    }
    let csv = api.get("/api/usage/requests/export").bearer(&token).send().await;
    assert_eq!(
        csv.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    assert!(csv.header("content-disposition").starts_with("attachment;"));
    let lines: Vec<&str> = csv.text.split("\r\n").collect();
    assert_eq!(
        lines.len(),
        1 + 2_345 + 1,
        "a header, the rows, nothing behind the last"
    );
    assert!(lines[0].starts_with("startedAt,") && lines[2_346].is_empty());
    assert!(
        lines[2_345].contains("\"'=HYPERLINK(\"\"http://evil.test\"\")\""),
        "{}",
        lines[2_345]
    );
    let columns = lines[0].split(',').count();
    assert_eq!(lines[1].split(',').count(), columns);

    let path = "/api/usage/requests/export?format=ndjson&limit=1200";
    let part = api.get(path).bearer(&token).send().await;
    let rows: Vec<Value> = part
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 1_200);
    let cursor = rows[1_199]["cursor"].as_str().unwrap();
    let rest = format!("/api/usage/requests/export?format=ndjson&cursor={cursor}");
    let rest = api.get(&rest).bearer(&token).send().await;
    assert_eq!(rest.text.lines().count(), 1_145);
    let all: BTreeSet<String> = part
        .text
        .lines()
        .chain(rest.text.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!(all.len(), 2_345);

    for query in ["limit=0", "limit=100001"] {
        let path = format!("/api/usage/requests/export?{query}");
        let answer = api.get(&path).bearer(&token).send().await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{query}");
    }
}
