//! The same server on PostgreSQL: requests, the books, and a crash.

use std::io::Read as _;

use crate::harness::{Place, Postgres, Settings, World, eventually, read_head};

#[test]
fn the_whole_system_runs_on_postgresql_and_survives_a_crash() {
    let postgres = Postgres::start();
    let settings = Settings {
        database: Some(postgres.url()),
        ..Settings::with_places(&[Place::BERLIN, Place::TEL_AVIV])
    };
    let mut world = World::start_with(settings);
    let customer = world.customer();
    let answer = customer
        .with("-country-IL")
        .get(&world.origin.url("/bytes/100000"));
    assert_eq!((answer.status, answer.body.len()), (200, 100_000));
    let refused = customer.with("-city-berlin").get(&world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (403, "plan_feature"));

    let seen = world.origin.visits().len();
    let mut tunnel = customer.connect(world.origin.http).ok().unwrap();
    tunnel.ask("/drip/1000000");
    read_head(&mut tunnel.stream).unwrap();
    let mut received = vec![0; 2_000_000];
    tunnel.stream.read_exact(&mut received).unwrap();
    // Two seconds' worth arrived; one may be lost, and a machine that is busy has its own idea of a second.
    let early = u64::try_from(received.len() / 4).unwrap();
    world.server.kill();
    let _ = tunnel.stream.read_to_end(&mut Vec::new());
    world.restart_server();
    let (api, sent) = (world.signed_in(), world.origin.visits()[seen].sent());
    let rows = eventually("everything is booked", || {
        let recent = api.get("/api/usage/recent").json()["requests"]
            .as_array()
            .cloned()?;
        recent
            .iter()
            .all(|one| !one["endedAt"].is_null())
            .then_some(recent)
    });
    assert_eq!(
        rows.len(),
        2,
        "each request once, and none that was not admitted: {rows:?}"
    );
    let tunnel = rows.iter().find(|one| one["proxyType"] == "connect").unwrap();
    let billed = tunnel["bytesDownloaded"].as_u64().unwrap();
    assert!(billed <= sent, "{billed} billed of {sent}");
    assert!(billed >= early, "{billed} billed: more than a second is missing");
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    let used = api.get("/api/auth/profile").json()["balance"]["usedBytes"]
        .as_u64()
        .unwrap();
    assert!(used >= billed + 100_000, "{used}");
    assert!(
        !world.data().join("iploop.db").exists(),
        "nothing is kept in SQLite"
    );
}
