//! Payments that a bank takes back. After every scenario the books are in order.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::billing::{
    Begun, Change, Dispute, DisputeQuery, DisputeState, DisputeStatus, Effect, ErrandKind, Hold, Note,
    PageBegun, PageWish, PaidInvoice, RefundState, SubscriptionState, SubscriptionStatus, Taken,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AuditId, GatewayId};
use serde_json::json;
use tokio::task::JoinSet;

use super::billing::{Customer, GB, GROWTH_BYTES, GROWTH_MONTH, GROWTH_YEAR, receipt, wish};
use super::books::books_are_in_order;
use super::{BONUS, Database, at, usage};

const YEAR: i64 = 365 * 86_400;

fn dispute(me: &Customer, status: DisputeStatus) -> DisputeState {
    DisputeState {
        id: format!("dp_{}", me.account),
        references: vec![format!("pi_in_1_{}", me.account), "ch_1".to_owned()],
        cents: GROWTH_MONTH,
        currency: "usd".to_owned(),
        status,
        reason: "fraudulent".to_owned(),
    }
}

/// A month of Growth, paid.
async fn subscriber(db: &Database) -> Customer {
    let me = Customer::new(db).await;
    me.take(
        "sub",
        0,
        Change::Subscription(me.state(SubscriptionStatus::Active)),
    )
    .await;
    me.take("paid", 0, Change::InvoicePaid(me.invoice("in_1"))).await;
    me
}

async fn uses(me: &Customer, bytes: i64) {
    let record = iploop_platform::usage::UsageRecord {
        bytes_down: u64::try_from(bytes).unwrap(),
        ..usage(me.account, GatewayId::new())
    };
    me.store.settle(&[record], at(20)).await.unwrap();
}

async fn moves(me: &Customer, id: &str, seconds: i64, status: DisputeStatus) -> Taken {
    me.take(id, seconds, Change::Disputed(dispute(me, status))).await
}

async fn listed(me: &Customer) -> Vec<Dispute> {
    let query = DisputeQuery {
        account: Some(me.account),
        limit: 10,
        ..DisputeQuery::default()
    };
    me.store.disputes(&query).await.unwrap()
}

fn forgiveness(me: &Customer) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(),
        at: at(50),
        actor: Actor::CommandLine,
        action: AuditAction::DebtForgiven,
        account: Some(me.account),
        subject: me.account.to_string(),
        before: serde_json::Value::Null,
        after: serde_json::Value::Null,
        reason: "sorry".to_owned(),
    }
}

