//! The HTTP libraries of Python, Node.js and Java: one script for each language runs all its cases and says how each went.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{
    Customer, PATIENCE, Place, Settings, World, chromium, eventually, nodejs, python, repository, run,
};

/// What the scripts of Python and Node.js are told, as JSON in their only argument.
fn order(world: &World) -> Value {
    let exits = [Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV]
        .map(|place| json!({ "country": place.country, "ip": place.address }));
    json!({
        "proxy": world.ready.proxy.to_string(),
        "socks": world.ready.socks.to_string(),
        "http": world.origin.url("/echo"),
        "https": world.origin.https_url("/echo"),
        "ca": world.authority.ca,
        "key": world.account.key,
        "exits": exits,
        "chromium": chromium(),
    })
}

/// Each line is a case; `clients` says how many each client has at least.
fn check(output: &Output, clients: &[(&str, usize)]) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8_lossy(&output.stdout);
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let failed: Vec<&Value> = cases.iter().filter(|case| case["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{complaint}");
    for (client, least) in clients {
        let ran = cases.iter().filter(|case| case["client"] == *client).count();
        assert!(ran >= *least, "{client} ran {ran} cases of {least}");
    }
}

#[test]
fn python_clients_leave_by_the_country_asked_for_and_see_a_wrong_password() {
    let world = World::start();
    let mut command = Command::new(python());
    command
        .arg(repository().join("tests/clients/clients.py"))
        .arg(order(&world).to_string())
        .env_remove("http_proxy")
        .env_remove("https_proxy");
    let output = run(&mut command, 2 * PATIENCE);
    let least = [
        ("requests", 32),
        ("httpx", 24),
        ("aiohttp", 16),
        ("urllib3", 32),
        ("PySocks", 8),
        ("Scrapy", 8),
    ];
    check(&output, &least);
}

#[test]
fn nodejs_clients_leave_by_the_country_asked_for_and_see_a_wrong_password() {
    let world = World::start();
    let output = nodejs(&world, "clients.mjs", &order(&world));
    let least = [
        ("undici", 24),
        ("axios", 32),
        ("got", 24),
        ("ws", 28),
        ("Playwright", 16),
    ];
    check(&output, &least);
}

/// The counter of this name and label, 0 if it was never counted.
fn counted(metrics: &str, counter: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(counter));
    values.map(|value| value.trim().parse::<f64>().unwrap()).sum()
}

#[test]
fn chromium_speaks_http2_to_the_proxy_by_tls() {
    let world = World::start();
    let mut order = order(&world);
    order["only"] = json!("Playwright");
    check(&nodejs(&world, "clients.mjs", &order), &[("Playwright", 16)]);
    let metrics = world.metrics().get("/metrics").text();
    let counter = "iploop_gateway_connections_total{protocol=\"http2\"}";
    assert!(counted(&metrics, counter) > 0.0, "{metrics}");
}

#[test]
fn chromium_has_no_login_for_socks5_and_is_known_by_its_address() {
    let settings = Settings::with_places(&[Place::NEW_YORK]);
    let world = World::start_with(settings.set("IPLOOP_ADMISSION__IP_LOGIN_LOCAL", "true"));
    let key = format!("/api/proxy/keys/{}", world.account.key_id);
    let api = world.signed_in();
    let listed = api.put(&format!("{key}/whitelist"), &json!({ "ips": ["127.0.0.1"] }));
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert_eq!(api.patch(&key, &json!({ "ipLogin": true })).status, 200);
    let url = world.origin.url("/echo");
    assert_eq!(world.customer().get(&url).status, 200, "which proves the address");
    let stranger = Customer {
        user: String::new(),
        password: String::new(),
        ..world.customer()
    };
    eventually("the address is known", || {
        (stranger.get(&url).status == 200).then_some(())
    });
    let mut order = order(&world);
    order["only"] = json!("Playwright");
    order["known"] = json!(true);
    check(&nodejs(&world, "clients.mjs", &order), &[("Playwright", 4)]);
}

#[test]
fn java_http_client_leaves_by_the_country_asked_for_and_sees_a_wrong_password() {
    let world = World::start();
    let mut command = Command::new("java");
    command
        // Java keeps Basic out of tunnels unless it is told otherwise.
        .args([
            "-Djdk.http.auth.tunneling.disabledSchemes=",
            "-XX:TieredStopAtLevel=1",
        ])
        .arg(repository().join("tests/clients/Client.java"))
        .arg(world.ready.proxy.to_string())
        .args([world.origin.url("/echo"), world.origin.https_url("/echo")])
        .arg(&world.authority.ca)
        .arg(&world.account.key);
    for place in [Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV] {
        command.arg(format!("{}={}", place.country, place.address));
    }
    let output = run(&mut command, 2 * PATIENCE);
    check(&output, &[("HttpClient", 8)]);
}
