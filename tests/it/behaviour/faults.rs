//! Devices that freeze or die, destinations that hang up, and a server that is asked to go.

use std::io::{ErrorKind, Read as _};

use crate::harness::{Place, Settings, World, eventually, pattern, read_head, read_response};

const TWO_IN_ONE_COUNTRY: [Place; 2] = [Place::NEW_YORK, Place::MIAMI];

#[test]
fn a_frozen_device_costs_time_and_no_request() {
    let settings = Settings::with_places(&TWO_IN_ONE_COUNTRY);
    let world = World::start_with(settings.set("IPLOOP_GATEWAY__ATTEMPT_TIMEOUT", "500ms"));
    let frozen = &world.devices[0];
    frozen.program.freeze();
    let url = world.origin.url("/echo");
    let customer = world.customer().with("-country-US-debug-1");
    let mut retried = 0;
    for _ in 0..10 {
        let response = customer.get(&url);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["ip"], Place::MIAMI.address);
        let debug = response.field("X-IPLoop-Debug").unwrap();
        retried += usize::from(!debug.ends_with("attempts=1"));
    }
    assert!(retried > 0, "the frozen device was never asked");
    let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
    assert_eq!(tunnel.get("/echo").json()["ip"], Place::MIAMI.address);
}

#[test]
fn a_dead_device_breaks_its_streams_and_nothing_else() {
    let mut world = World::start_with(Settings::with_places(&TWO_IN_ONE_COUNTRY));
    let (to, customer) = (world.origin.http, world.customer());
    let on = |place: Place| {
        let city = place.city.replace(' ', "_");
        customer.with(&format!("-city-{city}-session-{}", place.asn))
    };
    // Sessions of any city that found the device while nothing went on.
    let url = world.origin.url("/echo");
    let session = |name: &str| customer.with(&format!("-country-US-session-{name}"));
    let names: Vec<String> = (0..32)
        .map(|number| format!("s{number}"))
        .filter(|name| session(name).get(&url).json()["ip"] == Place::NEW_YORK.address)
        .collect();
    assert!(names.len() >= 2, "32 sessions on two exits: {names:?}");

    let mut dying = on(Place::NEW_YORK).socks5(to).ok().unwrap();
    let mut dying_plain = on(Place::NEW_YORK).dial();
    let mut living = on(Place::MIAMI).connect(to).ok().unwrap();
    dying.ask("/gate/dead/200000");
    living.ask("/gate/dead/200000");
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {to}\r\n{}\r\n",
        world.origin.url("/gate/dead/200000"),
        on(Place::NEW_YORK).login()
    );
    std::io::Write::write_all(&mut dying_plain, request.as_bytes()).unwrap();
    for stream in [&mut dying.stream, &mut dying_plain, &mut living.stream] {
        read_head(stream).unwrap();
        let mut half = vec![0; 100_000];
        stream.read_exact(&mut half).unwrap();
        assert!(half == pattern(200_000)[..100_000]);
    }

    world.devices[0].program.kill();
    for stream in [&mut dying.stream, &mut dying_plain] {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionReset),
            "a break must not look like an end"
        );
    }
    world.origin.open_gate("dead");
    let mut rest = Vec::new();
    living.stream.read_to_end(&mut rest).unwrap();
    assert!(rest == pattern(200_000)[100_000..]);

    let insisting = session(&names[0]).with("-failover-none").get(&url);
    assert_eq!((insisting.status, insisting.code()), (503, "session_exit_gone"));
    let moved = session(&names[1]).get(&url);
    assert_eq!(moved.json()["ip"], Place::MIAMI.address);
    assert_eq!(moved.field("X-IPLoop-Session"), Some("rotated"));
    let stays = session(&names[1]).get(&url);
    assert_eq!(stays.field("X-IPLoop-Session"), Some(names[1].as_str()));
    let gone = customer.with("-city-new_york").get(&url);
    assert_eq!((gone.status, gone.code()), (503, "no_exit"));
}

