use iploop_platform::abuse::AuditAction;
use iploop_platform::clock::Timestamp;
use iploop_platform::device_news::News;
use iploop_platform::ids::{AccountId, GatewayId, NodeId};
use iploop_platform::node::{NodeRegistration, Registered};
use iploop_platform::owners::{CreditRules, HourCounted, NANOS_PER_CREDIT, OwnerQuery};
use iploop_platform::usage::UsageRecord;
use serde_json::json;
use tokio::task::JoinSet;

use super::audit::{erasure, record};
use super::books::books_are_in_order;
use super::nodes::{new_partner, registration};
use super::{Database, account_with, at, usage};

fn rules() -> CreditRules {
    CreditRules {
        device_credits_per_day: 5_000,
        account_credits_per_day: 20_000,
        suspect_devices_per_network: 5,
        suspect_devices_per_asn: 7,
        rare_percent: std::collections::BTreeMap::new(),
    }
}

/// A device that shows `code` until 600 s.
async fn device(db: &Database, device_id: &str, code: &str) -> NodeRegistration {
    let device = registration(new_partner(&*db.store).await, device_id);
    let registered = db.store.register_node(device.clone()).await.unwrap();
    assert!(matches!(registered, Registered::Accepted(_)), "{registered:?}");
    let set = db
        .store
        .set_pairing_code(device_id, "secret", code, at(600))
        .await;
    assert!(set.unwrap());
    device
}

async fn owned(db: &Database, account: AccountId, name: &str) -> NodeId {
    let device = device(db, name, name).await;
    let claimed = db.store.claim_device(account, name, at(1)).await.unwrap();
    assert_eq!(claimed, Some(device.id));
    device.id
}

/// A request of `customer` that the device served in the first hour.
async fn served(db: &Database, customer: AccountId, node: NodeId, bytes: u64) {
    let request = UsageRecord {
        node: Some(node),
        bytes_down: bytes,
        ..usage(customer, GatewayId::new())
    };
    db.store.settle(&[request], at(20)).await.unwrap();
}

async fn count(db: &Database, account: AccountId) -> HourCounted {
    db.store
        .count_credits(account, at(0), &rules(), at(100))
        .await
        .unwrap()
}

pub(super) async fn a_code_claims_a_device_once_of_fifty_parallel_tries(db: &Database) {
    let device = device(db, "device-1", "code").await;
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let account = account_with(&*db.store, 0).await;
        let store = db.store.clone();
        tries.spawn(async move { (account, store.claim_device(account, "code", at(1)).await.unwrap()) });
    }
    let claimed: Vec<_> = tries
        .join_all()
        .await
        .into_iter()
        .filter(|(_, node)| node.is_some())
        .collect();
    assert_eq!(claimed.len(), 1);
    let owned = db.store.owned_devices(claimed[0].0, None, 10).await.unwrap();
    assert_eq!((owned.len(), owned[0].id), (1, device.id));
    assert_eq!(owned[0].consent.as_ref().unwrap()["textVersion"], "2026-02");
}

pub(super) async fn an_expired_or_replaced_code_claims_nothing(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let device = device(db, "device-1", "first").await;
    let set = |secret, code| db.store.set_pairing_code("device-1", secret, code, at(700));
    assert!(!set("another secret", "second").await.unwrap());
    assert!(set("secret", "second").await.unwrap());
    let claim = |code, now: Timestamp| db.store.claim_device(account, code, now);
    assert_eq!(claim("first", at(1)).await.unwrap(), None);
    assert_eq!(claim("second", at(700)).await.unwrap(), None);
    assert_eq!(claim("second", at(699)).await.unwrap(), Some(device.id));
    assert_eq!(claim("second", at(699)).await.unwrap(), None);
}

pub(super) async fn owners_reach_their_own_devices_alone(db: &Database) {
    let (ada, eve) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let node = owned(db, ada, "device-1").await;
    assert_eq!(db.store.owned_devices(eve, None, 10).await.unwrap(), vec![]);
    assert_eq!(db.store.export_device(eve, node).await.unwrap(), None);
    assert!(!db.store.unclaim_device(eve, node, at(2)).await.unwrap());
    let entry = record(AuditAction::DeviceErased);
    assert!(!db.store.erase_device(eve, node, entry).await.unwrap());
    let export = db.store.export_device(ada, node).await.unwrap().unwrap();
    assert_eq!(export["device"]["deviceId"], "device-1");
    assert_eq!(export["device"]["address"], "203.0.113.7");
    assert_eq!(export["consents"][0]["appId"], "com.example.game");
    assert_eq!(db.store.owners(None, 10).await.unwrap(), vec![ada]);
    assert!(db.store.unclaim_device(ada, node, at(2)).await.unwrap());
    assert_eq!(db.store.owners(None, 10).await.unwrap(), vec![]);
}

