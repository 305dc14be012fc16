//! What a key uses of its limits in this process: connections now, its rate, its bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::exchange::Elsewhere;
use crate::ids::ApiKeyId;
use crate::keys::Rate;
use crate::metering::KeyQuota;

const SHARDS: usize = 64;

/// One key's use.
pub(super) struct KeyUse {
    connections: AtomicU32,
    /// When its allowance of requests will be whole again, in nanoseconds after `epoch`.
    whole_at: AtomicU64,
    epoch: Instant,
    quota: Arc<KeyQuota>,
    /// Who asks the store what was used: one at a time.
    pub(super) loading: AsyncMutex<()>,
    /// Somebody said that the key's limits may be others now.
    is_changed: AtomicBool,
    pub(super) elsewhere: Elsewhere,
}

/// A tunnel or request of a key that runs; dropping it makes room for the next.
pub(super) struct KeyConnection(Arc<KeyUse>);

impl Drop for KeyConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, AcqRel);
    }
}

impl KeyConnection {
    pub(super) fn key(&self) -> &KeyUse {
        &self.0
    }
}

impl KeyUse {
    fn new(key: ApiKeyId) -> Self {
        Self {
            connections: AtomicU32::new(0),
            whole_at: AtomicU64::new(0),
            epoch: Instant::now(),
            quota: Arc::new(KeyQuota::new(key)),
            loading: AsyncMutex::default(),
            is_changed: AtomicBool::new(false),
            elsewhere: Elsewhere::default(),
        }
    }

    pub(super) fn quota(&self) -> &Arc<KeyQuota> {
        &self.quota
    }

    /// Connections, those at other gateways included.
    pub(super) fn connections(&self) -> u32 {
        self.own_connections()
            .saturating_add(self.elsewhere.connections())
    }

    /// Connections of this process.
    pub(super) fn own_connections(&self) -> u32 {
        self.connections.load(Acquire)
    }

    /// Takes one of `limit` connections.
    pub(super) fn connect(self: &Arc<Self>, limit: Option<u32>) -> Option<KeyConnection> {
        let limit = limit
            .unwrap_or(u32::MAX)
            .saturating_sub(self.elsewhere.connections());
        self.connections
            .fetch_update(AcqRel, Acquire, |open| (open < limit).then(|| open + 1))
            .ok()
            .map(|_| KeyConnection(Arc::clone(self)))
    }

    /// Takes one request of the rate's allowance, or says how long until there is one (the generic cell rate algorithm).
    pub(super) fn take_request(&self, rate: Rate) -> Result<(), Duration> {
        let now = self.elapsed();
        let (refill, most) = spans(rate);
        let taken = |whole_at: u64| {
            let whole_at = whole_at.max(now) + refill;
            (whole_at - now <= most).then_some(whole_at)
        };
        match self.whole_at.fetch_update(AcqRel, Acquire, taken) {
            Ok(_) => {
                self.elsewhere.admitted(rate);
                Ok(())
            }
            Err(whole_at) => Err(Duration::from_nanos(whole_at.max(now) + refill - now - most)),
        }
    }

    /// Requests that the rate has room for now, and how long until all of them are there again.
    pub(super) fn requests_left(&self, rate: Rate) -> (u64, Duration) {
        let (refill, most) = spans(rate);
        let owed = self.whole_at.load(Acquire).saturating_sub(self.elapsed());
        (most.saturating_sub(owed) / refill, Duration::from_nanos(owed))
    }

    /// All gateways together: the allowance is whole again `owed` after `from`, unless later by what we know ourselves.
    pub(super) fn owe(&self, from: Instant, owed: Duration) {
        let whole_at = from.saturating_duration_since(self.epoch) + owed;
        let whole_at = u64::try_from(whole_at.as_nanos()).unwrap_or(u64::MAX / 2);
        self.whole_at.fetch_max(whole_at, AcqRel);
    }

