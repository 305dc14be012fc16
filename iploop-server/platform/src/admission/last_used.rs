//! When keys were last used: noted in memory, written in batches.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::AdmissionStore;
use crate::clock::Timestamp;
use crate::ids::ApiKeyId;
use crate::store::StoreError;

/// Notes that wait at most; more are dropped, as the same key's next use is noted a minute later.
const MAX_NOTES: usize = 10_000;
/// Notes in one call of the store.
const BATCH: usize = 1000;

#[derive(Default)]
pub(super) struct LastUsed {
    notes: Mutex<HashMap<ApiKeyId, Timestamp>>,
}

impl LastUsed {
    pub(super) fn note(&self, key: ApiKeyId, now: Timestamp) {
        let mut notes = self.notes.lock();
        if notes.len() < MAX_NOTES || notes.contains_key(&key) {
            notes.insert(key, now);
        }
    }

    /// Writes what was noted; what the store does not take is dropped.
    pub(super) async fn write(&self, store: &dyn AdmissionStore) -> Result<(), StoreError> {
        let notes: Vec<(ApiKeyId, Timestamp)> = self.notes.lock().drain().collect();
        for batch in notes.chunks(BATCH) {
            store.touch_api_keys(batch).await?;
        }
        Ok(())
    }
}
