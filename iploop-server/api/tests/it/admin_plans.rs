//! Plans, settings and figures, as admins see and change them.

use http::Method;
use iploop_platform::abuse::Actor;
use iploop_platform::clock::Clock as _;
use iploop_platform::ledger::{Act, NewEntry};
use serde_json::{Value, json};

use crate::admin::{customer, get, newest};
use crate::harness::{Api, PASSWORD, send};

async fn plan(api: &Api, admin: &str, name: &str) -> Value {
    let plans = get(api, admin, "/api/admin/plans").await;
    let mut plans = plans["plans"].as_array().unwrap().iter();
    plans.find(|plan| plan["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn plans_come_in_pages_by_number_and_by_cursor() {
    let api = Api::alone().await;
    let (_, admin) = api.admin().await;
    let names = |page: &Value| -> Vec<Value> {
        let plans = page["plans"].as_array().unwrap();
        plans.iter().map(|plan| plan["name"].clone()).collect()
    };
    let all = get(&api, &admin, "/api/admin/plans").await;
    assert_eq!(
        (&all["total"], &all["page"], &all["nextCursor"]),
        (&json!(4), &json!(1), &Value::Null)
    );
    let first = get(&api, &admin, "/api/admin/plans?limit=3").await;
    let cursor = first["nextCursor"].as_str().unwrap();
    for rest in [format!("limit=3&cursor={cursor}"), "limit=3&page=2".to_owned()] {
        let rest = get(&api, &admin, &format!("/api/admin/plans?{rest}")).await;
        assert_eq!([names(&first), names(&rest)].concat(), names(&all));
        assert_eq!(rest["nextCursor"], Value::Null);
    }
    for wrong in [
        "limit=0",
        "limit=201",
        "page=0",
        "cursor=x",
        &format!("page=1&cursor={cursor}"),
    ] {
        let answer = crate::harness::get(&api, &admin, &format!("/api/admin/plans?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

async fn change(api: &Api, admin: &str, plan: &Value, mut body: Value) -> crate::harness::Answer {
    body["reason"] = json!("new prices");
    let path = format!("/api/admin/plans/{}", plan["id"].as_str().unwrap());
    send(api, admin, Method::PUT, &path, body).await
}

#[tokio::test]
async fn a_plan_is_made_changed_and_told_to_the_gateways_of_its_accounts() {
    let api = Api::alone().await;
    let (_, admin) = api.admin().await;
    let body = json!({
        "name": "Tiny", "description": "For a trial.", "pricePerGb": 1.25, "includedGb": "0.5", "priceMonthly": 900,
        "maxConcurrentConnections": 3, "requestsPerDay": 100, "cityTargeting": true, "features": ["One"],
        "stripePriceMonthly": "price_123", "reason": "a new one",
    });
    let made = send(&api, &admin, Method::POST, "/api/admin/plans", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!(
        (&made["pricePerGb"], &made["includedBytes"]),
        (&json!("1.25"), &json!(500_000_000))
    );
    assert_eq!(
        (&made["isActive"], &made["stripePriceMonthly"]),
        (&json!(true), &json!("price_123"))
    );
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["action"], &record["after"]["name"]),
        (&json!("plan_created"), &json!("Tiny"))
    );
    let again = send(&api, &admin, Method::POST, "/api/admin/plans", body).await;
    assert_eq!(again.problem(), (409, "plan_name_taken".to_owned()));

    let (id, token) = customer(&api, "ada@example.com").await;
    let path = format!("/api/admin/users/{id}");
    let moved = json!({"plan": made["id"], "reason": "a trial"});
    assert_eq!(send(&api, &admin, Method::PUT, &path, moved).await.status, 200);
    api.changes.accounts.lock().clear();
    let changed = change(
        &api,
        &admin,
        &made,
        json!({"includedGb": null, "maxConcurrentConnections": 9}),
    )
    .await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let changed = changed.json();
    assert_eq!(
        (&changed["includedBytes"], &changed["name"]),
        (&Value::Null, &json!("Tiny"))
    );
    assert_eq!(changed["accounts"], 1);
    assert_eq!(*api.changes.accounts.lock(), [id.parse().unwrap()]);
    let profile = get(&api, &token, "/api/auth/profile").await;
    assert_eq!(profile["plan"]["maxConcurrentConnections"], 9);
    let record = newest(&api, &admin).await;
    assert_eq!(
        (
            &record["before"]["maxConcurrentConnections"],
            &record["after"]["maxConcurrentConnections"]
        ),
        (&json!(3), &json!(9))
    );

    for (field, value) in [
        ("pricePerGb", json!("-1")),
        ("pricePerGb", json!("1.0000001")),
        ("priceMonthly", json!(-1)),
        ("includedGb", json!("1e9")),
        ("requestsPerDay", json!(0)),
        ("maxConcurrentConnections", json!(0)),
        ("features", json!(["x".repeat(201)])),
        ("name", json!(" ")),
    ] {
        let answer = change(&api, &admin, &made, json!({ field: value })).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{field}");
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
    let unknown = change(&api, &admin, &made, json!({"price": 1})).await;
    assert_eq!(unknown.problem(), (400, "malformed_body".to_owned()));
    let nowhere = json!({"id": "01900000-0000-7000-8000-0000000000ff"});
    assert_eq!(
        change(&api, &admin, &nowhere, json!({})).await.problem().1,
        "plan_not_found"
    );
}

#[tokio::test]
async fn the_plan_of_new_accounts_stays_on_offer_also_under_another_name() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let starter = plan(&api, &admin, "Starter").await;
    let off = change(&api, &admin, &starter, json!({"isActive": false})).await;
    assert_eq!(off.problem(), (409, "first_plan".to_owned()));
    let renamed = change(&api, &admin, &starter, json!({"name": "Free"})).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    let token = api.token("ada@example.com").await;
    assert_eq!(
        get(&api, &token, "/api/auth/profile").await["plan"]["name"],
        "Free"
    );

    let business = plan(&api, &admin, "Business").await;
    assert_eq!(
        change(&api, &admin, &business, json!({"isActive": false}))
            .await
            .status,
        200
    );
    let (id, _) = customer(&api, "grace@example.com").await;
    let path = format!("/api/admin/users/{id}");
    let moved = json!({"plan": business["id"], "reason": "a ticket"});
    assert_eq!(
        send(&api, &admin, Method::PUT, &path, moved).await.problem().0,
        400
    );
}

/// Writes the settings with changes.
async fn set(api: &Api, admin: &str, changes: Value) -> crate::harness::Answer {
    let mut stored = get(api, admin, "/api/admin/settings").await;
    for (name, value) in changes.as_object().unwrap() {
        stored["settings"][name] = value.clone();
    }
    stored["reason"] = json!("as decided");
    send(api, admin, Method::PUT, "/api/admin/settings", stored).await
}

#[tokio::test]
async fn closed_registrations_refuse_strangers_and_not_admins() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    assert_eq!(
        set(&api, &admin, json!({"registrationsOpen": false}))
            .await
            .status,
        200
    );
    let record = newest(&api, &admin).await;
    assert_eq!(
        (
            &record["before"]["registrationsOpen"],
            &record["after"]["registrationsOpen"]
        ),
        (&json!(true), &json!(false))
    );
    let body =
        json!({"email": "ada@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
    let refused = api.post("/api/auth/register").json(&body).send().await;
    assert_eq!(refused.problem(), (403, "registrations_closed".to_owned()));
    assert_eq!(
        api.get("/api/platform").send().await.json()["registrationsOpen"],
        false
    );
    let mut by_admin = body.clone();
    by_admin["reason"] = json!("a ticket");
    let made = send(&api, &admin, Method::POST, "/api/admin/users/create", by_admin).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        set(&api, &admin, json!({"registrationsOpen": true})).await.status,
        200
    );
    api.register("grace@example.com").await;
}

#[tokio::test]
async fn new_accounts_start_with_the_bonus_plan_and_standing_of_the_settings() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let growth = plan(&api, &admin, "Growth").await;
    let changes = json!({"bonusBytes": 7, "firstPlan": growth["id"], "newStanding": "established"});
    let written = set(&api, &admin, changes).await;
    assert_eq!(written.status, 200, "{}", written.text);
    assert_eq!(written.json()["version"], 2);
    assert_eq!(api.get("/api/platform").send().await.json()["bonusBytes"], 7);
    let login = api.register("ada@example.com").await;
    let path = format!("/api/admin/users/{}", login["user"]["id"].as_str().unwrap());
    let user = get(&api, &admin, &path).await["user"].clone();
    assert_eq!(
        (&user["plan"], &user["balanceBytes"], &user["standing"]),
        (&json!("Growth"), &json!(7), &json!("established"))
    );
}

#[tokio::test]
async fn the_notice_and_the_address_of_support_are_shown_as_text() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let changes = json!({"notice": " <b>Away</b> on Sunday ", "supportAddress": "help@iploop.test"});
    assert_eq!(set(&api, &admin, changes).await.status, 200);
    let platform = api.get("/api/platform").send().await.json();
    assert_eq!(
        (&platform["notice"], &platform["supportAddress"]),
        (&json!("<b>Away</b> on Sunday"), &json!("help@iploop.test"))
    );
    let page = api.get("/").send().await.text;
    assert!(page.contains("&lt;b&gt;Away&lt;/b&gt; on Sunday"), "{page}");
    assert!(page.contains("help@iploop.test"));
    assert_eq!(
        set(&api, &admin, json!({"notice": null, "supportAddress": ""}))
            .await
            .status,
        200
    );
    assert!(!api.get("/").send().await.text.contains("Away"));
}

#[tokio::test]
async fn settings_are_written_whole_by_who_read_the_newest() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let mut stale = get(&api, &admin, "/api/admin/settings").await;
    assert_eq!(stale["version"], 1);
    assert_eq!(set(&api, &admin, json!({"bonusBytes": 1})).await.status, 200);
    stale["reason"] = json!("too late");
    let answer = send(&api, &admin, Method::PUT, "/api/admin/settings", stale).await;
    assert_eq!(answer.problem(), (409, "settings_changed".to_owned()));
    for (field, value) in [
        ("bonusBytes", json!(-1)),
        ("supportAddress", json!("nobody")),
        ("notice", json!("x".repeat(501))),
        ("firstPlan", json!("01900000-0000-7000-8000-0000000000ff")),
    ] {
        let answer = set(&api, &admin, json!({ field: value })).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{field}");
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
    let unknown = set(&api, &admin, json!({"theme": "dark"})).await;
    assert_eq!(unknown.problem(), (400, "malformed_body".to_owned()));
}

#[tokio::test]
async fn figures_cover_users_traffic_and_devices() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let login = api.register("ada@example.com").await;
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    crate::requests::some_request(&api, account).await;
    let stats = get(&api, &admin, "/api/admin/stats").await;
    assert_eq!(
        (&stats["users"]["total"], &stats["users"]["admins"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(stats["plans"], json!({"Starter": 2}));
    assert_eq!(stats["allTime"]["requests"], 1);
    assert_eq!(stats["nodes"]["byCountry"], json!({"DE": 1, "US": 2}));
    assert_eq!(
        (&stats["nodes"]["connected"], &stats["nodes"]["total"]),
        (&json!(3), &json!(0))
    );
    // Counted at most every half minute.
    api.register("grace@example.com").await;
    assert_eq!(get(&api, &admin, "/api/admin/stats").await, stats);
}

#[tokio::test]
async fn revenue_is_by_day_or_month_and_by_plan() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let login = api.register("ada@example.com").await;
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let act = Act::Purchase {
        account,
        bytes: 25_000_000_000,
        money_micros: 149_000_000,
        reference: None,
    };
    let entry = NewEntry {
        act,
        description: "Growth".into(),
        reason: None,
        actor: Actor::System,
        key: None,
        metadata: json!({}),
        audit: None,
        now: api.clock.now(),
    };
    api.store.book(&entry).await.unwrap();
    let days = get(&api, &admin, "/api/admin/revenue").await;
    assert_eq!(days["periods"][0]["from"], "2025-11-24T00:00:00Z");
    assert_eq!(days["total"]["purchased"], "149.00");
    assert_eq!(days["plans"][0]["plan"], "Starter");
    let months = "/api/admin/revenue?from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&by=month";
    let months = get(&api, &admin, months).await;
    assert_eq!(months["periods"][0]["from"], "2025-11-01T00:00:00Z");
    assert_eq!(months["periods"][0]["figures"], days["total"]);
    for query in [
        "from=2020-01-01T00:00:00Z",
        "from=2025-01-02T00:00:00Z&to=2025-01-01T00:00:00Z",
    ] {
        let answer = api
            .get(&format!("/api/admin/revenue?{query}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{query}");
    }
}
