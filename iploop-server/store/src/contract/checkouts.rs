//! Pages for paying, subscriptions that come twice, and errands to the provider. After every scenario the books are in order.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::billing::{
    Begun, Change, Effect, Errand, ErrandKind, MAX_TRIES, NewPayment, Note, OpenPage, PAGE_LIFE, Page,
    PageBegun, PageWish, SubscriptionState, SubscriptionStatus, Taken,
};
use iploop_platform::ids::{AccountId, AuditId};
use tokio::task::JoinSet;

use super::billing::{Customer, GB, GROWTH_BYTES, GROWTH_MONTH, receipt};
use super::books::books_are_in_order;
use super::{BONUS, Database, at};

fn price(name: &str) -> PageWish {
    PageWish::Subscribe(name.to_owned())
}

fn top_up(cents: i64) -> PageWish {
    PageWish::TopUp { bytes: GB, cents }
}

async fn begin(db: &Database, account: AccountId, wish: &PageWish, seconds: i64) -> PageBegun {
    db.store.begin_page(account, wish, at(seconds)).await.unwrap()
}

async fn new_page(db: &Database, account: AccountId, wish: &PageWish, seconds: i64) -> Page {
    match begin(db, account, wish, seconds).await {
        PageBegun::New(page) => page,
        other => panic!("{other:?}"),
    }
}

fn made(name: &str) -> OpenPage {
    OpenPage {
        session: format!("cs_{name}"),
        url: format!("https://till.test/{name}"),
    }
}

async fn errands(db: &Database, seconds: i64) -> Vec<(ErrandKind, String)> {
    let due = db.store.due_errands(at(seconds), 10).await.unwrap();
    due.into_iter()
        .map(|errand| (errand.kind, errand.subject))
        .collect()
}

pub(super) async fn an_account_has_one_page_and_finds_it_again(db: &Database) {
    let me = Customer::new(db).await;
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let (store, account) = (Arc::clone(&db.store), me.account);
        tries.spawn(async move { store.begin_page(account, &price("a"), at(0)).await.unwrap() });
    }
    let begun = tries.join_all().await;
    assert!(begun.iter().all(|one| *one == begun[0]), "{begun:?}");
    let page = new_page(db, me.account, &price("a"), 1).await;
    assert_eq!(page.expires_at, at(0).plus(PAGE_LIFE));
    assert!(db.store.keep_page(me.account, &page, &made("a")).await.unwrap());
    let open = PageBegun::Open(made("a").url);
    assert_eq!(begin(db, me.account, &price("a"), 2).await, open);

    // Another wish: the page goes first.
    let PageBegun::Replace(errand) = begin(db, me.account, &top_up(500), 3).await else {
        panic!("it is open")
    };
    assert_eq!(
        (errand.kind, errand.subject.as_str(), errand.payment),
        (ErrandKind::ClosePage, "cs_a", None)
    );
    db.store.errand_done(&errand, at(3)).await.unwrap();
    let page = new_page(db, me.account, &top_up(500), 3).await;
    // One that was replaced before it was made is closed once it is.
    let other = new_page(db, me.account, &price("b"), 4).await;
    assert_ne!(page.id, other.id);
    assert!(
        !db.store
            .keep_page(me.account, &page, &made("late"))
            .await
            .unwrap()
    );
    assert_eq!(
        errands(db, 4).await,
        [(ErrandKind::ClosePage, "cs_late".to_owned())]
    );
    // A page with little time left is no page any more.
    assert!(db.store.keep_page(me.account, &other, &made("b")).await.unwrap());
    assert_eq!(
        begin(db, me.account, &price("b"), 3_004).await,
        PageBegun::Open(made("b").url)
    );
    assert!(matches!(
        begin(db, me.account, &price("b"), 3_005).await,
        PageBegun::Replace(_)
    ));
    new_page(db, me.account, &price("b"), 3_604).await;
    assert_eq!(
        begin(db, AccountId::new(), &price("a"), 0).await,
        PageBegun::NoAccount
    );
}

