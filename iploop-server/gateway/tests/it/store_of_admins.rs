//! What the store in memory does not keep: what admins read and change.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::{Account, NewAccount};
use iploop_platform::admin::{
    AdminStore, Ban, GivenConsent, KnownNode, NodePage, NodeQuery, PlanChanged, PlanDetails,
    PlatformSettings, Revenue, SettingsWritten, StoredStats, UserChange, UserChanged, UserPage, UserQuery,
    VersionedSettings, WantedPlan, Withdrawal,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId, PlanId};
use iploop_platform::store::StoreError;

use crate::store::{TestStore, not_here};

#[async_trait]
impl AdminStore for TestStore {
    async fn user_page(&self, _: &UserQuery) -> Result<UserPage, StoreError> {
        not_here()
    }
    async fn create_user(&self, _: NewAccount, _: AuditEntry) -> Result<Account, StoreError> {
        not_here()
    }
    async fn change_user(
        &self,
        _: AccountId,
        _: Vec<(UserChange, AuditEntry)>,
    ) -> Result<UserChanged, StoreError> {
        not_here()
    }
    async fn all_plan_details(&self) -> Result<Vec<PlanDetails>, StoreError> {
        not_here()
    }
    async fn plan_details(&self, _: PlanId) -> Result<Option<PlanDetails>, StoreError> {
        not_here()
    }
    async fn create_plan(&self, _: PlanId, _: &WantedPlan, _: AuditEntry) -> Result<(), StoreError> {
        not_here()
    }
    async fn change_plan(&self, _: PlanId, _: &WantedPlan, _: AuditEntry) -> Result<PlanChanged, StoreError> {
        not_here()
    }
    async fn accounts_on(
        &self,
        _: PlanId,
        _: Option<AccountId>,
        _: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn stored_stats(&self, _: Timestamp, _: Timestamp) -> Result<StoredStats, StoreError> {
        not_here()
    }
    async fn revenue_by_day(
        &self,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<(Timestamp, Revenue)>, StoreError> {
        not_here()
    }
    async fn revenue_by_plan(
        &self,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<(PlanId, String, Revenue)>, StoreError> {
        not_here()
    }
    async fn node_page(&self, _: &NodeQuery, _: Timestamp) -> Result<NodePage, StoreError> {
        not_here()
    }
    async fn known_node(&self, _: NodeId, _: Timestamp) -> Result<Option<KnownNode>, StoreError> {
        not_here()
    }
    async fn consents_of(&self, _: &str, _: u32) -> Result<(Vec<GivenConsent>, Vec<Withdrawal>), StoreError> {
        not_here()
    }
    async fn ban_node(&self, _: &Ban, _: AuditEntry) -> Result<bool, StoreError> {
        not_here()
    }
    async fn unban_node(&self, _: NodeId, _: AuditEntry) -> Result<Option<bool>, StoreError> {
        not_here()
    }
    async fn bans_since(&self, _: Timestamp, _: Timestamp, _: u32) -> Result<Vec<Ban>, StoreError> {
        not_here()
    }
    async fn settings(&self) -> Result<VersionedSettings, StoreError> {
        not_here()
    }
    async fn change_settings(
        &self,
        _: u64,
        _: &PlatformSettings,
        _: AuditEntry,
    ) -> Result<SettingsWritten, StoreError> {
        not_here()
    }
}
