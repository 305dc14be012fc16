//! What admins do with partners, and what a partner's own users see: their own, and nothing else.

use std::time::Duration;

use http::Method;
use iploop_platform::abuse::Actor;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Clock as _;
use iploop_platform::device_news::News;
use iploop_platform::exits::Place;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, PartnerId, RequestId};
use iploop_platform::ledger::{LedgerParts, LedgerService, Purchase};
use iploop_platform::node::NodeRegistration;
use iploop_platform::partners::{AppState, Wanting};
use iploop_platform::usage::{Timings, UsageRecord};
use serde_json::{Value, json};

use crate::devices::{registered, registration};
use crate::harness::{Answer, Api, get, send};

async fn delete(api: &Api, token: &str, path: &str) -> Answer {
    api.call(Method::DELETE, path).bearer(token).send().await
}

/// Who makes partners that tests need at once.
pub(crate) fn by_command_line() -> Wanting<'static> {
    Wanting {
        actor: Actor::CommandLine,
        reason: "a test",
    }
}

/// A partner's id and key.
async fn partner(api: &Api, admin: &str, name: &str) -> (String, String) {
    let made = send(api, admin, Method::POST, "/api/partners", json!({ "name": name }))
        .await
        .json();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// A token of a new account that acts for the partner, and the account.
async fn user_of(api: &Api, admin: &str, partner: &str, email: &str) -> (String, String) {
    let login = api.register(email).await;
    let account = login["user"]["id"].as_str().unwrap().to_owned();
    let body = json!({ "accountId": account, "reason": "our contact" });
    let linked = send(
        api,
        admin,
        Method::POST,
        &format!("/api/partners/{partner}/users"),
        body,
    )
    .await;
    assert_eq!(linked.status, 204, "{}", linked.text);
    (login["token"].as_str().unwrap().to_owned(), account)
}

fn game(bundle: &str) -> Value {
    json!({ "name": "Game", "platform": "android", "bundleId": bundle, "storeUrl": "https://store.example/game" })
}

/// A connected device of the partner's that served a customer's gigabyte, bought for a dollar.
async fn a_sold_gigabyte(api: &Api, partner: &str) {
    let partner: PartnerId = partner.parse().unwrap();
    let registration = NodeRegistration {
        place: Place {
            country: Some("DE".to_owned()),
            city: Some("Passau".to_owned()),
            ..Place::default()
        },
        ..registration(api, partner, "device-of-somebody")
    };
    let node = registered(api, registration).await;
    let login = api.register("buyer@example.com").await;
    let account: AccountId = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let ledger = LedgerService::new(LedgerParts {
        store: api.store.clone(),
        clock: api.clock.clone(),
        changes: std::sync::Arc::new(iploop_platform::keys::NobodyToTell),
    });
    // The bonus of a new account brings no money: what was paid is spread over all that it holds.
    let held = api.store.balance(account).await.unwrap().bytes;
    let purchase = Purchase {
        account,
        bytes: 1_000_000_000,
        money_micros: 1_000_000,
        reference: None,
        description: "1 GB",
        metadata: json!({}),
    };
    ledger.purchase(purchase, "evt_1").await.unwrap();
    let request = UsageRecord {
        id: RequestId::new(),
        account,
        api_key: ApiKeyId::new(),
        gateway: GatewayId::new(),
        node: Some(node),
        session: None,
        bytes_up: 0,
        bytes_down: u64::try_from(held).unwrap() + 1_000_000_000,
        billable: true,
        proxy_type: "connect".to_owned(),
        destination: "example.com:443".to_owned(),
        exit_country: None,
        exit_city: None,
        exit_asn: None,
        exit_ip: None,
        timings: Timings::default(),
        status: Some(200),
        error: None,
        attempts: 1,
        started_at: api.clock.now(),
        ended_at: Some(api.clock.now()),
    };
    api.store.settle(&[request], api.clock.now()).await.unwrap();
}

#[tokio::test]
async fn a_partner_is_listed_changed_paid_and_deleted_and_all_of_it_is_on_record() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, key) = partner(&api, &admin, "Games Ltd").await;
    let path = format!("/api/partners/{id}");
    a_sold_gigabyte(&api, &id).await;

    let change = json!({ "revenueShare": 66.67, "email": "dev@games.example", "reason": "new contract" });
    let changed = send(&api, &admin, Method::PATCH, &path, change).await.json();
    assert_eq!(
        (&changed["revenueShare"], &changed["name"]),
        (&json!(66.67), &json!("Games Ltd"))
    );
    let wrong = json!({ "revenueShare": 101, "reason": "too much" });
    let wrong = send(&api, &admin, Method::PATCH, &path, wrong).await;
    assert_eq!(wrong.problem(), (400, "invalid_fields".to_owned()));

    let detail = get(&api, &admin, &path).await;
    let body = detail.json();
    assert_eq!(
        (&body["totalNodes"], &body["activeNodes"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        body["totals"]["payableMicros"], 700_000,
        "70 % as it stood when it was sold"
    );
    for secret in ["203.0.113.77", "Passau", "device-of-somebody"] {
        assert!(!detail.text.contains(secret), "{secret}");
    }

    let payout = json!({ "amountMicros": 400_000, "reference": "wire 7", "idempotencyKey": "w7", "reason": "November" });
    let payouts = format!("{path}/payouts");
    let first = send(&api, &admin, Method::POST, &payouts, payout.clone()).await;
    let again = send(&api, &admin, Method::POST, &payouts, payout).await.json();
    assert_eq!((first.status.as_u16(), &again["isRepeat"]), (201, &json!(true)));
    assert_eq!(first.json()["id"], again["id"]);
    let too_much = json!({ "amountMicros": 300_001, "idempotencyKey": "w8", "reason": "November" });
    let too_much = send(&api, &admin, Method::POST, &payouts, too_much).await;
    assert_eq!(too_much.problem(), (409, "not_booked".to_owned()));
    let paid = async || {
        let listed = get(&api, &admin, &payouts).await.json();
        assert_eq!(listed["payouts"].as_array().unwrap().len(), 1);
        listed["payouts"][0]["reference"].clone()
    };
    assert_eq!(paid().await, "wire 7");
    let nobody = "/api/partners/01900000-0000-7000-8000-0000000000ff/payouts";
    assert_eq!(get(&api, &admin, nobody).await.problem().0, 404);

    let month = &get(&api, &admin, &format!("{path}/statement?months=1"))
        .await
        .json()["months"][0];
    assert_eq!(
        (&month["shareMicros"], &month["payoutsMicros"]),
        (&json!(700_000), &json!(400_000))
    );
    let csv = get(&api, &admin, &format!("{path}/statement.csv")).await;
    assert!(
        csv.text.contains(",1.000000,0.700000,0.400000\r\n"),
        "{}",
        csv.text
    );

    let replace = json!({ "overlapHours": 2, "reason": "a leak" });
    let replaced = send(
        &api,
        &admin,
        Method::POST,
        &format!("{path}/regenerate-key"),
        replace,
    )
    .await
    .json();
    let works = async |key: &str| {
        let found = api
            .store
            .partner_by_key(ApiKeyHash::of(key), api.clock.now())
            .await;
        found.unwrap().is_some()
    };
    assert!(works(&key).await && works(replaced["key"].as_str().unwrap()).await);
    api.clock.advance(Duration::from_secs(2 * 3600));
    assert!(!works(&key).await && works(replaced["key"].as_str().unwrap()).await);

    // Two hours without a sign of life: the device is gone.
    assert_eq!(
        delete(&api, &admin, &format!("{path}?reason=over")).await.status,
        204
    );
    assert_eq!(get(&api, &admin, &path).await.problem().0, 404);
    assert_eq!(paid().await, "wire 7", "what it got stays on record");
    let audit = get(&api, &admin, "/api/admin/audit?limit=10").await.json();
    let actions: Vec<&str> = audit["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "partner_deleted",
            "partner_key_replaced",
            "partner_paid",
            "partner_changed",
            "partner_created"
        ]
    );
    let checked = api.store.check_ledger().await.unwrap();
    assert!(checked.differences.is_empty(), "{checked}");
}

