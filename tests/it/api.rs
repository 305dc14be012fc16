//! The API in front of the whole: from a registration to a paid request, and what operators look at.

use serde_json::{Value, json};

use crate::harness::{Account, Customer, Place, Settings, World, eventually, hex, read_response};

/// The token in the only mail to this address that brings one.
pub(crate) fn token_in_mail(world: &World, to: &str) -> String {
    let outbox = world.data().join("outbox");
    let mail = eventually("the mail is in the outbox", || {
        let mails = std::fs::read_dir(&outbox).ok()?.flatten();
        mails
            .filter(|file| file.path().extension().is_some_and(|ending| ending == "eml"))
            .filter_map(|file| std::fs::read_to_string(file.path()).ok())
            .find(|mail| mail.contains(to) && mail.contains("token"))
    });
    // Soft line breaks of quoted-printable, where there are any.
    let mail = mail.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = mail.split_once("token=").unwrap();
    rest.chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
        .collect()
}

#[test]
fn a_stranger_registers_verifies_and_uses_the_proxy() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let api = world.api();
    let email = "ada@example.com";
    let form = json!({ "email": email, "password": "correct horse battery", "firstName": "Ada", "lastName": "Lovelace" });
    let registered = api.post("/api/auth/register", &form);
    assert_eq!(registered.status, 201, "{}", registered.text());
    assert_eq!(api.post("/api/auth/register", &form).status, 409);
    let signed_in = api.with_token(registered.json()["token"].as_str().unwrap());
    let made = signed_in.post("/api/proxy/keys", &json!({ "name": "first" }));
    assert_eq!(made.status, 201, "{}", made.text());
    let account = Account {
        id: registered.json()["user"]["id"].as_str().unwrap().to_owned(),
        key: made.json()["key"].as_str().unwrap().to_owned(),
        key_id: made.json()["id"].as_str().unwrap().to_owned(),
        email: email.to_owned(),
        password: "correct horse battery".to_owned(),
    };
    let customer = world.customer_of(&account);
    let url = world.origin.url("/echo");
    let early = customer.get(&url);
    assert_eq!((early.status, early.code()), (403, "email_unverified"));

    let token = token_in_mail(&world, email);
    let page = api.get(&format!("/api/auth/verify-email?token={token}"));
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(
        customer.get(&url).status,
        403,
        "looking at the page verifies nothing"
    );
    let verified = api.post("/api/auth/verify-email", &json!({ "token": token }));
    assert_eq!(verified.status, 200, "{}", verified.text());
    let served = customer.get(&url);
    assert_eq!(served.status, 200, "open at once: {}", served.text());
    assert_eq!(served.json()["ip"], Place::BERLIN.address);

    let login = api.post(
        "/api/auth/login",
        &json!({ "email": email, "password": account.password }),
    );
    assert_eq!(login.status, 200);
    let token = login.json()["token"].as_str().unwrap().to_owned();
    let profile = api.with_token(&token).get("/api/auth/profile").json();
    assert_eq!(profile["user"]["emailVerified"], true);
    assert_eq!(
        profile["balance"]["balanceBytes"]
            .as_i64()
            .map(|bytes| bytes > 4_999_000_000),
        Some(true)
    );
    let endpoint = api.with_token(&token).get("/api/proxy/endpoint").json();
    assert_eq!(endpoint["httpPort"], world.ready.proxy.port());
    assert_eq!(endpoint["socks5Port"], world.ready.socks.port());
    let stats = api.with_token(&token).get("/api/nodes/stats").json();
    assert_eq!(
        (&stats["connectedNodes"], &stats["countryBreakdown"]["DE"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        api.get("/api/proxy/locations").json()["countries"][0]["code"],
        "DE"
    );
    assert_eq!(api.get("/api/auth/profile").status, 401);
}

#[test]
fn changes_of_a_key_take_effect_at_once() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let api = world.signed_in();
    let url = world.origin.url("/echo");
    let customer = world.customer();
    assert_eq!(customer.get(&url).status, 200);

    let list = format!("/api/proxy/keys/{}/whitelist", world.account.key_id);
    assert_eq!(api.put(&list, &json!({ "ips": ["192.0.2.0/24"] })).status, 200);
    let refused = customer.get(&url);
    assert_eq!((refused.status, refused.code()), (403, "ip_not_allowed"));
    assert_eq!(customer.socks5(world.origin.http).err(), Some(1));
    assert_eq!(api.put(&list, &json!({ "ips": ["127.0.0.0/8"] })).status, 200);
    assert_eq!(customer.get(&url).status, 200);

    let made = api.post("/api/proxy/keys", &json!({ "name": "second" })).json();
    let second = Customer {
        password: made["key"].as_str().unwrap().to_owned(),
        ..customer.clone()
    };
    assert_eq!(second.get(&url).status, 200);
    let path = format!("/api/proxy/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(api.patch(&path, &json!({ "isActive": false })).status, 200);
    let refused = second.get(&url);
    assert_eq!((refused.status, refused.code()), (407, "key_inactive"));
    assert_eq!(api.delete(&path).status, 204);
    let refused = second.get(&url);
    assert_eq!((refused.status, refused.code()), (407, "credentials_invalid"));
    assert_eq!(customer.get(&url).status, 200);
}

#[test]
fn usage_is_what_customer_and_origin_counted() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let origin = &world.origin;
    let mut expected = Vec::new();
    // Tunnels: exactly what the customer sends and gets in them.
    for (way, path) in [
        ("connect", "/bytes/300000"),
        ("connect", "/chunked/70000"),
        ("socks5", "/close/12345"),
        ("socks5", "/echo"),
    ] {
        let seen = origin.visits().len();
        let mut tunnel = match way {
            "connect" => customer.connect(origin.http).ok().unwrap(),
            _ => customer.socks5(origin.http).ok().unwrap(),
        };
        tunnel.ask(path);
        read_response(&mut tunnel.stream, false).unwrap();
        drop(tunnel);
        let visit = eventually("the origin's side ends", || {
            let visit = origin.visits().get(seen).cloned()?;
            visit.is_over().then_some(visit)
        });
        expected.push((way, visit.received(), visit.sent()));
    }
    // Plain HTTP: what is sent to and got from the destination.
    for path in ["/bytes/250000", "/chunked/50000", "/echo"] {
        let seen = origin.visits().len();
        let response = customer.get(&origin.url(path));
        assert_eq!(response.status, 200);
        let visit = eventually("the origin's side ends", || {
            let visit = origin.visits().get(seen).cloned()?;
            visit.is_over().then_some(visit)
        });
        expected.push(("http", visit.received(), visit.sent()));
    }
    let booked = eventually("everything is booked", || {
        let booked = world.database().booked(&world.account.id);
        (booked.len() == expected.len() && booked.iter().all(|one| one.is_ended)).then_some(booked)
    });
    let count = |bytes: i64| u64::try_from(bytes).unwrap();
    let mut in_books: Vec<_> = booked
        .iter()
        .map(|one| {
            (
                one.proxy_type.as_str(),
                count(one.bytes_up),
                count(one.bytes_down),
            )
        })
        .collect();
    // Those of one millisecond have no order.
    in_books.sort_unstable();
    expected.sort_unstable();
    assert_eq!(in_books, expected);
    assert!(
        booked.iter().all(|one| one.billable && one.error.is_none()),
        "{booked:?}"
    );

    let api = world.signed_in();
    let summary = api.get("/api/usage/summary?days=1").json()["summary"].clone();
    let sum = |part: fn(&(&str, u64, u64)) -> u64| expected.iter().map(part).sum::<u64>();
    assert_eq!(summary["totalRequests"], expected.len());
    assert_eq!(summary["successfulRequests"], expected.len());
    assert_eq!(summary["bytesUploaded"], sum(|one| one.1));
    assert_eq!(summary["bytesDownloaded"], sum(|one| one.2));
    let recent = api.get("/api/usage/recent?limit=100").json()["requests"].clone();
    let recent: Vec<&Value> = recent.as_array().unwrap().iter().collect();
    assert_eq!(recent.len(), booked.len());
    for one in recent {
        let id = hex(one["id"].as_str().unwrap());
        let row = booked.iter().find(|row| row.id == id).unwrap();
        assert_eq!(
            (one["bytesUploaded"].as_i64(), one["bytesDownloaded"].as_i64()),
            (Some(row.bytes_up), Some(row.bytes_down))
        );
        assert_eq!(
            (&one["targetCountry"], &one["targetCity"]),
            (&json!("DE"), &json!("Berlin"))
        );
        assert_eq!(one["destination"], origin.http.to_string());
    }
    let profile = api.get("/api/auth/profile").json();
    assert_eq!(profile["balance"]["usedBytes"], sum(|one| one.1 + one.2));
}

