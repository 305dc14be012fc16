use iploop_platform::abuse::AuditAction;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::exits::Place;
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::{ConsentRecord, GeoFacts, NodeActivity, NodeRegistration, Point, Registered};
use iploop_platform::partner::NewPartner;
use iploop_platform::store::{Store, StoreError};
use tokio::task::JoinSet;

use super::safeguards::audit;
use super::{Database, at};

pub(super) async fn new_partner(store: &dyn Store) -> PartnerId {
    let id = PartnerId::new();
    let partner = NewPartner {
        id,
        name: "Games Ltd".into(),
        email: None,
        key_hash: ApiKeyHash::of(&id.to_string()),
        key_prefix: "iplp_012345678".into(),
        revenue_share_bp: 7_000,
        now: at(0),
        audit: audit(AuditAction::PartnerCreated, None, 0),
    };
    store.create_partner(partner).await.unwrap().id
}

fn consent() -> ConsentRecord {
    ConsentRecord {
        id: ConsentId::new(),
        text_version: "2026-02".into(),
        text_hash: "ab".repeat(32),
        language: "en".into(),
        given_at: at(0),
        act: "button".into(),
        app_id: "com.example.game".into(),
        app_version: "1.2".into(),
        networks: serde_json::json!({ "wifi": true, "note": "\u{0}" }),
        minimum_age: true,
    }
}

pub(super) fn registration(partner: PartnerId, device_id: &str) -> NodeRegistration {
    NodeRegistration {
        id: NodeId::new(),
        device_id: device_id.into(),
        device_secret_hash: "secret".into(),
        partner,
        ip: "203.0.113.7".parse().unwrap(),
        geo: GeoFacts {
            country_name: Some("Germany".into()),
            point: Point::from_degrees(52.52, 13.405),
            carrier: Some("Example Mobile".into()),
        },
        place: Place {
            country: Some("DE".into()),
            city: Some("Berlin".into()),
            asn: Some(u32::MAX),
            ..Place::default()
        },
        connection_type: Some("wifi".into()),
        device_type: Some("android".into()),
        sdk_version: "2.0.0".into(),
        consent: consent(),
        review_apps: false,
        now: at(1),
    }
}

pub(super) fn activity(node: NodeId) -> NodeActivity {
    NodeActivity {
        node,
        requests: 3,
        successful_requests: 2,
        bytes: 1_000,
        quality: 80,
        last_heartbeat: at(10),
        connected: true,
    }
}

pub(super) async fn registered(db: &Database, device_id: &str) -> (NodeRegistration, NodeId) {
    let registration = registration(new_partner(&*db.store).await, device_id);
    let Registered::Accepted(node) = db.store.register_node(registration.clone()).await.unwrap() else {
        panic!("refused")
    };
    (registration, node)
}

pub(super) async fn a_new_device_is_accepted_and_keeps_its_id(db: &Database) {
    assert_eq!(db.store.node_count().await.unwrap(), 0);
    let (first, node) = registered(db, "device-1").await;
    assert_eq!(node, first.id);
    let again = NodeRegistration {
        id: NodeId::new(),
        ip: "2001:db8::1".parse().unwrap(),
        place: Place::default(),
        connection_type: None,
        now: at(2),
        ..first
    };
    assert_eq!(
        db.store.register_node(again).await.unwrap(),
        Registered::Accepted(node)
    );
    assert_eq!(db.store.node_count().await.unwrap(), 1);
    assert_eq!(
        db.number("SELECT COUNT(*) FROM nodes WHERE ip_address = '2001:db8::1' AND country IS NULL")
            .await,
        1
    );
}

