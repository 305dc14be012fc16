//! Owners: who claims devices, what sharing earns, and what an owner may know and have erased.
//!
//! ```text
//! device ─▶ pairing code ─▶ owner claims it ─▶ wishes, withdrawal, erasure ─▶ device_news
//! every hour: how claimed devices are ─▶ 26 hours later: bytes × multipliers ─▶ credits in the ledger
//! ```

mod config;
mod credits;
mod pairing;
mod personal;
mod service;
mod store;
mod task;

pub use config::OwnersConfig;
pub use credits::{CreditRules, DeviceHour, NANOS_PER_CREDIT, Presence, earned};
pub use pairing::{NewCode, PAIRING_LASTS, PairingLimit, pairing_code};
pub use personal::personal_data;
pub use service::{OwnerError, OwnerService};
pub use store::{
    CreditBalance, EarnedHour, Earnings, HourCounted, OwnedDevice, OwnerQuery, OwnerRecord, Owners,
    PairingCodes,
};
pub use task::run;
