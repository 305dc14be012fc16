//! What admins do with users, and that all of it is on record.

use http::Method;
use serde_json::{Value, json};

use crate::admin::{customer, get, newest};
use crate::harness::{Api, PASSWORD, send};

fn why(mut body: Value) -> Value {
    body["reason"] = json!("a ticket");
    body
}

/// The id of the first user that a search finds.
async fn found(api: &Api, admin: &str, query: &str) -> Vec<String> {
    let list = get(api, admin, &format!("/api/admin/users?{query}")).await;
    let emails = list["users"].as_array().unwrap().iter();
    emails
        .map(|user| user["email"].as_str().unwrap().to_owned())
        .collect()
}

/// A second admin's id and token.
async fn second_admin(api: &Api, admin: &str) -> (String, String) {
    let body = why(json!({
        "email": "second@iploop.test", "password": PASSWORD, "firstName": "Grace", "lastName": "Hopper",
        "role": "admin", "emailVerified": true,
    }));
    let made = send(api, admin, Method::POST, "/api/admin/users/create", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let login = json!({"email": "second@iploop.test", "password": PASSWORD});
    let login = api.post("/api/auth/login").json(&login).send().await.json();
    let id = made.json()["user"]["id"].as_str().unwrap().to_owned();
    (id, login["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn users_are_listed_with_plan_and_balance_by_page_and_cursor() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    for name in ["ada", "grace", "edsger"] {
        api.register(&format!("{name}@example.com")).await;
    }
    let list = get(&api, &admin, "/api/admin/users?page=1&limit=2&status=&search=").await;
    assert_eq!((&list["total"], &list["page"]), (&json!(4), &json!(1)));
    let first = &list["users"][0];
    assert_eq!(first["email"], "edsger@example.com", "newest first");
    assert_eq!(
        (&first["plan"], &first["gbBalance"]),
        (&json!("Starter"), &json!(5.0))
    );
    assert_eq!(
        (&first["balanceBytes"], &first["usedBytes"]),
        (&json!(5_000_000_000_i64), &json!(0))
    );
    let next = list["nextCursor"].as_str().unwrap();
    let behind = found(&api, &admin, &format!("limit=2&cursor={next}")).await;
    assert_eq!(behind, found(&api, &admin, "page=2&limit=2").await);
    assert_eq!(behind, ["ada@example.com", "root@iploop.test"]);
    assert_eq!(found(&api, &admin, "search=GRACE").await, ["grace@example.com"]);
    assert_eq!(found(&api, &admin, "role=admin").await, ["root@iploop.test"]);
    assert!(found(&api, &admin, "search=%25").await.is_empty());
    for query in [
        "limit=0",
        "limit=201",
        "page=0",
        "status=gone",
        "role=king",
        "plan=starter",
        "cursor=x",
        "page=4000000&limit=200",
        &format!("page=2&cursor={next}"),
    ] {
        let answer = api
            .get(&format!("/api/admin/users?{query}"))
            .bearer(&admin)
            .send()
            .await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_user_made_by_an_admin_signs_in_with_the_password_shown_once() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let body = why(json!({"email": "new@example.com", "firstName": "Ada", "lastName": "Lovelace"}));
    let path = "/api/admin/users/create";
    let made = send(&api, &admin, Method::POST, path, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!(
        (&made["user"]["role"], &made["user"]["plan"]),
        (&json!("customer"), &json!("Starter"))
    );
    let login = json!({"email": "new@example.com", "password": made["generatedPassword"]});
    assert_eq!(api.post("/api/auth/login").json(&login).send().await.status, 200);
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["action"], &record["actorId"]),
        (&json!("user_created"), &json!(root.id))
    );
    assert_eq!(record["accountId"], made["user"]["id"]);
    assert!(
        !record
            .to_string()
            .contains(made["generatedPassword"].as_str().unwrap())
    );

    let again = send(&api, &admin, Method::POST, path, body).await;
    assert_eq!(again.problem(), (409, "email_taken".to_owned()));
    for (field, value) in [
        ("email", json!("nobody")),
        ("firstName", json!("A")),
        ("password", json!("short")),
        ("reason", json!("")),
        ("role", json!("admin")),
        ("plan", json!("01900000-0000-7000-8000-0000000000ff")),
    ] {
        let mut wrong = why(json!({"email": "x@example.com", "firstName": "Ada", "lastName": "Lovelace"}));
        wrong[field] = value;
        let answer = send(&api, &admin, Method::POST, path, wrong).await;
        assert_eq!(answer.problem(), (400, "invalid_fields".to_owned()), "{field}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{}", answer.text);
    }
    let mut unknown = why(json!({"email": "x@example.com", "firstName": "Ada", "lastName": "Lovelace"}));
    unknown["isAdmin"] = json!(true);
    let answer = send(&api, &admin, Method::POST, path, unknown).await;
    assert_eq!(answer.problem(), (400, "malformed_body".to_owned()));
}

#[tokio::test]
async fn a_changed_plan_is_told_to_the_gateways_and_on_record() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let plans = get(&api, &admin, "/api/admin/plans").await;
    let growth = plans["plans"].as_array().unwrap().iter();
    let growth = &growth.clone().find(|plan| plan["name"] == "Growth").unwrap()["id"];
    let path = format!("/api/admin/users/{id}");
    let changed = send(&api, &admin, Method::PUT, &path, why(json!({"plan": growth}))).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let changed = changed.json();
    assert_eq!(changed["user"]["plan"], "Growth");
    let record = &changed["records"][0];
    assert_eq!(
        (
            &record["action"],
            &record["before"]["name"],
            &record["after"]["name"]
        ),
        (&json!("user_plan_changed"), &json!("Starter"), &json!("Growth"))
    );
    assert!(api.changes.accounts.lock().contains(&id.parse().unwrap()));
    let profile = get(&api, &token, "/api/auth/profile").await;
    assert_eq!(profile["plan"]["name"], "Growth");

    for (body, problem) in [
        (json!({}), (400, "malformed_body")),
        (json!({"status": "deleted"}), (400, "invalid_fields")),
        (json!({"plan": id}), (400, "invalid_fields")),
        (json!({"password": "x"}), (400, "malformed_body")),
    ] {
        let answer = send(&api, &admin, Method::PUT, &path, why(body)).await;
        assert_eq!(
            answer.problem(),
            (problem.0, problem.1.to_owned()),
            "{}",
            answer.text
        );
    }
    let nobody = "/api/admin/users/01900000-0000-7000-8000-0000000000ff";
    let answer = send(
        &api,
        &admin,
        Method::PUT,
        nobody,
        why(json!({"status": "active"})),
    )
    .await;
    assert_eq!(answer.problem(), (404, "account_not_found".to_owned()));
}

#[tokio::test]
async fn a_suspended_user_goes_on_where_it_was_and_a_deleted_one_never() {
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let key = json!({"name": "one"});
    let key = api.post("/api/proxy/keys").bearer(&token).json(&key).send().await;
    assert_eq!(key.status, 201);
    let path = format!("/api/admin/users/{id}");
    let set = async |status: &str| {
        let body = why(json!({ "status": status }));
        send(&api, &admin, Method::PUT, &path, body).await
    };
    assert_eq!(set("suspended").await.json()["user"]["status"], "suspended");
    assert!(api.changes.suspended.lock().contains(&id.parse().unwrap()));
    assert_eq!(
        api.get("/api/auth/profile")
            .bearer(&token)
            .send()
            .await
            .problem()
            .1,
        "account_suspended"
    );
    assert_eq!(set("active").await.status, 200);
    assert_eq!(
        api.get("/api/auth/profile").bearer(&token).send().await.status,
        200
    );

    let gone = api
        .call(Method::DELETE, &format!("{path}?reason=asked+for"))
        .bearer(&admin);
    assert_eq!(gone.send().await.status, 204);
    assert_eq!(
        api.get("/api/auth/profile")
            .bearer(&token)
            .send()
            .await
            .problem()
            .0,
        401
    );
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    let login = api.post("/api/auth/login").json(&login).send().await;
    assert_eq!(login.problem(), (401, "invalid_credentials".to_owned()));
    assert_eq!(set("active").await.problem(), (409, "account_deleted".to_owned()));
    let detail = get(&api, &admin, &path).await;
    assert_eq!(
        (&detail["user"]["status"], &detail["keys"][0]["isActive"]),
        (&json!("deleted"), &json!(false))
    );
    assert_eq!(detail["records"][0]["action"], "user_deleted");
    let list = get(&api, &admin, "/api/admin/users?status=deleted").await;
    assert_eq!(list["total"], 1);
}

#[tokio::test]
async fn admins_are_made_and_unmade_and_none_takes_its_own_rights_away() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let act = async |admin: &str, user: &str, act: &str| {
        let path = format!("/api/admin/users/{user}/{act}");
        send(&api, admin, Method::POST, &path, why(json!({}))).await
    };
    assert_eq!(
        api.get("/api/admin/users")
            .bearer(&token)
            .send()
            .await
            .problem()
            .1,
        "admin_only"
    );
    assert_eq!(act(&admin, &id, "make-admin").await.status, 204);
    let again = act(&admin, &id, "make-admin").await;
    assert_eq!(again.problem(), (409, "already_so".to_owned()));
    assert_eq!(
        api.get("/api/admin/users").bearer(&token).send().await.status,
        200
    );
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["before"]["role"], &record["after"]["role"]),
        (&json!("customer"), &json!("admin"))
    );

    let own = root.id.to_string();
    let path = format!("/api/admin/users/{own}");
    assert_eq!(
        act(&admin, &own, "remove-admin").await.problem(),
        (409, "own_account".to_owned())
    );
    let suspend = why(json!({"status": "suspended"}));
    assert_eq!(
        send(&api, &admin, Method::PUT, &path, suspend).await.problem().1,
        "own_account"
    );
    let gone = api
        .call(Method::DELETE, &format!("{path}?reason=asked+for"))
        .bearer(&admin);
    assert_eq!(gone.send().await.problem().1, "own_account");

    assert_eq!(act(&token, &own, "remove-admin").await.status, 204);
    assert_eq!(
        api.get("/api/admin/users")
            .bearer(&admin)
            .send()
            .await
            .problem()
            .1,
        "admin_only"
    );
    let unverified = api.register("new@example.com").await["user"]["id"].clone();
    let refused = act(&token, unverified.as_str().unwrap(), "make-admin").await;
    assert_eq!(refused.problem(), (400, "invalid_fields".to_owned()));
}

