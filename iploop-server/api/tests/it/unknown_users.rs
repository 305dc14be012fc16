//! What admins do to users that are not there, or not any more.

use http::Method;
use iploop_platform::abuse::{AuditEntry, AuditQuery};
use iploop_platform::ids::AccountId;
use serde_json::{Value, json};

use crate::admin::customer;
use crate::harness::{Api, send};

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
async fn every_act_of_admins_on_a_deleted_user_is_refused_alike() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let ticket = json!({ "subject": "Help", "message": "How?" });
    let ticket = send(&api, &token, Method::POST, "/api/support/tickets", ticket)
        .await
        .json();
    let partner = send(
        &api,
        &admin,
        Method::POST,
        "/api/partners",
        json!({ "name": "Acme" }),
    )
    .await
    .json();
    let user = format!("/api/admin/users/{id}?reason=a+test");
    let delete = || api.call(Method::DELETE, &user).bearer(&admin).send();
    assert_eq!(delete().await.status, 204);

    let before = records(&api).await;
    let of = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let gone = (409, "account_deleted".to_owned());
    for wanted in acts() {
        let (method, path, _) = &wanted;
        if *method == Method::POST || *method == Method::PUT {
            assert_eq!(act(&api, &admin, &wanted, &id).await, gone, "{method} {path}");
        }
    }
    for (path, body) in [
        (
            format!("/api/partners/{}/users", of(&partner)),
            json!({ "accountId": id, "reason": "a test" }),
        ),
        (
            format!("/api/admin/tickets/{}/answer", of(&ticket)),
            json!({ "answer": "So." }),
        ),
    ] {
        let refused = send(&api, &admin, Method::POST, &path, body).await;
        assert_eq!(refused.problem(), gone, "{path}");
    }
    for action in ["suspend", "reinstate"] {
        let body = json!({ "action": action, "ids": [id], "reason": "a test" });
        let answer = send(&api, &admin, Method::POST, "/api/admin/users/bulk", body)
            .await
            .json();
        assert_eq!(answer["results"][0]["code"], "account_deleted", "{action}");
    }
    assert_eq!(delete().await.status, 204, "it is so already");
    assert_eq!(records(&api).await, before, "nothing went on record");
    // What is left of it can still be put in order.
    let close = format!("/api/admin/tickets/{}/close", of(&ticket));
    let closed = send(&api, &admin, Method::POST, &close, json!({ "reason": "a test" })).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
}

#[tokio::test]
async fn nobody_becomes_a_partner_without_one() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let new = json!({
        "email": "new@example.com", "firstName": "Ada", "lastName": "Lovelace", "role": "partner", "reason": "a test"
    });
    let change = json!({ "role": "partner", "reason": "a test" });
    for (method, path, body) in [
        (Method::PUT, format!("/api/admin/users/{id}"), change),
        (Method::POST, "/api/admin/users/create".to_owned(), new),
    ] {
        let refused = send(&api, &admin, method, &path, body).await;
        assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
        let error = &refused.json()["errors"][0];
        assert_eq!(error["field"], "role");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("POST /api/partners/{partnerId}/users"),
            "{message}"
        );
    }
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
