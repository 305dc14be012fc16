//! What admins do with single devices, and that all of it is on record.

use std::time::Duration;

use http::Method;
use iploop_platform::admin::{LiveNode, SILENT_AFTER};
use iploop_platform::clock::Clock as _;
use iploop_platform::exits::Place;
use iploop_platform::ids::NodeId;
use iploop_platform::node::{NodeRegistration, Registered};
use serde_json::{Value, json};

use crate::admin::{get, newest};
use crate::devices::{live_node, new_partner, registered, registration};
use crate::harness::{Api, send};

/// A device that registered, and how it did.
pub(crate) async fn device(api: &Api, number: u8) -> (NodeId, NodeRegistration) {
    let partner = new_partner(api, "Games Ltd").await;
    let registration = NodeRegistration {
        ip: [203, 0, 113, number].into(),
        place: Place {
            country: Some("DE".into()),
            ..Place::default()
        },
        connection_type: Some("wifi".into()),
        device_type: Some("android".into()),
        ..registration(api, partner, &format!("device-{number}"))
    };
    (registered(api, registration.clone()).await, registration)
}

async fn act(api: &Api, admin: &str, node: NodeId, act: &str, mut body: Value) -> crate::harness::Answer {
    body["reason"] = json!("sends spam");
    let path = format!("/api/admin/nodes/{node}/{act}");
    send(api, admin, Method::POST, &path, body).await
}

#[tokio::test]
async fn devices_are_found_and_shown_with_connection_and_consent() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (first, registration) = device(&api, 1).await;
    let (second, _) = device(&api, 2).await;
    let busy = LiveNode {
        is_available: false,
        ..live_node()
    };
    api.devices.connected.lock().insert(second, busy);
    let found = async |query: &str| {
        let list = get(&api, &admin, &format!("/api/admin/nodes?{query}")).await;
        let ids = list["nodes"].as_array().unwrap().iter();
        ids.map(|node| node["id"].as_str().unwrap().parse().unwrap())
            .collect::<Vec<NodeId>>()
    };
    assert_eq!(found("").await, [second, first], "newest first");
    assert_eq!(found("status=busy").await, [second]);
    assert_eq!(
        found("status=available&country=de&deviceType=android&connectionType=wifi").await,
        [first]
    );
    assert_eq!(found("search=DEVICE-2").await, [second]);
    assert_eq!(found("search=203.0.113.1").await, [first]);
    assert_eq!(found(&format!("partner={}", registration.partner)).await, [first]);
    assert_eq!(found(&format!("limit=1&cursor={second}")).await, [first]);
    assert_eq!(found("limit=1&page=2").await, [first]);
    for query in ["status=gone", "partner=x", "limit=0"] {
        let answer = api
            .get(&format!("/api/admin/nodes?{query}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{query}");
    }

    let consent = registration.consent.id;
    api.store
        .withdraw_consent("device-1", consent, api.clock.now())
        .await
        .unwrap();
    let shown = get(&api, &admin, &format!("/api/admin/nodes/{first}")).await;
    assert_eq!(
        (&shown["node"]["deviceId"], &shown["live"]),
        (&json!("device-1"), &Value::Null)
    );
    assert_eq!(shown["node"]["partnerName"], "Games Ltd");
    assert_eq!(shown["consents"][0]["id"], json!(consent));
    assert!(shown["consents"][0]["withdrawnAt"].is_string());
    assert_eq!(shown["withdrawals"][0]["consentId"], json!(consent));
    let shown = get(&api, &admin, &format!("/api/admin/nodes/{second}")).await;
    assert_eq!(
        (&shown["node"]["status"], &shown["live"]["streams"]),
        (&json!("busy"), &json!(3))
    );
    for path in ["01900000-0000-7000-8000-0000000000ff", "x"] {
        let answer = api
            .get(&format!("/api/admin/nodes/{path}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem(), (404, "node_not_found".to_owned()));
    }
}

#[tokio::test]
async fn a_banned_device_is_cut_kept_out_and_let_in_again() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (node, registration) = device(&api, 1).await;
    api.devices.connected.lock().insert(node, live_node());
    let until = api.clock.now().plus(std::time::Duration::from_secs(3600));
    let banned = act(&api, &admin, node, "ban", json!({ "until": until })).await;
    assert_eq!(banned.status, 204, "{}", banned.text);
    let ban = api.devices.banned.lock()[0].clone();
    assert_eq!(
        (ban.node, ban.reason.as_str(), ban.until),
        (node, "sends spam", Some(until))
    );
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["action"], &record["actorId"], &record["subject"]),
        (&json!("node_banned"), &json!(root.id), &json!(node))
    );
    assert_eq!(
        (&record["before"]["banned"], &record["after"]["banned"]),
        (&json!(false), &json!(true))
    );
    let refused = api.store.register_node(registration.clone()).await.unwrap();
    let reason = "sends spam".to_owned();
    assert_eq!(
        refused,
        Registered::Banned {
            reason,
            until: Some(until)
        }
    );
    let shown = get(&api, &admin, "/api/admin/nodes?status=banned").await;
    assert_eq!(shown["nodes"][0]["banReason"], "sends spam");

    assert_eq!(act(&api, &admin, node, "unban", json!({})).await.status, 204);
    let again = act(&api, &admin, node, "unban", json!({})).await;
    assert_eq!(again.problem(), (409, "already_so".to_owned()));
    assert_eq!(
        api.store.register_node(registration).await.unwrap(),
        Registered::Accepted(node)
    );
    let past = json!({"until": "2020-01-01T00:00:00Z"});
    assert_eq!(
        act(&api, &admin, node, "ban", past).await.problem().1,
        "invalid_fields"
    );
    for what in ["ban", "unban", "drain"] {
        let answer = act(&api, &admin, NodeId::new(), what, json!({})).await;
        assert_eq!(answer.problem(), (404, "node_not_found".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn a_ban_by_another_process_is_noticed() {
    let api = Api::in_memory().await;
    let (_, admin) = api.admin().await;
    let (node, _) = device(&api, 1).await;
    let other = api.restarted().await;
    assert_eq!(act(&api, &admin, node, "ban", json!({})).await.status, 204);
    // The other process has nothing to do but to look: time may pass by itself.
    tokio::time::pause();
    while other.devices.banned.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(other.devices.banned.lock()[0].node, node);
}

#[tokio::test]
async fn a_connected_device_is_drained_on_record() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (node, _) = device(&api, 1).await;
    api.devices.connected.lock().insert(node, live_node());
    assert_eq!(act(&api, &admin, node, "drain", json!({})).await.status, 202);
    assert!(api.devices.connected.lock()[&node].is_draining);
    assert_eq!(newest(&api, &admin).await["action"], "node_drained");
}

#[tokio::test]
async fn a_device_that_is_connected_nowhere_is_not_drained() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (node, _) = device(&api, 1).await;
    api.clock.advance(SILENT_AFTER + Duration::from_secs(1));
    let away = act(&api, &admin, node, "drain", json!({})).await;
    assert_eq!(away.problem(), (409, "node_not_connected".to_owned()));
}

#[tokio::test]
async fn a_drain_by_another_process_is_noticed() {
    let api = Api::in_memory().await;
    let (_, admin) = api.admin().await;
    let (node, _) = device(&api, 1).await;
    let other = api.restarted().await;
    // This process does not have it, and shares no state with the one that has; the database says that it is connected.
    other.devices.connected.lock().insert(node, live_node());
    assert_eq!(act(&api, &admin, node, "drain", json!({})).await.status, 202);
    tokio::time::pause();
    while !other.devices.connected.lock()[&node].is_draining {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
