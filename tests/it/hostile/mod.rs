//! Hostile customers in numbers: thousands of requests that had accidents, connections that never get on, parts that are killed.
//!
//! In the suite each runs a size that takes seconds. `IPLOOP_HOSTILE=full` runs 20,000 requests and 3,000 slow connections;
//! `IPLOOP_HOSTILE_SEED` begins elsewhere.

mod chaos;
mod http;
mod mutate;
mod slow;
mod socks;
mod strict;

/// So much in the suite, and so much where all is asked for.
fn size(usual: usize, full: usize) -> usize {
    match std::env::var("IPLOOP_HOSTILE") {
        Ok(asked) if asked == "full" => full,
        _ => usual,
    }
}

fn seed() -> u64 {
    let given = std::env::var("IPLOOP_HOSTILE_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Nothing of the server broke on the way.
fn assert_unharmed(world: &crate::harness::World) {
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
    let log = world.server.log();
    let broken: Vec<_> = log.lines().filter(|line| line.contains("panicked")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
