//! The promises of a node, kept against a hub over a real WebSocket and destinations on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod afar;
mod caps;
mod consent;
mod datagrams;
mod link;
mod policy;
#[cfg(target_os = "linux")]
mod routes;
mod streams;
mod world;
