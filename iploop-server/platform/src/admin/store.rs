//! The seam to the data of this module: each change is one act, with its audit record in the same transaction.

use async_trait::async_trait;

use super::nodes::{Ban, GivenConsent, KnownNode, NodePage, NodeQuery, Withdrawal};
use super::plans::{PlanChange, PlanChanged, PlanDetails, PlanPage, PlanQuery, WantedPlan};
use super::revenue::Revenue;
use super::settings::{PlatformSettings, SettingsWritten, VersionedSettings};
use super::stats::StoredStats;
use super::users::{UserChange, UserChanged, UserPage, UserQuery};
use crate::abuse::AuditEntry;
use crate::account::{Account, NewAccount};
use crate::clock::Timestamp;
use crate::ids::{AccountId, NodeId, PlanId};
use crate::store::StoreError;

/// Users, plans, devices, figures and settings, as admins read and change them.
#[async_trait]
pub trait AdminStore: Send + Sync + 'static {
    /// A page of users, newest first.
    async fn user_page(&self, query: &UserQuery) -> Result<UserPage, StoreError>;
    /// Makes an account as [`Accounts::create_account`](crate::store::Accounts::create_account) does; `entry.after` is
    /// filled in.
    async fn create_user(&self, account: NewAccount, entry: AuditEntry) -> Result<Account, StoreError>;
    /// Makes all changes or none, each with its record, of which the values are filled in.
    ///
    /// One active admin is left whatever the changes and however many are made at once.
    async fn change_user(
        &self,
        id: AccountId,
        changes: Vec<(UserChange, AuditEntry)>,
    ) -> Result<UserChanged, StoreError>;
    /// A page of plans, cheapest first.
    async fn plan_page(&self, query: &PlanQuery) -> Result<PlanPage, StoreError>;
    /// One plan.
    async fn plan_details(&self, id: PlanId) -> Result<Option<PlanDetails>, StoreError>;
    /// Stores a plan; `Conflict { what: "plan name" }` if the name is taken.
    async fn create_plan(&self, id: PlanId, plan: &WantedPlan, entry: AuditEntry) -> Result<(), StoreError>;
    /// Changes a plan as it is then; `Conflict { what: "plan name" }` if the name is taken.
    async fn change_plan(
        &self,
        id: PlanId,
        change: &PlanChange,
        entry: AuditEntry,
    ) -> Result<PlanChanged, StoreError>;
    /// Accounts on a plan, by id, behind `after`, at most `limit`.
    async fn accounts_on(
        &self,
        plan: PlanId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError>;
    /// Figures; what is recent began at or after `recent`.
    async fn stored_stats(&self, recent: Timestamp, now: Timestamp) -> Result<StoredStats, StoreError>;
    /// What moved on the UTC days in `[from, to)`, oldest first; days on which nothing did are left out.
    async fn revenue_by_day(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, Revenue)>, StoreError>;
    /// The same by the plan that the customers have now, with its name.
    async fn revenue_by_plan(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(PlanId, String, Revenue)>, StoreError>;
    /// A page of devices, newest first. Statuses are as of `now`.
    async fn node_page(&self, query: &NodeQuery, now: Timestamp) -> Result<NodePage, StoreError>;
    /// One device.
    async fn known_node(&self, id: NodeId, now: Timestamp) -> Result<Option<KnownNode>, StoreError>;
    /// What its owners agreed to and withdrew, newest first, at most `limit` of each.
    async fn consents_of(
        &self,
        device_id: &str,
        limit: u32,
    ) -> Result<(Vec<GivenConsent>, Vec<Withdrawal>), StoreError>;
    /// Bans a device, or changes its ban; false if there is no such device. `entry.before` is filled in.
    async fn ban_node(&self, ban: &Ban, entry: AuditEntry) -> Result<bool, StoreError>;
    /// Ends a ban; none if there is no such device, false if it is not banned. `entry.before` is filled in.
    async fn unban_node(&self, id: NodeId, entry: AuditEntry) -> Result<Option<bool>, StoreError>;
    /// Bans that hold and were made at or after `from`, at most `limit`.
    async fn bans_since(&self, from: Timestamp, now: Timestamp, limit: u32) -> Result<Vec<Ban>, StoreError>;
    /// Devices that admins drained at `from` or later, and when, by the audit record; the newest `limit`.
    async fn drains_since(&self, from: Timestamp, limit: u32)
    -> Result<Vec<(NodeId, Timestamp)>, StoreError>;
    /// The settings.
    async fn settings(&self) -> Result<VersionedSettings, StoreError>;
    /// Writes the settings if they have this version still; `entry.before` is filled in.
    async fn change_settings(
        &self,
        version: u64,
        settings: &PlatformSettings,
        entry: AuditEntry,
    ) -> Result<SettingsWritten, StoreError>;
}
