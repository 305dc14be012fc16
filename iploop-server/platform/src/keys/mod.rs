//! Customer keys: making, listing, switching, restricting and deleting them.

mod ip_login;
mod limits;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use self::limits::{
    ByteLimits, DestinationList, KeyLimits, MAX_DESTINATIONS, MAX_PORTS, NotAllowed, Rate, WantedLimits,
};
use crate::api_key::{ApiKey, ApiKeyHash, KeyChange, MAX_KEYS_PER_ACCOUNT, MAX_WHITELIST, NewApiKey};
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, ApiKeyId};
use crate::ip_login::MAX_ADDRESSES;
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
    /// An account was suspended or deleted: what runs under it shall end.
    fn account_suspended(&self, account: AccountId) {
        self.account_changed(account);
    }
    /// An address was proven or given up.
    fn addresses_changed(&self) {}
    /// News of other processes may have been lost: whatever is remembered may be old.
    fn anything_changed(&self) {}
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
    local_ip_login: bool,
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct WantedKey {
    /// The customer's name for it.
    pub name: String,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What it may do of what its account may.
    pub limits: WantedLimits,
    /// Addresses and CIDRs it may be used from; empty: any.
    pub ip_whitelist: Vec<String>,
    /// Whether proven addresses of the list need no password.
    pub ip_login: bool,
}

/// A new key with its secret, which is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key as its owner sees it from now on.
    pub api_key: ApiKey,
    /// `iploop_` and 48 hex digits.
    pub secret: Secret,
}

/// A change that a customer wants of a key: what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct WantedChange {
    /// Switched on or off.
    pub is_active: Option<bool>,
    /// Another name.
    pub name: Option<String>,
    /// Other limits, in place of all that were.
    pub limits: Option<WantedLimits>,
    /// Another end, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether proven addresses of its list need no password.
    pub ip_login: Option<bool>,
}

