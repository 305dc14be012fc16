use iploop_platform::account::{AccountStatus, MailTokenPurpose};
use iploop_platform::api_key::{ApiKeyHash, NewApiKey};
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId};
use iploop_platform::store::StoreError;
use tokio::task::JoinSet;

use super::{Database, at, new_account, usage};

fn key_request(account: AccountId) -> NewApiKey {
    let id = ApiKeyId::new();
    NewApiKey {
        id,
        account,
        hash: ApiKeyHash::of(&id.to_string()),
        key_prefix: "iploop_0123456".into(),
        name: "scraper".into(),
        expires_at: None,
        now: at(0),
    }
}

pub(super) async fn a_new_key_is_active_and_listed_oldest_first(db: &Database) {
    let account = new_account(&*db.store).await;
    let later = NewApiKey {
        now: at(2),
        expires_at: Some(at(90)),
        ..key_request(account)
    };
    let earlier = NewApiKey {
        now: at(1),
        ..key_request(account)
    };
    let later = db.store.create_api_key(later).await.unwrap();
    let earlier = db.store.create_api_key(earlier).await.unwrap();
    assert!(later.is_active && later.ip_whitelist.is_empty() && later.last_used_at.is_none());
    assert_eq!((later.created_at, later.expires_at), (at(2), Some(at(90))));
    assert_eq!(
        (later.key_prefix.as_str(), later.name.as_str()),
        ("iploop_0123456", "scraper")
    );
    assert_eq!(
        db.store.api_key(account, later.id).await.unwrap(),
        Some(later.clone())
    );
    assert_eq!(db.store.api_keys(account).await.unwrap(), [earlier, later]);
}

pub(super) async fn a_sixth_key_is_refused_also_of_many_parallel_tries(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let store = db.store.clone();
        tries.spawn(async move { store.create_api_key(key_request(account)).await });
    }
    let results = tries.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    let refused = |result: &&Result<_, _>| matches!(result, Err(StoreError::LimitReached { limit: 5, .. }));
    assert_eq!(results.iter().filter(refused).count(), 45);
    assert_eq!(db.store.api_keys(account).await.unwrap().len(), 5);
    db.store.create_api_key(key_request(other)).await.unwrap();
}

pub(super) async fn a_hash_belongs_to_one_key(db: &Database) {
    let account = new_account(&*db.store).await;
    let first = key_request(account);
    let again = NewApiKey {
        hash: first.hash,
        ..key_request(account)
    };
    db.store.create_api_key(first).await.unwrap();
    let refused = db.store.create_api_key(again).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { what: "api_key" })),
        "{refused:?}"
    );
}

pub(super) async fn a_key_of_another_account_is_out_of_reach(db: &Database) {
    let (owner, stranger) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let key = db.store.create_api_key(key_request(owner)).await.unwrap();
    assert_eq!(db.store.api_key(stranger, key.id).await.unwrap(), None);
    assert_eq!(
        db.store
            .set_api_key_active(stranger, key.id, false)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        db.store
            .set_api_key_whitelist(stranger, key.id, &[])
            .await
            .unwrap(),
        None
    );
    assert!(!db.store.delete_api_key(stranger, key.id).await.unwrap());
    assert_eq!(db.store.api_keys(stranger).await.unwrap(), []);
    assert_eq!(db.store.api_key(owner, key.id).await.unwrap(), Some(key));
}

pub(super) async fn a_whitelist_is_stored_and_read_back(db: &Database) {
    let account = new_account(&*db.store).await;
    let key = db.store.create_api_key(key_request(account)).await.unwrap();
    let whitelist = [
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8::7/128".parse().unwrap(),
    ];
    let changed = db
        .store
        .set_api_key_whitelist(account, key.id, &whitelist)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changed.ip_whitelist, whitelist);
    assert_eq!(db.store.api_key(account, key.id).await.unwrap(), Some(changed));
    let off = db
        .store
        .set_api_key_active(account, key.id, false)
        .await
        .unwrap()
        .unwrap();
    assert!(!off.is_active);
    let cleared = db
        .store
        .set_api_key_whitelist(account, key.id, &[])
        .await
        .unwrap()
        .unwrap();
    assert!(cleared.ip_whitelist.is_empty() && !cleared.is_active);
}