pub(super) async fn a_closed_page_sets_nothing_aside_and_a_paid_one_is_forgotten(db: &Database) {
    let me = Customer::new(db).await;
    db.store.set_spend_cap(me.account, Some(1_000)).await.unwrap();
    let begin_payment = async |page: Page, cents| {
        let wish = NewPayment {
            id: page.id,
            account: me.account,
            bytes: GB,
            cents,
            now: at(0),
        };
        db.store.begin_top_up(wish).await.unwrap()
    };
    let page = new_page(db, me.account, &top_up(600), 0).await;
    let first = begin_payment(page, 600).await;
    assert_eq!(
        begin_payment(page, 600).await,
        first,
        "the same page again is the same payment"
    );
    db.store.keep_page(me.account, &page, &made("a")).await.unwrap();
    let PageBegun::Replace(errand) = begin(db, me.account, &top_up(700), 0).await else {
        panic!("it is open")
    };
    assert_eq!(errand.payment, Some(page.id));
    db.store.errand_done(&errand, at(0)).await.unwrap();
    let page = new_page(db, me.account, &top_up(700), 0).await;
    let Begun::Payment(second) = begin_payment(page, 700).await else {
        panic!("600 are free again")
    };
    db.store.keep_page(me.account, &page, &made("b")).await.unwrap();
    assert_eq!(
        me.take("1", 1, Change::Paid(receipt(&second))).await,
        me.paid(700, GB)
    );
    let page = new_page(db, me.account, &top_up(700), 2).await;
    assert_ne!(page.id, second.id);
    // Somebody paid on the closed one after all: it is booked.
    let Begun::Payment(first) = first else {
        panic!("it began")
    };
    assert_eq!(
        me.take("2", 3, Change::Paid(receipt(&first))).await,
        me.paid(600, GB)
    );
    books_are_in_order(&*db.store).await;
}

/// Another subscription of the same customer, paid.
fn second(me: &Customer) -> (SubscriptionState, iploop_platform::billing::PaidInvoice) {
    let state = SubscriptionState {
        id: format!("sub_two_{}", me.account),
        ..me.state(SubscriptionStatus::Active)
    };
    let invoice = iploop_platform::billing::PaidInvoice {
        subscription: state.id.clone(),
        ..me.invoice("in_two")
    };
    (state, invoice)
}

pub(super) async fn of_two_parallel_subscriptions_one_stays_and_one_is_paid_back(db: &Database) {
    for order in 0..6 {
        let me = Arc::new(Customer::new(db).await);
        let (state, invoice) = second(&me);
        let mut changes = [
            Change::Subscription(me.state(SubscriptionStatus::Active)),
            Change::InvoicePaid(me.invoice("in_1")),
            Change::Subscription(state),
            Change::InvoicePaid(invoice),
        ];
        changes.rotate_left(order % 4);
        if order >= 4 {
            changes.reverse();
        }
        let mut deliveries = JoinSet::new();
        for (number, change) in changes.into_iter().enumerate() {
            let me = Arc::clone(&me);
            deliveries.spawn(async move { me.take(&format!("{order}_{number}"), 1, change).await });
        }
        let taken = deliveries.join_all().await;
        let surplus = taken.iter().filter(|taken| **taken == me.done(Effect::Surplus));
        assert_eq!(surplus.count(), 1, "{taken:?}");
        let due = db.store.due_errands(at(1), 10).await.unwrap();
        let kinds: Vec<ErrandKind> = due.iter().map(|errand| errand.kind).collect();
        assert_eq!(
            kinds,
            [ErrandKind::Refund, ErrandKind::EndSubscription],
            "{taken:?}"
        );
        let is_second = due[1].subject.starts_with("sub_two");
        assert_eq!(due[0].subject.contains("in_two"), is_second, "{due:?}");
        for errand in &due {
            db.store.errand_done(errand, at(2)).await.unwrap();
        }
        let refund = Change::Refunded(iploop_platform::billing::RefundState {
            references: vec![due[0].subject.clone()],
            customer: Some(me.customer.clone()),
            cents: GROWTH_MONTH,
            currency: "usd".to_owned(),
        });
        assert_eq!(
            me.take(&format!("{order}_re"), 3, refund).await,
            me.done(Effect::Refunded)
        );
        assert_eq!(
            (me.balance().await, me.plan().await),
            (BONUS + GROWTH_BYTES, me.growth)
        );
        let stays = db.store.subscription(me.account).await.unwrap().unwrap();
        assert_ne!(stays.id, due[1].subject);
        books_are_in_order(&*db.store).await;
    }
}

