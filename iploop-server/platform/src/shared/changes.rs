//! What changed of keys and accounts, told in this process at once and to the other ones as fast as the news travels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Change, SharedState};
use crate::ids::{AccountId, ApiKeyId};
use crate::keys::KeyChanges;

/// News that may wait to be told. What finds no room is told as [`Change::Missed`].
const WAITING: usize = 1024;
/// How long after a failure the next news is tried.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Tells this process at once, and the others by the shared state.
pub struct SharedChanges {
    local: Arc<dyn KeyChanges>,
    outgoing: mpsc::Sender<Change>,
    missed: Arc<AtomicBool>,
}

impl SharedChanges {
    /// `local` hears of what changes here and of what the others tell. The task must run.
    pub fn new(local: Arc<dyn KeyChanges>, shared: Arc<dyn SharedState>) -> (Self, ChangesTask) {
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicBool::new(false));
        let task = ChangesTask {
            local: Arc::clone(&local),
            incoming: shared.changes(),
            shared,
            waiting,
            missed: Arc::clone(&missed),
        };
        let changes = Self {
            local,
            outgoing,
            missed,
        };
        (changes, task)
    }

    fn tell(&self, change: Change) {
        if self.outgoing.try_send(change).is_err() {
            self.missed.store(true, std::sync::atomic::Ordering::Release);
        }
    }
}

impl KeyChanges for SharedChanges {
    fn key_changed(&self, key: ApiKeyId) {
        self.local.key_changed(key);
        self.tell(Change::Key(key));
    }

    fn account_changed(&self, account: AccountId) {
        self.local.account_changed(account);
        self.tell(Change::Account(account));
    }

    fn account_suspended(&self, account: AccountId) {
        self.local.account_suspended(account);
        self.tell(Change::Suspended(account));
    }

    fn addresses_changed(&self) {
        self.local.addresses_changed();
        self.tell(Change::Addresses);
    }
}

impl std::fmt::Debug for SharedChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedChanges").finish_non_exhaustive()
    }
}

/// Carries news both ways.
pub struct ChangesTask {
    local: Arc<dyn KeyChanges>,
    incoming: broadcast::Receiver<Change>,
    shared: Arc<dyn SharedState>,
    waiting: mpsc::Receiver<Change>,
    missed: Arc<AtomicBool>,
}

impl ChangesTask {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            local,
            incoming,
            shared,
            waiting,
            missed,
        } = self;
        let work = async { tokio::join!(listen(incoming, &*local), tell(waiting, &*shared, &missed)) };
        let _: Option<((), ())> = shutdown.run_until_cancelled(work).await;
    }
}

async fn listen(mut incoming: broadcast::Receiver<Change>, local: &dyn KeyChanges) {
    loop {
        match incoming.recv().await {
            Ok(Change::Key(key)) => local.key_changed(key),
            Ok(Change::Account(account)) => local.account_changed(account),
            Ok(Change::Suspended(account)) => local.account_suspended(account),
            Ok(Change::Addresses) => local.addresses_changed(),
            Ok(Change::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => local.anything_changed(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What could not be told is told as one [`Change::Missed`] when that is possible again.
async fn tell(mut waiting: mpsc::Receiver<Change>, shared: &dyn SharedState, missed: &AtomicBool) {
    while let Some(change) = waiting.recv().await {
        let mut change = change;
        loop {
            if missed.swap(false, AcqRel) {
                change = Change::Missed;
            }
            match shared.publish(change).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%error, "a change was not told to the other processes");
                    missed.store(true, std::sync::atomic::Ordering::Release);
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}
