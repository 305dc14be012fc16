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

pub use config::{
    DEFAULT_CONSENT_MAX_AGE, DEFAULT_DIAL_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_HEARTBEAT,
    DEFAULT_LISTEN, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_STREAMS_PER_NODE, DEFAULT_REGISTRATION_QUEUE,
    DEFAULT_REGISTRATION_TIMEOUT, DEFAULT_REGISTRATIONS, DEFAULT_TERMS, DEFAULT_WINDOW_BUDGET_BYTES,
    HubConfig, HubError,
};
pub use hub::{Hub, HubDeps};
