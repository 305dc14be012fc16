//! What an owner decides about signing in: how long a login may be idle, and from where.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{AccountError, AccountService};
use crate::field::FieldProblem;
use crate::keys::parse_networks;
use crate::login::{LoginSession, SignInSettings};

/// Networks that an owner may name.
pub const MAX_ALLOWED_FROM: usize = 50;
/// Times without a request after which a login may end, in minutes.
const IDLE_MINUTES: [u32; 3] = [15, 30, 60];

/// How an account is kept safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What the owner decided.
    pub settings: SignInSettings,
    /// Recovery codes that were not used; none without a second factor.
    pub recovery_codes_left: Option<u32>,
}

/// Changes of the settings: what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct WantedSecurity {
    /// 15, 30 or 60; none inside: no limit but the day.
    pub idle_minutes: Option<Option<u32>>,
    /// Addresses and CIDRs; empty: from anywhere.
    pub allowed_from: Option<Vec<String>>,
}

impl AccountService {
    /// How the account is kept safe.
    pub async fn security(&self, session: &LoginSession) -> Result<Security, AccountError> {
        let factor = self.0.store.second_factor(session.account_id()).await?;
        let settings = self.0.store.sign_in_settings(session.account_id()).await?;
        Ok(Security {
            settings: settings.ok_or(AccountError::TokenInvalid)?,
            recovery_codes_left: factor
                .filter(|factor| factor.is_on)
                .map(|factor| factor.codes_left),
        })
    }

    /// Changes the settings: in force with the next request. A list of networks must contain the caller's own address, so that
    /// nobody locks themselves out.
    pub async fn change_security(
        &self,
        session: &LoginSession,
        wanted: WantedSecurity,
        client: IpAddr,
    ) -> Result<Security, AccountError> {
        let invalid = |problem| AccountError::Invalid(vec![problem]);
        let idle_minutes = wanted.idle_minutes.map(idle).transpose().map_err(invalid)?;
        let mut settings = session.settings.clone();
        let is_listed = wanted.allowed_from.is_some();
        if let Some(entries) = wanted.allowed_from {
            settings.allowed_from = allowed_from(&entries).map_err(invalid)?;
            if !settings.allows(client) {
                return Err(invalid(FieldProblem::new(
                    "ipAllowList",
                    format!("The list must contain {client}, your address: you would lock yourself out"),
                )));
            }
        }
        let allowed_from = is_listed.then_some(&*settings.allowed_from);
        self.0
            .store
            .set_sign_in_settings(
                session.account_id(),
                idle_minutes,
                allowed_from,
                self.0.clock.now(),
            )
            .await?;
        self.0.notices.wake();
        self.security(session).await
    }
}

fn idle(minutes: Option<u32>) -> Result<Option<u32>, FieldProblem> {
    if minutes.is_none_or(|minutes| IDLE_MINUTES.contains(&minutes)) {
        Ok(minutes)
    } else {
        let message = "Session timeout must be 15, 30 or 60 minutes, or null for none";
        Err(FieldProblem::new("sessionTimeoutMinutes", message))
    }
}

fn allowed_from(entries: &[String]) -> Result<Vec<IpNet>, FieldProblem> {
    parse_networks("ipAllowList", MAX_ALLOWED_FROM, entries)
}
