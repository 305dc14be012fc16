//! Against abuse: the platform's lists, what admins open for single customers, suspension, and the record of it all.
//!
//! ```text
//! gateway ─ refused by policy ─┐
//! hub ───── refused by device, ├─▶ AbuseWatch ─▶ counts by rule, customer and device ─▶ store
//!           limit reached ─────┘        └─────▶ too many hard refusals ─▶ suspension, mail, audit
//!
//! admin ─▶ AbuseService ─▶ store, with an audit record in the same transaction ─▶ gateway, hub, devices
//!                             ▲
//! other processes, the command line: seen by AbuseTask in the audit records within `look_every`
//! ```
//!
//! The audit records are also the feed of changes: whoever changes something beside a running server is noticed by them.

mod audit;
mod config;
mod error;
mod lists;
mod service;
mod status;
mod store;
mod suspects;
mod task;
mod watch;

pub use audit::{Actor, AuditAction, AuditEntry, AuditQuery};
pub use config::AbuseConfig;
pub use error::AbuseError;
pub use lists::{
    Entry, EntryKind, MAX_ENTRIES, MAX_PUSHED_BYTES, PolicyChange, PolicyChanged, StoredPolicy, compose,
};
pub use service::{AbuseParts, AbuseService, Force, PolicyOverview, ReadPolicy};
pub use status::status_from_command_line;
pub use store::{AccountGrant, ExitUse, ExitUseQuery, RefusalCount, RefusalQuery, Safeguards, Told};
pub use task::AbuseTask;
pub use watch::{AbuseWatch, Cause, Suspicion};
