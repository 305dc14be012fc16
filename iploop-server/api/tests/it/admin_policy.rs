//! What admins make the exit policy: lists, limits, and grants to single customers.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use iploop_platform::clock::Clock as _;
use iploop_platform::ids::AccountId;
use iploop_protocol::policy::{Context, PlatformPolicy, Policy};
use serde_json::{Value, json};

use crate::admin::{customer, get, newest};
use crate::harness::{Api, send};

fn refuses(policy: &PlatformPolicy, to: &str) -> bool {
    let policy = Policy::new(Some(Arc::new(policy.clone())));
    policy
        .check_destination(&to.parse().unwrap(), &Context::at_gateway())
        .is_err()
}

#[tokio::test]
async fn a_listed_host_is_in_force_at_the_gateway_at_once_and_goes_to_devices_and_on_record() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let mut devices = api.forced.devices.subscribe();
    let entry =
        json!({"kind": "suffix", "value": "*.Bad.Example", "category": "complaints", "reason": "ticket 7"});
    let path = "/api/admin/policy/entries";
    let added = send(&api, &admin, Method::POST, path, entry.clone()).await;
    assert_eq!(added.status, 201, "{}", added.text);
    assert!(refuses(
        api.forced.gateway.lock().last().unwrap(),
        "a.bad.example:443"
    ));
    devices.changed().await.unwrap();
    assert!(refuses(devices.borrow().as_ref().unwrap(), "a.bad.example:443"));
    let record = newest(&api, &admin).await;
    assert_eq!(record["actorId"], root.id.to_string());
    assert_eq!(
        (&record["action"], &record["reason"]),
        (&json!("policy_entry_added"), &json!("ticket 7"))
    );
    assert_eq!(record["after"]["value"], "bad.example");

    let again = send(&api, &admin, Method::POST, path, entry).await;
    assert_eq!(again.problem(), (409, "already_listed".to_owned()));
    for (field, value) in [("value", "not a host"), ("category", "No"), ("reason", "")] {
        let mut wrong = json!({"kind": "suffix", "value": "x.example", "category": "c", "reason": "why"});
        wrong[field] = json!(value);
        let answer = send(&api, &admin, Method::POST, path, wrong).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{field}");
    }

    let policy = get(&api, &admin, "/api/admin/policy?category=complaints").await;
    assert_eq!(
        (&policy["version"], &policy["entries"][0]["value"]),
        (&json!(2), &json!("bad.example"))
    );
    let off = json!({"isOn": false, "reason": "a pause"});
    let category = "/api/admin/policy/categories/complaints";
    assert_eq!(
        send(&api, &admin, Method::PUT, category, off.clone())
            .await
            .status,
        204
    );
    assert!(!refuses(
        api.forced.gateway.lock().last().unwrap(),
        "a.bad.example:443"
    ));
    let nothing = send(
        &api,
        &admin,
        Method::PUT,
        "/api/admin/policy/categories/nothing",
        off,
    )
    .await;
    assert_eq!(nothing.problem().0, 404);
    let seed = json!({"isOn": true, "reason": "our rules"});
    let category = "/api/admin/policy/categories/government_and_military";
    assert_eq!(send(&api, &admin, Method::PUT, category, seed).await.status, 204);
    assert!(refuses(
        api.forced.gateway.lock().last().unwrap(),
        "www.nasa.gov:443"
    ));

    let entry = format!("{path}/{}", added.json()["id"].as_str().unwrap());
    let gone = api
        .call(Method::DELETE, &format!("{entry}?reason=settled"))
        .bearer(&admin)
        .send()
        .await;
    assert_eq!(gone.status, 204);
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["before"]["value"], &record["after"]),
        (&json!("bad.example"), &Value::Null)
    );
}

#[tokio::test]
async fn devices_get_the_newest_list_and_not_one_for_each_edit() {
    let api = Api::in_memory().await;
    let (_, admin) = api.admin().await;
    let mut devices = api.forced.devices.subscribe();
    let mut pushed = Vec::new();
    for n in 0..20 {
        let entry = json!({"kind": "port", "value": n.to_string(), "category": "c", "reason": "many"});
        assert_eq!(
            send(&api, &admin, Method::POST, "/api/admin/policy/entries", entry)
                .await
                .status,
            201
        );
    }
    // No request waits any more: time may pass by itself.
    tokio::time::pause();
    while pushed.last() != Some(&21) {
        devices.changed().await.unwrap();
        pushed.push(devices.borrow_and_update().as_ref().unwrap().version());
    }
    assert!(pushed.len() <= 3, "{pushed:?}");
}

