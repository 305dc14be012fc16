use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::config::MeteringConfig;
use super::journal::{Journal, JournalError};
use super::pool::{Pool, Shared};
use super::quota::KeyQuota;
use super::replay;
use super::stream::{NoCredit, StreamMeter, StreamState};
use super::tables::{Pools, Streams};
use super::task::MeterTask;
use super::telemetry;
use crate::clock::Clock;
use crate::ids::{AccountId, GatewayId, RequestId};
use crate::live::Live;
use crate::store::{Ledger, StoreError};
use crate::usage::Balance;

/// Refills that may wait for the meter's task.
const REFILL_QUEUE: usize = 4096;

/// The meters of one gateway process. Cheap to clone.
#[derive(Clone)]
pub struct Meters {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) gateway: GatewayId,
    pub(super) pools: Pools,
    pub(super) streams: Streams,
    /// Locked on blocking threads only.
    pub(super) journal: Mutex<Journal>,
    /// The journal is full or can't be written: what would be served now could not be billed.
    pub(super) refusing: AtomicBool,
    /// The last write to the journal failed.
    pub(super) journal_fails: AtomicBool,
    /// What a request in full takes in the journal, as last measured: tells what beginning anew would save.
    pub(super) record_bytes: AtomicU64,
}

/// What an account does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Requests that have not ended.
    pub(crate) active: u64,
    /// Bytes counted since this was asked for last.
    pub(crate) new_bytes: u64,
}

/// Why the meters could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is unsound: each mistake with its key.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What an earlier process left behind could not be booked, or its leases not returned.
    #[error("the usage of the last run could not be booked")]
    Store(#[from] StoreError),
}

/// Why a request can't be metered, and so not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The account has nothing left.
    #[error("the balance is used up")]
    BalanceDepleted,
    /// The database is away and nothing is known of the account.
    #[error("no lease can be taken now")]
    Unavailable,
    /// Too much usage waits to be booked, or the journal can't be written.
    #[error("too much usage waits to be booked")]
    Overloaded,
}

impl From<NoCredit> for BeginError {
    fn from(reason: NoCredit) -> Self {
        match reason {
            // A pool knows no keys: this is for the sake of the match.
            NoCredit::BalanceDepleted | NoCredit::KeyQuotaExceeded => Self::BalanceDepleted,
            NoCredit::Unavailable => Self::Unavailable,
        }
    }
}

impl Meters {
    /// Opens the journal, books what an earlier process left in it and returns that process's leases.
    ///
    /// `gateway` must stay the same over restarts, and `journal_dir` belong to this gateway alone. Nothing is metered on
    /// until [`MeterTask::run`] is polled.
    ///
    /// # Errors
    /// The configuration is unsound, the journal is in use or unreadable, or the database is not available.
    pub async fn start(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        gateway: GatewayId,
        journal_dir: &Path,
        config: MeteringConfig,
    ) -> Result<(Self, MeterTask), StartError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(StartError::Config(mistakes));
        }
        let journal = replay::recover(ledger.as_ref(), clock.as_ref(), gateway, journal_dir, &config).await?;
        let (asks, asked) = mpsc::channel(REFILL_QUEUE);
        let inner = Arc::new(Inner {
            pools: Pools::new(config.max_accounts),
            streams: Streams::new(config.max_requests),
            shared: Arc::new(Shared {
                live: Arc::new(Live::new(clock.now())),
                clock,
                config,
                asks,
            }),
            ledger,
            gateway,
            journal: Mutex::new(journal),
            refusing: AtomicBool::new(false),
            journal_fails: AtomicBool::new(false),
            record_bytes: AtomicU64::new(600),
        });
        Ok((
            Self {
                inner: Arc::clone(&inner),
            },
            MeterTask::new(inner, asked),
        ))
    }

    /// Begins to meter a request of `account`, made with the key that `quota` is of.
    ///
    /// At once if the account has a lease with something left; else after the database granted one. Without this no byte
    /// of a request may be relayed.
    ///
    /// # Errors
    /// Says why the request must be refused.
    ///
    /// # Cancel safety
    /// Safe: dropping the future begins nothing.
    pub(crate) async fn begin(
        &self,
        account: AccountId,
        quota: Arc<KeyQuota>,
        request: RequestId,
    ) -> Result<StreamMeter, BeginError> {
        let pool = self.pool(account)?;
        pool.credit().await?;
        let now = pool.now();
        let make = || StreamState::new(request, self.inner.gateway, pool, quota, now);
        let state = self
            .inner
            .streams
            .insert(request, make)
            .map_err(|_| overloaded())?;
        Ok(StreamMeter { state })
    }

    /// What an account has left: the store's balance less what is counted here and not booked yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn balance(&self, account: AccountId) -> Result<Balance, StoreError> {
        // Read before the store's: what is booked in between is subtracted twice for a moment, never forgotten.
        let unsettled = self.inner.pools.get(account).map_or(0, |pool| pool.unsettled());
        let mut balance = self.inner.ledger.balance(account).await?;
        balance.bytes = balance.bytes.saturating_sub(unsettled);
        balance.used_bytes = balance.used_bytes.saturating_add(unsettled);
        Ok(balance)
    }

    /// Tells that an account's balance was changed: raised, so that its next request is not refused on old knowledge; or lowered,
    /// so that no more than what is left is served under a lease from before.
    pub fn purse_changed(&self, account: AccountId) {
        if let Some(pool) = self.inner.pools.get(account) {
            pool.purse_changed();
        }
    }

    /// What happens now, for those who look.
    pub fn live(&self) -> &Arc<Live> {
        &self.inner.shared.live
    }

    /// What each account does that used the proxy lately: one asks, once a second.
    pub(crate) fn activity(&self) -> HashMap<AccountId, Activity> {
        let pools = self.inner.pools.collect(|_| true);
        pools
            .iter()
            .map(|pool| (pool.account(), pool.activity()))
            .collect()
    }

    /// Requests that run or are not booked yet.
    pub fn requests(&self) -> usize {
        self.inner.streams.len()
    }

    fn pool(&self, account: AccountId) -> Result<Arc<Pool>, BeginError> {
        if self.inner.refusing.load(Relaxed) {
            return Err(overloaded());
        }
        self.inner
            .pools
            .get_or_open(account, &self.inner.shared)
            .map_err(|_| overloaded())
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters")
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

fn overloaded() -> BeginError {
    telemetry::refused();
    BeginError::Overloaded
}
