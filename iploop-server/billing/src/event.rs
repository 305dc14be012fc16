//! An event of Stripe in the platform's words.

use iploop_platform::billing::{
    Change, DisputeState, DisputeStatus, EventError, InvoiceReason, PaidInvoice, PaymentEvent, Receipt,
    RefundState, SubscriptionState, SubscriptionStatus,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PaymentId;
use serde::Deserialize;
use serde_json::Value;

/// Metadata of payments that we begin: their id.
pub(crate) const PAYMENT: &str = "iploop_payment";

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// Reads an event whose signature was verified. One of a kind that we know, without what it must have, is `Malformed`:
/// Stripe sends it again, and the log of its dashboard shows it.
pub(crate) fn read(body: &[u8], now: Timestamp) -> Result<PaymentEvent, EventError> {
    let Envelope {
        id,
        kind,
        created,
        data,
    } = serde_json::from_slice(body).map_err(|_| EventError::Malformed)?;
    let object = &data.object;
    let change = match kind.as_str() {
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.deleted" => subscription(object, &kind).map(Change::Subscription),
        // The subscription's own invoices only: others are no business of ours.
        "invoice.paid" | "invoice.payment_failed" if subscription_of(object).is_none() => Some(Change::Other),
        "invoice.paid" => invoice(object),
        "invoice.payment_failed" => invoice_failed(object),
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => checkout(object),
        "checkout.session.async_payment_failed" => Some(begun(object).map_or(Change::Other, Change::NotPaid)),
        "payment_intent.succeeded" => intent(object),
        "charge.refunded" => refund(object).map(Change::Refunded),
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated"
        | "charge.dispute.closed" => dispute(object, &kind).map(Change::Disputed),
        _ => Some(Change::Other),
    };
    let change = change.filter(|_| is_id(&id)).ok_or(EventError::Malformed)?;
    Ok(PaymentEvent {
        id,
        kind,
        at: seconds(created),
        now,
        change,
    })
}

/// A subscription with one price: we make no others.
fn subscription(object: &Value, kind: &str) -> Option<SubscriptionState> {
    let item = object.pointer("/items/data/0")?;
    // Since API version 2025-03-31 the period is the item's.
    let time = |name: &str| object[name].as_i64().or_else(|| item[name].as_i64());
    let status = match object["status"].as_str()? {
        _ if kind == "customer.subscription.deleted" => SubscriptionStatus::Cancelled,
        "active" | "trialing" => SubscriptionStatus::Active,
        "past_due" => SubscriptionStatus::PastDue,
        "incomplete" => SubscriptionStatus::Incomplete,
        "canceled" | "incomplete_expired" => SubscriptionStatus::Cancelled,
        // Nobody pays and nothing is delivered, and it may come back: as if past due.
        "unpaid" | "paused" => SubscriptionStatus::PastDue,
        _ => return None,
    };
    Some(SubscriptionState {
        id: text(&object["id"])?,
        customer: reference(&object["customer"])?,
        price: reference(&item["price"])?,
        status,
        is_new: kind == "customer.subscription.created",
        from: seconds(time("current_period_start")?),
        to: seconds(time("current_period_end")?),
        ends_at_period_end: object["cancel_at_period_end"].as_bool().unwrap_or(false),
    })
}

fn invoice(object: &Value) -> Option<Change> {
    let reason = match object["billing_reason"].as_str()? {
        "subscription_create" | "subscription_cycle" | "subscription" => InvoiceReason::Period,
        "subscription_update" => InvoiceReason::Change,
        _ => return Some(Change::Other),
    };
    // A changed plan has a line that pays back the old one; the line of what is bought has the greatest amount.
    let lines = object.pointer("/lines/data")?.as_array()?;
    let line = lines
        .iter()
        .max_by_key(|line| line["amount"].as_i64().unwrap_or(i64::MIN))?;
    let price = reference(&line["price"])
        .or_else(|| line.pointer("/pricing/price_details/price").and_then(reference))?;
    Some(Change::InvoicePaid(PaidInvoice {
        id: text(&object["id"])?,
        customer: reference(&object["customer"])?,
        subscription: subscription_of(object)?,
        price,
        reason,
        subtotal_cents: object["subtotal"].as_i64()?,
        paid_cents: object["amount_paid"].as_i64()?,
        currency: object["currency"].as_str()?.to_ascii_lowercase(),
        intent: intent_of(object),
        from: seconds(line.pointer("/period/start")?.as_i64()?),
        to: seconds(line.pointer("/period/end")?.as_i64()?),
    }))
}

fn invoice_failed(object: &Value) -> Option<Change> {
    Some(Change::InvoiceFailed {
        customer: reference(&object["customer"])?,
        subscription: subscription_of(object)?,
        invoice: text(&object["id"])?,
        cents: object["amount_due"].as_i64()?,
    })
}

/// A subscription's checkout is told by the subscription's own events; one that is not paid yet by a later event.
fn checkout(object: &Value) -> Option<Change> {
    if object["mode"].as_str() != Some("payment") || object["payment_status"].as_str() != Some("paid") {
        return Some(Change::Other);
    }
    let Some(payment) = begun(object) else {
        return Some(Change::Other);
    };
    Some(Change::Paid(Receipt {
        payment,
        intent: reference(&object["payment_intent"])?,
        cents: object["amount_total"].as_i64()?,
        currency: object["currency"].as_str()?.to_ascii_lowercase(),
    }))
}

/// The payment that we began it for.
fn begun(object: &Value) -> Option<PaymentId> {
    let payment = object.pointer(&format!("/metadata/{PAYMENT}"))?.as_str()?;
    payment.parse().ok()
}

/// A payment intent that was paid; those of others are no business of ours.
pub(crate) fn receipt(object: &Value) -> Option<Receipt> {
    Some(Receipt {
        payment: begun(object)?,
        intent: text(&object["id"])?,
        cents: object["amount_received"].as_i64()?,
        currency: object["currency"].as_str()?.to_ascii_lowercase(),
    })
}

fn intent(object: &Value) -> Option<Change> {
    Some(receipt(object).map_or(Change::Other, Change::Paid))
}

fn refund(object: &Value) -> Option<RefundState> {
    let references = [&object["payment_intent"], &object["invoice"]];
    Some(RefundState {
        references: references.into_iter().filter_map(reference).collect(),
        customer: reference(&object["customer"]),
        cents: object["amount_refunded"].as_i64()?,
        currency: object["currency"].as_str()?.to_ascii_lowercase(),
    })
}

fn dispute(object: &Value, kind: &str) -> Option<DisputeState> {
    let told = match object["status"].as_str()? {
        "warning_needs_response" | "warning_under_review" => DisputeStatus::Inquiry,
        "needs_response" | "under_review" => DisputeStatus::Open,
        // Settled by a refund, which its own event tells of, or before any money moved.
        "won" | "warning_closed" | "charge_refunded" | "prevented" => DisputeStatus::Won,
        "lost" => DisputeStatus::Lost,
        _ => return None,
    };
    let status = match (kind, told) {
        ("charge.dispute.funds_withdrawn", DisputeStatus::Inquiry) => DisputeStatus::Open,
        ("charge.dispute.funds_reinstated", DisputeStatus::Inquiry | DisputeStatus::Open) => {
            DisputeStatus::Won
        }
        (_, told) => told,
    };
    let references = [&object["payment_intent"], &object["charge"]];
    Some(DisputeState {
        id: text(&object["id"])?,
        references: references.into_iter().filter_map(reference).collect(),
        cents: object["amount"].as_i64()?,
        currency: object["currency"].as_str()?.to_ascii_lowercase(),
        status,
        reason: text(&object["reason"]).unwrap_or_else(|| "general".to_owned()),
    })
}

/// Since API version 2025-03-31 the subscription is in the invoice's parent.
fn subscription_of(invoice: &Value) -> Option<String> {
    reference(&invoice["subscription"]).or_else(|| {
        invoice
            .pointer("/parent/subscription_details/subscription")
            .and_then(reference)
    })
}

/// Since API version 2025-03-31 an invoice has a list of payments, which events leave out.
pub(crate) fn intent_of(invoice: &Value) -> Option<String> {
    reference(&invoice["payment_intent"]).or_else(|| {
        let payments = invoice.pointer("/payments/data")?.as_array()?;
        let mut intents = payments
            .iter()
            .filter_map(|paid| paid.pointer("/payment/payment_intent").and_then(reference));
        intents.next()
    })
}

/// The id of something that is named, or given whole.
pub(crate) fn reference(value: &Value) -> Option<String> {
    text(value).or_else(|| text(value.get("id")?))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| is_id(text)).map(str::to_owned)
}

