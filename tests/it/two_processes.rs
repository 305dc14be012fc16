//! Two servers on one PostgreSQL and one Redis: what is done at one holds at the other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Account, Api, Customer, Place, Postgres, Program, Ready, Redis, Settings, World, eventually, manage,
};

/// The plan that accounts begin with, which has no sticky sessions, and one that has.
const STARTER: &str = "01900000-0000-7000-8000-000000000001";
const GROWTH: &str = "01900000-0000-7000-8000-000000000002";

/// Two servers that share a database and a Redis, and let no time bring news by itself.
struct Two {
    world: World,
    _second: Program,
    there: Ready,
    redis: Redis,
    _postgres: Postgres,
}

impl Two {
    fn start(places: &[Place]) -> Self {
        let postgres = Postgres::start();
        let redis = Redis::start();
        let settings = Settings {
            database: Some(postgres.url()),
            ..Settings::with_places(places)
        }
        .set("IPLOOP_REDIS__URL", &redis.url())
        .set("IPLOOP_ADMISSION__KEY_TTL", "30m")
        .set("IPLOOP_ABUSE__LOOK_EVERY", "30s");
        let world = World::start_with(settings);
        let (second, there) = world.second_server();
        Self {
            world,
            _second: second,
            there,
            redis,
            _postgres: postgres,
        }
    }

    /// The customer at the other process.
    fn customer_there(&self) -> Customer {
        Customer {
            proxy: self.there.proxy,
            ..self.world.customer()
        }
    }

    /// An admin's session.
    fn admin(&self) -> Api {
        let root = manage(
            self.world.folder(),
            &[
                "account",
                "create",
                "--email",
                "root@example.com",
                "--admin",
                "--verified",
            ],
        );
        let login = json!({ "email": "root@example.com", "password": root["password"] });
        let api = self.world.api();
        let token = api.post("/api/auth/login", &login).json()["token"].clone();
        api.with_token(token.as_str().unwrap())
    }

    fn give_plan(&self, admin: &Api, plan: &str) {
        let path = format!("/api/admin/users/{}", self.world.account.id);
        let changed = admin.put(&path, &json!({ "plan": plan, "reason": "a test" }));
        assert!(changed.status < 300, "{}", changed.text());
    }

    /// The same API at the other process.
    fn both(&self, api: &Api) -> [Api; 2] {
        [api.clone(), api.elsewhere(self.there.api)]
    }

    /// Both processes know of so many devices.
    fn know_devices(&self, admin: &Api, wanted: u64) {
        let there = Api {
            address: self.there.api,
            ..admin.clone()
        };
        for api in [admin, &there] {
            eventually("figures are of both processes", || {
                // Told to customers, so never older than a second; admins' may be half a minute old.
                let stats = api.get("/api/nodes/stats").json();
                (stats["connectedNodes"] == wanted).then_some(())
            });
        }
    }
}