pub(super) async fn a_code_of_a_connected_device_takes_the_place_of_the_one_before(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let device = device(db, "device-1", "first").await;
    assert!(db.store.set_code_of(device.id, "second", at(700)).await.unwrap());
    let nobody = db.store.set_code_of(NodeId::new(), "third", at(700)).await;
    assert!(!nobody.unwrap());
    let claim = |code| db.store.claim_device(account, code, at(1));
    assert_eq!(claim("first").await.unwrap(), None);
    assert_eq!(claim("second").await.unwrap(), Some(device.id));
    let entry = record(AuditAction::DeviceErased);
    assert!(db.store.erase_device(account, device.id, entry).await.unwrap());
    let erased = db.store.set_code_of(device.id, "fourth", at(700)).await;
    assert!(!erased.unwrap(), "nobody is behind the row");
}

pub(super) async fn a_wish_stands_until_it_or_the_claim_ends(db: &Database) {
    let (ada, eve) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let device = device(db, "device-1", "code").await;
    db.store.claim_device(ada, "code", at(1)).await.unwrap();
    let register = async || db.store.register_node(device.clone()).await.unwrap();
    let wish = async |account, paused| {
        let wish = db.store.wish_pause(account, device.id, paused, at(2));
        wish.await.unwrap()
    };
    assert!(!wish(eve, true).await, "not hers");
    assert_eq!(register().await, Registered::Accepted(device.id));
    assert!(wish(ada, true).await && wish(ada, true).await);
    assert_eq!(register().await, Registered::Paused(device.id));
    assert!(db.store.owned_devices(ada, None, 10).await.unwrap()[0].is_paused);
    assert!(wish(ada, false).await);
    assert_eq!(register().await, Registered::Accepted(device.id));

    assert!(wish(ada, true).await);
    db.store.set_code_of(device.id, "same", at(600)).await.unwrap();
    db.store.claim_device(ada, "same", at(3)).await.unwrap();
    assert_eq!(
        register().await,
        Registered::Paused(device.id),
        "claimed again by its owner"
    );
    db.store.set_code_of(device.id, "other", at(600)).await.unwrap();
    db.store.claim_device(eve, "other", at(3)).await.unwrap();
    assert_eq!(register().await, Registered::Accepted(device.id), "another's now");
    assert!(wish(eve, true).await);
    assert!(db.store.unclaim_device(eve, device.id, at(4)).await.unwrap());
    assert_eq!(register().await, Registered::Accepted(device.id), "nobody's now");
}

pub(super) async fn a_withdrawal_by_the_owner_holds_and_the_claim_stays(db: &Database) {
    let (ada, eve) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let device = device(db, "device-1", "code").await;
    db.store.claim_device(ada, "code", at(1)).await.unwrap();
    let withdraw = async |account| {
        let entry = record(AuditAction::DeviceWithdrawn);
        db.store.withdraw_device(account, device.id, entry).await.unwrap()
    };
    assert!(!withdraw(eve).await);
    assert!(withdraw(ada).await);
    let back = db.store.register_node(device.clone()).await.unwrap();
    assert_eq!(back, Registered::ConsentWithdrawn);
    let owned = db.store.owned_devices(ada, None, 10).await.unwrap();
    assert_eq!(owned[0].consent.as_ref().unwrap()["withdrawnAt"], json!(at(5)));
    let anew = NodeRegistration {
        consent: registration(device.partner, "device-1").consent,
        ..device
    };
    let back = db.store.register_node(anew).await.unwrap();
    assert_eq!(back, Registered::Accepted(device.id));
}

pub(super) async fn an_erased_accounts_devices_are_erased_and_its_credits_gone(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let (first, second) = (
        device(db, "device-1", "first").await,
        device(db, "device-2", "second").await,
    );
    for code in ["first", "second"] {
        db.store.claim_device(account, code, at(1)).await.unwrap();
    }
    served(db, customer, first.id, 15_000_000).await;
    assert_eq!(count(db, account).await, HourCounted::Posted(1));
    db.store.erase_account(account, erasure(account)).await.unwrap();
    for left in [
        "SELECT COUNT(*) FROM nodes WHERE device_id LIKE 'device%' OR ip_address LIKE '203%'",
        "SELECT COUNT(*) FROM consents WHERE device_id LIKE 'device%'",
        "SELECT COUNT(*) FROM device_owners",
        "SELECT COUNT(*) FROM credit_accounts",
        "SELECT COUNT(*) FROM pairing_codes",
    ] {
        assert_eq!(db.number(left).await, 0, "{left}");
    }
    let mut news = db.store.device_news(at(0), 10).await.unwrap();
    news.retain(|news| matches!(news, News::Erased(_)));
    news.sort_by_key(|news| *news != News::Erased(first.id));
    assert_eq!(news, [News::Erased(first.id), News::Erased(second.id)]);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn earned_hours_are_read_page_by_page_latest_first(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let nodes = [
        owned(db, account, "device-1").await,
        owned(db, account, "device-2").await,
    ];
    for node in nodes {
        served(db, customer, node, 10_000_000).await;
    }
    count(db, account).await;
    let mut read = Vec::new();
    let mut after = None;
    loop {
        let page = db.store.earned_hours(account, after, 1).await.unwrap();
        let Some(earned) = page.first() else { break };
        after = Some((earned.hour, earned.node));
        read.push((earned.hour, earned.node, earned.bytes));
    }
    read.sort_by_key(|(_, node, _)| *node);
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].0, at(0));
    assert_eq!([read[0].1, read[1].1], nodes);
    assert!(read[0].2 >= 10_000_000, "{read:?}");
    assert_eq!(db.store.earned_hours(customer, None, 10).await.unwrap(), []);
}

