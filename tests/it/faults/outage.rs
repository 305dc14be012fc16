//! PostgreSQL or Redis goes away while customers are served.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Place, Postgres, Redis, Settings, Tunnel, World, eventually, hex, pattern, read_head, read_response,
};

const DOWNLOAD: usize = 3_000_000;
/// Even without the database nobody waits for it long.
const PROMPT: Duration = Duration::from_secs(5);

#[test]
fn without_postgresql_streams_and_known_keys_go_on_and_every_byte_is_booked_afterwards() {
    let postgres = Postgres::start();
    let settings = Settings {
        database: Some(postgres.url()),
        ..Settings::with_places(&[Place::NEW_YORK, Place::BERLIN])
    };
    let world = World::start_with(settings);
    let to = world.origin.http;
    let unknown = world.customer_of(&world.create_account("later@example.com", true));
    let known = world.customer();
    // A second key of the same account, used and then revoked.
    let api = world.signed_in();
    let made = api.post("/api/proxy/keys", &json!({ "name": "lost" })).json();
    let mut revoked = world.account.clone();
    made["key"].as_str().unwrap().clone_into(&mut revoked.key);
    let revoked = world.customer_of(&revoked);
    let url = world.origin.url("/echo");
    assert_eq!(revoked.get(&url).status, 200);
    let gone = api.delete(&format!("/api/proxy/keys/{}", made["id"].as_str().unwrap()));
    assert!(gone.status < 300, "{}", gone.text());
    assert_eq!(revoked.get(&url).status, 407);

    // Exactly so many bytes each way, as both ends count them.
    let mut exact = Vec::new();
    let mut expect = |tunnel: &Tunnel, up: usize, down: usize| {
        let id = hex(tunnel.answer.field("X-IPLoop-Request-Id").unwrap());
        exact.push(format!("{id}|{up}|{down}|t"));
    };
    let mut running = known.connect(to).ok().unwrap();
    running.ask(&format!("/gate/outage/{DOWNLOAD}"));
    let head = read_head(&mut running.stream).unwrap();
    let mut early = vec![0; DOWNLOAD / 2];
    running.stream.read_exact(&mut early).unwrap();
    let mut talking = known.connect(to).ok().unwrap();

    postgres.go_away();
    eventually("the server has noticed", || {
        let ready = world.api().get("/readyz");
        (ready.status == 503 && ready.json()["parts"]["store"] == "unavailable").then_some(())
    });
    // What runs goes on.
    let request = "GET /bytes/250000 HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    let mut talked = (0, 0);
    for _ in 0..4 {
        talking.stream.write_all(request.as_bytes()).unwrap();
        let answer = read_response(&mut talking.stream, false).unwrap();
        assert!(answer.body == pattern(250_000));
        talked.0 += request.len();
        talked.1 += answer.head.len() + answer.body.len();
    }
    // A known key as well, from connection to answer.
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let began = Instant::now();
        let mut tunnel = known
            .connect(to)
            .unwrap_or_else(|answer| panic!("{}", answer.text()));
        let path = format!("/bytes/{}", 1000 + number);
        let answer = tunnel.get(&path);
        assert_eq!((answer.status, answer.body.len()), (200, 1000 + number));
        slowest = slowest.max(began.elapsed());
        let asked = format!("GET {path} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n");
        expect(&tunnel, asked.len(), answer.head.len() + answer.body.len());
    }
    assert!(known.socks5(to).is_ok());
    println!("the slowest request without PostgreSQL took {slowest:?}");
    assert!(slowest <= PROMPT, "{slowest:?}");
    // An unknown one is told that it can't be checked now, and a revoked one is let in by nobody.
    for (customer, what) in [(&unknown, "an unknown key"), (&revoked, "a revoked key")] {
        let began = Instant::now();
        let refused = customer.connect(to).err();
        let answer = refused.unwrap_or_else(|| panic!("{what} was let in"));
        // That nobody has it may still be remembered.
        let is_remembered = what == "a revoked key" && answer.code() == "credentials_invalid";
        if !is_remembered {
            assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{what}");
            assert!(answer.field("Retry-After").is_some(), "{what}: {}", answer.head);
        }
        assert!(began.elapsed() <= PROMPT, "{what}: {:?}", began.elapsed());
    }
    assert_eq!(unknown.socks5(to).err(), Some(1));
    // A stream may also end while the books are shut.
    world.origin.open_gate("outage");
    let mut late = Vec::new();
    running.stream.read_to_end(&mut late).unwrap();
    assert!([early, late].concat() == pattern(DOWNLOAD));
    let asked =
        format!("GET /gate/outage/{DOWNLOAD} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n");
    expect(&running, asked.len(), head.len() + DOWNLOAD);
    drop(running);

    postgres.come_back();
    // The one that ran all the while ends after it.
    talking.stream.write_all(request.as_bytes()).unwrap();
    let answer = read_response(&mut talking.stream, false).unwrap();
    expect(
        &talking,
        talked.0 + request.len(),
        talked.1 + answer.head.len() + answer.body.len(),
    );
    drop(talking);
    let account = &world.account.id;
    let booked = eventually("everything is booked to its end", || {
        let booked = postgres.query(&format!(
            "SELECT replace(id::text, '-', ''), bytes_uploaded, bytes_downloaded, billable FROM usage_records \
             WHERE user_id = '{account}' AND ended_at IS NOT NULL"
        ));
        let id = |row: &String| row.split('|').next().map(str::to_owned);
        let ended: Vec<_> = booked.iter().map(id).collect();
        exact.iter().all(|row| ended.contains(&id(row))).then_some(booked)
    });
    for row in &exact {
        assert!(booked.contains(row), "{row} is not in {booked:#?}");
    }
    let sums = format!(
        "SELECT used_bytes = (SELECT COALESCE(SUM(bytes_uploaded + bytes_downloaded), 0) FROM usage_records \
         WHERE user_id = '{account}' AND billable) FROM user_plans WHERE user_id = '{account}'"
    );
    eventually("the purse is the sum of its requests", || {
        (postgres.query(&sums) == ["t"]).then_some(())
    });
    // And the gateway asks again: one is let in now, the other is still nobody's.
    eventually("an unknown key is known", || {
        unknown.connect(to).is_ok().then_some(())
    });
    let still = eventually("the revoked key is checked", || {
        revoked.connect(to).err().filter(|answer| answer.status != 503)
    });
    assert_eq!((still.status, still.code()), (407, "credentials_invalid"));
}

