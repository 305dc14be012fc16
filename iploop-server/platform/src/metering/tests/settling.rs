use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::exits::{Exit, Place};
use crate::ids::NodeId;
use crate::metering::{Outcome, ProxyType};

#[tokio::test(start_paused = true)]
async fn the_record_says_what_was_learnt_on_the_way() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    let exit = Exit {
        node: NodeId::new(),
        ip: IpAddr::from([192, 0, 2, 7]),
        place: Place {
            country: Some("DE".into()),
            city: Some("Köln".into()),
            ..Place::default()
        },
        net: None,
        os: None,
    };
    stream.set_destination(ProxyType::Socks5, &"example.com:443");
    stream.set_exit(&exit);
    stream.set_session("a-b");
    stream.set_attempts(2);
    stream.set_status(200);
    stream.charge_up(10).await.unwrap();
    let other_half = stream.clone();
    other_half.charge_down(20).await.unwrap();
    sleep(ROUND).await;
    assert!(
        gateway.ledger.row(stream.request()).is_none(),
        "running ones are booked more seldom"
    );
    stream.finish(Outcome::Failed("connection_reset"));
    sleep(ROUND).await;
    let row = gateway.ledger.row(stream.request()).unwrap();
    assert_eq!(
        (row.bytes_up, row.bytes_down, row.attempts, row.status),
        (10, 20, 2, Some(200))
    );
    assert_eq!(
        (row.proxy_type.as_str(), row.destination.as_str()),
        ("socks5", "example.com:443")
    );
    assert_eq!((row.node, row.session.as_deref()), (Some(exit.node), Some("a-b")));
    assert_eq!(
        (row.exit_country.as_deref(), row.exit_city.as_deref()),
        (Some("DE"), Some("Köln"))
    );
    assert_eq!(
        (row.error.as_deref(), row.billable),
        (Some("connection_reset"), true)
    );
    assert_eq!(row.ended_at.unwrap().since(row.started_at), ROUND);
}

#[tokio::test(start_paused = true)]
async fn endless_text_does_not_reach_journal_or_ledger() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.set_destination(ProxyType::Http, &"ü".repeat(100_000));
    stream.finish(Outcome::Served);
    process.close().await;
    assert_eq!(
        gateway.ledger.row(stream.request()).unwrap().destination,
        "ü".repeat(150)
    );
}

#[tokio::test(start_paused = true)]
async fn a_meter_dropped_without_a_word_is_booked() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    let request = stream.request();
    stream.charge_up(77).await.unwrap();
    drop(stream);
    sleep(ROUND).await;
    let row = gateway.ledger.row(request).unwrap();
    assert_eq!((row.bytes_up, row.ended_at.is_some()), (77, true));
    assert_eq!(
        process.meters.requests(),
        0,
        "what is booked to its end is forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_counted_after_the_end_are_booked_too() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    stream.finish(Outcome::Served);
    sleep(ROUND).await;
    stream.charge_down(99).await.unwrap();
    sleep(ROUND).await;
    assert_eq!(gateway.ledger.row(stream.request()).unwrap().bytes_down, 99);
    process.close().await;
    assert_eq!(gateway.ledger.books(account).used_bytes, 99);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_booked_only_after_the_journal_has_it() {
    let account = AccountId::new();
    let config = MeteringConfig {
        journal_interval: ROUND * 4,
        ..MeteringConfig::default()
    };
    let gateway = Gateway::with(MemoryLedger::with(account, MIB), config);
    let process = gateway.start().await;
    let stream = process.begin(account).await.unwrap();
    sleep(TICK).await;
    stream.finish(Outcome::OurFailure("node_timeout"));
    sleep(ROUND * 2).await;
    assert!(gateway.ledger.row(stream.request()).is_none());
    sleep(ROUND * 3).await;
    assert!(gateway.ledger.row(stream.request()).is_some());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_requests_cost_a_few_calls() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    for _ in 0..5000 {
        let stream = process.begin(account).await.unwrap();
        stream.charge_up(100).await.unwrap();
        stream.finish(Outcome::Served);
    }
    assert_eq!(process.close().await.unbooked, 0);
    assert_eq!(gateway.ledger.rows(), 5000);
    assert_eq!(gateway.ledger.books(account).used_bytes, 500_000);
    assert!(gateway.ledger.settles.load(SeqCst) <= 10);
}

#[tokio::test(start_paused = true)]
async fn one_record_that_the_store_refuses_holds_up_no_other() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, MIB));
    let process = gateway.start().await;
    let bad = RequestId::new();
    gateway.ledger.refuse(bad);
    let mut good = Vec::new();
    for round in 0..6 {
        if round == 1 {
            let stream = process.meters.begin(account, any_key(), bad).await.unwrap();
            stream.charge_up(13).await.unwrap();
        }
        for _ in 0..20 {
            let stream = process.begin(account).await.unwrap();
            stream.charge_up(7).await.unwrap();
            good.push(stream.request());
        }
        sleep(ROUND).await;
    }
    for request in good {
        assert_eq!(gateway.ledger.row(request).unwrap().bytes_up, 7);
    }
    let kept = std::fs::read_to_string(gateway.journal_dir().join("unbookable.jsonl")).unwrap();
    assert!(
        kept.lines().count() == 1 && kept.contains(&bad.to_string()),
        "{kept}"
    );
    assert_eq!(process.meters.requests(), 0);
    assert_eq!(process.close().await.unbooked, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_what_runs_books_it_and_returns_the_leases() {
    let account = AccountId::new();
    let gateway = Gateway::new(MemoryLedger::with(account, 100 * MIB));
    let process = gateway.start().await;
    let meters = process.meters.clone();
    let stream = process.begin(account).await.unwrap();
    stream.charge_up(1234).await.unwrap();
    assert_eq!(process.close().await, Closed { unbooked: 0 });
    stream.charge_up(1).await.unwrap_err();
    assert!(meters.begin(account, any_key(), RequestId::new()).await.is_err());
    let row = gateway.ledger.row(stream.request()).unwrap();
    assert_eq!(
        (row.bytes_up, row.error.as_deref(), row.billable),
        (1234, Some("draining"), true)
    );
    assert_eq!(gateway.ledger.books(account).leased_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn two_gateways_never_serve_the_same_byte() {
    let account = AccountId::new();
    let ledger = MemoryLedger::with(account, 20 * MIB);
    let gateways = [
        Gateway::new(Arc::clone(&ledger)),
        Gateway::new(Arc::clone(&ledger)),
    ];
    let mut served = 0;
    let mut processes = Vec::new();
    for gateway in &gateways {
        processes.push(gateway.start().await);
    }
    let relays = processes.iter().map(|process| async move {
        let stream = process.begin(account).await.unwrap();
        while stream.charge_up(CHUNK).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        counted([&stream])
    });
    for used in futures_util::future::join_all(relays).await {
        served += used;
    }
    for process in processes {
        process.close().await;
    }
    assert!(served <= 20 * MIB + 2 * 64 * 1024, "{served}");
    assert_eq!(ledger.books(account).used_bytes, served);
}
