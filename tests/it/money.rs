//! Money: what is billed is what was relayed, whatever happens to the server meanwhile.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Booked, Customer, Database, Place, Response, Settings, Tunnel, World, eventually, hex, pattern,
    read_response,
};

/// Bytes a second of each stream: enough to make leases, journal and settlement work, little enough for a busy machine.
const RATE: usize = 400_000;
/// What may be lost of each live stream when the process is killed.
const LOST_AT_MOST: Duration = Duration::from_secs(1);
/// What an exhausted balance may over-serve on each live stream.
const OVER_SERVED: i64 = 64 * 1024;

/// A stream that runs until it breaks, watched from both ends.
pub(crate) struct Watched {
    /// As in the books.
    pub(crate) id: String,
    /// The exit's address.
    pub(crate) through: IpAddr,
    direction: Direction,
    /// At the customer: read or written.
    at_customer: Arc<AtomicU64>,
    at_origin: Box<dyn Fn() -> u64>,
    over: Arc<AtomicBool>,
    samples: Vec<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Watched {
    /// A stream through a tunnel of its own, from the first byte on.
    pub(crate) fn start(world: &World, customer: &Customer, direction: Direction) -> Self {
        let seen = world.origin.visits().len();
        let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
        let id = hex(tunnel.answer.field("X-IPLoop-Request-Id").unwrap());
        let begun = match direction {
            Direction::Down => {
                tunnel.ask(&format!("/drip/{RATE}"));
                0
            }
            Direction::Up => tunnel.ask("/sink"),
        };
        let visit = eventually("the origin is visited", || {
            world.origin.visits().get(seen).cloned()
        });
        let through = visit.from.ip();
        let (at_customer, over) = (Arc::new(AtomicU64::new(begun)), Arc::new(AtomicBool::new(false)));
        let (count, is_over) = (Arc::clone(&at_customer), Arc::clone(&over));
        std::thread::spawn(move || {
            match direction {
                Direction::Down => read_all(tunnel, &count),
                Direction::Up => write_all(tunnel, &count),
            }
            is_over.store(true, Relaxed);
        });
        let at_origin: Box<dyn Fn() -> u64> = match direction {
            Direction::Up => Box::new(move || visit.received()),
            Direction::Down => Box::new(move || visit.sent()),
        };
        Self {
            id,
            through,
            direction,
            at_customer,
            at_origin,
            over,
            samples: Vec::new(),
        }
    }

    /// What has arrived where it goes.
    pub(crate) fn arrived(&self) -> u64 {
        match self.direction {
            Direction::Up => (self.at_origin)(),
            Direction::Down => self.at_customer.load(Relaxed),
        }
    }

    /// What has left where it comes from.
    fn left(&self) -> u64 {
        match self.direction {
            Direction::Up => self.at_customer.load(Relaxed),
            Direction::Down => (self.at_origin)(),
        }
    }

    pub(crate) fn sample(&mut self) {
        self.samples.push((Instant::now(), self.arrived()));
    }

    /// What had arrived by then.
    fn arrived_by(&self, then: Instant) -> u64 {
        let before = self.samples.iter().take_while(|(at, _)| *at <= then);
        before.last().map_or(0, |(_, arrived)| *arrived)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// What is billed of it has left where it comes from, and is no less than what had arrived a second before the server was
    /// killed.
    pub(crate) fn assert_billed(&self, row: &Booked, killed: Instant) {
        let (billed, left) = (self.billed(row), self.left());
        let owed = self.arrived_by(killed.checked_sub(LOST_AT_MOST).unwrap());
        assert!(
            billed <= left,
            "{billed} billed of {left} that were sent: {row:?}"
        );
        assert!(
            billed >= owed,
            "{billed} billed, {owed} arrived a second before: {row:?}"
        );
    }

    fn billed(&self, booked: &Booked) -> u64 {
        let bytes = match self.direction {
            Direction::Up => booked.bytes_up,
            Direction::Down => booked.bytes_down,
        };
        u64::try_from(bytes).unwrap()
    }
}

fn read_all(mut tunnel: Tunnel, count: &AtomicU64) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(read) = tunnel.stream.read(&mut piece) {
        if read == 0 {
            return;
        }
        count.fetch_add(read as u64, Relaxed);
    }
}

fn write_all(mut tunnel: Tunnel, count: &AtomicU64) {
    let piece = pattern(RATE / 100);
    let mut next = Instant::now();
    loop {
        // Before it is written: of the last one a part may get through.
        count.fetch_add(piece.len() as u64, Relaxed);
        if tunnel.stream.write_all(&piece).is_err() {
            return;
        }
        next += Duration::from_millis(10);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The books of an account once every one of these requests has ended in them.
pub(crate) fn settled(database: &Database, account: &str, requests: &[String]) -> Vec<Booked> {
    eventually("every request is booked to its end", || {
        let booked = database.booked(account);
        let ended = |id: &String| booked.iter().any(|one| one.id == *id && one.is_ended);
        requests.iter().all(ended).then_some(booked)
    })
}

#[test]
fn a_killed_server_bills_nothing_twice_and_loses_at_most_a_second() {
    let mut world = World::start();
    let account = world.account.id.clone();
    let mut before = Vec::<Watched>::new();
    let mut exact = Vec::new();
    for round in 0..3 {
        let customer = world.customer();
        let mut streams: Vec<Watched> = (0..8)
            .map(|number| {
                let up = number % 4 == 3;
                let direction = if up { Direction::Up } else { Direction::Down };
                Watched::start(&world, &customer, direction)
            })
            .collect();
        // One that ends long before the kill, besides: it must be there to the byte.
        let mut whole = customer.connect(world.origin.http).ok().unwrap();
        exact.push((
            hex(whole.answer.field("X-IPLoop-Request-Id").unwrap()),
            i64::try_from(whole.get("/bytes/123456").head.len()).unwrap() + 123_456,
        ));
        drop(whole);
        let enough = u64::try_from(2 * RATE + round * RATE / 3).unwrap();
        eventually("every stream has carried enough", || {
            streams.iter_mut().for_each(Watched::sample);
            streams
                .iter()
                .all(|stream| stream.arrived() >= enough)
                .then_some(())
        });
        let killed = Instant::now();
        world.server.kill();
        eventually("every stream has broken", || {
            streams.iter().all(|stream| stream.is_over()).then_some(())
        });

        world.restart_server();
        if round == 2 {
            // And once more in the middle of what a start has to do.
            world.server.kill();
            world.restart_server();
        }
        let ids: Vec<String> = streams.iter().map(|stream| stream.id.clone()).collect();
        let booked = settled(&world.database(), &account, &ids);
        for stream in &streams {
            let row = booked.iter().find(|one| one.id == stream.id).unwrap();
            assert!(row.billable, "{row:?}");
            stream.assert_billed(row, killed);
        }
        before.extend(streams);
        assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    }
    // What the rounds after it made of each: nothing.
    let ids: Vec<String> = before.iter().map(|stream| stream.id.clone()).collect();
    let booked = settled(&world.database(), &account, &ids);
    for (id, bytes_down) in exact {
        let row = booked.iter().find(|one| one.id == id).unwrap();
        assert_eq!(row.bytes_down, bytes_down, "{row:?}");
    }
    world.server.terminate();
    assert!(world.server.wait().success());
    let purse = world.database().purse(&account);
    assert_eq!(purse.used, purse.booked, "the purse is the sum of its requests");
    assert_eq!(purse.balance, purse.granted - purse.used);
    let said = world.checked_ledger();
    assert!(said.contains("the ledger is in order"), "{said}");
}

#[test]
fn an_empty_balance_over_serves_at_most_64_kib_per_stream() {
    let world = World::start_with(Settings::with_places(&[Place::NEW_YORK, Place::BERLIN]));
    let account = world.create_account("poor@example.com", true);
    let database = world.database();
    database.give_business_plan(&account.id);
    let balance: i64 = 3_000_000;
    database.set_balance(&account.id, balance);
    let customer = world.customer_of(&account);
    let size = 40_000_000;

    let streams: Vec<_> = (0..6)
        .map(|number| {
            let path = format!("/bytes/{size}");
            let (customer, to) = (customer.clone(), world.origin.http);
            std::thread::spawn(move || {
                let mut stream = match number % 3 {
                    0 => customer.dial(),
                    1 => customer.connect(to).ok().unwrap().stream,
                    _ => customer.socks5(to).ok().unwrap().stream,
                };
                let (target, login) = match number % 3 {
                    0 => (format!("http://{to}{path}"), customer.login()),
                    _ => (path, String::new()),
                };
                write!(stream, "GET {target} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n").unwrap();
                let mut received = 0_i64;
                let mut piece = vec![0; 16 * 1024];
                // It ends by a reset where its content is cut short.
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    received += i64::try_from(read).unwrap();
                }
                received
            })
        })
        .collect();
    let live = i64::try_from(streams.len()).unwrap();
    let received: i64 = streams.into_iter().map(|stream| stream.join().unwrap()).sum();
    assert!(
        received <= balance + live * OVER_SERVED,
        "{received} of {balance}"
    );
    assert!(
        received >= balance / 2,
        "{received} of {balance}: what was paid for was not served"
    );

    let refused = customer.get(&world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (402, "balance_depleted"));
    assert_eq!(customer.socks5(world.origin.http).err(), Some(1));
    let purse = eventually("everything is booked", || {
        let booked = database.booked(&account.id);
        let streams = booked.iter().filter(|one| one.bytes_down > 0);
        let all_ended = booked.iter().all(|one| one.is_ended) && streams.count() == 6;
        all_ended.then(|| database.purse(&account.id))
    });
    assert_eq!(purse.used, purse.booked);
    assert!(purse.used <= balance + live * OVER_SERVED, "{purse:?}");
    assert_eq!(purse.balance, balance - purse.used);

    // With new balance it goes on at once.
    database.set_balance(&account.id, balance + 10_000_000);
    eventually("a filled purse is noticed", || {
        (customer.get(&world.origin.url("/echo")).status == 200).then_some(())
    });
}

#[test]
fn a_failure_of_ours_costs_nothing() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let customer = world.customer();
    let url = world.origin.url("/echo");
    assert_eq!(customer.with("-country-JP").get(&url).status, 503);
    assert_eq!(customer.connect("10.0.0.1:80").err().unwrap().status, 403);
    // Its device dies before a byte of the answer.
    let seen = world.origin.visits().len();
    let mut tunnel = customer.dial();
    let gate = world.origin.url("/hold/never");
    let request = format!(
        "GET {gate} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        world.origin.http,
        customer.login()
    );
    tunnel.write_all(request.as_bytes()).unwrap();
    eventually("it arrives", || world.origin.visits().get(seen).cloned());
    world.devices.clear();
    let lost = read_response(&mut tunnel, false).unwrap();
    assert_eq!((lost.status, lost.code()), (502, "exit_lost"));
    world.server.terminate();
    assert!(world.server.wait().success());
    let booked = world.database().booked(&world.account.id);
    let code = |one: &Booked| one.error.clone().unwrap_or_default();
    for ours in ["no_exit", "exit_lost"] {
        let row = booked.iter().find(|one| code(one) == ours).unwrap();
        assert!(!row.billable && row.is_ended, "{row:?}");
    }
    let forbidden = booked.iter().find(|one| one.status == Some(403)).unwrap();
    assert_eq!(
        (forbidden.bytes_up, forbidden.bytes_down),
        (0, 0),
        "{forbidden:?}"
    );
    let purse = world.database().purse(&world.account.id);
    assert_eq!((purse.used, purse.booked, purse.balance), (0, 0, purse.granted));
}

#[test]
fn a_keys_quota_ends_a_download_and_the_receipt_equals_both_ends() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let (api, customer) = (world.signed_in(), world.customer());
    let id_of = |answer: &Response| answer.field("X-IPLoop-Request-Id").unwrap().to_owned();

