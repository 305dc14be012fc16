//! The dashboard in a real browser, on the real server.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Settings, World, chromium, dashboard, nodejs, read_response};

/// A server with the dashboard and no device.
fn world() -> World {
    let folder = dashboard();
    let settings = Settings::with_places(&[]);
    World::start_with(settings.set("IPLOOP_API__DASHBOARD", folder.to_str().unwrap()))
}

#[test]
fn a_stranger_registers_verifies_and_signs_in_with_a_second_factor() {
    let world = world();
    let order = json!({
        "origin": format!("http://{}", world.ready.api),
        "outbox": world.data().join("outbox"),
        "chromium": chromium(),
    });
    let output = nodejs(&world, "dashboard.mjs", &order);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

#[test]
fn what_was_built_is_served_small_and_for_good() {
    let world = world();
    let page = world.api().get("/").text();
    let (_, rest) = page.split_once("src=\"/assets/").unwrap();
    let script = format!("/assets/{}", rest.split('"').next().unwrap());
    let mut stream = TcpStream::connect(world.ready.api).unwrap();
    write!(
        stream,
        "GET {script} HTTP/1.1\r\nhost: {}\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n",
        world.ready.api
    )
    .unwrap();
    let answer = read_response(&mut stream, false).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    let caching = answer.field("cache-control").unwrap();
    assert!(caching.contains("immutable"), "{caching}");
}
