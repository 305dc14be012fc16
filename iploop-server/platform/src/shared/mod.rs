//! State that the processes of one platform share, beside the database: how often somebody tried, what each gateway uses of a key's limits, and news of what changed.
//!
//! None of it is the truth: that is the database. It may be lost at any time, and every user of it says what it does then
//! (`docs/operations.md`). `iploop-store` implements [`SharedState`] in Redis and in this process alone.

mod changes;
mod throttle;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;
use uuid::Uuid;

pub use self::changes::{ChangesTask, SharedChanges};
pub use self::throttle::SharedThrottle;
pub use crate::login::throttle::Allowance;

use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId};

/// What something is called in the shared state: a kind, and a digest of what it is about, which can't be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    space: &'static str,
    digest: [u8; 16],
}

impl Name {
    /// The name of `subject` among those of the kind `space` (lower case and dashes).
    pub fn new(space: &'static str, subject: &str) -> Self {
        let whole = Sha256::new_with_prefix(space)
            .chain_update([0])
            .chain_update(subject)
            .finalize();
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole[..16]);
        Self { space, digest }
    }

    /// Its kind.
    pub fn space(&self) -> &'static str {
        self.space
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "iploop:{}:{:032x}",
            self.space,
            u128::from_be_bytes(self.digest)
        )
    }
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is counted.
    Taken,
    /// Too many: the next one is heard after this.
    Wait(Duration),
}

/// Tries that were made already and are told afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Whose.
    pub name: Name,
    /// How many; 0 only asks.
    pub count: u32,
    /// How long one of them takes to come back.
    pub refill: Duration,
    /// None of them is older than this.
    pub since: Timestamp,
}

/// One holder's part of a number that several have parts of.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Of what.
    pub name: Name,
    /// The holder's part; it takes the place of the last one.
    pub count: u32,
}

/// News for the other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// As [`KeyChanges::key_changed`](crate::keys::KeyChanges::key_changed).
    Key(ApiKeyId),
    /// As [`KeyChanges::account_changed`](crate::keys::KeyChanges::account_changed).
    Account(AccountId),
    /// As [`KeyChanges::account_suspended`](crate::keys::KeyChanges::account_suspended).
    Suspended(AccountId),
    /// As [`KeyChanges::addresses_changed`](crate::keys::KeyChanges::addresses_changed).
    Addresses,
    /// Some news did not get through: anything may have changed.
    Missed,
}

/// Why the shared state did not answer. Its users go on with what this process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// It can't be reached, or did not answer in time (250 ms).
    #[error("the shared state does not answer")]
    Away,
}

/// Small primitives, each atomic for its name. Whatever is kept expires by itself.
///
/// Times are the caller's: processes that share state must agree on the time to within a second or so.
#[async_trait]
pub trait SharedState: Send + Sync + 'static {
    /// Takes one try of an allowance, or says how long until there is one. A refused try does not prolong the wait.
    async fn take(&self, name: Name, allowance: Allowance, now: Timestamp) -> Result<Take, SharedError>;
    /// Gives one try back.
    async fn give_back(&self, name: Name, allowance: Allowance) -> Result<(), SharedError>;
    /// Counts tries that were made already, each kind as of its `since`; for each, how long until all are back.
    async fn charge(&self, charges: &[Charge], now: Timestamp) -> Result<Vec<Duration>, SharedError>;
    /// Notes a holder's parts, which expire after `lasts`; for each name the sum of the others' parts.
    async fn share(
        &self,
        holder: Uuid,
        shares: &[Share],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<u64>, SharedError>;
    /// Tells the other processes.
    async fn publish(&self, change: Change) -> Result<(), SharedError>;
    /// What other processes tell from now on. Who falls behind by more than a thousand hears so, and should take it as
    /// [`Change::Missed`], which also comes whenever news may have been lost on the way.
    fn changes(&self) -> broadcast::Receiver<Change>;
    /// Whether it can be reached.
    async fn ping(&self) -> Result<(), SharedError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_kind_and_nothing_of_its_subject() {
        let name = Name::new("login-account", "ada@example.com");
        let text = name.to_string();
        let digits = text.strip_prefix("iploop:login-account:").unwrap();
        assert!(
            digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
            "{text}"
        );
        assert_ne!(name, Name::new("login-account", "bob@example.com"));
        assert_ne!(Name::new("a", "bc").digest, Name::new("ab", "c").digest);
    }
}
