//! Keys remembered by their hash: the database is asked on a miss, and one at a time for the same key.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::AdmissionStore;
use super::config::AdmissionConfig;
use super::error::{AdmissionError, unavailable};
use crate::api_key::{ApiKeyHash, KeyGrant};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// Lookups that may ask the database at the same time.
const TURNS: usize = 64;
/// After a failure the database is not asked for unknown keys for this long, so that refusals are quick.
const AWAY_MEMORY: Duration = Duration::from_millis(500);
/// After a failure the database is not asked for known keys for this long: they can go on without.
const AWAY_MEMORY_KNOWN: Duration = Duration::from_secs(5);
/// Longest that a login with a known key is held up by a database that does not answer.
const KNOWN_TIMEOUT: Duration = Duration::from_millis(500);
/// A key's use is noted at most this often.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// A key as the database had it.
pub(super) struct KnownKey {
    pub(super) grant: KeyGrant,
    read_at: Instant,
    /// When its use was last noted, in milliseconds since 1970.
    noted_at: AtomicI64,
}

impl KnownKey {
    /// Whether this use is to be noted: at most once a minute.
    pub(super) fn note_use(&self, now: Timestamp) -> bool {
        let noted = self.noted_at.load(Relaxed);
        now.since(Timestamp::from_millis(noted)) >= NOTE_INTERVAL
            && self
                .noted_at
                .compare_exchange(noted, now.as_millis(), Relaxed, Relaxed)
                .is_ok()
    }
}

/// What memory says about a key.
pub(super) enum Memory {
    /// Believe it.
    Known(Arc<KnownKey>),
    /// Nobody's, as of a moment ago.
    Unknown,
    /// Ask the database.
    Absent,
    /// Known, but too old to be believed without asking.
    Stale,
}

pub(super) struct KeyCache {
    store: Arc<dyn AdmissionStore>,
    known: Cache<ApiKeyHash, Arc<KnownKey>>,
    unknown: Cache<ApiKeyHash, Instant>,
    /// Who may ask: by the key, so that one key is asked for once.
    turns: [AsyncMutex<()>; TURNS],
    spread: RandomState,
    /// Goes up with each invalidation: what was read before it is not remembered after it.
    epoch: AtomicU64,
    away_at: Mutex<Option<Instant>>,
    config: AdmissionConfig,
}

impl KeyCache {
    pub(super) fn new(store: Arc<dyn AdmissionStore>, config: AdmissionConfig) -> Self {
        Self {
            store,
            known: Cache::builder()
                .max_capacity(config.max_keys)
                .time_to_live(config.max_stale)
                .build(),
            unknown: Cache::builder()
                .max_capacity(config.max_unknown_keys)
                .time_to_live(config.unknown_ttl)
                .build(),
            turns: std::array::from_fn(|_| AsyncMutex::default()),
            spread: RandomState::new(),
            epoch: AtomicU64::new(0),
            away_at: Mutex::default(),
            config,
        }
    }

    /// What is remembered of a key, without asking the database.
    pub(super) fn recall(&self, hash: ApiKeyHash) -> Memory {
        if let Some(known) = self.known.get(&hash) {
            return match known.read_at.elapsed() < self.config.key_ttl {
                true => Memory::Known(known),
                false => Memory::Stale,
            };
        }
        match self.unknown.get(&hash) {
            Some(asked_at) if asked_at.elapsed() < self.config.unknown_ttl => Memory::Unknown,
            _ => Memory::Absent,
        }
    }

    /// Reads a key anew if it will soon be too old and nobody does so already: the others go on with what is remembered.
    pub(super) async fn refresh_if_old(
        &self,
        hash: ApiKeyHash,
        known: Arc<KnownKey>,
    ) -> Option<Arc<KnownKey>> {
        if known.read_at.elapsed() < self.config.key_ttl * 2 / 3 {
            return Some(known);
        }
        match self.turn(hash).try_lock() {
            Ok(turn) => self.read_known(hash, turn).await.unwrap_or(Some(known)),
            Err(_) => Some(known),
        }
    }

    /// A key that is remembered and too old. While the database is away, as it was, up to a bound.
    pub(super) async fn reread(&self, hash: ApiKeyHash) -> Result<Option<Arc<KnownKey>>, StoreError> {
        match timeout(KNOWN_TIMEOUT, self.turn(hash).lock()).await {
            Err(elapsed) => self.remembered(hash, StoreError::Unavailable(Box::new(elapsed))),
            Ok(turn) => match self.recall(hash) {
                Memory::Known(known) => Ok(Some(known)),
                Memory::Unknown => Ok(None),
                Memory::Absent | Memory::Stale => self.read_known(hash, turn).await,
            },
        }
    }

