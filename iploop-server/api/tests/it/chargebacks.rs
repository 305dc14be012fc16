//! Payments that a bank takes back, subscriptions that come twice, and what an account that is deleted leaves at the provider.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use iploop_billing::sign;
use iploop_platform::clock::Clock as _;
use iploop_platform::secret::Secret;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD};
use crate::till::{Desk, GB, PageState, SECRET, Till};

/// What Stripe tells of a dispute of the payment `pi_1`.
fn dispute(status: &str) -> Value {
    json!({
        "id": "dp_1", "payment_intent": "pi_1", "charge": "ch_1", "amount": 1_960, "currency": "usd", "status": status,
        "reason": "fraudulent",
    })
}

/// A customer who bought 2 GB.
async fn bought() -> Desk {
    let desk = Desk::open().await;
    desk.post("checkout", &json!({ "gb": 2 })).await;
    let payment = desk.till.began.lock().first().cloned().unwrap();
    let intent = json!({
        "id": "pi_1", "amount_received": 1_960, "currency": "usd", "metadata": { "iploop_payment": payment.id },
    });
    desk.event("evt_1", "payment_intent.succeeded", &intent).await;
    assert_eq!(desk.balance().await, 2 * GB);
    desk.mail().await;
    desk
}

/// Uses bytes, as the gateway does.
async fn uses(desk: &Desk, bytes: i64) {
    let spent = iploop_platform::usage::UsageRecord {
        bytes_down: u64::try_from(bytes).unwrap(),
        bytes_up: 0,
        ..crate::reading::record(
            desk.account,
            iploop_platform::ids::ApiKeyId::new(),
            desk.api.clock.now(),
            None,
        )
    };
    desk.api
        .store
        .settle(&[spent], desk.api.clock.now())
        .await
        .unwrap();
}

async fn disputes(desk: &Desk, admin: &str, query: &str) -> Value {
    let path = format!("/api/admin/disputes?{query}");
    let answer = desk.api.get(&path).bearer(admin).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["disputes"].clone()
}

async fn forgive(desk: &Desk, admin: &str) -> Answer {
    let path = format!("/api/admin/users/{}/forgive-debt", desk.account);
    let body = json!({ "reason": "the bank was wrong" });
    desk.api.post(&path).bearer(admin).json(&body).send().await
}

/// Every route of admins with its success.
pub(crate) async fn visit_everything() {
    let desk = bought().await;
    let (_, admin) = desk.api.admin().await;
    uses(&desk, GB).await;
    desk.event("evt_2", "charge.dispute.created", &dispute("needs_response"))
        .await;
    disputes(&desk, &admin, "limit=1").await;
    forgive(&desk, &admin).await;
}

