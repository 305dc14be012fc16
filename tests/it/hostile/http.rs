//! Requests by HTTP that had accidents: no crash, no hang, and nothing with two readings at the origin.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Instant;

use super::mutate::{self, Dice, ELSEWHERE, LOGIN, ORIGIN, SMUGGLED};
use super::strict;
use crate::harness::{Customer, Place, Settings, World};

/// Customers at the same time.
const AT_ONCE: u64 = 8;
/// Of a hundred refusals, so many are the customer's fault.
const MOST_BLAMED: usize = 90;

/// What came of all requests, by status; 0: closed without a word.
#[derive(Debug, Default)]
struct Outcomes {
    served: BTreeMap<u16, usize>,
    refused: BTreeMap<u16, usize>,
}

impl Outcomes {
    fn note(&mut self, answer: &[u8]) {
        let head = String::from_utf8_lossy(&answer[..answer.len().min(4096)]).into_owned();
        let status = head.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        let outcomes = if head.contains("X-IPLoop-Error") {
            &mut self.refused
        } else {
            &mut self.served
        };
        *outcomes.entry(status).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        for (into, from) in [
            (&mut self.served, other.served),
            (&mut self.refused, other.refused),
        ] {
            for (status, count) in from {
                *into.entry(status).or_default() += count;
            }
        }
    }
}

#[test]
fn requests_that_had_accidents_harm_nobody_and_reach_the_origin_with_one_reading() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let addresses = [world.origin.http.to_string(), world.origin.https.to_string()];
    let count = super::size(4_000, 20_000);
    let began = Instant::now();
    let customers: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let (customer, addresses) = (customer.clone(), addresses.clone());
            let mut dice = Dice::of(super::seed() << 32 | number);
            std::thread::spawn(move || {
                let mut outcomes = Outcomes::default();
                for _ in 0..count / usize::try_from(AT_ONCE).unwrap() {
                    let request = mutate::request(&mut dice);
                    if mutate::has_login_behind_smuggled(&request) {
                        continue;
                    }
                    outcomes.note(&say(&customer, &addresses, &request));
                }
                outcomes
            })
        })
        .collect();
    let mut outcomes = Outcomes::default();
    for customer in customers {
        outcomes.merge(customer.join().unwrap());
    }
    println!("{count} requests in {:?}: {outcomes:?}", began.elapsed());

    let visits = world.origin.visits();
    let (mut requests, mut smuggled) = (0, Vec::new());
    for visit in &visits {
        // What goes through a tunnel is nobody's to read: it went to the other port, which remembers none of it.
        let raw = visit.raw();
        let lines = strict::read(&raw, &addresses[0])
            .unwrap_or_else(|error| panic!("{error}\nin {:?}", String::from_utf8_lossy(&raw)));
        requests += lines.len();
        smuggled.extend(lines.into_iter().filter(|line| line.contains(SMUGGLED)));
    }
    // A second request on a connection is one if it has its own login, and else was a part of the first.
    assert!(smuggled.is_empty(), "{smuggled:?}");
    println!(
        "{requests} whole requests reached the origin by {} connections",
        visits.len()
    );
    assert!(
        requests * 20 > count,
        "too few got through for this to say much: {requests}"
    );
    let refused: usize = outcomes.refused.values().sum();
    let blamed: usize = outcomes.refused.range(400..500).map(|(_, count)| count).sum();
    assert!(refused * 10 > count, "{outcomes:?}");
    assert!(blamed * 100 >= refused * MOST_BLAMED, "{outcomes:?}");
    super::assert_unharmed(&world);
}

/// Sends it, ends our half, and reads to the end; whoever is silent for a minute hangs.
fn say(customer: &Customer, addresses: &[String; 2], request: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(request.len() + 128);
    for byte in request {
        match *byte {
            ORIGIN => bytes.extend(addresses[0].bytes()),
            ELSEWHERE => bytes.extend(addresses[1].bytes()),
            LOGIN => bytes.extend(customer.login().bytes()),
            byte => bytes.push(byte),
        }
    }
    let mut stream = customer.dial();
    // It may have been refused before all of it was said.
    let _ = stream
        .write_all(&bytes)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(read) => answer.extend(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no end of the answer to {:?}", String::from_utf8_lossy(request))
            }
            Err(_) => return answer,
        }
    }
}
