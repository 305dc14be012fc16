//! What is asked of every request, and its answers.

use tokio::sync::Notify;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_known_key_is_admitted_without_the_database() {
    let world = World::new().await;
    for _ in 0..1000 {
        let admitted = world.login("").await.unwrap();
        assert_eq!(admitted.account(), world.account);
        assert_eq!(admitted.plan().name, "Starter");
    }
    assert_eq!(world.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_user_name_must_not_contradict_the_key() {
    let world = World::new().await;
    let key = key_text(1);
    let id = world.account.to_string();
    let short = short_id(world.account);
    for user in [
        "iploop",
        id.as_str(),
        id.to_uppercase().as_str(),
        short.as_str(),
        short.to_uppercase().as_str(),
    ] {
        world.login_as(user, &key, CLIENT).await.unwrap();
    }
    let other = AccountId::new();
    for user in [other.to_string(), short_id(other), "someone".to_owned()] {
        let error = world.login_as(&user, &key, CLIENT).await.unwrap_err();
        assert!(matches!(error, AdmissionError::UserMismatch), "{error:?}");
        assert_eq!((error.status(), error.code()), (407, "credentials_invalid"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_check_has_its_own_answer() {
    for (change, code) in [
        (
            (|grant| grant.key.is_active = false) as fn(&mut KeyGrant),
            "key_inactive",
        ),
        (
            |grant| grant.key.expires_at = Some(Timestamp::from_millis(1_764_000_000_000)),
            "key_expired",
        ),
        (
            |grant| grant.account_status = AccountStatus::Suspended,
            "account_suspended",
        ),
        (
            |grant| grant.account_status = AccountStatus::Deleted,
            "account_deleted",
        ),
        (|grant| grant.email_verified = false, "email_unverified"),
        (
            |grant| grant.key.ip_whitelist = vec!["198.51.100.0/24".parse().unwrap()],
            "ip_not_allowed",
        ),
        (
            |grant| grant.plan.max_concurrent_connections = 0,
            "too_many_connections",
        ),
        (|grant| grant.plan.requests_per_day = 0, "daily_requests"),
        (|grant| grant.key.account = AccountId::new(), "balance_depleted"),
        (
            |grant| grant.key.expires_at = Some(Timestamp::from_millis(1_764_000_000_001)),
            "admitted",
        ),
        (
            |grant| grant.key.ip_whitelist = vec!["192.0.2.0/30".parse().unwrap()],
            "admitted",
        ),
    ] {
        assert_eq!(World::with(change).await.code("").await, code);
    }
}

#[tokio::test(start_paused = true)]
async fn an_allow_list_knows_ipv4_in_its_ipv6_form() {
    let world = World::with(|grant| {
        grant.key.ip_whitelist = vec!["192.0.2.0/30".parse().unwrap(), "2001:db8::/48".parse().unwrap()];
    })
    .await;
    for (client, allowed) in [
        ("192.0.2.3", true),
        ("::ffff:192.0.2.3", true),
        ("192.0.2.4", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:1::1", false),
    ] {
        let login = world
            .login_as("iploop", &key_text(1), client.parse().unwrap())
            .await;
        assert_eq!(login.is_ok(), allowed, "{client}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_outside_the_plan_is_named() {
    let world = World::new().await;
    for (text, parameter) in [
        ("-country-US-city-miami", "city"),
        ("-region-texas", "region"),
        ("-asn-7018", "asn"),
        ("-isp-telekom", "isp"),
        ("-session-a", "session"),
        ("-sesstype-sticky", "sesstype"),
    ] {
        match world.login(text).await {
            Err(error @ AdmissionError::PlanFeature { .. }) => {
                assert!(error.to_string().contains(&format!("`{parameter}`")), "{error}");
                assert!(error.to_string().contains("Starter"));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    world.login("-country-US-sesstype-rotating").await.unwrap();
    world.change(|grant| {
        grant.plan.gates = Gates {
            city: true,
            asn: true,
            sticky_sessions: true,
        }
    });
    world.admission.account_changed(world.account);
    world
        .login("-country-US-city-miami-asn-7018-session-a")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_until_they_end_in_any_way() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 2).await;
    let first = world.login("").await.unwrap();
    let second = world.login("").await.unwrap();
    let refused = world.login("").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after()),
        ("too_many_connections", Some(Duration::from_secs(1)))
    );
    first.finish(Outcome::Served);
    let third = world.login("").await.unwrap();
    drop(second);
    world.login("").await.unwrap();
    drop(third);
    let mut waiting = Box::pin(world.login("-country-US"));
    assert!(
        futures_util::poll!(&mut waiting).is_ready(),
        "memory answers at once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_it_waits_leaves_nothing_counted() {
    let world = World::with(|grant| {
        grant.plan.max_concurrent_connections = 1;
        grant.plan.requests_per_day = 1;
    })
    .await;
    world.ledger.hangs.store(true, SeqCst);
    let mut waiting = Box::pin(world.login(""));
    for _ in 0..10 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    world.ledger.hangs.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_day_ends_at_midnight_utc_and_counts_what_was_before_a_restart() {
    let world = World::with(|grant| grant.plan.requests_per_day = 100).await;
    world.keys.requests_today.store(97, SeqCst);
    for _ in 0..3 {
        world.login("").await.unwrap();
    }
    let refused = world.login("").await.unwrap_err();
    let midnight = Timestamp::from_millis((world.clock.now().as_millis() / 86_400_000 + 1) * 86_400_000);
    assert_eq!(
        (refused.code(), refused.retry_after()),
        ("daily_requests", Some(midnight.since(world.clock.now())))
    );
    advance(midnight.since(world.clock.now())).await;
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_for_the_balance_does_not_count_for_the_day() {
    let world = World::with(|grant| {
        grant.key.account = AccountId::new();
        grant.plan.requests_per_day = 1;
    })
    .await;
    for _ in 0..5 {
        assert_eq!(world.code("").await, "balance_depleted");
    }
}

#[tokio::test]
async fn suspension_ends_what_runs_and_refuses_what_was_being_admitted() {
    let world = World::new().await;
    let running = world.login("").await.unwrap();
    assert!(!running.cut().is_cancelled());
    // One that has read its key before the suspension, and asks for its connection after it.
    let told = Arc::new(Notify::new());
    world.admission.invalidate_account(world.account);
    *world.keys.slow.lock() = Some(Arc::clone(&told));
    let (late, ()) = tokio::join!(world.login(""), async {
        tokio::task::yield_now().await;
        for grant in world.keys.grants.lock().values_mut() {
            grant.account_status = AccountStatus::Suspended;
        }
        world.admission.account_suspended(world.account);
        told.notify_one();
    });
    assert!(matches!(late, Err(AdmissionError::AccountSuspended)), "{late:?}");
    assert!(running.cut().is_cancelled());
    drop(running);
    for grant in world.keys.grants.lock().values_mut() {
        grant.account_status = AccountStatus::Active;
    }
    world.admission.account_changed(world.account);
    let again = world.login("").await.unwrap();
    assert!(!again.cut().is_cancelled(), "what comes after is not touched");
}
