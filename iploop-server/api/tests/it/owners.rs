//! What devices' owners see and do: with their own devices, and nobody else's.

use http::Method;
use iploop_platform::abuse::Actor;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Clock as _;
use iploop_platform::device_news::News;
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_platform::ledger::{Act, NewEntry};
use iploop_platform::node::NodeRegistration;
use iploop_platform::owners::OwnersConfig;
use iploop_platform::usage::UsageRecord;
use serde_json::{Value, json};

use crate::devices::{new_partner, registered, registration};
use crate::harness::{Answer, Api, PASSWORD, get, send};
use crate::reading::record;

/// Far more than anything takes here; only a test that hangs meets it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// An owner's token and account.
pub(crate) async fn owner(api: &Api, email: &str) -> (String, AccountId) {
    let body = json!({
        "email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace", "kind": "owner"
    });
    let login = api.post("/api/auth/register").json(&body).send().await.json();
    assert_eq!(login["user"]["role"], "owner");
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    (login["token"].as_str().unwrap().to_owned(), account)
}

/// A connected device, and the body with which it proves itself.
pub(crate) async fn device(api: &Api, device_id: &str) -> (NodeId, Value) {
    let secret = "a secret of the device";
    let registration = NodeRegistration {
        device_secret_hash: ApiKeyHash::of(secret).to_hex(),
        ..registration(api, new_partner(api, "Games").await, device_id)
    };
    let proof = json!({ "deviceId": device_id, "deviceSecret": secret });
    (registered(api, registration).await, proof)
}

/// Claims the device by the code that it shows.
pub(crate) async fn claim(api: &Api, token: &str, proof: &Value) -> Answer {
    let shown = api
        .post("/api/devices/pairing-code")
        .json(proof)
        .send()
        .await
        .json();
    let code = shown["code"].as_str().unwrap();
    assert_eq!(code.len(), 8);
    let typed = format!("{}-{}", &code[..4], code[4..].to_lowercase());
    send(
        api,
        token,
        Method::POST,
        "/api/owner/devices",
        json!({ "code": typed }),
    )
    .await
}

async fn give_credits(api: &Api, account: AccountId, credits: i64) {
    let entry = NewEntry {
        act: Act::CreditsEarned { account, credits },
        description: "Credits for sharing".to_owned(),
        reason: None,
        actor: Actor::System,
        key: Some("credits".to_owned()),
        metadata: json!({}),
        audit: None,
        now: api.clock.now(),
    };
    api.store.book(&entry).await.unwrap();
}

#[tokio::test]
async fn an_owner_claims_a_device_by_its_code_and_nobody_else_reaches_it() {
    let api = Api::new().await;
    let (ada, _) = owner(&api, "ada@example.com").await;
    let (eve, _) = owner(&api, "eve@example.com").await;
    let (node, proof) = device(&api, "device-0000000000000001").await;
    let wrong = json!({ "deviceId": "device-0000000000000001", "deviceSecret": "a guess" });
    assert_eq!(
        api.post("/api/devices/pairing-code")
            .json(&wrong)
            .send()
            .await
            .problem()
            .0,
        404
    );

    let vpn = get(&api, &ada, "/api/owner/vpn").await.json();
    assert_eq!(vpn, json!({ "entitled": false, "exits": [] }));
    assert_eq!(claim(&api, &ada, &proof).await.json()["id"], node.to_string());
    let vpn = get(&api, &ada, "/api/owner/vpn").await.json();
    assert_eq!(vpn, json!({ "entitled": true, "exits": ["vpn1.iploop.test"] }));

    let devices = get(&api, &ada, "/api/owner/devices").await.json();
    assert_eq!(devices["devices"][0]["consent"]["withdrawnAt"], Value::Null);
    assert_eq!(
        get(&api, &eve, "/api/owner/devices").await.json(),
        json!({ "devices": [] })
    );
    let path = format!("/api/owner/devices/{node}");
    for (method, part) in [
        (Method::DELETE, ""),
        (Method::GET, "/export"),
        (Method::POST, "/pause"),
        (Method::POST, "/resume"),
        (Method::POST, "/withdraw"),
        (Method::POST, "/erase"),
    ] {
        let refused = api
            .call(method, &format!("{path}{part}"))
            .bearer(&eve)
            .send()
            .await;
        assert_eq!(refused.problem().0, 404, "{part}");
    }
    let export = get(&api, &ada, &format!("{path}/export")).await;
    assert!(export.text.contains("203.0.113.77"), "{}", export.text);
    let erased = api.post(&format!("{path}/erase")).bearer(&ada).send().await;
    assert_eq!(erased.status, 204);
    assert_eq!(get(&api, &ada, &format!("{path}/export")).await.problem().0, 404);

    let customer = api.token("customer@example.com").await;
    let refused = get(&api, &customer, "/api/owner/devices").await;
    assert_eq!(refused.problem(), (403, "owners_only".to_owned()));
}

