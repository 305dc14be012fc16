//! State that the processes of one platform share, beside the database: how often somebody tried, what each gateway uses of
//! limits, which devices and sticky sessions are where, and news of what changed and happens.
//!
//! None of it is the truth: that is the database. It may be lost at any time, and every user of it says what it does then
//! (`docs/operations.md`). `iploop-store` implements [`SharedState`] in Redis and in this process alone.

mod changes;
mod sealed;
mod throttle;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;
use uuid::Uuid;

pub use self::changes::{ChangesTask, SharedChanges};
pub use self::sealed::{SealedNews, SealedState};
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

/// What a holder adds to a count that several add to.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Which count.
    pub name: Name,
    /// Which addition: the same one again adds nothing, so that it may be repeated where no answer came.
    pub turn: Uuid,
    /// How many more.
    pub add: u32,
    /// What the holder knows of the count already: it is never less.
    pub at_least: u64,
}

/// A small value that is kept for a while.
#[derive(Clone, Debug)]
pub struct Note {
    /// Where it is found.
    pub name: Name,
    /// What it says.
    pub value: Vec<u8>,
    /// How long it is kept.
    pub lasts: Duration,
}

/// What processes tell each other besides [`Change`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What happens now, for those who look ([`crate::live`]).
    Live,
    /// Which sticky sessions changed ([`crate::sticky`]).
    Sessions,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 2] = [Self::Live, Self::Sessions];

    /// Its name in the shared state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sessions => "sessions",
        }
    }
}

/// What is heard of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Another process says this.
    Told {
        /// Which process: another id each time that one starts.
        from: Uuid,
        /// What it says.
        message: Arc<[u8]>,
    },
    /// Something may have been lost.
    Missed,
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
    /// Adds a holder's part to each count, once for each turn; the counts. A count expires when nobody adds to it for `lasts`.
    async fn tally(
        &self,
        holder: Uuid,
        tallies: &[Tally],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<u64>, SharedError>;
    /// Puts a holder's card on a board for `lasts`, in place of its last one; the others' cards that hold.
    async fn post(
        &self,
        board: Name,
        holder: Uuid,
        card: &[u8],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, SharedError>;
    /// Keeps values, in place of what their names had.
    async fn keep(&self, notes: &[Note], now: Timestamp) -> Result<(), SharedError>;
    /// The values of these names, in their order.
    async fn read(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Vec<u8>>>, SharedError>;
    /// Takes values away, where they are still the ones given.
    async fn take_away(&self, values: &[(Name, Vec<u8>)]) -> Result<(), SharedError>;
    /// Tells the other processes something of a topic. Who does not listen, or listens too slowly, does not hear it.
    async fn tell(&self, topic: Topic, message: &[u8]) -> Result<(), SharedError>;
    /// What other processes tell of a topic from now on. Who falls behind by more than a thousand should take it as
    /// [`Heard::Missed`], which also comes whenever something may have been lost on the way.
    fn hear(&self, topic: Topic) -> broadcast::Receiver<Heard>;
    /// Who this process is for the others: another id each time that one starts.
    fn process(&self) -> Uuid;
    /// Tells one process something; false: nobody of that id listens. Who listens too slowly does not hear it.
    async fn send(&self, to: Uuid, message: &[u8]) -> Result<bool, SharedError>;
    /// What other processes send to this one from now on; see [`SharedState::hear`].
    fn letters(&self) -> broadcast::Receiver<Heard>;
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
