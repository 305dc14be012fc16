//! What admins do with users, plans, devices and the platform's settings; every change with its audit record.
//!
//! ```text
//! admin ─▶ AdminService ─▶ AdminStore: the change and its audit record in one transaction
//!                │
//!                ├─▶ KeyChanges: gateways forget what they knew of the account
//!                └─▶ LiveNodes: the hub closes or drains the device's connection
//! ```
//!
//! Lists, grants and complaints are [`crate::abuse`]'s.

mod error;
mod impersonate;
mod nodes;
mod plans;
mod revenue;
mod settings;
mod stats;
mod store;
mod users;

use std::sync::Arc;

use serde_json::Value;

pub use self::error::AdminError;
pub use self::nodes::{
    Ban, BanTask, GivenConsent, KnownNode, LiveNode, LiveNodes, NodeDetail, NodePage, NodeQuery, NodeStatus,
    SILENT_AFTER, Withdrawal,
};
pub use self::plans::{PlanChange, PlanChanged, PlanDetails, PlanPage, PlanQuery, WantedPlan};
pub use self::revenue::{Revenue, RevenueReport};
pub use self::settings::{PlatformSettings, SettingsWritten, VersionedSettings};
pub use self::stats::{PlatformStats, StoredStats, Traffic, UserCounts};
pub use self::store::AdminStore;
pub use self::users::{
    BulkAct, CreatedUser, MAX_BULK, NewUser, UserChange, UserChanged, UserDetail, UserPage, UserQuery,
    UserRow, WantedUserChange, name_folded,
};

use crate::abuse::{AbuseWatch, Actor, AuditAction, AuditEntry};
use crate::accounts::password::Passwords;
use crate::clock::Clock;
use crate::ids::{AccountId, AuditId};
use crate::keys::KeyChanges;
use crate::login::Logins;
use crate::network::Network;
use crate::store::Store;

/// What the service is made of.
pub struct AdminParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For the passwords of users that admins make.
    pub passwords: Passwords,
    /// For admins who look on as a customer.
    pub logins: Logins,
    /// Hears which accounts changed.
    pub changes: Arc<dyn KeyChanges>,
    /// Forgives a customer who may go on.
    pub watch: AbuseWatch,
    /// The devices that are connected.
    pub nodes: Arc<dyn LiveNodes>,
    /// The same in aggregates.
    pub network: Arc<dyn Network>,
}

/// The rules around what admins do. Clones share one state.
#[derive(Clone)]
pub struct AdminService(Arc<Inner>);

struct Inner {
    parts: AdminParts,
    stats: tokio::sync::Mutex<stats::Cached>,
}

impl AdminService {
    /// The task acts on bans that other processes made and must run.
    pub fn new(parts: AdminParts) -> (Self, BanTask) {
        let service = Self(Arc::new(Inner {
            parts,
            stats: tokio::sync::Mutex::default(),
        }));
        let task = BanTask::new(service.clone());
        (service, task)
    }

    fn parts(&self) -> &AdminParts {
        &self.0.parts
    }

    /// A record without its values, which the store fills in from what was there.
    fn entry(
        &self,
        actor: Actor,
        action: AuditAction,
        account: Option<AccountId>,
        subject: String,
        reason: &str,
    ) -> AuditEntry {
        AuditEntry {
            id: AuditId::new(),
            at: self.parts().clock.now(),
            actor,
            action,
            account,
            subject,
            before: Value::Null,
            after: Value::Null,
            reason: reason.to_owned(),
        }
    }
}
