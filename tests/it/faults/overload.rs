//! Five times as many customers as there is room for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::assert_served;
use crate::harness::{
    Customer, Load, Outcome, Place, Response, Settings, Way, World, ask, eventually, read_response,
};

/// `gateway.max_connections`, and how many come.
const ROOM: usize = 12;
const OFFERED: usize = 5 * ROOM;
/// A refusal costs nobody's time. The promise is 50 ms; what is asserted is what even a busy machine keeps.
const QUICK: Duration = Duration::from_secs(1);

fn never(_: &Outcome) -> bool {
    false
}

/// A connection that is kept, as long as this value.
struct Kept {
    stream: TcpStream,
    request: String,
}

impl Kept {
    fn open(customer: &Customer, url: &str) -> Self {
        let host = url.split('/').nth(2).unwrap();
        Self {
            stream: customer.dial(),
            request: format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", customer.login()),
        }
    }

    fn ask(&mut self) -> Response {
        self.stream.write_all(self.request.as_bytes()).unwrap();
        read_response(&mut self.stream, false).unwrap()
    }
}

/// A few requests on each connection, every one of which has to be served: how long that took.
fn ask_all(admitted: &mut [Kept]) -> Duration {
    let began = Instant::now();
    for _ in 0..8 {
        for kept in &mut *admitted {
            let answer = kept.ask();
            let text = answer.text();
            assert_eq!((answer.status, answer.field("Connection")), (200, None), "{text}");
        }
    }
    began.elapsed()
}

#[test]
fn five_times_the_connections_leave_the_admitted_unharmed_and_the_rest_well_told() {
    let settings = Settings::with_places(&[Place::NEW_YORK, Place::BERLIN]);
    let world = World::start_with(settings.set("IPLOOP_GATEWAY__MAX_CONNECTIONS", &ROOM.to_string()));
    let (customer, to) = (world.customer(), world.origin.http);
    let url = world.origin.url("/echo");
    let mut admitted: Vec<Kept> = (0..ROOM).map(|_| Kept::open(&customer, &url)).collect();
    for kept in &mut admitted {
        assert_eq!(kept.ask().status, 200);
    }

    let alone = ask_all(&mut admitted);
    let rest = Load::start(&customer, OFFERED - ROOM, to, "/echo", never);
    let mut crowded = Vec::new();
    while rest.asked() < 4 * (OFFERED - ROOM) {
        crowded.push(ask_all(&mut admitted));
    }
    let refused = rest.stop();
    for asked in &refused {
        match &asked.outcome {
            Outcome::Refused(answer) => {
                assert_eq!((answer.status, answer.code()), (503, "overloaded"), "{asked:?}");
                assert!(answer.field("Retry-After").is_some(), "{asked:?}");
            }
            Outcome::Reply(code) => assert_eq!(*code, 1, "{asked:?}"),
            other => panic!("{:?}: {other:?}", asked.way),
        }
        assert!(asked.took <= QUICK, "{asked:?}");
    }
    crowded.sort();
    let crowded = crowded[crowded.len() / 2];
    let mut took: Vec<Duration> = refused.iter().map(|asked| asked.took).collect();
    took.sort();
    println!(
        "the admitted took {crowded:?}, {alone:?} when alone; {} refusals, median {:?}, 99 of 100 within {:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );

    // Who leaves makes room at once.
    drop(admitted);
    eventually("there is room again", || {
        ask(&customer, Way::Connect, to, "/echo")
            .is_served()
            .then_some(())
    });
    let few = Load::start(&customer, ROOM / 2, to, "/echo", never);
    let seen = world.origin.visits().len();
    eventually("they are served", || {
        (world.origin.visits().len() > seen + 2 * ROOM).then_some(())
    });
    assert_served("with room for all", &few.stop());
}

#[test]
fn more_connections_than_the_plan_has_are_told_so_and_the_others_go_on() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    // In the plan that everyone begins with: 10 connections.
    let account = world.create_account("small@example.com", true);
    let (customer, to) = (world.customer_of(&account), world.origin.http);
    let mut open: Vec<_> = (0..10).map(|_| customer.connect(to).ok().unwrap()).collect();
    let rest: Vec<_> = (0..40)
        .map(|number| {
            let customer = customer.clone();
            std::thread::spawn(move || {
                let way = [Way::Plain, Way::Connect, Way::Socks5][number % 3];
                ask(&customer, way, to, "/echo")
            })
        })
        .collect();
    for asked in rest {
        let asked = asked.join().unwrap();
        match &asked.outcome {
            Outcome::Refused(answer) => {
                assert_eq!((answer.status, answer.code()), (429, "too_many_connections"));
                assert!(answer.field("Retry-After").is_some(), "{asked:?}");
            }
            Outcome::Reply(code) => assert_eq!(*code, 1),
            other => panic!("{:?}: {other:?}", asked.way),
        }
        assert!(asked.took <= QUICK, "{asked:?}");
    }
    // Another account is not concerned, and the ten go on.
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    for tunnel in &mut open {
        assert_eq!(tunnel.get("/echo").status, 200);
        assert_eq!(tunnel.stream.read(&mut [0]).unwrap(), 0);
    }
    drop(open);
    eventually("their places are free", || {
        customer.connect(to).is_ok().then_some(())
    });
}
