//! The calls that we make.

use async_trait::async_trait;
use iploop_platform::billing::{
    BillingConfig, CURRENCY, Charge, Closed, EventError, Interval, Invoice, NewCustomer, OpenPage, Page,
    Payment, PaymentEvent, PaymentProvider, Proration, ProviderError, ReturnUrls,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::outbound::OutboundClient;
use iploop_platform::plan::Plan;
use iploop_platform::secret::Secret;
use serde_json::Value;

use crate::event::{self, PAYMENT};
use crate::http::{Client, Form};
use crate::webhook;

/// The first version of Stripe's API that can be asked which invoice a payment paid.
const INVOICE_PAYMENTS: &str = "2025-03-31.basil";

/// A Stripe account.
pub struct Stripe {
    client: Client,
    webhook_secret: Secret,
}

/// Why the `[billing]` section can't be used. Never shows a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StripeError {
    /// `api_base` is malformed.
    #[error("billing.api_base: write it as https://api.stripe.com")]
    Base,
    /// The key can't be sent.
    #[error("billing.stripe_secret_key: it has characters that no key has")]
    Key,
}

impl Stripe {
    /// The configured account; none if no key is set. Nothing is sent.
    ///
    /// # Errors
    /// What of the section can't be used.
    pub fn open(config: &BillingConfig, outbound: OutboundClient) -> Result<Option<Self>, StripeError> {
        let Some(key) = &config.stripe_secret_key else {
            return Ok(None);
        };
        Ok(Some(Self {
            client: Client::new(&config.api_base, key, outbound)?,
            // Never empty: without a secret anybody could sign.
            webhook_secret: config
                .stripe_webhook_secret
                .clone()
                .filter(|secret| !secret.expose().is_empty())
                .unwrap_or_else(|| Secret::random::<32>("none_")),
        }))
    }

    /// The card that a customer saved last.
    async fn card(&self, customer: &str) -> Result<Option<String>, ProviderError> {
        let path = format!("/v1/customers/{}/payment_methods", id(customer)?);
        let methods = self.client.get(&path, &vec![("limit", "1".to_owned())]).await?;
        Ok(methods
            .pointer("/data/0/id")
            .and_then(Value::as_str)
            .map(str::to_owned))
    }
}

#[async_trait]
impl PaymentProvider for Stripe {
    async fn create_customer(&self, customer: NewCustomer<'_>) -> Result<String, ProviderError> {
        let account = customer.account.to_string();
        let form = vec![
            ("email", customer.email.to_owned()),
            ("name", customer.name.to_owned()),
            ("metadata[iploop_account]", account.clone()),
        ];
        let key = format!("customer:{account}");
        id_of(&self.client.post("/v1/customers", &form, Some(&key)).await?)
    }

    /// Prices are found again by their lookup key, which names plan, interval and amount.
    async fn price(&self, plan: &Plan, interval: Interval, cents: i64) -> Result<String, ProviderError> {
        let lookup = format!("iploop_{}_{}_{cents}", plan.id, interval.as_str());
        let query = vec![("lookup_keys[]", lookup.clone()), ("limit", "1".to_owned())];
        let known = self.client.get("/v1/prices", &query).await?;
        let price = known.pointer("/data/0").filter(|price| {
            price["lookup_key"].as_str() == Some(lookup.as_str())
                && price["unit_amount"].as_i64() == Some(cents)
                && price["currency"].as_str() == Some(CURRENCY)
        });
        if let Some(price) = price {
            return id_of(price);
        }
        let form = vec![
            ("currency", CURRENCY.to_owned()),
            ("unit_amount", cents.to_string()),
            ("recurring[interval]", interval.as_str().to_owned()),
            ("product_data[name]", format!("IPLoop {}", plan.name)),
            ("lookup_key", lookup.clone()),
            ("transfer_lookup_key", "true".to_owned()),
        ];
        id_of(
            &self
                .client
                .post("/v1/prices", &form, Some(&format!("price:{lookup}")))
                .await?,
        )
    }

    async fn sells(&self, price: &str, interval: Interval, cents: i64) -> Result<bool, ProviderError> {
        let Ok(price) = id(price) else { return Ok(false) };
        match self.client.get(&format!("/v1/prices/{price}"), &Vec::new()).await {
            Err(error) if is_gone(&error) => Ok(false),
            known => Ok(is_sold_as(&known?, interval, cents)),
        }
    }

