//! Subscriptions, payments and events of the payment provider. After every scenario the books are in order.

use std::sync::Arc;

use iploop_platform::billing::{
    AutoTopUp, Begun, Change, Effect, Interval, InvoiceReason, NewPayment, Note, PaidInvoice, Payment,
    PaymentEvent, Price, Receipt, SubscriptionState, SubscriptionStatus, Taken,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId, PlanId};
use iploop_platform::store::Store;
use tokio::task::JoinSet;

use super::books::books_are_in_order;
use super::{BONUS, Database, at, new_account};

pub(super) const GB: i64 = 1_000_000_000;
/// The Growth plan's included bytes and prices.
pub(super) const GROWTH_BYTES: i64 = 25 * GB;
pub(super) const GROWTH_MONTH: i64 = 14_900;
pub(super) const GROWTH_YEAR: i64 = 143_000;

/// A customer whom the provider knows, with the prices of Growth.
pub(super) struct Customer {
    pub(super) store: Arc<dyn Store>,
    pub(super) account: AccountId,
    pub(super) customer: String,
    pub(super) month: String,
    pub(super) year: String,
    pub(super) free: PlanId,
    pub(super) growth: PlanId,
}

impl Customer {
    pub(super) async fn new(db: &Database) -> Self {
        let account = new_account(&*db.store).await;
        let plans = db.store.plans().await.unwrap();
        let plan = |name: &str| plans.iter().find(|plan| plan.name == name).unwrap().id;
        let customer = format!("cus_{account}");
        db.store
            .keep_billing_customer(account, &customer, at(0))
            .await
            .unwrap();
        for (interval, cents) in [(Interval::Month, GROWTH_MONTH), (Interval::Year, GROWTH_YEAR)] {
            let price = Price {
                id: format!("price_{}", interval.as_str()),
                plan: plan("Growth"),
                interval,
                cents,
            };
            db.store.keep_billing_price(&price).await.unwrap();
            db.store.keep_billing_price(&price).await.unwrap();
        }
        Self {
            store: Arc::clone(&db.store),
            account,
            customer,
            month: "price_month".to_owned(),
            year: "price_year".to_owned(),
            free: plan("Starter"),
            growth: plan("Growth"),
        }
    }

    pub(super) fn state(&self, status: SubscriptionStatus) -> SubscriptionState {
        SubscriptionState {
            id: format!("sub_{}", self.account),
            customer: self.customer.clone(),
            price: self.month.clone(),
            status,
            is_new: false,
            from: at(0),
            to: at(30 * 86_400),
            ends_at_period_end: false,
        }
    }

    pub(super) fn invoice(&self, id: &str) -> PaidInvoice {
        PaidInvoice {
            id: format!("{id}_{}", self.account),
            customer: self.customer.clone(),
            subscription: format!("sub_{}", self.account),
            price: self.month.clone(),
            reason: InvoiceReason::Period,
            subtotal_cents: GROWTH_MONTH,
            paid_cents: GROWTH_MONTH,
            currency: "usd".to_owned(),
            intent: Some(format!("pi_{id}_{}", self.account)),
            from: at(0),
            to: at(30 * 86_400),
        }
    }

    /// Takes an event of this second, with an id of its own.
    pub(super) async fn take(&self, id: &str, seconds: i64, change: Change) -> Taken {
        let event = self.event(id, seconds, change);
        self.store.take_payment_event(&event, self.free).await.unwrap()
    }

    pub(super) fn event(&self, id: &str, seconds: i64, change: Change) -> PaymentEvent {
        PaymentEvent {
            id: format!("evt_{id}_{}", self.account),
            kind: "test".to_owned(),
            at: at(seconds),
            now: at(seconds),
            change,
        }
    }

    pub(super) async fn balance(&self) -> i64 {
        self.store.balance(self.account).await.unwrap().bytes
    }

    pub(super) async fn plan(&self) -> PlanId {
        self.store.plan_of(self.account).await.unwrap().unwrap().id
    }

    pub(super) async fn status(&self) -> SubscriptionStatus {
        self.store
            .subscription(self.account)
            .await
            .unwrap()
            .unwrap()
            .status
    }

    pub(super) fn done(&self, effect: Effect) -> Taken {
        Taken::Done {
            account: self.account,
            effect,
        }
    }

    pub(super) fn subscribed(&self) -> Taken {
        self.done(Effect::Subscription)
    }

    pub(super) fn paid(&self, cents: i64, bytes: i64) -> Taken {
        self.done(Effect::Paid { cents, bytes })
    }

    pub(super) async fn auto(&self, threshold_bytes: i64, month_cents: i64) {
        let auto = AutoTopUp {
            threshold_bytes,
            bytes: 10 * GB,
            month_cents,
        };
        self.store
            .set_auto_top_up(self.account, Some(auto))
            .await
            .unwrap();
    }
}

