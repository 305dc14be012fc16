//! What admins do to users that are not there.

use http::Method;
use iploop_platform::abuse::{AuditEntry, AuditQuery};
use iploop_platform::ids::AccountId;
use serde_json::{Value, json};

use crate::harness::Api;

/// Every act of admins on one user: how, where, with what.
fn acts() -> Vec<Act> {
    let why = || Some(json!({ "reason": "a test" }));
    vec![
        (Method::GET, "/api/admin/users/ID", None),
        (
            Method::PUT,
            "/api/admin/users/ID",
            Some(json!({ "status": "suspended", "reason": "a test" })),
        ),
        (
            Method::PUT,
            "/api/admin/users/ID",
            Some(json!({
                "balance": { "bytes": 1, "idempotencyKey": "a test" }, "reason": "a test"
            })),
        ),
        (Method::DELETE, "/api/admin/users/ID?reason=a+test", None),
        (Method::POST, "/api/admin/users/ID/make-admin", why()),
        (Method::POST, "/api/admin/users/ID/remove-admin", why()),
        (Method::POST, "/api/admin/users/ID/impersonate", why()),
        (Method::POST, "/api/admin/users/ID/forgive-debt", why()),
        (Method::GET, "/api/admin/accounts/ID/grants", None),
        (
            Method::POST,
            "/api/admin/accounts/ID/grants",
            Some(json!({ "rule": "as112", "until": "2025-12-30T00:00:00Z", "reason": "a test" })),
        ),
        (
            Method::DELETE,
            "/api/admin/accounts/ID/grants/0199c0de-0000-7000-8000-000000000001?reason=a+test",
            None,
        ),
        (Method::POST, "/api/admin/accounts/ID/suspend", why()),
        (Method::POST, "/api/admin/accounts/ID/reinstate", why()),
        (
            Method::PUT,
            "/api/admin/accounts/ID/standing",
            Some(json!({ "standing": "established", "reason": "a test" })),
        ),
        (
            Method::PUT,
            "/api/admin/owners/ID/hold",
            Some(json!({ "isHeld": true, "reason": "a test" })),
        ),
    ]
}

async fn act(api: &Api, admin: &str, (method, path, body): &Act, id: &str) -> (u16, String) {
    let call = api.call(method.clone(), &path.replace("ID", id)).bearer(admin);
    let call = match body {
        Some(body) => call.json(body),
        None => call,
    };
    call.send().await.problem()
}

type Act = (Method, &'static str, Option<Value>);

async fn records(api: &Api) -> Vec<AuditEntry> {
    let query = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    api.store.audit_entries(&query).await.unwrap()
}

#[tokio::test]
async fn every_act_of_admins_on_a_user_that_is_not_there_is_not_found() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let before = records(&api).await;
    let plan = api.store.plans().await.unwrap()[0].id.to_string();
    // Nobody's id, the id of something else, and none at all.
    for id in [AccountId::new().to_string(), plan, "no-id".to_owned()] {
        for wanted in acts() {
            let (method, path, _) = &wanted;
            assert_eq!(
                act(&api, &admin, &wanted, &id).await,
                (404, "account_not_found".to_owned()),
                "{method} {path} {id}"
            );
        }
    }
    assert_eq!(records(&api).await, before, "nothing went on record");
}

#[tokio::test]
async fn a_partner_is_linked_with_accounts_that_are_there_and_of_the_right_role() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let made = api
        .post("/api/partners")
        .bearer(&admin)
        .json(&json!({ "name": "Acme" }))
        .send()
        .await
        .json();
    let users = format!("/api/partners/{}/users", made["id"].as_str().unwrap());
    for (account, problem) in [
        (AccountId::new().to_string(), (404, "account_not_found")),
        (root.id.to_string(), (409, "other_role")),
    ] {
        let body = json!({ "accountId": account, "reason": "a test" });
        let refused = api.post(&users).bearer(&admin).json(&body).send().await;
        assert_eq!(refused.problem(), (problem.0, problem.1.to_owned()));
        let path = format!("{users}/{account}?reason=a+test");
        let refused = api.call(Method::DELETE, &path).bearer(&admin).send().await;
        assert_eq!(refused.problem().0, 404);
    }
}
