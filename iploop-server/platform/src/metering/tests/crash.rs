//! A gateway killed at any moment, its journal cut at any byte: each byte is booked at most once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::*;
use crate::metering::Outcome;
use crate::metering::journal::{Journal, Reading, Replay};
use crate::usage::{Timings, UsageRecord};

#[tokio::test(start_paused = true)]
async fn a_kill_loses_only_what_was_counted_since_the_last_tick() {
    let account = AccountId::new();
    let mut gateway = Gateway::new(MemoryLedger::with(account, 1000 * MIB));
    let process = gateway.start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let stream = process.begin(account).await.unwrap();
        stream.charge_down(CHUNK).await.unwrap();
        streams.push(stream);
    }
    sleep(gateway.config.journal_interval * 2).await;
    for stream in &streams {
        stream.charge_down(10).await.unwrap();
    }
    gateway.kill(process).await;
    let _next = gateway.start().await;
    for stream in &streams {
        let row = gateway.ledger.row(stream.request()).unwrap();
        assert_eq!(
            (row.bytes_down, row.error.as_deref()),
            (64 * 1024, Some("interrupted"))
        );
        assert!(row.ended_at.is_some());
    }
    assert_eq!(
        gateway.ledger.books(account).leased_bytes,
        0,
        "the old leases are back"
    );
}