    /// Its limits shall be read anew.
    pub(super) fn changed(&self) {
        self.is_changed.store(true, std::sync::atomic::Ordering::Release);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// Nobody uses it: neither a request nor bytes that are still to be booked.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.quota) == 1
    }
}

/// Nanoseconds for one request, and for a whole burst.
fn spans(rate: Rate) -> (u64, u64) {
    let refill = 1_000_000_000 / u64::from(rate.per_second.max(1));
    (refill, refill * u64::from(rate.burst.max(1)))
}

/// The use of each key that was here lately. At most `max`.
pub(super) struct KeyUses {
    shards: [Mutex<HashMap<ApiKeyId, Arc<KeyUse>>>; SHARDS],
    max_per_shard: usize,
}

impl KeyUses {
    pub(super) fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            max_per_shard: max.div_ceil(SHARDS),
        }
    }

    /// The key's use; none if the table is full of keys in use.
    pub(super) fn of(&self, key: ApiKeyId) -> Option<Arc<KeyUse>> {
        let mut shard = self.shard(key).lock();
        if let Some(known) = shard.get(&key) {
            return Some(Arc::clone(known));
        }
        if shard.len() >= self.max_per_shard {
            // Who rests loses at most what is left of its rate's pause: bytes are read anew.
            shard.retain(|_, known| !known.is_idle());
            if shard.len() >= self.max_per_shard {
                return None;
            }
        }
        let fresh = Arc::new(KeyUse::new(key));
        shard.insert(key, Arc::clone(&fresh));
        Some(fresh)
    }

    /// The key's use, if it is known.
    pub(super) fn get(&self, key: ApiKeyId) -> Option<Arc<KeyUse>> {
        self.shard(key).lock().get(&key).cloned()
    }

    /// Keys whose limits or use may have changed elsewhere while they are in use.
    pub(super) fn to_refresh(&self) -> Vec<Arc<KeyUse>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            found.extend(
                shard
                    .values()
                    .filter(|known| {
                        let changed = known.is_changed.swap(false, AcqRel);
                        changed || (known.quota.is_limited() && !known.is_idle())
                    })
                    .cloned(),
            );
        }
        found
    }

    fn shard(&self, key: ApiKeyId) -> &Mutex<HashMap<ApiKeyId, Arc<KeyUse>>> {
        let [.., last] = key.uuid().into_bytes();
        &self.shards[usize::from(last) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_allows_its_burst_and_then_its_pace() {
        let table = KeyUses::new(64);
        let key = table.of(ApiKeyId::new()).unwrap();
        let rate = Rate {
            per_second: 10,
            burst: 3,
        };
        assert_eq!(key.requests_left(rate).0, 3);
        for _ in 0..3 {
            key.take_request(rate).unwrap();
        }
        assert_eq!(key.take_request(rate), Err(Duration::from_millis(100)));
        assert_eq!(key.requests_left(rate), (0, Duration::from_millis(300)));
        advance(Duration::from_millis(250)).await;
        key.take_request(rate).unwrap();
        key.take_request(rate).unwrap();
        assert_eq!(key.take_request(rate), Err(Duration::from_millis(50)));
        advance(Duration::from_secs(3600)).await;
        assert_eq!(key.requests_left(rate).0, 3, "rest saves up no more than a burst");
    }

    #[test]
    fn a_full_table_forgets_keys_at_rest_only() {
        let table = KeyUses::new(SHARDS);
        let first = ApiKeyId::new();
        let connection = table.of(first).unwrap().connect(Some(1)).unwrap();
        let metered = ApiKeyId::new();
        let quota = table.of(metered).map(|key| Arc::clone(key.quota()));
        for _ in 0..1000 {
            let _ = table.of(ApiKeyId::new());
        }
        assert!(table.of(first).unwrap().connect(Some(1)).is_none());
        drop(connection);
        assert!(table.of(first).unwrap().connect(Some(1)).is_some());
        assert!(
            quota.is_none() || table.get(metered).is_some(),
            "its bytes are not booked yet"
        );
        assert!(table.shards.iter().all(|shard| shard.lock().len() <= 1));
    }
}