pub(super) fn receipt(payment: &Payment) -> Receipt {
    Receipt {
        payment: payment.id,
        intent: format!("pi_{}", payment.id),
        cents: payment.cents,
        currency: "usd".to_owned(),
    }
}

pub(super) fn wish(account: AccountId, cents: i64, now: Timestamp) -> NewPayment {
    NewPayment {
        id: PaymentId::new(),
        account,
        bytes: GB,
        cents,
        now,
    }
}

pub(super) async fn a_customer_and_a_price_are_kept_once(db: &Database) {
    let me = Customer::new(db).await;
    let other = db
        .store
        .keep_billing_customer(me.account, "cus_other", at(1))
        .await
        .unwrap();
    assert_eq!(other, me.customer);
    assert_eq!(
        db.store.billing_customer(me.account).await.unwrap(),
        Some(me.customer.clone())
    );
    let price = db
        .store
        .billing_price(me.growth, Interval::Year, GROWTH_YEAR)
        .await
        .unwrap();
    assert_eq!(price.as_deref(), Some("price_year"));
    assert_eq!(
        db.store
            .billing_price(me.growth, Interval::Year, 1)
            .await
            .unwrap(),
        None
    );
    assert_eq!(db.store.billing_customer(AccountId::new()).await.unwrap(), None);
    let sold = db.store.price_sold("price_month").await.unwrap().unwrap();
    assert_eq!(
        (sold.id.as_str(), sold.plan, sold.interval, sold.cents),
        ("price_month", me.growth, Interval::Month, GROWTH_MONTH)
    );
    assert_eq!(db.store.price_sold("price_other").await.unwrap(), None);
}

pub(super) async fn a_subscription_lives_pays_falls_behind_and_ends(db: &Database) {
    let me = Customer::new(db).await;
    let active = me.state(SubscriptionStatus::Active);
    assert_eq!(
        me.take("1", 1, Change::Subscription(active.clone())).await,
        me.subscribed()
    );
    assert_eq!(me.plan().await, me.growth);
    let paid = me.take("2", 2, Change::InvoicePaid(me.invoice("in_1"))).await;
    assert_eq!(paid, me.paid(GROWTH_MONTH, GROWTH_BYTES));
    assert_eq!(me.balance().await, BONUS + GROWTH_BYTES);

    let failed = Change::InvoiceFailed {
        customer: me.customer.clone(),
        subscription: active.id.clone(),
        invoice: "in_2".to_owned(),
        cents: GROWTH_MONTH,
    };
    assert_eq!(
        me.take("3", 100, failed.clone()).await,
        me.done(Effect::RenewalFailed)
    );
    assert_eq!(me.status().await, SubscriptionStatus::PastDue);
    // The plan stays within the grace, the balance always.
    assert!(db.store.end_grace(at(100), me.free, 10).await.unwrap().is_empty());
    assert_eq!(me.plan().await, me.growth);
    assert_eq!(
        db.store.end_grace(at(101), me.free, 10).await.unwrap(),
        [me.account]
    );
    assert!(db.store.end_grace(at(101), me.free, 10).await.unwrap().is_empty());
    assert_eq!(
        (me.plan().await, me.balance().await),
        (me.free, BONUS + GROWTH_BYTES)
    );
    let late = me.state(SubscriptionStatus::PastDue);
    assert_eq!(
        me.take("4", 110, Change::Subscription(late)).await,
        me.subscribed()
    );
    assert_eq!(me.plan().await, me.free, "still without its plan");

    assert_eq!(
        me.take("5", 120, Change::Subscription(active)).await,
        me.subscribed()
    );
    assert_eq!(me.plan().await, me.growth, "paid after all");
    let ended = SubscriptionState {
        price: "price_that_is_gone".to_owned(),
        ..me.state(SubscriptionStatus::Cancelled)
    };
    assert_eq!(
        me.take("6", 130, Change::Subscription(ended)).await,
        me.subscribed()
    );
    assert_eq!(
        (me.plan().await, me.status().await),
        (me.free, SubscriptionStatus::Cancelled)
    );
    assert_eq!(me.take("7", 140, failed).await, Taken::Noted(Note::Older));
    books_are_in_order(&*db.store).await;
}