    // A whole request first: customer, origin, receipt and ledger have the same count.
    let mut whole = customer.connect(world.origin.http).ok().unwrap();
    let id = id_of(&whole.answer);
    let answer = whole.get("/bytes/123456");
    let read = u64::try_from(answer.head.len()).unwrap() + 123_456;
    drop(whole);
    let visit = world.origin.visits().pop().unwrap();
    let paid = api.receipt(&id);
    assert_eq!(
        (paid["bytesDownloaded"].as_u64(), paid["bytesUploaded"].as_u64()),
        (Some(read), Some(visit.received())),
        "{paid}"
    );
    assert_eq!(visit.sent(), read);
    assert_eq!(paid["billedBytes"], paid["totalBytes"]);
    assert_eq!(
        (&paid["statusCode"], &paid["errorMessage"]),
        (&json!(200), &Value::Null)
    );
    assert_eq!(paid["targetCountry"], "DE");
    for time in ["selectMs", "dialMs", "firstByteMs", "durationMs"] {
        assert!(paid[time].is_u64(), "{time}: {paid}");
    }

    // Then the key may use a little more, which a stream that runs already hears of.
    let mut running = customer.connect(world.origin.http).ok().unwrap();
    let id = id_of(&running.answer);
    running.ask(&format!("/drip/{RATE}"));
    let mut piece = vec![0; 16 * 1024];
    let mut received = u64::try_from(running.stream.read(&mut piece).unwrap()).unwrap();
    let quota = 2_000_000;
    let key = format!("/api/proxy/keys/{}", world.account.key_id);
    let limited = api.patch(&key, &json!({ "limits": { "bytesTotal": quota } }));
    assert_eq!(limited.status, 200, "{}", limited.text());
    while let Ok(read @ 1..) = running.stream.read(&mut piece) {
        received += read as u64;
    }
    let ended = api.receipt(&id);
    assert_eq!(ended["errorMessage"], "key_quota_exceeded", "{ended}");
    assert_eq!(ended["bytesDownloaded"].as_u64(), Some(received), "{ended}");
    let used = paid["billedBytes"].as_u64().unwrap() + ended["billedBytes"].as_u64().unwrap();
    let most = quota + OVER_SERVED.unsigned_abs();
    assert!(used >= quota && used <= most, "{used} of {quota}");
    let refused = customer.get(&world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (402, "key_quota_exceeded"));
    let purse = world.database().purse(&world.account.id);
    assert_eq!(u64::try_from(purse.used).unwrap(), used, "{purse:?}");

