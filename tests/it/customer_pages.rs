//! The dashboard's pages for customers, in a real browser on the real server, with a device.

use serde_json::json;

use crate::harness::{Place, Settings, World, chromium, dashboard, nodejs};

#[test]
fn a_customer_makes_a_key_in_the_browser_and_finds_what_it_used() {
    let folder = dashboard();
    let settings = Settings::with_places(&[Place::NEW_YORK]);
    let world = World::start_with(settings.set("IPLOOP_API__DASHBOARD", folder.to_str().unwrap()));
    let order = json!({
        "origin": format!("http://{}", world.ready.api),
        "proxy": world.ready.proxy.to_string(),
        "destination": world.origin.url("/bytes/123456"),
        "email": world.account.email,
        "password": world.account.password,
        "chromium": chromium(),
    });
    let output = nodejs(&world, "customer.mjs", &order);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}