#[tokio::test]
async fn of_two_admins_who_unmake_each_other_one_is_left() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (second, other) = second_admin(&api, &admin).await;
    let remove = async |admin: &str, user: &str| {
        let path = format!("/api/admin/users/{user}/remove-admin");
        send(&api, admin, Method::POST, &path, why(json!({})))
            .await
            .status
    };
    let root = root.id.to_string();
    let (one, two) = tokio::join!(remove(&admin, &second), remove(&other, &root));
    assert!(
        [one, two].iter().filter(|status| status.as_u16() == 204).count() == 1,
        "{one} {two}"
    );
    let left = get(
        &api,
        if one == 204 { &admin } else { &other },
        "/api/admin/users?role=admin",
    )
    .await;
    assert_eq!(left["total"], 1);
}

#[tokio::test]
async fn a_bulk_act_says_what_came_of_each() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (ada, _) = customer(&api, "ada@example.com").await;
    let (grace, _) = customer(&api, "grace@example.com").await;
    let nobody = "01900000-0000-7000-8000-0000000000ff";
    let bulk = async |body: Value| send(&api, &admin, Method::POST, "/api/admin/users/bulk", why(body)).await;
    let ids = json!([ada, nobody, root.id, ada, grace]);
    let suspended = bulk(json!({"action": "suspend", "ids": ids})).await.json();
    let codes: Vec<_> = suspended["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert_eq!(
        codes,
        [
            &json!(null),
            &json!("account_not_found"),
            &json!("own_account"),
            &json!(null)
        ]
    );
    assert_eq!(suspended["done"], 2);
    let again = bulk(json!({"action": "suspend", "ids": [ada]})).await.json();
    assert_eq!(again["results"][0]["code"], "already_so");
    let on = bulk(json!({"action": "reinstate", "ids": [ada, grace]}))
        .await
        .json();
    assert_eq!(on["done"], 2);
    let plans = get(&api, &admin, "/api/admin/plans").await["plans"].clone();
    let business = plans
        .as_array()
        .unwrap()
        .iter()
        .find(|plan| plan["name"] == "Business")
        .unwrap();
    let moved = bulk(json!({"action": "change_plan", "ids": [ada, grace], "plan": business["id"]})).await;
    assert_eq!(moved.json()["done"], 2);
    let gone = bulk(json!({"action": "delete", "ids": [grace]})).await.json();
    assert_eq!(gone["done"], 1);
    assert_eq!(found(&api, &admin, "status=deleted").await, ["grace@example.com"]);
    let many: Vec<String> = (0..201)
        .map(|n| format!("01900000-0000-7000-8000-{n:012}"))
        .collect();
    for wrong in [
        json!({"action": "suspend", "ids": []}),
        json!({"action": "suspend", "ids": many}),
        json!({"action": "change_plan", "ids": [ada]}),
        json!({"action": "delete", "ids": [ada], "plan": business["id"]}),
    ] {
        assert_eq!(bulk(wrong).await.problem(), (400, "invalid_fields".to_owned()));
    }
}