    async fn subscribe(
        &self,
        customer: &str,
        price: &str,
        page: &Page,
        urls: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError> {
        let mut form = form_of("subscription", customer, page, urls);
        form.push(("line_items[0][price]", price.to_owned()));
        form.push(("line_items[0][quantity]", "1".to_owned()));
        let key = format!("subscribe:{}", page.id);
        page_of(
            &self
                .client
                .post("/v1/checkout/sessions", &form, Some(&key))
                .await?,
        )
    }

    async fn pay(
        &self,
        customer: &str,
        payment: &Payment,
        page: &Page,
        urls: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError> {
        let mut form = form_of("payment", customer, page, urls);
        form.extend([
            ("line_items[0][quantity]", "1".to_owned()),
            ("line_items[0][price_data][currency]", CURRENCY.to_owned()),
            (
                "line_items[0][price_data][unit_amount]",
                payment.cents.to_string(),
            ),
            ("line_items[0][price_data][product_data][name]", name_of(payment)),
            // Saved for automatic top-ups, should the customer want them.
            (
                "payment_intent_data[setup_future_usage]",
                "off_session".to_owned(),
            ),
        ]);
        let metadata = format!("metadata[{PAYMENT}]");
        let of_intent = format!("payment_intent_data[metadata][{PAYMENT}]");
        form.push((&metadata, payment.id.to_string()));
        form.push((&of_intent, payment.id.to_string()));
        page_of(
            &self
                .client
                .post("/v1/checkout/sessions", &form, Some(&payment.key))
                .await?,
        )
    }

    /// Only an open page can be closed: of another one Stripe says what became of it.
    async fn close_page(&self, session: &str) -> Result<Closed, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}", id(session)?);
        let closed = self
            .client
            .post(&format!("{path}/expire"), &Vec::new(), None)
            .await;
        let Err(ProviderError::Refused(_)) = &closed else {
            return closed.map(|_| Closed::Unpaid);
        };
        let known = match self.client.get(&path, &Vec::new()).await {
            Err(error) if is_gone(&error) => return Ok(Closed::Unpaid),
            other => other?,
        };
        match known["status"].as_str() {
            Some("complete") => Ok(Closed::Paid),
            Some("expired") => Ok(Closed::Unpaid),
            _ => closed.map(|_| Closed::Unpaid),
        }
    }

    async fn portal(&self, customer: &str, return_url: &str) -> Result<String, ProviderError> {
        let form = vec![
            ("customer", customer.to_owned()),
            ("return_url", return_url.to_owned()),
        ];
        url_of(
            &self
                .client
                .post("/v1/billing_portal/sessions", &form, None)
                .await?,
        )
    }

    async fn change(
        &self,
        subscription: &str,
        price: &str,
        proration: Proration,
    ) -> Result<(), ProviderError> {
        let path = format!("/v1/subscriptions/{}", id(subscription)?);
        let known = self.client.get(&path, &Vec::new()).await?;
        let item = known
            .pointer("/items/data/0")
            .map(id_of)
            .transpose()?
            .ok_or_else(unexpected)?;
        let form = vec![
            ("items[0][id]", item),
            ("items[0][price]", price.to_owned()),
            (
                "proration_behavior",
                match proration {
                    Proration::Now => "always_invoice".to_owned(),
                    Proration::NextPeriod => "none".to_owned(),
                },
            ),
            // Not paid: not changed.
            ("payment_behavior", "error_if_incomplete".to_owned()),
            ("cancel_at_period_end", "false".to_owned()),
        ];
        self.client.post(&path, &form, None).await.map(drop)
    }

    async fn end_with_period(&self, subscription: &str, ends: bool) -> Result<(), ProviderError> {
        let path = format!("/v1/subscriptions/{}", id(subscription)?);
        let form = vec![("cancel_at_period_end", ends.to_string())];
        self.client.post(&path, &form, None).await.map(drop)
    }

