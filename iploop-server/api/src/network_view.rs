//! The live network as the pages show it: counted at most once a second, however many look.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::network::{CountryPresence, Network, NetworkStats};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How old a count may be.
const FRESH: Duration = Duration::from_secs(1);

/// Reads the directory and remembers what it read.
pub(crate) struct NetworkView {
    network: Arc<dyn Network>,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
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
        }
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
}
