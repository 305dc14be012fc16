//! Limits of single keys and of the day.

use super::*;
use crate::keys::WantedLimits;
use crate::metering::NoCredit;

/// The key of [`World`] with these limits.
fn with_limits(limits: &WantedLimits) -> impl FnOnce(&mut KeyGrant) {
    let limits = limits.check().unwrap();
    move |grant| grant.key.limits = limits
}

#[tokio::test(start_paused = true)]
async fn a_keys_rate_and_connections_hold_beside_the_plans() {
    let world = World::with(with_limits(&WantedLimits {
        requests_per_second: Some(2),
        burst: Some(4),
        max_connections: Some(2),
        ..WantedLimits::default()
    }))
    .await;
    let first = world.login("").await.unwrap();
    let _second = world.login("").await.unwrap();
    let error = world.login("").await.unwrap_err();
    assert!(
        matches!(error, AdmissionError::KeyConnections { limit: 2 }),
        "{error:?}"
    );
    drop(first);
    let _third = world.login("").await.unwrap();
    let error = world.login("").await.unwrap_err();
    assert_eq!(error.code(), "rate_limited");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(500)));
    advance(Duration::from_millis(500)).await;
    assert_eq!(world.code("").await, "too_many_connections");
}

#[tokio::test(start_paused = true)]
async fn a_key_for_countries_narrows_what_is_asked_for_and_refuses_others() {
    let world = World::with(with_limits(&WantedLimits {
        countries: vec!["DE".to_owned(), "FR".to_owned()],
        ..WantedLimits::default()
    }))
    .await;
    for (asked, admitted) in [
        ("", "country-DE+FR"),
        ("-country-FR", "country-FR"),
        ("-exclude-US", "country-DE+FR-exclude-US"),
    ] {
        let targeting = world.login(asked).await.unwrap().targeting().to_string();
        assert_eq!(targeting, admitted, "{asked}");
    }
    for asked in ["-country-US", "-country-DE+US", "-exclude-DE+FR"] {
        assert_eq!(world.code(asked).await, "key_country_forbidden", "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keys_bytes_are_read_once_counted_in_memory_and_end_its_streams() {
    let day = WantedLimits {
        bytes_per_day: Some(1_000_000),
        ..WantedLimits::default()
    };
    let world = World::with(with_limits(&day)).await;
    world.keys.used_bytes.store(900_000, SeqCst);
    let admitted = world.login("").await.unwrap();
    for _ in 0..10 {
        drop(world.login("").await.unwrap());
    }
    assert_eq!(world.keys.usage_reads.load(SeqCst), 1);
    let meter = admitted.meter();
    meter.charge_down(60_000).await.unwrap();
    let left = admitted.limits();
    let left = left.iter().find(|limit| limit.name == "key-bytes-day").unwrap();
    assert_eq!((left.quota, left.remaining), (1_000_000, 40_000));
    meter.charge_up(60_000).await.unwrap();
    assert_eq!(meter.charge_down(1).await, Err(NoCredit::KeyQuotaExceeded));
    let error = world.login("").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (402, "key_quota_exceeded"));
    let midnight = world.clock.now().next_day().since(world.clock.now());
    assert_eq!(error.retry_after(), Some(midnight));
    advance(midnight).await;
    meter.charge_down(1).await.unwrap();
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_holds_for_a_running_stream_within_seconds() {
    let world = World::new().await;
    let shutdown = CancellationToken::new();
    let (admission, stop) = (world.admission.clone(), shutdown.clone());
    let running = tokio::spawn(async move { admission.run(stop).await });
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(500_000).await.unwrap();
    let low = WantedLimits {
        bytes_total: Some(400_000),
        ..WantedLimits::default()
    };
    world.change(with_limits(&low));
    world.admission.key_changed(admitted.api_key());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(
        admitted.meter().charge_down(1).await,
        Err(NoCredit::KeyQuotaExceeded),
        "at once where the change is told"
    );
    // A change by another process, which nobody tells.
    let high = WantedLimits {
        bytes_total: Some(600_000),
        ..WantedLimits::default()
    };
    world.change(with_limits(&high));
    tokio::time::sleep(AdmissionConfig::default().key_refresh_interval).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    admitted.meter().charge_down(1).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_of_other_gateways_count_once_they_are_booked() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(1_000_000),
        ..WantedLimits::default()
    }))
    .await;
    let shutdown = CancellationToken::new();
    let (admission, stop) = (world.admission.clone(), shutdown.clone());
    let running = tokio::spawn(async move { admission.run(stop).await });
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(10).await.unwrap();
    world.keys.used_bytes.store(1_000_000, SeqCst);
    tokio::time::sleep(AdmissionConfig::default().key_refresh_interval + Duration::from_millis(10)).await;
    assert_eq!(
        admitted.meter().charge_down(1).await,
        Err(NoCredit::KeyQuotaExceeded)
    );
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_database_a_key_with_unknown_use_waits_and_a_known_one_goes_on() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(1_000_000),
        ..WantedLimits::default()
    }))
    .await;
    drop(world.login("").await.unwrap());
    world.keys.away.store(true, SeqCst);
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn what_our_side_broke_is_forgiven_up_to_the_days_bound_also_after_a_restart() {
    let world = World::new().await;
    let most = AdmissionConfig::default().forgiven_bytes_per_day;
    // Read at the account's first request: what was forgiven before a restart counts.
    world.keys.forgiven_today.store(most - 100, SeqCst);
    let broken = async |bytes: usize| {
        let admitted = world.login("").await.unwrap();
        let id = admitted.meter().request();
        admitted.meter().charge_down(bytes).await.unwrap();
        admitted.finish(Outcome::OurFailure("exit_lost"));
        id
    };
    let forgiven = broken(50_000).await;
    let paid = broken(60_000).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let row = |id| world.ledger.row(id).unwrap();
    assert!(!row(forgiven).billable);
    assert!(row(paid).billable);
    assert_eq!(row(paid).error.as_deref(), Some("exit_lost"));
    assert_eq!(world.ledger.billed(world.account), 60_000);
    assert_eq!(world.ledger.books(world.account).used_bytes, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_refund_gives_the_key_its_bytes_back_too() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(100_000),
        ..WantedLimits::default()
    }))
    .await;
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(60_000).await.unwrap();
    admitted.meter().charge_down(60_000).await.unwrap();
    assert_eq!(world.code("").await, "key_quota_exceeded");
    // Long enough to be booked while it runs.
    tokio::time::sleep(Duration::from_secs(15)).await;
    admitted.finish(Outcome::OurFailure("exit_lost"));
    assert_eq!(world.code("").await, "admitted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.ledger.billed(world.account), 0);
    let left = world.login("").await.unwrap().limits();
    let left = left.iter().find(|limit| limit.name == "key-bytes-total").unwrap();
    assert_eq!(left.remaining, 100_000);
}