#[tokio::test]
async fn the_audit_record_is_filtered_and_exported_without_formulas() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, _) = customer(&api, "ada@example.com").await;
    let path = format!("/api/admin/users/{id}");
    for (status, reason) in [
        ("suspended", "=HYPERLINK(\"evil\")"),
        ("active", "a, \"quoted\" reason"),
    ] {
        let body = json!({"status": status, "reason": reason});
        assert_eq!(send(&api, &admin, Method::PUT, &path, body).await.status, 200);
    }
    let count = async |query: &str| {
        let records = get(&api, &admin, &format!("/api/admin/audit?{query}")).await;
        records["records"].as_array().unwrap().len()
    };
    assert_eq!(count(&format!("actor={}", root.id)).await, 2);
    assert_eq!(count(&format!("actor={id}")).await, 0);
    assert_eq!(count(&format!("subject={id}&action=account_suspended")).await, 1);
    assert_eq!(
        count("from=2025-11-24T00:00:00Z&to=2025-11-25T00:00:00Z").await,
        2
    );
    assert_eq!(count("to=2025-11-24T00:00:00Z").await, 0);

    let export = format!("/api/admin/audit/export?account={id}");
    let export = api.get(&export).bearer(&admin).send().await;
    assert!(export.header("content-type").starts_with("text/csv"));
    let lines: Vec<&str> = export.text.lines().collect();
    assert_eq!(
        lines[0],
        "id,at,actor,actorId,action,accountId,subject,before,after,reason"
    );
    assert_eq!(lines.len(), 3);
    assert!(lines[1].ends_with("\"a, \"\"quoted\"\" reason\""), "{}", lines[1]);
    assert!(
        lines[2].ends_with("\"'=HYPERLINK(\"\"evil\"\")\""),
        "{}",
        lines[2]
    );
    let wrong = api
        .get("/api/admin/audit/export?action=x")
        .bearer(&admin)
        .send()
        .await;
    assert_eq!(wrong.problem(), (400, "invalid_fields".to_owned()));
}

