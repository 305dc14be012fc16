//! What a key may do of what its account may: refused precisely, also in the middle of a download.

use iploop_platform::keys::WantedLimits;

use crate::world::{Origin, Setup, World, connect, field, login, status};

async fn limited(limits: WantedLimits, origin: &Origin) -> World {
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    World::start_with(setup, &[origin.address]).await
}

#[tokio::test]
async fn a_keys_bytes_end_a_download_within_a_chunk_and_with_their_code() {
    let mut origin = Origin::start().await;
    let limit = 100_000;
    let limits = WantedLimits {
        bytes_total: Some(limit),
        ..WantedLimits::default()
    };
    let world = limited(limits, &origin).await;
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    let head = customer.head().await;
    assert_eq!(field(&head, "RateLimit"), Some(told(&head)), "{head}");
    let mut at_origin = origin.accept().await;
    let sending = tokio::spawn(async move {
        // As much as it can: the exit stops taking it.
        let chunk = vec![7; 64 * 1024];
        for _ in 0..64 {
            if tokio::io::AsyncWriteExt::write_all(&mut at_origin.socket, &chunk)
                .await
                .is_err()
            {
                break;
            }
        }
    });
    let mut received = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut customer.socket, &mut buffer).await {
        received += read as u64;
    }
    sending.abort();
    assert!(
        received >= limit / 2 && received < limit + 64 * 1024,
        "{received}"
    );
    let answer = world.ask(&connect(origin.address, "")).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (402, Some("key_quota_exceeded"))
    );
    assert_eq!(
        field(&answer, "RateLimit-Policy"),
        Some("\"key-bytes-total\";q=100000;qu=\"content-bytes\"")
    );
    assert_eq!(field(&answer, "Retry-After"), None, "it never comes back");
    let records = world.books().await;
    assert_eq!(records[0].error.as_deref(), Some("key_quota_exceeded"));
    assert!(records[0].billable);
    assert_eq!(records[0].bytes_down, received);
}

/// The state of the limits as the test wants it, with the seconds to midnight that the answer has.
fn told(head: &str) -> &str {
    let state = field(head, "RateLimit").unwrap_or_default();
    assert!(
        state.starts_with("\"key-bytes-total\";r=100000, \"plan-day\";r=999999;t="),
        "{state}"
    );
    assert!(state.ends_with(", \"plan-connections\";r=9999"), "{state}");
    state
}

#[tokio::test]
async fn a_key_goes_where_it_may_and_nowhere_else() {
    let origin = Origin::start().await;
    let cases = [
        (
            WantedLimits {
                deny_destinations: vec!["127.0.0.0/8".to_owned()],
                ..WantedLimits::default()
            },
            "key_destination_forbidden",
        ),
        (
            WantedLimits {
                allow_destinations: vec!["example.com".to_owned()],
                ..WantedLimits::default()
            },
            "key_destination_forbidden",
        ),
        (
            WantedLimits {
                ports: vec![1],
                ..WantedLimits::default()
            },
            "key_port_forbidden",
        ),
    ];
    for (limits, code) in cases {
        let world = limited(limits, &origin).await;
        let answer = world.ask(&connect(origin.address, "")).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (403, Some(code))
        );
        let plain = format!(
            "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{}\r\n",
            login(""),
            to = origin.address
        );
        let answer = world.ask(plain.as_bytes()).await;
        assert_eq!(status(&answer), 403);
        let records = world.books().await;
        assert_eq!(records.len(), 2);
        assert!(records.iter().all(|record| record.error.as_deref() == Some(code)));
        assert!(records.iter().all(|record| record.billed_bytes() == 0));
    }
}

#[tokio::test]
async fn a_key_for_countries_asks_for_them_where_the_customer_asks_for_none() {
    let origin = Origin::start().await;
    let limits = WantedLimits {
        countries: vec!["JP".to_owned()],
        ..WantedLimits::default()
    };
    let world = limited(limits, &origin).await;
    let outside = world.ask(&connect(origin.address, "-country-US")).await;
    assert_eq!(
        (status(&outside), field(&outside, "X-IPLoop-Error")),
        (403, Some("key_country_forbidden"))
    );
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "-debug-1")).await;
    let head = customer.head().await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!(
        field(&head, "X-IPLoop-Debug-Parameters"),
        Some("country-JP-debug-1")
    );
}

#[tokio::test]
async fn a_keys_rate_and_connections_answer_when_to_come_back() {
    let origin = Origin::start().await;
    let limits = WantedLimits {
        requests_per_second: Some(1),
        burst: Some(2),
        max_connections: Some(1),
        ..WantedLimits::default()
    };
    let world = limited(limits, &origin).await;
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    assert_eq!(status(&customer.head().await), 200);
    let second = world.ask(&connect(origin.address, "")).await;
    assert_eq!(
        (status(&second), field(&second, "X-IPLoop-Error")),
        (429, Some("too_many_connections"))
    );
    let third = world.ask(&connect(origin.address, "")).await;
    assert_eq!(
        (status(&third), field(&third, "X-IPLoop-Error")),
        (429, Some("rate_limited"))
    );
    assert_eq!(field(&third, "Retry-After"), Some("1"));
    assert_eq!(field(&third, "RateLimit-Policy"), Some("\"key-rate\";q=2;w=2"));
}
