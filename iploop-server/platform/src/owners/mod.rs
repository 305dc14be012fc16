//! Owners: who claims devices, what sharing earns, and what an owner may know and have erased.
//!
//! ```text
//! device ─▶ pairing code ─▶ owner claims it
//! every hour: how claimed devices are ─▶ 26 hours later: bytes × multipliers ─▶ credits in the ledger
//! ```

mod config;
mod credits;
mod service;
mod store;
mod task;

pub use config::OwnersConfig;
pub use credits::{CreditRules, DeviceHour, NANOS_PER_CREDIT, Presence, earned};
pub use service::{NewCode, OwnerError, OwnerService, PAIRING_LASTS};
pub use store::{CreditBalance, HourCounted, OwnedDevice, Owners};
pub use task::run;