#[tokio::test]
async fn a_partner_is_made_with_the_share_that_was_agreed() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let make = async |more: Value| {
        let mut body = json!({ "name": "Games Ltd" });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        send(&api, &admin, Method::POST, "/api/partners", body).await
    };
    assert_eq!(make(json!({})).await.json()["revenueShare"], 70.0);
    assert_eq!(
        make(json!({ "revenueShare": 55.25 })).await.json()["revenueShare"],
        55.25
    );
    for wrong in [
        json!({ "revenueShare": 100.01 }),
        json!({ "revenueShare": 33.333 }),
    ] {
        assert_eq!(make(wrong).await.problem(), (400, "invalid_fields".to_owned()));
    }
    let misspelt = make(json!({ "revenue_share": 55 })).await;
    assert_eq!(misspelt.problem(), (400, "malformed_body".to_owned()));
}

#[tokio::test]
async fn a_partner_with_connected_devices_stays() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = partner(&api, &admin, "Games Ltd").await;
    a_sold_gigabyte(&api, &id).await;
    let refused = delete(&api, &admin, &format!("/api/partners/{id}?reason=over")).await;
    assert_eq!(refused.problem(), (409, "partner_has_devices".to_owned()));
}

#[tokio::test]
async fn a_partners_user_sees_and_does_its_own_partners_and_nothing_else() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (ours, _) = partner(&api, &admin, "Ours").await;
    let (theirs, key) = partner(&api, &admin, "Theirs").await;
    let (token, account) = user_of(&api, &admin, &ours, "ada@example.com").await;
    let (other, _) = user_of(&api, &admin, &theirs, "grace@example.com").await;
    a_sold_gigabyte(&api, &theirs).await;

    let profile = get(&api, &token, "/api/partner/profile").await.json();
    assert_eq!(
        (&profile["id"], &profile["totals"]["earnedMicros"]),
        (&json!(ours), &json!(0))
    );
    let profile = get(&api, &other, "/api/partner/profile").await.json();
    assert_eq!(
        (&profile["id"], &profile["totals"]["earnedMicros"]),
        (&json!(theirs), &json!(700_000))
    );
    for (path, field) in [
        ("devices", "devices"),
        ("devices/countries", "countries"),
        ("earnings", "days"),
        ("statement", "months"),
    ] {
        let path = format!("/api/partner/{path}");
        assert_eq!(get(&api, &token, &path).await.json()[field], json!([]), "{path}");
        let seen = get(&api, &other, &path).await;
        assert_eq!(seen.json()[field].as_array().unwrap().len(), 1, "{path}");
        assert!(
            !seen.text.contains("203.0.113.77") && !seen.text.contains("Passau"),
            "{path}"
        );
    }

    let made = send(
        &api,
        &other,
        Method::POST,
        "/api/partner/apps",
        game("com.example.game"),
    )
    .await
    .json();
    assert_eq!(made["state"], "pending");
    let app = format!("/api/partner/apps/{}", made["id"].as_str().unwrap());
    assert_eq!(
        send(&api, &token, Method::PUT, &app, game("com.example.other"))
            .await
            .problem()
            .0,
        404
    );
    assert_eq!(delete(&api, &token, &app).await.problem().0, 404);
    let taken = send(
        &api,
        &other,
        Method::POST,
        "/api/partner/apps",
        game("com.example.game"),
    )
    .await;
    assert_eq!(taken.problem(), (409, "app_taken".to_owned()));
    let review = format!(
        "/api/partners/{theirs}/apps/{}/review",
        made["id"].as_str().unwrap()
    );
    let decision = json!({ "state": "approved", "reason": "consent screen is fine" });
    assert_eq!(
        send(&api, &other, Method::PUT, &review, decision.clone())
            .await
            .problem()
            .0,
        403
    );
    assert_eq!(
        send(&api, &admin, Method::PUT, &review, decision).await.json()["state"],
        "approved"
    );

    let rotated = send(
        &api,
        &other,
        Method::POST,
        "/api/partner/key/rotate",
        json!({ "overlapHours": 0 }),
    )
    .await;
    assert_eq!(rotated.status, 201);
    let audit = get(
        &api,
        &admin,
        "/api/admin/audit?limit=1&action=partner_key_replaced",
    )
    .await;
    let record = &audit.json()["records"][0];
    assert_eq!(record["actor"], "user", "as the partner's own user, {record}");
    assert!(record["actorId"].is_string());
    let made = get(&api, &admin, "/api/admin/audit?limit=1&action=partner_created").await;
    assert_eq!(made.json()["records"][0]["actor"], "admin");
    let old = api
        .store
        .partner_by_key(ApiKeyHash::of(&key), api.clock.now())
        .await
        .unwrap();
    assert_eq!(old, None);

    // An account that nobody linked, one of an admin, and one that no longer acts for a partner.
    let stranger = api.token("nobody@example.com").await;
    for token in [&stranger, &admin] {
        let refused = get(&api, token, "/api/partner/profile").await;
        assert_eq!(refused.problem(), (403, "partners_only".to_owned()));
    }
    let page = get(&api, &admin, &format!("/api/partners/{ours}/users?limit=1"))
        .await
        .json();
    assert_eq!(
        (&page["users"][0]["accountId"], &page["nextCursor"]),
        (&json!(account), &Value::Null)
    );
    assert!(
        page["users"][0]["email"].as_str().unwrap().contains('@'),
        "{page}"
    );
    let (_, second) = user_of(&api, &admin, &ours, "second@example.com").await;
    let page = get(&api, &admin, &format!("/api/partners/{ours}/users?limit=1"))
        .await
        .json();
    assert_eq!(page["nextCursor"], json!(account));
    let next = format!("/api/partners/{ours}/users?limit=1&cursor={account}");
    let page = get(&api, &admin, &next).await.json();
    assert_eq!(
        (&page["users"][0]["accountId"], &page["nextCursor"]),
        (&json!(second), &Value::Null)
    );
    assert_eq!(get(&api, &token, &next).await.problem().0, 403);
    let users = format!("/api/partners/{theirs}/users");
    let body = json!({ "accountId": account, "reason": "again" });
    let refused = send(&api, &admin, Method::POST, &users, body).await;
    assert_eq!(refused.problem(), (409, "other_role".to_owned()));
    let link = format!("/api/partners/{ours}/users/{account}?reason=left");
    assert_eq!(delete(&api, &admin, &link).await.status, 204);
    assert_eq!(get(&api, &token, "/api/partner/profile").await.problem().0, 403);
}

