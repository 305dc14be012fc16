//! Customer keys: the secret of a proxy login, of which we keep a hash and a prefix.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::account::AccountStatus;
use crate::clock::Timestamp;
use crate::exits::CustomerTerms;
use crate::ids::{AccountId, ApiKeyId};
use crate::keys::KeyLimits;
use crate::plan::Plan;

/// Most keys an account may have.
pub const MAX_KEYS_PER_ACCOUNT: u32 = 5;
/// Most entries in a key's address allow-list.
pub const MAX_WHITELIST: usize = 50;

/// SHA-256 of a key: what the database holds, and what a login is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

impl ApiKeyHash {
    /// The hash of a key's whole text, prefix included.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Lower-case hex, the form in the database.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in hash.iter_mut().zip((0..text.len()).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHash(…)")
    }
}

/// A key as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub account: AccountId,
    /// The first 14 characters, to tell keys apart.
    pub key_prefix: String,
    /// The customer's name for it.
    pub name: String,
    /// Client addresses it may be used from; empty: any.
    pub ip_whitelist: Vec<IpNet>,
    /// Proven addresses of the list need no password (`ip_login`).
    pub ip_login: bool,
    /// What it may do of what its account may.
    pub limits: KeyLimits,
    /// Switched on.
    pub is_active: bool,
    /// When a login last used it, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ApiKey {
    /// Whether a client at this address may use it. An empty list allows any address; an IPv4 address may come in its IPv6 form.
    pub fn may_come_from(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.ip_whitelist.is_empty() || self.ip_whitelist.iter().any(|net| net.contains(&client))
    }
}

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub account: AccountId,
    /// Its hash.
    pub hash: ApiKeyHash,
    /// The first 14 characters.
    pub key_prefix: String,
    /// The customer's name for it.
    pub name: String,
    /// Client addresses it may be used from; empty: any.
    pub ip_whitelist: Vec<IpNet>,
    /// Proven addresses of the list need no password.
    pub ip_login: bool,
    /// What it may do of what its account may.
    pub limits: KeyLimits,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When.
    pub now: Timestamp,
}

/// A change of a key: what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Switched on or off.
    pub is_active: Option<bool>,
    /// Another name.
    pub name: Option<String>,
    /// Other limits, in place of all that were.
    pub limits: Option<KeyLimits>,
    /// Another end, or none.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether proven addresses of its list need no password.
    pub ip_login: Option<bool>,
}

/// What a key has used so far, as it was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// The key.
    pub key: ApiKeyId,
    /// Its limits, as they stand now.
    pub limits: KeyLimits,
    /// Paid bytes of the UTC day asked for.
    pub day_bytes: i64,
    /// Paid bytes of that day's month.
    pub month_bytes: i64,
    /// Paid bytes since the key was made.
    pub total_bytes: i64,
}

/// Everything a proxy login needs to know, in one read: the key, its account and the account's plan.
#[derive(Clone, Debug)]
pub struct KeyGrant {
    /// The key.
    pub key: ApiKey,
    /// May the account use the proxy?
    pub account_status: AccountStatus,
    /// The proxy opens once the address is verified.
    pub email_verified: bool,
    /// The plan's limits and gates.
    pub plan: Plan,
    /// How far the customer is trusted, and what is open for it.
    pub terms: CustomerTerms,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_from_its_text() {
        let hash = ApiKeyHash::of("iploop_");
        assert_eq!(ApiKeyHash::from_hex(&hash.to_hex()), Some(hash));
        for text in ["", "zz", &hash.to_hex()[1..], &"é".repeat(32)] {
            assert_eq!(ApiKeyHash::from_hex(text), None);
        }
    }
}
