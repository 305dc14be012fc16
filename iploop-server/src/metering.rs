//! Counting: who may use how much, what was used, and that it is booked.

use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use iploop_platform::admission::Admission;
use iploop_platform::clock::Clock;
use iploop_platform::ids::GatewayId;
use iploop_platform::metering::Meters;
use iploop_platform::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, JOURNAL};

/// Meters and admission, running.
pub(crate) struct Counting {
    pub(crate) meters: Meters,
    pub(crate) admission: Arc<Admission>,
    /// Books what the meters count; to be ended after everything that counts.
    pub(crate) books: Stage,
}

impl Counting {
    /// Opens the journal of this gateway, books what an earlier run left in it, and goes on.
    ///
    /// # Errors
    /// The journal can't be used: another server may have it.
    pub(crate) async fn start(
        config: &Config,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        gateway: GatewayId,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self> {
        let (meters, task) = Meters::start(
            Arc::clone(store) as _,
            Arc::clone(clock),
            gateway,
            &config.data.join(JOURNAL),
            config.metering.clone(),
        )
        .await?;
        let books = Stage::spawn(|stop| async move {
            let closed = task.run(stop).await;
            if closed.unbooked > 0 {
                tracing::warn!(
                    requests = closed.unbooked,
                    "usage could not be booked; the next start will do it"
                );
            }
        });
        let admission = Arc::new(Admission::new(
            Arc::clone(store) as _,
            Some(Arc::clone(store) as _),
            Arc::clone(clock),
            meters.clone(),
            config.admission.clone(),
        ));
        tasks.spawn({
            let (admission, stop) = (Arc::clone(&admission), stop.clone());
            async move { admission.run(stop).await }
        });
        Ok(Self {
            meters,
            admission,
            books,
        })
    }
}

/// A task that ends when it is told to, in its turn.
pub(crate) struct Stage {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Stage {
    fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}
