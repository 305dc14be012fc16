//! Rotating and sticky sessions through the whole gateway.

use iploop_platform::exits::OrElse;
use iploop_platform::sticky::LiveSessions as _;

use crate::world::{Setup, World, echo_origin, field, get, login, status};

/// The exit's address and the session of an answer.
async fn ask(world: &World, to: std::net::SocketAddr, parameters: &str) -> (String, Option<String>) {
    let answer = world.ask(&get(to, parameters)).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let ip = field(&answer, "X-IPLoop-Exit-Ip").expect("an exit").to_owned();
    (ip, field(&answer, "X-IPLoop-Session").map(str::to_owned))
}

#[tokio::test]
async fn without_a_session_the_exit_changes_where_there_is_another() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let mut before = String::new();
    for _ in 0..4 {
        let (ip, session) = ask(&world, to, "").await;
        assert_ne!(ip, before);
        assert_eq!(session, None);
        before = ip;
    }
    let single = World::start_with(
        Setup {
            exits: 1,
            ..Setup::default()
        },
        &[to],
    )
    .await;
    assert_eq!(
        ask(&single, to, "").await,
        ask(&single, to, "").await,
        "best effort"
    );
}

#[tokio::test]
async fn a_distinct_exit_is_distinct_or_an_error() {
    let (to, _origin) = echo_origin().await;
    for parameters in ["-sesstype-per-request", "-rotate-request"] {
        let world = World::start(&[to]).await;
        let mut before = String::new();
        for _ in 0..4 {
            let (ip, _) = ask(&world, to, parameters).await;
            assert_ne!(ip, before);
            before = ip;
        }
        let single = World::start_with(
            Setup {
                exits: 1,
                ..Setup::default()
            },
            &[to],
        )
        .await;
        ask(&single, to, parameters).await;
        let answer = single.ask(&get(to, parameters)).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (503, Some("no_distinct_exit"))
        );
    }
}

#[tokio::test]
async fn a_session_keeps_its_exit_and_announces_a_change() {
    let (to, _origin) = echo_origin().await;
    let world = World::start_with(
        Setup {
            exits: 3,
            ..Setup::default()
        },
        &[to],
    )
    .await;
    let first = ask(&world, to, "-session-a").await;
    assert_eq!(first.1.as_deref(), Some("a"));
    for _ in 0..3 {
        assert_eq!(ask(&world, to, "-session-a").await, first);
    }
    world.exits.remove(1);
    let (ip, session) = ask(&world, to, "-session-a").await;
    assert_ne!(ip, first.0);
    assert_eq!(session.as_deref(), Some("rotated"));
    assert_eq!(ask(&world, to, "-session-a").await, (ip, Some("a".to_owned())));
    let prefers: Vec<_> = world
        .exits
        .asked()
        .iter()
        .filter_map(|asked| asked.prefers.map(|(_, or_else)| or_else))
        .collect();
    let (same, any) = (OrElse::SameIp, OrElse::Any);
    assert_eq!(
        prefers,
        [same, same, same, same, any, same],
        "another exit only once its own is gone"
    );
}

#[tokio::test]
async fn a_session_without_failover_ends_with_its_exit() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    ask(&world, to, "-session-a-failover-none").await;
    world.exits.remove(1);
    let answer = world.ask(&get(to, "-session-a-failover-none")).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (503, Some("session_exit_gone"))
    );
}

#[tokio::test]
async fn a_derived_session_is_named_in_the_answer_and_works_by_that_name() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let (ip, name) = ask(&world, to, "-sesstype-sticky").await;
    let name = name.unwrap();
    assert_eq!(
        ask(&world, to, "-sesstype-sticky").await,
        (ip.clone(), Some(name.clone()))
    );
    assert_eq!(
        ask(&world, to, &format!("-session-{name}")).await,
        (ip, Some(name))
    );
}

#[tokio::test]
async fn a_session_rotates_on_demand() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let first = ask(&world, to, "-session-a-rotate-manual").await;
    let request = format!(
        "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nX-IPLoop-Rotate: 1\r\n{}\r\n",
        login("-session-a-rotate-manual")
    );
    let answer = world.ask(request.as_bytes()).await;
    assert_eq!(field(&answer, "X-IPLoop-Session"), Some("rotated"));
    assert_ne!(field(&answer, "X-IPLoop-Exit-Ip"), Some(first.0.as_str()));
    let account = world.store.account();
    assert!(world.gateway.rotate(account, "a").await.is_ok(), "by the API");
    assert_eq!(
        ask(&world, to, "-session-a-rotate-manual").await.0,
        first.0,
        "there and back"
    );
}

#[tokio::test]
async fn parallel_first_requests_of_a_session_share_an_exit() {
    let (to, _origin) = echo_origin().await;
    let world = World::start_with(
        Setup {
            exits: 8,
            ..Setup::default()
        },
        &[to],
    )
    .await;
    let request = get(to, "-session-a");
    let answers = futures_util::future::join_all((0..8).map(|_| world.ask(&request))).await;
    for answer in &answers {
        assert_eq!(
            field(answer, "X-IPLoop-Exit-Ip"),
            Some("198.51.100.1"),
            "{answer}"
        );
    }
}
