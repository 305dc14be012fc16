//! A path between a device and the hub that swallows everything, and tells nobody.

use std::time::{Duration, Instant};

use super::{assert_served, connected_devices};
use crate::harness::{Link, Load, Place, Settings, World, eventually};

/// Silence for 25 s, and two pings of 10 s each (`docs/protocol.md`, Liveness).
const NOTICED_WITHIN: Duration = Duration::from_secs(45);
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// The count of devices may be a second old, and a machine is busy.
const TOLERANCE: Duration = Duration::from_secs(2);

#[test]
fn a_dead_path_is_noticed_within_45_seconds_and_forgiven_within_30() {
    let settings = Settings::with_places(&[Place::MIAMI]);
    let world = World::start_with(settings.set("IPLOOP_GATEWAY__ATTEMPT_TIMEOUT", "500ms"));
    let link = Link::start(Place::NEW_YORK.address, world.ready.hub);
    let far = world.begin_device_by(Place::NEW_YORK, link.address);
    far.program.event("sharing");
    let (url, api) = (world.origin.url("/echo"), world.signed_in());
    let by_the_link = world.customer().with("-city-new_york");
    let anywhere = world.customer().with("-country-US-debug-1");
    assert_eq!(by_the_link.get(&url).json()["ip"], Place::NEW_YORK.address);

    link.cut();
    let cut = Instant::now();
    // Customers go on meanwhile: a request that is sent there costs an attempt, and moves on.
    let load = Load::start(&anywhere, 2, world.origin.http, "/echo", |_| false);
    let noticed = eventually("the hub gives the device up", || {
        (connected_devices(&api) == Some(1)).then(|| cut.elapsed())
    });
    let meanwhile = load.stop();
    println!(
        "noticed after {noticed:?}; {} requests meanwhile",
        meanwhile.len()
    );
    assert_served("meanwhile", &meanwhile);
    assert!(noticed <= NOTICED_WITHIN + TOLERANCE, "{noticed:?}");
    assert!(
        noticed >= Duration::from_secs(20),
        "{noticed:?}: nothing was lost for so short a while"
    );
    for _ in 0..20 {
        let response = anywhere.get(&url);
        assert_eq!(response.json()["ip"], Place::MIAMI.address);
        let debug = response.field("X-IPLoop-Debug").unwrap();
        assert!(
            debug.ends_with("attempts=1"),
            "no request is sent there any more: {debug}"
        );
    }
    let nobody = by_the_link.get(&url);
    assert_eq!((nobody.status, nobody.code()), (503, "no_exit"));
    // The device has noticed as well, from its own silence.
    let problem = far.program.event("disconnected");
    println!("the device: {problem}");

    link.mend();
    let mended = Instant::now();
    let back = eventually("the device is back", || {
        (by_the_link.get(&url).status == 200).then(|| mended.elapsed())
    });
    println!("back {back:?} after the path");
    assert!(back <= BACK_WITHIN + TOLERANCE, "{back:?}");
    assert_eq!(by_the_link.get(&url).json()["ip"], Place::NEW_YORK.address);
}
