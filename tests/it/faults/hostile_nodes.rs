//! Devices that break the protocol: each is closed with the code for what it did, and costs the hub nothing that lasts.

use std::collections::BTreeMap;
use std::process::Command;

use super::{assert_served, connected_devices};
use crate::harness::{Load, Place, Program, Settings, World, eventually, python, repository};

/// Connections that say nothing.
const MUTE: usize = 500;
/// How often each of the others tries.
const ROUNDS: usize = 4;
/// Memory that may stay: a tenth, and this.
const REMAINS: u64 = 4 << 20;
/// Memory that all of them together may cost meanwhile.
const AT_MOST: u64 = 64 << 20;

/// What each does to the hub (`tests/python/hostile.py`), and the code that it is closed with (`docs/protocol.md`, sections 9
/// and 10).
const ENDS: [(&str, u64); 25] = [
    ("garbage", 1),
    ("no_bytes", 1),
    ("text", 1),
    ("long_message", 1),
    ("long_frame", 1),
    ("short_frame", 1),
    ("empty_frame", 1),
    ("data_first", 2),
    ("no_hello", 2),
    ("bad_hello", 21),
    ("bad_partner", 23),
    ("two_hellos", 2),
    ("pings", 6),
    ("packed_pings", 6),
    ("pongs", 6),
    ("extensions", 6),
    ("control_messages", 6),
    ("endless_control", 1),
    ("endless_hello", 1),
    ("opens", 6),
    ("hubs_id", 5),
    ("unknown_stream", 4),
    ("too_much_credit", 3),
    ("mute", 7),
    ("silent", 8),
];

#[test]
fn hostile_nodes_are_closed_by_their_code_and_leave_no_memory_behind() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let (customer, to) = (world.customer().with("-country-DE"), world.origin.http);
    let api = world.signed_in();
    let load = Load::start(&customer, 1, to, "/echo", |_| false);
    let at_first = world.server.resident();
    // The first wave shows the allocator what it will need: it keeps that for the next one. The hub has to be as it was after
    // each: what a wave left behind, the second would double.
    let highest = wave(&world, 1);
    let before = world.server.resident();
    wave(&world, 0);
    assert_served("beside the attacks", &load.stop());
    eventually("only the honest device is left", || {
        (connected_devices(&api) == Some(1)).then_some(())
    });
    let after = world.server.resident();
    let mib = |bytes: u64| bytes / (1 << 20);
    println!(
        "resident: {} MiB at first, at most {} in the first wave, {} after it, {} after the second",
        mib(at_first),
        mib(highest),
        mib(before),
        mib(after)
    );
    assert!(after <= before + before / 10 + REMAINS, "{before} became {after}");
    assert!(highest <= at_first + AT_MOST, "{at_first} became {highest}");
}

/// Every attack, so many of them silent; the most memory that was seen meanwhile.
fn wave(world: &World, silent: usize) -> u64 {
    let mut command = Command::new(python());
    command
        .arg(repository().join("tests/python/hostile.py"))
        .args(["--hub", &world.hub_url(), "--partner-key", &world.partner_key])
        .args(["--rounds", &ROUNDS.to_string(), "--mute", &MUTE.to_string()])
        .args(["--silent", &silent.to_string()]);
    let log = world.folder().join("hostile.log");
    let attackers = Program::start("the hostile nodes", &mut command, &log);
    let mut ended = BTreeMap::<String, usize>::new();
    let mut highest = 0;
    loop {
        let said = attackers.event_of(&["ended", "over"]);
        highest = highest.max(world.server.resident());
        if said["event"] == "over" {
            break;
        }
        let attack = said["attack"].as_str().unwrap();
        let (_, code) = ENDS.iter().find(|(name, _)| *name == attack).unwrap();
        assert_eq!(said["close"].as_u64(), Some(*code), "{said}");
        assert_eq!(said["status"].as_u64(), Some(4000 + code), "{said}");
        *ended.entry(attack.to_owned()).or_default() += 1;
    }
    for (attack, _) in ENDS {
        let expected = match attack {
            "mute" => MUTE,
            "silent" => silent,
            _ => ROUNDS,
        };
        assert_eq!(ended.get(attack).copied().unwrap_or(0), expected, "{attack}");
    }
    highest
}
