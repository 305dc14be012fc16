//! What is paid: in parts, after a change of plan, and what goes back. After every scenario the books are in order.

use std::sync::Arc;

use iploop_platform::abuse::AuditAction;
use iploop_platform::admin::UserChange;
use iploop_platform::billing::{
    Begun, Change, DisputeState, DisputeStatus, Effect, InvoiceReason, Note, PaidInvoice, RefundState,
    SubscriptionState, SubscriptionStatus, Taken,
};
use iploop_platform::ids::GatewayId;
use tokio::task::JoinSet;

use super::billing::{Customer, GB, GROWTH_BYTES, GROWTH_MONTH, GROWTH_YEAR, receipt, wish};
use super::books::books_are_in_order;
use super::safeguards::audit;
use super::{BONUS, Database, at, usage};

const YEAR: i64 = 365 * 86_400;

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
    let knows = async |references: &[&str]| {
        let references: Vec<String> = references
            .iter()
            .map(|kind| format!("{kind}in_1_{}", me.account))
            .collect();
        db.store.knows_payment(&references).await.unwrap()
    };
    assert!(!knows(&["pi_", ""]).await);
    let early = me.event("1", 2, refund(7_450));
    assert_eq!(
        db.store.take_payment_event(&early, me.free).await.unwrap(),
        Taken::TooEarly
    );
    me.take("2", 1, Change::InvoicePaid(me.invoice("in_1"))).await;
    assert!(knows(&["pi_"]).await && knows(&["strange_", ""]).await && !knows(&[]).await);
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

pub(super) async fn a_top_up_that_goes_back_leaves_the_plan_that_an_admin_gave(db: &Database) {
    let me = Customer::new(db).await;
    let given = audit(AuditAction::UserPlanChanged, Some(me.account), 0);
    let changes = vec![(UserChange::Plan(me.growth), given)];
    db.store.change_user(me.account, changes).await.unwrap();
    let paid = async |cents| {
        let Begun::Payment(payment) = db
            .store
            .begin_top_up(wish(me.account, cents, at(1)))
            .await
            .unwrap()
        else {
            panic!("not begun")
        };
        let receipt = receipt(&payment);
        db.store.settle_payment(&receipt, at(1)).await.unwrap();
        receipt.intent
    };
    let refund = Change::Refunded(RefundState {
        references: vec![paid(500).await],
        customer: Some(me.customer.clone()),
        cents: 500,
        currency: "usd".to_owned(),
    });
    assert_eq!(me.take("1", 2, refund).await, me.done(Effect::Refunded));
    assert_eq!(me.plan().await, me.growth);
    let dispute = DisputeState {
        id: "dp_1".to_owned(),
        references: vec![paid(600).await],
        cents: 600,
        currency: "usd".to_owned(),
        status: DisputeStatus::Lost,
        reason: "fraudulent".to_owned(),
    };
    assert_eq!(
        me.take("2", 3, Change::Disputed(dispute)).await,
        me.done(Effect::Disputed)
    );
    assert_eq!(me.plan().await, me.growth);
    books_are_in_order(&*db.store).await;
}
