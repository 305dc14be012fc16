//! Keys that reach their rate: noted in memory where requests are refused, told to their owners once an hour.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use crate::admission::AdmissionStore;
use crate::api_key::ApiKey;
use crate::clock::Timestamp;
use crate::events::{Event, EventKind};
use crate::ids::ApiKeyId;
use crate::keys::Rate;
use crate::store::StoreError;

/// Keys that are remembered; of more, some are told later.
const MAX_KEYS: usize = 10_000;
/// Keys in one call of the store.
const BATCH: usize = 200;

/// A key that reached its rate.
#[derive(Clone, Debug, PartialEq)]
pub struct RateAlert {
    /// The key.
    pub api_key: ApiKeyId,
    /// What its owner is told. Its time says which hour it counts for.
    pub event: Event,
}

/// Notes keys that reached their rate, and tells their owners.
pub struct RateAlerts {
    store: Arc<dyn AdmissionStore>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// The hour for which a key was noted.
    noted: HashMap<ApiKeyId, Timestamp>,
    waiting: Vec<RateAlert>,
}

impl RateAlerts {
    /// Tells by way of `store`.
    pub fn new(store: Arc<dyn AdmissionStore>) -> Self {
        Self {
            store,
            notes: Mutex::default(),
        }
    }

    /// Notes that a request was refused for the key's rate. Costs a look into a table once the key is noted for this hour.
    pub fn note(&self, key: &ApiKey, rate: Rate, now: Timestamp) {
        let hour = now.hour_start();
        let mut notes = self.notes.lock();
        if notes.noted.get(&key.id) == Some(&hour) {
            return;
        }
        if notes.noted.len() >= MAX_KEYS {
            notes.noted.retain(|_, noted| *noted == hour);
            if notes.noted.len() >= MAX_KEYS {
                return;
            }
        }
        notes.noted.insert(key.id, hour);
        let data = json!({
            "keyId": key.id,
            "name": key.name,
            "keyPrefix": key.key_prefix,
            "requestsPerSecond": rate.per_second,
            "burst": rate.burst,
        });
        notes.waiting.push(RateAlert {
            api_key: key.id,
            event: Event::new(key.account, EventKind::RateLimitReached, now, data),
        });
    }

    /// Tells the owners of what was noted. What the store does not take is noted again at the key's next refusal.
    pub async fn tell(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.notes.lock().waiting);
        for batch in waiting.chunks(BATCH) {
            if let Err(error) = self.store.tell_rate_limits(batch).await {
                let mut notes = self.notes.lock();
                for alert in batch {
                    notes.noted.remove(&alert.api_key);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