#[test]
fn a_session_has_its_exit_at_one_process_and_is_not_changed_silently_at_the_other() {
    let mut two = Two::start(&[Place::NEW_YORK]);
    let admin = two.admin();
    let berlin = two.world.begin_device_by(Place::BERLIN, two.there.hub);
    berlin.program.event("sharing");
    two.know_devices(&admin, 2);
    two.give_plan(&admin, GROWTH);

    let (here, there) = (
        two.world.customer().with("-session-mine"),
        two.customer_there().with("-session-mine"),
    );
    let url = two.world.origin.url("/echo");
    let first = here.get(&url);
    assert_eq!(
        (first.status, first.field("x-iploop-exit-country")),
        (200, Some("US"))
    );
    let refused = there.get(&url);
    assert_eq!(
        (refused.status, refused.code()),
        (503, "session_exit_gone"),
        "its exit is at the first process, and another would be a silent change"
    );
    let other = two.customer_there().with("-session-other").get(&url);
    assert_eq!(other.field("x-iploop-exit-country"), Some("DE"));
    assert_eq!(here.get(&url).status, 200, "the first process goes on");

    let nodes = admin.get("/api/admin/nodes?status=available").json();
    let holders: Vec<_> = nodes["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["process"])
        .collect();
    assert!(
        holders.len() == 2 && holders[0].is_string() && holders[1].is_string() && holders[0] != holders[1],
        "each device with its process: {holders:?}"
    );

    two.world.devices.clear();
    eventually("the session moves where there are devices", || {
        let answer = there.get(&url);
        (answer.status == 200).then(|| {
            assert_eq!(answer.field("x-iploop-exit-country"), Some("DE"));
            assert_eq!(answer.field("x-iploop-session"), Some("rotated"), "and says so");
        })
    });
    assert_eq!(there.get(&url).field("x-iploop-session"), Some("mine"));
    eventually("the first process knows where it is", || {
        (here.get(&url).code() == "session_exit_gone").then_some(())
    });
    two.know_devices(&admin, 1);
}

#[test]
fn what_passes_through_one_process_is_seen_live_at_the_other() {
    let two = Two::start(&[Place::BERLIN]);
    let admin = two.admin();
    two.know_devices(&admin, 1);
    let Account { email, password, .. } = &two.world.account;
    let there = Api::at(two.there.api);
    let login = json!({ "email": email, "password": password });
    let token = there.post("/api/auth/login", &login).json()["token"].clone();

    let mut live = TcpStream::connect(two.there.api).unwrap();
    live.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let token = token.as_str().unwrap();
    write!(
        live,
        "GET /api/live HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let url = two.world.origin.url("/echo");
    let mut seen = String::new();
    eventually("requests and numbers of the other process", || {
        assert_eq!(two.world.customer().get(&url).status, 200);
        let mut part = [0; 16 * 1024];
        if let Ok(length) = live.read(&mut part) {
            seen.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        let has_request = seen.contains("event: request") && seen.contains("/24");
        let has_nodes = seen.contains(r#""connectedNodes":1"#);
        (has_request && has_nodes).then_some(())
    });
    assert!(!seen.contains("event: gap"), "nothing was lost: {seen}");
}

/// Each session of a list: its name, its exit's country, its requests and those that run.
fn sessions(api: &Api) -> Vec<(String, Value, u64, u64)> {
    let list = api.get("/api/proxy/sessions").json();
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions
        .map(|session| {
            (
                session["id"].as_str().unwrap().to_owned(),
                session["exit"]["country"].clone(),
                session["requests"].as_u64().unwrap(),
                session["running"].as_u64().unwrap(),
            )
        })
        .collect()
}

/// The countries of all rows of the devices' list, one row a page.
fn rows(api: &Api) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut path = "/api/nodes?limit=1".to_owned();
    loop {
        let page = api.get(&path).json();
        let nodes = page["nodes"].as_array().unwrap().iter();
        rows.extend(nodes.map(|node| node["country"].clone()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            return rows;
        };
        path = format!("/api/nodes?limit=1&cursor={cursor}");
    }
}

fn pool(api: &Api, params: &str) -> u64 {
    let explained = api.get(&format!("/api/proxy/explain?params={params}")).json();
    explained["pool"]["nodes"].as_u64().unwrap()
}

#[test]
fn a_caller_sees_the_same_network_and_the_same_sessions_whichever_process_answers() {
    let two = Two::start(&[Place::NEW_YORK]);
    let admin = two.admin();
    let berlin = two.world.begin_device_by(Place::BERLIN, two.there.hub);
    berlin.program.event("sharing");
    two.know_devices(&admin, 2);
    two.give_plan(&admin, GROWTH);
    let [here, there] = two.both(&two.world.signed_in());

    for api in [&here, &there] {
        eventually("places of both processes", || {
            let places = api.get("/api/proxy/locations").json();
            (places["totalCountries"] == 2).then_some(())
        });
        for (params, nodes) in [("", 2), ("country-DE", 1), ("country-US", 1), ("country-FR", 0)] {
            assert_eq!(pool(api, params), nodes, "{params}");
        }
    }
    for path in ["/api/proxy/locations", "/api/nodes/countries"] {
        assert_eq!(here.get(path).json(), there.get(path).json(), "{path}");
    }
    assert_eq!(rows(&here).len(), 2);
    assert_eq!(rows(&here), rows(&there), "each device once, in one order");

    let nodes = admin.get("/api/admin/nodes").json();
    for node in nodes["nodes"].as_array().unwrap() {
        let path = format!("/api/admin/nodes/{}", node["id"].as_str().unwrap());
        let [at_here, at_there] = two.both(&admin).map(|api| api.get(&path).json());
        assert_eq!(at_here["live"]["ipAddress"], node["ipAddress"], "{at_here}");
        assert_eq!(at_here["live"]["quality"], at_there["live"]["quality"]);
        assert_eq!(at_here["node"]["status"], "available");
        assert_eq!(at_here["node"]["process"], at_there["node"]["process"]);
    }

    let url = two.world.origin.url("/echo");
    let customers = [
        two.world.customer().with("-session-a"),
        two.customer_there().with("-session-b"),
    ];
    for customer in &customers {
        assert_eq!(customer.get(&url).status, 200);
    }
    let held = customers[0].connect(two.world.origin.http).ok().unwrap();
    let wanted = [
        ("a".to_owned(), json!("US"), 2, 1),
        ("b".to_owned(), json!("DE"), 1, 0),
    ];
    for api in [&here, &there] {
        eventually("both sessions, with what runs", || {
            (sessions(api) == wanted).then_some(())
        });
    }
    let page = there.get("/api/proxy/sessions?limit=1").json();
    assert_eq!(
        (&page["sessions"][0]["id"], &page["nextCursor"]),
        (&json!("a"), &json!("a"))
    );
    for (api, name) in [(&here, "b"), (&there, "a")] {
        let shown = api.get(&format!("/api/proxy/sessions/{name}"));
        assert_eq!((shown.status, &shown.json()["id"]), (200, &json!(name)));
        let again = api.post(
            "/api/proxy/sessions",
            &json!({ "targeting": format!("session-{name}") }),
        );
        assert_eq!(again.status, 409, "{}", again.text());
    }
    drop(held);
    eventually("nothing runs", || (sessions(&there)[0].3 == 0).then_some(()));

    let now = admin.get("/api/nodes/stats").json()["timestamp"].clone();
    let question = format!(
        "/api/admin/exits/lookup?ip={}&at={}&within=600&reason=a%20complaint",
        Place::BERLIN.address,
        now.as_str().unwrap()
    );
    for api in two.both(&admin) {
        eventually("the request through Berlin", || {
            let found = api.get(&question).json();
            (found["requests"].as_array().unwrap().len() == 1).then_some(())
        });
    }

    assert_eq!(here.delete("/api/proxy/sessions/b").status, 204);
    for api in [&here, &there] {
        eventually("it has ended at both", || {
            (sessions(api).len() == 1).then_some(())
        });
        assert_eq!(api.get("/api/proxy/sessions/b").status, 404);
    }
    assert_eq!(there.delete("/api/proxy/sessions").json()["ended"], 1);
    for api in [&here, &there] {
        eventually("all have ended at both", || {
            sessions(api).is_empty().then_some(())
        });
    }
}

#[test]
fn a_device_is_drained_and_banned_at_the_process_that_holds_it_with_redis_and_without() {
    let mut two = Two::start(&[Place::NEW_YORK]);
    let admin = two.admin();
    let mut berlin = two.world.begin_device_by(Place::BERLIN, two.there.hub);
    berlin.program.event("sharing");
    two.know_devices(&admin, 2);
    let [here, there] = two.both(&admin);
    let nodes = here.get("/api/admin/nodes?country=DE").json();
    let node = format!("/api/admin/nodes/{}", nodes["nodes"][0]["id"].as_str().unwrap());
    let reason = json!({ "reason": "a test" });

    // While something runs through it, it stays, and its draining shows.
    let customer = two.customer_there();
    let held = customer.connect(two.world.origin.http).ok().unwrap();
    assert_eq!(here.post(&format!("{node}/drain"), &reason).status, 202);
    eventually("it drains, as both processes show", || {
        let is_draining = |api: &Api| api.get(&node).json()["live"]["isDraining"] == true;
        (is_draining(&here) && is_draining(&there)).then_some(())
    });
    let refused = customer.get(&two.world.origin.url("/echo"));
    assert_eq!(refused.code(), "no_exit");
    drop(held);
    berlin.program.event("disconnected");
    berlin.program.event("sharing");
    two.know_devices(&admin, 2);

    two.redis.kill();
    eventually("both notice", || {
        let degraded = |api: &Api| api.get("/readyz").json()["parts"]["redis"] == "degraded";
        (degraded(&here) && degraded(&there)).then_some(())
    });
    eventually("each shows its own", || {
        let own = |api: &Api| api.get("/api/nodes/stats").json()["connectedNodes"] == 1;
        let places = |api: &Api| api.get("/api/proxy/locations").json()["totalCountries"] == 1;
        let all = |api: &Api| own(api) && places(api) && pool(api, "") == 1 && rows(api).len() == 1;
        (all(&here) && all(&there)).then_some(())
    });
    let metrics = two.world.metrics().get("/metrics").text();
    for line in ["iploop_redis_up 0", "iploop_processes 1"] {
        assert!(metrics.lines().any(|said| said == line), "{line}: {metrics}");
    }

    assert_eq!(
        here.post(&format!("{node}/drain"), &reason).status,
        202,
        "the database knows it"
    );
    berlin.program.event("disconnected");
    berlin.program.event("sharing");
    assert_eq!(here.post(&format!("{node}/ban"), &reason).status, 204);
    berlin.program.event("ended");
    berlin.program.wait();
}

#[test]
fn a_changed_plan_and_a_suspension_are_in_force_at_the_other_process_at_once() {
    let two = Two::start(&[]);
    let admin = two.admin();
    let there = two.customer_there();
    let url = two.world.origin.url("/echo");
    let sticky = there.with("-session-a");
    assert_eq!(sticky.get(&url).code(), "plan_feature", "known there");
    let path = format!("/api/admin/plans/{STARTER}");
    for (has_sessions, code) in [(true, "no_exit"), (false, "plan_feature")] {
        let body = json!({ "stickySessions": has_sessions, "reason": "a test" });
        let changed = admin.put(&path, &body);
        assert_eq!(changed.status, 200, "{}", changed.text());
        eventually("the plan is another one there", || {
            (sticky.get(&url).code() == code).then_some(())
        });
    }
    two.give_plan(&admin, GROWTH);
    eventually("the account has another plan there", || {
        (sticky.get(&url).code() == "no_exit").then_some(())
    });

    let path = format!("/api/admin/accounts/{}/suspend", two.world.account.id);
    let suspended = admin.post(&path, &json!({ "reason": "a test" }));
    assert!(suspended.status < 300, "{}", suspended.text());
    eventually("the account is suspended there", || {
        (there.get(&url).code() == "account_suspended").then_some(())
    });
}

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
