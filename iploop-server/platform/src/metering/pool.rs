//! One account's leased bytes in this process: drawn on by all its streams, refilled before they run out.
//!
//! Everything is a running total since the pool was made, so that no update can be lost between two threads:
//!
//! ```text
//! settled  ≤  counted  <  limit + one chunk            limit - settled  ≤  our lease in the database (+ trusted)
//! ```
//!
//! `counted` is what the streams used, `limit` what they may use, `settled` what the ledger confirmed. Where a crash, a
//! timeout or a failed request leaves doubt, the pool assumes the smaller lease; the difference comes back when the lease
//! is returned, after a minute of rest or when the balance seems used up.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::config::MeteringConfig;
use super::meters::Activity;
use super::stream::NoCredit;
use super::telemetry;
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, GatewayId};
use crate::live::Live;
use crate::store::{Ledger, StoreError};
use crate::usage::{Balance, UsageRecord};

/// Pause before a stream in need asks again while the database is away.
const RETRY_AWAY: Duration = Duration::from_millis(250);
/// How long a failed refill is believed by new requests.
const AWAY_MEMORY: Duration = Duration::from_secs(1);

/// What the pools of one process share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: MeteringConfig,
    /// Pools that want a refill; the meter's task takes them out.
    pub(super) asks: mpsc::Sender<Arc<Pool>>,
    /// Told of requests that end.
    pub(super) live: Arc<Live>,
}

/// One account's leased bytes.
pub(crate) struct Pool {
    account: AccountId,
    shared: Arc<Shared>,
    counted: AtomicI64,
    limit: AtomicI64,
    settled: AtomicI64,
    /// The count from which a refill is asked for.
    ask_at: AtomicI64,
    /// Requests that have not ended.
    live: AtomicU32,
    /// The count when [`Pool::activity`] was asked for last.
    shown: AtomicI64,
    /// A refill or return is queued or running: at most one at a time.
    busy: AtomicBool,
    control: Mutex<Control>,
    /// Told when a refill ended, well or not.
    refills: watch::Sender<()>,
}

struct Control {
    /// The ledger may hold a lease of ours.
    holds_lease: bool,
    /// The ledger had nothing to lease and the pool was empty.
    depleted_at: Option<Instant>,
    /// The balance was changed: it may no longer cover the lease.
    is_in_doubt: bool,
    /// The ledger could not be asked.
    away_at: Option<Instant>,
    /// Free bytes of the account when last heard of: what trust may be given on.
    known_free: i64,
    /// Bytes allowed without a lease, to be repaid from the next one.
    trusted: i64,
    last_want: i64,
    refilled_at: Instant,
    counted_then: i64,
    /// For the sweep: the count it saw last, and since when that stands.
    seen: i64,
    seen_at: Instant,
    closed: bool,
}

