//! Counts what is relayed, and stops it at the owner's caps to the byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::{Counted, Depleted, Direction, Meter};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sharing::{self, OwnerLimits};
use crate::uplink::{Gate, Uplink};
use crate::usage::{Bytes, Ledger, Used};

/// Counters of a node. Relays count here without a lock; the ledger is brought up to date now and then.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Bytes that may be relayed until the next look at the caps.
    left: AtomicU64,
    /// Bytes relayed since the last look.
    unbooked: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    open_streams: AtomicU32,
    served: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    ledger: Mutex<Ledger>,
    /// The ledger has more than what is stored.
    is_unstored: AtomicBool,
    /// Held while it is stored, so that no older one comes after a newer.
    storing: Mutex<()>,
    /// The first stream opened.
    busy: Notify,
    /// A cap is reached.
    capped: Notify,
    uplink: Gate,
    /// The gate is to be asked; else not even its lock is taken.
    is_paced: AtomicBool,
}

/// Counters since start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) open_streams: u32,
    pub(crate) served: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// A stream that is being dialled or relayed.
pub(crate) struct OpenStream<'a>(&'a Traffic);

impl Traffic {
    /// Nothing may pass until the first [`Traffic::book`].
    pub(crate) fn new(ledger: Ledger, limits: &OwnerLimits) -> Self {
        let traffic = Self {
            left: AtomicU64::new(0),
            unbooked: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            open_streams: AtomicU32::new(0),
            served: AtomicU64::new(0),
            refused: Mutex::default(),
            ledger: Mutex::new(ledger),
            is_unstored: AtomicBool::new(false),
            storing: Mutex::new(()),
            busy: Notify::new(),
            capped: Notify::new(),
            uplink: Gate::new(limits.uplink()),
            is_paced: AtomicBool::new(false),
        };
        traffic.update_uplink(|_| {});
        traffic
    }

    /// Books what was relayed since the last time, and returns what is used of the caps with it.
    pub(crate) fn book(&self, now: OffsetDateTime, on_cellular: bool, limits: &OwnerLimits) -> Used {
        let mut ledger = self.ledger.lock();
        let bytes = self.unbooked.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            let (other, cellular) = if on_cellular { (0, bytes) } else { (bytes, 0) };
            ledger.add(now, Bytes { other, cellular });
            self.is_unstored.store(true, Ordering::Release);
        }
        let used = ledger.used(now);
        let left = sharing::bytes_left(limits, on_cellular, &used);
        self.left.store(left, Ordering::Relaxed);
        used
    }

    /// Does something with what is known of the uplink.
    pub(crate) fn update_uplink(&self, change: impl FnOnce(&mut Uplink)) {
        let is_limited = self.uplink.update(Instant::now(), change);
        self.is_paced.store(is_limited, Ordering::Relaxed);
    }

    /// Lets relays pass that wait for the uplink, for ever.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn pace(&self) {
        self.uplink.keep_opening().await;
    }

    /// Whether something was booked that is not stored.
    pub(crate) fn is_unstored(&self) -> bool {
        self.is_unstored.load(Ordering::Acquire)
    }

    /// Stores what is booked. Blocks.
    pub(crate) fn store<E>(&self, store: impl FnOnce(&Ledger) -> Result<(), E>) -> Result<(), E> {
        let _storing = self.storing.lock();
        self.is_unstored.store(false, Ordering::Release);
        let ledger = self.ledger.lock().clone();
        store(&ledger).inspect_err(|_| self.is_unstored.store(true, Ordering::Release))
    }

    /// What is used of the caps, with what is not yet booked.
    pub(crate) fn used(&self, now: OffsetDateTime) -> Used {
        let mut used = self.ledger.lock().used(now);
        let unbooked = self.unbooked.load(Ordering::Relaxed);
        used.day.other = used.day.other.saturating_add(unbooked);
        used.month.other = used.month.other.saturating_add(unbooked);
        used
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            up: self.up.load(Ordering::Relaxed),
            down: self.down.load(Ordering::Relaxed),
            open_streams: self.open_streams.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            refused: self.refused.lock().clone(),
        }
    }

    pub(crate) fn open(&self) -> OpenStream<'_> {
        if self.open_streams.fetch_add(1, Ordering::Relaxed) == 0 {
            self.busy.notify_one();
        }
        OpenStream(self)
    }

    pub(crate) fn count_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, code: ResetCode) {
        *self.refused.lock().entry(code.name()).or_default() += 1;
    }

    /// Whether streams are open.
    pub(crate) fn is_busy(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) > 0
    }

    /// Ready when a stream opens after there was none.
    pub(crate) async fn grows_busy(&self) {
        self.busy.notified().await;
    }

    /// Ready when a relay ran into a cap.
    pub(crate) async fn meets_a_cap(&self) {
        self.capped.notified().await;
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter for &Traffic {
    fn count(&self, direction: Direction, bytes: u64) -> Counted {
        let spend = |left: u64| left.checked_sub(bytes);
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_err()
        {
            // The rest is too little to go on with, and is used up with this.
            let rest = self.left.swap(0, Ordering::Relaxed);
            self.unbooked.fetch_add(rest, Ordering::Relaxed);
            self.capped.notify_one();
            return Counted::Wait;
        }
        self.unbooked.fetch_add(bytes, Ordering::Relaxed);
        match direction {
            Direction::IntoTunnel => self.down.fetch_add(bytes, Ordering::Relaxed),
            Direction::OutOfTunnel => self.up.fetch_add(bytes, Ordering::Relaxed),
        };
        // Both directions leave by the uplink.
        if self.is_paced.load(Ordering::Relaxed) && !self.uplink.charge(Instant::now(), bytes) {
            return Counted::Wait;
        }
        Counted::Go
    }

    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<Result<(), Depleted>> {
        // A cap does not come back while a relay waits, and who waits for the uplink meanwhile would run into it next.
        if self.left.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Err(Depleted));
        }
        self.uplink.poll_open(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    #[test]
    fn nothing_passes_a_cap_and_the_chunk_that_does_not_fit_uses_it_up() {
        let limits = OwnerLimits {
            daily_bytes: 100,
            ..OwnerLimits::default()
        };
        let traffic = &Traffic::new(Ledger::default(), &limits);
        assert_eq!(
            traffic.count(Direction::OutOfTunnel, 1),
            Counted::Wait,
            "before the first look"
        );
        traffic.book(NOW, false, &limits);
        assert_eq!(traffic.count(Direction::OutOfTunnel, 60), Counted::Go);
        assert_eq!(traffic.used(NOW).day.total(), 60);
        assert_eq!(traffic.count(Direction::IntoTunnel, 41), Counted::Wait);
        assert_eq!(traffic.count(Direction::IntoTunnel, 1), Counted::Wait);
        assert_eq!(traffic.book(NOW, false, &limits).day.total(), 100);
        assert!(traffic.is_unstored());
        assert_eq!(traffic.store(|_| Err("disk full")), Err("disk full"));
        assert!(traffic.is_unstored(), "it is tried again");
        assert_eq!(traffic.store(|_| Ok::<(), &str>(())), Ok(()));
        traffic.book(NOW, false, &limits);
        assert!(!traffic.is_unstored(), "nothing new to store");
        traffic.book(NOW + time::Duration::days(1), false, &limits);
        assert_eq!(traffic.count(Direction::IntoTunnel, 100), Counted::Go);
        let totals = traffic.totals();
        assert_eq!((totals.up, totals.down), (60, 100));
    }
}
