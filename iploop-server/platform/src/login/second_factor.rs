//! Codes of an authenticator (TOTP, RFC 6238) and recovery codes: what they are, and whether one is good.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use totp_rs::{Builder, Totp};

use super::throttle::{Allowance, client_network};
use super::{LoginError, Logins, Origin, SignedIn, sealed};
use crate::account::{Account, AccountStatus};
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::secret::{Secret, hex};
use crate::shared::{SharedState, SharedThrottle};

/// Recovery codes of an account.
pub const RECOVERY_CODES: usize = 10;
/// How long the right password is remembered while the code is awaited.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Bytes of an authenticator's secret (RFC 4226, section 4, R6).
const SECRET_BYTES: usize = 20;
/// Random bytes of a recovery code: too many to be found by trying hashes.
const RECOVERY_BYTES: usize = 10;
/// Under which secrets are sealed.
const PURPOSE: &str = "totp";
/// Wrong codes an hour for one account from one client network, and from all. A guess is good with a chance of 3 in 10^6.
const TRIES_BY_BOTH: u32 = 10;
const TRIES_BY_ACCOUNT: u32 = 20;

/// The right password was given; a code is awaited.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// To be sent back with the code.
    pub token: Secret,
    /// Not good from then on.
    pub expires_at: Timestamp,
}

/// By what a second factor was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A code of the authenticator.
    Code,
    /// A recovery code; so many are left.
    RecoveryCode {
        /// Codes that were not used.
        left: u32,
    },
}

/// A fresh secret for an authenticator: shown once.
pub(crate) struct TwoFactorSetup {
    /// For typing, in base32.
    pub(crate) secret: Secret,
    /// The `otpauth` address, for a QR code.
    pub(crate) url: Secret,
}

pub(super) struct Throttles {
    by_account: SharedThrottle,
    by_both: SharedThrottle,
}

impl Throttles {
    pub(super) fn new(shared: &Arc<dyn SharedState>) -> Self {
        let throttle =
            |space, tries| SharedThrottle::new(space, Allowance::per_hour(tries), Arc::clone(shared));
        Self {
            by_account: throttle("code-account", TRIES_BY_ACCOUNT),
            by_both: throttle("code-account-client", TRIES_BY_BOTH),
        }
    }
}

impl Logins {
    /// Completes a sign-in: the challenge that the password led to, and a code or recovery code.
    pub async fn second_factor(
        &self,
        challenge: &str,
        code: &Secret,
        origin: Origin,
    ) -> Result<(SignedIn, Proof), LoginError> {
        let inner = &*self.0;
        let (account, expires_at, fingerprint) = self
            .read_challenge(challenge)
            .ok_or(LoginError::ChallengeInvalid)?;
        let account = inner.store.account(account).await?;
        let account = account.ok_or(LoginError::ChallengeInvalid)?;
        let stored = inner.store.password_hash(account.id).await?;
        let stored = stored.ok_or(LoginError::ChallengeInvalid)?;
        if expires_at <= inner.clock.now() || inner.fingerprint(&stored) != fingerprint {
            return Err(LoginError::ChallengeInvalid);
        }
        match account.status {
            AccountStatus::Active => {}
            AccountStatus::Suspended => return Err(LoginError::NotActive),
            AccountStatus::Deleted => return Err(LoginError::ChallengeInvalid),
        }
        let settings = inner
            .store
            .sign_in_settings(account.id)
            .await?
            .unwrap_or_default();
        if !settings.allows(origin.address) {
            return Err(LoginError::AddressNotAllowed);
        }
        let proof = self.prove(&account, code, origin.address).await?;
        Ok((self.signed_in(account, &stored, origin).await?, proof))
    }