pub(super) async fn a_dispute_takes_bytes_and_plan_and_gives_them_back_when_it_is_won(db: &Database) {
    let me = subscriber(db).await;
    uses(&me, 10 * GB).await;
    let disputed = me.done(Effect::Disputed);
    assert_eq!(moves(&me, "1", 100, DisputeStatus::Inquiry).await, disputed);
    assert_eq!(
        (me.balance().await, me.plan().await),
        (BONUS + 15 * GB, me.growth)
    );
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), None);

    assert_eq!(moves(&me, "2", 101, DisputeStatus::Open).await, disputed);
    assert_eq!(
        moves(&me, "3", 101, DisputeStatus::Open).await,
        Taken::Noted(Note::Known)
    );
    assert_eq!((me.balance().await, me.plan().await), (0, me.free));
    // 30 GB were there, 10 are used: 20 of the 25 are taken, 5 are owed.
    let hold = Hold {
        open_disputes: 1,
        owed_bytes: 5 * GB,
    };
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), Some(hold));
    let [on_record] = listed(&me).await.try_into().unwrap();
    assert_eq!(
        (on_record.status, on_record.cents, on_record.owed_bytes),
        (DisputeStatus::Open, GROWTH_MONTH, 5 * GB)
    );
    books_are_in_order(&*db.store).await;
    // Nothing is bought meanwhile, whoever asks.
    assert_eq!(
        db.store.begin_top_up(wish(me.account, 1, at(102))).await.unwrap(),
        Begun::Held
    );
    me.auto(BONUS, 100_000).await;
    assert!(db.store.accounts_to_top_up(None, 10).await.unwrap().is_empty());
    assert_eq!(
        db.store.begin_auto_top_up(me.account, at(102)).await.unwrap(),
        None
    );
    let page = PageWish::Subscribe("price_1".to_owned());
    let begun = db.store.begin_page(me.account, &page, at(102)).await.unwrap();
    assert_eq!(begun, PageBegun::Held);

    assert_eq!(moves(&me, "4", 200, DisputeStatus::Won).await, disputed);
    assert_eq!(
        moves(&me, "5", 150, DisputeStatus::Open).await,
        Taken::Noted(Note::Older)
    );
    assert_eq!(
        (me.balance().await, me.plan().await),
        (BONUS + 15 * GB, me.growth)
    );
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), None);
    assert!(db.store.due_errands(at(201), 10).await.unwrap().is_empty());
    let value = db.number("SELECT value_micros FROM user_plans").await;
    assert_eq!(
        value,
        GROWTH_MONTH * 10_000 - GROWTH_MONTH * 10_000 / 3,
        "as if nothing had been: a third of the bytes took a third of the price along"
    );
    let query = AuditQuery {
        account: Some(me.account),
        action: Some(AuditAction::PaymentDisputed),
        limit: 10,
        ..AuditQuery::default()
    };
    let statuses: Vec<_> = db.store.audit_entries(&query).await.unwrap();
    let statuses: Vec<_> = statuses
        .iter()
        .map(|entry| entry.after["status"].clone())
        .collect();
    assert_eq!(statuses, [json!("won"), json!("open"), json!("inquiry")]);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_lost_dispute_ends_its_subscription_and_what_comes_next_pays_the_debt(db: &Database) {
    let me = subscriber(db).await;
    uses(&me, BONUS + 20 * GB).await;
    moves(&me, "1", 100, DisputeStatus::Lost).await;
    let hold = Hold {
        open_disputes: 0,
        owed_bytes: 20 * GB,
    };
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), Some(hold));
    let [errand] = db
        .store
        .due_errands(at(100), 10)
        .await
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(
        (errand.kind, errand.subject),
        (ErrandKind::EndSubscription, format!("sub_{}", me.account))
    );
    // The renewal that was under way: it pays what is owed first.
    let next = PaidInvoice {
        from: at(30 * 86_400),
        to: at(60 * 86_400),
        ..me.invoice("in_2")
    };
    assert_eq!(
        me.take("2", 200, Change::InvoicePaid(next)).await,
        me.paid(GROWTH_MONTH, GROWTH_BYTES)
    );
    assert_eq!(me.balance().await, 5 * GB);
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), None);
    books_are_in_order(&*db.store).await;
    // The bank changes its mind: nothing was kept of the first payment, so all of it comes back.
    moves(&me, "3", 300, DisputeStatus::Won).await;
    assert_eq!(me.balance().await, 30 * GB);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_debt_is_let_go_once_and_never_given_twice(db: &Database) {
    let me = subscriber(db).await;
    uses(&me, BONUS + 20 * GB).await;
    moves(&me, "1", 100, DisputeStatus::Lost).await;
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let (store, account, entry) = (Arc::clone(&db.store), me.account, forgiveness(&me));
        tries.spawn(async move { store.forgive_debt(account, entry).await.unwrap() });
    }
    let forgiven: Vec<i64> = tries.join_all().await.into_iter().flatten().collect();
    assert_eq!(forgiven, [20 * GB]);
    assert_eq!(db.store.payment_hold(me.account).await.unwrap(), None);
    moves(&me, "2", 200, DisputeStatus::Won).await;
    assert_eq!(me.balance().await, 5 * GB, "what was used is not given again");
    books_are_in_order(&*db.store).await;
}

