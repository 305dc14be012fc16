//! Admins who look on as a customer: they see, change nothing, show themselves, and are on record.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::admin::{customer, get, newest};
use crate::harness::{Answer, Api, PASSWORD, send};

async fn look_on(api: &Api, admin: &str, user: &str) -> Answer {
    let path = format!("/api/admin/users/{user}/impersonate");
    send(api, admin, Method::POST, &path, json!({"reason": "ticket 12"})).await
}

async fn token(api: &Api, admin: &str, user: &str) -> String {
    let answer = look_on(api, admin, user).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn state(api: &Api, token: &str) -> (u16, Value) {
    let answer = api.get("/api/auth/profile").bearer(token).send().await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn who_looks_on_sees_the_customers_data_and_shows_itself() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, own) = customer(&api, "ada@example.com").await;
    let token = token(&api, &admin, &id).await;
    let record = newest(&api, &admin).await;
    assert_eq!(
        (
            &record["action"],
            &record["actorId"],
            &record["accountId"],
            &record["reason"]
        ),
        (
            &json!("impersonation_started"),
            &json!(root.id),
            &json!(id),
            &json!("ticket 12")
        )
    );
    let (status, profile) = state(&api, &token).await;
    assert_eq!(
        (status, &profile["user"]["email"]),
        (200, &json!("ada@example.com"))
    );
    assert_eq!(profile["impersonatedBy"], json!(root.id));
    assert_eq!(state(&api, &own).await.1["impersonatedBy"], Value::Null);
    assert_eq!(
        api.get("/api/usage/summary").bearer(&token).send().await.status,
        200
    );
    assert_eq!(get(&api, &token, "/api/proxy/keys").await["keys"], json!([]));
    // It opens nothing of the admin's.
    let admins = api.get("/api/admin/users").bearer(&token).send().await;
    assert_eq!(admins.problem(), (403, "admin_only".to_owned()));
}

#[tokio::test]
async fn no_changing_operation_of_the_document_lets_it_change_anything() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let token = token(&api, &admin, &id).await;
    let document = serde_json::to_value(iploop_api::openapi()).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "get" || operation["security"].is_null() || path == "/api/auth/logout" {
                continue;
            }
            let mut real = path.clone();
            while let Some((before, rest)) = real.split_once('{') {
                let (_, after) = rest.split_once('}').unwrap();
                real = format!("{before}01900000-0000-7000-8000-000000000001{after}");
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = api
                .call(method.clone(), &real)
                .bearer(&token)
                .json(&json!({}))
                .send()
                .await;
            assert_eq!(
                answer.problem(),
                (403, "impersonation_read_only".to_owned()),
                "{method} {path}"
            );
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn it_ends_after_a_quarter_of_an_hour_by_logout_and_with_the_admins_own_login() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let first = token(&api, &admin, &id).await;
    api.clock.advance(Duration::from_secs(15 * 60 - 1));
    assert_eq!(state(&api, &first).await.0, 200);
    api.clock.advance(Duration::from_secs(1));
    assert_eq!(state(&api, &first).await.1["code"], "token_expired");

    let second = token(&api, &admin, &id).await;
    assert_eq!(
        api.post("/api/auth/logout").bearer(&second).send().await.status,
        204
    );
    assert_eq!(state(&api, &second).await.1["code"], "token_revoked");
    assert_eq!(state(&api, &admin).await.0, 200, "the admin's own goes on");

    let third = token(&api, &admin, &id).await;
    assert_eq!(
        api.post("/api/auth/logout").bearer(&admin).send().await.status,
        204
    );
    assert_eq!(state(&api, &third).await.1["code"], "token_revoked");

    // As does an admin who is none any more.
    let login = json!({"email": root.email, "password": PASSWORD});
    let login = api.post("/api/auth/login").json(&login).send().await.json();
    let admin = login["token"].as_str().unwrap();
    let fourth = token(&api, admin, &id).await;
    let other = json!({
        "email": "second@iploop.test", "password": PASSWORD, "firstName": "Grace", "lastName": "Hopper",
        "role": "admin", "emailVerified": true, "reason": "a ticket",
    });
    let made = send(&api, admin, Method::POST, "/api/admin/users/create", other).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let login = json!({"email": "second@iploop.test", "password": PASSWORD});
    let login = api.post("/api/auth/login").json(&login).send().await.json();
    let path = format!("/api/admin/users/{}/remove-admin", root.id);
    let second = login["token"].as_str().unwrap();
    let removed = send(&api, second, Method::POST, &path, json!({"reason": "left us"})).await;
    assert_eq!(removed.status, 204);
    assert_eq!(state(&api, &fourth).await.1["code"], "token_revoked");
}

#[tokio::test]
async fn nobody_looks_on_as_an_admin_or_who_is_not_active_or_without_a_reason() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, own) = customer(&api, "ada@example.com").await;
    let of_admin = look_on(&api, &admin, &root.id.to_string()).await;
    assert_eq!(of_admin.problem(), (409, "cannot_impersonate".to_owned()));
    assert_eq!(
        look_on(&api, &own, &id).await.problem(),
        (403, "admin_only".to_owned())
    );
    let path = format!("/api/admin/users/{id}/impersonate");
    let silent = send(&api, &admin, Method::POST, &path, json!({"reason": " "})).await;
    assert_eq!(silent.problem(), (400, "invalid_fields".to_owned()));
    let suspend = json!({"reason": "a ticket"});
    let suspended = format!("/api/admin/accounts/{id}/suspend");
    send(&api, &admin, Method::POST, &suspended, suspend).await;
    assert_eq!(look_on(&api, &admin, &id).await.problem().1, "cannot_impersonate");
    let nobody = "01900000-0000-7000-8000-0000000000ff";
    assert_eq!(look_on(&api, &admin, nobody).await.problem().0, 404);
}
