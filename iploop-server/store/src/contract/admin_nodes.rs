//! Devices as admins find, ban and look into them.

use iploop_platform::abuse::{AuditAction, AuditEntry};
use iploop_platform::admin::{Ban, NodeQuery, NodeStatus};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::NodeId;
use iploop_platform::node::{NodeActivity, NodeRegistration, Registered};
use serde_json::json;

use super::audit::newest;
use super::nodes::{activity, new_partner, registered, registration};
use super::safeguards::audit;
use super::{Database, at};

pub(super) async fn devices_are_found_by_what_they_are(db: &Database) {
    let (mine, theirs) = (new_partner(&*db.store).await, new_partner(&*db.store).await);
    let mut nodes = Vec::new();
    for (number, partner, country, kind, net) in [
        (1, mine, "DE", "android", "wifi"),
        (2, mine, "DE", "windows", "ethernet"),
        (3, theirs, "US", "android", "cellular"),
    ] {
        let mut new = registration(partner, &format!("Device_{number}"));
        new.place.country = Some(country.into());
        new.device_type = Some(kind.into());
        new.connection_type = Some(net.into());
        new.ip = format!("203.0.113.{number}").parse().unwrap();
        let Registered::Accepted(node) = db.store.register_node(new).await.unwrap() else {
            panic!("refused")
        };
        nodes.insert(0, node);
    }
    let [third, second, first] = nodes[..] else {
        panic!("three")
    };
    let found = async |query: NodeQuery| {
        let query = NodeQuery { limit: 10, ..query };
        let page = db.store.node_page(&query, at(2)).await.unwrap();
        assert_eq!(page.total, page.rows.len() as u64);
        page.rows.iter().map(|node| node.id).collect::<Vec<_>>()
    };
    let known = db.store.known_node(first, at(2)).await.unwrap().unwrap();
    assert_eq!(known.geo, registration(mine, "any").geo);
    let none = NodeQuery::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(none()).await, nodes);
    assert_eq!(
        found(NodeQuery {
            country: text("DE"),
            ..none()
        })
        .await,
        [second, first]
    );
    assert_eq!(
        found(NodeQuery {
            device_type: text("android"),
            ..none()
        })
        .await,
        [third, first]
    );
    assert_eq!(
        found(NodeQuery {
            connection_type: text("cellular"),
            ..none()
        })
        .await,
        [third]
    );
    assert_eq!(
        found(NodeQuery {
            partner: Some(theirs),
            ..none()
        })
        .await,
        [third]
    );
    assert_eq!(
        found(NodeQuery {
            search: text("device_2"),
            ..none()
        })
        .await,
        [second]
    );
    assert_eq!(
        found(NodeQuery {
            search: text("113.3"),
            ..none()
        })
        .await,
        [third]
    );
    assert!(
        found(NodeQuery {
            search: text("device%"),
            ..none()
        })
        .await
        .is_empty()
    );
    let busy = vec![second];
    let by_status = async |status| {
        let query = NodeQuery {
            status: Some(status),
            busy: busy.clone(),
            ..none()
        };
        found(query).await
    };
    assert_eq!(by_status(NodeStatus::Busy).await, [second]);
    assert_eq!(by_status(NodeStatus::Available).await, [third, first]);
    assert!(by_status(NodeStatus::Inactive).await.is_empty());
    let left = NodeActivity {
        connected: false,
        ..activity(third)
    };
    db.store.note_activity(&[left]).await.unwrap();
    assert_eq!(by_status(NodeStatus::Inactive).await, [third]);

    let mut met = Vec::new();
    loop {
        let query = NodeQuery {
            before: met.last().copied(),
            limit: 2,
            ..none()
        };
        let page = db.store.node_page(&query, at(2)).await.unwrap();
        assert_eq!(page.total, 3);
        met.extend(page.rows.iter().map(|node| node.id));
        if page.rows.len() < 2 {
            break;
        }
    }
    assert_eq!(met, nodes);
    let query = NodeQuery {
        busy,
        offset: 1,
        limit: 1,
        ..none()
    };
    let page = db.store.node_page(&query, at(2)).await.unwrap();
    assert_eq!((page.rows[0].id, page.rows[0].status), (second, NodeStatus::Busy));

    let node = db.store.known_node(first, at(2)).await.unwrap().unwrap();
    assert_eq!(
        (node.device_id.as_str(), node.partner, node.partner_name.as_str()),
        ("Device_1", mine, "Games Ltd")
    );
    assert_eq!(
        (node.status, node.connected_since),
        (NodeStatus::Available, Some(at(1)))
    );
    assert_eq!(node.place.asn, Some(u32::MAX));
    assert_eq!(db.store.known_node(NodeId::new(), at(2)).await.unwrap(), None);
}

