//! Events of Stripe's versions from 2025-03-31 on, where an invoice names no payment and a payment no invoice.

use std::sync::atomic::Ordering;

use http::StatusCode;
use iploop_billing::sign;
use iploop_platform::clock::Clock as _;
use iploop_platform::secret::Secret;
use serde_json::{Value, json};

use crate::till::{Desk, GB, SECRET, Till};

/// The subscription's state as those versions have it: the period is the item's.
fn moved_subscription(desk: &Desk) -> Value {
    let mut subscription = desk.subscription("active");
    let fields = subscription.as_object_mut().unwrap();
    let (from, to) = (
        fields.remove("current_period_start"),
        fields.remove("current_period_end"),
    );
    subscription["items"]["data"][0]["current_period_start"] = from.unwrap();
    subscription["items"]["data"][0]["current_period_end"] = to.unwrap();
    subscription
}

/// An invoice likewise: the subscription is in its parent, the price in its line's pricing, and it names no payment.
fn moved_invoice(desk: &Desk) -> Value {
    let mut invoice = desk.invoice("in_1");
    let fields = invoice.as_object_mut().unwrap();
    let subscription = fields.remove("subscription");
    fields.remove("payment_intent");
    let details = json!({ "subscription": subscription, "metadata": {} });
    invoice["parent"] = json!({ "type": "subscription_details", "subscription_details": details });
    let line = &mut invoice["lines"]["data"][0];
    let price = line.as_object_mut().unwrap().remove("price").unwrap();
    line["pricing"] = json!({ "type": "price_details", "price_details": { "price": price["id"] } });
    invoice
}

/// A customer who subscribed.
async fn subscribed() -> Desk {
    let desk = Desk::open().await;
    desk.subscribe().await;
    desk.event(
        "evt_1",
        "customer.subscription.created",
        &moved_subscription(&desk),
    )
    .await;
    desk.event("evt_2", "invoice.paid", &moved_invoice(&desk)).await;
    assert_eq!(desk.balance().await, 25 * GB);
    assert_eq!(desk.get("subscription").await["plan"]["name"], "Growth");
    desk.mail().await;
    desk
}

fn charge(desk: &Desk, intent: &str, cents: i64) -> Value {
    json!({
        "id": "ch_1", "payment_intent": intent, "customer": Till::customer(desk.account), "amount_refunded": cents,
        "currency": "usd",
    })
}

fn dispute(status: &str) -> Value {
    json!({
        "id": "dp_1", "payment_intent": "pi_1", "charge": "ch_1", "amount": 14_900, "currency": "usd", "status": status,
        "reason": "fraudulent",
    })
}

#[tokio::test]
async fn a_refund_that_names_its_payment_alone_finds_its_invoice() {
    let desk = subscribed().await;
    desk.till
        .invoices
        .lock()
        .insert("pi_1".to_owned(), "in_1".to_owned());
    desk.event("evt_3", "charge.refunded", &charge(&desk, "pi_1", 7_450))
        .await;
    assert_eq!(desk.balance().await, 25 * GB / 2);
    assert!(desk.mail().await.text.contains("74.50 USD"));
    desk.event("evt_4", "charge.refunded", &charge(&desk, "pi_1", 14_900))
        .await;
    assert_eq!(desk.balance().await, 0);
    assert_eq!(
        desk.get("subscription").await["plan"]["name"],
        "Starter",
        "the period went back whole"
    );
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_dispute_that_names_its_payment_alone_finds_its_invoice_as_soon_as_the_provider_answers() {
    let desk = subscribed().await;
    desk.till
        .invoices
        .lock()
        .insert("pi_1".to_owned(), "in_1".to_owned());
    desk.till.is_silent.store(true, Ordering::Relaxed);
    let body = desk.body("evt_3", "charge.dispute.created", &dispute("needs_response"));
    let signature = sign(&Secret::new(SECRET), body.as_bytes(), desk.api.clock.now());
    let later = desk.send(&body, &signature).await;
    assert_eq!(
        later.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "it comes again: {}",
        later.text
    );
    assert_eq!(desk.balance().await, 25 * GB);
    desk.till.is_silent.store(false, Ordering::Relaxed);
    assert_eq!(desk.send(&body, &signature).await.status, StatusCode::OK);
    assert_eq!(desk.balance().await, 0);
    assert_eq!(desk.get("subscription").await["hold"]["openDisputes"], 1);
    desk.event("evt_4", "charge.dispute.closed", &dispute("won"))
        .await;
    assert_eq!(desk.balance().await, 25 * GB);
    desk.books_are_in_order().await;
}

#[tokio::test]
async fn a_refund_of_a_payment_that_was_for_no_invoice_of_ours_changes_nothing() {
    let desk = subscribed().await;
    desk.till
        .invoices
        .lock()
        .insert("pi_8".to_owned(), "in_of_another".to_owned());
    for (event, intent) in [("evt_3", "pi_8"), ("evt_4", "pi_9")] {
        let mut charge = charge(&desk, intent, 14_900);
        charge["customer"] = json!("cus_of_another");
        desk.event(event, "charge.refunded", &charge).await;
    }
    assert_eq!(desk.balance().await, 25 * GB);
}