pub(super) async fn the_autonomous_system_of_a_device_counts_for_its_hour(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let mut node = NodeId::new();
    for number in 0..3 {
        node = owned(db, account, &format!("device-{number}")).await;
    }
    db.execute("UPDATE nodes SET ip_address = '10.0.' || SUBSTR(device_id, 8) || '.1'")
        .await;
    db.store.note_device_hours(at(0), at(0), at(0)).await.unwrap();
    served(db, customer, node, 1_000_000_000).await;
    assert_eq!(
        count(db, account).await,
        HourCounted::Posted(100),
        "three networks, one autonomous system"
    );
    db.execute("UPDATE nodes SET asn = CAST(SUBSTR(device_id, 8) AS BIGINT)")
        .await;
    db.store.note_device_hours(at(3_600), at(0), at(0)).await.unwrap();
    let later = UsageRecord {
        node: Some(node),
        bytes_down: 1_000_000_000,
        started_at: at(3_700),
        ..usage(customer, GatewayId::new())
    };
    db.store.settle(&[later], at(3_800)).await.unwrap();
    let counted = db
        .store
        .count_credits(account, at(3_600), &rules(), at(9_000))
        .await
        .unwrap();
    assert_eq!(counted, HourCounted::Posted(200), "three of each");
    books_are_in_order(&*db.store).await;
}

pub(super) async fn an_erased_device_leaves_nothing_that_leads_to_it_and_its_withdrawal_holds(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let device = device(db, "device-1", "code").await;
    db.store.claim_device(account, "code", at(1)).await.unwrap();
    db.store.note_device_hours(at(0), at(0), at(0)).await.unwrap();
    let entry = record(AuditAction::DeviceErased);
    assert!(db.store.erase_device(account, device.id, entry).await.unwrap());
    for left in [
        "SELECT COUNT(*) FROM nodes WHERE device_id = 'device-1' OR ip_address LIKE '203%' OR city IS NOT NULL
             OR latitude_tenths IS NOT NULL OR longitude_tenths IS NOT NULL OR carrier IS NOT NULL",
        "SELECT COUNT(*) FROM consents WHERE device_id = 'device-1'",
        "SELECT COUNT(*) FROM device_hours",
        "SELECT COUNT(*) FROM device_owners",
    ] {
        assert_eq!(db.number(left).await, 0, "{left}");
    }
    let again = NodeRegistration {
        id: NodeId::new(),
        ..device
    };
    let back = db.store.register_node(again).await.unwrap();
    assert_eq!(back, Registered::ConsentWithdrawn);
}

pub(super) async fn an_hour_earns_once_also_of_parallel_tries(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let node = owned(db, account, "device-1").await;
    db.store.note_device_hours(at(0), at(0), at(0)).await.unwrap();
    served(db, customer, node, 1_000_000_000).await;
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let store = db.store.clone();
        tries.spawn(async move {
            store
                .count_credits(account, at(0), &rules(), at(100))
                .await
                .unwrap()
        });
    }
    let counted = tries.join_all().await;
    let posted = counted
        .iter()
        .filter(|counted| **counted == HourCounted::Posted(100));
    assert_eq!(posted.count(), 1, "{counted:?}");
    assert_eq!(db.store.credits(account).await.unwrap().credits, 100);
    assert_eq!(db.store.credit_hour(at(0)).await.unwrap(), at(0));
    db.store.finish_credit_hour(at(3600)).await.unwrap();
    db.store.finish_credit_hour(at(0)).await.unwrap();
    assert_eq!(db.store.credit_hour(at(0)).await.unwrap(), at(3600));
    books_are_in_order(&*db.store).await;
}