/// Ready when the hub has heard it.
async fn hears(api: &Api, news: &News) {
    let wait = async {
        while !api.devices.heard.lock().contains(news) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it is heard");
}

#[tokio::test]
async fn a_wish_is_stored_told_and_shown_with_what_the_device_says() {
    let api = Api::new().await;
    let (token, _) = owner(&api, "ada@example.com").await;
    let (node, proof) = device(&api, "device-0000000000000001").await;
    claim(&api, &token, &proof).await;
    let first = async || get(&api, &token, "/api/owner/devices").await.json()["devices"][0].clone();
    assert_eq!(
        (&first().await["isPaused"], &first().await["isSharing"]),
        (&json!(false), &Value::Null)
    );
    let mut live = crate::devices::live_node();
    live.is_available = false;
    api.devices.connected.lock().insert(node, live);
    let wish = async |part: &str| {
        let path = format!("/api/owner/devices/{node}/{part}");
        assert_eq!(api.post(&path).bearer(&token).send().await.status, 204);
    };
    wish("pause").await;
    hears(
        &api,
        &News::Wish {
            node,
            is_paused: true,
        },
    )
    .await;
    let shown = first().await;
    assert_eq!(
        (
            &shown["isPaused"],
            &shown["isSharing"],
            &shown["notSharingBecause"]
        ),
        (&json!(true), &json!(false), &json!("paused_from_afar"))
    );
    let export = get(&api, &token, &format!("/api/owner/devices/{node}/export"))
        .await
        .json();
    assert!(export["device"]["pausedAt"].is_string(), "{export}");
    api.devices.heard.lock().clear();
    wish("resume").await;
    hears(
        &api,
        &News::Wish {
            node,
            is_paused: false,
        },
    )
    .await;
    assert_eq!(first().await["isPaused"], false);
    wish("pause").await;
    api.devices.heard.lock().clear();
    let path = format!("/api/owner/devices/{node}");
    assert_eq!(
        api.call(Method::DELETE, &path).bearer(&token).send().await.status,
        204
    );
    hears(
        &api,
        &News::Wish {
            node,
            is_paused: false,
        },
    )
    .await;
}

#[tokio::test]
async fn a_withdrawal_and_an_erasure_reach_the_hub() {
    let api = Api::new().await;
    let (token, _) = owner(&api, "ada@example.com").await;
    let (node, proof) = device(&api, "device-0000000000000001").await;
    claim(&api, &token, &proof).await;
    let path = format!("/api/owner/devices/{node}");
    let withdrawn = api.post(&format!("{path}/withdraw")).bearer(&token).send().await;
    assert_eq!(withdrawn.status, 204);
    let devices = get(&api, &token, "/api/owner/devices").await.json();
    let consent = &devices["devices"][0]["consent"];
    assert!(consent["withdrawnAt"].is_string(), "it stays claimed: {devices}");
    let consent = consent["id"].as_str().unwrap().parse().unwrap();
    hears(&api, &News::Withdrawn { node, consent }).await;
    api.post(&format!("{path}/erase")).bearer(&token).send().await;
    hears(&api, &News::Erased(node)).await;
}

#[tokio::test]
async fn an_account_takes_its_devices_and_credits_along_and_leaves_none_behind() {
    let api = Api::new().await;
    let (token, account) = owner(&api, "ada@example.com").await;
    let (node, proof) = device(&api, "device-0000000000000001").await;
    let (other, other_proof) = device(&api, "device-0000000000000002").await;
    claim(&api, &token, &proof).await;
    claim(&api, &token, &other_proof).await;
    give_credits(&api, account, 12).await;
    let export = get(&api, &token, "/api/auth/export").await.json();
    let devices = export["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2, "{export}");
    assert_eq!(devices[0]["device"]["address"], "203.0.113.77");
    assert_eq!(devices[1]["device"]["id"], other.to_string());
    assert_eq!(export["credits"][0]["credits"], 12);
    assert_eq!(
        (&export["creditHours"], &export["partnerships"]),
        (&json!([]), &json!([]))
    );
    let body = json!({ "password": PASSWORD, "confirmEmail": "ada@example.com" });
    let left = send(&api, &token, Method::DELETE, "/api/auth/account", body).await;
    assert_eq!(left.status, 204);
    hears(&api, &News::Erased(node)).await;
    hears(&api, &News::Erased(other)).await;
    let shown = api.post("/api/devices/pairing-code").json(&proof).send().await;
    assert_eq!(shown.problem().0, 404, "nothing leads to the device");
}

#[tokio::test]
async fn the_partner_that_an_account_acts_for_is_in_its_export() {
    let api = Api::new().await;
    let login = api.register("ada@example.com").await;
    let account: AccountId = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let (_, admin) = api.admin().await;
    let partner = new_partner(&api, "Games").await;
    let path = format!("/api/partners/{partner}/users");
    let body = json!({ "accountId": account, "reason": "hers" });
    let linked = send(&api, &admin, Method::POST, &path, body).await;
    assert!(linked.status.is_success(), "{}", linked.text);
    let token = login["token"].as_str().unwrap();
    let export = get(&api, token, "/api/auth/export").await.json();
    assert_eq!(export["partnerships"][0]["name"], "Games");
}

#[tokio::test]
async fn devices_at_one_address_get_twenty_codes_at_once() {
    let api = Api::new().await;
    let (_, proof) = device(&api, "device-0000000000000001").await;
    let ask = || api.post("/api/devices/pairing-code").json(&proof).send();
    for _ in 0..20 {
        assert_eq!(ask().await.status, 201);
    }
    assert_eq!(ask().await.problem().0, 429);
    api.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(ask().await.status, 201);
}

#[tokio::test]
async fn codes_can_not_be_guessed_for_long() {
    let api = Api::new().await;
    let (token, _) = owner(&api, "ada@example.com").await;
    let guess = || {
        send(
            &api,
            &token,
            Method::POST,
            "/api/owner/devices",
            json!({ "code": "AAAAAAAA" }),
        )
    };
    for _ in 0..10 {
        assert_eq!(guess().await.problem(), (400, "pairing_code_invalid".to_owned()));
    }
    assert_eq!(guess().await.problem().0, 429);
}

#[tokio::test]
async fn credits_buy_bytes_once_for_a_key() {
    let api = Api::new().await;
    let (token, account) = owner(&api, "ada@example.com").await;
    give_credits(&api, account, 100).await;
    let before = api.store.balance(account).await.unwrap().bytes;
    let redeem = |credits: i64, key: &'static str| {
        let body = json!({ "credits": credits, "idempotencyKey": key });
        send(&api, &token, Method::POST, "/api/owner/credits/redeem", body)
    };
    let first = redeem(60, "a").await.json();
    assert_eq!(
        (&first["bytes"], &first["isRepeat"]),
        (&json!(600_000_000), &json!(false))
    );
    assert_eq!(redeem(60, "a").await.json()["isRepeat"], true);
    assert_eq!(redeem(41, "b").await.problem(), (409, "not_booked".to_owned()));
    assert_eq!(redeem(0, "c").await.problem().0, 400);
    let credits = get(&api, &token, "/api/owner/credits").await.json();
    assert_eq!(
        (&credits["credits"], &credits["held"]),
        (&json!(40), &Value::Null)
    );
    assert_eq!(
        api.store.balance(account).await.unwrap().bytes,
        before + 600_000_000
    );
    let checked = api.store.check_ledger().await.unwrap();
    assert!(checked.differences.is_empty(), "{checked}");
}

#[tokio::test]
async fn what_devices_earned_is_read_hour_by_hour_by_their_owner_alone() {
    let api = Api::new().await;
    let (token, account) = owner(&api, "ada@example.com").await;
    let mut nodes = Vec::new();
    for device_id in ["device-earning-000001", "device-earning-000002"] {
        let (node, proof) = device(&api, device_id).await;
        claim(&api, &token, &proof).await;
        nodes.push(node);
    }
    let (_, customer) = owner(&api, "eve@example.com").await;
    let hour = api
        .clock
        .now()
        .plus(std::time::Duration::from_secs(3600))
        .hour_start();
    let requests: Vec<UsageRecord> = nodes
        .iter()
        .map(|node| UsageRecord {
            node: Some(*node),
            bytes_up: 0,
            bytes_down: 10_000_000,
            ..record(customer, ApiKeyId::new(), hour, None)
        })
        .collect();
    api.store.settle(&requests, hour).await.unwrap();
    let rules = OwnersConfig::default().rules();
    api.store
        .count_credits(account, hour, &rules, hour)
        .await
        .unwrap();

    let mut read = Vec::new();
    let mut path = "/api/owner/credits/hours?limit=1".to_owned();
    loop {
        let page = get(&api, &token, &path).await.json();
        read.extend(page["hours"].as_array().unwrap().clone());
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/owner/credits/hours?limit=1&cursor={cursor}");
    }
    nodes.reverse();
    let expected: Vec<Value> = nodes
        .iter()
        .map(|node| json!({ "hour": hour, "deviceId": node, "bytes": 10_000_000, "nanoCredits": 1_000_000_000 }))
        .collect();
    assert_eq!(read, expected, "the latest first");
    let (other, _) = owner(&api, "bob@example.com").await;
    let nothing = get(&api, &other, "/api/owner/credits/hours").await.json();
    assert_eq!(nothing, json!({ "hours": [], "nextCursor": null }));
    let wrong = get(&api, &token, "/api/owner/credits/hours?cursor=5").await;
    assert_eq!(wrong.problem().0, 400);
}

#[tokio::test]
async fn an_admin_holds_credits_back_and_lets_them_go_on_record() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (token, account) = owner(&api, "ada@example.com").await;
    let path = format!("/api/admin/owners/{account}/hold");
    let hold = |is_held: bool| {
        let body = json!({ "isHeld": is_held, "reason": "odd traffic" });
        send(&api, &admin, Method::PUT, &path, body)
    };
    let listed = async |filter: &str| {
        let list = get(&api, &admin, &format!("/api/admin/owners?{filter}"))
            .await
            .json();
        list["owners"].as_array().unwrap().clone()
    };
    assert_eq!(listed("isHeld=true").await, Vec::<Value>::new());
    assert_eq!(hold(true).await.status, 204);
    assert_eq!(hold(true).await.problem(), (409, "already_so".to_owned()));
    let waiting = listed("isHeld=true").await;
    assert_eq!(
        waiting,
        [json!({
            "accountId": account, "email": "ada@example.com", "devices": 0, "credits": 0, "pendingNanoCredits": 0,
            "isHeld": true, "held": "odd traffic",
        })]
    );
    assert_eq!(listed("isHeld=false").await, Vec::<Value>::new());
    for wrong in ["limit=0", "limit=201", "cursor=x", "isHeld=maybe"] {
        let answer = get(&api, &admin, &format!("/api/admin/owners?{wrong}")).await;
        assert_eq!(answer.problem().0, 400, "{wrong}");
    }
    assert_eq!(get(&api, &token, "/api/admin/owners").await.problem().0, 403);
    assert_eq!(
        get(&api, &token, "/api/owner/credits").await.json()["held"],
        "odd traffic"
    );
    assert_eq!(hold(false).await.status, 204);
    let audit = get(&api, &admin, "/api/admin/audit?limit=1").await.json();
    assert_eq!(audit["records"][0]["action"], "credits_released");
}

