//! A request that can still succeed does, and one that can't says precisely why.

use iploop_platform::exits::ExitError;

use crate::exits::Trouble;
use crate::world::{Origin, Setup, World, connect, echo_origin, field, get, login, status};

fn asked(world: &World) -> Vec<Option<u8>> {
    world.exits.asked().iter().map(|asked| asked.exit).collect()
}

#[tokio::test]
async fn a_failed_exit_makes_way_for_the_next() {
    for error in [
        ExitError::NodeTimeout,
        ExitError::NodeUnavailable,
        ExitError::TooMany,
        ExitError::Forbidden("owner_list".to_owned()),
    ] {
        let (to, _origin) = echo_origin().await;
        let world = World::start_with(
            Setup {
                exits: 3,
                ..Setup::default()
            },
            &[to],
        )
        .await;
        world.exits.trouble(1, Trouble::Error(error.clone()));
        world.exits.trouble(2, Trouble::Error(error.clone()));
        let answer = world.ask(&get(to, "-debug-1")).await;
        assert_eq!(status(&answer), 200, "{error}: {answer}");
        assert_eq!(asked(&world), [Some(1), Some(2), Some(3)], "{error}");
        assert!(
            field(&answer, "X-IPLoop-Debug").unwrap().ends_with("attempts=3"),
            "{answer}"
        );
        let tried = field(&answer, "X-IPLoop-Debug-Attempts").unwrap();
        assert_eq!(tried.matches("US;outcome=").count(), 3, "{tried}");
        assert!(tried.contains(", US;outcome=opened;ms="), "{tried}");
        let records = world.books().await;
        assert_eq!((records[0].attempts, records[0].error.as_deref()), (3, None));
    }
}

#[tokio::test]
async fn what_the_destination_says_is_believed_after_a_second_opinion() {
    for (error, expected) in [
        (ExitError::ConnectionRefused, (502, "connection_refused")),
        (ExitError::DnsFailed, (502, "dns_failed")),
        (ExitError::Unreachable, (502, "destination_unreachable")),
        (ExitError::ConnectTimeout, (504, "connect_timeout")),
    ] {
        let (to, _origin) = echo_origin().await;
        let world = World::start_with(
            Setup {
                exits: 4,
                ..Setup::default()
            },
            &[to],
        )
        .await;
        for number in 1..=4 {
            world.exits.trouble(number, Trouble::Error(error.clone()));
        }
        let answer = world.ask(&get(to, "")).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (expected.0, Some(expected.1))
        );
        assert_eq!(asked(&world), [Some(1), Some(2)], "{error}");

        let one_liar = World::start_with(
            Setup {
                exits: 2,
                ..Setup::default()
            },
            &[to],
        )
        .await;
        one_liar.exits.trouble(1, Trouble::Error(error.clone()));
        assert_eq!(status(&one_liar.ask(&get(to, "")).await), 200);

        let sticky = World::start_with(
            Setup {
                exits: 2,
                ..Setup::default()
            },
            &[to],
        )
        .await;
        assert_eq!(status(&sticky.ask(&get(to, "-session-a")).await), 200);
        sticky.exits.trouble(1, Trouble::Error(error.clone()));
        let answer = sticky.ask(&get(to, "-session-a")).await;
        assert_eq!(
            field(&answer, "X-IPLoop-Error"),
            Some(expected.1),
            "a session does not leave its exit for this"
        );
    }
}

#[tokio::test]
async fn errors_of_the_last_exit_are_told_precisely() {
    for (error, expected) in [
        (ExitError::NoExit, (503, "no_exit")),
        (ExitError::NodeTimeout, (504, "node_timeout")),
        (ExitError::NodeUnavailable, (503, "no_exit")),
        (ExitError::TooMany, (429, "too_many_connections")),
        (ExitError::Draining, (503, "draining")),
        (
            ExitError::Forbidden("private".to_owned()),
            (403, "destination_forbidden"),
        ),
        (
            ExitError::Forbidden("owner_ports".to_owned()),
            (403, "port_forbidden"),
        ),
        (ExitError::SessionExitGone, (503, "session_exit_gone")),
    ] {
        let origin = Origin::start().await;
        let world = World::start_with(
            Setup {
                exits: 1,
                ..Setup::default()
            },
            &[origin.address],
        )
        .await;
        world.exits.trouble(1, Trouble::Error(error.clone()));
        let answer = world.ask(&connect(origin.address, "")).await;
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            (expected.0, Some(expected.1)),
            "{error}"
        );
        assert!(answer.starts_with(&format!("HTTP/1.1 {} {}\r\n", expected.0, expected.1)));
        let records = world.books().await;
        assert_eq!(records[0].error.as_deref(), Some(expected.1));
        assert_eq!(
            records[0].billable,
            !matches!(expected.0, 503 | 504),
            "our failure costs nothing"
        );
    }
}