#[tokio::test]
async fn a_disputed_payment_takes_its_bytes_and_holds_the_account_until_it_is_settled() {
    let desk = bought().await;
    let (_, admin) = desk.api.admin().await;
    uses(&desk, GB / 2).await;
    desk.event(
        "evt_2",
        "charge.dispute.created",
        &dispute("warning_needs_response"),
    )
    .await;
    assert_eq!(desk.balance().await, 3 * GB / 2, "the bank only asks");
    desk.event(
        "evt_3",
        "charge.dispute.funds_withdrawn",
        &dispute("needs_response"),
    )
    .await;
    assert_eq!(desk.balance().await, 0);
    let standing = desk.get("subscription").await;
    let held = json!({ "openDisputes": 1, "owedBytes": GB / 2 });
    assert_eq!(standing["hold"], held);
    let mail = desk.mail().await;
    assert_eq!(mail.subject, "A payment is disputed");
    assert!(
        mail.text.contains("19.60 USD") && mail.text.contains("0.50 GB"),
        "{}",
        mail.text
    );
    let growth = json!({ "planId": desk.plan("Growth").await["id"] });
    for wish in [json!({ "gb": 1 }), growth] {
        let answer = desk.post("checkout", &wish).await;
        assert_eq!(answer.problem(), (409, "payments_held".to_owned()));
    }

    let listed = disputes(&desk, &admin, "status=open").await;
    assert_eq!(listed[0]["reference"], "dp_1");
    assert_eq!(
        (&listed[0]["amountCents"], &listed[0]["owedBytes"]),
        (&json!(1_960), &json!(GB / 2))
    );
    assert_eq!(disputes(&desk, &admin, "status=won").await, json!([]));
    let refused = desk
        .api
        .get("/api/admin/disputes")
        .bearer(&desk.token)
        .send()
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    desk.event("evt_4", "charge.dispute.closed", &dispute("lost"))
        .await;
    assert_eq!(desk.mail().await.subject, "A disputed payment is over");
    assert_eq!(desk.get("subscription").await["hold"]["openDisputes"], 0);
    assert_eq!(forgive(&desk, &admin).await.json(), json!({ "bytes": GB / 2 }));
    assert_eq!(
        forgive(&desk, &admin).await.problem(),
        (409, "already_so".to_owned())
    );
    assert_eq!(desk.get("subscription").await["hold"], Value::Null);
    assert_eq!(
        desk.post("checkout", &json!({ "gb": 1 })).await.status,
        StatusCode::OK
    );
    let audit = desk
        .api
        .get("/api/admin/audit?action=debt_forgiven")
        .bearer(&admin)
        .send()
        .await;
    assert!(audit.text.contains("the bank was wrong"), "{}", audit.text);
    let audit = desk
        .api
        .get("/api/admin/audit?action=payment_disputed")
        .bearer(&admin)
        .send()
        .await;
    assert!(audit.text.contains("dp_1"), "{}", audit.text);
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_dispute_that_is_won_gives_everything_back() {
    let desk = bought().await;
    uses(&desk, GB / 2).await;
    desk.event("evt_2", "charge.dispute.created", &dispute("needs_response"))
        .await;
    desk.mail().await;
    desk.event("evt_3", "charge.dispute.closed", &dispute("won"))
        .await;
    assert_eq!(desk.mail().await.subject, "A disputed payment counts again");
    desk.event("evt_4", "charge.dispute.funds_reinstated", &dispute("won"))
        .await;
    assert_eq!(desk.balance().await, 3 * GB / 2);
    assert_eq!(desk.get("subscription").await["hold"], Value::Null);
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_refund_at_the_provider_is_told_and_on_record() {
    let desk = bought().await;
    let (_, admin) = desk.api.admin().await;
    for (id, cents, left) in [("evt_2", 490, 3 * GB / 2), ("evt_3", 1_960, 0)] {
        let charge = json!({
            "payment_intent": "pi_1", "customer": Till::customer(desk.account), "amount_refunded": cents, "currency": "usd",
        });
        desk.event(id, "charge.refunded", &charge).await;
        assert_eq!(desk.balance().await, left);
        assert_eq!(desk.mail().await.subject, "Your payment was paid back");
    }
    let audit = desk
        .api
        .get("/api/admin/audit?action=refunded")
        .bearer(&admin)
        .send()
        .await;
    assert_eq!(
        audit.json()["records"].as_array().unwrap().len(),
        2,
        "{}",
        audit.text
    );
    assert_eq!(
        desk.get("subscription").await["hold"],
        Value::Null,
        "nobody owes what we gave back"
    );
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn an_account_has_one_page_open_whatever_is_asked_for_at_once() {
    let desk = Desk::open().await;
    let (growth, business) = (desk.plan("Growth").await, desk.plan("Business").await);
    let wishes = [
        json!({ "planId": growth["id"] }),
        json!({ "planId": business["id"] }),
    ];
    let same: Vec<_> = (0..20).map(|_| desk.post("checkout", &wishes[0])).collect();
    for answer in futures_util::future::join_all(same).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    assert_eq!(desk.till.states(), [PageState::Open], "twenty wishes, one page");
    let mixed: Vec<_> = (0..20).map(|n| desk.post("checkout", &wishes[n % 2])).collect();
    for answer in futures_util::future::join_all(mixed).await {
        let is_replaced = answer.status == StatusCode::CONFLICT && answer.problem().1 == "checkout_replaced";
        assert!(answer.status == StatusCode::OK || is_replaced, "{}", answer.text);
    }
    let open = |state: &&PageState| **state == PageState::Open;
    assert_eq!(desk.till.states().iter().filter(open).count(), 1);

    // One that somebody paid on is no page to be replaced: the subscription is under way.
    let pages = desk.till.states().len();
    desk.till.pay_all();
    for _ in 0..3 {
        for wish in &wishes {
            desk.post("checkout", wish).await;
        }
    }
    assert_eq!(desk.till.states().len(), pages, "no other page is made");
    let one_gb = json!({ "gb": 1 });
    let twenty: Vec<_> = (0..20).map(|_| desk.post("checkout", &one_gb)).collect();
    futures_util::future::join_all(twenty).await;
    assert_eq!(desk.till.began.lock().len(), 1, "twenty wishes, one top-up");
}

#[tokio::test]
async fn the_second_of_two_subscriptions_is_ended_and_paid_back() {
    let desk = Desk::open().await;
    desk.subscribe().await;
    let second = |object: Value| {
        let text = object.to_string();
        let text = text
            .replace("sub_1", "sub_2")
            .replace("pi_1", "pi_2")
            .replace("in_1", "in_2");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let active = desk.subscription("active");
    // Both were paid: four events at the same time.
    let events = [
        ("evt_1", "customer.subscription.created", active.clone()),
        ("evt_2", "invoice.paid", desk.invoice("in_1")),
        ("evt_3", "customer.subscription.created", second(active.clone())),
        ("evt_4", "invoice.paid", second(desk.invoice("in_1"))),
    ];
    let bodies: Vec<String> = events
        .iter()
        .map(|(id, kind, object)| desk.body(id, kind, object))
        .collect();
    let now = desk.api.clock.now();
    let deliveries: Vec<_> = bodies
        .iter()
        .map(|body| async {
            desk.send(body, &sign(&Secret::new(SECRET), body.as_bytes(), now))
                .await
        })
        .collect();
    for answer in futures_util::future::join_all(deliveries).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    desk.till.is_silent.store(true, Ordering::Relaxed);
    desk.api.billing.look().await.unwrap();
    assert!(desk.till.done.lock().is_empty());
    desk.till.is_silent.store(false, Ordering::Relaxed);
    desk.api.clock.advance(Duration::from_secs(60));
    desk.api.billing.look().await.unwrap();
    desk.api.billing.look().await.unwrap();
    let done = desk.till.done.lock().clone();
    let errands = done.iter().filter(|what| !what.starts_with("close_page"));
    let mut errands: Vec<&str> = errands.map(String::as_str).collect();
    errands.sort_unstable();
    let first_stays = ["end_now sub_2", "refund pi_2"];
    let second_stays = ["end_now sub_1", "refund pi_1"];
    assert!(errands == first_stays || errands == second_stays, "{done:?}");
    let gone = &errands[1]["refund ".len()..];
    let charge = json!({
        "payment_intent": gone, "customer": Till::customer(desk.account), "amount_refunded": 14_900, "currency": "usd",
    });
    desk.event("evt_5", "charge.refunded", &charge).await;
    assert_eq!(desk.balance().await, 25 * GB, "one month");
    let standing = desk.get("subscription").await;
    assert_eq!(
        (&standing["status"], &standing["plan"]["name"]),
        (&json!("active"), &json!("Growth"))
    );
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_at_the_provider_whenever_it_answers() {
    let desk = Desk::open().await;
    desk.subscribe().await;
    desk.event(
        "evt_1",
        "customer.subscription.created",
        &desk.subscription("active"),
    )
    .await;
    desk.post("checkout", &json!({ "gb": 1 })).await;
    desk.till.is_silent.store(true, Ordering::Relaxed);
    let answer = desk
        .api
        .call(Method::DELETE, "/api/auth/account")
        .bearer(&desk.token)
        .json(&json!({ "password": PASSWORD, "confirmEmail": "ada@example.com" }))
        .send()
        .await;
    assert!(answer.status.is_success(), "{}", answer.text);
    for _ in 0..3 {
        desk.api.billing.look().await.unwrap();
        desk.api.clock.advance(Duration::from_secs(600));
    }
    assert!(desk.till.done.lock().is_empty(), "nobody answered");
    desk.till.is_silent.store(false, Ordering::Relaxed);
    desk.api.billing.look().await.unwrap();
    desk.api.billing.look().await.unwrap();
    let done = desk.till.done.lock().clone();
    let customer = format!("delete_customer {}", Till::customer(desk.account));
    for what in ["end_now sub_1", customer.as_str()] {
        assert_eq!(done.iter().filter(|done| *done == what).count(), 1, "{done:?}");
    }
    assert!(!desk.till.states().contains(&PageState::Open), "{done:?}");
    // What comes after all is refused: somebody paid on a page that was open elsewhere.
    let mut late = desk.subscription("active");
    late["id"] = json!("sub_late");
    desk.event("evt_2", "customer.subscription.created", &late).await;
    desk.api.billing.look().await.unwrap();
    assert!(
        desk.till
            .done
            .lock()
            .iter()
            .any(|done| done == "end_now sub_late")
    );
}