pub(super) async fn an_invoice_of_a_subscription_that_is_refused_buys_nothing(db: &Database) {
    let me = Customer::new(db).await;
    me.take("1", 1, Change::Subscription(me.state(SubscriptionStatus::Active)))
        .await;
    assert_eq!(begin(db, me.account, &price("a"), 1).await, PageBegun::Subscribed);
    let (state, invoice) = second(&me);
    let refused = me.take("2", 2, Change::Subscription(state.clone())).await;
    assert_eq!(refused, me.done(Effect::Surplus));
    assert_eq!(
        me.take("3", 3, Change::InvoicePaid(invoice.clone())).await,
        Taken::Noted(Note::Surplus)
    );
    assert_eq!(
        me.take("4", 4, Change::InvoicePaid(invoice)).await,
        Taken::Noted(Note::PaidAlready)
    );
    assert_eq!(me.balance().await, BONUS);
    let ended = SubscriptionState {
        status: SubscriptionStatus::Cancelled,
        ..state
    };
    me.take("5", 5, Change::Subscription(ended)).await;
    assert_eq!(
        (me.status().await, me.plan().await),
        (SubscriptionStatus::Active, me.growth)
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_deleted_account_leaves_errands_until_they_are_done(db: &Database) {
    let me = Customer::new(db).await;
    me.take("1", 1, Change::Subscription(me.state(SubscriptionStatus::Active)))
        .await;
    let page = new_page(db, me.account, &top_up(500), 2).await;
    db.store.keep_page(me.account, &page, &made("a")).await.unwrap();
    assert!(errands(db, 3).await.is_empty());
    let entry = AuditEntry {
        id: AuditId::new(),
        at: at(3),
        actor: Actor::System,
        action: AuditAction::AccountDeleted,
        account: Some(me.account),
        subject: me.account.to_string(),
        before: serde_json::Value::Null,
        after: serde_json::Value::Null,
        reason: "by its owner".to_owned(),
    };
    db.store.erase_account(me.account, entry).await.unwrap();
    let due = db.store.due_errands(at(3), 10).await.unwrap();
    let kinds: Vec<ErrandKind> = due.iter().map(|errand| errand.kind).collect();
    assert_eq!(
        kinds,
        [
            ErrandKind::EndSubscription,
            ErrandKind::DeleteCustomer,
            ErrandKind::ClosePage
        ]
    );
    assert_eq!(due[1].subject, me.customer);
    // Two servers tried: one try counts, and it waits.
    for _ in 0..2 {
        db.store
            .errand_failed(&due[1], "nobody answers", at(60))
            .await
            .unwrap();
    }
    let later = |seconds| async move {
        let due = db.store.due_errands(at(seconds), 10).await.unwrap();
        due.into_iter()
            .find(|errand| errand.kind == ErrandKind::DeleteCustomer)
    };
    assert_eq!(later(59).await, None);
    assert_eq!(later(60).await.map(|errand| errand.tries), Some(1));
    for errand in &due {
        let again = Errand {
            tries: 1,
            ..errand.clone()
        };
        db.store.errand_done(&again, at(61)).await.unwrap();
    }
    assert!(errands(db, 10_000_000).await.is_empty());
    // What comes after all is refused.
    let (state, _) = second(&me);
    assert_eq!(
        me.take("2", 70, Change::Subscription(state.clone())).await,
        me.done(Effect::Surplus)
    );
    assert_eq!(errands(db, 70).await, [(ErrandKind::EndSubscription, state.id)]);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_customer_that_is_made_for_a_deleted_account_is_deleted_too(db: &Database) {
    let account = super::new_account(&*db.store).await;
    db.execute("UPDATE users SET status = 'deleted'").await;
    db.store
        .keep_billing_customer(account, "cus_late", at(1))
        .await
        .unwrap();
    assert_eq!(
        errands(db, 1).await,
        [(ErrandKind::DeleteCustomer, "cus_late".to_owned())]
    );
}

pub(super) async fn an_errand_that_never_works_is_left_to_people(db: &Database) {
    let account = super::new_account(&*db.store).await;
    db.execute("UPDATE users SET status = 'deleted'").await;
    db.store
        .keep_billing_customer(account, "cus_1", at(1))
        .await
        .unwrap();
    for tries in 0..MAX_TRIES {
        let [errand] = db.store.due_errands(at(1), 10).await.unwrap().try_into().unwrap();
        assert_eq!(errand.tries, tries);
        db.store
            .errand_failed(&errand, "no such key", at(1))
            .await
            .unwrap();
    }
    assert!(
        db.store
            .due_errands(at(1).plus(Duration::from_secs(1 << 30)), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let left = db
        .number("SELECT COUNT(*) FROM billing_errands WHERE state = 'left'")
        .await;
    assert_eq!(left, 1);
}