#[tokio::test]
async fn a_lost_exit_is_replaced_before_the_first_byte_of_a_repeatable_request() {
    for (method, repeats) in [("GET", true), ("POST", false)] {
        let (to, _origin) = echo_origin().await;
        let world = World::start(&[to]).await;
        world.exits.trouble(1, Trouble::Lost);
        let request = format!(
            "{method} http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{}\r\n",
            login("")
        );
        let answer = world.ask(request.as_bytes()).await;
        let expected = if repeats {
            (200, None)
        } else {
            (502, Some("exit_lost"))
        };
        assert_eq!(
            (status(&answer), field(&answer, "X-IPLoop-Error")),
            expected,
            "{answer}"
        );
        assert_eq!(asked(&world).len(), if repeats { 2 } else { 1 });
        if repeats {
            // The echo's content is the head as it got it: once, for the customer.
            let head = answer.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(usize::try_from(world.books().await[0].bytes_up), Ok(head.len()));
        }
    }
}

#[tokio::test]
async fn a_destination_that_hangs_up_is_not_asked_twice() {
    let mut origin = Origin::start().await;
    let world = World::start(&[origin.address]).await;
    let mut customer = world.connect().await;
    customer.send(&get(origin.address, "")).await;
    let mut at_origin = origin.accept().await;
    at_origin.head().await;
    drop(at_origin);
    let answer = customer.rest().await;
    assert_eq!(
        (status(&answer), field(&answer, "X-IPLoop-Error")),
        (502, Some("connection_reset")),
        "{answer}"
    );
    assert_eq!(asked(&world).len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (to, _origin) = echo_origin().await;
    let world = World::start_with(
        Setup {
            exits: 20,
            ..Setup::default()
        },
        &[to],
    )
    .await;
    for number in 1..=20 {
        world
            .exits
            .trouble(number, Trouble::Error(ExitError::NodeUnavailable));
    }
    assert_eq!(status(&world.ask(&get(to, "")).await), 503);
    assert_eq!(asked(&world).len(), 5);
}

/// Answers each connection of an origin with the next of these statuses.
async fn answering(mut origin: Origin, statuses: &'static [u16]) {
    for status in statuses {
        let mut connection = origin.accept().await;
        connection.head().await;
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.send(answer.as_bytes()).await;
    }
}

#[tokio::test]
async fn an_exit_that_a_host_refused_is_not_offered_for_it_while_there_is_another() {
    let origin = Origin::start().await;
    let to = origin.address;
    let _origin = tokio::spawn(answering(origin, &[403, 200, 429, 200, 403, 200]));
    let world = World::start_with(
        Setup {
            exits: 3,
            ..Setup::default()
        },
        &[to],
    )
    .await;
    let mut heard = Vec::new();
    for _ in 0..6 {
        heard.push(status(&world.ask(&get(to, "")).await));
    }
    assert_eq!(
        heard,
        [403, 200, 429, 200, 403, 200],
        "answers are passed on as they are"
    );
    let tried: Vec<_> = asked(&world).into_iter().flatten().collect();
    // Without the memory: 1, 2, 1, 2, 1, 2, since a key only leaves its last exit. The fifth repeats the only one that is left. After it
    // each was refused, and they rotate as if none was.
    assert_eq!(tried, [1, 2, 3, 2, 2, 1]);
}

#[tokio::test]
async fn a_session_that_is_to_have_another_exit_gets_one_that_the_host_refused_before() {
    let origin = Origin::start().await;
    let to = origin.address;
    let _origin = tokio::spawn(answering(origin, &[403, 200, 200, 200]));
    let world = World::start(&[to]).await;
    assert_eq!(status(&world.ask(&get(to, "")).await), 403);
    let mut exits = Vec::new();
    for fields in ["", "X-IPLoop-Rotate: 1\r\n", ""] {
        let request = format!(
            "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{fields}{}\r\n",
            login("-session-a-rotate-manual")
        );
        let answer = world.ask(request.as_bytes()).await;
        exits.push(field(&answer, "X-IPLoop-Exit-Ip").unwrap().to_owned());
    }
    assert_eq!(exits, ["198.51.100.2", "198.51.100.1", "198.51.100.1"]);
}

#[tokio::test]
async fn a_session_keeps_its_exit_although_the_host_refused_it() {
    let origin = Origin::start().await;
    let to = origin.address;
    let _origin = tokio::spawn(answering(origin, &[403, 403, 200]));
    let world = World::start(&[to]).await;
    for expected in [403, 403, 200] {
        let answer = world.ask(&get(to, "-session-a")).await;
        assert_eq!(status(&answer), expected);
        assert_eq!(field(&answer, "X-IPLoop-Session"), Some("a"));
    }
    assert_eq!(asked(&world), [Some(1), Some(1), Some(1)]);
}

#[tokio::test]
async fn targeting_errors_point_to_the_explanation() {
    let (to, _origin) = echo_origin().await;
    let world = World::start(&[to]).await;
    let answer = world.ask(&get(to, "-contry-US")).await;
    assert_eq!(status(&answer), 400);
    assert!(answer.contains("/api/proxy/explain?params="), "{answer}");
    world.exits.trouble(1, Trouble::Error(ExitError::NoExit));
    let answer = world.ask(&get(to, "")).await;
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("/api/proxy/explain?params="), "{answer}");
}
