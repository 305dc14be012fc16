//! The two tables of a process: pools by account, streams by request. Both bounded, both in shards.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::pool::{Pool, Shared};
use super::stream::StreamState;
use crate::ids::{AccountId, RequestId};

/// Enough that two cores, or two hundred, seldom meet at one.
const SHARDS: usize = 64;

/// A table is full.
#[derive(Debug)]
pub(super) struct Full;

/// A table in shards with one bound over all.
struct Sharded<K, V> {
    shards: [Mutex<HashMap<K, Arc<V>>>; SHARDS],
    len: AtomicUsize,
    max: usize,
}

impl<K: std::hash::Hash + Eq, V> Sharded<K, V> {
    fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            len: AtomicUsize::new(0),
            max,
        }
    }

    fn insert_with(&self, shard: u8, key: K, make: impl FnOnce() -> Arc<V>) -> Result<(Arc<V>, bool), Full> {
        let mut shard = self.shards[usize::from(shard) % SHARDS].lock();
        match shard.entry(key) {
            Entry::Occupied(known) => Ok((Arc::clone(known.get()), false)),
            Entry::Vacant(free) => {
                if self.len.fetch_add(1, Relaxed) >= self.max {
                    self.len.fetch_sub(1, Relaxed);
                    return Err(Full);
                }
                Ok((Arc::clone(free.insert(make())), true))
            }
        }
    }

    fn collect(&self, wanted: impl Fn(&Arc<V>) -> bool) -> Vec<Arc<V>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().values().filter(|value| wanted(value)).cloned());
        }
        found
    }

    /// Forgets what nobody else holds and `done` says is done.
    fn forget(&self, done: impl Fn(&V) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, value| Arc::strong_count(value) > 1 || !done(value));
            self.len.fetch_sub(before - shard.len(), Relaxed);
        }
    }
}

/// The pool of each account that used the proxy lately.
pub(super) struct Pools(Sharded<AccountId, Pool>);

impl Pools {
    pub(super) fn new(max: usize) -> Self {
        Self(Sharded::new(max))
    }

    pub(super) fn get_or_open(&self, account: AccountId, shared: &Arc<Shared>) -> Result<Arc<Pool>, Full> {
        let make = || Arc::new(Pool::new(account, Arc::clone(shared)));
        self.0
            .insert_with(last_byte(account.uuid()), account, make)
            .map(|(pool, _)| pool)
    }

    pub(super) fn get(&self, account: AccountId) -> Option<Arc<Pool>> {
        self.0.shards[usize::from(last_byte(account.uuid())) % SHARDS]
            .lock()
            .get(&account)
            .cloned()
    }

    pub(super) fn collect(&self, wanted: impl Fn(&Pool) -> bool) -> Vec<Arc<Pool>> {
        self.0.collect(|pool| wanted(pool))
    }

    pub(super) fn forget(&self, done: impl Fn(&Pool) -> bool) {
        self.0.forget(done);
    }

    /// More than half of the room is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.len.load(Relaxed) > self.0.max / 2
    }
}

/// Each request that runs or is not booked yet.
pub(super) struct Streams(Sharded<RequestId, StreamState>);

impl Streams {
    pub(super) fn new(max: usize) -> Self {
        Self(Sharded::new(max))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len.load(Relaxed)
    }

    /// Adds a request; an id that is in use already counts as full.
    pub(super) fn insert(
        &self,
        id: RequestId,
        make: impl FnOnce() -> StreamState,
    ) -> Result<Arc<StreamState>, Full> {
        match self
            .0
            .insert_with(last_byte(id.uuid()), id, || Arc::new(make()))?
        {
            (state, true) => Ok(state),
            (_, false) => Err(Full),
        }
    }

    pub(super) fn collect(&self, wanted: impl Fn(&Arc<StreamState>) -> bool) -> Vec<Arc<StreamState>> {
        self.0.collect(wanted)
    }

    pub(super) fn forget_booked(&self) {
        self.0.forget(|state| state.is_ended() && !state.needs_booking());
    }
}

/// The random end of a UUID v7.
fn last_byte(id: uuid::Uuid) -> u8 {
    let [.., last] = id.into_bytes();
    last
}
