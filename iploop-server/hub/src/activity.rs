//! What nodes did, on its way to the store in batches.

use std::collections::VecDeque;
use std::sync::Arc;

use iploop_platform::node::NodeActivity;
use iploop_platform::store::Nodes;
use parking_lot::Mutex;

/// Entries written by one visit of the store.
const BATCH: usize = 500;

/// Entries that wait while the store is not available. Beyond, the oldest are lost, which the log tells.
const MAX_WAITING: usize = 100_000;

/// Entries that wait for the store.
pub(crate) struct Activity {
    store: Arc<dyn Nodes>,
    waiting: Mutex<VecDeque<NodeActivity>>,
}

impl Activity {
    pub(crate) fn new(store: Arc<dyn Nodes>) -> Self {
        Self {
            store,
            waiting: Mutex::default(),
        }
    }

    /// Adds entries to those that wait.
    pub(crate) fn push(&self, entries: impl IntoIterator<Item = NodeActivity>) {
        let mut waiting = self.waiting.lock();
        waiting.extend(entries);
        let lost = waiting.len().saturating_sub(MAX_WAITING);
        if lost > 0 {
            waiting.drain(..lost);
            metrics::counter!("iploop_hub_activity_lost_total").increment(u64::try_from(lost).unwrap_or(0));
        }
    }

    /// Writes what waits, as far as the store takes it; what it does not take waits on.
    ///
    /// # Cancel safety
    /// A batch under way may be lost when the future is dropped.
    pub(crate) async fn flush(&self) {
        loop {
            let batch: Vec<NodeActivity> = {
                let mut waiting = self.waiting.lock();
                let many = waiting.len().min(BATCH);
                waiting.drain(..many).collect()
            };
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.store.note_activity(&batch).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "node activity waits for the store"
                );
                self.push(batch);
                return;
            }
        }
    }
}
