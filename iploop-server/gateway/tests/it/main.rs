//! The whole gateway on loopback: real sockets in front, a test network of exits behind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

#[cfg(feature = "acme")]
mod acme;
mod bad_input;
mod balancer;
mod datagrams;
mod deadlines;
mod drain;
mod echo;
mod exits;
mod failover;
mod guard;
mod http10;
mod http2;
mod http2_hostile;
mod ip_login;
mod limits;
mod plain_http;
mod session;
mod sticky;
mod store;
mod tunnels;
mod world;