pub(super) async fn own_traffic_banned_devices_and_later_claims_earn_nothing(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let node = owned(db, account, "device-1").await;
    served(db, account, node, 1_000_000_000).await;
    assert_eq!(count(db, account).await, HourCounted::Nothing, "its own traffic");
    served(db, customer, node, 1_000_000_000).await;
    db.execute("UPDATE device_owners SET claimed_at = claimed_at + 86400000")
        .await;
    assert_eq!(
        count(db, account).await,
        HourCounted::Nothing,
        "claimed a day later"
    );
    db.execute("UPDATE device_owners SET claimed_at = claimed_at - 86400000")
        .await;
    db.execute("UPDATE nodes SET status = 'banned'").await;
    assert_eq!(count(db, account).await, HourCounted::Nothing, "banned");
    db.execute("UPDATE nodes SET status = 'available'").await;
    assert_eq!(
        count(db, account).await,
        HourCounted::Nothing,
        "that hour is counted"
    );
    assert_eq!(db.store.credits(account).await.unwrap().credits, 0);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn parts_of_a_credit_wait_until_they_are_whole(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let node = owned(db, account, "device-1").await;
    served(db, customer, node, 15_000_001).await;
    assert_eq!(count(db, account).await, HourCounted::Posted(1));
    let credits = db.store.credits(account).await.unwrap();
    assert_eq!(
        (credits.credits, credits.pending_nanos, credits.held),
        (1, 500_000_100, None)
    );
    let later = UsageRecord {
        node: Some(node),
        bytes_down: 5_000_000,
        started_at: at(3_700),
        ..usage(customer, GatewayId::new())
    };
    db.store.settle(&[later], at(3_800)).await.unwrap();
    let counted = db
        .store
        .count_credits(account, at(3_600), &rules(), at(9_000))
        .await
        .unwrap();
    assert_eq!(counted, HourCounted::Posted(1));
    assert_eq!(db.store.credits(account).await.unwrap().pending_nanos, 100);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_farm_is_held_until_an_admin_lets_it_go(db: &Database) {
    let (account, customer) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let mut node = NodeId::new();
    for number in 0..6 {
        node = owned(db, account, &format!("device-{number}")).await;
    }
    db.store.note_device_hours(at(0), at(0), at(0)).await.unwrap();
    served(db, customer, node, 1_000_000_000).await;
    assert_eq!(count(db, account).await, HourCounted::Posted(0));
    let credits = db.store.credits(account).await.unwrap();
    assert_eq!(
        (credits.credits, credits.pending_nanos),
        (0, 100 * NANOS_PER_CREDIT)
    );
    assert_eq!(credits.held.as_deref(), Some("many devices on one network"));
    let hold = |is_held| {
        db.store
            .hold_credits(account, is_held, record(AuditAction::CreditsReleased))
    };
    assert!(!hold(true).await.unwrap());
    assert!(hold(false).await.unwrap());
    let credits = db.store.credits(account).await.unwrap();
    assert_eq!(
        (credits.credits, credits.pending_nanos, credits.held),
        (100, 0, None)
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn owners_are_listed_with_what_they_earned_and_whether_it_waits(db: &Database) {
    let mut owners = Vec::new();
    for number in 0..3 {
        let account = account_with(&*db.store, 0).await;
        owned(db, account, &format!("device-{number}")).await;
        owners.push(account);
    }
    let [ada, eve, grace] = owners[..] else {
        panic!("three")
    };
    let customer = account_with(&*db.store, 0).await;
    let node = owned(db, ada, "device-4").await;
    served(db, customer, node, 15_000_000).await;
    count(db, ada).await;
    let held = db
        .store
        .hold_credits(eve, true, record(AuditAction::CreditsHeld))
        .await;
    assert!(held.unwrap());
    let listed = async |is_held, after, limit| {
        let query = OwnerQuery {
            is_held,
            after,
            limit,
        };
        db.store.owner_records(&query).await.unwrap()
    };
    let all = listed(None, None, 10).await;
    let accounts: Vec<AccountId> = all.iter().map(|owner| owner.account).collect();
    assert_eq!(accounts, owners, "no customers");
    let first = &all[0];
    assert_eq!(first.devices, 2);
    assert_eq!(first.balance, db.store.credits(ada).await.unwrap());
    assert_eq!(
        (first.balance.credits, first.balance.pending_nanos),
        (1, 500_000_000)
    );
    assert!(first.email.ends_with("@Example.com"), "{}", first.email);
    let waiting = listed(Some(true), None, 10).await;
    assert_eq!((waiting.len(), waiting[0].account), (1, eve));
    assert_eq!(waiting[0].balance.held.as_deref(), Some("because"));
    let others = listed(Some(false), None, 10).await;
    assert_eq!(
        others.iter().map(|owner| owner.account).collect::<Vec<_>>(),
        [ada, grace]
    );
    assert_eq!(listed(None, Some(ada), 1).await, all[1..2]);
    db.store.erase_account(eve, erasure(eve)).await.unwrap();
    assert_eq!(listed(Some(true), None, 10).await, []);
}
