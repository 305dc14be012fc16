//! What an operator does for somebody who is locked out, at the server's own command line.

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use super::{AccountError, EmailAddress};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::account::Account;
use crate::clock::Clock;
use crate::field::{self, FieldProblem};
use crate::ids::AuditId;
use crate::store::Store;

/// What is taken away. The account's logins end in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlock {
    /// The second factor and its recovery codes.
    pub second_factor: bool,
    /// The list of networks from which to sign in.
    pub allowed_from: bool,
}

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// A second factor was on and is not any more.
    pub had_second_factor: bool,
    /// The networks that were on the list and are not any more.
    pub allowed_from: Vec<IpNet>,
    /// Logins that ended.
    pub ended_logins: usize,
}

/// An account as an operator sees it. No secrets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountOverview {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// A code is asked for besides the password.
    pub has_second_factor: bool,
    /// Recovery codes that were not used.
    pub recovery_codes_left: u32,
    /// The networks from which to sign in; empty: from anywhere.
    pub ip_allow_list: Vec<IpNet>,
    /// Minutes without a request after which a login ends.
    pub session_timeout_minutes: Option<u32>,
    /// Logins that live.
    pub logins: usize,
    /// Keys, those that are off included.
    pub api_keys: usize,
}

/// Lets in somebody who lost the second factor, or whose own list keeps them out. Their password stays; a mail tells them.
///
/// # Errors
/// If no account has this address, there is no reason, or the data can't be changed.
pub async fn unlock_from_command_line(
    store: &dyn Store,
    clock: &dyn Clock,
    email: &str,
    unlock: Unlock,
    reason: &str,
) -> Result<(Account, Unlocked), AccountError> {
    let reason = field::reason(reason).map_err(invalid)?;
    let account = by_email(store, email).await?;
    let entry = AuditEntry {
        id: AuditId::new(),
        at: clock.now(),
        actor: Actor::CommandLine,
        action: AuditAction::AccountUnlocked,
        account: Some(account.id),
        subject: account.id.to_string(),
        before: Value::Null,
        after: Value::Null,
        reason,
    };
    let unlocked = store.unlock_account(account.id, unlock, entry).await?;
    Ok((account, unlocked.ok_or_else(unknown)?))
}

/// An account with what decides about signing in to it.
///
/// # Errors
/// If no account has this address, or the data can't be read.
pub async fn overview(
    store: &dyn Store,
    clock: &dyn Clock,
    email: &str,
) -> Result<AccountOverview, AccountError> {
    let account = by_email(store, email).await?;
    let settings = store.sign_in_settings(account.id).await?.unwrap_or_default();
    let factor = store.second_factor(account.id).await?;
    Ok(AccountOverview {
        has_second_factor: settings.has_second_factor,
        recovery_codes_left: factor.map_or(0, |factor| factor.codes_left),
        ip_allow_list: settings.allowed_from,
        session_timeout_minutes: settings.idle_minutes,
        logins: store.logins(account.id, clock.now()).await?.len(),
        api_keys: store.api_keys(account.id).await?.len(),
        account,
    })
}

async fn by_email(store: &dyn Store, email: &str) -> Result<Account, AccountError> {
    let email: EmailAddress = email.parse().map_err(invalid)?;
    let found = store.account_by_email(email.as_str()).await?;
    found.map(|(account, _)| account).ok_or_else(unknown)
}

fn unknown() -> AccountError {
    invalid(FieldProblem::new("email", "No account has this address"))
}

fn invalid(problem: FieldProblem) -> AccountError {
    AccountError::Invalid(vec![problem])
}