/// Every operation once, with its success.
pub(crate) async fn visit_everything(api: &Api, admin: &str) {
    let (token, account) = owner(api, "owner@example.com").await;
    for (device_id, act) in [("device-visited-000001", "erase"), ("device-visited-000002", "")] {
        let (node, proof) = device(api, device_id).await;
        claim(api, &token, &proof).await;
        let path = format!("/api/owner/devices/{node}");
        get(api, &token, &format!("{path}/export")).await;
        for part in ["pause", "resume", "withdraw"] {
            api.post(&format!("{path}/{part}")).bearer(&token).send().await;
        }
        match act {
            "erase" => api.post(&format!("{path}/erase")).bearer(&token).send().await,
            _ => api.call(Method::DELETE, &path).bearer(&token).send().await,
        };
    }
    for part in ["devices", "credits", "credits/hours", "vpn"] {
        get(api, &token, &format!("/api/owner/{part}")).await;
    }
    get(api, admin, "/api/admin/owners").await;
    give_credits(api, account, 1).await;
    let body = json!({ "credits": 1, "idempotencyKey": "a" });
    send(api, &token, Method::POST, "/api/owner/credits/redeem", body).await;
    let hold = json!({ "isHeld": true, "reason": "a visit" });
    send(
        api,
        admin,
        Method::PUT,
        &format!("/api/admin/owners/{account}/hold"),
        hold,
    )
    .await;
}
