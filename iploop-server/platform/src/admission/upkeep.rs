//! What goes on behind the requests: reading anew how keys are used and limited, and writing down when they were.

use tokio::time::timeout;

use super::Inner;
use crate::ids::ApiKeyId;

/// Keys whose use is read in one call of the store.
const REFRESH_BATCH: usize = 1000;

impl Inner {
    /// Reads anew what limits the keys in use and what they have used. What fails is tried again the next time.
    pub(super) async fn refresh_keys(&self) {
        let keys = self.key_uses.to_refresh();
        for part in keys.chunks(REFRESH_BATCH) {
            let now = self.clock.now();
            let settled: Vec<i64> = part.iter().map(|key| key.quota().settled()).collect();
            let ids: Vec<ApiKeyId> = part.iter().map(|key| key.quota().key()).collect();
            let mut known = match timeout(self.config.lookup_timeout, self.store.key_usage(&ids, now)).await {
                Ok(Ok(known)) => known,
                Ok(Err(error)) => {
                    part.iter().for_each(|key| key.changed());
                    tracing::debug!(%error, "the use of keys was not read");
                    continue;
                }
                Err(_) => {
                    part.iter().for_each(|key| key.changed());
                    tracing::debug!("the use of keys was not read in time");
                    continue;
                }
            };
            known.sort_unstable_by_key(|usage| usage.key);
            for (key, settled) in part.iter().zip(settled) {
                let quota = key.quota();
                let Ok(at) = known.binary_search_by_key(&quota.key(), |usage| usage.key) else {
                    continue;
                };
                quota.limit(known[at].limits.bytes);
                if quota.is_limited() {
                    quota.know(&known[at], settled, now);
                }
            }
        }
    }

    pub(super) async fn tell_rate_alerts(&self) {
        match timeout(self.config.lookup_timeout, self.rate_alerts.tell()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "nobody was told of rates that were reached"),
            Err(_) => tracing::debug!("nobody was told in time of rates that were reached"),
        }
    }

    pub(super) async fn write_last_used(&self) {
        match timeout(
            self.config.lookup_timeout,
            self.last_used.write(self.store.as_ref()),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last use of keys was not written"),
            Err(_) => tracing::debug!("the last use of keys was not written in time"),
        }
    }
}
