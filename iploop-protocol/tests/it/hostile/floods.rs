//! Frames that cost the sender nothing.

use super::*;

#[test]
fn ping_flood_is_closed_soon_and_slow_pings_that_are_never_read_are_closed_in_time() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let sent = (0..1000)
            .take_while(|n| victim.send(&[Frame::Ping(*n)]).is_ok())
            .count();
        assert_eq!(sent, 200);
        victim.closes_with(CloseCode::Flood);

        // At a rate that is allowed, for as long as it likes, without reading a single answer.
        let mut victim = Victim::open(side);
        let mut sent = 0;
        while victim.send(&[Frame::Ping(sent)]).is_ok() {
            victim.now += Duration::from_millis(50);
            victim.tunnel.handle_timeout(victim.now);
            sent += 1;
            assert!(sent < 20_000, "no end");
        }
        assert!(victim.most_held < 4 * MIB, "{} bytes", victim.most_held);
        victim.closes_with(CloseCode::Flood);
    }
}

#[test]
fn open_and_reset_churn_is_closed() {
    let mut victim = Victim::open(Side::Node);
    let mut n = 0;
    loop {
        let stream = victim.theirs(n);
        if victim.send(&[open(stream), reset(stream)]).is_err() {
            break;
        }
        // The owner gives up what the peer gave up.
        while let Some(event) = victim.tunnel.poll_event() {
            if let Event::Reset(stream) = event {
                victim.tunnel.release(stream);
            }
        }
        victim.flush();
        n += 1;
        assert!(n < 10_000, "no end");
    }
    assert!(n >= 1000, "honest customers may cancel");
    victim.closes_with(CloseCode::Flood);
}

#[test]
fn opens_that_are_refused_at_once_and_never_read_are_closed() {
    // Its owner is paused: it refuses each stream by itself, so the tunnel's own limits never speak.
    for side in SIDES {
        let mut victim = Victim::open(side);
        let mut n = 0;
        while victim.send(&[open(victim.theirs(n))]).is_ok() {
            while let Some(event) = victim.tunnel.poll_event() {
                if let Event::Incoming { stream, .. } = event {
                    victim.tunnel.reset(stream, ResetCode::Paused, "paused_by_owner");
                }
            }
            n += 1;
            assert!(n < 100_000, "no end");
        }
        assert!(victim.most_held < 5 * MIB, "{} bytes", victim.most_held);
        victim.closes_with(CloseCode::Flood);
    }
}

#[test]
fn opens_beyond_the_limit_are_refused_and_then_closed() {
    for (side, limit) in [(Side::Hub, 16), (Side::Node, 1024)] {
        let mut victim = Victim::open(side);
        let mut n = 0;
        while victim.send(&[open(victim.theirs(n))]).is_ok() {
            n += 1;
            assert!(n < 100_000, "no end");
            assert!(victim.tunnel.stream_count() <= limit);
        }
        let refused = victim
            .flush()
            .iter()
            .filter(|frame| {
                matches!(
                    frame,
                    Frame::Reset {
                        code: ResetCode::Busy,
                        ..
                    }
                )
            })
            .count();
        assert_eq!(refused, 0, "CLOSE takes the place of what was waiting");
        assert!(n as usize > limit + 1000);
    }
}

#[test]
fn endless_control_messages_are_closed_by_number_and_by_length() {
    for side in SIDES {
        let part = |bytes: usize| Frame::Control {
            part: Bytes::from(vec![b' '; bytes]),
            more: true,
        };
        let mut victim = Victim::open(side);
        let sent = (0..1000).take_while(|_| victim.send(&[part(1)]).is_ok()).count();
        assert_eq!(sent, 100);
        victim.closes_with(CloseCode::Flood);

        let mut victim = Victim::open(side);
        let sent = (0..1000)
            .take_while(|_| victim.send(&[part(65_535)]).is_ok())
            .count();
        assert_eq!(
            sent,
            match side {
                Side::Hub => 1,
                Side::Node => 16,
            }
        );
        assert!(victim.most_held <= MIB + 65_536);
        victim.closes_with(CloseCode::Malformed);
    }
}

#[test]
fn frames_that_carry_nothing_are_closed() {
    let gone = |victim: &mut Victim| {
        let stream = victim.accepted(0);
        victim.tunnel.reset(stream, ResetCode::Cancelled, "");
        victim.flush();
        stream
    };
    type Idle = fn(StreamId) -> Frame;
    let cases: [(&str, Idle); 7] = [
        ("pong", |_| Frame::Pong(9)),
        ("extension", |_| Frame::Extension),
        ("drain", |_| Frame::Drain { grace_ms: 1 }),
        ("window of a closed stream", |stream| window(stream, 100_000)),
        ("reset of a closed stream", reset),
        ("finish of a closed stream", |stream| data(stream, 0)),
        ("datagram of a closed stream", |stream| Frame::Datagram {
            stream,
            peer: destination(),
            data: Bytes::new(),
        }),
    ];
    for (name, idle) in cases {
        let mut victim = Victim::open(Side::Node);
        let stream = gone(&mut victim);
        let extension = vec![0x55, 0, 0, 0, 0, 0, 0, 0];
        let mut sent = 0;
        loop {
            let handled = match idle(stream) {
                Frame::Extension => victim.send_bytes(extension.clone()),
                frame => victim.send(&[frame]),
            };
            if handled.is_err() {
                break;
            }
            sent += 1;
            assert!(sent <= 20_001, "{name}: no end");
        }
        assert!(victim.most_held < 64 * 1024, "{name}: {}", victim.most_held);
        let events = std::iter::from_fn(|| victim.tunnel.poll_event()).count();
        assert!(events <= 4, "{name}: {events} events");
    }
}

#[test]
fn reset_again_and_again_is_told_once() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    while victim.tunnel.poll_event().is_some() {}
    for _ in 0..1000 {
        victim.send(&[reset(stream)]).unwrap();
    }
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert_eq!(events, [Event::Reset(stream)]);
}

#[test]
fn small_credit_again_and_again_is_closed() {
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(0);
    let sent = (0..100_000)
        .take_while(|_| victim.send(&[window(stream, 1)]).is_ok())
        .count();
    assert_eq!(sent, 20_000);
    victim.closes_with(CloseCode::Flood);
}
