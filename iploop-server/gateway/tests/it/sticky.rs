//! Sessions that say what they did: fail-over, addresses that change, restarts, bounds, and the API's side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_gateway::GatewayConfig;
use iploop_platform::exits::ExitError;
use iploop_platform::sticky::{LiveSessions as _, SessionError};
use iploop_protocol::targeting::Targeting;

use crate::exits::Trouble;
use crate::store::{KEY, OTHERS_KEY, SECOND_KEY};
use crate::world::{Setup, World, echo_origin, field, get, login_with, status};

/// A world of so many exits, 198.51.100.1 and so on.
async fn world(exits: u8, to: SocketAddr) -> World {
    let setup = Setup {
        exits,
        ..Setup::default()
    };
    World::start_with(setup, &[to]).await
}

/// By which exit a request was served, and what its answer says of the session; or its error.
async fn ask(world: &World, to: SocketAddr, parameters: &str) -> String {
    told(&world.ask(&get(to, parameters)).await)
}

fn told(answer: &str) -> String {
    match status(answer) {
        200 => {
            let ip = field(answer, "X-IPLoop-Exit-Ip").expect("an exit");
            let exit = ip.rsplit('.').next().expect("an address");
            format!("{exit} {}", field(answer, "X-IPLoop-Session").unwrap_or("-"))
        }
        status => format!("{status} {}", field(answer, "X-IPLoop-Error").unwrap_or("-")),
    }
}

#[tokio::test]
async fn every_failover_mode_takes_the_same_address_first_and_announces_any_other() {
    let (to, _origin) = echo_origin().await;
    // Exit 2 is behind the address of 1, 3 in another network, 4 in the same.
    for (mode, then) in [
        ("any", "3 rotated"),
        ("same-asn", "4 rotated"),
        ("same-ip", "503 session_exit_gone"),
        ("none", "503 session_exit_gone"),
    ] {
        let world = world(4, to).await;
        world.exits.readdress(2, 1, None);
        world.exits.readdress(3, 3, Some(64999));
        let parameters = format!("-session-a-failover-{mode}");
        assert_eq!(ask(&world, to, &parameters).await, "1 a", "{mode}");
        world.exits.remove(1);
        assert_eq!(
            ask(&world, to, &parameters).await,
            "1 a",
            "{mode}: another device, the same address"
        );
        world.exits.remove(2);
        assert_eq!(ask(&world, to, &parameters).await, then, "{mode}");
        // It stays like that: with the new exit, or without one until the old address is back.
        let later = ask(&world, to, &parameters).await;
        assert_eq!(later, then.replace("rotated", "a"), "{mode}");
        if then.starts_with("503") {
            world.exits.bring_back(2);
            assert_eq!(
                ask(&world, to, &parameters).await,
                "1 a",
                "{mode}: nothing changed for the customer"
            );
        }
    }
}

#[tokio::test]
async fn an_exit_that_vanished_unnoticed_is_gone_for_a_session_without_failover() {
    let (to, _origin) = echo_origin().await;
    let world = world(2, to).await;
    ask(&world, to, "-session-a-failover-none").await;
    world.exits.trouble(1, Trouble::Error(ExitError::NodeUnavailable));
    assert_eq!(
        ask(&world, to, "-session-a-failover-none").await,
        "503 session_exit_gone"
    );
}

#[tokio::test]
async fn what_its_exit_may_not_do_does_not_move_a_session() {
    let (to, _origin) = echo_origin().await;
    for (error, expected) in [
        (ExitError::TooMany, "429 too_many_connections"),
        (
            ExitError::Forbidden("owner_list".to_owned()),
            "403 destination_forbidden",
        ),
    ] {
        let world = world(2, to).await;
        assert_eq!(ask(&world, to, "-session-a").await, "1 a");
        world.exits.trouble(1, Trouble::Error(error));
        assert_eq!(ask(&world, to, "-session-a").await, expected);
        assert_eq!(ask(&world, to, "-session-a").await, "1 a");
    }
}

