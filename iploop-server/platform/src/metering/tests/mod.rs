mod crash;
mod credit;
pub(crate) mod ledger;
mod outage;
mod settling;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::ledger::MemoryLedger;
use super::{BeginError, Closed, KeyQuota, MeteringConfig, Meters, StartError, StreamMeter};
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, ApiKeyId, GatewayId, RequestId};

pub(crate) const CHUNK: usize = 64 * 1024;
pub(crate) const MIB: i64 = 1024 * 1024;
/// Long enough for a tick of the journal, or for a round of settlement.
const TICK: Duration = Duration::from_millis(900);
const ROUND: Duration = Duration::from_secs(3);

/// Moves with tokio's clock, so that paused tests move both.
pub(crate) struct TestClock(Instant);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000).plus(self.0.elapsed())
    }
}

/// One gateway over its restarts.
pub(crate) struct Gateway {
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) clock: Arc<TestClock>,
    config: MeteringConfig,
    id: GatewayId,
    dir: TempDir,
}

/// A process of it.
pub(crate) struct Process {
    pub(crate) meters: Meters,
    task: JoinHandle<Closed>,
    shutdown: CancellationToken,
}

impl Gateway {
    pub(crate) fn new(ledger: Arc<MemoryLedger>) -> Self {
        Self::with(ledger, MeteringConfig::default())
    }

    fn with(ledger: Arc<MemoryLedger>, config: MeteringConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            ledger,
            clock: TestClock::new(),
            config,
            id: GatewayId::new(),
            dir,
        }
    }

    fn journal_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn start(&self) -> Process {
        self.try_start().await.unwrap()
    }

    async fn try_start(&self) -> Result<Process, StartError> {
        let (meters, task) = Meters::start(
            Arc::clone(&self.ledger) as _,
            Arc::clone(&self.clock) as _,
            self.id,
            self.journal_dir(),
            self.config.clone(),
        )
        .await?;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(task.run(shutdown.clone()));
        Ok(Process {
            meters,
            task,
            shutdown,
        })
    }

    /// Kills a process: what is in the journal's files now is all that stays, in a folder that nobody else has open.
    async fn kill(&mut self, process: Process) {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.journal_dir()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        process.task.abort();
        let _ = process.task.await;
        self.dir = copy;
    }

    /// Bytes in the journal's segments.
    fn journal_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.journal_dir()).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    }
}

impl Process {
    pub(crate) async fn begin(&self, account: AccountId) -> Result<StreamMeter, BeginError> {
        self.meters.begin(account, any_key(), RequestId::new()).await
    }

    pub(crate) async fn close(self) -> Closed {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

/// A key without limits.
fn any_key() -> Arc<KeyQuota> {
    Arc::new(KeyQuota::new(ApiKeyId::new()))
}

/// Bytes counted by all of them.
fn counted<'a>(streams: impl IntoIterator<Item = &'a StreamMeter>) -> i64 {
    streams
        .into_iter()
        .map(|stream| i64::try_from(stream.bytes_up() + stream.bytes_down()).unwrap())
        .sum()
}