pub(super) async fn of_a_year_no_month_comes_while_it_is_disputed(db: &Database) {
    let me = Customer::new(db).await;
    let state = SubscriptionState {
        price: me.year.clone(),
        to: at(YEAR),
        ..me.state(SubscriptionStatus::Active)
    };
    me.take("1", 0, Change::Subscription(state)).await;
    let invoice = PaidInvoice {
        price: me.year.clone(),
        subtotal_cents: GROWTH_YEAR,
        paid_cents: GROWTH_YEAR,
        to: at(YEAR),
        ..me.invoice("in_1")
    };
    me.take("2", 0, Change::InvoicePaid(invoice)).await;
    let whole = |status| {
        Change::Disputed(DisputeState {
            cents: GROWTH_YEAR,
            ..dispute(&me, status)
        })
    };
    me.take("3", 10, whole(DisputeStatus::Open)).await;
    assert_eq!(me.balance().await, BONUS);
    for _ in 0..3 {
        db.store.give_due_allowances(at(YEAR / 4), 10).await.unwrap();
    }
    assert_eq!(me.balance().await, BONUS);
    me.take("4", YEAR / 4, whole(DisputeStatus::Won)).await;
    for _ in 0..5 {
        db.store.give_due_allowances(at(YEAR / 4), 10).await.unwrap();
    }
    assert_eq!(
        me.balance().await,
        BONUS + 4 * GROWTH_BYTES,
        "what was due meanwhile follows"
    );
    books_are_in_order(&*db.store).await;
    // A quarter is paid back: so is a quarter of each month, also of those to come.
    let quarter = Change::Refunded(RefundState {
        references: vec![format!("pi_in_1_{}", me.account)],
        customer: Some(me.customer.clone()),
        cents: GROWTH_YEAR / 4,
        currency: "usd".to_owned(),
    });
    me.take("5", YEAR / 4 + 1, quarter).await;
    assert_eq!(me.balance().await, BONUS + 3 * GROWTH_BYTES);
    for _ in 0..12 {
        db.store.give_due_allowances(at(YEAR), 10).await.unwrap();
    }
    assert_eq!(me.balance().await, BONUS + 9 * GROWTH_BYTES);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_dispute_ahead_of_its_payment_comes_again(db: &Database) {
    let me = Customer::new(db).await;
    let early = me.event("1", 2, Change::Disputed(dispute(&me, DisputeStatus::Open)));
    let taken = db.store.take_payment_event(&early, me.free).await.unwrap();
    assert_eq!(taken, Taken::TooEarly);
    me.take("2", 1, Change::InvoicePaid(me.invoice("in_1"))).await;
    let taken = db.store.take_payment_event(&early, me.free).await.unwrap();
    assert_eq!(taken, me.done(Effect::Disputed));
    let late = iploop_platform::billing::PaymentEvent {
        now: early.now.plus(Duration::from_secs(3_600)),
        id: "evt_strange".to_owned(),
        change: Change::Disputed(DisputeState {
            id: "dp_strange".to_owned(),
            references: vec!["pi_strange".to_owned()],
            ..dispute(&me, DisputeStatus::Open)
        }),
        ..early
    };
    let taken = db.store.take_payment_event(&late, me.free).await.unwrap();
    assert_eq!(taken, Taken::Noted(Note::UnknownPayment));
    let begun = db.store.begin_top_up(wish(me.account, 1, at(3))).await.unwrap();
    assert_eq!(begun, Begun::Held);
    books_are_in_order(&*db.store).await;
}

/// Whatever the order of events, with what is used and bought between them: the purse ends where the newest states say.
pub(super) async fn any_order_of_disputes_and_refunds_ends_in_the_same_purse(db: &Database) {
    const STATES: [DisputeStatus; 3] = [DisputeStatus::Open, DisputeStatus::Won, DisputeStatus::Lost];
    let mut random = 17;
    for round in 0..12 {
        let me = Customer::new(db).await;
        me.take(&format!("p{round}"), 0, Change::InvoicePaid(me.invoice("in_1")))
            .await;
        let mut events: Vec<(i64, Change)> = (1..=4)
            .map(|second| {
                let status = STATES[usize::try_from(rand_below(&mut random, 3)).unwrap()];
                (second * 10, Change::Disputed(dispute(&me, status)))
            })
            .collect();
        let newest = events[3].clone();
        let refund = RefundState {
            references: vec![format!("pi_in_1_{}", me.account)],
            customer: Some(me.customer.clone()),
            cents: GROWTH_MONTH / 5,
            currency: "usd".to_owned(),
        };
        if round % 2 == 0 {
            events.push((45, Change::Refunded(refund)));
        }
        for index in (1..events.len()).rev() {
            let other = rand_below(&mut random, u64::try_from(index).unwrap() + 1);
            events.swap(index, usize::try_from(other).unwrap());
        }
        for (number, (second, change)) in events.into_iter().enumerate() {
            me.take(&format!("{round}_{number}"), second, change).await;
        }
        let Change::Disputed(newest) = newest.1 else {
            panic!("a dispute")
        };
        let share = if round % 2 == 0 { 4 } else { 5 };
        let kept = if newest.status.is_taken() {
            0
        } else {
            GROWTH_BYTES / 5 * share
        };
        assert_eq!(me.balance().await, BONUS + kept, "round {round}: {newest:?}");
        books_are_in_order(&*db.store).await;
    }
}

/// A linear congruential generator: the same order in every run.
fn rand_below(random: &mut u64, below: u64) -> u64 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) % below
}

pub(super) async fn one_dispute_in_many_parallel_deliveries_takes_once(db: &Database) {
    let me = Arc::new(subscriber(db).await);
    let mut deliveries = JoinSet::new();
    for number in 0..20 {
        let me = Arc::clone(&me);
        // Half of them are the same event, the others tell the same under ids of their own.
        let id = if number % 2 == 0 {
            "same".to_owned()
        } else {
            format!("n{number}")
        };
        deliveries.spawn(async move { moves(&me, &id, 100, DisputeStatus::Open).await });
    }
    let taken = deliveries.join_all().await;
    let disputed = me.done(Effect::Disputed);
    assert_eq!(
        taken.iter().filter(|taken| **taken == disputed).count(),
        1,
        "{taken:?}"
    );
    assert_eq!(me.balance().await, BONUS);
    assert_eq!(listed(&me).await.len(), 1);
    let begun = db
        .store
        .begin_top_up(wish(me.account, 500, Timestamp::from_millis(0)))
        .await;
    assert!(matches!(begun, Ok(Begun::Held)), "{begun:?}");
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_top_up_that_was_begun_is_booked_and_pays_the_debt(db: &Database) {
    let me = subscriber(db).await;
    let Begun::Payment(payment) = db.store.begin_top_up(wish(me.account, 500, at(1))).await.unwrap() else {
        panic!("it may begin")
    };
    uses(&me, BONUS + GROWTH_BYTES).await;
    moves(&me, "1", 100, DisputeStatus::Open).await;
    assert_eq!(
        me.take("2", 110, Change::Paid(receipt(&payment))).await,
        me.paid(500, GB)
    );
    assert_eq!(me.balance().await, 0);
    let owed = db
        .store
        .payment_hold(me.account)
        .await
        .unwrap()
        .unwrap()
        .owed_bytes;
    assert_eq!(owed, GROWTH_BYTES - GB);
    books_are_in_order(&*db.store).await;
}