pub(super) async fn events_in_any_order_end_in_the_newest_state(db: &Database) {
    let me = Customer::new(db).await;
    let new = SubscriptionState {
        is_new: true,
        ..me.state(SubscriptionStatus::Incomplete)
    };
    // The invoice before the subscription, the change before the begin, in the same second.
    let paid = me.take("1", 5, Change::InvoicePaid(me.invoice("in_1"))).await;
    assert_eq!(paid, me.paid(GROWTH_MONTH, GROWTH_BYTES));
    let active = Change::Subscription(me.state(SubscriptionStatus::Active));
    assert_eq!(me.take("2", 5, active.clone()).await, me.subscribed());
    assert_eq!(
        me.take("3", 5, Change::Subscription(new)).await,
        Taken::Noted(Note::Older)
    );
    let behind = Change::Subscription(me.state(SubscriptionStatus::PastDue));
    assert_eq!(me.take("4", 4, behind).await, Taken::Noted(Note::Older));
    assert_eq!(me.status().await, SubscriptionStatus::Active);
    let ended = Change::Subscription(me.state(SubscriptionStatus::Cancelled));
    assert_eq!(me.take("5", 6, ended).await, me.subscribed());
    assert_eq!(
        me.take("6", 7, active).await,
        Taken::Noted(Note::Older),
        "over for good"
    );
    assert_eq!(me.plan().await, me.free);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn one_event_in_many_parallel_deliveries_counts_once(db: &Database) {
    let me = Arc::new(Customer::new(db).await);
    let event = me.event("1", 1, Change::InvoicePaid(me.invoice("in_1")));
    let mut deliveries = JoinSet::new();
    for _ in 0..20 {
        let (me, event) = (Arc::clone(&me), event.clone());
        deliveries.spawn(async move { me.store.take_payment_event(&event, me.free).await.unwrap() });
    }
    let taken = deliveries.join_all().await;
    assert_eq!(taken.iter().filter(|taken| **taken == Taken::Repeat).count(), 19);
    assert_eq!(me.balance().await, BONUS + GROWTH_BYTES);
    // Another event about the same invoice, and another invoice for the same period.
    for (id, invoice) in [("2", "in_1"), ("3", "in_2")] {
        let again = me.take(id, 2, Change::InvoicePaid(me.invoice(invoice))).await;
        assert_eq!(again, Taken::Noted(Note::PaidAlready));
    }
    assert_eq!(me.balance().await, BONUS + GROWTH_BYTES);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn what_the_provider_told_long_ago_is_forgotten_in_bounded_steps(db: &Database) {
    let me = Customer::new(db).await;
    for second in 0..5 {
        me.take(&format!("{second}"), second, Change::Other).await;
    }
    let forget = async |second| db.store.forget_payment_events(at(second), 2).await.unwrap();
    assert_eq!((forget(3).await, forget(3).await, forget(3).await), (2, 1, 0));
    assert_eq!(db.number("SELECT COUNT(*) FROM billing_events").await, 2);
    assert_eq!(me.take("3", 9, Change::Other).await, Taken::Repeat);
    assert_eq!(
        me.take("0", 9, Change::Other).await,
        Taken::Noted(Note::Unhandled)
    );
}

pub(super) async fn what_is_not_ours_is_noted_and_buys_nothing(db: &Database) {
    let me = Customer::new(db).await;
    let invoice = me.invoice("in_1");
    let cases = [
        (
            PaidInvoice {
                currency: "eur".to_owned(),
                ..invoice.clone()
            },
            Note::OtherCurrency,
        ),
        (
            PaidInvoice {
                subtotal_cents: 1,
                ..invoice.clone()
            },
            Note::OtherAmount,
        ),
        (
            PaidInvoice {
                price: "price_x".to_owned(),
                ..invoice.clone()
            },
            Note::UnknownPrice,
        ),
        (
            PaidInvoice {
                customer: "cus_x".to_owned(),
                ..invoice
            },
            Note::UnknownCustomer,
        ),
    ];
    for (number, (invoice, note)) in cases.into_iter().enumerate() {
        let taken = me
            .take(&number.to_string(), 1, Change::InvoicePaid(invoice))
            .await;
        assert_eq!(taken, Taken::Noted(note));
    }
    assert_eq!(
        me.take("other", 1, Change::Other).await,
        Taken::Noted(Note::Unhandled)
    );
    let begun = db.store.begin_top_up(wish(me.account, 500, at(1))).await.unwrap();
    let Begun::Payment(payment) = begun else {
        panic!("{begun:?}")
    };
    let euros = Receipt {
        currency: "eur".to_owned(),
        ..receipt(&payment)
    };
    assert_eq!(
        me.take("euro", 1, Change::Paid(euros)).await,
        Taken::Noted(Note::OtherCurrency)
    );
    let little = Receipt {
        cents: 499,
        ..receipt(&payment)
    };
    assert_eq!(
        me.take("little", 1, Change::Paid(little)).await,
        Taken::Noted(Note::OtherAmount)
    );
    let strange = Receipt {
        payment: PaymentId::new(),
        ..receipt(&payment)
    };
    assert_eq!(
        me.take("strange", 1, Change::Paid(strange)).await,
        Taken::Noted(Note::UnknownPayment)
    );
    assert_eq!(me.balance().await, BONUS);
    assert_eq!(
        me.take("paid", 1, Change::Paid(receipt(&payment))).await,
        me.paid(500, GB)
    );
    assert_eq!(
        me.take("again", 1, Change::Paid(receipt(&payment))).await,
        Taken::Noted(Note::PaidAlready)
    );
    assert_eq!(me.balance().await, BONUS + GB);
    books_are_in_order(&*db.store).await;
}