    /// Uses up a code of the account's second factor that is on. Counts wrong ones.
    pub(crate) async fn prove(
        &self,
        account: &Account,
        code: &Secret,
        client: IpAddr,
    ) -> Result<Proof, LoginError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let (by_account, by_both) = subjects(account.id, client);
        let throttled = |retry_after| LoginError::Throttled { retry_after };
        let codes = &inner.codes;
        codes.by_both.take(&by_both, now).await.map_err(throttled)?;
        if let Err(wait) = codes.by_account.take(&by_account, now).await {
            codes.by_both.give_back(&by_both).await;
            return Err(throttled(wait));
        }
        let factor = inner.store.second_factor(account.id).await?;
        let factor = factor
            .filter(|factor| factor.is_on)
            .ok_or(LoginError::CodeInvalid)?;
        let code = plain(code.expose());
        let proof = match self.step(account, &factor.sealed_secret, &code, now) {
            Some(step) => {
                let is_first = inner.store.use_step(account.id, step).await?;
                is_first.then_some(Proof::Code)
            }
            None => {
                let hash = recovery_hash(account.id, &code);
                let left = inner.store.use_recovery_code(account.id, &hash, now).await?;
                left.map(|left| Proof::RecoveryCode { left })
            }
        };
        let proof = proof.ok_or(LoginError::CodeInvalid)?;
        codes.by_both.give_back(&by_both).await;
        codes.by_account.give_back(&by_account).await;
        Ok(proof)
    }

    /// A fresh secret, kept until it is confirmed; none if a second factor is on.
    pub(crate) async fn set_up_totp(&self, account: &Account) -> Result<Option<TwoFactorSetup>, LoginError> {
        let inner = &*self.0;
        let bytes: [u8; SECRET_BYTES] = rand::random();
        let totp = totp(&bytes, &account.email)?;
        let sealed = sealed::seal(&inner.secret, PURPOSE, account.id, &bytes)
            .ok_or_else(|| LoginError::Internal("a secret could not be sealed".to_owned()))?;
        let now = inner.clock.now();
        if !inner.store.set_up_second_factor(account.id, &sealed, now).await? {
            return Ok(None);
        }
        let url = totp
            .to_url()
            .map_err(|error| LoginError::Internal(error.to_string()))?;
        Ok(Some(TwoFactorSetup {
            secret: Secret::new(totp.secret().to_base32()),
            url: Secret::new(url),
        }))
    }

    /// Turns the second factor on that was set up, by a code of it. Answers its recovery codes, which are shown once.
    pub(crate) async fn confirm_totp(
        &self,
        account: &Account,
        code: &Secret,
        client: IpAddr,
    ) -> Result<Vec<Secret>, LoginError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let (_, by_both) = subjects(account.id, client);
        inner
            .codes
            .by_both
            .take(&by_both, now)
            .await
            .map_err(|retry_after| LoginError::Throttled { retry_after })?;
        let factor = inner.store.second_factor(account.id).await?;
        let factor = factor
            .filter(|factor| !factor.is_on)
            .ok_or(LoginError::CodeInvalid)?;
        let step = self
            .step(account, &factor.sealed_secret, &plain(code.expose()), now)
            .ok_or(LoginError::CodeInvalid)?;
        let (codes, hashes) = recovery_codes(account.id);
        let is_on = inner
            .store
            .confirm_second_factor(account.id, &factor.sealed_secret, step, &hashes, now)
            .await?;
        if !is_on {
            return Err(LoginError::CodeInvalid);
        }
        inner.codes.by_both.give_back(&by_both).await;
        Ok(codes)
    }

    /// New recovery codes in place of all; none if no second factor is on.
    pub(crate) async fn new_recovery_codes(
        &self,
        account: AccountId,
    ) -> Result<Option<Vec<Secret>>, LoginError> {
        let (codes, hashes) = recovery_codes(account);
        let is_on = self.0.store.replace_recovery_codes(account, &hashes).await?;
        Ok(is_on.then_some(codes))
    }

    /// Names account, time and password; says nothing about the latter.
    pub(super) fn challenge(&self, account: AccountId, stored: &str, now: Timestamp) -> Challenge {
        let expires_at = now.plus(CHALLENGE_LIFETIME);
        let claim = format!(
            "{account}.{}.{}",
            expires_at.as_millis(),
            self.0.fingerprint(stored)
        );
        let tag = self.0.secret.tag("challenge", &claim);
        Challenge {
            token: Secret::new(format!("{claim}.{tag}")),
            expires_at,
        }
    }

    fn read_challenge(&self, token: &str) -> Option<(AccountId, Timestamp, String)> {
        let (claim, tag) = token.rsplit_once('.')?;
        if !self.0.secret.is_tag("challenge", claim, tag) {
            return None;
        }
        let mut parts = claim.split('.');
        let (account, expires_at, fingerprint) = (parts.next()?, parts.next()?, parts.next()?);
        let expires_at = Timestamp::from_millis(expires_at.parse().ok()?);
        Some((account.parse().ok()?, expires_at, fingerprint.to_owned()))
    }

    /// The step of which `code` is, this one or a neighbour.
    fn step(&self, account: &Account, sealed: &str, code: &str, now: Timestamp) -> Option<i64> {
        let Some(bytes) = sealed::open(&self.0.secret, PURPOSE, account.id, sealed) else {
            tracing::error!(
                account.id = %account.id,
                "a second factor was sealed under another login secret; its owner needs a recovery code"
            );
            return None;
        };
        let seconds = u64::try_from(now.as_millis() / 1000).ok()?;
        let step = totp(&bytes, &account.email).ok()?.check(code, seconds)?;
        i64::try_from(step).ok()
    }
}

