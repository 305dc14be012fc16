//! The live network as the pages show it: counted at most once a second, however many look.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::network::{CountryPresence, Network, NetworkStats};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How old a count may be.
const FRESH: Duration = Duration::from_secs(1);

/// Reads the directory and remembers what it read.
pub(crate) struct NetworkView {
    network: Arc<dyn Network>,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    registered: Mutex<Option<(Instant, u64)>>,
    counting: Semaphore,
}

/// One reading of the directory.
pub(crate) struct Snapshot {
    pub(crate) stats: NetworkStats,
    pub(crate) locations: Vec<CountryPresence>,
}

impl NetworkView {
    pub(crate) fn new(network: Arc<dyn Network>) -> Self {
        Self {
            network,
            last: Mutex::new(None),
            registered: Mutex::new(None),
            counting: Semaphore::new(1),
        }
    }

    /// Devices that ever registered, as `count` finds them: it looks through all of them. Of many who ask together one counts.
    pub(crate) async fn registered<E>(&self, count: impl Future<Output = Result<u64, E>>) -> Result<u64, E> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        // Never closed: an error does not happen, and would only mean to count more often.
        let _turn = self.counting.acquire().await.ok();
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let counted = count.await?;
        *self.registered.lock() = Some((Instant::now(), counted));
        Ok(counted)
    }

    fn known(&self) -> Option<u64> {
        let (at, known) = (*self.registered.lock())?;
        (at.elapsed() < FRESH).then_some(known)
    }

    /// Counts under the lock, so that many who ask together count once.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock();
        match &*last {
            Some((at, snapshot)) if at.elapsed() < FRESH => Arc::clone(snapshot),
            _ => {
                let snapshot = Arc::new(Snapshot {
                    stats: self.network.stats(),
                    locations: self.network.locations(),
                });
                *last = Some((Instant::now(), Arc::clone(&snapshot)));
                snapshot
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use iploop_platform::network::{NodePage, NodeWish, Pool};
    use iploop_protocol::targeting::Targeting;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Network for Counted {
        fn stats(&self) -> NetworkStats {
            NetworkStats {
                connected_nodes: self.0.fetch_add(1, Ordering::Relaxed) + 1,
                ..Default::default()
            }
        }

        fn locations(&self) -> Vec<CountryPresence> {
            Vec::new()
        }

        fn pool(&self, _: &Targeting) -> Pool {
            Pool::default()
        }

        fn nodes(&self, _: &NodeWish, _: u32, _: usize) -> NodePage {
            NodePage::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_directory_is_read_once_a_second() {
        let view = NetworkView::new(Arc::new(Counted::default()));
        let count = || view.snapshot().stats.connected_nodes;
        assert_eq!([count(), count()], [1, 1]);
        tokio::time::advance(FRESH).await;
        assert_eq!([count(), count()], [2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn registered_devices_are_counted_once_a_second_and_again_after_an_error() {
        let view = NetworkView::new(Arc::new(Counted::default()));
        assert_eq!(view.registered(async { Err("gone") }).await, Err("gone"));
        for (counted, told) in [(7, 7), (8, 7)] {
            assert_eq!(
                view.registered(async move { Ok::<_, &str>(counted) }).await,
                Ok(told)
            );
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(view.registered(async { Ok::<_, &str>(9) }).await, Ok(9));
    }
}
