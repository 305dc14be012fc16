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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use iploop_platform::clock::Timestamp;
    use iploop_platform::ids::{ConsentId, NodeId};
    use iploop_platform::node::{NodeRegistration, Registered};
    use iploop_platform::store::StoreError;

    use super::*;

    /// Takes activity, unless it is down.
    #[derive(Default)]
    struct Taking {
        is_down: AtomicBool,
        batches: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Nodes for Taking {
        async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError> {
            Ok(Registered::Accepted(registration.id))
        }

        async fn withdraw_consent(&self, _: &str, _: ConsentId, _: Timestamp) -> Result<(), StoreError> {
            Ok(())
        }

        async fn note_activity(&self, activity: &[NodeActivity]) -> Result<(), StoreError> {
            if self.is_down.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("down".into()));
            }
            self.batches.lock().push(activity.len());
            Ok(())
        }

        async fn node_count(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    fn entries(many: usize) -> impl Iterator<Item = NodeActivity> {
        let entry = NodeActivity {
            node: NodeId::new(),
            requests: 1,
            successful_requests: 1,
            bytes: 1,
            quality: 50,
            last_heartbeat: Timestamp::from_millis(0),
            connected: true,
        };
        std::iter::repeat_n(entry, many)
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_waits_for_it() {
        let store = Arc::new(Taking::default());
        let activity = Activity::new(store.clone());
        store.is_down.store(true, Ordering::Relaxed);
        activity.push(entries(BATCH + 1));
        activity.flush().await;
        assert_eq!(activity.waiting.lock().len(), BATCH + 1);
        store.is_down.store(false, Ordering::Relaxed);
        activity.flush().await;
        assert_eq!(*store.batches.lock(), [BATCH, 1]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let activity = Activity::new(Arc::new(Taking::default()));
        activity.push(entries(MAX_WAITING));
        activity.push(entries(10));
        assert_eq!(activity.waiting.lock().len(), MAX_WAITING);
    }
}
