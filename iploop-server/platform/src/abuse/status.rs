//! Suspending and reinstating: by admins, by the server's own rule, and from the command line.

use serde_json::json;

use super::audit::{Actor, AuditAction, AuditEntry};
use super::config::AbuseConfig;
use super::error::AbuseError;
use super::service::AbuseService;
use super::store::Told;
use super::watch::Suspicion;
use crate::account::{Account, AccountStatus};
use crate::clock::Clock;
use crate::field;
use crate::ids::{AccountId, AuditId};
use crate::store::Store;

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
        let suspended = self
            .suspend_telling(Actor::System, account, &reason, &self.told())
            .await;
        match suspended {
            Ok(()) => {
                metrics::counter!("iploop_accounts_suspended_total").increment(1);
                tracing::warn!(account.id = %account, reason, "a customer was suspended");
                self.0.notices.wake();
            }
            Err(AbuseError::AlreadySo | AbuseError::AccountNotFound | AbuseError::AccountDeleted) => {}
            Err(error) => tracing::error!(account.id = %account, %error, "a customer could not be suspended"),
        }
    }

    fn told(&self) -> Told {
        match self.0.config.notify.as_slice() {
            [] => Told::Admins(MAX_TOLD),
            // What can't be an address is refused with the configuration.
            named => Told::Addresses(named.iter().filter_map(|address| address.parse().ok()).collect()),
        }
    }
}

/// Moves an account to `to` from the other one of active and suspended, on record.
pub(super) async fn set_status(
    (store, clock): (&dyn Store, &dyn Clock),
    actor: Actor,
    account: AccountId,
    to: AccountStatus,
    reason: &str,
    told: &Told,
) -> Result<(), AbuseError> {
    let reason = field::reason(reason)?;
    existing(store, account).await?;
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
    let moved = store.set_account_status(account, from, to, audit, told).await?;
    moved.then_some(()).ok_or(AbuseError::AlreadySo)
}

/// An account that is there and not deleted.
pub(super) async fn existing(store: &dyn Store, id: AccountId) -> Result<Account, AbuseError> {
    match store.account(id).await? {
        None => Err(AbuseError::AccountNotFound),
        Some(account) if account.is_deleted() => Err(AbuseError::AccountDeleted),
        Some(account) => Ok(account),
    }
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
    let actor = Actor::CommandLine;
    set_status((store, clock), actor, account, status, reason, &Told::Nobody).await
}
