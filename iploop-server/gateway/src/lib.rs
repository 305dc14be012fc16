//! IPLoop's gateway: customer listeners, authentication, exit selection, relay and metering.
//!
//! A request is a chain of steps, each of which takes what only the step before can build:
//!
//! ```text
//! accepted ─▶ understood ─▶ authorized ─▶ routed ─▶ found ─▶ relayed ─▶ settled
//! listener    http, socks5  service       service   exit     relay      service
//! ```
//!
//! [`Gateway::bind`] opens the listeners, [`Gateway::run`] serves, [`Gateway::drain`] leaves.

mod acme;
mod answer;
mod config;
mod connection;
mod drain;
mod exit;
mod gateway;
mod http;
mod http2;
mod listener;
mod relay;
mod request;
mod service;
mod sessions;
mod socks5;
mod telemetry;
mod tunnel;

pub use self::acme::AcmeConfig;
pub use self::answer::code_help;
pub use self::config::{GatewayConfig, MAX_HANDSHAKE_TIMEOUT};
pub use self::gateway::{BindError, Dependencies, Gateway};
pub use self::sessions::Sessions;
