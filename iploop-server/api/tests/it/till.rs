//! A till: the provider's side of payments. Its events are signed and read as Stripe's are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use iploop_billing::{Stripe, sign};
use iploop_platform::billing::{
    BillingConfig, Charge, Closed, EventError, Interval, Invoice, NewCustomer, OpenPage, Page, Payment,
    PaymentEvent, PaymentProvider, Proration, ProviderError, Receipt, ReturnUrls,
};
use iploop_platform::clock::{Clock as _, Timestamp};
use iploop_platform::ids::AccountId;
use iploop_platform::mail::Mail;
use iploop_platform::outbound::{OutboundClient, OutboundConfig};
use iploop_platform::plan::Plan;
use iploop_platform::secret::Secret;
use iploop_protocol::policy::TestAllow;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD, Settings};

pub(crate) const WEBHOOK: &str = "/api/billing/webhook";
pub(crate) const SECRET: &str = "whsec_test";
pub(crate) const GB: i64 = 1_000_000_000;

/// Collects money at once, and remembers what for.
pub(crate) struct Till {
    pub(crate) stripe: Stripe,
    pub(crate) began: Mutex<Vec<Payment>>,
    pub(crate) charged: Mutex<Vec<String>>,
    pub(crate) changed: Mutex<Option<Proration>>,
    pub(crate) declines: AtomicBool,
    /// Nobody answers.
    pub(crate) is_silent: AtomicBool,
    /// Pages by the key that they were made under: where they are, and whether they are open, paid on or closed.
    pub(crate) pages: Mutex<BTreeMap<String, (OpenPage, PageState)>>,
    /// Prices that somebody made by hand, in cents a month.
    pub(crate) prices: Mutex<BTreeMap<String, i64>>,
    /// Which payment paid which invoice.
    pub(crate) invoices: Mutex<BTreeMap<String, String>>,
    /// Errands that were run: what was done with what.
    pub(crate) done: Mutex<Vec<String>>,
}

/// How a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageState {
    Open,
    Paid,
    Closed,
}

impl Till {
    pub(crate) fn new() -> Arc<Self> {
        let config = BillingConfig {
            stripe_secret_key: Some(Secret::new("sk_test")),
            stripe_webhook_secret: Some(Secret::new(SECRET)),
            ..BillingConfig::default()
        };
        let outbound = OutboundClient::new(&OutboundConfig::default(), TestAllow::default()).unwrap();
        Arc::new(Self {
            stripe: Stripe::open(&config, outbound).unwrap().unwrap(),
            began: Mutex::default(),
            charged: Mutex::default(),
            changed: Mutex::default(),
            declines: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            pages: Mutex::default(),
            prices: Mutex::default(),
            invoices: Mutex::default(),
            done: Mutex::default(),
        })
    }

    pub(crate) fn customer(account: AccountId) -> String {
        format!("cus_{}", account.uuid().simple())
    }

    /// The same page again is the same page.
    fn page(&self, page: &Page, url: String) -> Result<OpenPage, ProviderError> {
        let mut pages = self.pages.lock();
        let made = OpenPage {
            session: format!("cs_{}", page.id.uuid().simple()),
            url,
        };
        let (open, _) = pages
            .entry(page.id.to_string())
            .or_insert((made, PageState::Open));
        Ok(open.clone())
    }

    /// An errand, if anybody answers.
    fn run(&self, what: &str, with: &str) -> Result<(), ProviderError> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(ProviderError::Unavailable("nobody answers".to_owned()));
        }
        self.done.lock().push(format!("{what} {with}"));
        Ok(())
    }

    /// Somebody pays on every page that is open.
    pub(crate) fn pay_all(&self) {
        for (_, state) in self.pages.lock().values_mut() {
            if *state == PageState::Open {
                *state = PageState::Paid;
            }
        }
    }

    /// How the pages stand, oldest first.
    pub(crate) fn states(&self) -> Vec<PageState> {
        self.pages.lock().values().map(|(_, state)| *state).collect()
    }
}