impl Pool {
    pub(super) fn new(account: AccountId, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            account,
            shared,
            counted: AtomicI64::new(0),
            limit: AtomicI64::new(0),
            settled: AtomicI64::new(0),
            ask_at: AtomicI64::new(0),
            live: AtomicU32::new(0),
            shown: AtomicI64::new(0),
            busy: AtomicBool::new(false),
            control: Mutex::new(Control {
                holds_lease: false,
                depleted_at: None,
                is_in_doubt: false,
                away_at: None,
                known_free: 0,
                trusted: 0,
                last_want: 0,
                refilled_at: now,
                counted_then: 0,
                seen: 0,
                seen_at: now,
                closed: false,
            }),
            refills: watch::Sender::new(()),
        }
    }

    pub(super) fn account(&self) -> AccountId {
        self.account
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Counts `bytes` if the pool is not empty; the last chunk may reach past its end.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let limit = self.limit.load(Acquire);
        let mut counted = self.counted.load(Relaxed);
        loop {
            if counted >= limit {
                return bytes == 0;
            }
            let after = counted.saturating_add(bytes);
            match self
                .counted
                .compare_exchange_weak(counted, after, AcqRel, Relaxed)
            {
                Ok(_) => {
                    if after >= self.ask_at.load(Relaxed) {
                        self.ask();
                    }
                    return true;
                }
                Err(current) => counted = current,
            }
        }
    }

    /// Undoes a count whose bytes will not be booked.
    pub(super) fn give_back(&self, bytes: u64) {
        self.counted.fetch_sub(signed(bytes), AcqRel);
    }

    /// The ledger confirmed that many more of the counted bytes.
    pub(super) fn settle(&self, bytes: u64) {
        self.settled.fetch_add(signed(bytes), AcqRel);
    }

    /// Counted and not yet confirmed.
    pub(super) fn unsettled(&self) -> i64 {
        let settled = self.settled.load(Acquire);
        self.counted.load(Acquire).saturating_sub(settled).max(0)
    }

    /// What runs, and what was counted since this was asked last.
    pub(super) fn activity(&self) -> Activity {
        let counted = self.counted.load(Relaxed);
        let before = self.shown.swap(counted, Relaxed);
        Activity {
            active: u64::from(self.live.load(Relaxed)),
            // Less than before where a request turned out to cost nothing.
            new_bytes: u64::try_from(counted.saturating_sub(before)).unwrap_or(0),
        }
    }

    /// Tells those who watch the account that a request ended.
    pub(super) fn tell_end(&self, record: impl FnOnce() -> UsageRecord) {
        self.shared.live.request_ended(self.account, record);
    }

    pub(super) fn stream_began(&self) {
        self.live.fetch_add(1, AcqRel);
    }

    pub(super) fn stream_ended(&self) {
        self.live.fetch_sub(1, AcqRel);
    }

    pub(crate) fn has_credit(&self) -> bool {
        self.counted.load(Acquire) < self.limit.load(Acquire)
    }

    /// Waits until there is credit, as a running stream does: through a short absence of the database too.
    pub(super) async fn refilled(self: &Arc<Self>) -> Result<(), NoCredit> {
        self.wait_for_credit(true).await
    }

    /// Waits until there is credit, as a new request does: a database that was just seen away is not waited for.
    pub(crate) async fn credit(self: &Arc<Self>) -> Result<(), NoCredit> {
        if self.has_credit() {
            return Ok(());
        }
        self.wait_for_credit(false).await
    }

    async fn wait_for_credit(self: &Arc<Self>, patient: bool) -> Result<(), NoCredit> {
        let mut refills = self.refills.subscribe();
        let wait = async {
            loop {
                refills.borrow_and_update();
                if self.has_credit() {
                    return Ok(());
                }
                match self.refusal() {
                    Some(NoCredit::Unavailable) if patient && !self.is_closed() => {
                        tokio::time::sleep(RETRY_AWAY).await;
                    }
                    Some(reason) => return Err(reason),
                    None => {}
                }
                self.ask_patiently().await?;
                // The sender lives in `self`, so this ends only by a refill.
                let _ = refills.changed().await;
            }
        };
        timeout(self.shared.config.refill_wait, wait)
            .await
            .unwrap_or(Err(NoCredit::Unavailable))
    }

    /// What the last refill learnt, if that still stands.
    fn refusal(&self) -> Option<NoCredit> {
        let control = self.control.lock();
        let now = Instant::now();
        let recent = |at: Option<Instant>, span| at.is_some_and(|at| now.duration_since(at) < span);
        if control.closed || recent(control.away_at, AWAY_MEMORY) {
            Some(NoCredit::Unavailable)
        } else if recent(control.depleted_at, self.shared.config.depleted_recheck) {
            Some(NoCredit::BalanceDepleted)
        } else {
            None
        }
    }

    fn is_closed(&self) -> bool {
        self.control.lock().closed
    }

    /// Asks for a refill, unless one is on its way. When the queue is full the next count asks again.
    fn ask(self: &Arc<Self>) {
        if self.busy.load(Relaxed) || self.busy.swap(true, AcqRel) {
            return;
        }
        if self.shared.asks.try_send(Arc::clone(self)).is_err() {
            self.busy.store(false, Relaxed);
            telemetry::refill_queue_full();
        }
    }

    /// As [`ask`](Self::ask), waiting for room in the queue.
    async fn ask_patiently(self: &Arc<Self>) -> Result<(), NoCredit> {
        let permit = self
            .shared
            .asks
            .reserve()
            .await
            .map_err(|_| NoCredit::Unavailable)?;
        if !self.busy.swap(true, AcqRel) {
            permit.send(Arc::clone(self));
        }
        Ok(())
    }

    /// The balance was changed by hand or by payment: what was believed about it no longer stands.
    pub(super) fn purse_changed(self: &Arc<Self>) {
        let mut control = self.control.lock();
        control.depleted_at = None;
        control.is_in_doubt = control.holds_lease;
        if control.is_in_doubt {
            drop(control);
            self.ask();
        }
    }

    /// Asks once more about a doubt that a refill under way has missed.
    pub(super) fn ask_if_in_doubt(self: &Arc<Self>) {
        let is_in_doubt = self.control.lock().is_in_doubt;
        if is_in_doubt {
            self.ask();
        }
    }

    /// Takes more of the balance under lease, or gives up what the balance no longer covers. The caller holds the pool's one
    /// permission to do so (`busy`).
    pub(super) async fn refill(&self, ledger: &dyn Ledger, gateway: GatewayId) {
        let _done = Done(self);
        let is_in_doubt = std::mem::take(&mut self.control.lock().is_in_doubt);
        if is_in_doubt {
            if let Err(error) = self.fit_to_balance(ledger, gateway).await {
                self.control.lock().is_in_doubt = true;
                // Streams go on meanwhile, as whenever the ledger is away.
                if self.counted.load(Acquire) >= self.ask_at.load(Relaxed) {
                    self.away(error);
                }
            }
            return;
        }
        let grant = self.take_lease(ledger, gateway).await;
        match grant {
            Ok(grant) => {
                self.granted(grant, None);
                if grant.bytes == 0 && !self.has_credit() {
                    self.take_stock(ledger, gateway).await;
                }
            }
            Err(error) => self.away(error),
        }
    }

    /// Returns the lease of an account at rest. The caller holds `busy`.
    pub(super) async fn return_lease(&self, ledger: &dyn Ledger, gateway: GatewayId) {
        let _done = Done(self);
        let returned = self.return_to(ledger, gateway).await;
        let mut control = self.control.lock();
        match returned {
            Ok(()) => {
                control.holds_lease = false;
                control.trusted = 0;
            }
            Err(error) => {
                tracing::debug!(account.id = %self.account, %error, "lease not returned, trying later")
            }
        }
    }

    async fn take_lease(&self, ledger: &dyn Ledger, gateway: GatewayId) -> Result<Grant, RefillError> {
        timeout(self.shared.config.lease_timeout, async {
            let balance = ledger.balance(self.account).await?;
            let want = self.want(balance);
            self.control.lock().holds_lease = true;
            let lease = ledger.take_lease(self.account, gateway, want, self.now()).await?;
            let bytes = signed(lease.granted_bytes);
            let free = balance
                .bytes
                .saturating_sub(balance.leased_bytes)
                .saturating_sub(bytes)
                .max(0);
            Ok(Grant {
                bytes,
                want: signed(want),
                free,
            })
        })
        .await
        .map_err(|_| RefillError::Timeout)?
        .map_err(RefillError::Store)
    }

    /// How much to lease: a sixteenth of the balance within the bounds, at least what a second uses, and what is owed.
    fn want(&self, balance: Balance) -> u64 {
        let config = &self.shared.config;
        let share = u64::try_from(balance.bytes / 16).unwrap_or(0);
        let share = share.clamp(config.min_lease_bytes, config.max_lease_bytes);
        let mut control = self.control.lock();
        let counted = self.counted.load(Acquire);
        let used = u64::try_from(counted - control.counted_then).unwrap_or(0);
        let millis = u64::try_from(control.refilled_at.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let a_second = used.saturating_mul(1000) / millis.max(100);
        control.counted_then = counted;
        control.refilled_at = Instant::now();
        share
            .max(a_second)
            .saturating_add(u64::try_from(control.trusted).unwrap_or(0))
    }

    /// Books a grant in, onto the limit or, if the lease was taken anew, onto what was settled before.
    fn granted(&self, grant: Grant, anew_from: Option<i64>) {
        let mut control = self.control.lock();
        if let (Some(settled), false) = (anew_from, control.closed) {
            self.limit.store(settled, Relaxed);
        }
        control.away_at = None;
        control.known_free = grant.free;
        control.last_want = grant.want;
        let repaid = grant.bytes.min(control.trusted);
        control.trusted -= repaid;
        let added = grant.bytes - repaid;
        let limit = self.add_to_limit(&control, added);
        let empty = self.counted.load(Acquire) >= limit;
        control.depleted_at = (grant.bytes == 0 && empty).then(Instant::now);
        self.ask_at.store(limit - added / 2, Relaxed);
        telemetry::leased(grant.bytes);
    }

    /// The balance seems used up: returns the lease and takes it anew, so that bytes in doubt count for the customer.
    ///
    /// Only when all is settled: else another gateway could lease bytes that were served here and not booked yet.
    async fn take_stock(&self, ledger: &dyn Ledger, gateway: GatewayId) {
        let settled = self.settled.load(Acquire);
        if settled != self.counted.load(Acquire) || !self.control.lock().holds_lease {
            return;
        }
        if let Err(error) = self.return_to(ledger, gateway).await {
            return self.away(error);
        }
        self.control.lock().trusted = 0;
        match self.take_lease(ledger, gateway).await {
            Ok(grant) => self.granted(grant, Some(settled)),
            Err(error) => self.away(error),
        }
    }

    /// Where less is left of the balance than is under lease, all that is unused goes back: else who was refunded, or whose
    /// balance was taken away, would still be served all of a lease. What is left is leased anew, in the usual parts, so that
    /// no gateway keeps it from another one.
    async fn fit_to_balance(&self, ledger: &dyn Ledger, gateway: GatewayId) -> Result<(), RefillError> {
        timeout(self.shared.config.lease_timeout, async {
            let balance = ledger.balance(self.account).await?;
            if balance.leased_bytes <= balance.bytes {
                return Ok(());
            }
            let unused = self.give_up_unused();
            if unused > 0 {
                // If this is not heard, the pool is the smaller of the two, as ever.
                let bytes = unused.unsigned_abs();
                ledger.shrink_lease(self.account, gateway, bytes).await?;
            }
            Ok(())
        })
        .await
        .map_err(|_| RefillError::Timeout)?
        .map_err(RefillError::Store)
    }

    /// Takes the unused bytes off the limit, and says how many.
    fn give_up_unused(&self) -> i64 {
        let mut control = self.control.lock();
        let limit = self.limit.load(Acquire);
        let counted = self.counted.load(Acquire);
        if control.closed || counted >= limit {
            return 0;
        }
        self.limit.store(counted, Relaxed);
        self.ask_at.store(counted, Relaxed);
        control.known_free = 0;
        limit - counted
    }

    async fn return_to(&self, ledger: &dyn Ledger, gateway: GatewayId) -> Result<(), RefillError> {
        timeout(
            self.shared.config.lease_timeout,
            ledger.return_leases(gateway, Some(self.account)),
        )
        .await
        .map_err(|_| RefillError::Timeout)?
        .map_err(RefillError::Store)
    }

    /// The ledger can't be asked: what the account was known to have may be used for a while, so that its streams go on.
    fn away(&self, error: RefillError) {
        let mut control = self.control.lock();
        let room = signed(self.shared.config.trust_bytes).saturating_sub(control.trusted);
        let trusted = control.last_want.min(control.known_free).min(room).max(0);
        control.trusted += trusted;
        control.known_free -= trusted;
        control.away_at = (trusted == 0).then(Instant::now);
        let limit = self.add_to_limit(&control, trusted);
        self.ask_at.store(limit - trusted / 2, Relaxed);
        telemetry::refill_failed();
        tracing::warn!(account.id = %self.account, trusted_bytes = trusted, %error, "no lease could be taken");
    }

    fn add_to_limit(&self, control: &Control, bytes: i64) -> i64 {
        match control.closed {
            true => self.limit.load(Acquire),
            false => self.limit.fetch_add(bytes, AcqRel).saturating_add(bytes),
        }
    }

    /// Takes the permission to return the lease, if the account has rested for `idle` and all is settled.
    pub(super) fn begin_return(&self, idle: Duration) -> bool {
        let mut control = self.control.lock();
        let counted = self.counted.load(Acquire);
        if self.live.load(Acquire) > 0 || control.seen != counted {
            control.seen = counted;
            control.seen_at = Instant::now();
            return false;
        }
        if !control.holds_lease
            || control.seen_at.elapsed() < idle
            || self.settled.load(Acquire) != counted
            || self.busy.swap(true, AcqRel)
        {
            return false;
        }
        // From here on a new stream waits until the lease is back and takes its own.
        let rest = self.limit.swap(counted, AcqRel).saturating_sub(counted).max(0);
        control.known_free = control.known_free.saturating_add(rest);
        self.ask_at.store(counted, Relaxed);
        true
    }

    /// Nothing of it is in use, and nothing would be lost by forgetting it.
    pub(super) fn is_at_rest(&self, idle: Duration) -> bool {
        let control = self.control.lock();
        self.live.load(Acquire) == 0
            && !self.busy.load(Acquire)
            && !control.holds_lease
            && control.seen_at.elapsed() >= idle
            && self.unsettled() == 0
    }

    /// From here on nothing is counted.
    pub(super) fn close(&self) {
        let mut control = self.control.lock();
        control.closed = true;
        self.limit.store(i64::MIN, Relaxed);
        drop(control);
        self.refills.send_replace(());
    }
}

/// Gives the permission back when the work ends in any way, and wakes those who wait for it.
struct Done<'a>(&'a Pool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Relaxed);
        self.0.refills.send_replace(());
    }
}

/// What the ledger granted.
#[derive(Clone, Copy)]
struct Grant {
    bytes: i64,
    want: i64,
    /// Left of the balance after it.
    free: i64,
}

#[derive(Debug, thiserror::Error)]
enum RefillError {
    #[error("the database did not answer in time")]
    Timeout,
    #[error(transparent)]
    Store(StoreError),
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
