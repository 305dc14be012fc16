//! Customers and devices that stop in the middle: each holds up its own streams, and nobody beside it.

use std::io::Read as _;

use super::assert_served;
use crate::harness::{Load, Place, Settings, Tunnel, World, eventually, pattern, read_head};

/// Downloads that stop in the middle.
const STALLED: usize = 16;
/// Bytes of each: much more than all buffers on its way.
const LARGE: usize = 64 << 20;
/// What is read of one at last.
const REST: usize = 1 << 20;
/// Memory of the server that one of them may cost, its buffers in the kernel aside.
const AT_MOST_EACH: u64 = 512 << 10;
/// Requests beside them.
const BESIDE: usize = 50;

#[test]
fn a_customer_that_does_not_read_holds_up_nobody_on_the_same_device() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let (customer, to) = (world.customer(), world.origin.http);
    let before = world.server.resident();
    let stalled = downloads(&world, STALLED);
    let load = Load::start(&customer, 2, to, "/bytes/20000", |_| false);
    eventually("requests beside them", || (load.asked() >= BESIDE).then_some(()));
    assert_served("beside stalled downloads", &load.stop());
    let (after, most) = (world.server.resident(), STALLED as u64 * AT_MOST_EACH);
    assert!(after <= before + most, "{before} became {after}");
    // They have not ended meanwhile: whoever reads on gets the rest.
    for mut tunnel in stalled {
        assert_pattern(&mut tunnel, REST);
    }
}

#[test]
fn a_device_that_stops_in_the_middle_holds_up_its_own_streams_only() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN, Place::TEL_AVIV]));
    let (customer, to) = (world.customer(), world.origin.http);
    let mut stalled = downloads(&world, STALLED);
    let device = &world.devices[0].program;
    device.freeze();
    let load = Load::start(&customer.with("-country-IL"), 2, to, "/bytes/20000", |_| false);
    eventually("requests meanwhile", || (load.asked() >= BESIDE).then_some(()));
    assert_served("on the other device", &load.stop());
    // What was asleep and not away goes on where it was.
    device.thaw();
    for tunnel in &mut stalled {
        assert_pattern(tunnel, REST);
    }
}

/// Downloads through the device in Berlin of which only the head was read.
fn downloads(world: &World, count: usize) -> Vec<Tunnel> {
    let customer = world.customer().with("-country-DE");
    (0..count)
        .map(|_| {
            let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
            tunnel.ask(&format!("/bytes/{LARGE}"));
            read_head(&mut tunnel.stream).unwrap();
            tunnel
        })
        .collect()
}

/// Reads so many bytes, which are the pattern's first.
fn assert_pattern(tunnel: &mut Tunnel, length: usize) {
    let mut read = vec![0; length];
    tunnel.stream.read_exact(&mut read).unwrap();
    assert!(read == pattern(length));
}
