//! The owner's caps.

use std::time::Duration;

use iploop_node::{Conditions, NotSharing};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::ToHub;
use iploop_protocol::tunnel::StreamError;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::world::{FakeHub, World, echo, exchange, sharing};

#[tokio::test]
async fn a_cap_is_kept_survives_a_restart_and_ends_with_the_day() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let mut config = hub.config(&[echo]);
    config.limits.daily_bytes = 100_000;
    let node = world.start(config.clone()).await;
    let mut device = hub.register().await;
    let to = echo.to_string();

    let mut stream = device.open(&to).await.unwrap();
    assert_eq!(exchange(&mut stream, &[1; 40_000]).await.unwrap().len(), 40_000);
    let mut stream = device.open(&to).await.unwrap();
    stream.write_all(&[2; 30_000]).await.unwrap();
    let mut received = 0;
    let error = loop {
        match stream.read_chunk().await {
            Ok(Some(data)) => received += data.len(),
            Ok(None) => panic!("it ended in order"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            &error,
            StreamError::Reset {
                code: ResetCode::Limited,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(received < 20_000);
    let ToHub::Status(status) = device.message().await else {
        panic!("something else was said");
    };
    assert_eq!(status.reason.as_deref(), Some("daily_cap"));
    assert_eq!(
        device.refusal(&to).await,
        (ResetCode::Limited, "daily_cap".into())
    );
    assert_eq!(node.status().bytes_today, 100_000);
    node.shutdown(Duration::ZERO).await;
    drop(node);
    device.closed().await;

    // Another start, and a clock that was set back.
    *world.clock.0.lock() -= Duration::from_secs(3 * 86_400);
    let node = world.start(config.clone()).await;
    assert_eq!(node.status().reason, Some(NotSharing::DailyCap));
    assert_eq!(node.status().bytes_today, 100_000);
    let device = hub.register().await;
    assert_eq!(device.hello.status.reason.as_deref(), Some("daily_cap"));
    assert_eq!(device.refusal(&to).await.0, ResetCode::Limited);

    // The next day.
    *world.clock.0.lock() += Duration::from_secs(4 * 86_400);
    let mut events = node.events();
    node.network_changed();
    sharing(&mut events).await;
    let mut stream = device.open(&to).await.unwrap();
    assert_eq!(exchange(&mut stream, b"morning").await.unwrap(), b"morning");
}

#[tokio::test(start_paused = true)]
async fn the_owners_own_figure_for_the_uplink_holds_in_both_directions_together() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let mut config = hub.config(&[echo]);
    config.limits.uplink_bytes_per_second = Some(100_000);
    let node = world.start(config).await;
    let device = hub.register().await;
    let to = echo.to_string();
    let began = Instant::now();
    let load = async || {
        let mut stream = device.open(&to).await.unwrap();
        let data = vec![7; 250_000];
        assert!(exchange(&mut stream, &data).await.unwrap() == data);
    };
    tokio::join!(load(), load());
    // 1 MB in all, less what may leave at once.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(9_300), "{took:?}");
    assert_eq!(node.status().bytes_today, 1_000_000);

    // What the system says of the link takes its place if it is less: a quarter of it is for customers.
    node.set_conditions(Conditions {
        uplink_bytes_per_second: Some(40_000),
        ..Conditions::default()
    });
    let began = Instant::now();
    load().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(43), "{took:?}");
}