#[test]
fn what_the_destination_does_to_a_connection_the_customer_sees() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
    tunnel.ask("/reset/r");
    let mut plain = customer.dial();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        world.origin.url("/reset/r"),
        world.origin.http,
        customer.login()
    );
    std::io::Write::write_all(&mut plain, request.as_bytes()).unwrap();
    for stream in [&mut tunnel.stream, &mut plain] {
        read_head(stream).unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
    }
    world.origin.open_gate("r");
    for stream in [&mut tunnel.stream, &mut plain] {
        let ended = stream.read_to_end(&mut Vec::new());
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionReset),
            "a break must not look like an end"
        );
    }

    // Half-closed by the customer, the answer still comes; closed by the destination, the end is an end.
    let mut tunnel = customer.socks5(world.origin.http).ok().unwrap();
    tunnel.ask("/gate/half/100000");
    tunnel.stream.shutdown(std::net::Shutdown::Write).unwrap();
    world.origin.open_gate("half");
    let response = read_response(&mut tunnel.stream, false).unwrap();
    assert!(response.body == pattern(100_000));
    assert_eq!(tunnel.stream.read(&mut [0]).unwrap(), 0);

    // Nobody listens there: the port was the test's own a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = closed.local_addr().unwrap();
    drop(closed);
    let settings = Settings::with_places(&[Place::BERLIN]);
    let allow = format!("[\"{to}\"]");
    let world = World::start_with(settings.set("IPLOOP_EXIT__TEST_ALLOW", &allow).test_allow(to));
    let customer = world.customer();
    let refused = customer.connect(to).err().unwrap();
    assert_eq!((refused.status, refused.code()), (502, "connection_refused"));
    assert_eq!(customer.socks5(to).err(), Some(5));
}

#[test]
fn sigterm_lets_downloads_finish_and_refuses_no_connection() {
    let mut world = World::start_with(Settings::default().set("IPLOOP_GATEWAY__SOFT_DRAIN", "5s"));
    let customer = world.customer();
    let size = 1_000_000_u32;
    let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
    tunnel.ask(&format!("/gate/drain/{size}"));
    let mut socks = customer.socks5(world.origin.http).ok().unwrap();
    socks.ask(&format!("/gate/drain/{size}"));
    let mut plain = customer.dial();
    let url = world.origin.url(&format!("/gate/drain/{size}"));
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        world.origin.http,
        customer.login()
    );
    std::io::Write::write_all(&mut plain, request.as_bytes()).unwrap();
    for stream in [&mut tunnel.stream, &mut socks.stream, &mut plain] {
        stream.read_exact(&mut [0]).unwrap();
    }

    world.server.terminate();
    eventually("/readyz says draining", || {
        let answer = world.api().get("/readyz");
        (answer.status == 503 && answer.json()["status"] == "draining").then_some(())
    });
    // While other gateways take over: connections are accepted, and requests served.
    let url = world.origin.url("/echo");
    for _ in 0..5 {
        let response = customer.get(&url);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert!(customer.socks5(world.origin.http).is_ok());
    // Then they are told to go elsewhere, still on connections that are accepted.
    let refused = eventually("new requests are refused", || {
        let response = customer.get(&url);
        (response.status != 200).then_some(response)
    });
    assert_eq!((refused.status, refused.code()), (503, "draining"));
    assert!(refused.field("Retry-After").is_some());

    world.origin.open_gate("drain");
    for stream in [&mut tunnel.stream, &mut socks.stream, &mut plain] {
        let response = read_response(stream, false).unwrap();
        // The first byte was read above.
        assert!(response.head.starts_with("TTP/1.1 200"), "{}", response.head);
        assert!(response.body == pattern(1_000_000));
    }
    drop((tunnel, socks, plain));
    assert!(world.server.wait().success());
    // Everything that was relayed is booked.
    let booked = world.database().booked(&world.account.id);
    assert!(booked.iter().all(|one| one.is_ended), "{booked:?}");
    let downloads = booked
        .iter()
        .filter(|one| one.bytes_down >= i64::from(size))
        .count();
    assert_eq!(downloads, 3, "{booked:?}");
}
