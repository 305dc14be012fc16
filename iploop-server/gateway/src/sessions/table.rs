//! A bounded map that forgets what was not used for longest.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Locks of one table: requests of different customers rarely meet.
const SHARDS: usize = 64;

/// What part of a full shard is forgotten at once, so that a flood of new keys does not sort at each insertion.
const FORGOTTEN_PART: usize = 8;

/// A map of at most about `capacity` entries, by the time of their last use.
pub(super) struct Table<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    shard_capacity: usize,
    hasher: RandomState,
}

type Shard<K, V> = HashMap<K, Entry<V>>;

struct Entry<V> {
    value: V,
    used: Instant,
}

impl<K: Hash + Eq, V: Clone> Table<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let mut shard = self.shard(key).lock();
        let entry = shard.get_mut(key)?;
        entry.used = now;
        Some(entry.value.clone())
    }

    pub(super) fn insert(&self, key: K, now: Instant, value: V) {
        let mut shard = self.shard(&key).lock();
        if !shard.contains_key(&key) {
            self.make_room(&mut shard);
        }
        shard.insert(key, Entry { value, used: now });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K, V>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        &self.shards[at]
    }

    fn make_room(&self, shard: &mut Shard<K, V>) {
        if shard.len() < self.shard_capacity {
            return;
        }
        let mut uses: Vec<_> = shard.values().map(|entry| entry.used).collect();
        let (_, &mut last_forgotten, _) = uses.select_nth_unstable(shard.len().div_ceil(FORGOTTEN_PART) - 1);
        let mut left = shard.len().div_ceil(FORGOTTEN_PART);
        // Equal times are common where the clock is coarse: no more than the part goes.
        shard.retain(|_, entry| {
            let goes = left > 0 && entry.used <= last_forgotten;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_full_table_forgets_what_was_not_used_for_longest() {
        let table = Table::new(SHARDS * 8);
        let start = Instant::now();
        for key in 0..10_000u64 {
            table.insert(key, start + Duration::from_millis(key), key);
            // Used again and again: never forgotten.
            table.insert(u64::MAX, start + Duration::from_millis(key), 7);
        }
        assert!(table.len() <= SHARDS * 8);
        let end = start + Duration::from_secs(60);
        assert_eq!(table.get(&u64::MAX, end), Some(7));
        assert_eq!(table.get(&9_999, end), Some(9_999));
        assert_eq!(table.get(&0, end), None);
    }

    #[test]
    fn equal_times_do_not_empty_a_shard() {
        let table = Table::new(SHARDS * 8);
        let now = Instant::now();
        for key in 0..10_000u64 {
            table.insert(key, now, key);
        }
        assert!(table.len() > SHARDS * 6 && table.len() <= SHARDS * 8);
    }
}