#[test]
fn operators_see_health_readiness_and_metrics() {
    let world = World::start();
    assert_eq!(world.api().get("/healthz").json()["status"], "ok");
    let ready = world.api().get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    assert_eq!(
        world
            .customer()
            .with("-country-JP")
            .get(&world.origin.url("/echo"))
            .status,
        503
    );
    let metrics = world.metrics().get("/metrics");
    assert_eq!(metrics.status, 200);
    for (name, labels) in [
        ("iploop_gateway_requests_total", ["type=\"http\"", "code=\"ok\""]),
        (
            "iploop_gateway_requests_total",
            ["type=\"http\"", "code=\"no_exit\""],
        ),
        ("iploop_hub_registrations_total", ["result=\"accepted\"", "} 3"]),
        (
            "iploop_api_requests_total",
            ["route=\"/readyz\"", "status=\"200\""],
        ),
        ("iploop_gateway_connections", ["", ""]),
        ("iploop_metering_requests", ["", ""]),
    ] {
        // A request is counted when it is settled, which is after its answer.
        eventually(&format!("{name} {labels:?}"), || {
            let text = world.metrics().get("/metrics").text();
            text.lines()
                .any(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
                .then_some(())
        });
    }
    assert_eq!(
        world.api().get("/metrics").status,
        404,
        "metrics are not for everyone"
    );
    let page = world.api().get("/");
    assert!(
        page.status == 200 && page.text().contains("Devices online"),
        "{}",
        page.text()
    );
}
