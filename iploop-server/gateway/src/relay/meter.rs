//! The platform's meter in the shape that the protocol's relay asks for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use iploop_platform::exits::StreamGauge;
use iploop_platform::metering::{Counted, NoCredit, StreamMeter};
use iploop_protocol::io::{self, Depleted, Direction, Meter};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts into a [`StreamMeter`]. Where the lease is used up it remembers what is still to be counted and counts it once the
/// lease is refilled, before anything is passed on.
pub(crate) struct RelayMeter {
    meter: StreamMeter,
    gauge: Option<Arc<StreamGauge>>,
    held_up: AtomicUsize,
    held_down: AtomicUsize,
    wait: Mutex<Wait>,
}

#[derive(Default)]
struct Wait {
    refill: Option<BoxFuture<'static, Result<(), NoCredit>>>,
    failed: Option<NoCredit>,
}

impl RelayMeter {
    /// Counts into `meter`, and tells `gauge` when bytes pass.
    pub(crate) fn new(meter: StreamMeter, gauge: Option<Arc<StreamGauge>>) -> Self {
        Self {
            meter,
            gauge,
            held_up: AtomicUsize::new(0),
            held_down: AtomicUsize::new(0),
            wait: Mutex::default(),
        }
    }

    /// Why the relay ended for lack of credit.
    pub(crate) fn reason(&self) -> NoCredit {
        self.wait.lock().failed.unwrap_or(NoCredit::BalanceDepleted)
    }

    /// Bytes that were counted before go to the destination.
    pub(crate) fn note_up(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.up(Instant::now());
        }
    }

    /// Counts customer to destination; [`poll_refilled`](Self::poll_refilled) first if it does not go.
    pub(crate) fn up(&self, bytes: usize) -> Counted {
        self.note_up();
        let counted = self.meter.count_up(bytes);
        if counted == Counted::Hold {
            self.held_up.store(bytes, Relaxed);
        }
        counted
    }

    /// Counts destination to customer; [`poll_refilled`](Self::poll_refilled) first if it does not go.
    pub(crate) fn down(&self, bytes: usize) -> Counted {
        if let Some(gauge) = &self.gauge {
            gauge.down(bytes as u64, Instant::now());
        }
        let counted = self.meter.count_down(bytes);
        if counted == Counted::Hold {
            self.held_down.store(bytes, Relaxed);
        }
        counted
    }

    /// Ready when everything that was held is counted.
    pub(crate) fn poll_refilled(&self, cx: &mut Context<'_>) -> Poll<Result<(), NoCredit>> {
        loop {
            if self.count_held() {
                return Poll::Ready(Ok(()));
            }
            let mut wait = self.wait.lock();
            let refill = wait.refill.get_or_insert_with(|| {
                let meter = self.meter.clone();
                Box::pin(async move { meter.refilled().await })
            });
            let refilled = ready!(Pin::new(refill).poll(cx));
            wait.refill = None;
            if let Err(reason) = refilled {
                wait.failed = Some(reason);
                return Poll::Ready(Err(reason));
            }
        }
    }

    fn count_held(&self) -> bool {
        let (up, down) = (self.held_up.load(Relaxed), self.held_down.load(Relaxed));
        if up > 0 && self.meter.count_up(up) == Counted::Go {
            self.held_up.store(0, Relaxed);
        }
        if down > 0 && self.meter.count_down(down) == Counted::Go {
            self.held_down.store(0, Relaxed);
        }
        self.held_up.load(Relaxed) == 0 && self.held_down.load(Relaxed) == 0
    }
}

impl Meter for RelayMeter {
    fn count(&self, direction: Direction, bytes: u64) -> io::Counted {
        // A chunk is in memory, so its length fits.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let counted = match direction {
            Direction::IntoTunnel => self.up(bytes),
            Direction::OutOfTunnel => self.down(bytes),
        };
        match counted {
            Counted::Go => io::Counted::Go,
            Counted::Hold => io::Counted::Wait,
        }
    }

    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<Result<(), Depleted>> {
        self.poll_refilled(cx).map_err(|_| Depleted)
    }
}
