//! The device side of IPLoop: consent, limits, dialing and reconnecting.
//!
//! A [`Node`] keeps one connection to a hub and serves customers' streams over it, as far as the owner, the device's state and
//! the exit policy allow. It starts with a [`Consent`] or not at all.
//!
//! ```text
//! consent ──▶ Node ──┬─ supervise ── hub (TCP, TLS, WebSocket) ── session ──┬─ serve ── rules, grants, resolve, dial
//! state   ──▶        └─ keeper ───── surroundings, sharing, usage           └─ serve …
//! ```
//!
//! * `supervise` connects and reconnects; `session` is one connection; `serve` is one stream.
//! * `keeper` looks at the network and the caps, and decides by the pure rule in `sharing` whether to share; `nat64` asks the
//!   network whether it translates.
//! * [`StateDir`] holds what has to survive: identity, consent, pause, counters.

mod backoff;
mod clock;
mod config;
mod consent;
mod datagrams;
mod dial;
mod error;
mod grants;
mod hub;
mod keeper;
mod nat64;
mod node;
mod pairing;
mod resolve;
mod rules;
mod serve;
mod session;
mod shared;
mod sharing;
mod state;
mod status;
mod supervise;
mod surroundings;
mod traffic;
mod uplink;
mod usage;

pub use clock::{Clock, SystemClock};
pub use config::{DeviceType, NodeConfig, PartnerKey, PartnerKeyError, Parts};
pub use consent::{CONSENT_LASTS, Consent, ConsentAct, ConsentError, NetworkKind, text_hash};
pub use error::NodeError;
pub use hub::{HubUrl, HubUrlError};
pub use node::{Node, deliver_withdrawal};
pub use pairing::PairingCode;
pub use resolve::{Answers, Resolver, SystemResolver};
pub use sharing::{Conditions, NotSharing, OwnerLimits, Waiver};
pub use state::{OwnersWord, StateDir, StateError, Withdrawn};
pub use status::{Event, Link, Status};
pub use surroundings::{MAX_FACTS, Surroundings, SurroundingsError, SystemSurroundings, View, Way};
