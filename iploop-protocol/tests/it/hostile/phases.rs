//! Messages that are none, and messages at the wrong time.

use super::*;

#[test]
fn what_is_no_frame_is_closed() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../vectors/frames.json")).unwrap();
    for list in ["invalid", "invalidMessages"] {
        for vector in vectors[list].as_array().unwrap() {
            let mut victim = Victim::open(Side::Node);
            // Some of them begin with a whole frame, which must not be the breach.
            victim.accepted(0);
            let bytes = crate::vectors::expand(vector["hex"].as_str().unwrap());
            assert_eq!(victim.send_bytes(bytes), Err(CloseCode::Malformed), "{vector}");
            victim.closes_with(CloseCode::Malformed);
        }
    }
}

#[test]
fn message_that_is_too_long_is_closed() {
    let mut message = Vec::new();
    while message.len() <= MAX_MESSAGE_BYTES {
        message.extend_from_slice(&[0x40, 0, 0x0F, 0xF8, 0, 0, 0, 0]);
        message.resize(message.len() + 0x0FF8, 0);
    }
    let mut victim = Victim::open(Side::Node);
    assert_eq!(victim.send_bytes(message), Err(CloseCode::Malformed));
    victim.closes_with(CloseCode::Malformed);
}

#[test]
fn only_control_messages_and_pings_may_come_before_the_handshake_is_over() {
    for side in SIDES {
        for frame in [
            open(StreamId(1)),
            open(StreamId(2)),
            opened(StreamId(1), 1),
            data(StreamId(1), 1),
            reset(StreamId(1)),
            window(StreamId(0), 1),
            Frame::Drain { grace_ms: 0 },
        ] {
            Victim::in_handshake(side).breaks(CloseCode::Unexpected, &[frame]);
        }
        let mut victim = Victim::in_handshake(side);
        victim.send(&[Frame::Ping(5), Frame::Pong(1)]).unwrap();
        assert_eq!(victim.flush(), [Frame::Pong(5)]);
        victim.now += Duration::from_secs(10);
        victim.tunnel.handle_timeout(victim.now);
        victim.closes_with(CloseCode::HandshakeTimeout);
    }
}

#[test]
fn whoever_only_pings_does_not_delay_the_end_of_the_handshake() {
    let mut victim = Victim::in_handshake(Side::Hub);
    for n in 0..100 {
        victim.now += Duration::from_millis(100);
        victim.tunnel.handle_timeout(victim.now);
        if n < 99 {
            victim.send(&[Frame::Ping(n)]).unwrap();
            victim.flush();
        }
    }
    victim.closes_with(CloseCode::HandshakeTimeout);
}

#[test]
fn nothing_counts_after_a_close() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    while victim.tunnel.poll_event().is_some() {}
    let close = Frame::Close {
        code: CloseCode::ShuttingDown,
        retry_after_s: 5,
        reason: Bytes::from_static(b"bye"),
    };
    // In the same message, and bytes that are no frame in a later one.
    victim
        .send(&[close.clone(), data(stream, 10), close, open(StreamId(99))])
        .unwrap();
    victim.send_bytes(vec![0xFF; 64]).unwrap();
    victim.send(&[open(StreamId(101)), Frame::Ping(1)]).unwrap();
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Closed(closed)] if closed.by == Initiator::Peer
            && closed.retry_after == Some(Duration::from_secs(5)) && closed.reason == "bye"),
        "{events:?}"
    );
    assert_eq!(victim.flush(), [], "CLOSE is not answered");
    assert_eq!(victim.tunnel.held_bytes(), 0);
    assert_eq!(victim.budget_left.load(Ordering::Relaxed), BUDGET_BYTES);
}

#[test]
fn peer_that_never_answers_pings_but_talks_is_alive_and_a_silent_one_is_not() {
    let mut victim = Victim::open(Side::Hub);
    for _ in 0..1000 {
        victim.now += Duration::from_secs(20);
        victim.tunnel.handle_timeout(victim.now);
        victim.send_bytes(vec![0x40, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        victim.flush();
    }
    assert!(victim.tunnel.is_open());
    let silent_since = victim.now;
    while let Some(at) = victim.tunnel.poll_timeout() {
        victim.now = at;
        victim.tunnel.handle_timeout(at);
        victim.flush();
    }
    assert!(victim.now - silent_since <= Duration::from_secs(45));
    let events: Vec<Event> = std::iter::from_fn(|| victim.tunnel.poll_event()).collect();
    assert!(matches!(events.last(), Some(Event::Closed(closed)) if closed.code == CloseCode::Silent));
}

#[test]
fn peer_that_takes_no_credit_and_no_data_costs_the_queues_and_no_more() {
    let mut victim = Victim::open(Side::Hub);
    let block = Bytes::from(vec![0; 64 * 1024]);
    let mut taken = 0;
    for _ in 0..100 {
        let stream = victim.ours(0);
        taken += victim.tunnel.write(stream, &mut block.clone()).unwrap();
        taken += victim.tunnel.write(stream, &mut block.clone()).unwrap();
    }
    assert_eq!(taken, 100 * Config::new(Side::Hub).send_queue_bytes);
    let held = victim.tunnel.held_bytes();
    assert!(held <= 100 * (64 * 1024 + 1024), "{held} bytes");
}