#[test]
fn without_redis_streams_and_every_good_key_go_on_and_what_was_revoked_stays_revoked() {
    let mut redis = Redis::start();
    let settings = Settings::with_places(&[Place::BERLIN])
        .set("IPLOOP_REDIS__URL", &redis.url())
        // Long past, as soon as it is gone: nothing is served from what was known before.
        .set("IPLOOP_ADMISSION__KEY_TTL", "100ms");
    let world = World::start_with(settings);
    let (known, url) = (world.customer(), world.origin.url("/echo"));
    let unknown = world.customer_of(&world.create_account("later@example.com", true));
    let api = world.signed_in();
    let made = api.post("/api/proxy/keys", &json!({ "name": "lost" })).json();
    let mut revoked = world.account.clone();
    made["key"].as_str().unwrap().clone_into(&mut revoked.key);
    let revoked = world.customer_of(&revoked);
    assert_eq!(revoked.get(&url).status, 200);
    let gone = api.delete(&format!("/api/proxy/keys/{}", made["id"].as_str().unwrap()));
    assert!(gone.status < 300, "{}", gone.text());
    let mut running = known.connect(world.origin.http).ok().unwrap();
    running.ask(&format!("/gate/outage/{DOWNLOAD}"));
    let mut half = vec![0; DOWNLOAD / 2];
    read_head(&mut running.stream).unwrap();
    running.stream.read_exact(&mut half).unwrap();

    redis.kill();
    eventually("the server has noticed", || {
        (world.api().get("/readyz").json()["parts"]["redis"] == "degraded").then_some(())
    });
    for customer in [&known, &unknown] {
        assert_eq!(customer.get(&url).status, 200);
    }
    let refused = revoked.get(&url);
    assert_eq!((refused.status, refused.code()), (407, "credentials_invalid"));
    world.origin.open_gate("outage");
    running.stream.read_to_end(&mut half).unwrap();
    assert!(half == pattern(DOWNLOAD));
}