#[async_trait]
impl PaymentProvider for Till {
    async fn create_customer(&self, customer: NewCustomer<'_>) -> Result<String, ProviderError> {
        Ok(Self::customer(customer.account))
    }

    async fn price(&self, plan: &Plan, interval: Interval, cents: i64) -> Result<String, ProviderError> {
        Ok(format!("price_{}_{}_{cents}", plan.name, interval.as_str()))
    }

    async fn sells(&self, price: &str, interval: Interval, cents: i64) -> Result<bool, ProviderError> {
        let costs = self.prices.lock().get(price).copied();
        Ok(interval == Interval::Month && costs == Some(cents))
    }

    async fn subscribe(
        &self,
        _: &str,
        price: &str,
        page: &Page,
        urls: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError> {
        self.page(page, format!("https://till.test/{price}?back={}", urls.success))
    }

    async fn pay(
        &self,
        _: &str,
        payment: &Payment,
        page: &Page,
        _: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError> {
        {
            let mut began = self.began.lock();
            if !began.contains(payment) {
                began.push(payment.clone());
            }
        }
        self.page(page, format!("https://till.test/pay/{}", payment.cents))
    }

    async fn close_page(&self, session: &str) -> Result<Closed, ProviderError> {
        self.run("close_page", session)?;
        let mut pages = self.pages.lock();
        let (_, state) = pages
            .values_mut()
            .find(|(page, _)| page.session == session)
            .unwrap();
        if *state == PageState::Paid {
            return Ok(Closed::Paid);
        }
        *state = PageState::Closed;
        Ok(Closed::Unpaid)
    }

    async fn refund(&self, reference: &str) -> Result<(), ProviderError> {
        self.run("refund", reference)
    }

    async fn invoice_of(&self, payment: &str) -> Result<Option<String>, ProviderError> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(ProviderError::Unavailable("nobody answers".to_owned()));
        }
        Ok(self.invoices.lock().get(payment).cloned())
    }

    async fn delete_customer(&self, customer: &str) -> Result<(), ProviderError> {
        self.run("delete_customer", customer)
    }

    async fn portal(&self, _: &str, _: &str) -> Result<String, ProviderError> {
        Ok("https://till.test/portal".to_owned())
    }

    async fn change(&self, _: &str, _: &str, proration: Proration) -> Result<(), ProviderError> {
        if self.declines.load(Ordering::Relaxed) {
            return Err(ProviderError::Declined(
                "Your card has insufficient funds".to_owned(),
            ));
        }
        *self.changed.lock() = Some(proration);
        Ok(())
    }

    async fn end_with_period(&self, _: &str, _: bool) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn collect(&self, subscription: &str, collects: bool) -> Result<(), ProviderError> {
        self.run(if collects { "resume" } else { "pause" }, subscription)
    }

    async fn end_now(&self, subscription: &str) -> Result<(), ProviderError> {
        self.run("end_now", subscription)
    }

    async fn invoices(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<Invoice>, ProviderError> {
        Ok(vec![Invoice {
            id: "in_1".to_owned(),
            number: Some("A-1".to_owned()),
            at: Timestamp::from_millis(0),
            total_cents: 14_900,
            status: "open".to_owned(),
            pdf: Some("https://till.test/in_1.pdf".to_owned()),
        }])
    }

    async fn charge(&self, _: &str, payment: &Payment) -> Result<Charge, ProviderError> {
        self.charged.lock().push(payment.key.clone());
        if self.declines.load(Ordering::Relaxed) {
            return Err(ProviderError::Declined(
                "Your card has insufficient funds".to_owned(),
            ));
        }
        Ok(Charge::Paid(Receipt {
            payment: payment.id,
            intent: format!("pi_{}", payment.id.uuid().simple()),
            cents: payment.cents,
            currency: "usd".to_owned(),
        }))
    }

    fn event(&self, body: &[u8], signature: &str, now: Timestamp) -> Result<PaymentEvent, EventError> {
        self.stripe.event(body, signature, now)
    }
}

/// A provider that takes every payment.
pub(crate) fn till() -> Arc<dyn PaymentProvider> {
    Till::new()
}

/// A signed-in customer of a server with a till.
pub(crate) struct Desk {
    pub(crate) api: Api,
    pub(crate) till: Arc<Till>,
    pub(crate) token: String,
    pub(crate) account: AccountId,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let till = Till::new();
        let settings = Settings {
            provider: Some(Arc::clone(&till) as _),
            ..Settings::default()
        };
        let api = Api::with(settings).await;
        let token = api.token_on("Starter", "ada@example.com").await;
        let (account, _) = api
            .store
            .account_by_email("ada@example.com")
            .await
            .unwrap()
            .unwrap();
        Self {
            api,
            till,
            token,
            account: account.id,
        }
    }