#[tokio::test]
async fn a_device_with_a_new_address_is_followed_and_announced() {
    let (to, _origin) = echo_origin().await;
    let world = world(3, to).await;
    world.exits.remove(1);
    assert_eq!(ask(&world, to, "-session-a").await, "2 a");
    assert_eq!(ask(&world, to, "-session-b-failover-none").await, "2 b");
    world.exits.bring_back(1);
    world.exits.readdress(2, 77, None);
    assert_eq!(ask(&world, to, "-session-a").await, "77 rotated");
    assert_eq!(
        ask(&world, to, "-session-b-failover-none").await,
        "503 session_exit_gone"
    );
}

#[tokio::test]
async fn a_session_that_rotates_with_the_address_has_ended_the_moment_it_changes() {
    let (to, _origin) = echo_origin().await;
    let world = world(1, to).await;
    let parameters = "-session-a-rotate-ip-change-failover-none";
    assert_eq!(ask(&world, to, parameters).await, "1 a");
    let account = world.store.account();
    assert!(world.gateway.session(account, "a").is_some());
    world.exits.readdress(1, 77, None);
    assert!(
        world.gateway.session(account, "a").is_none(),
        "without a request in between"
    );
    assert_eq!(world.gateway.sessions(account, None, 10), []);
    assert_eq!(
        ask(&world, to, parameters).await,
        "77 rotated",
        "not gone: a new session"
    );
    assert_eq!(ask(&world, to, parameters).await, "77 a");
    assert_eq!(world.gateway.session(account, "a").unwrap().session.requests, 2);
}

#[tokio::test]
async fn two_keys_of_an_account_share_a_session_and_two_accounts_never_do() {
    let (to, _origin) = echo_origin().await;
    let world = world(3, to).await;
    let by = |key: &str| {
        let login = login_with(key, "-session-a");
        let request = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{login}\r\n");
        let world = &world;
        async move { told(&world.ask(request.as_bytes()).await) }
    };
    world.exits.remove(1);
    assert_eq!(by(KEY).await, "2 a");
    world.exits.bring_back(1);
    assert_eq!(by(SECOND_KEY).await, "2 a");
    assert_eq!(by(OTHERS_KEY).await, "1 a");
    assert_eq!(by(KEY).await, "2 a");
    assert_eq!(world.gateway.sessions(world.store.account(), None, 10).len(), 1);
}

#[tokio::test]
async fn a_session_goes_on_through_its_exit_after_a_restart() {
    let (to, _origin) = echo_origin().await;
    let world = world(3, to).await;
    world.exits.remove(1);
    assert_eq!(ask(&world, to, "-session-a").await, "2 a");
    assert_eq!(ask(&world, to, "-session-m-rotate-manual").await, "2 m");
    let account = world.store.account();
    world.gateway.rotate(account, "m").await.unwrap();
    world.exits.bring_back(1);
    world.exits.remove(2);
    let config = Setup::default().config;
    let world = world.restart(config, &[to]).await;
    let before = world.gateway.session(account, "a").unwrap();
    assert_eq!((before.session.requests, before.running), (1, 0));
    assert!(before.session.bytes_down > 0);

    // The device is not back yet: the request waits for it.
    let looked = world.exits.looked();
    let request = get(to, "-session-a");
    let mut asked = Box::pin(world.ask(&request));
    while world.exits.looked() < looked + 2 {
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    }
    world.exits.bring_back(2);
    assert_eq!(told(&asked.await), "2 a");
    assert_eq!(
        ask(&world, to, "-session-m-rotate-manual").await,
        "1 rotated",
        "what was given up before stays so"
    );
}

#[tokio::test]
async fn after_a_restart_a_session_whose_exit_stays_away_fails_over_as_it_says() {
    let (to, _origin) = echo_origin().await;
    let world = world(2, to).await;
    assert_eq!(ask(&world, to, "-session-a").await, "1 a");
    assert_eq!(ask(&world, to, "-session-b-failover-none").await, "1 b");
    world.exits.remove(1);
    let config = GatewayConfig {
        session_grace: Duration::from_millis(10),
        ..Setup::default().config
    };
    let world = world.restart(config, &[to]).await;
    assert_eq!(ask(&world, to, "-session-a").await, "2 rotated");
    assert_eq!(
        ask(&world, to, "-session-b-failover-none").await,
        "503 session_exit_gone"
    );
}

