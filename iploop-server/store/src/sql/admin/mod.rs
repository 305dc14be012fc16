//! What admins read and change; the audit record of each change in its transaction.

mod nodes;
mod plans;
mod revenue;
mod settings;
mod stats;
mod users;

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::{Account, NewAccount};
use iploop_platform::admin::{
    AdminStore, Ban, GivenConsent, KnownNode, NodePage, NodeQuery, PlanChange, PlanChanged, PlanDetails,
    PlanPage, PlanQuery, PlatformSettings, Revenue, SettingsWritten, StoredStats, UserChange, UserChanged,
    UserPage, UserQuery, VersionedSettings, WantedPlan, Withdrawal,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId, PlanId};
use iploop_platform::store::StoreError;

use super::SqlStore;
use super::columns::text;
use crate::error::act;

pub(super) use users::is_last_admin;

#[async_trait]
impl AdminStore for SqlStore {
    async fn user_page(&self, query: &UserQuery) -> Result<UserPage, StoreError> {
        act(async { Ok(users::page(&self.read, query).await?) }).await
    }

    async fn create_user(&self, account: NewAccount, entry: AuditEntry) -> Result<Account, StoreError> {
        act(users::create(self.begin(), account, entry)).await
    }

    async fn change_user(
        &self,
        id: AccountId,
        changes: Vec<(UserChange, AuditEntry)>,
    ) -> Result<UserChanged, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let changed = users::change(&mut tx, id, changes).await?;
            // Whatever was done before a change that is not possible is rolled back.
            if matches!(changed, UserChanged::Done(_)) {
                tx.commit().await?;
            }
            Ok(changed)
        })
        .await
    }

    async fn plan_page(&self, query: &PlanQuery) -> Result<PlanPage, StoreError> {
        act(async { Ok(plans::page(&self.read, query).await?) }).await
    }

    async fn plan_details(&self, id: PlanId) -> Result<Option<PlanDetails>, StoreError> {
        act(async { Ok(plans::one(&self.read, id).await?) }).await
    }

    async fn create_plan(&self, id: PlanId, plan: &WantedPlan, entry: AuditEntry) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            plans::create(&mut tx, id, plan, entry).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn change_plan(
        &self,
        id: PlanId,
        change: &PlanChange,
        entry: AuditEntry,
    ) -> Result<PlanChanged, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let changed = plans::change(&mut tx, id, change, entry).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    async fn accounts_on(
        &self,
        plan: PlanId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError> {
        act(async { Ok(plans::accounts_on(&self.read, plan, after, limit).await?) }).await
    }

    async fn stored_stats(&self, recent: Timestamp, now: Timestamp) -> Result<StoredStats, StoreError> {
        act(async { Ok(stats::stored(&self.read, recent, now).await?) }).await
    }

    async fn revenue_by_day(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, Revenue)>, StoreError> {
        act(async { Ok(revenue::by_day(&self.read, from, to).await?) }).await
    }

    async fn revenue_by_plan(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(PlanId, String, Revenue)>, StoreError> {
        act(async { Ok(revenue::by_plan(&self.read, from, to).await?) }).await
    }

    async fn node_page(&self, query: &NodeQuery, now: Timestamp) -> Result<NodePage, StoreError> {
        act(async { Ok(nodes::page(&self.read, query, now).await?) }).await
    }

    async fn known_node(&self, id: NodeId, now: Timestamp) -> Result<Option<KnownNode>, StoreError> {
        act(async { Ok(nodes::one(&self.read, id, now).await?) }).await
    }

    async fn consents_of(
        &self,
        device_id: &str,
        limit: u32,
    ) -> Result<(Vec<GivenConsent>, Vec<Withdrawal>), StoreError> {
        act(async { Ok(nodes::consents_of(&self.read, device_id, limit).await?) }).await
    }

    async fn ban_node(&self, ban: &Ban, entry: AuditEntry) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let banned = nodes::ban(&mut tx, ban, entry).await?;
            tx.commit().await?;
            Ok(banned)
        })
        .await
    }

    async fn unban_node(&self, id: NodeId, entry: AuditEntry) -> Result<Option<bool>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let unbanned = nodes::unban(&mut tx, id, entry).await?;
            tx.commit().await?;
            Ok(unbanned)
        })
        .await
    }

    async fn bans_since(&self, from: Timestamp, now: Timestamp, limit: u32) -> Result<Vec<Ban>, StoreError> {
        act(async { Ok(nodes::bans_since(&self.read, from, now, limit).await?) }).await
    }

    async fn drains_since(
        &self,
        from: Timestamp,
        limit: u32,
    ) -> Result<Vec<(NodeId, Timestamp)>, StoreError> {
        act(async { Ok(nodes::drains_since(&self.read, from, limit).await?) }).await
    }

    async fn settings(&self) -> Result<VersionedSettings, StoreError> {
        act(async { Ok(settings::read(&self.read).await?) }).await
    }

    async fn change_settings(
        &self,
        version: u64,
        settings: &PlatformSettings,
        entry: AuditEntry,
    ) -> Result<SettingsWritten, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let written = settings::change(&mut tx, version, settings, entry).await?;
            tx.commit().await?;
            Ok(written)
        })
        .await
    }
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `part` anywhere.
fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text(part).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}
