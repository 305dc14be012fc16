//! What was given up at the payment provider, for admins.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use iploop_platform::billing::MAX_TRIES;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, get, send};
use crate::till::{Desk, Till};

/// Somebody left while nobody answered, for longer than all tries take.
async fn given_up() -> (Desk, String) {
    let desk = Desk::open().await;
    desk.subscribe().await;
    let began = desk.subscription("active");
    desk.event("evt_1", "customer.subscription.created", &began).await;
    desk.till.is_silent.store(true, Ordering::Relaxed);
    let farewell = json!({ "password": PASSWORD, "confirmEmail": "ada@example.com" });
    let path = "/api/auth/account";
    let gone = send(&desk.api, &desk.token, Method::DELETE, path, farewell).await;
    assert!(gone.status.is_success(), "{}", gone.text);
    // One that fails for want of an answer keeps the others waiting: each look tries one.
    for _ in 0..MAX_TRIES * 4 {
        desk.api.billing.look().await.unwrap();
        desk.api.clock.advance(Duration::from_secs(24 * 3600));
    }
    let (_, admin) = desk.api.admin().await;
    (desk, admin)
}

async fn list(desk: &Desk, admin: &str, query: &str) -> Value {
    let answer = get(&desk.api, admin, &format!("/api/admin/errands?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn retry(desk: &Desk, token: &str, errand: &str) -> Answer {
    let path = format!("/api/admin/errands/{errand}/retry");
    let body = json!({ "reason": "Stripe is back" });
    send(&desk.api, token, Method::POST, &path, body).await
}

/// Every route with its success.
pub(crate) async fn visit_everything() {
    let (desk, admin) = given_up().await;
    list(&desk, &admin, "limit=1").await;
    retry(&desk, &admin, "end_subscription/sub_1").await;
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_tried_again_on_record() {
    let (desk, admin) = given_up().await;
    let mut found = Vec::new();
    let mut query = "state=left&limit=1".to_owned();
    loop {
        let page = list(&desk, &admin, &query).await;
        found.extend(page["errands"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("state=left&limit=1&cursor={cursor}"),
            None => break,
        }
    }
    let customer = Till::customer(desk.account);
    let what: Vec<_> = found
        .iter()
        .map(|errand| {
            (
                errand["kind"].as_str().unwrap(),
                errand["subject"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(what.contains(&("end_subscription", "sub_1")), "{what:?}");
    assert!(what.contains(&("delete_customer", customer.as_str())), "{what:?}");
    assert!(what.is_sorted(), "{what:?}");
    let first = &found[0];
    assert_eq!(
        (&first["tries"], &first["state"], &first["accountId"]),
        (&json!(MAX_TRIES), &json!("left"), &json!(desk.account))
    );
    assert!(
        first["reason"].as_str().unwrap().contains("nobody answers"),
        "{first}"
    );
    assert_eq!(list(&desk, &admin, "state=waiting").await["errands"], json!([]));

    desk.till.is_silent.store(false, Ordering::Relaxed);
    desk.api.billing.look().await.unwrap();
    assert_eq!(*desk.till.done.lock(), [""; 0], "nobody tries it by itself");
    let retried = retry(&desk, &admin, "end_subscription/sub_1").await.json();
    assert_eq!(
        (&retried["state"], &retried["tries"]),
        (&json!("waiting"), &json!(0))
    );
    let audit = get(
        &desk.api,
        &admin,
        "/api/admin/audit?limit=1&action=errand_retried",
    )
    .await;
    let record = &audit.json()["records"][0];
    assert_eq!(
        (&record["subject"], &record["accountId"], &record["reason"]),
        (&json!("sub_1"), &json!(desk.account), &json!("Stripe is back"))
    );
    assert_eq!(
        (&record["before"]["state"], &record["after"]["state"]),
        (&json!("left"), &json!("waiting"))
    );
    desk.api.billing.look().await.unwrap();
    assert_eq!(*desk.till.done.lock(), ["end_now sub_1"]);
    let done = retry(&desk, &admin, "end_subscription/sub_1").await;
    assert_eq!(done.problem(), (409, "errand_done".to_owned()));
}

#[tokio::test]
async fn nothing_is_collected_for_a_suspended_account_until_it_is_reinstated() {
    let desk = Desk::open().await;
    desk.subscribe().await;
    let began = desk.subscription("active");
    desk.event("evt_1", "customer.subscription.created", &began).await;
    let (_, admin) = desk.api.admin().await;
    // The page that was paid on is closed.
    desk.api.billing.look().await.unwrap();
    desk.till.done.lock().clear();
    let mut wanted = Vec::new();
    for (act, done) in [("suspend", "pause sub_1"), ("reinstate", "resume sub_1")] {
        let path = format!("/api/admin/accounts/{}/{act}", desk.account);
        let answer = send(
            &desk.api,
            &admin,
            Method::POST,
            &path,
            json!({ "reason": "a look" }),
        )
        .await;
        assert!(answer.status.is_success(), "{}", answer.text);
        desk.api.billing.look().await.unwrap();
        wanted.push(done);
        assert_eq!(*desk.till.done.lock(), wanted);
    }
    // Stripe tells of each change, in the form of the endpoint's version.
    let mut paused = desk.subscription("active");
    paused["pause_collection"] = json!({ "behavior": "void", "resumes_at": null });
    desk.event("evt_2", "customer.subscription.updated", &paused)
        .await;
    desk.api.billing.look().await.unwrap();
    assert_eq!(*desk.till.done.lock(), wanted);
}

#[tokio::test]
async fn unknown_errands_are_not_found_and_the_list_is_for_admins() {
    let (desk, admin) = given_up().await;
    for unknown in [
        "end_subscription/sub_2",
        "refund/sub_1",
        "no_kind/sub_1",
        "end_subscription/%00",
    ] {
        let answer = retry(&desk, &admin, unknown).await;
        assert_eq!(
            answer.problem(),
            (404, "errand_not_found".to_owned()),
            "{unknown}"
        );
    }
    let path = "/api/admin/errands/end_subscription/sub_1/retry";
    let silent = send(&desk.api, &admin, Method::POST, path, json!({ "reason": "" })).await;
    assert_eq!(silent.problem(), (400, "invalid_fields".to_owned()));
    for query in [
        "state=lost",
        "cursor=nothing",
        "cursor=no_kind:sub_1",
        "limit=201",
    ] {
        let answer = get(&desk.api, &admin, &format!("/api/admin/errands?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let other = desk.api.token("eve@example.com").await;
    let refused = retry(&desk, &other, "end_subscription/sub_1").await;
    assert_eq!(refused.problem(), (403, "admin_only".to_owned()));
    let refused = get(&desk.api, &other, "/api/admin/errands").await;
    assert_eq!(refused.problem(), (403, "admin_only".to_owned()));
}