#[tokio::test(start_paused = true)]
async fn no_request_runs_for_ever_because_it_was_booked_before_it_was_journaled() {
    let account = AccountId::new();
    let config = MeteringConfig {
        // The look at the running requests comes before the tick.
        journal_interval: Duration::from_secs(60),
        running_interval: Duration::from_secs(1),
        ..MeteringConfig::default()
    };
    let mut gateway = Gateway::with(MemoryLedger::with(account, 1000 * MIB), config);
    let process = gateway.start().await;
    // The first tick is at once.
    sleep(Duration::from_millis(1)).await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_down(5000).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    gateway.kill(process).await;
    let _next = gateway.start().await;
    let row = gateway.ledger.row(stream.request());
    assert!(row.is_none_or(|row| row.ended_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn replaying_the_same_journal_again_bills_nothing() {
    let account = AccountId::new();
    let mut gateway = Gateway::new(MemoryLedger::with(account, 1000 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_down(5000).await.unwrap();
    sleep(TICK).await;
    gateway.kill(process).await;
    // The answer of the ledger is lost: the start fails after the records were booked.
    gateway.ledger.doubtful.store(1, SeqCst);
    assert!(gateway.try_start().await.is_err());
    for _ in 0..3 {
        let process = gateway.start().await;
        assert_eq!(gateway.ledger.books(account).used_bytes, 5000);
        gateway.kill(process).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_store_refuses_does_not_keep_the_gateway_from_starting() {
    let account = AccountId::new();
    let mut gateway = Gateway::new(MemoryLedger::with(account, 1000 * MIB));
    let process = gateway.start().await;
    let streams = [
        process.begin(account).await.unwrap(),
        process.begin(account).await.unwrap(),
    ];
    for stream in &streams {
        stream.charge_up(10).await.unwrap();
    }
    sleep(TICK).await;
    gateway.kill(process).await;
    gateway.ledger.refuse(streams[0].request());
    gateway.start().await;
    assert_eq!(gateway.ledger.books(account).used_bytes, 10);
    let kept = std::fs::read_to_string(gateway.journal_dir().join("unbookable.jsonl")).unwrap();
    assert!(kept.contains(&streams[0].request().to_string()));
}

/// One step of the life of a gateway.
#[derive(Clone, Debug)]
enum Step {
    Begin { account: usize },
    Count { stream: usize, bytes: usize, up: bool },
    End { stream: usize, ours: bool },
    Drop { stream: usize },
    Wait { millis: u64 },
    Away { away: bool },
    Doubt { calls: u32 },
    Kill { cut: usize },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize).prop_map(|account| Step::Begin { account }),
        8 => (0..64_usize, 1..=CHUNK, any::<bool>())
            .prop_map(|(stream, bytes, up)| Step::Count { stream, bytes, up }),
        2 => (0..64_usize, any::<bool>()).prop_map(|(stream, ours)| Step::End { stream, ours }),
        1 => (0..64_usize).prop_map(|stream| Step::Drop { stream }),
        4 => (0..4000_u64).prop_map(|millis| Step::Wait { millis }),
        1 => any::<bool>().prop_map(|away| Step::Away { away }),
        1 => (1..4_u32).prop_map(|calls| Step::Doubt { calls }),
        1 => (0..3000_usize).prop_map(|cut| Step::Kill { cut }),
        1 => Just(Step::Restart),
    ]
}

/// What the test knows of a stream.
struct Life {
    account: AccountId,
    total: i64,
    ours: bool,
    /// Its process was killed with a cut journal: its bytes may be lost.
    lossy: bool,
}

struct World {
    gateway: Gateway,
    process: Option<Process>,
    accounts: Vec<AccountId>,
    streams: Vec<StreamMeter>,
    lives: BTreeMap<RequestId, Life>,
}

impl World {
    fn new() -> Self {
        let accounts: Vec<AccountId> = (0..3).map(|_| AccountId::new()).collect();
        let ledger = Arc::new(MemoryLedger::default());
        // One that ends soon, one that lasts a while, one that never had anything.
        ledger.add(accounts[0], 3 * MIB / 2);
        ledger.add(accounts[1], 40 * MIB);
        let config = MeteringConfig {
            checkpoint_bytes: 4000,
            refill_wait: Duration::from_secs(1),
            running_interval: Duration::from_secs(2),
            ..MeteringConfig::default()
        };
        let gateway = Gateway::with(ledger, config);
        Self {
            gateway,
            process: None,
            accounts,
            streams: Vec::new(),
            lives: BTreeMap::new(),
        }
    }

    async fn start(&mut self) {
        self.gateway.ledger.away.store(false, SeqCst);
        self.gateway.ledger.doubtful.store(0, SeqCst);
        self.process = Some(self.gateway.start().await);
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Begin { account } => {
                let account = self.accounts[account];
                if let Ok(stream) = self.process.as_ref().unwrap().begin(account).await {
                    let life = Life {
                        account,
                        total: 0,
                        ours: false,
                        lossy: false,
                    };
                    self.lives.insert(stream.request(), life);
                    self.streams.push(stream);
                }
            }
            Step::Count { stream, bytes, up } => {
                let Some(stream) = self.streams.get(stream) else {
                    return;
                };
                let charged = match up {
                    true => stream.charge_up(bytes).await,
                    false => stream.charge_down(bytes).await,
                };
                if charged.is_ok() {
                    self.lives.get_mut(&stream.request()).unwrap().total += i64::try_from(bytes).unwrap();
                }
            }
            Step::End { stream, ours } => {
                if stream < self.streams.len() {
                    let stream = self.streams.swap_remove(stream);
                    stream.finish(if ours {
                        Outcome::OurFailure("node_timeout")
                    } else {
                        Outcome::Served
                    });
                    self.lives.get_mut(&stream.request()).unwrap().ours = ours;
                }
            }
            Step::Drop { stream } => {
                if stream < self.streams.len() {
                    self.streams.swap_remove(stream);
                }
            }
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Away { away } => self.gateway.ledger.away.store(away, SeqCst),
            Step::Doubt { calls } => self.gateway.ledger.doubtful.store(calls, SeqCst),
            Step::Kill { cut } => {
                let process = self.process.take().unwrap();
                self.gateway.kill(process).await;
                self.cut_newest_segment(cut);
                self.streams.clear();
                for life in self.lives.values_mut() {
                    life.lossy = true;
                }
                self.start().await;
                self.check();
            }
            Step::Restart => {
                let closed = self.process.take().unwrap().close().await;
                self.streams.clear();
                self.start().await;
                self.check();
                if closed.unbooked == 0 {
                    self.check_nothing_is_leased();
                }
            }
        }
    }

    /// As a power cut may leave it: the newest segment lacks its last bytes.
    fn cut_newest_segment(&self, cut: usize) {
        let mut segments: Vec<_> = std::fs::read_dir(self.gateway.journal_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
            .collect();
        segments.sort();
        if let Some(newest) = segments.last() {
            let content = std::fs::read(newest).unwrap();
            std::fs::write(newest, &content[..content.len().saturating_sub(cut)]).unwrap();
        }
    }

    fn check(&self) {
        for (request, life) in &self.lives {
            let row = self.gateway.ledger.row(*request);
            let booked = row.map_or(0, |row| billed(&row));
            assert!(
                booked <= life.total,
                "{request}: {booked} booked of {}",
                life.total
            );
            if !life.lossy {
                let due = if life.ours { 0 } else { life.total };
                assert_eq!(booked, due, "{request}");
            }
        }
        for account in &self.accounts {
            let used = self.gateway.ledger.books(*account).used_bytes;
            assert_eq!(
                used,
                self.gateway.ledger.billed(*account),
                "the balance follows the rows"
            );
        }
    }

    fn check_nothing_is_leased(&self) {
        for account in &self.accounts {
            assert_eq!(self.gateway.ledger.books(*account).leased_bytes, 0);
        }
    }

    /// However it went, an account served at most a chunk more than it had for each time it ended.
    fn check_over_serving(&self, processes: i64) {
        for account in &self.accounts {
            let served: i64 = self
                .lives
                .values()
                .filter(|life| life.account == *account && !life.ours)
                .map(|life| life.total)
                .sum();
            let lost = self.lives.values().any(|life| life.lossy);
            let books = self.gateway.ledger.books(*account);
            let had = books.bytes + books.used_bytes;
            let chunk = i64::try_from(CHUNK).unwrap();
            assert!(
                lost || served <= had + processes * chunk,
                "{served} served of {had}"
            );
        }
    }
}

fn billed(row: &UsageRecord) -> i64 {
    if row.billable {
        i64::try_from(row.bytes_up + row.bytes_down).unwrap()
    } else {
        0
    }
}

/// Each case is the life of a gateway on a real disk: a fifth of the usual number.
fn life_config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases / 5,
        failure_persistence: None,
        ..usual
    }
}

proptest! {
    #![proptest_config(life_config())]

    #[test]
    fn whatever_happens_each_byte_is_booked_at_most_once(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.start().await;
            let restarts = steps.iter().filter(|step| matches!(step, Step::Restart)).count();
            for step in steps {
                world.take(step).await;
            }
            world.take(Step::Restart).await;
            world.check_over_serving(i64::try_from(restarts).unwrap() + 1);
        });
    }
}

fn record(up: u64) -> UsageRecord {
    let started_at = Timestamp::from_millis(1_764_000_000_000);
    UsageRecord {
        id: RequestId::new(),
        account: AccountId::new(),
        api_key: ApiKeyId::new(),
        gateway: GatewayId::new(),
        node: None,
        session: Some("s".to_owned()),
        bytes_up: up,
        bytes_down: 0,
        billable: true,
        proxy_type: "http".to_owned(),
        destination: "example.com:80".to_owned(),
        exit_country: None,
        exit_city: None,
        exit_asn: None,
        exit_ip: None,
        timings: Timings::default(),
        status: None,
        error: None,
        attempts: 1,
        started_at,
        ended_at: None,
    }
}

/// A journal of a few ticks, and the content of its one segment after each.
fn sample(dir: &Path) -> (Vec<UsageRecord>, Vec<Vec<u8>>) {
    let records = vec![record(1), record(2), record(3)];
    let (mut journal, _) = Journal::open(dir, Timestamp::default()).unwrap();
    let mut ticks = Vec::new();
    for tick in 0..4 {
        for record in &records {
            match tick {
                0 => journal.put_full(record),
                _ => journal.put_totals(record.id, record.bytes_up + tick * 100, tick * 1000),
            }
        }
        journal.commit().unwrap();
        ticks.push(std::fs::read(dir.join("usage-00000001.journal")).unwrap());
    }
    (records, ticks)
}

fn replay_of(content: &[u8]) -> Replay {
    let mut reading = Reading::default();
    reading.segment(&mut &*content).unwrap();
    reading.finish(Timestamp::default())
}

#[test]
fn a_journal_cut_at_any_byte_gives_what_was_whole_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (records, ticks) = sample(dir.path());
    let whole = ticks.last().unwrap();
    for cut in 0..=whole.len() {
        let replay = replay_of(&whole[..cut]);
        let complete = ticks.iter().filter(|tick| tick.len() <= cut).count();
        for record in &records {
            let found = replay.records.iter().find(|found| found.id == record.id);
            let up = found.map_or(0, |found| found.bytes_up);
            let steps: Vec<u64> = (0..4)
                .map(|tick| record.bytes_up + tick * 100)
                .chain([0])
                .collect();
            assert!(steps.contains(&up), "cut at {cut}: {up}");
            if let Some(last) = complete.checked_sub(1) {
                assert!(up >= steps[last], "cut at {cut}: {up} of {}", steps[last]);
            }
        }
        if ticks.iter().any(|tick| tick.len() == cut) {
            assert_eq!(replay.torn, 0, "a whole tick ends cleanly at {cut}");
        }
    }
}

#[test]
fn a_damaged_byte_never_books_what_was_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (records, ticks) = sample(dir.path());
    let whole = ticks.last().unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let replay = replay_of(&damaged);
        assert_eq!(replay.torn, 1, "damage at {at} is noticed");
        for found in replay.records {
            let record = records
                .iter()
                .find(|record| record.id == found.id)
                .expect("one of ours");
            assert!(
                (0..4).any(|tick| found.bytes_up == record.bytes_up + tick * 100),
                "damage at {at}"
            );
        }
    }
}

#[test]
fn zeros_where_a_power_cut_lost_content_end_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ticks) = sample(dir.path());
    let mut content = ticks.last().unwrap().clone();
    content.extend_from_slice(&[0; 4096]);
    let replay = replay_of(&content);
    assert_eq!((replay.records.len(), replay.torn), (3, 1));
}

proptest! {
    #[test]
    fn any_content_of_a_journal_is_read_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..2000)) {
        let replay = replay_of(&content);
        prop_assert!(replay.records.is_empty());
        let mut marked = b"IPLPUSE1".to_vec();
        marked.extend_from_slice(&content);
        prop_assert!(replay_of(&marked).records.is_empty());
    }
}
