//! Partner keys, remembered for a moment: ten thousand devices of one app come back at once.

use std::collections::HashMap;
use std::time::Duration;

use iploop_platform::api_key::ApiKeyHash;
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
    /// The active partner of a key.
    pub(super) async fn find(
        &self,
        partners: &dyn Partners,
        key: &str,
    ) -> Result<Option<PartnerId>, StoreError> {
        let hash = ApiKeyHash::of(key);
        let now = Instant::now();
        if let Some((partner, until)) = self.known.lock().get(&hash).copied()
            && now < until
        {
            return Ok(partner);
        }
        let partner = partners
            .partner_by_key(hash)
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
