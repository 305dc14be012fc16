//! The owner's word: no sharing without it, none after it was taken back, and a pause whenever they like.

use std::io::Read as _;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Place, Settings, TERMS, World, agent, eventually, read_head, run};

/// In which every customer's stream ends after a withdrawal.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn withdrawal_ends_streams_within_5_seconds_and_outlives_a_restart() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
        tunnel.ask("/drip/100000");
        read_head(&mut tunnel.stream).unwrap();
        streams.push(tunnel.stream);
    }
    let mut device = world.devices.remove(0);
    let began = Instant::now();
    device.command("withdraw");
    for stream in &mut streams {
        // However it ends.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(began.elapsed() <= WITHDRAWN_WITHIN, "{:?}", began.elapsed());
    assert_eq!(
        device.program.wait().code(),
        Some(3),
        "its own status: consent is needed"
    );
    let refused = customer.get(&world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (503, "no_exit"));
    assert_eq!(world.database().withdrawals(), 1);

    // Started again as before: it says why not, and does not connect.
    let again = run(&mut world.device_command(device.place, &device.state), PATIENCE);
    assert_eq!(again.status.code(), Some(3));
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("withdr"), "{said}");
    assert!(
        !String::from_utf8_lossy(&again.stdout).contains("connected"),
        "{again:?}"
    );
    assert_eq!(customer.get(&world.origin.url("/echo")).status, 503);
    let status = device.command("status");
    assert_eq!(
        (&status["sharing"], &status["reason"]),
        (&false.into(), &"withdrawn".into()),
        "{status}"
    );

    // A new act of the owner, and it shares again.
    let mut consent = std::process::Command::new(agent());
    consent
        .args(["consent", "--accept-terms", TERMS, "--state"])
        .arg(&device.state);
    assert!(run(&mut consent, PATIENCE).status.success());
    let device = world.begin_device_in(device.place, device.state.clone());
    device.program.event("sharing");
    assert_eq!(customer.get(&world.origin.url("/echo")).status, 200);
}

#[test]
fn a_withdrawal_without_a_connection_holds_at_once_and_is_delivered_later() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let mut device = world.devices.remove(0);
    world.server.terminate();
    assert!(world.server.wait().success());
    device.program.event("disconnected");
    let said = device.command("withdraw");
    assert_eq!(
        (&said["sharing"], &said["delivered"]),
        (&false.into(), &false.into()),
        "{said}"
    );
    assert_eq!(device.program.wait().code(), Some(3));
    world.restart_server();
    assert_eq!(world.database().withdrawals(), 0);
    // Started again it tells the hub, and shares nothing.
    let again = run(&mut world.device_command(device.place, &device.state), PATIENCE);
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert_eq!(world.database().withdrawals(), 1);
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 503);
}

#[test]
fn a_pause_takes_no_requests_and_ends_when_the_owner_says() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let device = &world.devices[0];
    let (customer, url) = (world.customer(), world.origin.url("/echo"));
    assert_eq!(customer.get(&url).status, 200);
    device.command("pause");
    assert_eq!(device.program.event("not_sharing")["reason"], "paused_by_owner");
    eventually("the hub knows", || {
        (customer.get(&url).status == 503).then_some(())
    });
    let refused = customer.get(&url);
    assert_eq!((refused.status, refused.code()), (503, "no_exit"));
    let status = device.command("status");
    assert_eq!(
        (&status["sharing"], &status["link"]["state"]),
        (&false.into(), &"connected".into()),
        "{status}"
    );
    device.command("resume");
    device.program.event("sharing");
    eventually("the hub knows", || {
        (customer.get(&url).status == 200).then_some(())
    });
}

#[test]
fn a_pause_outlives_a_restart_of_the_device() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let mut device = world.devices.remove(0);
    device.command("pause");
    device.program.terminate();
    assert!(device.program.wait().success());
    let device = world.begin_device_in(device.place, device.state.clone());
    device.program.event("connected");
    let (customer, url) = (world.customer(), world.origin.url("/echo"));
    assert_eq!(customer.get(&url).status, 503);
    device.command("resume");
    device.program.event("sharing");
    eventually("the hub knows", || {
        (customer.get(&url).status == 200).then_some(())
    });
}

#[test]
fn the_hub_takes_no_consent_to_a_text_that_is_not_in_force() {
    let settings = Settings::with_places(&[]).set("IPLOOP_HUB__TERMS", "[\"2027-01\"]");
    let world = World::start_with(settings);
    let mut device = world.begin_device(Place::BERLIN);
    let ended = device.program.event("ended");
    assert_eq!(ended["link"]["state"], "consent_needed", "{ended}");
    assert_eq!(device.program.wait().code(), Some(3));
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 503);
}

#[test]
fn nobody_shares_without_an_act_and_none_agrees_to_an_unknown_text() {
    let world = World::start_with(Settings::with_places(&[]));
    let state = world.folder().join("undecided");
    let mut command = std::process::Command::new(agent());
    command
        .args([
            "run",
            "--hub",
            &world.hub_url(),
            "--partner-key",
            &world.partner_key,
            "--state",
        ])
        .arg(&state);
    let output = run(&mut command, PATIENCE);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("Other people's internet traffic"),
        "the text is shown: {said}"
    );
    command.args(["--accept-terms", "1999-01"]);
    let output = run(&mut command, PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(TERMS),
        "the known one is named: {said}"
    );
}

#[test]
fn a_hub_that_is_none_for_tests_refuses_devices_with_opened_addresses() {
    let settings = Settings::with_places(&[]).set("IPLOOP_EXIT__TEST_ALLOW", "[]");
    let world = World::start_with(settings);
    let mut device = world.begin_device(Place::BERLIN);
    let ended = device.program.event("ended");
    assert_eq!(
        (&ended["link"]["state"], &ended["link"]["code"]),
        (&"rejected".into(), &"test_allow_refused".into()),
        "{ended}"
    );
    assert_eq!(device.program.wait().code(), Some(4));
}

#[test]
fn devices_connect_by_tls_and_come_back_after_the_hub() {
    let settings = Settings {
        secure_hub: true,
        ..Settings::with_places(&[Place::BERLIN])
    };
    let mut world = World::start_with(settings);
    let url = world.origin.url("/echo");
    assert_eq!(world.customer().get(&url).json()["ip"], Place::BERLIN.address);
    world.server.terminate();
    assert!(world.server.wait().success());
    world.restart_server();
    assert_eq!(world.customer().get(&url).json()["ip"], Place::BERLIN.address);
}
