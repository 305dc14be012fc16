//! Thousands of devices whose hub restarts. For people, since it takes minutes and both processors:
//!
//! ```text
//! cargo build --release -p iploop-server -p iploop-node-agent
//! cargo test --release -p iploop-tests -- --ignored --nocapture crowd
//! IPLOOP_TEST_DEVICES=1000 cargo test -p iploop-tests -- --ignored --nocapture crowd
//! ```

use std::process::Command;
use std::time::{Duration, Instant};

use super::connected_devices;
use crate::harness::{Api, Program, Settings, World, python, repository};

/// Devices, where the environment does not say otherwise.
const DEVICES: u64 = 10_000;
/// Of them in one process.
const IN_ONE_PROCESS: u64 = 2_500;
/// What is promised of a restart, and of the API meanwhile.
const MOST_BACK: Duration = Duration::from_secs(60);
const ALL_BACK: Duration = Duration::from_secs(120);
const API_P99: Duration = Duration::from_secs(1);
/// How often the API is asked.
const LOOK: Duration = Duration::from_millis(100);

#[test]
#[ignore = "takes minutes and the whole machine: see the top of the file"]
fn a_crowd_of_devices_is_back_after_its_hub_restarts() {
    let named = std::env::var("IPLOOP_TEST_DEVICES").ok();
    let devices = named.map_or(DEVICES, |count| count.parse().unwrap());
    let mut world = World::start_with(Settings::with_places(&[]));
    let _crowd: Vec<Program> = (0..devices)
        .step_by(usize::try_from(IN_ONE_PROCESS).unwrap())
        .map(|first| {
            let count = IN_ONE_PROCESS.min(devices - first);
            let mut command = Command::new(python());
            command
                .arg(repository().join("tests/python/crowd.py"))
                .args(["--hub", &world.hub_url(), "--partner-key", &world.partner_key])
                .args(["--devices", &count.to_string(), "--first", &first.to_string()]);
            Program::start("a crowd", &mut command, &world.folder().join("crowd.log"))
        })
        .collect();
    let first = watch(&world.signed_in(), devices);
    println!("{devices} devices for the first time: {first}");

    for how in ["killed", "asked to go"] {
        if how == "killed" {
            world.server.kill();
        } else {
            world.server.terminate();
            assert!(world.server.wait().success());
        }
        world.start_server();
        let back = watch(&world.signed_in(), devices);
        println!("back after the hub was {how}: {back}");
        assert!(back.most <= MOST_BACK && back.all <= ALL_BACK, "{how}: {back}");
        assert!(back.api_p99 <= API_P99, "{how}: {back}");
    }
}

/// How a crowd came, from when the watching began.
struct Arrival {
    /// 95 of 100.
    most: Duration,
    all: Duration,
    api_p99: Duration,
    api_asked: usize,
}

impl std::fmt::Display for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            most,
            all,
            api_p99,
            api_asked,
        } = self;
        write!(
            f,
            "95 % within {most:?}, all within {all:?}; API p99 {api_p99:?} of {api_asked} requests"
        )
    }
}

/// Asks the API until every device is there.
fn watch(api: &Api, devices: u64) -> Arrival {
    let began = Instant::now();
    let (mut most, mut latencies) = (None, Vec::new());
    loop {
        let asked = Instant::now();
        let connected = connected_devices(api).unwrap();
        latencies.push(asked.elapsed());
        if connected * 100 >= devices * 95 {
            most.get_or_insert_with(|| began.elapsed());
        }
        if connected >= devices {
            break;
        }
        assert!(
            began.elapsed() < 2 * ALL_BACK,
            "{connected} of {devices} are there"
        );
        std::thread::park_timeout(LOOK);
    }
    latencies.sort();
    let all = began.elapsed();
    Arrival {
        most: most.unwrap_or(all),
        all,
        api_p99: latencies[(latencies.len() * 99 / 100).min(latencies.len() - 1)],
        api_asked: latencies.len(),
    }
}
