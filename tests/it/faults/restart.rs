//! The server or a device is killed while customers ask, and comes back.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{assert_served, connected_devices};
use crate::harness::{Load, Outcome, Place, Settings, Way, World, ask, eventually};

/// From the start of the new process to the first request that is served.
const SERVING_AGAIN: Duration = Duration::from_secs(5);

fn never(_: &Outcome) -> bool {
    false
}

#[test]
fn a_killed_server_serves_again_within_5_seconds_of_its_start() {
    let mut world = World::start_with(Settings::with_places(&[
        Place::NEW_YORK,
        Place::MIAMI,
        Place::BERLIN,
    ]));
    let to = world.origin.http;
    let load = Load::start(&world.customer(), 9, to, "/echo", |outcome| {
        matches!(outcome, Outcome::NoConnection(_))
    });
    eventually("every customer was served", || {
        (world.origin.visits().len() > 3 * 9).then_some(())
    });
    let killed = Instant::now();
    world.server.kill();
    assert_served(
        "before the crash",
        load.stop().iter().filter(|asked| asked.ended() < killed),
    );

    world.start_server();
    let ready = Instant::now();
    let customer = world.customer();
    eventually("a request is served", || {
        ask(&customer, Way::Connect, to, "/echo")
            .is_served()
            .then_some(())
    });
    let again = ready.elapsed();
    println!(
        "served {again:?} after it was ready, {:?} after the kill",
        killed.elapsed()
    );
    assert!(again <= SERVING_AGAIN, "{again:?}");
    // The devices come by themselves, each after its own wait.
    let api = world.signed_in();
    eventually("every device is back", || {
        (connected_devices(&api) == Some(3)).then_some(())
    });
    println!("all devices were back {:?} after it was ready", ready.elapsed());
    let load = Load::start(&customer, 9, to, "/echo", never);
    let seen = world.origin.visits().len();
    eventually("every customer was served", || {
        (world.origin.visits().len() > seen + 3 * 9).then_some(())
    });
    assert_served("after the crash", &load.stop());
}

#[test]
fn a_killed_device_is_not_chosen_any_more_and_is_welcome_again() {
    let mut world = World::start_with(Settings::with_places(&[Place::NEW_YORK, Place::MIAMI]));
    let (customer, to) = (world.customer().with("-country-US"), world.origin.http);
    let api = world.signed_in();
    let load = Load::start(&customer, 8, to, "/echo", never);
    let came_from = |place: Place, since: usize| {
        let visits = world.origin.visits();
        visits[since..]
            .iter()
            .filter(|visit| visit.from.ip().to_string() == place.address)
            .count()
    };
    eventually("both devices serve", || {
        (came_from(Place::NEW_YORK, 0) > 8 && came_from(Place::MIAMI, 0) > 8).then_some(())
    });
    let killed = Instant::now();
    world.devices[0].program.kill();
    eventually("the hub has noticed", || {
        (connected_devices(&api) == Some(1)).then_some(())
    });
    let noticed = Instant::now();
    let seen = world.origin.visits().len();
    eventually("requests go on", || {
        let visits = world.origin.visits();
        (visits.len() > seen + 5 * 8).then_some(())
    });
    let all = load.stop();
    println!("noticed {:?} after the kill", noticed - killed);
    assert_served(
        "after it was noticed",
        all.iter().filter(|asked| asked.began > noticed),
    );
    // One request of each customer at most was on the device when it died: it was told what happened.
    let lost: Vec<_> = all.iter().filter(|asked| !asked.is_served()).collect();
    assert!(lost.len() <= 8, "{lost:?}");
    for asked in lost {
        assert!(asked.began < noticed && asked.ended() >= killed, "{asked:?}");
        match &asked.outcome {
            Outcome::Refused(answer) => {
                assert_eq!((answer.status, answer.code()), (502, "exit_lost"), "{asked:?}");
            }
            Outcome::Broken(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{asked:?}"),
            _ => panic!("{asked:?}"),
        }
    }

    let state = world.devices[0].state.clone();
    let device = world.begin_device_in(Place::NEW_YORK, state);
    device.program.event("sharing");
    let back = world.origin.visits().len();
    eventually("it is chosen again", || {
        assert!(ask(&customer, Way::Plain, to, "/echo").is_served());
        (came_from(Place::NEW_YORK, back) > 0).then_some(())
    });
}