    // Lifted, it goes on at once.
    let lifted = api.patch(&key, &json!({ "limits": {} }));
    assert_eq!(lifted.status, 200, "{}", lifted.text());
    assert_eq!(customer.get(&world.origin.url("/echo")).status, 200);
}

#[test]
fn a_download_that_a_dying_device_breaks_costs_nothing() {
    let mut world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let (api, customer) = (world.signed_in(), world.customer());
    let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
    let id = tunnel.answer.field("X-IPLoop-Request-Id").unwrap().to_owned();
    tunnel.ask(&format!("/drip/{RATE}"));
    let mut piece = vec![0; 16 * 1024];
    let mut received = 0_u64;
    while received < 200_000 {
        received += u64::try_from(tunnel.stream.read(&mut piece).unwrap()).unwrap();
    }
    world.devices.clear();
    while let Ok(read @ 1..) = tunnel.stream.read(&mut piece) {
        received += read as u64;
    }
    let broken = api.receipt(&id);
    assert_eq!(broken["errorMessage"], "exit_lost", "{broken}");
    assert_eq!(
        (&broken["billable"], &broken["billedBytes"]),
        (&json!(false), &json!(0))
    );
    assert!(
        broken["bytesDownloaded"].as_u64() >= Some(received),
        "{received}: {broken}"
    );
    let purse = eventually("what was booked meanwhile is given back", || {
        let purse = world.database().purse(&world.account.id);
        (purse.used == 0).then_some(purse)
    });
    assert_eq!((purse.booked, purse.balance), (0, purse.granted));
    let summary = api.get("/api/usage/summary").json();
    assert_eq!(summary["summary"]["billedBytes"], 0);
}
