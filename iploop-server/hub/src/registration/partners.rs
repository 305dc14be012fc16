//! Partner keys, remembered for a moment: ten thousand devices of one app come back at once.

use std::collections::HashMap;
use std::time::Duration;

use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PartnerId;
use iploop_platform::store::{Partners, StoreError};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an answer of the store is believed: a partner that is switched off gets no new devices after this.
const BELIEVED: Duration = Duration::from_secs(30);

/// Keys remembered at the same time. More at once are an attack with invented keys: then all are forgotten.
const MAX_KEYS: usize = 10_000;

/// Active partners by key; none where the key is unknown or its partner inactive.
#[derive(Default)]
pub(super) struct PartnerCache {
    known: Mutex<HashMap<ApiKeyHash, (Option<PartnerId>, Instant)>>,
}

impl PartnerCache {
    /// Believes nothing any more: the store is asked again.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    /// The active partner of a key.
    pub(super) async fn find(
        &self,
        partners: &dyn Partners,
        key: &str,
        at: Timestamp,
    ) -> Result<Option<PartnerId>, StoreError> {
        let hash = ApiKeyHash::of(key);
        let now = Instant::now();
        if let Some((partner, until)) = self.known.lock().get(&hash).copied()
            && now < until
        {
            return Ok(partner);
        }
        let partner = partners
            .partner_by_key(hash, at)
            .await?
            .filter(|partner| partner.is_active);
        let partner = partner.map(|partner| partner.id);
        let mut known = self.known.lock();
        if known.len() >= MAX_KEYS {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(hash, (partner, now + BELIEVED));
        Ok(partner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use iploop_platform::partner::{NewPartner, Partner};

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(0);

    /// One partner, whatever the key; counts the questions.
    struct One {
        is_active: AtomicBool,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Partners for One {
        async fn create_partner(&self, _: NewPartner) -> Result<Partner, StoreError> {
            Err(StoreError::Conflict { what: "partner" })
        }

        async fn partner_by_key(&self, _: ApiKeyHash, _: Timestamp) -> Result<Option<Partner>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(Some(Partner {
                id: PartnerId::new(),
                name: "one".into(),
                email: None,
                api_key_prefix: "iplp_00000000".into(),
                is_active: self.is_active.load(Ordering::Relaxed),
                revenue_share_bp: 7000,
                created_at: Timestamp::from_millis(0),
            }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partner_that_is_switched_off_is_noticed_within_the_time() {
        let one = One {
            is_active: AtomicBool::new(true),
            asked: AtomicUsize::new(0),
        };
        let cache = PartnerCache::default();
        assert!(cache.find(&one, "a", AT).await.unwrap().is_some());
        one.is_active.store(false, Ordering::Relaxed);
        assert!(
            cache.find(&one, "a", AT).await.unwrap().is_some(),
            "believed for a moment"
        );
        assert_eq!(one.asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(BELIEVED).await;
        assert!(cache.find(&one, "a", AT).await.unwrap().is_none());
        one.is_active.store(true, Ordering::Relaxed);
        cache.forget();
        assert!(cache.find(&one, "a", AT).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn invented_keys_do_not_fill_the_memory() {
        let one = One {
            is_active: AtomicBool::new(true),
            asked: AtomicUsize::new(0),
        };
        let cache = PartnerCache::default();
        for n in 0..=MAX_KEYS {
            cache.find(&one, &n.to_string(), AT).await.unwrap();
        }
        assert!(cache.known.lock().len() <= MAX_KEYS);
    }
}