#[tokio::test]
async fn an_app_that_is_looked_at_again_is_told_to_connected_devices_at_once() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = partner(&api, &admin, "Acme").await;
    let (token, _) = user_of(&api, &admin, &id, "partner@example.com").await;
    let made = send(&api, &token, Method::POST, "/api/partner/apps", game("a")).await;
    let app = made.json()["id"].as_str().unwrap().to_owned();
    let partner: PartnerId = id.parse().unwrap();
    let hears = async |states: &[AppState]| loop {
        let told = api.devices.heard.lock().iter().any(|news| {
            matches!(news, News::Apps { partner: of, apps }
                if *of == partner && apps.iter().map(|app| app.state).eq(states.iter().copied()))
        });
        if told {
            return;
        }
        tokio::task::yield_now().await;
    };
    let review = format!("/api/partners/{id}/apps/{app}/review");
    let decision = json!({ "state": "approved", "reason": "a test" });
    send(&api, &admin, Method::PUT, &review, decision).await;
    hears(&[AppState::Approved]).await;
    let path = format!("/api/partner/apps/{app}");
    let changed = send(&api, &token, Method::PUT, &path, game("b")).await;
    assert_eq!(changed.json()["state"], "pending");
    hears(&[AppState::Pending]).await;
    assert_eq!(delete(&api, &token, &path).await.status, 204);
    hears(&[]).await;
}

