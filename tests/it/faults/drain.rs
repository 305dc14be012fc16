//! A server that is asked to go while customers ask one request after the other.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use crate::harness::{
    Asked, Load, Outcome, Place, Settings, World, eventually, pattern, read_head, read_response,
};

/// How long new requests are still served: `gateway.soft_drain`.
const SOFT: Duration = Duration::from_secs(3);
/// How long streams may go on.
const GRACE: Duration = Duration::from_secs(30);
const DOWNLOAD: usize = 1_000_000;

/// Whether the customer goes to another gateway now, as it was told.
fn is_told_to_go(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Served(_) => false,
        Outcome::Refused(answer) => answer.code() == "draining",
        Outcome::Reply(code) => *code == 1,
        Outcome::NoConnection(_) | Outcome::Broken(_) => true,
    }
}

#[test]
fn sigterm_under_load_fails_no_request_and_sends_everybody_on() {
    let settings = Settings::with_places(&[Place::NEW_YORK, Place::BERLIN]);
    let mut world = World::start_with(settings.set("IPLOOP_GATEWAY__SOFT_DRAIN", "3s"));
    let (customer, to) = (world.customer(), world.origin.http);
    let mut download = customer.connect(to).ok().unwrap();
    download.ask(&format!("/gate/drain/{DOWNLOAD}"));
    download.stream.read_exact(&mut [0]).unwrap();

    let load = Load::start(&customer, 16, to, "/echo", is_told_to_go);
    let deaf = Load::start(&customer, 4, to, "/echo", |outcome| {
        matches!(outcome, Outcome::NoConnection(_))
    });
    eventually("every customer was served", || {
        (world.origin.visits().len() > 3 * 16).then_some(())
    });
    let asked_to_go = Instant::now();
    world.server.terminate();
    eventually("every customer is told to go elsewhere", || {
        (load.working() == 0).then_some(())
    });
    let all = load.stop();
    let (mut served_after, mut told) = (0, 0);
    for asked in &all {
        match &asked.outcome {
            Outcome::Served(answer) => {
                assert_eq!(answer.status, 200, "{asked:?}");
                served_after += usize::from(asked.began >= asked_to_go);
            }
            Outcome::Refused(answer) => {
                assert_eq!((answer.status, answer.code()), (503, "draining"), "{asked:?}");
                assert!(answer.field("Retry-After").is_some(), "{asked:?}");
                told += 1;
            }
            Outcome::Reply(_) => told += 1,
            Outcome::NoConnection(_) | Outcome::Broken(_) => panic!("{asked:?}"),
        }
    }
    assert_eq!(told, 16, "each is told once");
    let told_at = all.iter().filter(|asked| !asked.is_served()).map(Asked::ended);
    let soft = told_at.min().unwrap() - asked_to_go;
    println!(
        "{} requests, {served_after} of them served after SIGTERM, the first refusal after {soft:?}",
        all.len()
    );
    assert!(served_after > 0 && soft >= SOFT, "{soft:?}");

    assert_eq!(
        deaf.working(),
        4,
        "they are told again and again, as long as the download runs"
    );
    world.origin.open_gate("drain");
    let response = read_response(&mut download.stream, false).unwrap();
    assert!(response.body == pattern(DOWNLOAD), "the download is whole");
    drop(download);

    for device in &world.devices {
        let parting = device.program.event("disconnected");
        let problem = parting["problem"].as_str().unwrap();
        assert!(problem.contains("shutting down"), "{parting}");
        // Not at once, not all at the same time: the hub said when.
        let retry_in = Duration::from_millis(parting["retryInMs"].as_u64().unwrap());
        assert!(
            (Duration::from_secs(1)..=Duration::from_millis(5500)).contains(&retry_in),
            "{parting}"
        );
    }
    assert!(world.server.wait().success());
    let took = asked_to_go.elapsed();
    assert!(took < GRACE, "who does not listen holds nobody up: {took:?}");
    let heard = deaf.stop();
    let last_accepted = heard
        .iter()
        .filter(|asked| !matches!(asked.outcome, Outcome::NoConnection(_) | Outcome::Broken(_)))
        .map(|asked| asked.began)
        .max();
    for asked in &heard {
        match &asked.outcome {
            Outcome::Served(_) | Outcome::Reply(1) => {}
            Outcome::Refused(answer) => assert_eq!(answer.code(), "draining", "{asked:?}"),
            Outcome::NoConnection(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked:?}");
            }
            // Only in the moment in which it stopped to listen.
            Outcome::Broken(_) => assert!(Some(asked.ended()) > last_accepted, "{asked:?}"),
            Outcome::Reply(code) => panic!("{code}: {asked:?}"),
        }
    }
    let booked = world.database().booked(&world.account.id);
    assert!(booked.iter().all(|one| one.is_ended), "everything is booked");
    let served = all.iter().chain(&heard).filter(|asked| asked.is_served()).count();
    let paid = booked.iter().filter(|one| one.status == Some(200)).count();
    assert_eq!(paid, served + 1, "the served ones and the download");
}

#[test]
fn a_second_sigterm_ends_at_once_what_the_first_one_waits_for() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let mut held = world.customer().connect(world.origin.http).ok().unwrap();
    held.ask(&format!("/gate/never/{DOWNLOAD}"));
    let head = read_head(&mut held.stream).unwrap();
    let mut half = vec![0; DOWNLOAD / 2];
    held.stream.read_exact(&mut half).unwrap();
    world.server.terminate();
    eventually("it is leaving", || {
        (world.api().get("/readyz").status == 503).then_some(())
    });
    let again = Instant::now();
    world.server.terminate();
    assert!(world.server.wait().success());
    assert!(again.elapsed() < GRACE / 3, "{:?}", again.elapsed());
    let mut rest = Vec::new();
    let _cut = held.stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{} bytes came late", rest.len());
    // The next start books what was served.
    world.start_server();
    let booked = eventually("it is booked to its end", || {
        let booked = world.database().booked(&world.account.id);
        booked.iter().all(|one| one.is_ended).then_some(booked)
    });
    let served = i64::try_from(head.len() + half.len()).unwrap();
    assert_eq!(booked[0].bytes_down, served, "{booked:?}");
}