/// SHA-1, 6 digits, 30 seconds, one step of tolerance: what every authenticator knows.
fn totp(secret: &[u8], name: &str) -> Result<Totp, LoginError> {
    Builder::new()
        .with_secret(secret.to_vec())
        .with_account_name(name)
        .with_issuer(Some("IPLoop"))
        .build()
        .map_err(|error| LoginError::Internal(error.to_string()))
}

/// Ten codes and their hashes.
fn recovery_codes(account: AccountId) -> (Vec<Secret>, Vec<String>) {
    let codes = (0..RECOVERY_CODES).map(|_| {
        let code = Secret::random::<RECOVERY_BYTES>("");
        let hash = recovery_hash(account, code.expose());
        let (first, second) = code.expose().split_at(RECOVERY_BYTES);
        (Secret::new(format!("{first}-{second}")), hash)
    });
    codes.unzip()
}

fn recovery_hash(account: AccountId, code: &str) -> String {
    hex(&Sha256::digest(format!("{account}:{code}")))
}

/// What wrong codes are counted by: the account, and the account with the client's network.
fn subjects(account: AccountId, client: IpAddr) -> (String, String) {
    (
        account.to_string(),
        format!("{account} {}", client_network(client)),
    )
}

/// A code as it counts: in lower case, without the spaces and dashes that people type.
fn plain(code: &str) -> String {
    code.chars()
        .filter(|character| !character.is_whitespace() && *character != '-')
        .take(64)
        .collect::<String>()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, SHA-1, cut to six digits.
        let totp = totp(b"12345678901234567890", "ada@example.com").unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.check(code, seconds), Some(seconds / 30), "{seconds}");
        }
        assert_eq!(totp.check("287082", 59 + 30), Some(1), "one step late");
        assert_eq!(totp.check("287082", 59 + 60), None, "two steps late");
        for text in ["", "28708", "2870822", "é", "28708a", "+28708"] {
            assert_eq!(totp.check(text, 59), None, "{text}");
        }
    }

    #[test]
    fn recovery_codes_count_however_they_are_typed() {
        let account = AccountId::new();
        let (codes, hashes) = recovery_codes(account);
        assert_eq!((codes.len(), hashes.len()), (RECOVERY_CODES, RECOVERY_CODES));
        let typed = format!(" {} ", codes[0].expose().to_uppercase());
        assert_eq!(recovery_hash(account, &plain(&typed)), hashes[0]);
        assert_ne!(recovery_hash(AccountId::new(), &plain(&typed)), hashes[0]);
    }
}