    /// A key that is not remembered, if `may_ask` lets us ask.
    ///
    /// `may_ask` is called only when the database is really asked, not by those who wait for the same key's answer.
    pub(super) async fn look_up(
        &self,
        hash: ApiKeyHash,
        may_ask: impl FnOnce() -> Result<(), AdmissionError>,
    ) -> Result<Option<Arc<KnownKey>>, AdmissionError> {
        let wait = timeout(self.config.lookup_timeout, self.turn(hash).lock());
        let turn = wait
            .await
            .map_err(|elapsed| unavailable(StoreError::Unavailable(Box::new(elapsed))))?;
        match self.recall(hash) {
            Memory::Known(known) => Ok(Some(known)),
            Memory::Unknown => Ok(None),
            Memory::Absent | Memory::Stale if self.was_away(AWAY_MEMORY) => Err(unavailable(moments_ago())),
            Memory::Absent | Memory::Stale => {
                may_ask()?;
                self.read(hash, turn, self.config.lookup_timeout)
                    .await
                    .map_err(unavailable)
            }
        }
    }

    /// Forgets the keys that `changed` picks, at once: the next login with one of them asks the database.
    pub(super) fn forget(&self, changed: impl Fn(&KeyGrant) -> bool) {
        self.epoch.fetch_add(1, SeqCst);
        for (hash, known) in &self.known {
            if changed(&known.grant) {
                self.known.invalidate(&*hash);
            }
        }
    }

    /// Another number after each [`KeyCache::forget`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    fn turn(&self, hash: ApiKeyHash) -> &AsyncMutex<()> {
        let bucket = self.spread.hash_one(hash) % (TURNS as u64);
        &self.turns[usize::try_from(bucket).unwrap_or(0)]
    }

    async fn read_known(
        &self,
        hash: ApiKeyHash,
        turn: MutexGuard<'_, ()>,
    ) -> Result<Option<Arc<KnownKey>>, StoreError> {
        if self.was_away(AWAY_MEMORY_KNOWN) {
            let remembered = self.remembered(hash, moments_ago());
            if remembered.is_ok() || self.was_away(AWAY_MEMORY) {
                return remembered;
            }
        }
        self.read(hash, turn, KNOWN_TIMEOUT.min(self.config.lookup_timeout))
            .await
    }

    async fn read(
        &self,
        hash: ApiKeyHash,
        _turn: MutexGuard<'_, ()>,
        longest: Duration,
    ) -> Result<Option<Arc<KnownKey>>, StoreError> {
        loop {
            let epoch = self.epoch.load(SeqCst);
            let answer = timeout(longest, self.store.key_grant(hash)).await;
            let grant = match answer {
                Ok(Ok(grant)) => grant,
                Ok(Err(error)) => return self.failed(hash, error),
                Err(elapsed) => return self.failed(hash, StoreError::Unavailable(Box::new(elapsed))),
            };
            let Some(grant) = grant else {
                self.known.invalidate(&hash);
                self.unknown.insert(hash, Instant::now());
                return Ok(None);
            };
            let known = Arc::new(self.known_key(hash, grant));
            self.known.insert(hash, Arc::clone(&known));
            if self.epoch.load(SeqCst) == epoch {
                return Ok(Some(known));
            }
            // Something changed while we read, perhaps this key: what we have may be from before.
            self.known.invalidate(&hash);
        }
    }

    fn known_key(&self, hash: ApiKeyHash, grant: KeyGrant) -> KnownKey {
        let before = self
            .known
            .get(&hash)
            .map_or(i64::MIN, |known| known.noted_at.load(Relaxed));
        let noted = grant
            .key
            .last_used_at
            .map_or(i64::MIN, Timestamp::as_millis)
            .max(before);
        KnownKey {
            grant,
            read_at: Instant::now(),
            noted_at: AtomicI64::new(noted),
        }
    }

    fn failed(&self, hash: ApiKeyHash, error: StoreError) -> Result<Option<Arc<KnownKey>>, StoreError> {
        *self.away_at.lock() = Some(Instant::now());
        self.remembered(hash, error)
    }

    /// Looked up again, not carried along: what was revoked meanwhile stays revoked.
    fn remembered(&self, hash: ApiKeyHash, error: StoreError) -> Result<Option<Arc<KnownKey>>, StoreError> {
        match self.known.get(&hash) {
            Some(known) if known.read_at.elapsed() < self.config.max_stale => Ok(Some(known)),
            _ => Err(error),
        }
    }

    fn was_away(&self, within: Duration) -> bool {
        self.away_at.lock().is_some_and(|at| at.elapsed() < within)
    }
}

fn moments_ago() -> StoreError {
    StoreError::Unavailable("it did not answer a moment ago".into())
}