/// Ids go into requests' paths and into the database.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(crate) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, object: Value) -> Result<Change, EventError> {
        let body = json!({ "id": "evt_1", "type": kind, "created": 5, "data": { "object": object } });
        read(body.to_string().as_bytes(), seconds(6)).map(|event| {
            assert_eq!(
                (event.id.as_str(), event.at, event.now),
                ("evt_1", seconds(5), seconds(6))
            );
            event.change
        })
    }

    #[test]
    fn a_subscription_is_read_in_the_form_of_every_api_version() {
        let item =
            json!({ "price": { "id": "price_1" }, "current_period_start": 10, "current_period_end": 20 });
        let newer = json!({
            "id": "sub_1", "customer": "cus_1", "status": "past_due", "cancel_at_period_end": true,
            "items": { "data": [item] },
        });
        let older = json!({
            "id": "sub_1", "customer": { "id": "cus_1" }, "status": "past_due", "cancel_at_period_end": true,
            "items": { "data": [{ "price": { "id": "price_1" } }] },
            "current_period_start": 10, "current_period_end": 20,
        });
        let expected = Change::Subscription(SubscriptionState {
            id: "sub_1".to_owned(),
            customer: "cus_1".to_owned(),
            price: "price_1".to_owned(),
            status: SubscriptionStatus::PastDue,
            is_new: false,
            from: seconds(10),
            to: seconds(20),
            ends_at_period_end: true,
        });
        assert_eq!(
            event("customer.subscription.updated", newer.clone()),
            Ok(expected.clone())
        );
        assert_eq!(event("customer.subscription.updated", older), Ok(expected));
        let Ok(Change::Subscription(ended)) = event("customer.subscription.deleted", newer) else {
            panic!("no subscription")
        };
        assert_eq!(ended.status, SubscriptionStatus::Cancelled);
    }

    #[test]
    fn an_invoice_says_what_its_dearest_line_is_for() {
        let lines = json!({ "data": [
            { "amount": -2450, "price": { "id": "price_old" }, "period": { "start": 1, "end": 2 } },
            { "amount": 7450, "pricing": { "price_details": { "price": "price_new" } }, "period": { "start": 3, "end": 4 } },
        ]});
        let object = json!({
            "id": "in_1", "customer": "cus_1", "billing_reason": "subscription_update", "subtotal": 5000,
            "amount_paid": 5000, "currency": "USD", "lines": lines,
            "parent": { "subscription_details": { "subscription": "sub_1" } },
        });
        let Ok(Change::InvoicePaid(invoice)) = event("invoice.paid", object) else {
            panic!("no invoice")
        };
        assert_eq!(
            (invoice.price.as_str(), invoice.subscription.as_str()),
            ("price_new", "sub_1")
        );
        assert_eq!(
            (invoice.reason, invoice.paid_cents),
            (InvoiceReason::Change, 5000)
        );
        assert_eq!(
            (invoice.currency.as_str(), invoice.from, invoice.to),
            ("usd", seconds(3), seconds(4))
        );
    }

    #[test]
    fn a_dispute_takes_the_money_once_the_bank_has_it() {
        let status = |kind: &str, status: &str| {
            let object = json!({
                "id": "dp_1", "charge": "ch_1", "payment_intent": "pi_1", "amount": 500, "currency": "USD",
                "status": status, "reason": "fraudulent",
            });
            match event(&format!("charge.dispute.{kind}"), object) {
                Ok(Change::Disputed(dispute)) => {
                    assert_eq!((dispute.cents, dispute.currency.as_str()), (500, "usd"));
                    assert_eq!(dispute.references, ["pi_1", "ch_1"]);
                    dispute.status
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            status("created", "warning_needs_response"),
            DisputeStatus::Inquiry
        );
        assert_eq!(status("created", "needs_response"), DisputeStatus::Open);
        assert_eq!(
            status("funds_withdrawn", "warning_needs_response"),
            DisputeStatus::Open
        );
        assert_eq!(status("funds_reinstated", "under_review"), DisputeStatus::Won);
        assert_eq!(status("closed", "won"), DisputeStatus::Won);
        assert_eq!(status("closed", "lost"), DisputeStatus::Lost);
        assert_eq!(status("closed", "warning_closed"), DisputeStatus::Won);
        let strange = json!({ "id": "dp_1", "amount": 1, "currency": "usd", "status": "new_word" });
        assert_eq!(
            event("charge.dispute.updated", strange),
            Err(EventError::Malformed)
        );
    }

    #[test]
    fn what_is_not_ours_is_other_and_what_is_broken_is_malformed() {
        assert_eq!(event("customer.created", json!({})), Ok(Change::Other));
        assert_eq!(event("invoice.paid", json!({ "id": "in_1" })), Ok(Change::Other));
        assert_eq!(
            event("payment_intent.succeeded", json!({ "id": "pi_1" })),
            Ok(Change::Other)
        );
        let unpaid = json!({ "mode": "payment", "payment_status": "unpaid" });
        assert_eq!(event("checkout.session.completed", unpaid), Ok(Change::Other));
        assert_eq!(
            event("customer.subscription.updated", json!({})),
            Err(EventError::Malformed)
        );
        assert_eq!(
            event("invoice.paid", json!({ "subscription": "sub_1" })),
            Err(EventError::Malformed)
        );
        let path = json!({ "id": "../x", "customer": "cus_1", "status": "active", "items": { "data": [{ "price": "p" }] } });
        assert_eq!(
            event("customer.subscription.updated", path),
            Err(EventError::Malformed)
        );
        assert_eq!(read(b"[]", seconds(0)), Err(EventError::Malformed));
    }
}