pub(super) async fn a_deleted_key_makes_room_and_its_usage_stays(db: &Database) {
    let account = new_account(&*db.store).await;
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(db.store.create_api_key(key_request(account)).await.unwrap());
    }
    let mut record = usage(account, GatewayId::new());
    record.api_key = keys[0].id;
    db.store.settle(&[record.clone()], at(1)).await.unwrap();
    assert!(db.store.delete_api_key(account, keys[0].id).await.unwrap());
    assert!(!db.store.delete_api_key(account, keys[0].id).await.unwrap());
    assert_eq!(db.store.recent_usage(account, 10).await.unwrap(), [record]);
    db.store.create_api_key(key_request(account)).await.unwrap();
}

pub(super) async fn a_grant_has_key_account_and_plan(db: &Database) {
    let account = new_account(&*db.store).await;
    let request = NewApiKey {
        expires_at: Some(at(99)),
        ..key_request(account)
    };
    let hash = request.hash;
    assert!(db.store.key_grant(hash).await.unwrap().is_none());
    let key = db.store.create_api_key(request).await.unwrap();

    let grant = db.store.key_grant(hash).await.unwrap().unwrap();
    assert_eq!(grant.key, key);
    assert_eq!(
        (grant.account_status, grant.email_verified),
        (AccountStatus::Active, false)
    );
    assert_eq!(Some(grant.plan), db.store.plan_of(account).await.unwrap());

    db.store
        .create_mail_token(account, MailTokenPurpose::VerifyEmail, "token", at(0), at(60))
        .await
        .unwrap();
    db.store.verify_email("token", at(1)).await.unwrap();
    db.execute("UPDATE users SET status = 'suspended'").await;
    let grant = db.store.key_grant(hash).await.unwrap().unwrap();
    assert_eq!(
        (grant.account_status, grant.email_verified),
        (AccountStatus::Suspended, true)
    );
}

pub(super) async fn the_latest_use_of_a_key_stands(db: &Database) {
    let account = new_account(&*db.store).await;
    let used = db.store.create_api_key(key_request(account)).await.unwrap();
    let unused = db.store.create_api_key(key_request(account)).await.unwrap();
    db.store.touch_api_keys(&[]).await.unwrap();
    db.store
        .touch_api_keys(&[(used.id, at(3)), (used.id, at(5)), (used.id, at(4))])
        .await
        .unwrap();
    db.store
        .touch_api_keys(&[(used.id, at(2)), (ApiKeyId::new(), at(9))])
        .await
        .unwrap();
    assert_eq!(
        db.store
            .api_key(account, used.id)
            .await
            .unwrap()
            .unwrap()
            .last_used_at,
        Some(at(5))
    );
    assert_eq!(
        db.store
            .api_key(account, unused.id)
            .await
            .unwrap()
            .unwrap()
            .last_used_at,
        None
    );
}

pub(super) async fn parallel_touches_in_any_order_all_land(db: &Database) {
    let account = new_account(&*db.store).await;
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(db.store.create_api_key(key_request(account)).await.unwrap().id);
    }
    let mut touches = JoinSet::new();
    for second in 1..=30 {
        keys.rotate_left(2);
        if second % 2 == 0 {
            keys.reverse();
        }
        let used: Vec<_> = keys.iter().map(|&key| (key, at(second))).collect();
        let store = db.store.clone();
        touches.spawn(async move { store.touch_api_keys(&used).await.unwrap() });
    }
    touches.join_all().await;
    for key in db.store.api_keys(account).await.unwrap() {
        assert_eq!(key.last_used_at, Some(at(30)));
    }
}
