//! Errands to the payment provider, as admins see them.

use std::time::Duration;

use iploop_platform::abuse::{AuditAction, AuditEntry};
use iploop_platform::billing::{Errand, ErrandKind, ErrandQuery, ErrandRecord, ErrandState, MAX_TRIES};
use serde_json::json;
use tokio::task::JoinSet;

use super::audit::{erasure, newest, record};
use super::{Database, at, new_account};

/// As many errands as accounts that left.
async fn leave(db: &Database, accounts: i64) {
    for n in 0..accounts {
        let account = new_account(&*db.store).await;
        let customer = format!("cus_{n}");
        db.store
            .keep_billing_customer(account, &customer, at(0))
            .await
            .unwrap();
        db.store.erase_account(account, erasure(account)).await.unwrap();
    }
}

async fn list(db: &Database, state: Option<ErrandState>) -> Vec<ErrandRecord> {
    let query = ErrandQuery {
        state,
        after: None,
        limit: 100,
    };
    db.store.errands(&query).await.unwrap()
}

async fn due(db: &Database, seconds: i64) -> Vec<Errand> {
    db.store.due_errands(at(seconds), 10).await.unwrap()
}

fn retry() -> AuditEntry {
    record(AuditAction::ErrandRetried)
}

pub(super) async fn an_errand_that_was_given_up_is_tried_anew_on_record(db: &Database) {
    leave(db, 1).await;
    let kind = ErrandKind::DeleteCustomer;
    for _ in 0..MAX_TRIES {
        let errand = due(db, 10).await.remove(0);
        db.store
            .errand_failed(&errand, "no such thing", at(10))
            .await
            .unwrap();
    }
    assert_eq!(due(db, 1_000).await, []);
    let left = list(db, Some(ErrandState::Left)).await;
    assert_eq!(
        (left[0].errand.tries, left[0].reason.as_deref()),
        (MAX_TRIES, Some("no such thing"))
    );
    assert_eq!(list(db, Some(ErrandState::Waiting)).await, []);

    let mut tries = JoinSet::new();
    for _ in 0..4 {
        let store = db.store.clone();
        tries.spawn(async move { store.retry_errand(kind, "cus_0", retry()).await.unwrap() });
    }
    for retried in tries.join_all().await {
        let retried = retried.unwrap();
        assert_eq!(
            (retried.state, retried.errand.tries, retried.due_at),
            (ErrandState::Waiting, 0, at(5))
        );
    }
    let on_record = newest(db).await;
    assert_eq!(on_record.account, Some(left[0].errand.account));
    assert_eq!(
        on_record.after,
        json!({"kind": "delete_customer", "state": "waiting", "tries": 0})
    );
    let again = due(db, 5).await;
    assert_eq!(again.len(), 1);
    db.store.errand_done(&again[0], at(6)).await.unwrap();
    let records = "SELECT COUNT(*) FROM audit_records";
    let before = db.number(records).await;
    let done = db.store.retry_errand(kind, "cus_0", retry()).await.unwrap();
    assert_eq!(done.unwrap().state, ErrandState::Done, "it stays so");
    for (kind, subject) in [(ErrandKind::Refund, "cus_0"), (kind, "cus_1"), (kind, "")] {
        let unknown = db.store.retry_errand(kind, subject, retry()).await;
        assert_eq!(unknown.unwrap(), None);
    }
    assert_eq!(db.number(records).await, before);
    assert_eq!(due(db, 1_000).await, []);
}

pub(super) async fn errands_come_in_pages_by_kind_and_subject(db: &Database) {
    leave(db, 5).await;
    let mut query = ErrandQuery {
        state: Some(ErrandState::Waiting),
        after: None,
        limit: 2,
    };
    let mut seen = Vec::new();
    loop {
        let page = db.store.errands(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.errand.kind, last.errand.subject.clone()));
        seen.extend(page.into_iter().map(|record| record.errand.subject));
    }
    assert_eq!(seen, ["cus_0", "cus_1", "cus_2", "cus_3", "cus_4"]);
    let errand = due(db, 10).await.remove(0);
    let later = at(10).plus(Duration::from_secs(60));
    db.store.errand_failed(&errand, "busy", later).await.unwrap();
    let all = list(db, None).await;
    let failed = all.iter().find(|record| record.errand.subject == errand.subject);
    let failed = failed.unwrap();
    assert_eq!(
        (failed.state, failed.errand.tries, failed.due_at),
        (ErrandState::Waiting, 1, later)
    );
}
