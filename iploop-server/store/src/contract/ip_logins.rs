use std::net::{IpAddr, Ipv4Addr};

use iploop_platform::api_key::{ApiKey, ApiKeyHash, KeyChange, NewApiKey};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::ip_login::{Claimed, MAX_ADDRESSES, ProvenAddress, UsedAddress};
use iploop_platform::keys::KeyLimits;
use iploop_platform::store::StoreError;
use tokio::task::JoinSet;

use super::{Database, at, new_account};

/// Contract tests of one database run beside each other: each has addresses of its own.
fn address(test: u8, number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(11, test, high, low).into()
}

fn used(account: AccountId, address: IpAddr, seconds: i64) -> UsedAddress {
    UsedAddress {
        address,
        account,
        at: at(seconds),
    }
}

fn held(address: IpAddr, proven: i64, used: i64) -> Claimed {
    Claimed::Held(ProvenAddress {
        address,
        proven_at: at(proven),
        used_at: at(used),
    })
}

const NEVER: Timestamp = Timestamp::from_millis(0);

pub(super) async fn an_address_is_one_accounts_until_it_lapses_or_is_given_up(db: &Database) {
    let (first, second) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let home = address(1, 7);
    let claim = async |account, seconds, lapsed_before| {
        let claim = used(account, home, seconds);
        db.store.claim_address(claim, lapsed_before).await.unwrap()
    };
    assert_eq!(claim(first, 10, NEVER).await, held(home, 10, 10));
    assert_eq!(claim(first, 20, NEVER).await, held(home, 10, 20));
    assert_eq!(claim(second, 30, at(20)).await, Claimed::Taken);
    assert!(!db.store.release_address(second, home).await.unwrap());
    // Not used since then: another's.
    assert_eq!(claim(second, 40, at(21)).await, held(home, 40, 40));
    assert_eq!(claim(first, 41, at(21)).await, Claimed::Taken);
    assert_eq!(db.store.addresses_of(first, NEVER).await.unwrap(), []);
    assert_eq!(db.store.addresses_of(second, at(41)).await.unwrap(), []);
    assert_eq!(db.store.addresses_of(second, NEVER).await.unwrap().len(), 1);
    assert!(db.store.release_address(second, home).await.unwrap());
    assert!(!db.store.release_address(second, home).await.unwrap());
    assert_eq!(claim(first, 50, NEVER).await, held(home, 50, 50));
    // Long before the clock of the other tests.
    let old = used(first, address(1, 8), -9_000);
    db.store.claim_address(old, NEVER).await.unwrap();
    assert_eq!(db.store.forget_addresses(at(-8_999)).await.unwrap(), 1);
    assert_eq!(db.store.addresses_of(first, NEVER).await.unwrap().len(), 1);
}

pub(super) async fn of_parallel_claims_one_succeeds(db: &Database) {
    let mut claims = JoinSet::new();
    for _ in 0..8 {
        let (store, account) = (db.store.clone(), new_account(&*db.store).await);
        claims.spawn(async move { store.claim_address(used(account, address(2, 1), 1), NEVER).await });
    }
    let claims = claims.join_all().await;
    let successes = claims
        .iter()
        .filter(|claim| matches!(claim, Ok(Claimed::Held(_))))
        .count();
    assert_eq!(successes, 1, "{claims:?}");
    assert!(claims.iter().all(Result::is_ok));
}

pub(super) async fn an_account_holds_so_many_and_no_more_also_of_parallel_claims(db: &Database) {
    let account = new_account(&*db.store).await;
    for number in 0..MAX_ADDRESSES - 2 {
        let claim = used(account, address(3, number), 1);
        db.store.claim_address(claim, NEVER).await.unwrap();
    }
    let mut claims = JoinSet::new();
    for number in 0..6 {
        let (store, claim) = (db.store.clone(), used(account, address(3, 1000 + number), 1));
        claims.spawn(async move { store.claim_address(claim, NEVER).await });
    }
    let claims = claims.join_all().await;
    assert_eq!(
        claims.iter().filter(|claim| claim.is_ok()).count(),
        2,
        "{claims:?}"
    );
    let is_limit = |error: &StoreError| matches!(error, StoreError::LimitReached { .. });
    assert!(
        claims
            .iter()
            .filter_map(|claim| claim.as_ref().err())
            .all(is_limit)
    );
    assert_eq!(
        db.store.addresses_of(account, NEVER).await.unwrap().len(),
        MAX_ADDRESSES as usize
    );
}

