//! A fleet of which a part is dead and another slow, as fleets are.

use std::process::Command;

use crate::harness::{Load, Program, Settings, World, eventually, python, repository};

const DEVICES: usize = 200;
const DEAD: usize = DEVICES / 5;
const SLOW: usize = DEVICES / 10;
const REQUESTS: usize = 2_000;
/// Of a thousand requests to a healthy destination, those that may fail.
const MAY_FAIL: usize = 5;

#[test]
fn a_fifth_dead_and_a_tenth_slow_cost_no_more_than_5_of_1000_requests() {
    let settings = Settings::with_places(&[]).set("IPLOOP_GATEWAY__HEDGE_DIALS", "true");
    let world = World::start_with(settings);
    let mut command = Command::new(python());
    command
        .arg(repository().join("tests/python/fleet.py"))
        .args(["--hub", &world.hub_url(), "--partner-key", &world.partner_key])
        .args(["--allow", &world.origin.http.to_string()])
        .args(["--devices", &DEVICES.to_string()])
        .args(["--dead", &DEAD.to_string(), "--slow", &SLOW.to_string()]);
    let fleet = Program::start("the fleet", &mut command, &world.folder().join("fleet.log"));
    for _ in 0..DEVICES {
        fleet.event("ready");
    }
    let load = Load::start(&world.customer(), 32, world.origin.http, "/echo", |_| false);
    eventually("enough requests", || (load.asked() >= REQUESTS).then_some(()));
    let asked = load.stop();
    let failed: Vec<_> = asked.iter().filter(|one| !one.is_served()).collect();
    let mut took: Vec<_> = asked.iter().map(|one| one.took).collect();
    took.sort();
    let quantile = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{} requests, {} failed; median {:?}, p95 {:?}, p99 {:?}",
        asked.len(),
        failed.len(),
        quantile(50),
        quantile(95),
        quantile(99)
    );
    assert!(failed.len() * 1000 <= asked.len() * MAY_FAIL, "{failed:?}");

    // How that came about is there for the operator, and for the customer who asks.
    let metrics = world.metrics().get("/metrics").text();
    for name in [
        "iploop_gateway_tried_total{",
        "iploop_hub_opens_total{",
        "iploop_hub_hedges_total{",
        "iploop_hub_rests_total",
    ] {
        let sum: f64 = metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert!(sum > 0.0, "{name}: {metrics}");
    }
    let answer = world.customer().with("-debug-1").get(&world.origin.url("/echo"));
    assert!(answer.field("X-IPLoop-Debug").is_some(), "{}", answer.head);
    let attempts = answer.field("X-IPLoop-Debug-Attempts").unwrap();
    assert!(attempts.contains("outcome=opened"), "{attempts}");
}
