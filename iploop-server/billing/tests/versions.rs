//! Signed events in the shapes of Stripe's API before and from version 2025-03-31 on, made from the examples of Stripe's own
//! description of each, with the fields that changed their places as the versions have them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use iploop_billing::{Stripe, sign};
use iploop_platform::billing::{
    BillingConfig, Change, DisputeState, DisputeStatus, InvoiceReason, PaidInvoice, PaymentProvider, Receipt,
    RefundState, SubscriptionState, SubscriptionStatus,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::outbound::{OutboundClient, OutboundConfig};
use iploop_platform::secret::Secret;
use iploop_protocol::policy::TestAllow;
use serde_json::{Value, json};

/// A version of the API, and its form of what events are about.
struct Version {
    name: &'static str,
    subscription: &'static str,
    invoice: &'static str,
    charge: &'static str,
    dispute: &'static str,
    checkout_session: &'static str,
    payment_intent: &'static str,
}

macro_rules! version {
    ($name:literal, $folder:literal) => {
        Version {
            name: $name,
            subscription: include_str!(concat!("events/", $folder, "/subscription.json")),
            invoice: include_str!(concat!("events/", $folder, "/invoice.json")),
            charge: include_str!(concat!("events/", $folder, "/charge.json")),
            dispute: include_str!(concat!("events/", $folder, "/dispute.json")),
            checkout_session: include_str!(concat!("events/", $folder, "/checkout_session.json")),
            payment_intent: include_str!(concat!("events/", $folder, "/payment_intent.json")),
        }
    };
}

const BEFORE: Version = version!("2024-06-20", "before-2025-03-31");
const FROM: Version = version!("2025-03-31.basil", "from-2025-03-31");

const FROM_AT: Timestamp = Timestamp::from_millis(1_763_942_400_000);
const TO_AT: Timestamp = Timestamp::from_millis(1_766_534_400_000);

fn stripe() -> Stripe {
    let config = BillingConfig {
        stripe_secret_key: Some(Secret::new("sk_test_123")),
        stripe_webhook_secret: Some(Secret::new("whsec_test")),
        ..BillingConfig::default()
    };
    let outbound = OutboundClient::new(&OutboundConfig::default(), TestAllow::default()).unwrap();
    Stripe::open(&config, outbound).unwrap().unwrap()
}

/// What an event in this version tells.
fn read(version: &Version, kind: &str, object: &Value) -> Change {
    let body = json!({
        "id": "evt_1", "object": "event", "api_version": version.name, "created": 1_763_942_401, "type": kind,
        "data": { "object": object }, "livemode": false, "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
    })
    .to_string();
    let now = FROM_AT.plus(std::time::Duration::from_secs(5));
    let signature = sign(&Secret::new("whsec_test"), body.as_bytes(), now);
    let event = stripe().event(body.as_bytes(), &signature, now).unwrap();
    assert_eq!(event.kind, kind);
    event.change
}

/// The same event in both versions, each told as `expected` says.
fn both(kinds: &[&str], of: fn(&Version) -> &'static str, expected: impl Fn(&Version, &str) -> Change) {
    for version in [BEFORE, FROM] {
        let object: Value = serde_json::from_str(of(&version)).unwrap();
        for kind in kinds {
            let told = read(&version, kind, &object);
            assert_eq!(told, expected(&version, kind), "{kind} of {}", version.name);
        }
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn subscriptions_are_read_in_both_shapes() {
    let kinds = [
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
    ];
    both(
        &kinds,
        |version| version.subscription,
        |_, kind| {
            Change::Subscription(SubscriptionState {
                id: "sub_1".to_owned(),
                customer: "cus_1".to_owned(),
                price: "price_1".to_owned(),
                status: match kind {
                    "customer.subscription.deleted" => SubscriptionStatus::Cancelled,
                    _ => SubscriptionStatus::Active,
                },
                is_new: kind == "customer.subscription.created",
                from: FROM_AT,
                to: TO_AT,
                ends_at_period_end: false,
            })
        },
    );
}

#[test]
fn invoices_are_read_in_both_shapes_and_newer_ones_name_no_payment() {
    both(
        &["invoice.paid"],
        |version| version.invoice,
        |version, _| {
            Change::InvoicePaid(PaidInvoice {
                id: "in_1".to_owned(),
                customer: "cus_1".to_owned(),
                subscription: "sub_1".to_owned(),
                price: "price_1".to_owned(),
                reason: InvoiceReason::Period,
                subtotal_cents: 14_900,
                paid_cents: 14_900,
                currency: "usd".to_owned(),
                intent: (version.name == BEFORE.name).then(|| "pi_1".to_owned()),
                from: FROM_AT,
                to: TO_AT,
            })
        },
    );
    both(
        &["invoice.payment_failed"],
        |version| version.invoice,
        |_, _| Change::InvoiceFailed {
            customer: "cus_1".to_owned(),
            subscription: "sub_1".to_owned(),
            invoice: "in_1".to_owned(),
            cents: 14_900,
        },
    );
}

#[test]
fn an_invoice_that_brings_its_payments_names_the_first() {
    let mut invoice: Value = serde_json::from_str(FROM.invoice).unwrap();
    invoice["payments"] = json!({ "object": "list", "has_more": false, "data": [{
        "id": "inpay_1", "object": "invoice_payment", "amount_paid": 14_900, "amount_requested": 14_900,
        "currency": "usd", "invoice": "in_1", "is_default": true, "status": "paid",
        "payment": { "type": "payment_intent", "payment_intent": "pi_1" },
    }]});
    let Change::InvoicePaid(paid) = read(&FROM, "invoice.paid", &invoice) else {
        panic!("no invoice")
    };
    assert_eq!(paid.intent.as_deref(), Some("pi_1"));
}

#[test]
fn refunds_and_disputes_are_read_in_both_shapes_by_what_each_names() {
    both(
        &["charge.refunded"],
        |version| version.charge,
        |version, _| {
            Change::Refunded(RefundState {
                references: match version.name == BEFORE.name {
                    true => texts(&["pi_1", "in_1"]),
                    false => texts(&["pi_1"]),
                },
                customer: Some("cus_1".to_owned()),
                cents: 4_900,
                currency: "usd".to_owned(),
            })
        },
    );
    let kinds = [
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    ];
    both(
        &kinds,
        |version| version.dispute,
        |_, kind| {
            Change::Disputed(DisputeState {
                id: "dp_1".to_owned(),
                references: texts(&["pi_1", "ch_1"]),
                cents: 14_900,
                currency: "usd".to_owned(),
                status: match kind {
                    "charge.dispute.funds_reinstated" => DisputeStatus::Won,
                    _ => DisputeStatus::Open,
                },
                reason: "fraudulent".to_owned(),
            })
        },
    );
}

#[test]
fn what_we_began_is_read_in_both_shapes() {
    let receipt = |_: &Version, _: &str| {
        Change::Paid(Receipt {
            payment: "0199c0de-0000-7000-8000-000000000001".parse().unwrap(),
            intent: "pi_2".to_owned(),
            cents: 1_960,
            currency: "usd".to_owned(),
        })
    };
    let kinds = [
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
    ];
    both(&kinds, |version| version.checkout_session, receipt);
    both(
        &["checkout.session.async_payment_failed"],
        |version| version.checkout_session,
        |_, _| Change::NotPaid("0199c0de-0000-7000-8000-000000000001".parse().unwrap()),
    );
    both(
        &["payment_intent.succeeded"],
        |version| version.payment_intent,
        receipt,
    );
}
