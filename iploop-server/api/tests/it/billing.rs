//! The statement of an account.

use std::time::Duration;

use iploop_platform::clock::Clock as _;
use iploop_platform::keys::NobodyToTell;
use iploop_platform::ledger::{LedgerError, LedgerParts, LedgerService, Purchase, Refund, Refusal, Who};
use iploop_platform::{abuse::Actor, ids::AccountId};
use serde_json::{Value, json};

use crate::harness::Api;
use crate::reading::{account_with_key, record};

fn ledger(api: &Api) -> LedgerService {
    LedgerService::new(LedgerParts {
        store: api.store.clone(),
        clock: api.clock.clone(),
        changes: std::sync::Arc::new(NobodyToTell),
    })
}

fn gigabyte(account: AccountId) -> Purchase<'static> {
    Purchase {
        account,
        bytes: 1_000_000_000,
        money_micros: 5_000_000,
        reference: Some("pi_1"),
        description: "1 GB",
        metadata: json!({ "invoice": "in_1" }),
    }
}

async fn lines(api: &Api, token: &str) -> Vec<Value> {
    let page = api
        .get("/api/billing/transactions")
        .bearer(token)
        .send()
        .await
        .json();
    assert_eq!(page["nextCursor"], Value::Null);
    page["transactions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_statement_shows_what_was_given_bought_used_and_paid_back() {
    let api = Api::new().await;
    let (account, key, token) = account_with_key(&api, "ada@example.com").await;
    let (_, _, strange_token) = account_with_key(&api, "eve@example.com").await;
    let ledger = ledger(&api);
    api.clock.advance(Duration::from_secs(1));
    let bought = ledger.purchase(gigabyte(account), "evt_1").await.unwrap();
    let again = ledger.purchase(gigabyte(account), "evt_1").await.unwrap();
    assert_eq!((again.entry, again.is_repeat), (bought.entry, true));
    let now = api.clock.now();
    api.store
        .settle(&[record(account, key, now, None)], now)
        .await
        .unwrap();
    api.clock.advance(Duration::from_secs(1));
    let refund = Refund {
        account,
        bytes: 0,
        money_micros: 5_000_000,
        purchase: Some(bought.entry),
        reference: None,
        is_forced: false,
        description: "Sorry",
    };
    let who = Who {
        actor: Actor::CommandLine,
        reason: "it did not work",
    };
    ledger.refund(refund, who, "re_1").await.unwrap();

    let shown = lines(&api, &token).await;
    let kinds: Vec<&Value> = shown.iter().map(|line| &line["type"]).collect();
    assert_eq!(kinds, ["refund", "purchase", "bonus", "usage"]);
    let purchase = &shown[1];
    assert_eq!(purchase["amount"], 5.0);
    assert_eq!(purchase["gbAmount"], 1.0);
    assert_eq!(purchase["reference"], "pi_1");
    assert_eq!(purchase["status"], "refunded");
    assert_eq!(purchase["metadata"], json!({ "invoice": "in_1" }));
    assert_eq!(purchase["id"], json!(bought.entry));
    let usage = &shown[3];
    assert_eq!(usage["bytes"], -250_000);
    // 5 $ for 6 GB, of which 250 kB are used.
    assert_eq!(usage["amountMicros"], -208);
    let balance = api.get("/api/auth/profile").bearer(&token).send().await.json()["balance"].clone();
    let sum: i64 = shown.iter().map(|line| line["bytes"].as_i64().unwrap()).sum();
    assert_eq!(balance["balanceBytes"], sum);
    let strange = lines(&api, &strange_token).await;
    assert_eq!(strange.len(), 1, "the bonus of that account");
    assert!(api.store.check_ledger().await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other_and_have_bounds() {
    let api = Api::new().await;
    let (account, _, token) = account_with_key(&api, "ada@example.com").await;
    for i in 0..4 {
        api.clock.advance(Duration::from_secs(1));
        ledger(&api)
            .bonus(account, 10 + i, &format!("k{i}"), "Thanks")
            .await
            .unwrap();
    }
    let get = async |query: &str| {
        let path = format!("/api/billing/transactions?{query}");
        api.get(&path).bearer(&token).send().await
    };
    let first = get("limit=3").await.json();
    let cursor = first["nextCursor"].as_str().unwrap().to_owned();
    let second = get(&format!("limit=3&cursor={cursor}")).await.json();
    assert_eq!(second["nextCursor"], Value::Null);
    let bytes: Vec<i64> = [&first, &second]
        .iter()
        .flat_map(|page| page["transactions"].as_array().unwrap())
        .map(|line| line["bytes"].as_i64().unwrap())
        .collect();
    assert_eq!(bytes, [13, 12, 11, 10, 5_000_000_000]);
    for wrong in ["limit=0", "limit=101", "cursor=nothing"] {
        assert_eq!(get(wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(api.get("/api/billing/transactions").send().await.status, 401);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let api = Api::new().await;
    let (account, ..) = account_with_key(&api, "ada@example.com").await;
    let ledger = ledger(&api);
    let field = |result: Result<_, LedgerError>| match result.map(|_: iploop_platform::ledger::Booked| ()) {
        Err(LedgerError::Invalid(problem)) => problem.field,
        other => panic!("{other:?}"),
    };
    let nothing = Purchase {
        bytes: 0,
        ..gigabyte(account)
    };
    assert_eq!(field(ledger.purchase(nothing, "k").await), "bytes");
    assert_eq!(
        field(ledger.purchase(gigabyte(account), " ").await),
        "idempotencyKey"
    );
    let who = Who {
        actor: Actor::CommandLine,
        reason: "",
    };
    assert_eq!(
        field(ledger.adjust(account, 1, 0, false, who, "k").await),
        "reason"
    );
    ledger.purchase(gigabyte(account), "k").await.unwrap();
    let taken = ledger.bonus(account, 1, "k", "Thanks").await;
    assert!(
        matches!(taken, Err(LedgerError::Refused(Refusal::KeyTaken))),
        "{taken:?}"
    );
}
