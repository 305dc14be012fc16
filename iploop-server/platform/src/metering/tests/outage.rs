use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::metering::journal::Journal;
use crate::metering::{NoCredit, Outcome};

#[tokio::test(start_paused = true)]
async fn running_streams_go_on_without_the_database_as_far_as_the_account_is_trusted() {
    let account = AccountId::new();
    let config = MeteringConfig {
        trust_bytes: 20 * MIB.unsigned_abs(),
        max_lease_bytes: 2 * MIB.unsigned_abs(),
        ..MeteringConfig::default()
    };
    let gateway = Gateway::with(MemoryLedger::with(account, 1000 * MIB), config);
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    gateway.ledger.away.store(true, SeqCst);
    let mut served = 0;
    let reason = loop {
        match stream.charge_down(CHUNK).await {
            Ok(()) => served += 64 * 1024,
            Err(reason) => break reason,
        }
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(reason, NoCredit::Unavailable);
    assert!((20 * MIB..=24 * MIB).contains(&served), "{served}");
    gateway.ledger.away.store(false, SeqCst);
    // What was served on trust comes out of the next lease, and nothing is lost.
    for _ in 0..1000 {
        stream.charge_down(CHUNK).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    let used = counted([&stream]);
    drop(stream);
    assert_eq!(process.close().await.unbooked, 0);
    let books = gateway.ledger.books(account);
    assert_eq!((books.used_bytes, books.leased_bytes), (used, 0));
}

#[tokio::test(start_paused = true)]
async fn trust_never_exceeds_what_the_account_was_known_to_have() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 5 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    gateway.ledger.away.store(true, SeqCst);
    while stream.charge_down(CHUNK).await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    let used = counted([&stream]);
    assert!((5 * MIB..=5 * MIB + 64 * 1024).contains(&used), "{used}");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_gave_its_lease_back_is_still_trusted_while_the_database_is_away() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    drop(process.begin(account).await.unwrap());
    sleep(gateway.config.idle_return * 2).await;
    assert_eq!(gateway.ledger.books(account).leased_bytes, 0);
    gateway.ledger.away.store(true, SeqCst);
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(CHUNK).await.unwrap();
    gateway.ledger.away.store(false, SeqCst);
    assert_eq!(process.close().await.unbooked, 0);
    assert_eq!(gateway.ledger.books(account).used_bytes, 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_account_is_refused_quickly_while_the_database_is_away() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    gateway.ledger.away.store(true, SeqCst);
    let asked = Instant::now();
    assert_eq!(process.begin(account).await.unwrap_err(), BeginError::Unavailable);
    assert_eq!(process.begin(account).await.unwrap_err(), BeginError::Unavailable);
    assert!(asked.elapsed() < Duration::from_millis(50));
    gateway.ledger.away.store(false, SeqCst);
    sleep(Duration::from_secs(1)).await;
    process.begin(account).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_holds_nobody_up_for_long() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    gateway.ledger.hangs.store(true, SeqCst);
    let asked = Instant::now();
    assert_eq!(process.begin(account).await.unwrap_err(), BeginError::Unavailable);
    assert_eq!(asked.elapsed(), gateway.config.lease_timeout);
    gateway.ledger.hangs.store(false, SeqCst);
    sleep(Duration::from_secs(1)).await;
    process.begin(account).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn usage_waits_for_the_database_up_to_a_bound_and_then_nothing_is_served_unbilled() {
    let account = AccountId::new();
    let config = MeteringConfig {
        max_requests: 100,
        ..MeteringConfig::default()
    };
    let gateway = Gateway::with(MemoryLedger::with(account, 100 * MIB), config);
    let process = gateway.start().await;
    process.begin(account).await.unwrap();
    gateway.ledger.away.store(true, SeqCst);
    let mut served = 1;
    let refusal = loop {
        match process.begin(account).await {
            Ok(stream) => stream.charge_up(10).await.unwrap(),
            Err(refusal) => break refusal,
        }
        served += 1;
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((served, refusal), (100, BeginError::Overloaded));
    gateway.ledger.away.store(false, SeqCst);
    sleep(Duration::from_secs(10)).await;
    process.begin(account).await.unwrap();
    assert_eq!(gateway.ledger.rows(), 100);
}

#[tokio::test(start_paused = true)]
async fn the_journal_stays_within_its_bound_while_the_database_is_away() {
    let account = AccountId::new();
    let config = MeteringConfig {
        checkpoint_bytes: 10_000,
        max_journal_bytes: 40_000,
        ..MeteringConfig::default()
    };
    let gateway = Gateway::with(MemoryLedger::with(account, 100 * MIB), config);
    let process = gateway.start().await;
    let streams = [
        process.begin(account).await.unwrap(),
        process.begin(account).await.unwrap(),
    ];
    gateway.ledger.away.store(true, SeqCst);
    for _ in 0..2000 {
        for stream in &streams {
            stream.charge_up(10).await.unwrap();
        }
        sleep(TICK).await;
        assert!(gateway.journal_bytes() < 15_000, "{}", gateway.journal_bytes());
    }
    // Requests that end without being booked fill it for good.
    let refusal = loop {
        match process.begin(account).await {
            Ok(stream) => stream.finish(Outcome::Served),
            Err(refusal) => break refusal,
        }
        sleep(TICK).await;
    };
    assert_eq!(refusal, BeginError::Overloaded);
    assert!(gateway.journal_bytes() < 60_000, "{}", gateway.journal_bytes());
    gateway.ledger.away.store(false, SeqCst);
    sleep(Duration::from_secs(15)).await;
    process.begin(account).await.unwrap();
    assert_eq!(process.close().await.unbooked, 0);
    assert_eq!(gateway.ledger.books(account).used_bytes, 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_new_requests_and_loses_nothing_of_the_running_ones() {
    let account = AccountId::new();
    let mut gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(100).await.unwrap();
    sleep(TICK).await;
    let whole = process
        .meters
        .inner
        .journal
        .lock()
        .replace_file(std::fs::File::create("/dev/full").unwrap());
    stream.charge_up(100).await.unwrap();
    sleep(gateway.config.journal_interval).await;
    assert_eq!(process.begin(account).await.unwrap_err(), BeginError::Overloaded);
    drop(whole);
    // The journal goes on in a new file as soon as there is room.
    sleep(TICK).await;
    process.begin(account).await.unwrap();
    stream.charge_up(100).await.unwrap();
    sleep(TICK).await;
    gateway.kill(process).await;
    gateway.start().await;
    assert_eq!(gateway.ledger.row(stream.request()).unwrap().bytes_up, 300);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_the_database_leaves_the_journal_to_the_next_start() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(4321).await.unwrap();
    gateway.ledger.away.store(true, SeqCst);
    assert_eq!(process.close().await, Closed { unbooked: 1 });
    drop(stream);
    assert!(
        matches!(gateway.try_start().await, Err(StartError::Store(_))),
        "nothing starts unbooked"
    );
    gateway.ledger.away.store(false, SeqCst);
    gateway.start().await;
    let books = gateway.ledger.books(account);
    assert_eq!((books.used_bytes, books.leased_bytes), (4321, 0));
}

#[tokio::test]
async fn two_processes_never_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = Journal::open(dir.path(), Timestamp::default()).unwrap();
    let second = Journal::open(dir.path(), Timestamp::default())
        .map(|_| ())
        .unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
}
