use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::blocking;
use super::meters::Inner;
use super::pool::Pool;
use super::replay::bounded;
use super::stream::Outcome;
use super::telemetry;

/// Leases taken or returned at the same time.
const MAX_REFILLS: usize = 64;
/// Longest pause between tries while the database is away.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often accounts at rest are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// An account without a lease is remembered this long, so that it is served if the database goes away.
const REMEMBER: Duration = Duration::from_secs(3600);

/// The periodic work of the meters: journal, settlement, leases. One per process; dropping it stops the work as a crash
/// would, and the journal keeps what was not booked.
pub struct MeterTask {
    inner: Arc<Inner>,
    asked: mpsc::Receiver<Arc<Pool>>,
}

/// How the meters closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Requests whose usage could not be booked in time: the journal has them, and the next start books them.
    pub unbooked: usize,
}

impl MeterTask {
    pub(super) fn new(inner: Arc<Inner>, asked: mpsc::Receiver<Arc<Pool>>) -> Self {
        Self { inner, asked }
    }

    /// Works until `shutdown`, then [closes](Self::close). Ask for it when the streams have been drained.
    pub async fn run(mut self, shutdown: CancellationToken) -> Closed {
        let inner = Arc::clone(&self.inner);
        let work = async {
            tokio::join!(
                journal_loop(&inner),
                sync_loop(&inner),
                settle_loop(&inner),
                refill_loop(&inner, &mut self.asked),
                rest_loop(&inner),
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = work => {}
        }
        self.close().await
    }

    /// Stops counting, books everything and returns the leases; within [`close_timeout`](super::MeteringConfig::close_timeout).
    ///
    /// Requests that still run are ended as `draining`; their bytes are paid.
    pub async fn close(mut self) -> Closed {
        let inner = self.inner;
        self.asked.close();
        inner.refusing.store(true, Relaxed);
        for pool in inner.pools.collect(|_| true) {
            pool.close();
        }
        for state in inner.streams.collect(|state| !state.is_ended()) {
            state.finish(Outcome::Failed("draining"));
        }
        let settled = timeout(inner.shared.config.close_timeout, settle_all(&inner)).await;
        let unbooked = inner.streams.collect(|state| state.needs_booking()).len();
        if settled.is_err() || unbooked > 0 {
            tracing::warn!(
                requests = unbooked,
                "usage not booked: it stays in the journal until the next start"
            );
        } else {
            let returned = inner.ledger.return_leases(inner.gateway, None);
            if let Err(error) = bounded(&inner.shared.config, returned).await {
                tracing::warn!(%error, "leases not returned: the next start returns them");
            }
        }
        on_journal(&inner, |inner| {
            // Forgets what is booked and brings the rest to the disk.
            inner.checkpoint();
            log_failure(inner.journal.lock().release());
        })
        .await;
        Closed { unbooked }
    }
}

impl std::fmt::Debug for MeterTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterTask").finish_non_exhaustive()
    }
}

async fn settle_all(inner: &Arc<Inner>) {
    on_journal(inner, Inner::journal_changes).await;
    while !inner.streams.collect(|state| state.needs_booking()).is_empty() {
        if let Err(error) = inner.settle_round(true).await {
            tracing::debug!(%error, "usage not booked while closing, trying again");
        }
        on_journal(inner, Inner::journal_changes).await;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn journal_loop(inner: &Arc<Inner>) -> Infallible {
    let mut ticks = interval(inner.shared.config.journal_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        on_journal(inner, |inner| {
            inner.journal_changes();
            inner.checkpoint_if_due();
        })
        .await;
    }
}

async fn sync_loop(inner: &Arc<Inner>) -> Infallible {
    loop {
        sleep(inner.shared.config.sync_interval).await;
        on_journal(inner, |inner| log_failure(inner.sync_journal())).await;
    }
}

async fn settle_loop(inner: &Arc<Inner>) -> Infallible {
    let config = &inner.shared.config;
    let mut pause = config.settle_interval;
    let mut running_at = Instant::now();
    loop {
        sleep(pause).await;
        let running = running_at.elapsed() >= config.running_interval;
        match inner.settle_round(running).await {
            Ok(()) => {
                pause = config.settle_interval;
                if running {
                    running_at = Instant::now();
                }
            }
            Err(error) => {
                telemetry::settle_failed();
                // With jitter, so that many gateways do not return to a database at the same moment.
                pause = (pause * 2).min(MAX_PAUSE).mul_f64(rand::random_range(0.5..=1.0));
                pause = pause.max(config.settle_interval.min(MAX_PAUSE));
                tracing::warn!(%error, requests = inner.streams.len(), "usage can't be booked now; the journal keeps it");
            }
        }
    }
}

async fn refill_loop(inner: &Arc<Inner>, asked: &mut mpsc::Receiver<Arc<Pool>>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            pool = asked.recv(), if running.len() < MAX_REFILLS => {
                let Some(pool) = pool else { return };
                let inner = Arc::clone(inner);
                running.spawn(async move { pool.refill(inner.ledger.as_ref(), inner.gateway).await });
            }
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a refill ended unexpectedly");
                }
            }
        }
    }
}

async fn rest_loop(inner: &Arc<Inner>) -> Infallible {
    let idle = inner.shared.config.idle_return;
    loop {
        sleep(SWEEP.min(idle)).await;
        let mut returns = JoinSet::new();
        for pool in inner.pools.collect(|pool| pool.begin_return(idle)) {
            let inner = Arc::clone(inner);
            returns.spawn(async move { pool.return_lease(inner.ledger.as_ref(), inner.gateway).await });
            if returns.len() >= MAX_REFILLS {
                returns.join_next().await;
            }
        }
        while returns.join_next().await.is_some() {}
        for pool in inner.pools.collect(|_| true) {
            pool.ask_if_in_doubt();
        }
        let remember = if inner.pools.is_crowded() { idle } else { REMEMBER };
        inner.pools.forget(|pool| pool.is_at_rest(remember));
    }
}

async fn on_journal(inner: &Arc<Inner>, work: impl FnOnce(&Inner) + Send + 'static) {
    let inner = Arc::clone(inner);
    blocking(move || work(&inner)).await;
}

fn log_failure(result: std::io::Result<()>) {
    if let Err(error) = result {
        telemetry::journal_failed();
        tracing::error!(%error, "the journal can't be brought to the disk or left");
    }
}