pub(super) async fn drains_are_read_from_the_record(db: &Database) {
    let [first, second, banned] = [(); 3].map(|()| NodeId::new());
    for (node, action, second) in [
        (first, AuditAction::NodeDrained, 10),
        (banned, AuditAction::NodeBanned, 11),
        (second, AuditAction::NodeDrained, 12),
        (first, AuditAction::NodeDrained, 13),
    ] {
        let entry = AuditEntry {
            subject: node.to_string(),
            ..audit(action, None, second)
        };
        db.store.append_audit(entry).await.unwrap();
    }
    let since = async |second, limit| db.store.drains_since(at(second), limit).await.unwrap();
    assert_eq!(since(11, 10).await, [(first, at(13)), (second, at(12))]);
    assert_eq!(since(10, 10).await.len(), 3);
    assert_eq!(since(0, 1).await, [(first, at(13))], "the newest");
    assert_eq!(since(14, 10).await, []);
}

pub(super) async fn a_ban_is_on_record_and_holds_until_it_ends(db: &Database) {
    let (device, node) = registered(db, "device-1").await;
    let ban = |reason: &str, until: Option<Timestamp>| Ban {
        node,
        reason: reason.to_owned(),
        until,
    };
    let banned = async |ban: &Ban, second| {
        let entry = audit(AuditAction::NodeBanned, None, second);
        db.store.ban_node(ban, entry).await.unwrap()
    };
    let nobody = Ban {
        node: NodeId::new(),
        ..ban("spam", None)
    };
    assert!(!banned(&nobody, 5).await);
    let for_a_while = ban("spam", Some(at(60)));
    assert!(banned(&for_a_while, 10).await);
    assert_eq!(newest(db).await.before, json!({ "banned": false }));
    let again = |second| NodeRegistration {
        now: at(second),
        ..device.clone()
    };
    let refused = db.store.register_node(again(59)).await.unwrap();
    let reason = "spam".to_owned();
    assert_eq!(
        refused,
        Registered::Banned {
            reason,
            until: Some(at(60))
        }
    );
    let since = async |from, now| db.store.bans_since(at(from), at(now), 10).await.unwrap();
    assert_eq!(since(10, 20).await, [for_a_while]);
    assert!(since(11, 20).await.is_empty() && since(0, 60).await.is_empty());

    let status = async |second| {
        db.store
            .known_node(node, at(second))
            .await
            .unwrap()
            .unwrap()
            .status
    };
    assert_eq!(
        (status(59).await, status(60).await),
        (NodeStatus::Banned, NodeStatus::Inactive)
    );
    for_good(db, &ban("worse", None)).await;
    assert_eq!(status(9_999).await, NodeStatus::Banned);
    let earlier = json!({ "banned": true, "reason": "spam", "until": at(60) });
    assert_eq!(newest(db).await.before, earlier);
    let unban = async |node, second| {
        let entry = audit(AuditAction::NodeUnbanned, None, second);
        db.store.unban_node(node, entry).await.unwrap()
    };
    assert_eq!(unban(node, 30).await, Some(true));
    assert_eq!(unban(node, 31).await, Some(false));
    assert_eq!(unban(NodeId::new(), 31).await, None);
    assert_eq!(
        db.store.register_node(again(32)).await.unwrap(),
        Registered::Accepted(node)
    );
}

async fn for_good(db: &Database, ban: &Ban) {
    let entry = audit(AuditAction::NodeBanned, None, 20);
    assert!(db.store.ban_node(ban, entry).await.unwrap());
}

pub(super) async fn consents_and_withdrawals_of_a_device_are_read(db: &Database) {
    let (device, _) = registered(db, "device-1").await;
    registered(db, "device-2").await;
    let consent = device.consent.id;
    db.store
        .withdraw_consent("device-1", consent, at(5))
        .await
        .unwrap();
    let unknown = iploop_platform::ids::ConsentId::new();
    db.store
        .withdraw_consent("device-1", unknown, at(6))
        .await
        .unwrap();
    let (consents, withdrawals) = db.store.consents_of("device-1", 10).await.unwrap();
    let [given] = &consents[..] else {
        panic!("{consents:?}")
    };
    assert_eq!((given.record.id, given.withdrawn_at), (consent, Some(at(5))));
    assert_eq!((given.partner, given.recorded_at), (device.partner, at(1)));
    assert_eq!(given.record.text_version, "2026-02");
    let met: Vec<_> = withdrawals.iter().map(|withdrawal| withdrawal.consent).collect();
    assert_eq!(met, [unknown, consent]);
}