pub(super) async fn uses_count_for_the_holder_alone(db: &Database) {
    let (holder, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let (home, unknown) = (address(4, 1), address(4, 2));
    db.store
        .claim_address(used(holder, home, 10), NEVER)
        .await
        .unwrap();
    let touches = [used(other, home, 90), used(holder, unknown, 90)];
    db.store.touch_addresses(&touches).await.unwrap();
    let of_holder = async || db.store.addresses_of(holder, NEVER).await.unwrap();
    assert_eq!(of_holder().await[0].used_at, at(10));
    assert_eq!(db.store.addresses_of(other, NEVER).await.unwrap(), []);
    for (seconds, expected) in [(30, 30), (20, 30)] {
        db.store
            .touch_addresses(&[used(holder, home, seconds)])
            .await
            .unwrap();
        assert_eq!(of_holder().await[0].used_at, at(expected));
    }
    db.store.touch_addresses(&[]).await.unwrap();
    assert_eq!(of_holder().await.len(), 1);
}

async fn new_key(db: &Database, account: AccountId, ip_login: bool) -> ApiKey {
    let id = ApiKeyId::new();
    let key = NewApiKey {
        id,
        account,
        hash: ApiKeyHash::of(&id.to_string()),
        key_prefix: "iploop_0123456".into(),
        name: "k".into(),
        ip_whitelist: vec!["11.5.0.0/24".parse().unwrap()],
        ip_login,
        limits: KeyLimits::default(),
        expires_at: None,
        now: at(0),
    };
    let stored = db.store.create_api_key(key).await.unwrap();
    assert_eq!((stored.ip_login, stored.ip_whitelist.len()), (ip_login, 1));
    stored
}

pub(super) async fn addresses_are_listed_beside_each_key_that_is_on_page_by_page(db: &Database) {
    let account = new_account(&*db.store).await;
    let (one, two) = (new_key(db, account, true).await, new_key(db, account, true).await);
    new_key(db, account, false).await;
    for (number, seconds) in [(1, 100), (2, 100), (3, 5)] {
        let claim = used(account, address(5, number), seconds);
        db.store.claim_address(claim, NEVER).await.unwrap();
    }
    let listed = async || {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = db.store.listed_addresses(after, at(6), 1).await.unwrap();
            let Some(last) = page.last() else { return listed };
            after = Some((last.address, last.key));
            listed.extend(page.into_iter().filter(|listed| listed.account == account));
        }
    };
    let keys = [one.id, two.id];
    let first = listed().await;
    let mut pairs: Vec<_> = first.iter().map(|listed| (listed.address, listed.key)).collect();
    pairs.sort_unstable();
    let mut expected: Vec<_> = (1..=2)
        .flat_map(|number| keys.map(|key| (address(5, number), key)))
        .collect();
    expected.sort_unstable();
    assert_eq!(pairs, expected);
    let grant = db.store.key_grant(first[0].hash).await.unwrap().unwrap();
    assert!(grant.key.ip_login && grant.key.id == first[0].key);
    assert_eq!(first[0].whitelist, one.ip_whitelist);
    let change = |change: KeyChange| db.store.change_api_key(account, one.id, change);
    let off = change(KeyChange {
        ip_login: Some(false),
        ..KeyChange::default()
    });
    assert!(!off.await.unwrap().unwrap().ip_login);
    assert_eq!(listed().await.len(), 2);
    let inactive = KeyChange {
        is_active: Some(false),
        ip_login: Some(true),
        ..KeyChange::default()
    };
    assert!(change(inactive).await.unwrap().unwrap().ip_login);
    assert_eq!(listed().await.len(), 2);
}