#[tokio::test]
async fn a_balance_is_corrected_once_for_its_key_and_never_below_zero_unless_forced() {
    let api = Api::new().await;
    let (root, admin) = api.admin().await;
    let (id, token) = customer(&api, "ada@example.com").await;
    let path = format!("/api/admin/users/{id}");
    let adjust = async |balance: Value| {
        let body = why(json!({ "balance": balance }));
        send(&api, &admin, Method::PUT, &path, body).await
    };
    let give = json!({"bytes": 1_000, "valueMicros": 500, "idempotencyKey": "ticket 9"});
    for _ in 0..3 {
        let given = adjust(give.clone()).await;
        assert_eq!(given.status, 200, "{}", given.text);
        assert_eq!(given.json()["user"]["balanceBytes"], 5_000_001_000_i64);
    }
    let record = newest(&api, &admin).await;
    assert_eq!(
        (&record["action"], &record["actorId"], &record["reason"]),
        (&json!("balance_adjusted"), &json!(root.id), &json!("a ticket"))
    );
    assert_eq!(
        (
            &record["before"]["balanceBytes"],
            &record["after"]["balanceBytes"]
        ),
        (&json!(5_000_000_000_i64), &json!(5_000_001_000_i64))
    );
    let lines = get(&api, &token, "/api/billing/transactions").await;
    let mut kinds = lines["transactions"].as_array().unwrap().iter();
    assert!(kinds.any(|line| line["type"] == "adjustment"), "{lines}");

    let other = json!({"bytes": 7, "idempotencyKey": "ticket 9"});
    assert_eq!(
        adjust(other).await.problem(),
        (409, "idempotency_key_taken".to_owned())
    );
    let mut too_much = json!({"bytes": -6_000_000_000_i64, "idempotencyKey": "ticket 10"});
    assert_eq!(
        adjust(too_much.clone()).await.problem(),
        (409, "not_booked".to_owned())
    );
    too_much["isForced"] = json!(true);
    assert_eq!(
        adjust(too_much).await.json()["user"]["balanceBytes"],
        -999_999_000
    );
    let nothing = json!({"idempotencyKey": "ticket 11"});
    assert_eq!(
        adjust(nothing).await.problem(),
        (400, "invalid_fields".to_owned())
    );
    let both = why(json!({"status": "active", "balance": {"bytes": 1, "idempotencyKey": "x"}}));
    let both = send(&api, &admin, Method::PUT, &path, both).await;
    assert_eq!(both.problem(), (400, "malformed_body".to_owned()));
    assert!(api.store.check_ledger().await.unwrap().differences.is_empty());
}
