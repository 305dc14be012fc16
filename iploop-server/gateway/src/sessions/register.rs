//! The sessions by account and name, within bounds: of an account, and of all.
//!
//! A live session is never put out for another one: who wants one too many is refused. Ended ones, which are only
//! remembered, make room.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use parking_lot::Mutex;

use super::session::StickySession;

/// Locks of the register: requests of different customers rarely meet.
const SHARDS: usize = 64;

/// A full account's sessions are looked through this often, however often it asks for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Above this part of the room, in percent, ended sessions are not remembered any more.
const TIGHT_PERCENT: usize = 90;

/// All sessions.
pub(super) struct Register {
    shards: Box<[Mutex<HashMap<AccountId, Account>>]>,
    hasher: RandomState,
    count: AtomicUsize,
    max: usize,
    max_per_account: usize,
}

#[derive(Default)]
struct Account {
    sessions: BTreeMap<Arc<str>, Arc<StickySession>>,
    /// When it was looked through for want of room, and when its first session ends.
    looked: Option<(Timestamp, Timestamp)>,
}

/// Why there is no room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The account has as many as it may; the first of them ends after this time.
    Account(Duration),
    /// There are as many as there may be.
    Gateway,
}

impl Register {
    pub(super) fn new(max: usize, max_per_account: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            max,
            max_per_account,
        }
    }

    pub(super) fn max_per_account(&self) -> usize {
        self.max_per_account
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The session of this name, made where there is none. `enter` runs before anybody can take it away.
    pub(super) fn enter<R>(
        &self,
        account: AccountId,
        name: &Arc<str>,
        now: Timestamp,
        make: impl FnOnce() -> StickySession,
        enter: impl FnOnce(&Arc<StickySession>) -> R,
    ) -> Result<R, Full> {
        let mut shard = self.shard(account).lock();
        let of_account = shard.entry(account).or_default();
        if let Some(session) = of_account.sessions.get(name) {
            return Ok(enter(session));
        }
        if of_account.sessions.len() >= self.max_per_account {
            let removed = of_account.look_through(now);
            self.count.fetch_sub(removed, Ordering::Relaxed);
            if of_account.sessions.len() >= self.max_per_account {
                let first_end = of_account.looked.map_or(now, |(_, end)| end);
                return Err(Full::Account(first_end.since(now)));
            }
        }
        if self.len() >= self.max {
            let removed = of_account.remove_ended(now);
            self.count.fetch_sub(removed, Ordering::Relaxed);
            if self.len() >= self.max {
                return Err(Full::Gateway);
            }
        }
        let session = Arc::new(make());
        of_account.sessions.insert(Arc::clone(name), Arc::clone(&session));
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(enter(&session))
    }

    pub(super) fn get(&self, account: AccountId, name: &str) -> Option<Arc<StickySession>> {
        let shard = self.shard(account).lock();
        shard.get(&account)?.sessions.get(name).cloned()
    }

    /// What `view` makes of an account's sessions behind a name, in the order of the names, at most `limit`.
    pub(super) fn page<V>(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
        view: impl FnMut(&Arc<StickySession>) -> Option<V>,
    ) -> Vec<V> {
        let shard = self.shard(account).lock();
        let Some(of_account) = shard.get(&account) else {
            return Vec::new();
        };
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let sessions = of_account.sessions.range::<str, _>(behind);
        sessions
            .map(|(_, session)| session)
            .filter_map(view)
            .take(limit)
            .collect()
    }

    pub(super) fn remove(&self, account: AccountId, name: &str) -> Option<Arc<StickySession>> {
        let mut shard = self.shard(account).lock();
        let of_account = shard.get_mut(&account)?;
        let session = of_account.sessions.remove(name)?;
        of_account.looked = None;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(session)
    }

    pub(super) fn remove_all(&self, account: AccountId) -> Vec<Arc<StickySession>> {
        let removed = self.shard(account).lock().remove(&account);
        let sessions: Vec<_> = removed
            .into_iter()
            .flat_map(|of_account| of_account.sessions.into_values())
            .collect();
        self.count.fetch_sub(sessions.len(), Ordering::Relaxed);
        sessions
    }

    /// Takes out what has not to be remembered any more, or has ended where room is short.
    pub(super) fn sweep(&self, now: Timestamp) {
        let is_tight = self.len().saturating_mul(100) >= self.max.saturating_mul(TIGHT_PERCENT);
        for shard in &self.shards {
            shard.lock().retain(|_, of_account| {
                let removed = if is_tight {
                    of_account.remove_ended(now)
                } else {
                    of_account.retain(|session| !session.may_be_forgotten(now))
                };
                self.count.fetch_sub(removed, Ordering::Relaxed);
                !of_account.sessions.is_empty()
            });
        }
    }

    /// Calls `visit` for each session, a part of them at a time.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<StickySession>)) {
        for shard in &self.shards {
            let shard = shard.lock();
            let all = shard.values().flat_map(|of_account| of_account.sessions.values());
            all.for_each(&mut visit);
        }
    }

    fn shard(&self, account: AccountId) -> &Mutex<HashMap<AccountId, Account>> {
        let hash = self.hasher.hash_one(account);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        &self.shards[at]
    }
}

impl Account {
    /// Takes out what has ended, unless that was just done; how many.
    fn look_through(&mut self, now: Timestamp) -> usize {
        if self.looked.is_some_and(|(at, _)| now.since(at) < LOOK_EVERY) {
            return 0;
        }
        let removed = self.remove_ended(now);
        let ends = self.sessions.values().map(|session| session.ends_at());
        self.looked = Some((now, ends.min().unwrap_or(now)));
        removed
    }

    fn remove_ended(&mut self, now: Timestamp) -> usize {
        self.retain(|session| session.is_live(now))
    }

    /// How many were taken out.
    fn retain(&mut self, keep: impl Fn(&StickySession) -> bool) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| keep(session));
        before - self.sessions.len()
    }
}
