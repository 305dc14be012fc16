//! Two servers on one PostgreSQL and one Redis: what is done at one holds at the other.

use serde_json::json;

use crate::harness::{Api, Customer, Postgres, Redis, Settings, World, eventually};

#[test]
fn sign_outs_keys_and_tries_count_in_both_processes_and_what_ended_stays_ended_without_redis() {
    let postgres = Postgres::start();
    let mut redis = Redis::start();
    let settings = Settings {
        database: Some(postgres.url()),
        ..Settings::with_places(&[])
    }
    .set("IPLOOP_REDIS__URL", &redis.url())
    // Longer than any test waits: only news can be the reason that a key is looked up again.
    .set("IPLOOP_ADMISSION__KEY_TTL", "30m")
    .set("IPLOOP_LOGIN__TRIES_PER_HOUR__ACCOUNT_AND_CLIENT", "4");
    let world = World::start_with(settings);
    let (_second, there) = world.second_server();
    let (here, there, proxy_there) = (world.api(), Api::at(there.api), there.proxy);

    let readiness = there.get("/readyz").json();
    assert_eq!(
        (&readiness["status"], &readiness["parts"]["redis"]),
        (&json!("ready"), &json!("ok"))
    );

    let sign_in = |api: &Api, password: &str| {
        let login = json!({ "email": world.account.email, "password": password });
        api.post("/api/auth/login", &login)
    };
    let token = sign_in(&here, &world.account.password).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(there.with_token(&token).get("/api/auth/profile").status, 200);
    let signed_out = here.with_token(&token).post("/api/auth/logout", &json!({}));
    assert_eq!(signed_out.status, 204, "{}", signed_out.text());
    assert_eq!(
        there.with_token(&token).get("/api/auth/profile").status,
        401,
        "at once"
    );

    let token_there = sign_in(&there, &world.account.password).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let api = here.with_token(&token_there);
    let made = api
        .post("/api/proxy/keys", &json!({ "name": "short-lived" }))
        .json();
    let customer = Customer {
        proxy: proxy_there,
        password: made["key"].as_str().unwrap().to_owned(),
        ..world.customer()
    };
    let url = world.origin.url("/echo");
    let answer = customer.get(&url);
    assert_eq!(
        answer.code(),
        "no_exit",
        "known there, where there are no devices"
    );
    let path = format!("/api/proxy/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(api.delete(&path).status, 204);
    eventually("the other gateway hears of it", || {
        (customer.get(&url).code() == "credentials_invalid").then_some(())
    });

    for api in [&here, &there, &here, &there] {
        assert_eq!(sign_in(api, "wrong").status, 401);
    }
    for api in [&here, &there] {
        assert_eq!(sign_in(api, "wrong").status, 429, "counted together");
    }

    redis.kill();
    eventually("both notice", || {
        let degraded = |api: &Api| api.get("/readyz").json()["parts"]["redis"] == "degraded";
        (degraded(&here) && degraded(&there)).then_some(())
    });
    assert_eq!(there.get("/readyz").status, 200, "ready without it");
    for api in [&here, &there] {
        assert_eq!(api.with_token(&token).get("/api/auth/profile").status, 401);
        assert_eq!(api.with_token(&token_there).get("/api/auth/profile").status, 200);
    }
    let known = Customer {
        proxy: proxy_there,
        ..world.customer()
    };
    assert_eq!(known.get(&url).code(), "no_exit", "keys are admitted as before");
}
