//! Devices that nobody heard of for long.

use iploop_platform::abuse::AuditAction;
use iploop_platform::admin::{Ban, NodeQuery, NodeStatus};
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::ids::{GatewayId, NodeId};
use iploop_platform::node::{NodeRegistration, Registered};
use iploop_platform::usage::UsageRecord;
use tokio::task::JoinSet;

use super::books::books_are_in_order;
use super::nodes::{new_partner, registered, registration};
use super::safeguards::audit;
use super::{Database, account_with, at, usage};

async fn remove(db: &Database, before: Timestamp) -> u64 {
    db.store
        .remove_silent_devices(before, at(100), 100)
        .await
        .unwrap()
}

async fn found(db: &Database, status: Option<NodeStatus>) -> Vec<NodeId> {
    let query = NodeQuery {
        status,
        limit: 10,
        ..NodeQuery::default()
    };
    let page = db.store.node_page(&query, at(100)).await.unwrap();
    page.rows.iter().map(|node| node.id).collect()
}

pub(super) async fn a_device_that_is_silent_for_long_is_removed_and_its_books_stay(db: &Database) {
    let owner = account_with(&*db.store, 0).await;
    let (device, silent) = registered(db, "device-1").await;
    let set = db.store.set_pairing_code("device-1", "secret", "code", at(600));
    assert!(set.await.unwrap());
    db.store.claim_device(owner, "code", at(1)).await.unwrap();
    db.store.note_device_hours(at(0), at(0), at(0)).await.unwrap();
    let record = UsageRecord {
        node: Some(silent),
        bytes_down: 1_000,
        ..usage(account_with(&*db.store, 5_000).await, GatewayId::new())
    };
    db.store.settle(&[record], at(20)).await.unwrap();
    let later = NodeRegistration {
        now: at(50),
        ..registration(new_partner(&*db.store).await, "device-2")
    };
    let Registered::Accepted(heard) = db.store.register_node(later).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(remove(db, at(1)).await, 0, "heard of just then");
    assert_eq!(remove(db, at(50)).await, 1);
    assert_eq!(remove(db, at(50)).await, 0, "once");
    for left in [
        "SELECT COUNT(*) FROM nodes WHERE device_id = 'device-1'",
        "SELECT COUNT(*) FROM nodes WHERE status = 'inactive' AND (ip_address LIKE '203%' OR city IS NOT NULL
             OR asn IS NOT NULL OR latitude_tenths IS NOT NULL OR carrier IS NOT NULL)",
        "SELECT COUNT(*) FROM device_hours",
        "SELECT COUNT(*) FROM device_owners",
        "SELECT COUNT(*) FROM consent_withdrawals",
    ] {
        assert_eq!(db.number(left).await, 0, "{left}");
    }
    assert_eq!(found(db, None).await, [heard]);
    assert_eq!(found(db, Some(NodeStatus::Removed)).await, [silent]);
    let stats = db.store.stored_stats(at(0), at(100)).await.unwrap();
    assert_eq!(stats.nodes["removed"], 1);
    books_are_in_order(&*db.store).await;

    // The same consent holds, for a device that we know nothing of.
    let again = NodeRegistration {
        id: NodeId::new(),
        now: at(90),
        ..device
    };
    let back = db.store.register_node(again.clone()).await.unwrap();
    assert_eq!(back, Registered::Accepted(again.id));
    assert_eq!(found(db, None).await, [again.id, heard]);
}

pub(super) async fn a_banned_device_is_known_while_its_ban_holds(db: &Database) {
    let (device, node) = registered(db, "device-1").await;
    let ban = async |until| {
        let ban = Ban {
            node,
            reason: "abuse".into(),
            until,
        };
        let entry = audit(AuditAction::NodeBanned, None, 2);
        assert!(db.store.ban_node(&ban, entry).await.unwrap());
    };
    ban(None).await;
    assert_eq!(remove(db, at(50)).await, 0);
    ban(Some(at(101))).await;
    assert_eq!(remove(db, at(50)).await, 0);
    let kept_out = db.store.register_node(device).await.unwrap();
    assert!(matches!(kept_out, Registered::Banned { .. }), "{kept_out:?}");
    ban(Some(at(100))).await;
    assert_eq!(remove(db, at(50)).await, 1, "it is over");
}

pub(super) async fn parallel_removals_count_each_device_once(db: &Database) {
    for number in 0..30 {
        registered(db, &format!("device-{number}")).await;
    }
    let mut tries = JoinSet::new();
    for _ in 0..10 {
        let store = db.store.clone();
        tries.spawn(async move {
            let before = at(1).plus(DAY);
            store.remove_silent_devices(before, before, 5).await.unwrap()
        });
    }
    let removed: u64 = tries.join_all().await.iter().sum();
    let left = db
        .number("SELECT COUNT(*) FROM nodes WHERE device_secret_hash <> ''")
        .await;
    assert_eq!(u64::try_from(left).unwrap(), 30 - removed);
    assert!(removed >= 5);
}
