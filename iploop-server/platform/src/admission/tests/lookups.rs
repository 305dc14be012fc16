//! When the database is asked for keys, and what goes on without it.

use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_wrong_login_after_a_right_one_from_the_same_address_is_refused() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let wrong = world.login_as("iploop", &key_text(2), CLIENT).await.unwrap_err();
    assert!(matches!(wrong, AdmissionError::UnknownKey));
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn guessing_keys_soon_costs_the_database_nothing() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let mut limited = 0;
    for number in 100..1100 {
        match world.login_as("iploop", &key_text(number), CLIENT).await {
            Err(AdmissionError::UnknownKey) => {}
            Err(AdmissionError::RateLimited { retry_after }) => {
                assert!(retry_after <= Duration::from_millis(100));
                limited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((limited, world.lookups()), (950, 51));
    world
        .login("")
        .await
        .expect("a known key is not kept out by its neighbours");
    let elsewhere = world
        .login_as("iploop", &key_text(1), [198, 51, 100, 1].into())
        .await;
    elsewhere.expect("nor is another address");
    advance(Duration::from_secs(1)).await;
    for number in 2000..2020 {
        let _ = world.login_as("iploop", &key_text(number), CLIENT).await;
    }
    assert_eq!(world.lookups(), 61, "ten more a second later");
}

#[tokio::test(start_paused = true)]
async fn the_same_wrong_key_is_looked_up_once_in_a_while() {
    let world = World::new().await;
    for _ in 0..40 {
        world.login_as("iploop", &key_text(9), CLIENT).await.unwrap_err();
    }
    assert_eq!(world.lookups(), 1);
    advance(Duration::from_secs(5)).await;
    world.login_as("iploop", &key_text(9), CLIENT).await.unwrap_err();
    assert_eq!(world.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_first_logins_with_one_key_are_one_lookup() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 1000).await;
    let logins = (0..500).map(|_| world.login(""));
    let admitted = futures_util::future::join_all(logins).await;
    assert!(admitted.iter().all(Result::is_ok));
    assert_eq!(world.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_read_anew_while_it_is_used_and_change_elsewhere_is_noticed() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.change(|grant| grant.key.is_active = false);
    advance(Duration::from_secs(15)).await;
    assert_eq!(world.code("").await, "admitted");
    advance(Duration::from_secs(6)).await;
    assert_eq!(world.code("").await, "key_inactive");
    world.change(|grant| grant.key.is_active = true);
    advance(Duration::from_secs(31)).await;
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn a_change_told_is_believed_at_once() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let key = world.keys.grants.lock().values().next().unwrap().key.id;
    world.change(|grant| grant.key.is_active = false);
    world.admission.key_changed(key);
    assert_eq!(world.code("").await, "key_inactive");
    world.change(|grant| grant.account_status = AccountStatus::Suspended);
    world.change(|grant| grant.key.is_active = true);
    world.admission.account_changed(world.account);
    assert_eq!(world.code("").await, "account_suspended");
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_lookup_is_not_overwritten_by_what_was_read_before() {
    let world = World::new().await;
    let told = Arc::new(Notify::new());
    *world.keys.slow.lock() = Some(Arc::clone(&told));
    let mut login = Box::pin(world.login(""));
    while world.lookups() == 0 {
        assert!(futures_util::poll!(&mut login).is_pending());
    }
    world.change(|grant| grant.key.is_active = false);
    world.admission.account_changed(world.account);
    told.notify_one();
    assert_eq!(login.await.unwrap_err().code(), "key_inactive");
    assert_eq!(world.code("").await, "key_inactive");
}

#[tokio::test(start_paused = true)]
async fn without_the_database_known_keys_go_on_unknown_get_503_and_revoked_stay_revoked() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    advance(Duration::from_secs(40 * 60)).await;
    for _ in 0..3 {
        world.login("").await.unwrap();
    }
    let unknown = world.login_as("iploop", &key_text(7), CLIENT).await.unwrap_err();
    assert_eq!((unknown.status(), unknown.code()), (503, "unavailable"));
    assert!(unknown.retry_after().is_some());
    advance(Duration::from_secs(30 * 60)).await;
    assert_eq!(world.code("").await, "unavailable", "not for ever");
    world.keys.away.store(false, SeqCst);
    advance(Duration::from_secs(1)).await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    world.admission.account_changed(world.account);
    assert_eq!(
        world.code("").await,
        "unavailable",
        "what was told to be changed is not believed any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_delays_known_keys_little_and_seldom() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 1000).await;
    world.login("").await.unwrap();
    world.keys.hangs.store(true, SeqCst);
    advance(Duration::from_secs(31)).await;
    let asked = Instant::now();
    let logins = futures_util::future::join_all((0..500).map(|_| world.login(""))).await;
    assert!(logins.iter().all(Result::is_ok), "known keys go on");
    drop(logins);
    assert_eq!(
        asked.elapsed(),
        Duration::from_millis(500),
        "all wait for the same answer"
    );
    for _ in 0..40 {
        world.login("").await.unwrap();
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(
        asked.elapsed(),
        Duration::from_millis(500 + 4000),
        "and then nobody waits for a while"
    );
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_left_alone_for_a_moment() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    advance(Duration::from_secs(31)).await;
    let before = world.lookups();
    let asked = Instant::now();
    for number in 0..40 {
        let _ = world.login_as("iploop", &key_text(1 + number % 3), CLIENT).await;
    }
    assert_eq!(world.lookups() - before, 1);
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_key_is_written_once_a_minute_in_batches() {
    let world = World::new().await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn({
        let (admission, shutdown) = (world.admission.clone(), shutdown.clone());
        async move { admission.run(shutdown).await }
    });
    for _ in 0..130 {
        world.login("").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.keys.touched.lock().len(), 3, "at 0, 60 and 120 seconds");
    advance(Duration::from_secs(60)).await;
    world.login("").await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(world.keys.touched.lock().len(), 4, "the last one at the end");
}
