//! Trust and faults: parts that crash, vanish, leave, are flooded or attacked, while customers go on.

mod crowd;
mod drain;
mod fleet;
mod hostile_nodes;
mod neighbours;
mod outage;
mod overload;
mod path;
mod restart;

use crate::harness::{Api, Asked};

/// Devices that the server takes for connected, as `/api/nodes/stats` says to whoever is signed in.
fn connected_devices(signed_in: &Api) -> Option<u64> {
    signed_in.get("/api/nodes/stats").json()["connectedNodes"].as_u64()
}

/// Fails with the first of these requests that was not served.
fn assert_served<'a>(what: &str, requests: impl IntoIterator<Item = &'a Asked>) {
    let mut count = 0;
    for asked in requests {
        assert!(asked.is_served(), "{what}: {asked:?}");
        count += 1;
    }
    assert!(count > 0, "{what}: there was no request");
}
