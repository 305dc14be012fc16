//! Sessions over a restart: what changed is written in batches, beside the requests.
//!
//! A crash loses the changes of the last [`WRITE_EVERY`], and what only counts requests and bytes of the last minute; an
//! orderly end loses nothing. While the database is away changes wait, each session once, and nothing else does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::clock::{Clock, Timestamp};
use iploop_platform::ids::AccountId;
use iploop_platform::store::{StickySessions, StoreError};
use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::session::{StickySession, Terms};
use super::{Inner, Sessions};
use crate::config::GatewayConfig;

/// How often changes are written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How often ended sessions are forgotten: here, and with the rows at the database.
const SWEEP_EVERY: u32 = 10;

/// A session that is in use is written down this often for its counts alone.
const WRITE_USE_EVERY: Duration = Duration::from_secs(45);

/// Sessions written in one transaction, and read in one page.
const BATCH: u32 = 500;

/// Sessions of one account that are ended together.
const MAX_NAMES: usize = 20_000;

/// What waits to be written.
pub(super) struct Keeper {
    store: Option<Arc<dyn StickySessions>>,
    waiting: Mutex<Waiting>,
    /// One writer at a time, so that an older state never overwrites a newer one.
    writing: tokio::sync::Mutex<()>,
    /// Most ended sessions that wait; the rows of others go by their time.
    max_ended: usize,
}

#[derive(Default)]
struct Waiting {
    /// Each once: see [`super::State::is_dirty`].
    changed: Vec<Arc<StickySession>>,
    ended: BTreeSet<(AccountId, Arc<str>)>,
}

/// What is being written; back to what waits if it was not.
struct Batch<'a> {
    inner: &'a Inner,
    changed: Vec<Arc<StickySession>>,
    ended: Vec<(AccountId, Arc<str>)>,
    is_written: bool,
}

impl Keeper {
    pub(super) fn new(store: Option<Arc<dyn StickySessions>>, max_ended: usize) -> Self {
        Self {
            store,
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            max_ended,
        }
    }

    /// Has a session written; whether it waits now. It must not wait yet.
    pub(super) fn mark(&self, session: &Arc<StickySession>) -> bool {
        if self.store.is_some() {
            self.waiting.lock().changed.push(Arc::clone(session));
        }
        self.store.is_some()
    }

    /// Has a session's row deleted.
    pub(super) fn mark_ended(&self, account: AccountId, name: &Arc<str>) {
        let mut waiting = self.waiting.lock();
        if self.store.is_some() && waiting.ended.len() < self.max_ended {
            waiting.ended.insert((account, Arc::clone(name)));
        }
    }
}

