//! Webhooks as their owner makes and changes them, and their secrets.

use std::collections::BTreeSet;

use iploop_platform::events::EventKind;
use iploop_platform::ids::AccountId;
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{DisabledBy, Effort, MAX_WEBHOOKS, StoredChange, Webhook};
use tokio::task::JoinSet;

use super::webhooks::{claim, one_due, read, request, sealed};
use super::{Database, at, new_account};

pub(super) async fn a_webhook_reads_back_and_changes_apart(db: &Database) {
    let (ada, eve) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let made = db
        .store
        .create_webhook(request(ada, &[EventKind::BalanceLow, EventKind::ApiKeyDeleted]))
        .await
        .unwrap();
    assert_eq!(db.store.webhooks(ada).await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(db.store.webhooks(eve).await.unwrap(), []);
    assert_eq!(read(db, ada, made.id).await, made);
    assert!(made.is_active && made.disabled_by.is_none());

    let change = async |account, change| {
        db.store
            .change_webhook(account, made.id, change, at(5))
            .await
            .unwrap()
    };
    let nothing = change(ada, StoredChange::default()).await.unwrap();
    assert_eq!(
        Webhook {
            updated_at: at(0),
            ..nothing
        },
        made
    );
    let other = StoredChange {
        url: Some("https://example.com/other".into()),
        description: Some(None),
        events: Some(BTreeSet::from([EventKind::QuotaWarning])),
        timeout_seconds: Some(None),
        max_retries: Some(Some(0)),
        is_active: Some(false),
    };
    assert_eq!(change(eve, other.clone()).await, None);
    let changed = change(ada, other).await.unwrap();
    assert_eq!(
        (changed.url.as_str(), &changed.description, changed.is_active),
        ("https://example.com/other", &None, false)
    );
    assert_eq!(
        (changed.disabled_by, changed.events.len()),
        (Some(DisabledBy::Owner), 1)
    );
    let effort = Effort {
        timeout_seconds: None,
        max_retries: Some(0),
    };
    assert_eq!(changed.effort, effort);
    assert_eq!(read(db, ada, made.id).await, changed);
    let on = StoredChange {
        is_active: Some(true),
        ..StoredChange::default()
    };
    let on = change(ada, on).await.unwrap();
    assert!(on.is_active && on.disabled_by.is_none());

    assert!(!db.store.delete_webhook(eve, made.id).await.unwrap());
    assert!(db.store.delete_webhook(ada, made.id).await.unwrap());
    assert_eq!(db.store.webhook(ada, made.id).await.unwrap(), None);
}

pub(super) async fn one_webhook_too_many_is_refused_also_of_many_parallel_tries(db: &Database) {
    let account = new_account(&*db.store).await;
    let mut tries = JoinSet::new();
    for _ in 0..MAX_WEBHOOKS + 4 {
        let (store, new) = (db.store.clone(), request(account, &[EventKind::BalanceLow]));
        tries.spawn(async move { store.create_webhook(new).await });
    }
    let refused: Vec<_> = tries
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert_eq!(refused.len(), 4);
    assert!(
        refused
            .iter()
            .all(|error| matches!(error, StoreError::LimitReached { .. }))
    );
}

pub(super) async fn the_secret_before_counts_until_its_end(db: &Database) {
    let (account, webhook, _) = one_due(db).await;
    let secrets = async |now| {
        db.store
            .webhook_secrets(account, webhook, now)
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(secrets(at(0)).await, (b"one".to_vec(), None));
    let rotate = |account| {
        db.store
            .rotate_webhook_secret(account, webhook, sealed("two"), at(100), at(10))
    };
    assert!(!rotate(AccountId::new()).await.unwrap());
    assert!(rotate(account).await.unwrap());
    assert_eq!(secrets(at(99)).await, (b"two".to_vec(), Some(b"one".to_vec())));
    assert_eq!(secrets(at(100)).await, (b"two".to_vec(), None));
    let claim = claim(db, at(20)).await.pop().unwrap();
    assert_eq!(
        (claim.secret, claim.old_secret),
        (b"two".to_vec(), Some(b"one".to_vec()))
    );
    assert_eq!(read(db, account, webhook).await.old_secret_until, Some(at(100)));
    assert!(
        db.store
            .webhook_secrets(AccountId::new(), webhook, at(0))
            .await
            .unwrap()
            .is_none()
    );
}
