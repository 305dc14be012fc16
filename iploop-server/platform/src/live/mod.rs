//! What happens now, for those who look at it: requests as they end, and numbers by the second.
//!
//! ```text
//! meters ──(request ended)──▶ the account's feed: a short memory ──▶ its watchers, each with a short queue
//! task ──(every second)─────▶ numbers of each feed that is watched, and of the network
//! ```
//!
//! Nobody waits for a watcher: one that is slower than its queue is ended and may come back, with the id of the event that it
//! saw last; what the feed still remembers it gets, and is told of the gap where that is not enough. A feed is of this process;
//! where processes share state it hears also what passes through the others (`together`).

mod feed;
mod task;
mod together;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::feed::Feed;
use self::together::Outgoing;
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::usage::UsageRecord;

pub use feed::Watch;
pub use task::{LiveParts, LiveTask};
pub use together::LiveTogether;

/// Watchers of one account at the same time.
pub const MAX_WATCHERS_PER_ACCOUNT: usize = 5;
/// Watchers of a process: each takes a connection, a queue and a share of a feed.
pub const MAX_WATCHERS: usize = 500;
/// Feeds that are remembered: those watched, and those left within a minute.
const MAX_FEEDS: usize = 1_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request of the account ended.
    Request(Arc<UsageRecord>),
    /// How the account does now.
    Numbers(Numbers),
    /// How many devices there are now.
    Nodes(NodesNow),
    /// How the whole platform does now. For admins.
    Network(NetworkNow),
    /// Events are missing here: those behind the one that was seen last are forgotten, or some of other processes were lost.
    Gap,
}

/// How an account does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// Bytes left; none: not known yet.
    pub balance_bytes: Option<i64>,
    /// Requests and tunnels that run.
    pub active_connections: u64,
    /// Requests that ended within the window.
    pub requests: u64,
    /// The window: the last minute, or since somebody looks.
    pub window_seconds: u64,
    /// Bytes both ways in the last second.
    pub bytes_per_second: u64,
}

/// How many devices there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesNow {
    /// Connected.
    pub connected_nodes: u64,
    /// Of these, the ones that take streams.
    pub available_nodes: u64,
}

/// How the whole platform does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkNow {
    /// Accounts with a request that runs; one with requests at two processes counts twice.
    pub active_accounts: u64,
    /// Requests and tunnels that run.
    pub active_connections: u64,
    /// Requests that ended within the window.
    pub requests: u64,
    /// The window: the last minute, or since somebody looks.
    pub window_seconds: u64,
    /// Bytes both ways in the last second.
    pub bytes_per_second: u64,
    /// Connected devices.
    pub connected_nodes: u64,
    /// Of these, the ones that take streams.
    pub available_nodes: u64,
    /// Watchers of all accounts.
    pub watchers: u64,
}

/// Which event of which run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    run: i64,
    number: u64,
}

impl EventId {
    /// Of a run that nobody remembers.
    pub const FORGOTTEN: Self = Self { run: 0, number: 0 };
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.run, self.number)
    }
}

/// A text that no event had as its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an event")]
pub struct NotAnEventId;

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let (run, number) = text.split_once('-').ok_or(NotAnEventId)?;
        Ok(Self {
            run: i64::from_str_radix(run, 16).map_err(|_| NotAnEventId)?,
            number: u64::from_str_radix(number, 16).map_err(|_| NotAnEventId)?,
        })
    }
}

/// There are as many watchers as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Of this account.
    #[error("at most {MAX_WATCHERS_PER_ACCOUNT} live connections of an account")]
    TooManyOfAccount,
    /// Of the process.
    #[error("at most {MAX_WATCHERS} live connections")]
    TooMany,
}

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Subject {
    Account(AccountId),
    /// The whole platform, by an admin.
    Network,
}

/// The feeds of a process.
pub struct Live {
    run: i64,
    /// Feeds that are remembered, so that a request's end costs one look where nobody watches.
    remembered: AtomicUsize,
    feeds: Mutex<HashMap<Subject, Feed>>,
    /// To the other processes, where they share state.
    outgoing: OnceLock<Outgoing>,
}

impl Live {
    /// `now` tells the events of this run from those of another.
    pub fn new(now: Timestamp) -> Self {
        Self {
            run: now.as_millis(),
            remembered: AtomicUsize::new(0),
            feeds: Mutex::default(),
            outgoing: OnceLock::new(),
        }
    }

    /// Watches an account, from the event behind `last` on, or from now.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn watch(self: &Arc<Self>, account: AccountId, last: Option<EventId>) -> Result<Watch, WatchError> {
        self.open(Subject::Account(account), last)
    }

    /// Watches the whole platform.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn watch_network(self: &Arc<Self>) -> Result<Watch, WatchError> {
        self.open(Subject::Network, None)
    }

    fn open(self: &Arc<Self>, subject: Subject, last: Option<EventId>) -> Result<Watch, WatchError> {
        let mut feeds = self.feeds.lock();
        let watchers: usize = feeds.values().map(Feed::watchers).sum();
        if watchers >= MAX_WATCHERS {
            return Err(WatchError::TooMany);
        }
        if !feeds.contains_key(&subject) && feeds.len() >= MAX_FEEDS {
            feeds.retain(|_, feed| feed.watchers() > 0);
        }
        let feed = feeds.entry(subject).or_insert_with(|| Feed::new(self.run));
        // Admins share the network's feed: there are few, and the process's bound holds.
        if subject != Subject::Network && feed.watchers() >= MAX_WATCHERS_PER_ACCOUNT {
            return Err(WatchError::TooManyOfAccount);
        }
        let watch = feed.watch(last);
        self.note_remembered(feeds.len());
        drop(feeds);
        self.tell_watched(vec![subject]);
        Ok(watch)
    }

    fn note_remembered(&self, feeds: usize) {
        self.remembered.store(feeds, Relaxed);
    }

    /// A request ended: `record` is asked for only if somebody may see it.
    pub fn request_ended(&self, account: AccountId, record: impl FnOnce() -> UsageRecord) {
        if self.remembered.load(Relaxed) == 0 {
            return;
        }
        let mut feeds = self.feeds.lock();
        if let Some(feed) = feeds.get_mut(&Subject::Network) {
            feed.count_request();
        }
        if let Some(feed) = feeds.get_mut(&Subject::Account(account)) {
            feed.count_request();
            let record = Arc::new(record());
            if feed.others.is_wanted() {
                self.tell_request(feed.others.next_told(), &record);
            }
            if feed.is_kept_here() {
                feed.remember(Event::Request(record));
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
