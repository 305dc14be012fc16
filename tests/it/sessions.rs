//! Sticky sessions say what they did: over a restart of the server, and while devices die and move.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Customer, Place, Response, Settings, World, eventually};

const SESSIONS: &str = "/api/proxy/sessions";

/// By which exit a request was served, and what its answer says of the session; the exit is as the origin saw it.
fn served(response: &Response) -> (String, String) {
    assert_eq!(response.status, 200, "{}\n{}", response.head, response.text());
    let seen = response.json()["ip"].as_str().unwrap().to_owned();
    assert_eq!(response.field("X-IPLoop-Exit-Ip"), Some(seen.as_str()));
    let session = response.field("X-IPLoop-Session").unwrap_or_default();
    (seen, session.to_owned())
}

/// What was done so far is written down when a change by the API is answered.
fn make_session(world: &World, targeting: &str) -> Value {
    let made = world
        .signed_in()
        .post(SESSIONS, &json!({ "targeting": targeting }));
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

#[test]
fn sessions_go_on_through_their_exits_when_the_server_is_killed_and_when_it_leaves() {
    let mut world = World::start();
    let url = world.origin.url("/echo");
    let ask =
        |world: &World, name: &str| served(&world.customer().with(&format!("-session-{name}")).get(&url));
    let names = ["a", "b", "c", "d", "e", "f"];
    let before: BTreeMap<_, _> = names.iter().map(|name| (*name, ask(&world, name))).collect();
    for (name, (_, session)) in &before {
        assert_eq!(session, name);
    }
    make_session(&world, "session-ahead-country-IL");

    // Killed: nothing after the last answer of the API was written down, and nothing had to be.
    world.server.kill();
    world.start_server();
    for name in names {
        // The devices are on their way back: each request waits for the one of its session.
        assert_eq!(ask(&world, name), before[name], "after the kill");
    }
    let list = world.signed_in().get(SESSIONS).json();
    let listed: BTreeMap<_, _> = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["id"].as_str().unwrap(), session))
        .collect();
    assert_eq!(listed.len(), 7, "{list}");
    for name in names {
        assert_eq!(listed[name]["exit"]["ip"], before[name].0.as_str());
        assert_eq!(listed[name]["requests"], 2);
    }
    assert_eq!(listed["ahead"]["exit"], Value::Null);
    // All of them are back, whether a session was theirs or not.
    for device in &world.devices {
        device.program.event("sharing");
    }

    // Left in order: also what was rotated a moment ago.
    let rotated = world
        .signed_in()
        .post(&format!("{SESSIONS}/a/rotate"), &json!({}));
    assert_eq!((rotated.status, &rotated.json()["exit"]), (200, &Value::Null));
    world.server.terminate();
    assert!(world.server.wait().success());
    world.restart_server();
    for name in &names[1..] {
        assert_eq!(ask(&world, name), before[name], "after it left");
    }
    let (exit, session) = ask(&world, "a");
    assert_ne!(exit, before["a"].0);
    assert_eq!(session, "rotated");
    let ahead = world.customer().with("-session-ahead-country-IL").get(&url);
    assert_eq!(
        served(&ahead),
        (Place::TEL_AVIV.address.to_owned(), "ahead".to_owned())
    );

    let ended = world.signed_in().delete(SESSIONS).json();
    assert_eq!(ended, json!({"ended": 7}));
}

/// Sends requests in one session and holds each answer against the one before.
struct Witness {
    customer: Customer,
    url: String,
    name: &'static str,
    last: String,
    changes: usize,
}

impl Witness {
    fn new(world: &World, name: &'static str, more: &str) -> Self {
        let customer = world.customer().with(&format!("-session-{name}{more}"));
        let url = world.origin.url("/echo");
        let (last, session) = served(&customer.get(&url));
        assert_eq!(session, name);
        Self {
            customer,
            url,
            name,
            last,
            changes: 0,
        }
    }

    /// One request. It may fail while a device dies, with an error of the gateway's; it may not lie.
    fn ask(&mut self) -> u16 {
        let response = self.customer.get(&self.url);
        if response.status != 200 {
            assert_ne!(response.code(), "", "{}", response.head);
            return response.status;
        }
        let (exit, session) = served(&response);
        let says_so = if exit == self.last { self.name } else { "rotated" };
        assert_eq!(session, says_so, "{} after {}", exit, self.last);
        self.changes += usize::from(exit != self.last);
        self.last = exit;
        200
    }

    /// Until one is served by another exit.
    fn until_it_changes(&mut self) {
        let before = self.changes;
        eventually("the session has another exit", || {
            self.ask();
            (self.changes > before).then_some(())
        });
    }
}

#[test]
fn the_address_of_a_session_never_changes_silently_while_devices_die() {
    let mut world = World::start();
    let mut witness = Witness::new(&world, "w", "");
    for round in 1..=4 {
        let at = world
            .devices
            .iter()
            .position(|device| device.place.address == witness.last)
            .unwrap();
        let mut strict = Witness::new(&world, ["s1", "s2", "s3", "s4"][round - 1], "-failover-none");
        world.devices[at].program.kill();
        witness.until_it_changes();
        for _ in 0..5 {
            assert_eq!(witness.ask(), 200);
        }
        assert_eq!(witness.changes, round, "one change for one death");
        let (place, state) = (world.devices[at].place, world.devices[at].state.clone());
        if strict.last == place.address {
            let refused = strict.customer.get(&strict.url);
            assert_eq!((refused.status, refused.code()), (503, "session_exit_gone"));
        }
        world.devices[at] = world.begin_device_in(place, state);
        world.devices[at].program.event("sharing");
        assert_eq!(strict.ask(), 200, "its exit is back, or was never away");
        assert_eq!(strict.changes, 0);
        assert_eq!(witness.ask(), 200);
        assert_eq!(witness.changes, round, "it stays where it went");
    }
}

#[test]
fn a_session_that_rotates_with_the_address_ends_when_its_device_moves() {
    let mut world = World::start_with(Settings::with_places(&[Place::NEW_YORK]));
    let mut moving = Witness::new(&world, "m", "-rotate-ip-change-failover-none");
    let mut staying = Witness::new(&world, "s", "-failover-none");
    let shown = |world: &World, name: &str| world.signed_in().get(&format!("{SESSIONS}/{name}")).status;
    assert_eq!((shown(&world, "m"), shown(&world, "s")), (200, 200));
    world.devices[0].program.kill();
    let state = world.devices[0].state.clone();
    world.devices[0] = world.begin_device_in(Place::MIAMI, state);
    world.devices[0].program.event("sharing");
    assert_eq!(
        (shown(&world, "m"), shown(&world, "s")),
        (404, 200),
        "seen at once"
    );
    assert_eq!(moving.ask(), 200);
    assert_eq!((moving.changes, moving.last.as_str()), (1, Place::MIAMI.address));
    assert_eq!(staying.ask(), 503);
    assert_eq!(shown(&world, "m"), 200);
}
