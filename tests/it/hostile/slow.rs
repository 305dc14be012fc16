//! Connections that never get on, in thousands, on every port that is open to strangers.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Load, Place, Settings, World};

/// Requests that have to be served meanwhile.
const REQUESTS: usize = 100;
/// A byte of each in so much time.
const DRIP: Duration = Duration::from_secs(1);

#[test]
fn slow_connections_on_every_port_keep_nobody_from_being_served() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let count = super::size(600, 3_000);
    let ports = [world.ready.proxy, world.ready.hub, world.ready.api];
    let openings: [&[u8]; 3] = [
        b"GET http://example.com/",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"\x05",
    ];
    let mut slow: Vec<(SocketAddr, TcpStream)> = Vec::new();
    for number in 0..count {
        let port = ports[number % ports.len()];
        let mut stream = TcpStream::connect(port).unwrap();
        stream.set_nonblocking(true).unwrap();
        let opening = openings[(number / ports.len()) % openings.len()];
        // A port may have enough of them.
        let _ = stream.write(opening);
        slow.push((port, stream));
    }
    let (customer, to) = (world.customer(), world.origin.http);
    let load = Load::start(&customer, 4, to, "/echo", |_| false);
    let mut api_answers = 0;
    let mut next = Instant::now();
    while load.asked() < REQUESTS {
        for (_, stream) in &mut slow {
            let _ = stream.write(b"a");
        }
        api_answers += usize::from(world.api().get("/healthz").status == 200);
        next += DRIP;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let asked = load.stop();
    assert!(asked.iter().all(crate::harness::Asked::is_served), "{asked:?}");
    assert!(api_answers > 0);
    // A device finds its way to the hub meanwhile.
    let device = world.begin_device(Place::NEW_YORK);
    device.program.event("sharing");
    drop(slow);
    super::assert_unharmed(&world);
}
