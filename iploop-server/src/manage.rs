//! Accounts and partners from the server's own command line, straight at the data.

use std::io::{IsTerminal, Read};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use iploop_platform::abuse::{Actor, status_from_command_line};
use iploop_platform::account::AccountStatus;
use iploop_platform::accounts::password::Passwords;
use iploop_platform::accounts::{
    CommandLineAccount, Unlock, create_from_command_line, overview, unlock_from_command_line,
};
use iploop_platform::clock::{Clock, SystemClock};
use iploop_platform::ids::AccountId;
use iploop_platform::keys::{KeyService, NobodyToTell, WantedLimits};
use iploop_platform::notices::previews;
use iploop_platform::partners::{self, WantedPartner, Wanting};
use iploop_platform::secret::Secret;
use serde_json::{Value, json};

use crate::command::{AccountAct, AccountReason, AccountUnlock, MailAct, PartnerAct};
use crate::config::Config;
use crate::server::open_store;

/// Longest password line read from standard input, in bytes.
const MAX_PASSWORD_INPUT: u64 = 4096;

/// Carries out an act on accounts; what it made, as JSON.
///
/// # Errors
/// If something given is not acceptable, or the data can't be reached.
pub async fn account(config: &Config, act: AccountAct) -> Result<Value> {
    let (email, admin, verified, key) = match act {
        AccountAct::Create {
            email,
            admin,
            verified,
            key,
        } => (email, admin, verified, key),
        AccountAct::Suspend(whom) => return set_status(config, whom, AccountStatus::Suspended).await,
        AccountAct::Reinstate(whom) => return set_status(config, whom, AccountStatus::Active).await,
        AccountAct::Show { email } => return show(config, &email).await,
        AccountAct::Unlock(whom) => return unlock(config, whom).await,
    };
    let store = open_store(config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let passwords = Passwords::new(&config.accounts.password)?;
    let wanted = CommandLineAccount {
        email,
        password: password_from_stdin()?,
        is_admin: admin,
        is_verified: verified,
    };
    let made = create_from_command_line(store.as_ref(), clock.as_ref(), &passwords, wanted).await?;
    let mut answer = json!({
        "accountId": made.account.id,
        "email": made.account.email,
        "role": made.account.role,
        "emailVerified": made.account.email_verified,
    });
    if let Some(password) = made.generated_password {
        answer["password"] = password.expose().into();
    }
    if let Some(name) = key {
        // A server that runs on the same data learns of the new key at its first use.
        let keys = KeyService::new(store, clock, Arc::new(NobodyToTell));
        let created = keys
            .create(made.account.id, &name, None, &WantedLimits::default())
            .await?;
        answer["keyId"] = serde_json::to_value(created.api_key.id)?;
        answer["key"] = created.secret.expose().into();
    }
    Ok(answer)
}

/// Suspends or reinstates an account. A running server sees it in the audit records.
async fn set_status(config: &Config, whom: AccountReason, status: AccountStatus) -> Result<Value> {
    let AccountReason { account, reason } = whom;
    let account: AccountId = account.parse().context("--account: not an id")?;
    let store = open_store(config).await?;
    status_from_command_line(store.as_ref(), &SystemClock, account, status, &reason).await?;
    Ok(json!({ "accountId": account, "status": status }))
}

async fn show(config: &Config, email: &str) -> Result<Value> {
    let store = open_store(config).await?;
    let account = overview(store.as_ref(), &SystemClock, email).await?;
    Ok(serde_json::to_value(account)?)
}

/// A running server sees the next request of an ended login refused, and sends the mail.
async fn unlock(config: &Config, whom: AccountUnlock) -> Result<Value> {
    let AccountUnlock {
        email,
        second_factor,
        ip_allow_list,
        reason,
    } = whom;
    let is_any_named = second_factor || ip_allow_list;
    let unlock = Unlock {
        second_factor: second_factor || !is_any_named,
        allowed_from: ip_allow_list || !is_any_named,
    };
    let store = open_store(config).await?;
    let (account, unlocked) =
        unlock_from_command_line(store.as_ref(), &SystemClock, &email, unlock, &reason).await?;
    Ok(json!({
        "accountId": account.id,
        "email": account.email,
        "secondFactorEnded": unlocked.had_second_factor,
        "ipAllowListCleared": unlocked.allowed_from,
        "loginsEnded": unlocked.ended_logins,
    }))
}

/// Carries out an act on partners; what it made, as JSON.
///
/// # Errors
/// If something given is not acceptable, or the data can't be reached.
pub async fn partner(config: &Config, act: PartnerAct) -> Result<Value> {
    let PartnerAct::Create { name, email } = act;
    let store = open_store(config).await?;
    let who = Wanting {
        actor: Actor::CommandLine,
        reason: "a new partner",
    };
    let wanted = WantedPartner {
        name: &name,
        email: email.as_deref(),
        revenue_share_percent: None,
    };
    let made = partners::create(store.as_ref(), &SystemClock, wanted, who).await?;
    Ok(json!({
        "partnerId": made.partner.id,
        "name": made.partner.name,
        "key": made.key.expose(),
    }))
}

/// Carries out an act on mails; what it wrote, as JSON.
///
/// # Errors
/// If the folder can't be written.
pub fn mail(config: &Config, act: MailAct) -> Result<Value> {
    let MailAct::Preview { out } = act;
    let home = match &config.accounts.public_url {
        Some(url) => url.to_string(),
        None => "http://localhost:3000".to_owned(),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("--out: {}", out.display()))?;
    let mut written = Vec::new();
    for (name, mail) in previews(&home) {
        for (kind, text) in [("html", &mail.html), ("txt", &mail.text)] {
            let path = out.join(format!("{name}.{kind}"));
            std::fs::write(&path, text).with_context(|| format!("--out: {}", path.display()))?;
        }
        written.push(json!({ "name": name, "subject": mail.subject }));
    }
    Ok(json!({ "folder": out, "mails": written }))
}

/// The first line of standard input; none where that is a terminal or empty.
fn password_from_stdin() -> Result<Option<Secret>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    stdin
        .take(MAX_PASSWORD_INPUT)
        .read_to_string(&mut text)
        .context("standard input can't be read as a password")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Ok(None);
    }
    if text.lines().count() > 1 {
        bail!("standard input holds more than one line; write the password on one");
    }
    Ok(Some(Secret::new(line)))
}