pub(super) async fn another_secret_is_refused_and_changes_nothing(db: &Database) {
    let (first, _) = registered(db, "device-1").await;
    let impostor = NodeRegistration {
        device_secret_hash: "guess".into(),
        ip: "198.51.100.1".parse().unwrap(),
        consent: consent(),
        ..first
    };
    assert_eq!(
        db.store.register_node(impostor).await.unwrap(),
        Registered::SecretMismatch
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM consents").await, 1);
    assert_eq!(
        db.number("SELECT COUNT(*) FROM nodes WHERE ip_address = '203.0.113.7'")
            .await,
        1
    );
}

pub(super) async fn a_banned_device_is_refused_until_the_ban_ends(db: &Database) {
    let (device, node) = registered(db, "device-1").await;
    db.execute("UPDATE nodes SET status = 'banned', ban_reason = 'abuse'")
        .await;
    let banned = Registered::Banned {
        reason: "abuse".into(),
        until: None,
    };
    assert_eq!(db.store.register_node(device.clone()).await.unwrap(), banned);

    db.execute("UPDATE nodes SET banned_until = 1764000060000").await;
    let banned = Registered::Banned {
        reason: "abuse".into(),
        until: Some(at(60)),
    };
    let before = NodeRegistration {
        now: at(59),
        ..device.clone()
    };
    assert_eq!(db.store.register_node(before).await.unwrap(), banned);
    let after = NodeRegistration {
        now: at(60),
        ..device
    };
    assert_eq!(
        db.store.register_node(after).await.unwrap(),
        Registered::Accepted(node)
    );
    assert_eq!(
        db.number("SELECT COUNT(*) FROM nodes WHERE status = 'available' AND ban_reason IS NULL")
            .await,
        1
    );
}

pub(super) async fn an_impostor_does_not_learn_of_a_ban(db: &Database) {
    let (device, _) = registered(db, "device-1").await;
    db.execute("UPDATE nodes SET status = 'banned', ban_reason = 'abuse'")
        .await;
    let impostor = NodeRegistration {
        device_secret_hash: "guess".into(),
        ..device
    };
    assert_eq!(
        db.store.register_node(impostor).await.unwrap(),
        Registered::SecretMismatch
    );
}

pub(super) async fn a_withdrawn_consent_is_refused_for_good(db: &Database) {
    let (device, node) = registered(db, "device-1").await;
    db.store
        .withdraw_consent("device-1", device.consent.id, at(5))
        .await
        .unwrap();
    db.store
        .withdraw_consent("device-1", device.consent.id, at(6))
        .await
        .unwrap();
    assert_eq!(
        db.store.register_node(device.clone()).await.unwrap(),
        Registered::ConsentWithdrawn
    );
    assert_eq!(
        db.number("SELECT MAX(withdrawn_at) FROM consent_withdrawals")
            .await,
        at(5).as_millis()
    );

    let asked_again = NodeRegistration {
        consent: consent(),
        ..device
    };
    assert_eq!(
        db.store.register_node(asked_again).await.unwrap(),
        Registered::Accepted(node)
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM consents").await, 2);
}

pub(super) async fn a_withdrawal_may_come_before_its_consent(db: &Database) {
    let device = registration(new_partner(&*db.store).await, "device-1");
    db.store
        .withdraw_consent("device-1", device.consent.id, at(0))
        .await
        .unwrap();
    assert_eq!(
        db.store.register_node(device).await.unwrap(),
        Registered::ConsentWithdrawn
    );
    assert_eq!(db.store.node_count().await.unwrap(), 0);
}

pub(super) async fn a_consent_is_stored_once_for_each_device(db: &Database) {
    let (device, _) = registered(db, "device-1").await;
    db.store.register_node(device.clone()).await.unwrap();
    assert_eq!(db.number("SELECT COUNT(*) FROM consents").await, 1);
    // Another device with a copied record: its own row, and its own withdrawal.
    let copy = NodeRegistration {
        id: NodeId::new(),
        device_id: "device-2".into(),
        ..device.clone()
    };
    assert_eq!(
        db.store.register_node(copy.clone()).await.unwrap(),
        Registered::Accepted(copy.id)
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM consents").await, 2);
    db.store
        .withdraw_consent("device-2", copy.consent.id, at(5))
        .await
        .unwrap();
    assert!(matches!(
        db.store.register_node(device).await.unwrap(),
        Registered::Accepted(_)
    ));
}

pub(super) async fn parallel_first_registrations_make_one_device(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let mut tries = JoinSet::new();
    for _ in 0..20 {
        let store = db.store.clone();
        tries.spawn(async move {
            store
                .register_node(registration(partner, "device-1"))
                .await
                .unwrap()
        });
    }
    let results = tries.join_all().await;
    let [Registered::Accepted(node), others @ ..] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(
        others.iter().all(|other| *other == Registered::Accepted(*node)),
        "{results:?}"
    );
    assert_eq!(db.store.node_count().await.unwrap(), 1);
}

pub(super) async fn an_unknown_partner_is_an_error(db: &Database) {
    let refused = db
        .store
        .register_node(registration(PartnerId::new(), "device-1"))
        .await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    assert_eq!(db.store.node_count().await.unwrap(), 0);
}

pub(super) async fn activity_adds_up(db: &Database) {
    let (_, node) = registered(db, "device-1").await;
    let later = NodeActivity {
        quality: 90,
        last_heartbeat: at(11),
        ..activity(node)
    };
    db.store.note_activity(&[]).await.unwrap();
    db.store
        .note_activity(&[later, activity(node), activity(NodeId::new())])
        .await
        .unwrap();
    db.store
        .note_activity(&[NodeActivity {
            bytes: u64::MAX / 4,
            ..activity(node)
        }])
        .await
        .unwrap();
    assert_eq!(db.number("SELECT total_requests FROM nodes").await, 9);
    assert_eq!(db.number("SELECT successful_requests FROM nodes").await, 6);
    assert_eq!(
        db.number("SELECT bandwidth_used_bytes - 2000 FROM nodes").await,
        i64::MAX / 2
    );
    assert_eq!(db.number("SELECT quality_score FROM nodes").await, 90);
    assert_eq!(
        db.number("SELECT last_heartbeat FROM nodes").await,
        at(11).as_millis()
    );
    assert_eq!(
        db.number("SELECT connected_since FROM nodes").await,
        at(1).as_millis()
    );
}

pub(super) async fn a_late_sign_of_life_does_not_say_who_is_connected(db: &Database) {
    let (device, node) = registered(db, "device-1").await;
    let gone = NodeActivity {
        connected: false,
        ..activity(node)
    };
    db.store.note_activity(std::slice::from_ref(&gone)).await.unwrap();
    let inactive = "SELECT COUNT(*) FROM nodes WHERE status = 'inactive' AND connected_since IS NULL";
    assert_eq!(db.number(inactive).await, 1);
    // It came back at 20 s; the note that it had gone at 10 s arrives once more.
    db.store
        .register_node(NodeRegistration {
            now: at(20),
            ..device
        })
        .await
        .unwrap();
    db.store.note_activity(&[gone]).await.unwrap();
    assert_eq!(
        db.number("SELECT COUNT(*) FROM nodes WHERE status = 'available'")
            .await,
        1
    );
    assert_eq!(
        db.number("SELECT connected_since FROM nodes").await,
        at(20).as_millis()
    );
    assert_eq!(
        db.number("SELECT total_requests FROM nodes").await,
        6,
        "its counters are added all the same"
    );
}

pub(super) async fn a_ban_outlives_activity(db: &Database) {
    let (_, node) = registered(db, "device-1").await;
    db.execute("UPDATE nodes SET status = 'banned', ban_reason = 'abuse'")
        .await;
    db.store.note_activity(&[activity(node)]).await.unwrap();
    assert_eq!(
        db.number("SELECT COUNT(*) FROM nodes WHERE status = 'banned'")
            .await,
        1
    );
}

pub(super) async fn parallel_activity_in_any_order_all_lands(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let mut nodes = Vec::new();
    for number in 0..10 {
        let device = registration(partner, &format!("device-{number}"));
        nodes.push(device.id);
        db.store.register_node(device).await.unwrap();
    }
    let mut notes = JoinSet::new();
    for round in 0..20 {
        nodes.rotate_left(3);
        if round % 2 == 0 {
            nodes.reverse();
        }
        let batch: Vec<_> = nodes.iter().map(|&node| activity(node)).collect();
        let store = db.store.clone();
        notes.spawn(async move { store.note_activity(&batch).await.unwrap() });
    }
    notes.join_all().await;
    assert_eq!(db.number("SELECT MIN(total_requests) FROM nodes").await, 60);
    assert_eq!(db.number("SELECT MAX(total_requests) FROM nodes").await, 60);
}
