//! Subscriptions, payments and events of the payment provider. After every scenario the books are in order.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::billing::{
    AutoTopUp, Begun, Change, Effect, Failed, Interval, InvoiceReason, NewPayment, Note, PaidInvoice,
    Payment, PaymentEvent, Price, Receipt, RefundState, SubscriptionState, SubscriptionStatus, Taken,
};
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::ids::{AccountId, GatewayId, PaymentId, PlanId};
use iploop_platform::store::{Store, StoreError};
use tokio::task::JoinSet;

use super::audit::erasure;
use super::books::books_are_in_order;
use super::{BONUS, Database, account_with, at, new_account, usage};

const GB: i64 = 1_000_000_000;
/// The Growth plan's included bytes and prices.
const GROWTH_BYTES: i64 = 25 * GB;
const GROWTH_MONTH: i64 = 14_900;
const GROWTH_YEAR: i64 = 143_000;
const YEAR: i64 = 365 * 86_400;

/// A customer whom the provider knows, with the prices of Growth.
struct Customer {
    store: Arc<dyn Store>,
    account: AccountId,
    customer: String,
    month: String,
    year: String,
    free: PlanId,
    growth: PlanId,
}

impl Customer {
    async fn new(db: &Database) -> Self {
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

    fn state(&self, status: SubscriptionStatus) -> SubscriptionState {
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

    fn invoice(&self, id: &str) -> PaidInvoice {
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
    async fn take(&self, id: &str, seconds: i64, change: Change) -> Taken {
        let event = self.event(id, seconds, change);
        self.store.take_payment_event(&event, self.free).await.unwrap()
    }

    fn event(&self, id: &str, seconds: i64, change: Change) -> PaymentEvent {
        PaymentEvent {
            id: format!("evt_{id}_{}", self.account),
            kind: "test".to_owned(),
            at: at(seconds),
            now: at(seconds),
            change,
        }
    }

    async fn balance(&self) -> i64 {
        self.store.balance(self.account).await.unwrap().bytes
    }

    async fn plan(&self) -> PlanId {
        self.store.plan_of(self.account).await.unwrap().unwrap().id
    }

    async fn status(&self) -> SubscriptionStatus {
        self.store
            .subscription(self.account)
            .await
            .unwrap()
            .unwrap()
            .status
    }

    fn done(&self, effect: Effect) -> Taken {
        Taken::Done {
            account: self.account,
            effect,
        }
    }

    fn subscribed(&self) -> Taken {
        self.done(Effect::Subscription)
    }

    fn paid(&self, cents: i64, bytes: i64) -> Taken {
        self.done(Effect::Paid { cents, bytes })
    }

    async fn auto(&self, threshold_bytes: i64, month_cents: i64) {
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

fn receipt(payment: &Payment) -> Receipt {
    Receipt {
        payment: payment.id,
        intent: format!("pi_{}", payment.id),
        cents: payment.cents,
        currency: "usd".to_owned(),
    }
}

fn wish(account: AccountId, cents: i64, now: Timestamp) -> NewPayment {
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

pub(super) async fn a_year_is_given_month_by_month_and_ends_with_its_subscription(db: &Database) {
    let me = Customer::new(db).await;
    let state = SubscriptionState {
        price: me.year.clone(),
        to: at(YEAR),
        ..me.state(SubscriptionStatus::Active)
    };
    me.take("1", 1, Change::Subscription(state.clone())).await;
    let invoice = PaidInvoice {
        price: me.year.clone(),
        subtotal_cents: GROWTH_YEAR,
        paid_cents: GROWTH_YEAR,
        to: at(YEAR),
        ..me.invoice("in_1")
    };
    assert_eq!(
        me.take("2", 1, Change::InvoicePaid(invoice)).await,
        me.paid(GROWTH_YEAR, GROWTH_BYTES)
    );
    assert!(
        db.store
            .give_due_allowances(at(YEAR / 12 - 1), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let mut looks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&db.store);
        looks.spawn(async move { store.give_due_allowances(at(YEAR / 12), 10).await.unwrap() });
    }
    looks.join_all().await;
    assert_eq!(
        me.balance().await,
        BONUS + 2 * GROWTH_BYTES,
        "once, whoever looks"
    );
    for _ in 0..20 {
        db.store
            .give_due_allowances(at(YEAR * 11 / 12), 10)
            .await
            .unwrap();
    }
    assert_eq!(me.balance().await, BONUS + 12 * GROWTH_BYTES);
    let lines = db.store.transactions(me.account, None, 100).await.unwrap();
    let paid: i64 = lines.iter().map(|line| line.amount_micros).sum();
    assert_eq!(paid, GROWTH_YEAR * 10_000, "the months' prices sum to the year's");

    let other = Customer::new(db).await;
    let state = SubscriptionState {
        id: "sub_other".to_owned(),
        customer: other.customer.clone(),
        ..state
    };
    other.take("1", 1, Change::Subscription(state.clone())).await;
    let invoice = PaidInvoice {
        subscription: "sub_other".to_owned(),
        price: other.year.clone(),
        subtotal_cents: GROWTH_YEAR,
        paid_cents: GROWTH_YEAR,
        to: at(YEAR),
        ..other.invoice("in_1")
    };
    other.take("2", 1, Change::InvoicePaid(invoice)).await;
    let late = SubscriptionState {
        status: SubscriptionStatus::PastDue,
        ..state.clone()
    };
    other.take("3", 2, Change::Subscription(late)).await;
    db.store.give_due_allowances(at(YEAR / 12), 10).await.unwrap();
    assert_eq!(
        other.balance().await,
        BONUS + GROWTH_BYTES,
        "nothing while past due"
    );
    let ended = SubscriptionState {
        status: SubscriptionStatus::Cancelled,
        ..state
    };
    other.take("4", 3, Change::Subscription(ended)).await;
    db.store.give_due_allowances(at(YEAR), 10).await.unwrap();
    assert_eq!(
        other.balance().await,
        BONUS + GROWTH_BYTES,
        "nothing after the end"
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_changed_plan_brings_what_its_money_is_worth(db: &Database) {
    let me = Customer::new(db).await;
    let change = PaidInvoice {
        reason: InvoiceReason::Change,
        paid_cents: GROWTH_MONTH / 2,
        ..me.invoice("in_1")
    };
    let taken = me.take("1", 1, Change::InvoicePaid(change.clone())).await;
    assert_eq!(taken, me.paid(GROWTH_MONTH / 2, GROWTH_BYTES / 2));
    let nothing = PaidInvoice {
        id: "in_2".to_owned(),
        paid_cents: 0,
        ..change
    };
    assert_eq!(me.take("2", 2, Change::InvoicePaid(nothing)).await, me.paid(0, 0));
    books_are_in_order(&*db.store).await;
}

pub(super) async fn refunds_take_the_money_and_what_is_left_of_the_bytes(db: &Database) {
    let me = Customer::new(db).await;
    let refund = |cents| {
        Change::Refunded(RefundState {
            references: vec![format!("pi_in_1_{}", me.account)],
            customer: Some(me.customer.clone()),
            cents,
            currency: "usd".to_owned(),
        })
    };
    let early = me.event("1", 2, refund(7_450));
    assert_eq!(
        db.store.take_payment_event(&early, me.free).await.unwrap(),
        Taken::TooEarly
    );
    me.take("2", 1, Change::InvoicePaid(me.invoice("in_1"))).await;
    // The same event comes again, and counts now: nothing was kept of it.
    let taken = db.store.take_payment_event(&early, me.free).await.unwrap();
    assert_eq!(taken, me.done(Effect::Refunded));
    assert_eq!(me.balance().await, BONUS + GROWTH_BYTES / 2);
    assert_eq!(me.take("3", 3, refund(7_450)).await, Taken::Noted(Note::Older));
    let used = BONUS + GROWTH_BYTES / 2 - GB;
    let mut record = usage(me.account, GatewayId::new());
    record.bytes_down = u64::try_from(used).unwrap();
    record.ended_at = Some(at(11));
    db.store.settle(&[record], at(11)).await.unwrap();
    assert_eq!(
        me.take("4", 4, refund(GROWTH_MONTH)).await,
        me.done(Effect::Refunded)
    );
    assert_eq!(me.balance().await, 0, "never below zero by it");
    let unknown = Change::Refunded(RefundState {
        references: vec!["pi_unknown".to_owned()],
        customer: Some("cus_unknown".to_owned()),
        cents: 1,
        currency: "usd".to_owned(),
    });
    assert_eq!(me.take("5", 5, unknown).await, Taken::Noted(Note::UnknownPayment));
    let lines = db.store.transactions(me.account, None, 100).await.unwrap();
    let back: i64 = lines
        .iter()
        .filter(|line| line.kind.as_str() == "refund")
        .map(|line| line.amount_micros)
        .sum();
    assert_eq!(back, -GROWTH_MONTH * 10_000);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn top_ups_stay_within_the_cap_also_in_parallel(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    db.store.set_spend_cap(account, Some(1_000)).await.unwrap();
    let mut tries = JoinSet::new();
    for _ in 0..10 {
        let store = Arc::clone(&db.store);
        tries.spawn(async move { store.begin_top_up(wish(account, 400, at(0))).await.unwrap() });
    }
    let begun = tries.join_all().await;
    assert_eq!(
        begun
            .iter()
            .filter(|begun| matches!(begun, Begun::Payment(_)))
            .count(),
        2
    );
    assert_eq!(
        begun
            .iter()
            .filter(|begun| **begun == Begun::OverCap(200))
            .count(),
        8
    );
    assert_eq!(
        db.store
            .billing_settings(account, at(0))
            .await
            .unwrap()
            .spent_cents,
        800
    );
    // What nobody paid within the hour no longer counts; what was paid does.
    let Some(Begun::Payment(first)) = begun.iter().find(|begun| matches!(begun, Begun::Payment(_))) else {
        panic!("none began")
    };
    db.store.settle_payment(&receipt(first), at(60)).await.unwrap();
    assert_eq!(
        db.store
            .begin_top_up(wish(account, 601, at(3_601)))
            .await
            .unwrap(),
        Begun::OverCap(600)
    );
    assert!(matches!(
        db.store
            .begin_top_up(wish(account, 600, at(3_601)))
            .await
            .unwrap(),
        Begun::Payment(_)
    ));
    // Another month, and no cap.
    assert!(matches!(
        db.store
            .begin_top_up(wish(account, 900, at(0).plus(DAY * 31)))
            .await
            .unwrap(),
        Begun::Payment(_)
    ));
    db.store.set_spend_cap(account, None).await.unwrap();
    assert!(matches!(
        db.store
            .begin_top_up(wish(account, 9_000, at(3_602)))
            .await
            .unwrap(),
        Begun::Payment(_)
    ));
    assert_eq!(
        db.store
            .begin_top_up(wish(AccountId::new(), 1, at(0)))
            .await
            .unwrap(),
        Begun::NoAccount
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn pages_that_nobody_pays_on_are_bounded(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    for _ in 0..20 {
        db.store.begin_top_up(wish(account, 1, at(0))).await.unwrap();
    }
    let refused = db.store.begin_top_up(wish(account, 1, at(1))).await;
    assert!(
        matches!(refused, Err(StoreError::LimitReached { limit: 20, .. })),
        "{refused:?}"
    );
    assert!(db.store.begin_top_up(wish(account, 1, at(3_700))).await.is_ok());
}

pub(super) async fn of_many_triggers_one_automatic_top_up_begins(db: &Database) {
    let me = Customer::new(db).await;
    let due = || async { db.store.accounts_to_top_up(None, 10).await.unwrap() };
    assert_eq!(
        db.store.begin_auto_top_up(me.account, at(0)).await.unwrap(),
        None,
        "off"
    );
    me.auto(BONUS, 100_000).await;
    assert!(due().await.is_empty(), "not below the threshold");
    me.auto(BONUS + 1, 100_000).await;
    assert_eq!(due().await, [me.account]);
    let mut triggers = JoinSet::new();
    for _ in 0..20 {
        let (store, account) = (Arc::clone(&db.store), me.account);
        triggers.spawn(async move { store.begin_auto_top_up(account, at(1)).await.unwrap() });
    }
    let begun: Vec<Payment> = triggers.join_all().await.into_iter().flatten().collect();
    let [payment] = begun.as_slice() else {
        panic!("{begun:?}")
    };
    // Starter's price: $9.80 for a GB.
    assert_eq!((payment.bytes, payment.cents), (10 * GB, 9_800));
    assert!(due().await.is_empty(), "one is under way");
    assert!(db.store.open_auto_top_ups(at(1), 10).await.unwrap().is_empty());
    assert_eq!(
        db.store.open_auto_top_ups(at(2), 10).await.unwrap(),
        [(payment.clone(), at(1))]
    );
    let mut receipts = JoinSet::new();
    for _ in 0..5 {
        let (store, receipt) = (Arc::clone(&db.store), receipt(payment));
        receipts.spawn(async move { store.settle_payment(&receipt, at(2)).await.unwrap() });
    }
    let taken = receipts.join_all().await;
    assert_eq!(
        taken
            .iter()
            .filter(|taken| **taken == me.paid(9_800, 10 * GB))
            .count(),
        1
    );
    assert_eq!(me.balance().await, BONUS + 10 * GB);
    assert_eq!(db.store.begin_auto_top_up(me.account, at(3)).await.unwrap(), None);
    // The month's bound, then the cap.
    me.auto(BONUS * 10, 19_599).await;
    assert_eq!(db.store.begin_auto_top_up(me.account, at(3)).await.unwrap(), None);
    me.auto(BONUS * 10, 100_000).await;
    db.store.set_spend_cap(me.account, Some(19_599)).await.unwrap();
    assert_eq!(db.store.begin_auto_top_up(me.account, at(3)).await.unwrap(), None);
    db.store.set_spend_cap(me.account, Some(19_600)).await.unwrap();
    let second = db
        .store
        .begin_auto_top_up(me.account, at(3))
        .await
        .unwrap()
        .unwrap();
    assert_ne!(second.key, payment.key);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn three_failures_switch_automatic_top_ups_off(db: &Database) {
    let me = Customer::new(db).await;
    me.auto(BONUS + 1, 100_000).await;
    let mut now = at(0);
    let mut last = None;
    for failures in 1..=3 {
        let payment = db
            .store
            .begin_auto_top_up(me.account, now)
            .await
            .unwrap()
            .unwrap();
        let failed = db.store.fail_payment(payment.id, "no funds", now).await.unwrap();
        assert_eq!(
            failed,
            Some(Failed {
                failures,
                is_switched_off: failures == 3
            })
        );
        assert_eq!(
            db.store.fail_payment(payment.id, "no funds", now).await.unwrap(),
            None
        );
        assert_eq!(
            db.store.begin_auto_top_up(me.account, now).await.unwrap(),
            None,
            "not at once again"
        );
        now = now.plus(Duration::from_secs(6 * 3600));
        last = Some(payment);
    }
    let settings = db.store.billing_settings(me.account, now).await.unwrap();
    assert_eq!(
        (settings.auto_top_up, settings.failures, settings.spent_cents),
        (None, 3, 0)
    );
    assert!(db.store.accounts_to_top_up(None, 10).await.unwrap().is_empty());
    // It was paid after all.
    let taken = db
        .store
        .settle_payment(&receipt(&last.unwrap()), now)
        .await
        .unwrap();
    assert_eq!(taken, me.paid(9_800, 10 * GB));
    assert_eq!(
        db.store.billing_settings(me.account, now).await.unwrap().failures,
        0
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_deleted_account_is_not_charged(db: &Database) {
    let me = Customer::new(db).await;
    me.auto(BONUS + 1, 100_000).await;
    let under_way = db.store.begin_auto_top_up(me.account, at(0)).await.unwrap();
    assert!(under_way.is_some());
    let entry = erasure(me.account);
    db.store.erase_account(me.account, entry).await.unwrap();
    assert!(db.store.open_auto_top_ups(at(1), 10).await.unwrap().is_empty());
    assert!(db.store.accounts_to_top_up(None, 10).await.unwrap().is_empty());
    assert_eq!(db.store.begin_auto_top_up(me.account, at(2)).await.unwrap(), None);
}

pub(super) async fn subscriptions_of_deleted_accounts_are_found(db: &Database) {
    let me = Customer::new(db).await;
    me.take("1", 1, Change::Subscription(me.state(SubscriptionStatus::Active)))
        .await;
    assert!(
        db.store
            .subscriptions_of_the_deleted(10)
            .await
            .unwrap()
            .is_empty()
    );
    db.execute("UPDATE users SET status = 'deleted'").await;
    let state = me.state(SubscriptionStatus::Cancelled);
    assert_eq!(
        db.store.subscriptions_of_the_deleted(10).await.unwrap(),
        std::slice::from_ref(&state.id)
    );
    me.take("2", 2, Change::Subscription(state)).await;
    assert!(
        db.store
            .subscriptions_of_the_deleted(10)
            .await
            .unwrap()
            .is_empty()
    );
}