    pub(crate) async fn plan(&self, name: &str) -> Value {
        let plans = self.api.get("/api/billing/plans").send().await.json();
        let plans = plans["plans"].as_array().unwrap().clone();
        plans.into_iter().find(|plan| plan["name"] == name).unwrap()
    }

    /// Time goes by, and the customer signs in again.
    pub(crate) async fn wait(&mut self, time: Duration) {
        self.api.clock.advance(time);
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let answer = self.api.post("/api/auth/login").json(&body).send().await;
        self.token = answer.json()["token"].as_str().unwrap().to_owned();
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let path = format!("/api/billing/{path}");
        self.api.post(&path).bearer(&self.token).json(body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        let path = format!("/api/billing/{path}");
        self.api
            .call(Method::PUT, &path)
            .bearer(&self.token)
            .json(body)
            .send()
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self
            .api
            .get(&format!("/api/billing/{path}"))
            .bearer(&self.token)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    pub(crate) fn body(&self, id: &str, kind: &str, object: &Value) -> String {
        let created = self.api.clock.now().as_millis() / 1_000;
        json!({ "id": id, "type": kind, "created": created, "data": { "object": object } }).to_string()
    }

    pub(crate) async fn send(&self, body: &str, signature: &str) -> Answer {
        let call = self.api.post(WEBHOOK).header("stripe-signature", signature);
        call.header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
    }

    /// Sends an event as the provider does.
    pub(crate) async fn event(&self, id: &str, kind: &str, object: &Value) {
        let body = self.body(id, kind, object);
        let signature = sign(&Secret::new(SECRET), body.as_bytes(), self.api.clock.now());
        let answer = self.send(&body, &signature).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    }

    pub(crate) fn subscription(&self, status: &str) -> Value {
        let now = self.api.clock.now().as_millis() / 1_000;
        json!({
            "id": "sub_1", "customer": Till::customer(self.account), "status": status, "cancel_at_period_end": false,
            "current_period_start": now, "current_period_end": now + 30 * 86_400,
            "items": { "data": [{ "price": { "id": "price_Growth_month_14900" } }] },
        })
    }

    pub(crate) fn invoice(&self, id: &str) -> Value {
        let now = self.api.clock.now().as_millis() / 1_000;
        json!({
            "id": id, "customer": Till::customer(self.account), "subscription": "sub_1", "currency": "usd",
            "billing_reason": "subscription_create", "subtotal": 14_900, "amount_paid": 14_900, "payment_intent": "pi_1",
            "amount_due": 14_900, "lines": { "data": [{
                "amount": 14_900, "price": { "id": "price_Growth_month_14900" },
                "period": { "start": now, "end": now + 30 * 86_400 },
            }] },
        })
    }

    /// A page for Growth by the month: the prices and the customer are known after it.
    pub(crate) async fn subscribe(&self) -> Answer {
        let growth = self.plan("Growth").await;
        self.post("checkout", &json!({ "planId": growth["id"] })).await
    }

    pub(crate) async fn balance(&self) -> i64 {
        self.api.store.balance(self.account).await.unwrap().bytes
    }

    /// The one mail that follows from what happened.
    pub(crate) async fn mail(&self) -> Mail {
        assert_eq!(self.api.notices.send_due().await.unwrap(), 1);
        self.api.mail().await
    }

    pub(crate) async fn books_are_in_order(&self) {
        let checked = self.api.store.check_ledger().await.unwrap();
        assert!(checked.differences.is_empty(), "{checked:?}");
    }
}
