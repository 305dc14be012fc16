//! Payments: pages, signed events, caps and automatic top-ups, at a till.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use iploop_billing::sign;
use iploop_platform::billing::Proration;
use iploop_platform::clock::{Clock as _, DAY, Timestamp};
use iploop_platform::secret::Secret;
use serde_json::{Value, json};

use crate::harness::{Api, send};
use crate::till::{Desk, GB, SECRET, Till, WEBHOOK};

/// Every route with its success.
pub(crate) async fn visit_everything() {
    let desk = Desk::open().await;
    desk.subscribe().await;
    desk.event(
        "evt_1",
        "customer.subscription.created",
        &desk.subscription("active"),
    )
    .await;
    let business = desk.plan("Business").await;
    desk.post(
        "subscription/change",
        &json!({ "planId": business["id"], "interval": "year" }),
    )
    .await;
    for path in ["portal", "subscription/cancel", "subscription/resume"] {
        desk.post(path, &json!({})).await;
    }
    desk.get("subscription").await;
    desk.get("invoices").await;
    desk.put("spend-cap", &json!({ "monthlyCapCents": 5_000 })).await;
    let auto = json!({ "autoTopUp": { "thresholdBytes": 1, "gb": 1, "monthlyBoundCents": 2_000 } });
    desk.put("auto-top-up", &auto).await;
    crate::chargebacks::visit_everything().await;
}

