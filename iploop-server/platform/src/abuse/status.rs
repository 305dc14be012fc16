//! Suspending and reinstating: by admins, by the server's own rule, and from the command line.

use serde_json::json;

use super::audit::{Actor, AuditAction, AuditEntry};
use super::config::AbuseConfig;
use super::error::AbuseError;
use super::service::{AbuseService, reason_line};
use super::watch::Suspicion;
use crate::account::AccountStatus;
use crate::clock::Clock;
use crate::ids::{AccountId, AuditId};
use crate::mail::templates;
use crate::store::{Store, StoreError};

/// Admins that are told of a suspension.
const MAX_TOLD: u32 = 20;

impl AbuseService {
    /// Suspends a customer by the server's own rule, and tells the admins.
    pub(super) async fn act_on(&self, suspicion: Suspicion) {
        let AbuseConfig {
            suspend_after,
            suspend_within,
            ..
        } = self.0.config;
        let Suspicion { account, rule } = suspicion;
        let reason = format!(
            "{suspend_after} dials in {} minutes to destinations that nobody may reach, the last one refused by {rule}",
            suspend_within.as_secs().div_ceil(60)
        );
        match self.suspend(Actor::System, account, &reason).await {
            Ok(()) => {
                metrics::counter!("iploop_accounts_suspended_total").increment(1);
                tracing::warn!(account.id = %account, reason, "a customer was suspended");
                self.tell_admins(account, &reason).await;
            }
            Err(AbuseError::AlreadySo | AbuseError::AccountNotFound) => {}
            Err(error) => tracing::error!(account.id = %account, %error, "a customer could not be suspended"),
        }
    }

    async fn tell_admins(&self, account: AccountId, reason: &str) {
        let told = match self.addressees().await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "nobody was told of a suspension");
                return;
            }
        };
        let link = self
            .0
            .public_url
            .join(&format!("/api/admin/audit?account={account}"));
        for (address, name) in told {
            let Ok(address) = address.parse() else { continue };
            let mail = templates::suspension(&address, &name, &account.to_string(), reason, &link);
            if self.0.mail.push(mail).is_err() {
                tracing::warn!("the mail about a suspension found no room in the queue");
            }
        }
    }

    async fn addressees(&self) -> Result<Vec<(String, String)>, StoreError> {
        match self.0.config.notify.as_slice() {
            [] => self.0.store.admin_addresses(MAX_TOLD).await,
            named => Ok(named
                .iter()
                .map(|address| (address.clone(), String::new()))
                .collect()),
        }
    }
}

/// Moves an account to `to` from the other one of active and suspended, on record.
pub(super) async fn set_status(
    store: &dyn Store,
    clock: &dyn Clock,
    actor: Actor,
    account: AccountId,
    to: AccountStatus,
    reason: &str,
) -> Result<(), AbuseError> {
    let reason = reason_line(reason)?;
    if store.account(account).await?.is_none() {
        return Err(AbuseError::AccountNotFound);
    }
    let (from, action) = match to {
        AccountStatus::Suspended => (AccountStatus::Active, AuditAction::AccountSuspended),
        AccountStatus::Active | AccountStatus::Deleted => {
            (AccountStatus::Suspended, AuditAction::AccountReinstated)
        }
    };
    let audit = AuditEntry {
        id: AuditId::new(),
        at: clock.now(),
        actor,
        action,
        account: Some(account),
        subject: account.to_string(),
        before: json!({ "status": from }),
        after: json!({ "status": to }),
        reason,
    };
    let moved = store.set_account_status(account, from, to, audit).await?;
    moved.then_some(()).ok_or(AbuseError::AlreadySo)
}

/// Suspends or reinstates an account from the server's own command line. A running server notices by the audit record.
///
/// # Errors
/// If there is no such account, it is so already, or there is no reason.
pub async fn status_from_command_line(
    store: &dyn Store,
    clock: &dyn Clock,
    account: AccountId,
    status: AccountStatus,
    reason: &str,
) -> Result<(), AbuseError> {
    set_status(store, clock, Actor::CommandLine, account, status, reason).await
}
