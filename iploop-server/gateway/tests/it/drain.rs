//! Leaving without a failed request, and the limits on connections.

use std::time::Duration;

use crate::world::{Customer, Origin, Setup, World, connect, echo_origin, field, get, login, status};

#[tokio::test(start_paused = true)]
async fn draining_serves_first_then_refuses_and_lets_tunnels_finish() {
    let mut origin = Origin::start().await;
    let (echo, _echo) = echo_origin().await;
    let mut setup = Setup::default();
    setup.config.soft_drain = Duration::from_secs(5);
    let world = World::start_with(setup, &[origin.address, echo]).await;
    let mut tunnel = world.connect().await;
    tunnel.send(&connect(origin.address, "")).await;
    tunnel.head().await;
    let mut at_origin = origin.accept().await;
    let mut kept = world.connect().await;
    let request = format!("GET http://{echo}/ HTTP/1.1\r\nHost: {echo}\r\n{}\r\n", login(""));
    kept.send(request.as_bytes()).await;
    assert_eq!(field(&kept.answer().await.0, "Connection"), None);

    let gateway = world.gateway.clone();
    let draining = tokio::spawn(async move { gateway.drain(Duration::from_secs(30)).await });
    tokio::task::yield_now().await;

    // Softly: old and new connections are served, once more each.
    kept.send(request.as_bytes()).await;
    assert_eq!(field(&kept.answer().await.0, "Connection"), Some("close"));
    let answer = world.ask(request.as_bytes()).await;
    assert_eq!(
        (status(&answer), field(&answer, "Connection")),
        (200, Some("close"))
    );

    tokio::time::sleep(Duration::from_secs(6)).await;
    let answer = world.ask(&get(echo, "")).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (503, Some("draining"))
    );
    at_origin.send(b"still here").await;
    assert_eq!(tunnel.read(10).await, b"still here");
    drop((tunnel, at_origin, kept));
    draining.await.unwrap();
    let records = world.books().await;
    assert!(records.iter().all(|record| record.ended_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_nobody_is_connected_to_serves_whoever_comes_while_it_leaves() {
    let (echo, _echo) = echo_origin().await;
    let mut setup = Setup::default();
    setup.config.soft_drain = Duration::from_secs(5);
    let world = World::start_with(setup, &[echo]).await;
    let gateway = world.gateway.clone();
    let draining = tokio::spawn(async move { gateway.drain(Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(status(&world.ask(&get(echo, "")).await), 200);
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_only_refused_keeps_no_gateway_from_leaving() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut tunnel = world.connect().await;
    tunnel.send(&connect(origin.address, "")).await;
    tunnel.head().await;
    let at_origin = origin.accept().await;
    let gateway = world.gateway.clone();
    let draining = tokio::spawn(async move { gateway.drain(Duration::from_secs(30)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Came to be refused, and takes its time with the request.
    let began = tokio::time::Instant::now();
    let mut late = world.connect().await;
    late.send(b"GET ").await;
    drop((tunnel, at_origin));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let request = String::from_utf8(get(origin.address, "")).unwrap();
    late.send(&request.as_bytes()["GET ".len()..]).await;
    let answer = late.rest().await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (503, Some("draining"))
    );
    drop(late);
    draining.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_grace_is_cut_and_booked() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut tunnel = world.connect().await;
    tunnel.send(&connect(origin.address, "")).await;
    tunnel.head().await;
    let mut at_origin = origin.accept().await;
    at_origin.send(b"12345").await;
    tunnel.read(5).await;
    let records = world.books().await;
    assert_eq!((records[0].bytes_down, records[0].ended_at.is_some()), (5, true));
    assert_eq!(tunnel.rest().await, "");
}

#[tokio::test]
async fn too_many_connections_are_told_so_at_once() {
    let (to, _origin) = echo_origin().await;
    let mut setup = Setup::default();
    setup.config.max_connections = 2;
    let world = World::start_with(setup, &[to]).await;
    let (mut one, mut two) = (world.connect().await, world.connect().await);
    let request = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{}\r\n", login(""));
    for customer in [&mut one, &mut two] {
        customer.send(request.as_bytes()).await;
        assert_eq!(status(&customer.answer().await.0), 200);
    }
    let answer = world.ask(request.as_bytes()).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (503, Some("overloaded"))
    );
    assert_eq!(field(&answer, "Retry-After"), Some("1"));
    drop((one, two));
}

#[tokio::test]
async fn the_plans_connections_are_counted_while_they_last() {
    let mut origin = Origin::start().await;
    let world = World::start_with(
        Setup {
            max_concurrent: 1,
            ..Setup::default()
        },
        &[origin.address],
    )
    .await;
    let mut tunnel = world.connect().await;
    tunnel.send(&connect(origin.address, "")).await;
    assert_eq!(status(&tunnel.head().await), 200);
    let answer = world.ask(&connect(origin.address, "")).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (429, Some("too_many_connections"))
    );
    assert!(field(&answer, "Retry-After").is_some());
    drop(origin.accept().await);
    tunnel.rest().await;
    drop(tunnel);
    let mut again: Customer<_> = world.connect().await;
    while world.gateway.connections() > 1 {
        tokio::task::yield_now().await;
    }
    again.send(&connect(origin.address, "")).await;
    assert_eq!(status(&again.head().await), 200);
}
