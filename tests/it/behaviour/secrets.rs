//! Credentials and targeting reach neither an origin nor a log, and no secret lies readable in the database.

use std::path::Path;

use serde_json::{Value, json};

use crate::accounts::{authenticator, second_factor};
use crate::api::token_in_mail;
use crate::harness::{Customer, Place, Settings, World, eventually, read_response};

#[test]
fn credentials_and_targeting_reach_neither_origin_nor_logs() {
    // Everything that is of use to an operator, and of the libraries what they have to say at that level.
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]).set("RUST_LOG", "debug"));
    let secret = "k9x7q2w8";
    let customer = world.customer().with(&format!("-country-DE-session-{secret}"));
    let in_user = Customer {
        user: customer.password.clone(),
        password: "x".to_owned(),
        ..customer.clone()
    };
    let unknown = Customer {
        password: format!("iploop_{}", "5eC4e7".repeat(8)),
        ..customer.clone()
    };
    let url = world.origin.url("/echo");
    for customer in [&customer, &in_user] {
        assert_eq!(customer.get(&url).status, 200);
        assert_eq!(
            customer
                .connect(world.origin.http)
                .ok()
                .unwrap()
                .get("/echo")
                .status,
            200
        );
        assert_eq!(
            customer
                .socks5(world.origin.http)
                .ok()
                .unwrap()
                .get("/echo")
                .status,
            200
        );
        let misspelt = world.customer().with(&format!("-citty-{secret}"));
        assert_eq!(misspelt.get(&url).status, 400);
        assert_eq!(customer.with("-city-nowhere").get(&url).status, 503);
    }
    assert_eq!(unknown.get(&url).status, 407);
    let login = serde_json::json!({ "email": world.account.email, "password": world.account.password });
    assert_eq!(world.api().post("/api/auth/login", &login).status, 200);

    let key = world.account.key.strip_prefix("iploop_").unwrap();
    let basic = customer.login();
    let basic = basic
        .trim_end()
        .strip_prefix("Proxy-Authorization: Basic ")
        .unwrap();
    let secrets = [
        key,
        basic,
        secret,
        &"5ec4e7".repeat(8),
        &"5eC4e7".repeat(8),
        world.partner_key.strip_prefix("iplp_").unwrap(),
        &world.account.password,
        "citty",
    ];
    let mut places = vec![("the server's log".to_owned(), world.server.log())];
    for device in &world.devices {
        places.push(("a device's log".to_owned(), device.program.log()));
    }
    for visit in world.origin.visits() {
        let raw = String::from_utf8_lossy(&visit.raw()).into_owned();
        places.push(("the origin".to_owned(), raw));
    }
    assert!(places.len() > 6 && places.iter().all(|(_, text)| !text.is_empty()));
    for (place, text) in &places {
        for secret in secrets {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
}

/// What was a secret at its time, by what it is.
type Secrets = Vec<(&'static str, Vec<u8>)>;

/// Uses everything that hands out secrets.
fn use_everything(world: &World) -> Secrets {
    let mut secrets = Secrets::new();
    let mut keep = |what: &'static str, secret: &str| {
        assert!(secret.len() >= 6, "{what}: {secret:?}");
        secrets.push((what, secret.as_bytes().to_vec()));
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (email, first, second) = (
        "ada@example.com",
        "correct horse battery",
        "another horse battery",
    );
    keep("a password", first);
    keep("a password", second);
    let form = json!({ "email": email, "password": first, "firstName": "Ada", "lastName": "Lovelace" });
    let registered = world.api().post("/api/auth/register", &form).json();
    keep("a login's token", &text(&registered["token"]));
    let api = world.api().with_token(&text(&registered["token"]));
    let verify = token_in_mail(world, email);
    keep("a verification mail's token", &verify);
    let verified = world
        .api()
        .post("/api/auth/verify-email", &json!({ "token": verify }));
    assert_eq!(verified.status, 200);
    let resent = world
        .api()
        .post("/api/auth/login", &json!({ "email": email, "password": first }));
    keep("a csrf token", &text(&resent.json()["csrfToken"]));

    let key = api.post("/api/proxy/keys", &json!({ "name": "first" })).json();
    keep("a key", text(&key["key"]).strip_prefix("iploop_").unwrap());
    let hook = json!({ "url": "https://127.0.0.1:9/hook", "events": ["api_key.created"] });
    let hook = api.post("/api/webhooks", &hook);
    assert_eq!(hook.status, 201, "{}", hook.text());
    let hook = hook.json();
    keep(
        "a webhook's secret",
        text(&hook["secret"]).strip_prefix("whsec_").unwrap(),
    );
    let another = format!("/api/webhooks/{}/regenerate-secret", text(&hook["id"]));
    let another = api.post(&another, &json!({})).json();
    keep(
        "a webhook's secret",
        text(&another["secret"]).strip_prefix("whsec_").unwrap(),
    );
    let key = api.post("/api/proxy/keys", &json!({ "name": "second" })).json();
    keep("a key", text(&key["key"]).strip_prefix("iploop_").unwrap());

    let (setup, on) = second_factor(&api, first);
    keep("an authenticator's secret", &text(&setup["secret"]));
    let codes: Vec<String> = on["recoveryCodes"].as_array().unwrap().iter().map(text).collect();
    let login = json!({ "email": email, "password": first });
    let challenge = text(&world.api().post("/api/auth/login", &login).json()["challenge"]);
    keep("a challenge", &challenge);
    let proof = json!({ "challenge": challenge, "code": codes[0] });
    let login = world.api().post("/api/auth/login/two-factor", &proof);
    assert_eq!(login.status, 200, "{}", login.text());
    keep("a login's token", &text(&login.json()["token"]));
    for code in &codes {
        keep("a recovery code", code);
    }

    std::fs::remove_dir_all(world.data().join("outbox")).unwrap();
    std::fs::create_dir(world.data().join("outbox")).unwrap();
    world
        .api()
        .post("/api/auth/forgot-password", &json!({ "email": email }));
    let reset = token_in_mail(world, email);
    keep("a reset mail's token", &reset);
    let new = json!({ "token": reset, "password": second });
    assert_eq!(world.api().post("/api/auth/reset-password", &new).status, 200);

    keep("a password", &world.account.password);
    keep("a key", world.account.key.strip_prefix("iploop_").unwrap());
    keep(
        "a partner's key",
        world.partner_key.strip_prefix("iplp_").unwrap(),
    );
    let identity = std::fs::read_to_string(world.devices[0].state.join("device.json")).unwrap();
    let identity: Value = serde_json::from_str(&identity).unwrap();
    keep("a device's secret", &text(&identity["secret"]));
    let own = std::fs::read_to_string(world.data().join("login-secret")).unwrap();
    keep("the server's own secret", own.trim());
    let bytes = authenticator(setup["secret"].as_str().unwrap());
    secrets.push(("an authenticator's secret, decoded", bytes));
    secrets
}

/// Every file below, but mails that left and the server's own secret, each of which is the secret's one place.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "outbox" {
            files(&path, found);
        } else if path.is_file() && name != "login-secret" {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn nothing_of_a_url_beyond_host_and_port_is_kept() {
    let settings = Settings::with_places(&[Place::BERLIN]).set("RUST_LOG", "debug");
    let mut world = World::start_with(settings);
    let (path, query, content) = ("p4th7q2w", "qu3ry7q2w", "c0ntent7q2w");
    let (customer, to) = (world.customer(), world.origin.http);
    let url = format!("/echo/{path}?{query}=1");
    let asked = customer.get(&world.origin.url(&url));
    let request = format!(
        "POST http://{to}{url} HTTP/1.1\r\nHost: {to}\r\n{}Cookie: {content}\r\nContent-Length: {}\r\n\r\n{content}",
        customer.login(),
        content.len()
    );
    let mut stream = customer.dial();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let posted = read_response(&mut stream, false).unwrap();
    // Nor of one that is refused before anything is asked.
    let refused = customer.with("-country-JP").get(&world.origin.url(&url));
    assert_eq!((refused.status, refused.code()), (503, "no_exit"));
    let api = world.signed_in();
    let mut places = Vec::new();
    for answer in [&asked, &posted, &refused] {
        let id = answer.field("X-IPLoop-Request-Id").unwrap();
        let receipt = eventually("the request is in the log", || {
            let receipt = api.get(&format!("/api/usage/requests/{id}"));
            (receipt.status == 200 && !receipt.json()["endedAt"].is_null()).then_some(receipt)
        });
        assert_eq!(receipt.json()["destination"], to.to_string());
        places.push(("a receipt".to_owned(), receipt.body));
    }
    for export in ["csv", "ndjson"] {
        let export = api.get(&format!("/api/usage/requests/export?format={export}"));
        assert!(export.text().contains(&to.to_string()));
        places.push(("an export".to_owned(), export.body));
    }
    drop(stream);
    world.server.terminate();
    world.server.wait();
    places.push(("the server's log".to_owned(), world.server.log().into_bytes()));
    for device in &world.devices {
        places.push(("a device's log".to_owned(), device.program.log().into_bytes()));
    }
    files(&world.data(), &mut places);
    assert!(places.iter().any(|(place, _)| place.ends_with("iploop.db")));
    for (place, bytes) in &places {
        for part in [path, query, content] {
            let is_there = bytes.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!is_there, "{part} in {place}");
        }
    }
}

#[test]
fn no_secret_that_was_handed_out_is_in_a_log_or_readable_in_the_database() {
    let settings = Settings::with_places(&[Place::BERLIN])
        .set("RUST_LOG", "debug")
        .set("IPLOOP_WEBHOOKS__TEST_ALLOW", "[\"127.0.0.1:9\"]");
    let mut world = World::start_with(settings);
    let secrets = use_everything(&world);
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    eventually("a delivery was tried", || {
        let metrics = world.metrics().get("/metrics").text();
        metrics.contains("iploop_webhook_tries_total").then_some(())
    });
    world.server.terminate();
    world.server.wait();
    let mut places = vec![("the server's log".to_owned(), world.server.log().into_bytes())];
    for device in &world.devices {
        places.push(("a device's log".to_owned(), device.program.log().into_bytes()));
    }
    files(&world.data(), &mut places);
    assert!(
        places
            .iter()
            .any(|(place, bytes)| place.ends_with("iploop.db") && bytes.len() > 100_000)
    );
    for (place, bytes) in &places {
        for (what, secret) in &secrets {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!is_there, "{what} in {place}");
        }
    }
}
