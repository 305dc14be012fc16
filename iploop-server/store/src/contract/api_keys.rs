use iploop_platform::account::{AccountStatus, MailTokenPurpose};
use iploop_platform::api_key::{ApiKeyHash, KeyChange, KeyUsage, NewApiKey};
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId};
use iploop_platform::keys::{KeyLimits, WantedLimits};
use iploop_platform::store::StoreError;
use iploop_platform::usage::UsageRecord;
use tokio::task::JoinSet;

use super::{Database, at, new_account, usage};

pub(super) fn key_request(account: AccountId) -> NewApiKey {
    let id = ApiKeyId::new();
    NewApiKey {
        id,
        account,
        hash: ApiKeyHash::of(&id.to_string()),
        key_prefix: "iploop_0123456".into(),
        name: "scraper".into(),
        ip_whitelist: Vec::new(),
        ip_login: false,
        limits: KeyLimits::default(),
        expires_at: None,
        now: at(0),
    }
}

fn switched_off() -> KeyChange {
    KeyChange {
        is_active: Some(false),
        ..KeyChange::default()
    }
}

fn some_limits() -> KeyLimits {
    let wanted = WantedLimits {
        requests_per_second: Some(5),
        burst: Some(50),
        max_connections: Some(3),
        bytes_per_day: Some(1_000),
        bytes_per_month: Some(2_000),
        bytes_total: Some(i64::MAX.unsigned_abs()),
        countries: vec!["de".into(), "US".into()],
        allow_destinations: vec!["example.com".into(), "2001:db8::/32".into()],
        deny_destinations: vec!["192.0.2.7".into()],
        ports: vec![443, 8443],
    };
    wanted.check().unwrap()
}

pub(super) async fn limits_are_stored_and_changed_apart_from_the_rest(db: &Database) {
    let account = new_account(&*db.store).await;
    let request = NewApiKey {
        limits: some_limits(),
        expires_at: Some(at(90)),
        ..key_request(account)
    };
    let hash = request.hash;
    let key = db.store.create_api_key(request).await.unwrap();
    assert_eq!(key.limits, some_limits());
    let change = async |change: KeyChange| {
        let changed = db.store.change_api_key(account, key.id, change).await;
        let changed = changed.unwrap().unwrap();
        assert_eq!(
            db.store.api_key(account, key.id).await.unwrap(),
            Some(changed.clone())
        );
        changed
    };
    assert_eq!(
        change(KeyChange::default()).await,
        key,
        "nothing asked for, nothing changed"
    );
    let off = change(switched_off()).await;
    assert!(!off.is_active && off.limits == key.limits && off.expires_at == key.expires_at);
    let renamed = KeyChange {
        name: Some("two".into()),
        expires_at: Some(None),
        is_active: Some(true),
        ..KeyChange::default()
    };
    let renamed = change(renamed).await;
    assert_eq!((renamed.name.as_str(), renamed.expires_at), ("two", None));
    assert_eq!(
        db.store.key_grant(hash).await.unwrap().unwrap().key.limits,
        some_limits()
    );
    let unlimited = KeyChange {
        limits: Some(KeyLimits::default()),
        expires_at: Some(Some(at(99))),
        ..KeyChange::default()
    };
    let unlimited = change(unlimited).await;
    assert_eq!(
        (unlimited.limits, unlimited.expires_at),
        (KeyLimits::default(), Some(at(99)))
    );
    assert!(unlimited.is_active);
}

pub(super) async fn the_bytes_of_a_key_are_counted_by_day_by_month_and_in_all(db: &Database) {
    let account = new_account(&*db.store).await;
    let request = NewApiKey {
        limits: some_limits(),
        ..key_request(account)
    };
    let key = db.store.create_api_key(request).await.unwrap();
    let (other, unknown) = (
        db.store.create_api_key(key_request(account)).await.unwrap(),
        ApiKeyId::new(),
    );
    let gateway = GatewayId::new();
    let record = |bytes_down: u64| UsageRecord {
        api_key: key.id,
        bytes_down,
        bytes_up: 1,
        ..usage(account, gateway)
    };
    let used = async |now: Timestamp| {
        let mut known = db.store.key_usage(&[key.id, unknown], now).await.unwrap();
        let known = known.pop().filter(|_| known.is_empty()).unwrap();
        assert_eq!((known.key, &known.limits), (key.id, &key.limits));
        (known.day_bytes, known.month_bytes, known.total_bytes)
    };
    // 24 November 2025.
    let day = at(0).day_start();
    assert_eq!(used(day).await, (0, 0, 0));
    let growing = record(99);
    db.store
        .settle(&[growing.clone(), record(199)], day)
        .await
        .unwrap();
    db.store
        .settle(std::slice::from_ref(&growing), day)
        .await
        .unwrap();
    assert_eq!(used(day).await, (300, 300, 300), "a repetition counts once");
    let grown = UsageRecord {
        bytes_down: 149,
        ..growing
    };
    let free = UsageRecord {
        billable: false,
        ..record(7_777)
    };
    db.store
        .settle(&[grown.clone(), free], day.plus(DAY))
        .await
        .unwrap();
    assert_eq!(used(day.plus(DAY)).await, (50, 350, 350));
    // A gateway whose clock is behind.
    db.store.settle(&[record(9)], day).await.unwrap();
    assert_eq!(used(day.plus(DAY)).await, (60, 360, 360));
    let december = day.next_month();
    assert_eq!(
        used(december).await,
        (0, 0, 360),
        "before anything is booked in it"
    );
    db.store.settle(&[record(4)], december).await.unwrap();
    assert_eq!(used(december).await, (5, 5, 365));
    let given_back = UsageRecord {
        billable: false,
        ended_at: Some(at(50)),
        ..grown
    };
    db.store.settle(&[given_back], december).await.unwrap();
    assert_eq!(used(december).await.2, 215);
    let absurd = record(u64::MAX);
    db.store.settle(&[absurd], december).await.unwrap();
    assert_eq!(used(december).await.2, i64::MAX);
    assert_eq!(
        db.store.key_usage(&[other.id], december).await.unwrap(),
        [KeyUsage {
            key: other.id,
            limits: KeyLimits::default(),
            day_bytes: 0,
            month_bytes: 0,
            total_bytes: 0,
        }]
    );
    assert_eq!(db.store.key_usage(&[], december).await.unwrap(), []);
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
            .change_api_key(stranger, key.id, switched_off())
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
    assert!(!db.store.delete_api_key(stranger, key.id, at(9)).await.unwrap());
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
        .change_api_key(account, key.id, switched_off())
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
    assert!(db.store.delete_api_key(account, keys[0].id, at(9)).await.unwrap());
    assert!(!db.store.delete_api_key(account, keys[0].id, at(9)).await.unwrap());
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
