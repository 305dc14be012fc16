//! What the tests stand on: programs, an origin, a customer, a database, and a world made of them.

mod api;
mod authority;
mod customer;
mod database;
mod http;
mod link;
mod load;
mod nodejs;
mod origin;
mod postgres;
mod program;
mod redis;
mod websocket;
mod world;

pub(crate) use self::api::Api;
pub(crate) use self::authority::Authority;
pub(crate) use self::customer::{Customer, Tunnel, read_reply};
pub(crate) use self::database::{Booked, Database, hex};
pub(crate) use self::http::{Response, read_head, read_response};
pub(crate) use self::link::Link;
pub(crate) use self::load::{Asked, Load, Outcome, Way, ask};
pub(crate) use self::nodejs::nodejs;
pub(crate) use self::origin::{Origin, pattern, sha256};
pub(crate) use self::postgres::Postgres;
pub(crate) use self::program::{
    Program, agent, chromium, dashboard, node_folder, python, repository, run, server,
};
pub(crate) use self::redis::Redis;
pub(crate) use self::world::{
    Account, Device, Place, Ready, Settings, TERMS, World, check, manage, policy, refuse_to_serve,
};

use std::time::{Duration, Instant};

/// The longest that anything may take that has no deadline of its own, on a machine that is busy building.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again until there is something; fails with `what` after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
