//! What goes on in the background: suspicions are acted on, lists reach devices, changes of others are noticed, counts are
//! stored.

use std::collections::BTreeSet;
use std::time::Duration;

use iploop_protocol::policy::PlatformPolicy;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::service::AbuseService;
use super::store::RefusalCount;
use super::watch::Suspicion;
use crate::account::AccountStatus;
use crate::clock::Timestamp;
use crate::ids::AuditId;
use crate::store::StoreError;

/// Devices get another policy at most this often: each takes a bounded number of control messages (`docs/protocol.md`,
/// section 9), and a list may be edited entry by entry.
const PUSH_EVERY: Duration = Duration::from_secs(5);
/// How far the clocks of two servers, and a record's time and its commit, may be apart.
const OVERLAP: Duration = Duration::from_secs(60);
/// Audit records read at once.
const PAGE: u32 = 500;
/// Longest wait for the database at one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Old counts are looked for this often, and so many go at once.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
const FORGOTTEN_AT_ONCE: u32 = 5_000;
const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// Runs beside the [`AbuseService`].
pub struct AbuseTask {
    service: AbuseService,
    suspicions: mpsc::Receiver<Suspicion>,
    pushes: watch::Receiver<PlatformPolicy>,
}

/// What the looks have seen so far.
struct Seen {
    from: Timestamp,
    records: BTreeSet<(Timestamp, AuditId)>,
    stamp: Option<String>,
    /// Counts that could not be stored yet.
    pending: Vec<RefusalCount>,
    forget_at: Instant,
}

impl AbuseTask {
    pub(super) fn new(
        service: AbuseService,
        suspicions: mpsc::Receiver<Suspicion>,
        pushes: watch::Receiver<PlatformPolicy>,
    ) -> Self {
        Self {
            service,
            suspicions,
            pushes,
        }
    }

    /// Runs until `stop`; what was counted is stored then.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            service,
            mut suspicions,
            pushes,
        } = self;
        let mut seen = Seen {
            from: service.0.clock.now(),
            records: BTreeSet::new(),
            stamp: service.0.source.stamp(),
            pending: Vec::new(),
            forget_at: Instant::now(),
        };
        let act = async {
            while let Some(suspicion) = suspicions.recv().await {
                service.act_on(suspicion).await;
            }
        };
        let work = async { tokio::join!(act, push(&service, pushes), look(&service, &mut seen)) };
        stop.run_until_cancelled(work).await;
        service.store_counts(&mut seen.pending).await;
    }
}

/// Brings each policy to the devices, the newest one only where several came.
async fn push(service: &AbuseService, mut pushes: watch::Receiver<PlatformPolicy>) {
    while pushes.changed().await.is_ok() {
        let policy = pushes.borrow_and_update().clone();
        service.0.force.on_devices(&policy).await;
        sleep(PUSH_EVERY).await;
    }
}

async fn look(service: &AbuseService, seen: &mut Seen) {
    let mut every = interval(service.0.config.look_every);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let looks = async {
            service.look_at_file(seen).await;
            if let Err(error) = service.look_for_changes(seen).await {
                tracing::warn!(%error, "changes of other processes could not be looked for");
            }
            service.store_counts(&mut seen.pending).await;
            service.forget_counts(seen).await;
        };
        if timeout(LOOK_TIMEOUT, looks).await.is_err() {
            tracing::warn!("the database is too slow to look for changes");
        }
    }
}

impl AbuseService {
    async fn look_at_file(&self, seen: &mut Seen) {
        let stamp = self.0.source.stamp();
        if stamp == seen.stamp {
            return;
        }
        seen.stamp = stamp;
        if let Err(error) = self.reload_file().await {
            tracing::error!(error, "the policy's file can't be used; the policy before stands");
        }
    }

    async fn look_for_changes(&self, seen: &mut Seen) -> Result<(), StoreError> {
        self.reload_stored().await?;
        let now = self.0.clock.now();
        let from = seen.from.minus(OVERLAP);
        seen.records.retain(|(at, _)| *at >= from);
        let mut after = None;
        loop {
            let page = self.0.store.audit_since(from, after, PAGE).await?;
            for record in &page {
                if seen.records.insert((record.at, record.id))
                    && let Some(account) = record.account
                {
                    let status = self.0.store.account(account).await?.map(|account| account.status);
                    match status {
                        Some(AccountStatus::Active) | None => self.0.changes.account_changed(account),
                        Some(AccountStatus::Suspended | AccountStatus::Deleted) => {
                            self.0.changes.account_suspended(account);
                        }
                    }
                }
            }
            after = page.last().map(|record| record.id);
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                break;
            }
        }
        seen.from = now;
        Ok(())
    }

    async fn store_counts(&self, pending: &mut Vec<RefusalCount>) {
        if pending.is_empty() {
            *pending = self.0.watch.take_counts();
        }
        if pending.is_empty() {
            return;
        }
        match self.0.store.add_refusals(pending).await {
            Ok(()) => pending.clear(),
            Err(error) => tracing::warn!(%error, "counts of refusals wait for the database"),
        }
    }

    async fn forget_counts(&self, seen: &mut Seen) {
        if Instant::now() < seen.forget_at {
            return;
        }
        let kept = self.0.config.refusals_kept;
        let day = self.0.clock.now().minus(kept).as_millis().div_euclid(DAY_MILLIS);
        match self.0.store.forget_refusals(day, FORGOTTEN_AT_ONCE).await {
            // There are more.
            Ok(gone) if gone >= u64::from(FORGOTTEN_AT_ONCE) => {}
            Ok(_) => seen.forget_at = Instant::now() + FORGET_EVERY,
            Err(error) => tracing::warn!(%error, "old counts of refusals could not be removed"),
        }
    }
}
