//! What admission asks of the data, in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::api_key::KeyUsage;
use crate::notices::RateAlert;
use crate::usage::DayUse;

/// Keys in memory, and how often they were asked for.
#[derive(Default)]
pub(super) struct MemoryKeys {
    pub(super) grants: Mutex<BTreeMap<String, KeyGrant>>,
    pub(super) touched: Mutex<Vec<(ApiKeyId, Timestamp)>>,
    pub(super) lookups: AtomicU32,
    pub(super) requests_today: AtomicU32,
    pub(super) forgiven_today: AtomicU64,
    /// What every key has used, by day, by month and in all.
    pub(super) used_bytes: AtomicI64,
    pub(super) usage_reads: AtomicU32,
    pub(super) claims: AtomicU32,
    /// Proven addresses: whose, and when they were last used.
    pub(super) addresses: Mutex<BTreeMap<IpAddr, (AccountId, Timestamp)>>,
    pub(super) away: AtomicBool,
    pub(super) hangs: AtomicBool,
    /// The next lookup reads at once and answers when told to.
    pub(super) slow: Mutex<Option<Arc<Notify>>>,
}

impl MemoryKeys {
    pub(super) fn answer<T>(&self, value: T) -> Result<T, StoreError> {
        match self.away.load(SeqCst) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(value),
        }
    }
}

#[async_trait]
impl AdmissionStore for MemoryKeys {
    async fn key_usage(&self, keys: &[ApiKeyId], _: Timestamp) -> Result<Vec<KeyUsage>, StoreError> {
        self.usage_reads.fetch_add(1, SeqCst);
        let (grants, used) = (self.grants.lock(), self.used_bytes.load(SeqCst));
        let known = grants
            .values()
            .filter(|grant| keys.contains(&grant.key.id))
            .map(|grant| KeyUsage {
                key: grant.key.id,
                limits: grant.key.limits.clone(),
                day_bytes: used,
                month_bytes: used,
                total_bytes: used,
            });
        self.answer(known.collect())
    }
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError> {
        self.lookups.fetch_add(1, SeqCst);
        let grant = self.grants.lock().get(&hash.to_hex()).cloned();
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let slow = self.slow.lock().take();
        match slow {
            Some(told) => told.notified().await,
            None => tokio::task::yield_now().await,
        }
        self.answer(grant)
    }
    async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        self.touched.lock().extend_from_slice(used);
        self.answer(())
    }
    async fn day_use(&self, _: AccountId, from: Timestamp, to: Timestamp) -> Result<DayUse, StoreError> {
        assert_eq!(to.since(from), Duration::from_secs(24 * 3600));
        self.answer(DayUse {
            requests: u64::from(self.requests_today.load(SeqCst)),
            forgiven_bytes: self.forgiven_today.load(SeqCst),
        })
    }
    async fn tell_rate_limits(&self, _: &[RateAlert]) -> Result<(), StoreError> {
        Ok(())
    }
}
