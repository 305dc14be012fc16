//! Customer keys: making, listing, switching, restricting and deleting them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api_key::{ApiKey, ApiKeyHash, MAX_KEYS_PER_ACCOUNT, MAX_WHITELIST, NewApiKey};
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, ApiKeyId};
use crate::secret::Secret;
use crate::store::{Store, StoreError};

/// Told at once when what a proxy login was granted may have changed.
///
/// Called after the data was written, also when writing failed and nobody knows whether it took effect.
pub trait KeyChanges: Send + Sync + 'static {
    /// A key was switched, restricted or deleted.
    fn key_changed(&self, key: ApiKeyId);
    /// An account was verified, suspended or moved to another plan: all of its keys.
    fn account_changed(&self, account: AccountId);
}

/// For processes that cache no grants.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodyToTell;

impl KeyChanges for NobodyToTell {
    fn key_changed(&self, _: ApiKeyId) {}
    fn account_changed(&self, _: AccountId) {}
}

/// The rules around customer keys. Clones share one state.
#[derive(Clone)]
pub struct KeyService {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    changes: Arc<dyn KeyChanges>,
}

/// A new key with its secret, which is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key as its owner sees it from now on.
    pub api_key: ApiKey,
    /// `iploop_` and 48 hex digits.
    pub secret: Secret,
}

/// Why a key could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// The account has as many as it may.
    #[error("at most {MAX_KEYS_PER_ACCOUNT} keys")]
    LimitReached,
    /// The account has no such key.
    #[error("no such key")]
    NotFound,
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
}

impl KeyService {
    /// `changes` hears of every change.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, changes: Arc<dyn KeyChanges>) -> Self {
        Self {
            store,
            clock,
            changes,
        }
    }

    /// Makes a key for `account`: at most five an account, also under parallel tries.
    pub async fn create(
        &self,
        account: AccountId,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<CreatedKey, KeyError> {
        let now = self.clock.now();
        let name = field::line("name", "Name", name, 1, 100).map_err(KeyError::Invalid)?;
        if expires_at.is_some_and(|at| at <= now) {
            let problem = FieldProblem::new("expiresAt", "Expiry must be in the future");
            return Err(KeyError::Invalid(problem));
        }
        let secret = Secret::random::<24>("iploop_");
        let api_key = self
            .store
            .create_api_key(NewApiKey {
                id: ApiKeyId::new(),
                account,
                hash: ApiKeyHash::of(secret.expose()),
                key_prefix: key_prefix(&secret),
                name,
                expires_at,
                now,
            })
            .await?;
        Ok(CreatedKey { api_key, secret })
    }

    /// The account's keys, oldest first.
    pub async fn list(&self, account: AccountId) -> Result<Vec<ApiKey>, KeyError> {
        Ok(self.store.api_keys(account).await?)
    }

    /// One key of the account.
    pub async fn get(&self, account: AccountId, key: ApiKeyId) -> Result<ApiKey, KeyError> {
        self.store.api_key(account, key).await?.ok_or(KeyError::NotFound)
    }

    /// Switches a key on or off.
    pub async fn set_active(
        &self,
        account: AccountId,
        key: ApiKeyId,
        is_active: bool,
    ) -> Result<ApiKey, KeyError> {
        let changed = self.store.set_api_key_active(account, key, is_active).await;
        self.changes.key_changed(key);
        changed?.ok_or(KeyError::NotFound)
    }

    /// Sets the addresses and CIDRs a key may be used from; none: any. At most 50, repeated ones count once.
    pub async fn set_whitelist(
        &self,
        account: AccountId,
        key: ApiKeyId,
        entries: &[String],
    ) -> Result<ApiKey, KeyError> {
        let whitelist = parse_whitelist(entries).map_err(KeyError::Invalid)?;
        let changed = self.store.set_api_key_whitelist(account, key, &whitelist).await;
        self.changes.key_changed(key);
        changed?.ok_or(KeyError::NotFound)
    }

    /// Deletes a key. Its usage stays.
    pub async fn delete(&self, account: AccountId, key: ApiKeyId) -> Result<(), KeyError> {
        let deleted = self.store.delete_api_key(account, key).await;
        self.changes.key_changed(key);
        if deleted? { Ok(()) } else { Err(KeyError::NotFound) }
    }
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LimitReached { .. } => Self::LimitReached,
            other => Self::Store(other),
        }
    }
}

/// The first 14 characters of a key, by which its owner knows it.
pub(crate) fn key_prefix(key: &Secret) -> String {
    key.expose().chars().take(14).collect()
}

/// Addresses become networks of one address, host bits are cut off, IPv4 written as IPv6 becomes IPv4.
fn parse_whitelist(entries: &[String]) -> Result<Vec<IpNet>, FieldProblem> {
    let problem = |message: String| FieldProblem::new("ips", message);
    if entries.len() > MAX_WHITELIST {
        return Err(problem(format!("At most {MAX_WHITELIST} addresses or CIDRs")));
    }
    let mut whitelist = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let entry = entry.trim();
        let network = entry
            .parse::<IpAddr>()
            .map(|address| IpNet::from(address.to_canonical()))
            .or_else(|_| entry.parse::<IpNet>())
            .map_err(|_| problem(format!("Entry {} is neither an address nor a CIDR", at + 1)))?
            .trunc();
        if !whitelist.contains(&network) {
            whitelist.push(network);
        }
    }
    Ok(whitelist)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[&str]) -> Result<Vec<String>, String> {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        parse_whitelist(&entries)
            .map(|networks| networks.iter().map(ToString::to_string).collect())
            .map_err(|problem| problem.message)
    }

    #[test]
    fn a_whitelist_takes_addresses_and_cidrs_in_both_families() {
        assert_eq!(
            parse(&[
                "192.0.2.7",
                " 198.51.100.9/24",
                "2001:db8::1",
                "2001:db8::5/32",
                "::ffff:192.0.2.7"
            ]),
            Ok([
                "192.0.2.7/32",
                "198.51.100.0/24",
                "2001:db8::1/128",
                "2001:db8::/32"
            ]
            .map(String::from)
            .into())
        );
        assert_eq!(parse(&[]), Ok(vec![]));
    }

    #[test]
    fn a_whitelist_refuses_what_it_does_not_understand_without_repeating_it() {
        for entry in [
            "",
            "example.com",
            "1.2.3",
            "1.2.3.4/33",
            "01.2.3.4",
            "1.2.3.4-1.2.3.9",
            "fe80::1%eth0",
        ] {
            assert_eq!(
                parse(&["192.0.2.1", entry]).unwrap_err(),
                "Entry 2 is neither an address nor a CIDR"
            );
        }
        assert!(parse(&["192.0.2.1"; MAX_WHITELIST]).is_ok());
        assert!(parse(&["192.0.2.1"; MAX_WHITELIST + 1]).is_err());
    }
}