#[tokio::test]
async fn without_a_provider_everything_but_paying_works() {
    let api = Api::new().await;
    let token = api.token("ada@example.com").await;
    let plans = api.get("/api/billing/plans").send().await.json();
    assert_eq!(
        (
            plans["isPayable"].clone(),
            plans["plans"].as_array().unwrap().len()
        ),
        (json!(false), 4)
    );
    let named = |name: &str| {
        let mut plans = plans["plans"].as_array().unwrap().iter();
        plans.find(|plan| plan["name"] == name).unwrap()
    };
    let price = |plan: &Value| ["pricePerGb", "priceMonthly", "priceAnnual"].map(|field| plan[field].clone());
    assert_eq!(
        price(named("Growth")),
        [json!("5.96"), json!(14_900), json!(143_000)]
    );
    assert_eq!(
        price(named("Pay-as-you-go")),
        [json!("5.00"), json!(0), Value::Null]
    );
    let standing = api
        .get("/api/billing/subscription")
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(
        (&standing["status"], &standing["plan"]["name"]),
        (&json!("none"), &json!("Starter"))
    );
    let cap = json!({ "monthlyCapCents": 1 });
    let answer = api
        .call(Method::PUT, "/api/billing/spend-cap")
        .bearer(&token)
        .json(&cap)
        .send()
        .await;
    assert_eq!(answer.json()["monthlyCapCents"], 1);
    for path in ["spend-cap", "auto-top-up"] {
        let call = api
            .call(Method::PUT, &format!("/api/billing/{path}"))
            .bearer(&token);
        let nothing = call.json(&json!({})).send().await;
        assert_eq!(
            nothing.problem(),
            (400, "malformed_body".to_owned()),
            "a cap is not lifted by leaving it out"
        );
    }
    for path in ["portal", "subscription/cancel", "checkout"] {
        let call = api.post(&format!("/api/billing/{path}")).bearer(&token);
        let answer = call.json(&json!({ "gb": 1 })).send().await;
        assert_eq!(answer.problem(), (503, "billing_not_configured".to_owned()));
    }
    let answer = api.post(WEBHOOK).json(&json!({})).send().await;
    assert_eq!(answer.problem(), (503, "billing_not_configured".to_owned()));
    assert_eq!(
        api.get("/api/billing/subscription").send().await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_plan_is_bought_falls_behind_and_goes() {
    let mut desk = Desk::open().await;
    let page = desk.subscribe().await;
    let url = "https://till.test/price_Growth_month_14900?back=http://iploop.test/billing?paid=1";
    assert_eq!(page.json(), json!({ "url": url }));
    desk.event(
        "evt_1",
        "customer.subscription.created",
        &desk.subscription("active"),
    )
    .await;
    desk.event("evt_2", "invoice.paid", &desk.invoice("in_1")).await;
    let standing = desk.get("subscription").await;
    assert_eq!(
        (&standing["status"], &standing["plan"]["name"]),
        (&json!("active"), &json!("Growth"))
    );
    assert_eq!(
        (&standing["interval"], &standing["endsAt"]),
        (&json!("month"), &Value::Null)
    );
    assert!(standing["renewsAt"].is_string());
    assert_eq!(standing["balanceBytes"], 25 * GB);
    let mail = desk.mail().await;
    assert!(
        mail.text.contains("149.00 USD") && mail.text.contains("in_1"),
        "{}",
        mail.text
    );
    assert_eq!(
        desk.subscribe().await.problem(),
        (409, "already_subscribed".to_owned())
    );

    for (plan, interval, proration) in [
        ("Business", "year", Proration::Now),
        ("Starter", "month", Proration::NextPeriod),
    ] {
        let wish = json!({ "planId": desk.plan(plan).await["id"], "interval": interval });
        assert_eq!(
            desk.post("subscription/change", &wish).await.status,
            StatusCode::ACCEPTED
        );
        assert_eq!(desk.till.changed.lock().take(), Some(proration), "{plan}");
    }
    let less = json!({ "planId": desk.plan("Starter").await["id"], "interval": "year" });
    assert_eq!(
        desk.post("subscription/change", &less).await.status,
        StatusCode::BAD_REQUEST
    );

    desk.till.declines.store(true, Ordering::Relaxed);
    let business = json!({ "planId": desk.plan("Business").await["id"] });
    assert_eq!(
        desk.post("subscription/change", &business).await.problem(),
        (402, "payment_declined".to_owned())
    );
    let growth = json!({ "planId": desk.plan("Growth").await["id"] });
    assert_eq!(
        desk.post("subscription/change", &growth).await.status,
        StatusCode::BAD_REQUEST
    );

    desk.wait(DAY * 30).await;
    desk.event("evt_3", "invoice.payment_failed", &desk.invoice("in_2"))
        .await;
    assert_eq!(desk.mail().await.subject, "A payment did not go through");
    assert_eq!(desk.get("subscription").await["status"], "past_due");
    desk.wait(DAY * 7).await;
    desk.api.billing.look().await.unwrap();
    assert_eq!(
        desk.get("subscription").await["plan"]["name"],
        "Growth",
        "within the grace"
    );
    desk.wait(Duration::from_secs(1)).await;
    desk.api.billing.look().await.unwrap();
    let standing = desk.get("subscription").await;
    assert_eq!(
        (&standing["plan"]["name"], &standing["balanceBytes"]),
        (&json!("Starter"), &json!(25 * GB))
    );
    desk.event(
        "evt_4",
        "customer.subscription.deleted",
        &desk.subscription("canceled"),
    )
    .await;
    assert_eq!(desk.get("subscription").await["status"], "cancelled");
    assert_eq!(
        desk.post("subscription/cancel", &json!({})).await.problem(),
        (409, "not_subscribed".to_owned())
    );
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_plan_is_sold_by_the_price_that_an_admin_named_while_it_costs_what_the_plan_does() {
    let desk = Desk::open().await;
    let (_, admin) = desk.api.admin().await;
    let growth = desk.plan("Growth").await;
    let page_for = async |price: &str| {
        let plan = format!("/api/admin/plans/{}", growth["id"].as_str().unwrap());
        let named = json!({ "stripePriceMonthly": price, "reason": "made by hand" });
        let answer = send(&desk.api, &admin, Method::PUT, &plan, named).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let url = desk.subscribe().await.json()["url"].as_str().unwrap().to_owned();
        let (price, _) = url
            .trim_start_matches("https://till.test/")
            .split_once('?')
            .unwrap();
        price.to_owned()
    };
    *desk.till.prices.lock() = [
        ("price_dear".to_owned(), 15_000),
        ("price_hand".to_owned(), 14_900),
    ]
    .into();
    for other in ["price_dear", "price_nowhere", ""] {
        assert_eq!(page_for(other).await, "price_Growth_month_14900", "{other}");
    }
    assert_eq!(page_for("price_hand").await, "price_hand");
    let mut subscription = desk.subscription("active");
    subscription["items"]["data"][0]["price"]["id"] = json!("price_hand");
    desk.event("evt_1", "customer.subscription.created", &subscription)
        .await;
    let mut invoice = desk.invoice("in_1");
    invoice["lines"]["data"][0]["price"]["id"] = json!("price_hand");
    desk.event("evt_2", "invoice.paid", &invoice).await;
    assert_eq!(desk.get("subscription").await["plan"]["name"], "Growth");
    assert_eq!(desk.balance().await, 25 * GB);
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn an_event_counts_once_and_only_if_it_is_signed_now() {
    let desk = Desk::open().await;
    desk.subscribe().await;
    let now = desk.api.clock.now();
    let body = desk.body("evt_1", "invoice.paid", &desk.invoice("in_1"));
    let secret = Secret::new(SECRET);
    for signature in [
        "",
        "t=1,v1=00",
        &sign(&Secret::new("whsec_other"), body.as_bytes(), now),
    ] {
        assert_eq!(
            desk.send(&body, signature).await.problem(),
            (400, "invalid_signature".to_owned())
        );
    }
    let signed = sign(&secret, body.as_bytes(), now);
    let other = body.replace("14900", "99999");
    assert_eq!(
        desk.send(&other, &signed).await.problem(),
        (400, "invalid_signature".to_owned())
    );
    for seconds in [301, -301] {
        let at = Timestamp::from_millis(now.as_millis() - seconds * 1_000);
        let signature = sign(&secret, body.as_bytes(), at);
        assert_eq!(
            desk.send(&body, &signature).await.problem(),
            (400, "signature_too_old".to_owned())
        );
    }
    assert_eq!(desk.balance().await, 0);
    let deliveries: Vec<_> = (0..20).map(|_| desk.send(&body, &signed)).collect();
    for answer in futures_util::future::join_all(deliveries).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    assert_eq!(desk.balance().await, 25 * GB);
    assert_eq!(desk.api.notices.send_due().await.unwrap(), 1, "told once");
    let mut euros = desk.invoice("in_2");
    euros["currency"] = json!("eur");
    euros["lines"]["data"][0]["period"]["start"] = json!(1);
    desk.event("evt_2", "invoice.paid", &euros).await;
    desk.event("evt_3", "customer.tax_id.created", &json!({})).await;
    assert_eq!(desk.balance().await, 25 * GB);
    // A refund half of it.
    let refund = json!({
        "payment_intent": "pi_1", "customer": Till::customer(desk.account), "amount_refunded": 7_450, "currency": "usd",
    });
    desk.event("evt_4", "charge.refunded", &refund).await;
    assert_eq!(desk.balance().await, 25 * GB / 2);
    let early = json!({ "payment_intent": "pi_2", "customer": Till::customer(desk.account), "amount_refunded": 1, "currency": "usd" });
    let body = desk.body("evt_5", "charge.refunded", &early);
    let signature = sign(&secret, body.as_bytes(), now);
    assert_eq!(
        desk.send(&body, &signature).await.problem(),
        (503, "event_too_early".to_owned())
    );
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn bytes_are_bought_at_our_price_and_within_the_cap() {
    let desk = Desk::open().await;
    for body in [
        json!({}),
        json!({ "gb": 1, "interval": "month" }),
        json!({ "gb": 0 }),
        json!({ "gb": 1_001 }),
    ] {
        assert_eq!(
            desk.post("checkout", &body).await.status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
    let priced = json!({ "gb": 2, "cents": 1 });
    assert_eq!(
        desk.post("checkout", &priced).await.problem(),
        (400, "malformed_body".to_owned())
    );
    desk.put("spend-cap", &json!({ "monthlyCapCents": 3_000 })).await;
    assert_eq!(
        desk.post("checkout", &json!({ "gb": 2 })).await.status,
        StatusCode::OK
    );
    let payment = desk.till.began.lock().first().cloned().unwrap();
    assert_eq!((payment.bytes, payment.cents), (2 * GB, 1_960));
    let again = desk.post("checkout", &json!({ "gb": 2 })).await;
    assert_eq!(
        again.json()["url"],
        "https://till.test/pay/1960",
        "the page that is open"
    );
    let mut session = json!({
        "mode": "payment", "payment_status": "unpaid", "amount_total": 1_960, "currency": "usd", "payment_intent": "pi_1",
        "metadata": { "iploop_payment": payment.id },
    });
    desk.event("evt_1", "checkout.session.completed", &session).await;
    assert_eq!(desk.balance().await, 0, "not paid yet");
    session["payment_status"] = json!("paid");
    desk.event("evt_2", "checkout.session.async_payment_succeeded", &session)
        .await;
    let intent = json!({
        "id": "pi_1", "amount_received": 1_960, "currency": "usd", "metadata": { "iploop_payment": payment.id },
    });
    desk.event("evt_3", "payment_intent.succeeded", &intent).await;
    assert_eq!(desk.balance().await, 2 * GB, "told twice, booked once");
    assert_eq!(desk.get("subscription").await["spending"]["spentCents"], 1_960);
    let answer = desk.post("checkout", &json!({ "gb": 2 })).await;
    assert_eq!(answer.problem(), (409, "spend_cap_reached".to_owned()));
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn twenty_triggers_charge_a_card_once_and_three_refusals_switch_off() {
    let mut desk = Desk::open().await;
    // Known to the provider by a page that was opened.
    desk.post("portal", &json!({})).await;
    let auto = json!({ "autoTopUp": { "thresholdBytes": GB, "gb": 1, "monthlyBoundCents": 100_000 } });
    assert_eq!(desk.put("auto-top-up", &auto).await.status, StatusCode::OK);
    let triggers: Vec<_> = (0..20)
        .map(|_| desk.api.billing.top_up_if_due(desk.account))
        .collect();
    for done in futures_util::future::join_all(triggers).await {
        done.unwrap();
    }
    let balance = desk.balance().await;
    assert_eq!((desk.till.charged.lock().len(), balance), (1, GB));
    assert!(desk.mail().await.text.contains("9.80 USD"));
    desk.api.billing.look().await.unwrap();
    assert_eq!(desk.till.charged.lock().len(), 1, "no longer below the threshold");

    let auto = json!({ "autoTopUp": { "thresholdBytes": 2 * GB, "gb": 1, "monthlyBoundCents": 100_000 } });
    desk.put("auto-top-up", &auto).await;
    desk.till.declines.store(true, Ordering::Relaxed);
    for failures in 1..=5 {
        desk.api.billing.look().await.unwrap();
        desk.api.billing.look().await.unwrap();
        if failures <= 3 {
            let mail = desk.mail().await;
            assert_eq!(mail.text.contains("switched off"), failures == 3, "{}", mail.text);
        }
        desk.wait(Duration::from_secs(6 * 3600)).await;
    }
    let keys = desk.till.charged.lock().clone();
    assert_eq!(keys.len(), 4, "one that was paid, three that were not: {keys:?}");
    let spending = desk.get("subscription").await["spending"].clone();
    assert_eq!(
        (&spending["isSwitchedOff"], &spending["autoTopUp"]),
        (&json!(true), &Value::Null)
    );
    desk.books_are_in_order().await;
}
