//! Devices and server killed by chance under load: afterwards ledger, customer and origin agree.

use std::time::Instant;

use super::mutate::Dice;
use crate::harness::{World, eventually};
use crate::money::{Direction, Watched, settled};

const STREAMS: usize = 9;
/// Bytes of each stream before the next blow.
const ENOUGH: u64 = 300_000;

#[test]
fn after_kills_by_chance_ledger_customer_and_origin_agree() {
    let mut world = World::start();
    let mut dice = Dice::of(super::seed());
    let account = world.account.id.clone();
    let mut ids = Vec::new();
    for _ in 0..super::size(2, 12) {
        let customer = world.customer();
        let mut streams: Vec<Watched> = (0..STREAMS)
            .map(|number| {
                let up = number % 3 == 2;
                Watched::start(
                    &world,
                    &customer,
                    if up { Direction::Up } else { Direction::Down },
                )
            })
            .collect();
        run_on(&mut streams);
        for _ in 0..=dice.below(2) {
            kill_device(&mut world, &mut streams, dice.below(3));
            run_on(&mut streams);
        }
        let killed = Instant::now();
        world.server.kill();
        eventually("every stream has broken", || {
            streams.iter().all(Watched::is_over).then_some(())
        });
        world.restart_server();
        ids.extend(streams.iter().map(|stream| stream.id.clone()));
        let booked = settled(&world.database(), &account, &ids);
        for stream in &streams {
            let row = booked.iter().find(|one| one.id == stream.id).unwrap();
            stream.assert_billed(row, killed);
            // What lost its exit is on us, and else nothing is.
            let is_ours = row.error.as_deref() == Some("exit_lost");
            assert_eq!(row.billable, !is_ours, "{row:?}");
        }
    }
    super::assert_unharmed(&world);
    world.server.terminate();
    assert!(world.server.wait().success());
    let purse = world.database().purse(&account);
    assert_eq!(purse.used, purse.booked, "the purse is the sum of its requests");
    assert_eq!(purse.balance, purse.granted - purse.used);
}

/// Until every stream that lives has carried so much more.
fn run_on(streams: &mut [Watched]) {
    let at_first: Vec<u64> = streams.iter().map(Watched::arrived).collect();
    eventually("every living stream has carried more", || {
        streams.iter_mut().for_each(Watched::sample);
        let goes_on =
            |(stream, first): (&Watched, &u64)| stream.is_over() || stream.arrived() >= first + ENOUGH;
        streams.iter().zip(&at_first).all(goes_on).then_some(())
    });
}

/// Kills a device as a battery does, and starts it again once its streams have broken.
fn kill_device(world: &mut World, streams: &mut [Watched], number: usize) {
    let mut device = world.devices.remove(number);
    device.program.kill();
    let address: std::net::IpAddr = device.place.address.parse().unwrap();
    eventually("its streams have broken", || {
        streams.iter_mut().for_each(Watched::sample);
        let are_over = streams
            .iter()
            .filter(|stream| stream.through == address)
            .all(Watched::is_over);
        are_over.then_some(())
    });
    let (place, state) = (device.place, device.state.clone());
    drop(device);
    let again = world.begin_device_in(place, state);
    again.program.event("sharing");
    world.devices.insert(number, again);
}
