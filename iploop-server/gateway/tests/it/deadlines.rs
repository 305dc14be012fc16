//! Every wait ends. The clock is paused: what is measured is what the gateway asked the clock for.

use std::time::Duration;

use tokio::time::Instant;

use crate::exits::Trouble;
use crate::world::{Origin, World, connect, field, get, login, status};

const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_too_little_ends_within_15_seconds() {
    let world = World::start(&[]).await;
    for said in [
        &b""[..],
        b"G",
        b"P",
        b"PROXY TCP4",
        b"GET http://example.com/ HTTP/1.1\r\nHost: exam",
        b"\r",
        b"\r\n",
        b"\x05",
        b"\x05\x01\x02",
        b"\x05\x01\x02\x01\x06iploop\x30abc",
        b"\x16",
        b"\x16\x03\x01\x00",
    ] {
        let began = Instant::now();
        let mut customer = world.connect().await;
        customer.send(said).await;
        let answer = customer.rest().await;
        assert!(
            began.elapsed() <= LIMIT + Duration::from_millis(10),
            "{said:?}: {:?}",
            began.elapsed()
        );
        if said.first().is_some_and(u8::is_ascii_uppercase) {
            assert_eq!(
                (status(&answer), field(&answer, "X-IPLoop-Error")),
                (408, Some("request_timeout"))
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_ends_within_15_seconds() {
    let world = World::start(&[]).await;
    let began = Instant::now();
    let mut customer = world.connect().await;
    customer.send(b"GET http://example.com/ HTTP/1.1\r\n").await;
    let (mut read, mut write) = customer.socket.into_split();
    let trickle = async {
        while tokio::io::AsyncWriteExt::write_all(&mut write, b"X: y\r\n")
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer);
    tokio::select! {
        () = trickle => {}
        _ = reading => {}
    }
    assert!(
        began.elapsed() <= LIMIT + Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_kept_for_ever() {
    let origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer
        .send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address).as_bytes())
        .await;
    assert_eq!(status(&customer.head().await), 407);
    let began = Instant::now();
    customer.rest().await;
    assert!(began.elapsed() >= Duration::from_secs(74) && began.elapsed() <= Duration::from_secs(76));
}

#[tokio::test(start_paused = true)]
async fn a_silent_exit_costs_one_attempt_and_all_silent_exits_the_deadline() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    world.exits.trouble(1, Trouble::Silence);
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    let began = Instant::now();
    assert_eq!(status(&customer.head().await), 200);
    assert!(began.elapsed() >= Duration::from_secs(12) && began.elapsed() < Duration::from_secs(13));
    origin.accept().await;

    for _ in 0..9 {
        world.exits.trouble(1, Trouble::Silence);
        world.exits.trouble(2, Trouble::Silence);
    }
    let began = Instant::now();
    let answer = world.ask(&connect(origin.address, "-session-b")).await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (504, Some("node_timeout"))
    );
    assert!(
        began.elapsed() <= Duration::from_secs(33),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_says_nothing_is_given_up() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin = origin.accept().await;
    at_origin.head().await;
    let began = Instant::now();
    let answer = customer.head().await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (504, Some("response_timeout"))
    );
    assert!(
        began.elapsed() <= Duration::from_secs(121),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_without_a_byte_is_given_up() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&connect(origin.address, "")).await;
    customer.head().await;
    let _at_origin = origin.accept().await;
    let began = Instant::now();
    customer.rest().await;
    assert!(began.elapsed() >= Duration::from_secs(599) && began.elapsed() <= Duration::from_secs(1201));
    assert_eq!(world.books().await[0].error.as_deref(), Some("idle_timeout"));
}

#[tokio::test(start_paused = true)]
async fn content_that_stops_is_given_up_and_blamed_on_whose_turn_it_was() {
    let late = (408, Some("request_timeout"));
    let silent = (504, Some("response_timeout"));
    for (fields, content, said, blamed) in [
        ("Content-Length: 9\r\n", "half", "", late),
        ("Content-Length: 9\r\n", "", "", late),
        ("Transfer-Encoding: chunked\r\n", "4\r\nha", "", late),
        // It need not send what the destination has not asked for.
        ("Content-Length: 9\r\nExpect: 100-continue\r\n", "", "", silent),
        ("Content-Length: 9\r\nExpect: 100-continue\r\n", "half", "", late),
        (
            "Content-Length: 9\r\nExpect: 100-continue\r\n",
            "",
            "HTTP/1.1 100 Continue\r\n\r\n",
            late,
        ),
        ("Content-Length: 4\r\n", "half", "", silent),
    ] {
        let mut origin = Origin::start().await;
        let to = origin.address;
        let world = World::start(&[to]).await;
        let mut customer = world.connect().await;
        let head = format!(
            "POST http://{to}/ HTTP/1.1\r\nHost: {to}\r\n{fields}{}\r\n",
            login("")
        );
        customer.send(format!("{head}{content}").as_bytes()).await;
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        at_origin.send(said.as_bytes()).await;
        let began = Instant::now();
        if !said.is_empty() {
            assert_eq!(status(&customer.head().await), 100);
        }
        let answer = customer.head().await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            blamed,
            "{fields}{content}: {answer}"
        );
        assert!(
            began.elapsed() <= Duration::from_secs(245),
            "{:?}",
            began.elapsed()
        );
    }
}
