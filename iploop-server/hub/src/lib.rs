//! IPLoop's hub: node connections, registration, liveness, quality and the directory of live nodes.
//!
//! ```text
//! socket ─▶ connection ─▶ registration ─▶ directory ◀─ exits ◀─ gateway
//!           TLS, HTTP,     rules, place,   who is       choose, ask the device
//!           tunnel         store           where        to dial, judge the result
//! ```
//!
//! [`Hub`] is the whole: it implements [`Exits`](iploop_platform::exits::Exits) for the gateway and
//! [`Network`](iploop_platform::network::Network) for the API. [`directory`], [`quality`] and [`geo`] are pure and know neither
//! sockets nor tasks.

mod activity;
mod config;
mod connection;
pub mod directory;
mod exits;
mod fleet;
pub mod geo;
mod guard;
mod hub;
mod live;
mod news;
mod node;
pub mod quality;
mod registration;
mod shared;

pub use config::{DEFAULT_TERMS, HubConfig, HubError};
pub use hub::{Hub, HubDeps};
