//! Collecting for the subscriptions of accounts that are suspended, and go on.

use iploop_platform::abuse::{AuditAction, Told};
use iploop_platform::account::AccountStatus;
use iploop_platform::admin::UserChange;
use iploop_platform::billing::{Change, Errand, ErrandKind, SubscriptionStatus};
use iploop_platform::ids::AccountId;

use super::audit::record;
use super::billing::Customer;
use super::{Database, at};

use AccountStatus::{Active, Deleted, Suspended};
use ErrandKind::{DeleteCustomer, EndSubscription, PauseCollection, ResumeCollection};

async fn becomes(db: &Database, account: AccountId, to: AccountStatus) {
    let from = if to == Active { Suspended } else { Active };
    let entry = record(AuditAction::AccountSuspended);
    let moved = db
        .store
        .set_account_status(account, from, to, entry, &Told::Nobody);
    assert!(moved.await.unwrap());
}

async fn becomes_by_an_admin(db: &Database, account: AccountId, to: AccountStatus) {
    let changes = vec![(UserChange::Status(to), record(AuditAction::AccountSuspended))];
    db.store.change_user(account, changes).await.unwrap();
}

async fn subscribes(me: &Customer, status: SubscriptionStatus) {
    me.take("sub", 0, Change::Subscription(me.state(status))).await;
}

async fn due(db: &Database) -> Vec<Errand> {
    db.store.due_errands(at(1_000), 10).await.unwrap()
}

async fn kinds(db: &Database) -> Vec<ErrandKind> {
    due(db).await.iter().map(|errand| errand.kind).collect()
}

/// The one errand that is due.
async fn only(db: &Database) -> Errand {
    let [errand] = due(db).await.try_into().unwrap();
    errand
}

pub(super) async fn a_suspended_accounts_subscription_is_paused_and_goes_on_with_it(db: &Database) {
    let me = Customer::new(db).await;
    becomes(db, me.account, Suspended).await;
    assert_eq!(kinds(db).await, [], "it has none");
    becomes(db, me.account, Active).await;
    assert_eq!(kinds(db).await, []);

    subscribes(&me, SubscriptionStatus::Active).await;
    for by_admin in [false, true, false] {
        for (to, kind) in [(Suspended, PauseCollection), (Active, ResumeCollection)] {
            if by_admin {
                becomes_by_an_admin(db, me.account, to).await;
            } else {
                becomes(db, me.account, to).await;
            }
            let errand = only(db).await;
            assert_eq!((errand.kind, errand.account, errand.tries), (kind, me.account, 0));
            assert_eq!(errand.subject, format!("sub_{}", me.account));
            db.store.errand_done(&errand, at(6)).await.unwrap();
            assert_eq!(kinds(db).await, []);
        }
    }
    let over = me.state(SubscriptionStatus::Cancelled);
    me.take("over", 10, Change::Subscription(over)).await;
    becomes(db, me.account, Suspended).await;
    assert_eq!(kinds(db).await, [], "there is nothing to collect for");
}

pub(super) async fn the_last_word_counts_whatever_the_provider_heard_in_between(db: &Database) {
    let me = Customer::new(db).await;
    subscribes(&me, SubscriptionStatus::Active).await;
    becomes(db, me.account, Suspended).await;
    let pause = only(db).await;
    // Reinstated while the provider is asked to pause; another server is faster with the end of it.
    becomes(db, me.account, Active).await;
    let resume = only(db).await;
    assert_eq!(resume.kind, ResumeCollection);
    db.store.errand_done(&resume, at(6)).await.unwrap();
    assert_eq!(kinds(db).await, []);
    db.store.errand_done(&pause, at(7)).await.unwrap();
    assert_eq!(only(db).await, resume, "the pause may have been heard last");
    db.store.errand_done(&resume, at(8)).await.unwrap();
    db.store.errand_failed(&pause, "no answer", at(9)).await.unwrap();
    assert_eq!(only(db).await, resume, "so may one that got no answer");
    db.store.errand_done(&resume, at(10)).await.unwrap();
    becomes(db, me.account, Suspended).await;
    assert_eq!(only(db).await, pause);
}

pub(super) async fn a_subscription_of_an_account_that_is_suspended_is_paused_however_both_meet(
    db: &Database,
) {
    let me = Customer::new(db).await;
    becomes(db, me.account, Suspended).await;
    subscribes(&me, SubscriptionStatus::Incomplete).await;
    assert_eq!(kinds(db).await, []);
    let paid = me.state(SubscriptionStatus::Active);
    me.take("paid", 1, Change::Subscription(paid)).await;
    let errand = only(db).await;
    assert_eq!(errand.kind, PauseCollection);
    db.store.errand_done(&errand, at(2)).await.unwrap();
    let told = me.state(SubscriptionStatus::Active);
    me.take("told", 3, Change::Subscription(told)).await;
    assert_eq!(kinds(db).await, [], "the provider tells of the pause itself");

    for _ in 0..8 {
        let other = Customer::new(db).await;
        tokio::join!(
            becomes(db, other.account, Suspended),
            subscribes(&other, SubscriptionStatus::Active)
        );
        let errand = only(db).await;
        assert_eq!((errand.kind, errand.account), (PauseCollection, other.account));
        db.store.errand_done(&errand, at(2)).await.unwrap();
    }
}

pub(super) async fn a_deleted_accounts_subscription_is_ended_and_not_resumed(db: &Database) {
    let me = Customer::new(db).await;
    subscribes(&me, SubscriptionStatus::Active).await;
    becomes(db, me.account, Suspended).await;
    becomes_by_an_admin(db, me.account, Deleted).await;
    let mut left = kinds(db).await;
    left.sort_by_key(|kind| kind.as_str());
    assert_eq!(left, [DeleteCustomer, EndSubscription]);
}
