//! What admins do against abuse, and that all of it is on record.

use std::time::Duration;

use http::Method;
use iploop_platform::abuse::Cause;
use iploop_platform::clock::Clock as _;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, NodeId, RequestId};
use iploop_platform::usage::{Timings, UsageRecord};
use iploop_protocol::policy::RuleClass;
use serde_json::{Value, json};

use crate::harness::{Api, Settings, send};

pub(crate) async fn get(api: &Api, token: &str, path: &str) -> Value {
    api.get(path).bearer(token).send().await.json()
}

/// A verified customer's id and token.
pub(crate) async fn customer(api: &Api, email: &str) -> (String, String) {
    let login = api.register(email).await;
    let verify = api.mail_token().await;
    let verified = api.post("/api/auth/verify-email").json(&json!({"token": verify}));
    assert_eq!(verified.send().await.status, 200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&login["user"]["id"]), text(&login["token"]))
}

/// The newest record.
pub(crate) async fn newest(api: &Api, admin: &str) -> Value {
    get(api, admin, "/api/admin/audit?limit=1").await["records"][0].clone()
}

#[tokio::test]
async fn only_admins_get_in() {
    let api = Api::new().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    for path in [
        "/api/admin/policy",
        "/api/admin/audit",
        "/api/admin/refusals",
        "/api/admin/exits/lookup?ip=1.1.1.1&at=2025-11-24T16:00:00Z&reason=why",
        &format!("/api/admin/accounts/{id}/grants"),
    ] {
        let answer = api.get(path).bearer(&token).send().await;
        assert_eq!(answer.problem(), (403, "admin_only".to_owned()), "{path}");
        assert_eq!(api.get(path).send().await.problem().0, 401, "{path}");
    }
}

#[tokio::test]
async fn twenty_forbidden_dials_suspend_the_customer_and_tell_the_admins() {
    let api = Api::alone().await;
    let (_, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let account: AccountId = id.parse().unwrap();
    for _ in 0..20 {
        api.watch.refused(account, None, Cause::Rule(RuleClass::Loopback));
    }
    let mail = api.mail().await;
    assert_eq!(mail.to.to_string(), "root@iploop.test");
    assert!(
        mail.text.contains(&id) && mail.text.contains("20 dials in 10 minutes"),
        "{}",
        mail.text
    );
    assert_eq!(*api.changes.suspended.lock(), [account]);
    let answer = api.get("/api/auth/profile").bearer(&token).send().await;
    assert_eq!(answer.problem(), (401, "account_suspended".to_owned()));
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["actor"], &record["action"]),
        (&json!("system"), &json!("account_suspended"))
    );
    assert_eq!(
        (&record["before"]["status"], &record["after"]["status"]),
        (&json!("active"), &json!("suspended"))
    );

    let reason = json!({"reason": "a misunderstanding"});
    let path = format!("/api/admin/accounts/{id}/reinstate");
    assert_eq!(
        send(&api, &admin, Method::POST, &path, reason.clone())
            .await
            .status,
        204
    );
    assert_eq!(
        send(&api, &admin, Method::POST, &path, reason).await.problem(),
        (409, "already_so".to_owned())
    );
    assert_eq!(
        api.get("/api/auth/profile").bearer(&token).send().await.status,
        200
    );
}

#[tokio::test]
async fn admins_suspend_others_and_not_themselves_and_raise_new_customers() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let reason = json!({"reason": "abuse"});
    let suspend = |id: &str| format!("/api/admin/accounts/{id}/suspend");
    let own = send(
        &api,
        &admin,
        Method::POST,
        &suspend(&root.id.to_string()),
        reason.clone(),
    )
    .await;
    assert_eq!(own.problem().0, 400);
    let no_id = send(&api, &admin, Method::POST, &suspend("x"), reason.clone()).await;
    assert_eq!(no_id.problem(), (404, "account_not_found".to_owned()));
    assert_eq!(
        send(&api, &admin, Method::POST, &suspend(&id), reason)
            .await
            .status,
        204
    );
    assert_eq!(
        api.get("/api/auth/profile")
            .bearer(&token)
            .send()
            .await
            .problem()
            .0,
        401
    );

    let standing = json!({"standing": "established", "reason": "known for years"});
    let path = format!("/api/admin/accounts/{id}/standing");
    assert_eq!(
        send(&api, &admin, Method::PUT, &path, standing.clone())
            .await
            .status,
        204
    );
    assert_eq!(newest(&api, &admin).await["before"]["standing"], "new");
    assert_eq!(
        send(&api, &admin, Method::PUT, &path, standing).await.problem().0,
        409
    );
}

