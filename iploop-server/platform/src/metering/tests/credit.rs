use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;
use crate::metering::{Counted, NoCredit, Outcome};

#[tokio::test(start_paused = true)]
async fn parallel_streams_use_a_balance_up_and_over_serve_one_chunk_at_most() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 10 * MIB + 12_345));
    let process = gateway.start().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(process.begin(account).await.unwrap());
    }
    let relays = streams.iter().map(|stream| async move {
        loop {
            if let Err(reason) = stream.charge_down(CHUNK).await {
                return reason;
            }
            tokio::task::yield_now().await;
        }
    });
    let reasons = futures_util::future::join_all(relays).await;
    assert!(
        reasons.iter().all(|reason| *reason == NoCredit::BalanceDepleted),
        "{reasons:?}"
    );
    let used = counted(&streams);
    assert!(used >= 10 * MIB + 12_345, "all of the balance was served: {used}");
    assert!(
        used < 10 * MIB + 12_345 + 64 * 1024,
        "one chunk over at most: {used}"
    );
    assert_eq!(
        process.begin(account).await.unwrap_err(),
        BeginError::BalanceDepleted
    );
    for stream in &streams {
        stream.finish(Outcome::Failed("balance_depleted"));
    }
    assert_eq!(process.close().await, Closed { unbooked: 0 });
    let books = gateway.ledger.books(account);
    assert_eq!((books.used_bytes, books.leased_bytes), (used, 0));
    assert_eq!(gateway.ledger.billed(account), used);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_held_up_while_its_lease_is_refilled() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    for _ in 0..1000 {
        assert_eq!(stream.count_up(CHUNK), Counted::Go);
        // The refill takes a few turns of the runtime; a chunk of the network takes more.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_chunk_is_not_counted() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    assert_eq!(stream.count_up(60), Counted::Go);
    assert_eq!(
        stream.count_down(60),
        Counted::Go,
        "the last chunk may reach past the end"
    );
    assert_eq!(stream.count_down(1), Counted::Hold);
    assert_eq!(stream.charge_up(1).await, Err(NoCredit::BalanceDepleted));
    assert_eq!((stream.bytes_up(), stream.bytes_down()), (60, 60));
}

#[tokio::test(start_paused = true)]
async fn credit_opens_a_depleted_account_at_once() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 0));
    let process = gateway.start().await;
    assert_eq!(
        process.begin(account).await.unwrap_err(),
        BeginError::BalanceDepleted
    );
    gateway.ledger.add(account, MIB);
    assert_eq!(
        process.begin(account).await.unwrap_err(),
        BeginError::BalanceDepleted,
        "believed for a moment"
    );
    process.meters.purse_changed(account);
    process.begin(account).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_from_a_balance_is_not_served_under_a_lease_from_before() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 4_000 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1_000).await.unwrap();
    assert!(gateway.ledger.books(account).leased_bytes >= 200 * MIB);

    gateway.ledger.add(account, -(3_990 * MIB));
    process.meters.purse_changed(account);
    sleep(gateway.config.settle_interval).await;
    let books = gateway.ledger.books(account);
    assert!(books.leased_bytes <= books.bytes, "{books:?}");
    while stream.charge_down(CHUNK).await.is_ok() {}
    let used = counted(std::slice::from_ref(&stream));
    assert!(
        (10 * MIB..10 * MIB + 64 * 1024).contains(&used),
        "all that was left, and one chunk over at most: {used}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lowered_balance_is_heeded_when_the_ledger_is_back() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 4_000 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1_000).await.unwrap();
    gateway.ledger.away.store(true, SeqCst);
    gateway.ledger.add(account, -(3_990 * MIB));
    process.meters.purse_changed(account);
    for _ in 0..64 {
        stream.charge_down(CHUNK).await.unwrap();
    }
    gateway.ledger.away.store(false, SeqCst);
    sleep(Duration::from_secs(10)).await;
    let books = gateway.ledger.books(account);
    assert!(books.leased_bytes <= books.bytes, "{books:?}");
}

#[tokio::test(start_paused = true)]
async fn a_balance_that_stays_large_keeps_its_lease() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1_000).await.unwrap();
    let leased_bytes = gateway.ledger.books(account).leased_bytes;
    gateway.ledger.add(account, -(10 * MIB));
    process.meters.purse_changed(account);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(gateway.ledger.books(account).leased_bytes, leased_bytes);
}

#[tokio::test(start_paused = true)]
async fn credit_from_elsewhere_is_noticed_soon() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 0));
    let process = gateway.start().await;
    process.begin(account).await.unwrap_err();
    gateway.ledger.add(account, MIB);
    sleep(gateway.config.depleted_recheck).await;
    process.begin(account).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_at_rest_gives_its_lease_back_and_gets_another() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1000).await.unwrap();
    stream.finish(Outcome::Served);
    assert!(gateway.ledger.books(account).leased_bytes > 0);
    sleep(gateway.config.idle_return * 2).await;
    assert_eq!(gateway.ledger.books(account).leased_bytes, 0);
    process
        .begin(account)
        .await
        .unwrap()
        .charge_down(CHUNK)
        .await
        .unwrap();
    assert_eq!(process.close().await.unbooked, 0);
    assert_eq!(gateway.ledger.books(account).used_bytes, 1000 + 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_long_quiet_stream_does_not_lose_its_lease() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1).await.unwrap();
    sleep(gateway.config.idle_return * 5).await;
    assert_eq!(stream.count_up(1), Counted::Go);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_ours_costs_nothing_even_if_it_was_booked_before() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let (early, late) = (
        process.begin(account).await.unwrap(),
        process.begin(account).await.unwrap(),
    );
    early.charge_down(5000).await.unwrap();
    early.finish(Outcome::OurFailure("node_timeout"));
    late.charge_down(7000).await.unwrap();
    sleep(gateway.config.running_interval + ROUND).await;
    assert_eq!(
        gateway.ledger.books(account).used_bytes,
        7000,
        "the running one is booked meanwhile"
    );
    late.charge_down(1000).await.unwrap();
    late.finish(Outcome::OurFailure("connection_reset"));
    late.finish(Outcome::Served);
    sleep(ROUND).await;
    let row = gateway.ledger.row(late.request()).unwrap();
    assert_eq!(
        (row.bytes_down, row.billable, row.error.as_deref()),
        (8000, false, Some("connection_reset"))
    );
    assert_eq!(gateway.ledger.books(account).used_bytes, 0);
    assert_eq!(process.meters.balance(account).await.unwrap().bytes, 100 * MIB);
    process.close().await;
    assert_eq!(gateway.ledger.books(account).bytes, 100 * MIB);
}

#[tokio::test(start_paused = true)]
async fn the_balance_shown_is_less_what_is_not_booked_yet() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(300).await.unwrap();
    let shown = process.meters.balance(account).await.unwrap();
    assert_eq!((shown.bytes, shown.used_bytes), (MIB - 300, 300));
    stream.finish(Outcome::Served);
    sleep(ROUND).await;
    let shown = process.meters.balance(account).await.unwrap();
    assert_eq!((shown.bytes, shown.used_bytes), (MIB - 300, 300));
}

#[tokio::test(start_paused = true)]
async fn a_faster_account_takes_larger_leases() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 1_000 * MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    let slow = gateway.ledger.books(account).leased_bytes;
    for _ in 0..2000 {
        stream.charge_down(10 * CHUNK).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        if gateway.ledger.books(account).leased_bytes > slow * 2 {
            return;
        }
    }
    panic!("625 MiB a second and still leases of {slow} bytes");
}