/// Why a key could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Fields that can't be accepted.
    #[error("{}", field::listed(.0))]
    Invalid(Vec<FieldProblem>),
    /// The account has as many as it may.
    #[error("at most {MAX_KEYS_PER_ACCOUNT} keys")]
    LimitReached,
    /// The account has no such key.
    #[error("no such key")]
    NotFound,
    /// Another account has proven the address, and uses it.
    #[error("the address is another account's")]
    AddressTaken,
    /// The account has not proven the address.
    #[error("no such address")]
    AddressNotFound,
    /// The account has as many proven addresses as it may.
    #[error("at most {MAX_ADDRESSES} addresses")]
    TooManyAddresses,
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
            local_ip_login: false,
        }
    }

    /// Makes a key for `account`: at most five an account, also under parallel tries.
    pub async fn create(
        &self,
        account: AccountId,
        name: &str,
        expires_at: Option<Timestamp>,
        limits: &WantedLimits,
    ) -> Result<CreatedKey, KeyError> {
        let wanted = WantedKey {
            name: name.to_owned(),
            expires_at,
            limits: limits.clone(),
            ..WantedKey::default()
        };
        self.create_key(account, wanted).await
    }

    /// The same with everything that a key may have from the start.
    pub async fn create_key(&self, account: AccountId, wanted: WantedKey) -> Result<CreatedKey, KeyError> {
        let now = self.clock.now();
        let change = WantedChange {
            name: Some(wanted.name),
            limits: Some(wanted.limits),
            expires_at: Some(wanted.expires_at),
            is_active: None,
            ip_login: None,
        };
        let checked = change.check(now)?;
        let ip_whitelist = parse_whitelist("ipWhitelist", &wanted.ip_whitelist)
            .map_err(|problem| KeyError::Invalid(vec![problem]))?;
        if wanted.ip_login {
            self.check_list("ipWhitelist", &ip_whitelist)?;
        }
        let secret = Secret::random::<24>("iploop_");
        let api_key = self
            .store
            .create_api_key(NewApiKey {
                id: ApiKeyId::new(),
                account,
                hash: ApiKeyHash::of(secret.expose()),
                key_prefix: key_prefix(&secret),
                name: checked.name.unwrap_or_default(),
                ip_whitelist,
                ip_login: wanted.ip_login,
                limits: checked.limits.unwrap_or_default(),
                expires_at: wanted.expires_at,
                now,
            })
            .await?;
        if api_key.ip_login {
            self.changes.addresses_changed();
        }
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

    /// Changes a key: for new requests at once, for the bytes of running ones within seconds.
    ///
    /// `ip_login` is checked against the list as it is now. Where both change at the same moment the key may be left with a
    /// list that would have been refused: then nobody is admitted by it without a password.
    pub async fn change(
        &self,
        account: AccountId,
        key: ApiKeyId,
        wanted: WantedChange,
    ) -> Result<ApiKey, KeyError> {
        let change = wanted.check(self.clock.now())?;
        if change.ip_login == Some(true) {
            self.check_ip_login(account, key).await?;
        }
        let changed = self.store.change_api_key(account, key, change).await;
        self.changes.key_changed(key);
        changed?.ok_or(KeyError::NotFound)
    }

    /// Sets the addresses and CIDRs a key may be used from; none: any. At most 50, repeated ones count once.
    ///
    /// The list of a key with `ip_login` is not emptied or widened beyond what that allows: switch it off first.
    pub async fn set_whitelist(
        &self,
        account: AccountId,
        key: ApiKeyId,
        entries: &[String],
    ) -> Result<ApiKey, KeyError> {
        let whitelist =
            parse_whitelist("ips", entries).map_err(|problem| KeyError::Invalid(vec![problem]))?;
        self.check_whitelist(&self.get(account, key).await?, &whitelist)?;
        let changed = self.store.set_api_key_whitelist(account, key, &whitelist).await;
        self.changes.key_changed(key);
        changed?.ok_or(KeyError::NotFound)
    }

    /// Deletes a key. Its usage stays.
    pub async fn delete(&self, account: AccountId, key: ApiKeyId) -> Result<(), KeyError> {
        let deleted = self.store.delete_api_key(account, key, self.clock.now()).await;
        self.changes.key_changed(key);
        if deleted? { Ok(()) } else { Err(KeyError::NotFound) }
    }
}

impl WantedChange {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        let Self {
            is_active,
            name,
            limits,
            expires_at,
            ip_login,
        } = self;
        is_active.is_none()
            && name.is_none()
            && limits.is_none()
            && expires_at.is_none()
            && ip_login.is_none()
    }

    fn check(self, now: Timestamp) -> Result<KeyChange, KeyError> {
        let mut problems = Vec::new();
        let name = self.name.map(|name| field::line("name", "Name", &name, 1, 100));
        let name = name.and_then(|name| field::keep(name, &mut problems));
        if self.expires_at.flatten().is_some_and(|at| at <= now) {
            problems.push(FieldProblem::new("expiresAt", "Expiry must be in the future"));
        }
        let limits = match self.limits.as_ref().map(WantedLimits::check) {
            Some(Ok(limits)) => Some(limits),
            Some(Err(more)) => {
                problems.extend(more);
                None
            }
            None => None,
        };
        if problems.is_empty() {
            Ok(KeyChange {
                is_active: self.is_active,
                name,
                limits,
                expires_at: self.expires_at,
                ip_login: self.ip_login,
            })
        } else {
            Err(KeyError::Invalid(problems))
        }
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
fn parse_whitelist(field: &'static str, entries: &[String]) -> Result<Vec<IpNet>, FieldProblem> {
    parse_networks(field, MAX_WHITELIST, entries)
}

/// At most `most` addresses and CIDRs, each once, without the bits behind their prefix. A problem names `field`.
pub(crate) fn parse_networks(
    field: &'static str,
    most: usize,
    entries: &[String],
) -> Result<Vec<IpNet>, FieldProblem> {
    let problem = |message: String| FieldProblem::new(field, message);
    if entries.len() > most {
        return Err(problem(format!("At most {most} addresses or CIDRs")));
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
        parse_whitelist("ips", &entries)
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