/// Every operation once, with its success.
pub(crate) async fn visit_everything(api: &Api, admin: &str) {
    let (id, _) = partner(api, admin, "Visited").await;
    let (token, account) = user_of(api, admin, &id, "partner@example.com").await;
    let path = format!("/api/partners/{id}");
    let made = send(api, admin, Method::POST, &format!("{path}/apps"), game("a"))
        .await
        .json();
    let review = format!("{path}/apps/{}/review", made["id"].as_str().unwrap());
    send(
        api,
        admin,
        Method::PUT,
        &review,
        json!({ "state": "approved", "reason": "a visit" }),
    )
    .await;
    a_sold_gigabyte(api, &id).await;
    let payout = json!({ "amountMicros": 1, "idempotencyKey": "visit", "reason": "a visit" });
    send(api, admin, Method::POST, &format!("{path}/payouts"), payout).await;
    for part in [
        "",
        "/devices",
        "/apps",
        "/statement",
        "/statement.csv",
        "/payouts",
    ] {
        get(api, admin, &format!("{path}{part}")).await;
    }
    get(api, admin, "/api/partners").await;
    send(
        api,
        &token,
        Method::POST,
        "/api/partner/key/rotate",
        json!({ "overlapHours": 1 }),
    )
    .await;
    let made = send(api, &token, Method::POST, "/api/partner/apps", game("b"))
        .await
        .json();
    let app = format!("/api/partner/apps/{}", made["id"].as_str().unwrap());
    send(api, &token, Method::PUT, &app, game("c")).await;
    delete(api, &token, &app).await;
    for part in [
        "profile",
        "apps",
        "devices",
        "devices/countries",
        "earnings",
        "statement",
        "statement.csv",
        "payouts",
    ] {
        get(api, &token, &format!("/api/partner/{part}")).await;
    }
    get(api, admin, &format!("{path}/users")).await;
    delete(api, admin, &format!("{path}/users/{account}?reason=over")).await;
    send(
        api,
        admin,
        Method::PATCH,
        &path,
        json!({ "isActive": false, "reason": "a visit" }),
    )
    .await;
    send(
        api,
        admin,
        Method::POST,
        &format!("{path}/regenerate-key"),
        json!({ "overlapHours": 0, "reason": "a visit" }),
    )
    .await;
    let (empty, _) = partner(api, admin, "Empty").await;
    delete(api, admin, &format!("/api/partners/{empty}?reason=over")).await;
}