#[tokio::test]
async fn who_used_an_exit_is_told_to_admins_and_the_question_is_on_record() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let (account, key, node) = (id.parse().unwrap(), ApiKeyId::new(), NodeId::new());
    let now = api.clock.now();
    let record = UsageRecord {
        id: RequestId::new(),
        account,
        api_key: key,
        gateway: GatewayId::new(),
        node: Some(node),
        session: None,
        bytes_up: 1,
        bytes_down: 1,
        billable: true,
        proxy_type: "connect".to_owned(),
        destination: "example.com:443".to_owned(),
        exit_country: None,
        exit_city: None,
        exit_asn: None,
        exit_ip: Some("93.184.216.34".parse().unwrap()),
        timings: Timings::default(),
        status: Some(200),
        error: None,
        attempts: 1,
        started_at: now,
        ended_at: Some(now.plus(Duration::from_secs(5))),
    };
    api.store
        .settle(std::slice::from_ref(&record), now)
        .await
        .unwrap();
    let path = |at: &str| format!("/api/admin/exits/lookup?ip=93.184.216.34&at={at}&reason=complaint+12");
    let found = get(&api, &admin, &path(&now.to_string())).await["requests"][0].clone();
    assert_eq!(
        (
            &found["requestId"],
            &found["accountId"],
            &found["apiKeyId"],
            &found["nodeId"]
        ),
        (&json!(record.id), &json!(account), &json!(key), &json!(node))
    );
    let asked = newest(&api, &admin).await;
    assert_eq!(
        (&asked["action"], &asked["subject"]),
        (&json!("exit_looked_up"), &json!("93.184.216.34"))
    );
    assert_eq!(asked["reason"], "complaint 12");
    let hour_ago = now.minus(Duration::from_secs(3600)).to_string();
    assert_eq!(get(&api, &admin, &path(&hour_ago)).await["requests"], json!([]));
    for wrong in [
        "ip=93.184.216.34&at=yesterday&reason=why",
        "ip=example.com&at=2025-11-24T16:00:00Z&reason=why",
        "ip=93.184.216.34&at=2025-11-24T16:00:00Z",
        "ip=93.184.216.34&at=2025-11-24T16:00:00Z&reason=",
        "ip=93.184.216.34&at=2025-11-24T16:00:00Z&reason=why&within=3601",
    ] {
        let answer = api
            .get(&format!("/api/admin/exits/lookup?{wrong}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem().0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn refusals_are_counted_for_admins_by_rule_customer_and_device() {
    let mut settings = Settings::default();
    settings.abuse.suspend_after = 0;
    let api = Api::with(settings).await;
    let (_, admin) = api.admin().await;
    let (account, node) = (AccountId::new(), NodeId::new());
    for _ in 0..3 {
        api.watch
            .refused(account, Some(node), Cause::Rule(RuleClass::DeviceNetwork));
    }
    api.watch
        .refused(account, None, Cause::Rule(RuleClass::PlatformList));
    let path = format!("/api/admin/refusals?account={account}&node={node}&cause=device_network");
    let counted = loop {
        let refusals = get(&api, &admin, &path).await["refusals"].clone();
        if refusals != json!([]) {
            break refusals[0].clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&counted["count"], &counted["nodeId"]), (&json!(3), &json!(node)));
    let all = get(&api, &admin, "/api/admin/refusals?days=1").await;
    assert_eq!(all["refusals"].as_array().unwrap().len(), 2);
    let bounds = api
        .get("/api/admin/refusals?days=367")
        .bearer(&admin)
        .send()
        .await;
    assert_eq!(bounds.problem().0, 400);
}

#[tokio::test]
async fn the_record_comes_in_pages_and_has_no_way_to_change() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    for n in 0..5 {
        let entry = json!({"kind": "port", "value": n.to_string(), "category": "c", "reason": "many"});
        send(&api, &admin, Method::POST, "/api/admin/policy/entries", entry).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/admin/audit?limit=2".to_owned();
    loop {
        let page = get(&api, &admin, &path).await;
        let values = page["records"].as_array().unwrap().iter();
        seen.extend(values.map(|record| record["after"]["value"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/admin/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = api.call(method, "/api/admin/audit").bearer(&admin).send().await;
        assert_eq!(answer.problem().0, 405);
    }
    for wrong in ["limit=0", "limit=501", "action=nonsense", "cursor=x"] {
        let answer = api
            .get(&format!("/api/admin/audit?{wrong}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem().0, 400, "{wrong}");
    }
}

/// Every operation once, for the document.
pub(crate) async fn visit_everything(api: &Api, admin: &str) {
    let (id, _) = customer(api, "visited@example.com").await;
    let entry = json!({"kind": "suffix", "value": "bad.example", "category": "c", "reason": "a visit"});
    let added = send(api, admin, Method::POST, "/api/admin/policy/entries", entry)
        .await
        .json();
    let entry = format!(
        "/api/admin/policy/entries/{}?reason=over",
        added["id"].as_str().unwrap()
    );
    api.call(Method::DELETE, &entry).bearer(admin).send().await;
    let off = json!({"isOn": false, "reason": "a visit"});
    send(
        api,
        admin,
        Method::PUT,
        "/api/admin/policy/categories/ticketing",
        off,
    )
    .await;
    let limits = json!({"limits": null, "reason": "a visit"});
    send(api, admin, Method::PUT, "/api/admin/policy/limits", limits).await;
    let grants = format!("/api/admin/accounts/{id}/grants");
    let until = api.clock.now().plus(Duration::from_secs(60)).to_string();
    let grant = json!({"tcpPorts": "22", "until": until, "reason": "a visit"});
    let given = send(api, admin, Method::POST, &grants, grant).await.json();
    api.get(&grants).bearer(admin).send().await;
    let grant = format!("{grants}/{}?reason=over", given["id"].as_str().unwrap());
    api.call(Method::DELETE, &grant).bearer(admin).send().await;
    for act in ["suspend", "reinstate"] {
        let path = format!("/api/admin/accounts/{id}/{act}");
        send(api, admin, Method::POST, &path, json!({"reason": "a visit"})).await;
    }
    visit_users_and_plans(api, admin, &id).await;
    visit_devices(api, admin).await;
    let standing = json!({"standing": "established", "reason": "a visit"});
    let path = format!("/api/admin/accounts/{id}/standing");
    send(api, admin, Method::PUT, &path, standing).await;
    for path in [
        "/api/admin/policy",
        "/api/admin/audit",
        "/api/admin/audit/export",
        "/api/admin/users",
        "/api/admin/plans",
        "/api/admin/nodes",
        "/api/admin/settings",
        "/api/admin/stats",
        "/api/admin/revenue",
        "/api/platform",
        "/api/admin/refusals",
        "/api/admin/exits/lookup?ip=1.1.1.1&at=2025-11-24T16:00:00Z&reason=a+visit",
    ] {
        api.get(path).bearer(admin).send().await;
    }
}

async fn visit_users_and_plans(api: &Api, admin: &str, id: &str) {
    let user = format!("/api/admin/users/{id}");
    api.get(&user).bearer(admin).send().await;
    let why = json!({"reason": "a visit"});
    let path = format!("{user}/impersonate");
    send(api, admin, Method::POST, &path, why.clone()).await;
    for act in ["make-admin", "remove-admin"] {
        send(api, admin, Method::POST, &format!("{user}/{act}"), why.clone()).await;
    }
    let body = json!({"status": "suspended", "reason": "a visit"});
    send(api, admin, Method::PUT, &user, body).await;
    let body = json!({"action": "reinstate", "ids": [id], "reason": "a visit"});
    send(api, admin, Method::POST, "/api/admin/users/bulk", body).await;
    let body =
        json!({"email": "made@example.com", "firstName": "Ada", "lastName": "Lovelace", "reason": "a visit"});
    let made = send(api, admin, Method::POST, "/api/admin/users/create", body).await;
    let made = made.json()["user"]["id"].as_str().unwrap().to_owned();
    let gone = format!("/api/admin/users/{made}?reason=over");
    api.call(Method::DELETE, &gone).bearer(admin).send().await;
    let body = json!({"name": "Visited", "pricePerGb": "1", "reason": "a visit"});
    let plan = send(api, admin, Method::POST, "/api/admin/plans", body)
        .await
        .json();
    let path = format!("/api/admin/plans/{}", plan["id"].as_str().unwrap());
    let body = json!({"isActive": false, "reason": "a visit"});
    send(api, admin, Method::PUT, &path, body).await;
    let mut settings = get(api, admin, "/api/admin/settings").await;
    settings["reason"] = json!("a visit");
    send(api, admin, Method::PUT, "/api/admin/settings", settings).await;
}

async fn visit_devices(api: &Api, admin: &str) {
    let (node, _) = crate::admin_nodes::device(api, 9).await;
    api.devices
        .connected
        .lock()
        .insert(node, crate::devices::live_node());
    let path = format!("/api/admin/nodes/{node}");
    api.get(&path).bearer(admin).send().await;
    for act in ["drain", "ban", "unban"] {
        let body = json!({"reason": "a visit"});
        send(api, admin, Method::POST, &format!("{path}/{act}"), body).await;
    }
}