impl Sessions {
    /// The sessions as `store` has them: each goes on through the exit it had.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn restore(
        config: &GatewayConfig,
        clock: &dyn Clock,
        store: Arc<dyn StickySessions>,
    ) -> Result<Self, StoreError> {
        let sessions = Self::new(config, clock.now(), Some(Arc::clone(&store)));
        let now = sessions.inner.now();
        let mut after: Option<(AccountId, String)> = None;
        loop {
            let behind = after.as_ref().map(|(account, name)| (*account, name.as_str()));
            let page = store.sticky_sessions(behind, now, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.account, last.name.clone()));
            for kept in &page {
                // What another version wrote and this one can't read, begins anew.
                let terms = Targeting::parse(&kept.targeting).ok().map(Arc::new);
                let Some(terms) = terms.as_ref().and_then(Terms::of) else {
                    continue;
                };
                let name: Arc<str> = kept.name.as_str().into();
                let make = || StickySession::restored(kept, terms, now);
                let entered = sessions
                    .inner
                    .register
                    .enter(kept.account, &name, now, make, |_| ());
                if entered.is_err() {
                    tracing::warn!("more sessions were kept than there is room for now; some begin anew");
                }
            }
        }
        Ok(sessions)
    }

    /// Writes changes down and forgets what has ended, for as long as it is polled.
    ///
    /// # Cancel safety
    /// What was not written then waits for [`Sessions::write`].
    pub(crate) async fn keep(&self) {
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_written = true;
        for tick in (0..SWEEP_EVERY).cycle() {
            ticks.tick().await;
            let now = self.inner.now();
            if tick == 0 {
                self.mark_stale(WRITE_USE_EVERY, now);
            }
            let mut written = self.write().await;
            if tick == 0 {
                self.inner.register.sweep(now);
                written = written.and(self.forget(now).await);
                metrics::gauge!("iploop_gateway_sessions").set(gauge(self.inner.register.len()));
            }
            if let Err(error) = &written
                && was_written
            {
                tracing::warn!(%error, "sticky sessions can't be written down at the moment; what changed waits");
            }
            was_written = written.is_ok();
        }
    }

    /// Writes down what waits.
    ///
    /// # Errors
    /// The database's; what was not written waits on.
    ///
    /// # Cancel safety
    /// What was under way waits on.
    pub async fn write(&self) -> Result<(), StoreError> {
        let Some(store) = &self.inner.keeper.store else {
            return Ok(());
        };
        let _turn = self.inner.keeper.writing.lock().await;
        while let Some(mut batch) = self.inner.take_batch() {
            let now = self.inner.now();
            let kept: Vec<_> = batch
                .changed
                .iter()
                .filter_map(|session| session.take_written(now))
                .collect();
            let ended: Vec<_> = batch
                .ended
                .iter()
                .map(|(account, name)| (*account, name.to_string()))
                .collect();
            store.keep_sticky_sessions(&kept, &ended).await?;
            batch.is_written = true;
        }
        Ok(())
    }

    /// Writes down everything, counts included: for the end.
    ///
    /// # Errors
    /// As [`Sessions::write`].
    pub(crate) async fn write_all(&self) -> Result<(), StoreError> {
        self.mark_stale(Duration::ZERO, self.inner.now());
        self.write().await
    }

    fn mark_stale(&self, age: Duration, now: Timestamp) {
        self.inner.register.for_each(|session| {
            if session.is_stale(age, now) {
                self.inner.mark_use(session, &mut session.state.lock());
            }
        });
    }

    /// Names of an account's sessions in the database, in no order, at most [`MAX_NAMES`].
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn names_of(&self, account: AccountId) -> Result<Vec<String>, StoreError> {
        let Some(store) = &self.inner.keeper.store else {
            return Ok(Vec::new());
        };
        let now = self.inner.now();
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map_or("", String::as_str);
            let page = store.sticky_sessions(Some((account, after)), now, BATCH).await?;
            let before = names.len();
            let own = page.into_iter().take_while(|kept| kept.account == account);
            names.extend(own.map(|kept| kept.name));
            let is_last = names.len() - before < usize::try_from(BATCH).unwrap_or(usize::MAX);
            if is_last || names.len() >= MAX_NAMES {
                return Ok(names);
            }
        }
    }

    async fn forget(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.inner.keeper.store {
            Some(store) => store.forget_sticky_sessions(now).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn take_batch(&self) -> Option<Batch<'_>> {
        let mut waiting = self.keeper.waiting.lock();
        let most = usize::try_from(BATCH).unwrap_or(usize::MAX);
        let from = waiting.changed.len().saturating_sub(most);
        let changed = waiting.changed.split_off(from);
        let mut ended = Vec::new();
        while ended.len() < most
            && let Some(next) = waiting.ended.pop_first()
        {
            ended.push(next);
        }
        let is_empty = changed.is_empty() && ended.is_empty();
        (!is_empty).then_some(Batch {
            inner: self,
            changed,
            ended,
            is_written: false,
        })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        for session in &self.changed {
            self.inner.mark(session, &mut session.state.lock());
        }
        for (account, name) in &self.ended {
            self.inner.keeper.mark_ended(*account, name);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of at most a few million")]
fn gauge(count: usize) -> f64 {
    count as f64
}