#[tokio::test]
async fn limits_are_set_whole_and_left_to_the_file_again() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let mut limits = get(&api, &admin, "/api/admin/policy").await["limits"].clone();
    assert_eq!(limits["openStreams"], 64);
    limits["openStreams"] = json!(8);
    let path = "/api/admin/policy/limits";
    let set = json!({"limits": limits, "reason": "an attack"});
    assert_eq!(send(&api, &admin, Method::PUT, path, set).await.status, 204);
    assert_eq!(api.forced.gateway.lock().last().unwrap().limits().open_streams, 8);
    assert_eq!(newest(&api, &admin).await["after"]["openStreams"], 8);
    limits["failurePercent"] = json!(101);
    let wrong = json!({"limits": limits, "reason": "an error"});
    assert_eq!(
        send(&api, &admin, Method::PUT, path, wrong).await.problem().0,
        400
    );
    for misspelt in [
        json!({"reason": "an error"}),
        json!({"limit": null, "limits": null, "reason": "an error"}),
    ] {
        let answer = send(&api, &admin, Method::PUT, path, misspelt).await;
        assert_eq!(
            answer.problem(),
            (400, "malformed_body".to_owned()),
            "nothing is lifted"
        );
    }
    let back = json!({"limits": null, "reason": "it is over"});
    assert_eq!(send(&api, &admin, Method::PUT, path, back).await.status, 204);
    assert_eq!(
        get(&api, &admin, "/api/admin/policy").await["limits"]["openStreams"],
        64
    );
    assert_eq!(newest(&api, &admin).await["before"]["openStreams"], 8);
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_leaves_the_policy() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let entry = json!({"kind": "suffix", "value": "stored.example", "category": "c", "reason": "a test"});
    send(&api, &admin, Method::POST, "/api/admin/policy/entries", entry).await;
    *api.forced.file.lock() =
        r#"{"format":1,"version":5,"lists":{"denySuffixes":["file.example"]}}"#.to_owned();
    api.abuse.reload_file().await.unwrap();
    let policy = api.forced.gateway.lock().last().unwrap().clone();
    assert!(refuses(&policy, "file.example:80") && refuses(&policy, "stored.example:80"));
    assert_eq!(policy.version(), 6);
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["actor"], &record["action"]),
        (&json!("system"), &json!("policy_file_reloaded"))
    );
    *api.forced.file.lock() = "{}".to_owned();
    assert!(api.abuse.reload_file().await.is_err());
    assert_eq!(api.forced.gateway.lock().last(), Some(&policy));
}

#[tokio::test]
async fn what_another_process_changes_is_noticed() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let other = api.restarted().await;
    let mut devices = other.forced.devices.subscribe();
    let entry = json!({"kind": "suffix", "value": "bad.example", "category": "c", "reason": "a test"});
    send(&api, &admin, Method::POST, "/api/admin/policy/entries", entry).await;
    let reason = json!({"reason": "abuse"});
    let path = format!("/api/admin/accounts/{id}/suspend");
    assert_eq!(send(&api, &admin, Method::POST, &path, reason).await.status, 204);
    devices.changed().await.unwrap();
    assert!(refuses(devices.borrow().as_ref().unwrap(), "bad.example:80"));
    let account: AccountId = id.parse().unwrap();
    while !other.changes.suspended.lock().contains(&account) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn grants_are_given_with_reason_and_date_and_never_for_a_hard_rule() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let path = format!("/api/admin/accounts/{id}/grants");
    let until = api.clock.now().plus(Duration::from_secs(3600)).to_string();
    let give = async |body: Value| send(&api, &admin, Method::POST, &path, body).await;
    let given = give(json!({"tcpPorts": "5900-5910", "until": until, "reason": "ticket 8"})).await;
    assert_eq!(given.status, 201, "{}", given.text);
    assert_eq!(
        give(json!({"rule": "as112", "until": until, "reason": "ticket 9"}))
            .await
            .status,
        201
    );
    assert!(api.changes.accounts.lock().contains(&id.parse().unwrap()));
    let past = api.clock.now().to_string();
    for wrong in [
        json!({"rule": "loopback", "until": until, "reason": "please"}),
        json!({"rule": "private", "until": until, "reason": "please"}),
        json!({"rule": "never_ports", "until": until, "reason": "please"}),
        json!({"rule": "device_network", "until": until, "reason": "please"}),
        json!({"rule": "platform_list", "until": until, "reason": "please"}),
        json!({"rule": "nonsense", "until": until, "reason": "please"}),
        json!({"tcpPorts": "9-1", "until": until, "reason": "please"}),
        json!({"tcpPorts": "22", "rule": "as112", "until": until, "reason": "please"}),
        json!({"until": until, "reason": "please"}),
        json!({"tcpPorts": "22", "until": past, "reason": "please"}),
        json!({"tcpPorts": "22", "until": until, "reason": ""}),
    ] {
        let answer = give(wrong.clone()).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{wrong}");
    }
    let unverified = api.register("new@example.com").await["user"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"tcpPorts": "22", "until": until, "reason": "please"});
    let path_of = |id: &str| format!("/api/admin/accounts/{id}/grants");
    assert_eq!(
        send(&api, &admin, Method::POST, &path_of(&unverified), body.clone())
            .await
            .problem()
            .0,
        400
    );
    let nobody = send(
        &api,
        &admin,
        Method::POST,
        &path_of(&AccountId::new().to_string()),
        body,
    )
    .await;
    assert_eq!(nobody.problem(), (404, "account_not_found".to_owned()));

    let grant = format!("{path}/{}?reason=over", given.json()["id"].as_str().unwrap());
    assert_eq!(
        api.call(Method::DELETE, &grant)
            .bearer(&admin)
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        api.call(Method::DELETE, &grant)
            .bearer(&admin)
            .send()
            .await
            .problem()
            .0,
        404
    );
    let grants = get(&api, &admin, &path).await["grants"].clone();
    assert_eq!(
        (&grants[0]["rule"], &grants[1]["tcpPorts"]),
        (&json!("as112"), &json!("5900-5910"))
    );
    assert!(grants[1]["revokedAt"].is_string() && grants[0]["revokedAt"].is_null());
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["action"], &record["accountId"]),
        (&json!("grant_revoked"), &json!(id))
    );
}