    /// Only a subscription that is not over can be changed: of another one Stripe says that it is.
    async fn collect(&self, subscription: &str, collects: bool) -> Result<(), ProviderError> {
        let path = format!("/v1/subscriptions/{}", id(subscription)?);
        let form = if collects {
            vec![("pause_collection", String::new())]
        } else {
            vec![("pause_collection[behavior]", "void".to_owned())]
        };
        let changed = self.client.post(&path, &form, None).await;
        let Err(ProviderError::Refused(_)) = &changed else {
            return changed.map(drop);
        };
        match self.client.get(&path, &Vec::new()).await {
            Err(error) if is_gone(&error) => Ok(()),
            Ok(known) if matches!(known["status"].as_str(), Some("canceled" | "incomplete_expired")) => {
                Ok(())
            }
            _ => changed.map(drop),
        }
    }

    async fn end_now(&self, subscription: &str) -> Result<(), ProviderError> {
        let path = format!("/v1/subscriptions/{}", id(subscription)?);
        gone(self.client.delete(&path).await)
    }

    async fn refund(&self, reference: &str) -> Result<(), ProviderError> {
        let intent = if reference.starts_with("in_") {
            let path = format!("/v1/invoices/{}", id(reference)?);
            let invoice = self.client.get(&path, &Vec::new()).await?;
            event::intent_of(&invoice).ok_or_else(unexpected)?
        } else {
            id(reference)?.to_owned()
        };
        let key = format!("refund:{intent}");
        let form = vec![("payment_intent", intent)];
        match self.client.post("/v1/refunds", &form, Some(&key)).await {
            Err(ProviderError::Refused(reason)) if reason.contains("charge_already_refunded") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn invoice_of(&self, payment: &str) -> Result<Option<String>, ProviderError> {
        if !payment.starts_with("pi_") {
            return Ok(None);
        }
        let query = vec![
            ("payment[type]", "payment_intent".to_owned()),
            ("payment[payment_intent]", id(payment)?.to_owned()),
            ("limit", "1".to_owned()),
        ];
        let found = self
            .client
            .get_by(INVOICE_PAYMENTS, "/v1/invoice_payments", &query)
            .await?;
        Ok(found.pointer("/data/0/invoice").and_then(event::reference))
    }

    async fn delete_customer(&self, customer: &str) -> Result<(), ProviderError> {
        let path = format!("/v1/customers/{}", id(customer)?);
        gone(self.client.delete(&path).await)
    }

    async fn invoices(
        &self,
        customer: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Invoice>, ProviderError> {
        let mut query = vec![("customer", customer.to_owned()), ("limit", limit.to_string())];
        if let Some(after) = after {
            query.push(("starting_after", after.to_owned()));
        }
        let page = self.client.get("/v1/invoices", &query).await?;
        let invoices = page["data"].as_array().ok_or_else(unexpected)?;
        invoices.iter().map(invoice).collect()
    }

    async fn charge(&self, customer: &str, payment: &Payment) -> Result<Charge, ProviderError> {
        let Some(card) = self.card(customer).await? else {
            return Ok(Charge::Declined("no way to pay is saved".to_owned()));
        };
        let metadata = format!("metadata[{PAYMENT}]");
        let form: Form<'_> = vec![
            ("amount", payment.cents.to_string()),
            ("currency", CURRENCY.to_owned()),
            ("customer", customer.to_owned()),
            ("payment_method", card),
            ("off_session", "true".to_owned()),
            ("confirm", "true".to_owned()),
            ("error_on_requires_action", "true".to_owned()),
            ("description", name_of(payment)),
            (&metadata, payment.id.to_string()),
        ];
        let intent = self
            .client
            .post("/v1/payment_intents", &form, Some(&payment.key))
            .await?;
        Ok(match intent["status"].as_str() {
            Some("succeeded") => Charge::Paid(event::receipt(&intent).ok_or_else(unexpected)?),
            Some("canceled" | "requires_payment_method" | "requires_action") => {
                Charge::Declined("the bank wants the customer to confirm the payment".to_owned())
            }
            _ => Charge::Pending,
        })
    }

    fn event(&self, body: &[u8], signature: &str, now: Timestamp) -> Result<PaymentEvent, EventError> {
        webhook::verify(&self.webhook_secret, signature, body, now)?;
        event::read(body, now)
    }
}

/// What every page for paying has. The same page again has the same form: Stripe holds it against the key.
fn form_of<'a>(mode: &str, customer: &str, page: &Page, urls: &ReturnUrls) -> Form<'a> {
    let expires = page.expires_at.as_millis().div_euclid(1_000);
    vec![
        ("expires_at", expires.to_string()),
        ("mode", mode.to_owned()),
        ("customer", customer.to_owned()),
        ("success_url", urls.success.clone()),
        ("cancel_url", urls.cancel.clone()),
    ]
}

/// Whether a price is this much for each of such periods, and nothing else: not by use, not in steps, not for several months.
fn is_sold_as(price: &Value, interval: Interval, cents: i64) -> bool {
    let recurring = &price["recurring"];
    price["active"].as_bool() == Some(true)
        && price["currency"].as_str() == Some(CURRENCY)
        && price["unit_amount"].as_i64() == Some(cents)
        && price["billing_scheme"].as_str() == Some("per_unit")
        && price["transform_quantity"].is_null()
        && recurring["interval"].as_str() == Some(interval.as_str())
        && recurring["interval_count"].as_i64() == Some(1)
        && recurring["usage_type"].as_str() == Some("licensed")
}

fn name_of(payment: &Payment) -> String {
    format!("IPLoop {} GB", payment.bytes / 1_000_000_000)
}

fn invoice(value: &Value) -> Result<Invoice, ProviderError> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Ok(Invoice {
        id: id_of(value)?,
        number: text("number"),
        at: event::seconds(value["created"].as_i64().ok_or_else(unexpected)?),
        total_cents: value["total"].as_i64().ok_or_else(unexpected)?,
        status: text("status").unwrap_or_else(|| "draft".to_owned()),
        pdf: text("invoice_pdf").filter(|url| url.starts_with("https://")),
    })
}

fn id_of(value: &Value) -> Result<String, ProviderError> {
    let text = value["id"].as_str().filter(|text| event::is_id(text));
    text.map(str::to_owned).ok_or_else(unexpected)
}

/// An id as a part of a path.
fn id(text: &str) -> Result<&str, ProviderError> {
    if event::is_id(text) {
        Ok(text)
    } else {
        Err(ProviderError::Refused("an id that is none".to_owned()))
    }
}

fn url_of(value: &Value) -> Result<String, ProviderError> {
    let url = value["url"].as_str().filter(|url| url.starts_with("https://"));
    url.map(str::to_owned).ok_or_else(unexpected)
}

fn page_of(value: &Value) -> Result<OpenPage, ProviderError> {
    Ok(OpenPage {
        session: id_of(value)?,
        url: url_of(value)?,
    })
}

/// What is not there any more need not be deleted.
fn gone(deleted: Result<Value, ProviderError>) -> Result<(), ProviderError> {
    match deleted {
        Err(error) if is_gone(&error) => Ok(()),
        other => other.map(drop),
    }
}

fn is_gone(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Refused(reason) if reason.starts_with("status 404"))
}

fn unexpected() -> ProviderError {
    ProviderError::Refused("an answer without what it must have".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_price_is_sold_as_what_it_costs_each_period_and_as_nothing_else() {
        let price = json!({
            "id": "price_1", "active": true, "currency": "usd", "unit_amount": 14_900, "billing_scheme": "per_unit",
            "transform_quantity": null,
            "recurring": { "interval": "month", "interval_count": 1, "usage_type": "licensed" },
        });
        assert!(is_sold_as(&price, Interval::Month, 14_900));
        assert!(!is_sold_as(&price, Interval::Year, 14_900));
        assert!(!is_sold_as(&price, Interval::Month, 14_901));
        for (place, other) in [
            ("/active", json!(false)),
            ("/currency", json!("eur")),
            ("/billing_scheme", json!("tiered")),
            ("/transform_quantity", json!({ "divide_by": 10 })),
            ("/recurring", Value::Null),
            ("/recurring/interval_count", json!(3)),
            ("/recurring/usage_type", json!("metered")),
        ] {
            let mut price = price.clone();
            *price.pointer_mut(place).unwrap() = other;
            assert!(!is_sold_as(&price, Interval::Month, 14_900), "{place}");
        }
    }
}
