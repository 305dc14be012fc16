//! Limits against abuse, and suspension, as a customer sees them.

use std::time::Duration;

use iploop_platform::exits::ExitError;
use iploop_platform::keys::KeyChanges;
use iploop_protocol::policy::{Limit, Limited};

use crate::exits::Trouble;
use crate::world::{Origin, World, connect, field, get, status};

fn limited(limit: Limit) -> Trouble {
    Trouble::Error(ExitError::Limited(Limited {
        limit,
        retry_after: Duration::from_millis(41_500),
    }))
}

#[tokio::test]
async fn a_limit_on_one_exit_moves_on_to_another_and_on_all_is_said_precisely() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    world.exits.trouble(1, limited(Limit::PortsPerHost));
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    assert_eq!(status(&customer.head().await), 200, "the second exit serves");
    drop(origin.accept().await);
    for (limit, code) in [
        (Limit::OpenStreams, "too_many_connections"),
        (Limit::DialsPerSecond, "too_many_dials"),
        (Limit::PortsPerHost, "too_many_ports"),
        (Limit::HostsPerMinute, "too_many_hosts"),
        (Limit::FailedDials, "too_many_failed_dials"),
    ] {
        for exit in [1, 2] {
            world.exits.trouble(exit, limited(limit));
        }
        let answer = world.ask(&connect(origin.address, "")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 429 {code}\r\n")),
            "{answer}"
        );
        assert_eq!(field(&answer, "Retry-After"), Some("42"), "{answer}");
    }
}

#[tokio::test]
async fn a_destination_that_has_its_share_of_all_customers_is_not_asked_through_another_exit() {
    let origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    world.exits.trouble(1, limited(Limit::DialsPerHost));
    let answer = world.ask(&connect(origin.address, "")).await;
    assert!(
        answer.starts_with("HTTP/1.1 429 destination_rate_limited\r\n"),
        "{answer}"
    );
    assert_eq!(field(&answer, "Retry-After"), Some("42"), "{answer}");
}

#[tokio::test]
async fn suspension_ends_a_running_tunnel_and_a_running_answer() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut tunnel = world.connect().await;
    tunnel.send(&connect(origin.address, "")).await;
    assert_eq!(status(&tunnel.head().await), 200);
    let mut at_origin = origin.accept().await;

    let mut waiting = world.connect().await;
    waiting.send(&get(origin.address, "")).await;
    let _asked = origin.accept().await;

    world.admission.account_suspended(world.store.account());
    let (head, body) = waiting.answer().await;
    assert_eq!(status(&head), 403, "{head}");
    assert!(body.contains("account_suspended"), "{body}");
    assert_eq!(at_origin.rest().await, "", "the origin's connection ends too");
    let mut byte = [0];
    let end = tokio::io::AsyncReadExt::read(&mut tunnel.socket, &mut byte).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");

    let records = world.books().await;
    let errors: Vec<_> = records.iter().map(|record| record.error.as_deref()).collect();
    assert_eq!(errors, [Some("account_suspended"), Some("account_suspended")]);
}
