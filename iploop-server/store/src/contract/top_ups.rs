//! Top-ups: the cap, and those that nobody asks for. After every scenario the books are in order.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::AuditAction;
use iploop_platform::account::AccountStatus;
use iploop_platform::admin::UserChange;
use iploop_platform::billing::{Begun, Change, Effect, Failed, Note, Payment, Taken};
use iploop_platform::clock::DAY;
use iploop_platform::ids::{AccountId, PaymentId};
use iploop_platform::store::StoreError;
use tokio::task::JoinSet;

use super::audit::erasure;
use super::billing::{Customer, GB, receipt, wish};
use super::books::books_are_in_order;
use super::safeguards::audit;
use super::{BONUS, Database, account_with, at};

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

pub(super) async fn a_top_up_that_the_bank_does_not_make_is_told_once_and_counts_if_it_comes_after_all(
    db: &Database,
) {
    let me = Customer::new(db).await;
    let Begun::Payment(payment) = db.store.begin_top_up(wish(me.account, 500, at(0))).await.unwrap() else {
        panic!("not begun")
    };
    let told = "SELECT COUNT(*) FROM mail_outbox WHERE template = 'payment_failed'";
    let mut events = JoinSet::new();
    for number in 0..20 {
        let event = me.event(&number.to_string(), 1, Change::NotPaid(payment.id));
        let (store, free) = (Arc::clone(&db.store), me.free);
        events.spawn(async move { store.take_payment_event(&event, free).await.unwrap() });
    }
    let taken = events.join_all().await;
    let done = me.done(Effect::NotPaid);
    assert_eq!(taken.iter().filter(|taken| **taken == done).count(), 1);
    assert_eq!((db.number(told).await, me.balance().await), (1, BONUS));
    let settings = db.store.billing_settings(me.account, at(2)).await.unwrap();
    assert_eq!(settings.spent_cents, 0);
    let unknown = me.take("unknown", 1, Change::NotPaid(PaymentId::new())).await;
    assert_eq!(unknown, Taken::Noted(Note::UnknownPayment));
    assert_eq!(
        me.take("paid", 3, Change::Paid(receipt(&payment))).await,
        me.paid(500, GB)
    );
    let late = me.take("late", 1, Change::NotPaid(payment.id)).await;
    assert_eq!(late, Taken::Noted(Note::Known));
    assert_eq!((db.number(told).await, me.balance().await), (1, BONUS + GB));
    books_are_in_order(&*db.store).await;
}

pub(super) async fn an_account_that_is_deleted_or_suspended_is_not_charged(db: &Database) {
    let me = Customer::new(db).await;
    me.auto(BONUS + 1, 100_000).await;
    let is_due = async || {
        let due = db.store.accounts_to_top_up(None, 10).await.unwrap();
        due == [me.account]
    };
    let to = async |status| {
        let entry = audit(AuditAction::AccountSuspended, Some(me.account), 0);
        let change = vec![(UserChange::Status(status), entry)];
        db.store.change_user(me.account, change).await.unwrap();
    };
    assert!(is_due().await);
    to(AccountStatus::Suspended).await;
    assert!(!is_due().await);
    assert_eq!(db.store.begin_auto_top_up(me.account, at(0)).await.unwrap(), None);
    to(AccountStatus::Active).await;
    assert!(is_due().await);
    let under_way = db.store.begin_auto_top_up(me.account, at(0)).await.unwrap();
    assert!(under_way.is_some());
    db.store
        .erase_account(me.account, erasure(me.account))
        .await
        .unwrap();
    assert!(db.store.open_auto_top_ups(at(1), 10).await.unwrap().is_empty());
    assert!(!is_due().await);
    assert_eq!(db.store.begin_auto_top_up(me.account, at(2)).await.unwrap(), None);

    let marked = Customer::new(db).await;
    marked.auto(BONUS + 1, 100_000).await;
    let entry = audit(AuditAction::UserDeleted, Some(marked.account), 0);
    let gone = vec![(UserChange::Status(AccountStatus::Deleted), entry)];
    db.store.change_user(marked.account, gone).await.unwrap();
    assert!(db.store.accounts_to_top_up(None, 10).await.unwrap().is_empty());
    assert_eq!(
        db.store.begin_auto_top_up(marked.account, at(2)).await.unwrap(),
        None
    );
}