#[tokio::test]
async fn one_session_too_many_is_an_error_with_a_way_out() {
    let (to, _origin) = echo_origin().await;
    let mut setup = Setup::default();
    setup.config.max_sessions_per_account = 2;
    let world = World::start_with(setup, &[to]).await;
    let first = ask(&world, to, "-session-a").await;
    ask(&world, to, "-session-b").await;
    let answer = world.ask(&get(to, "-session-c")).await;
    assert_eq!(told(&answer), "429 too_many_sessions");
    let wait: u64 = field(&answer, "Retry-After").unwrap().parse().unwrap();
    assert!((590..=600).contains(&wait), "{answer}");
    assert!(answer.contains("DELETE /api/proxy/sessions"), "{answer}");
    assert_eq!(ask(&world, to, "-session-a").await, first, "live ones stay");
    let account = world.store.account();
    world.gateway.end(account, "b").await.unwrap();
    assert!(ask(&world, to, "-session-c").await.ends_with(" c"));
    let targeting = Arc::new(Targeting::parse("session-d").unwrap());
    let made = world.gateway.create(account, targeting).await;
    assert!(
        matches!(made, Err(SessionError::TooMany { limit: 2, .. })),
        "{made:?}"
    );
}

#[tokio::test]
async fn a_session_made_ahead_is_listed_used_rotated_and_ended() {
    let (to, _origin) = echo_origin().await;
    let world = world(2, to).await;
    let account = world.store.account();
    let targeting = Arc::new(Targeting::parse("country-US-session-cart-lifetime-30").unwrap());
    let made = world
        .gateway
        .create(account, Arc::clone(&targeting))
        .await
        .unwrap();
    assert_eq!((made.session.exit, made.session.requests), (None, 0));
    assert_eq!(made.session.targeting, targeting.to_string());
    let again = world.gateway.create(account, targeting).await;
    assert!(matches!(again, Err(SessionError::Exists)));

    let parameters = "-country-US-session-cart-lifetime-30";
    assert_eq!(ask(&world, to, parameters).await, "1 cart");
    ask(&world, to, "-session-b").await;
    let listed = world.gateway.sessions(account, None, 10);
    let names: Vec<_> = listed.iter().map(|live| live.session.name.as_str()).collect();
    assert_eq!(names, ["b", "cart"]);
    assert_eq!(world.gateway.sessions(account, Some("b"), 10).len(), 1);
    let used = world.gateway.session(account, "cart").unwrap();
    let exit = used.session.exit.clone().unwrap();
    assert_eq!(
        (exit.ip.to_string(), exit.country.as_deref()),
        ("198.51.100.1".to_owned(), Some("US"))
    );
    assert_eq!(used.expires_at.since(exit.since), Duration::from_secs(1800));
    assert!(used.session.api_key.is_some());

    let rotated = world.gateway.rotate(account, "cart").await.unwrap();
    assert_eq!(rotated.session.exit, None);
    assert_eq!(ask(&world, to, parameters).await, "2 rotated");
    assert_eq!(
        world.gateway.session(account, "cart").unwrap().session.rotations,
        1
    );

    world.gateway.end(account, "cart").await.unwrap();
    assert!(matches!(
        world.gateway.end(account, "cart").await,
        Err(SessionError::NotFound)
    ));
    assert_eq!(world.gateway.end_all(account, &[]).await.unwrap(), 1);
    assert_eq!(world.gateway.sessions(account, None, 10), []);
    // Ended for good: not even a restart brings them back.
    let world = world.restart(Setup::default().config, &[to]).await;
    assert_eq!(world.gateway.sessions(account, None, 10), []);
}
