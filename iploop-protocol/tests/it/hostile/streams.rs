//! Windows, ids and the lives of streams.

use super::*;

#[test]
fn data_beyond_the_stream_s_credit_is_closed() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        for _ in 0..5 {
            victim.send(&[data(stream, WINDOW_BYTES / 5)]).unwrap();
        }
        victim.breaks(CloseCode::WindowOverflow, &[data(stream, 1)]);
    }
}

#[test]
fn data_beyond_the_tunnel_s_credit_is_closed() {
    let mut victim = Victim::open(Side::Node);
    // More streams than whose windows make 8 MiB; nothing is sent, so no credit goes back.
    let streams = u32::try_from(8 * MIB / WINDOW_BYTES + 1).unwrap();
    for n in 0..streams {
        let stream = victim.theirs(n);
        victim.send(&[open(stream)]).unwrap();
        victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    }
    let mut sent = 0;
    'all: for n in 0..streams {
        for _ in 0..WINDOW_BYTES / MAX_DATA_BYTES {
            // The budget of this victim gives only the first ones a full window.
            let stream = victim.theirs(n);
            match victim.send(&[data(stream, MAX_DATA_BYTES)]) {
                Ok(()) => sent += MAX_DATA_BYTES as u64,
                Err(code) => {
                    assert_eq!(code, CloseCode::WindowOverflow);
                    break 'all;
                }
            }
        }
    }
    assert!(sent <= CONNECTION_WINDOW_BYTES);
    victim.closes_with(CloseCode::WindowOverflow);
}

#[test]
fn stray_data_of_a_reset_stream_is_bounded_by_what_was_open() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.tunnel.reset(stream, ResetCode::Cancelled, "");
    for _ in 0..5 {
        victim.send(&[data(stream, WINDOW_BYTES / 5)]).unwrap();
    }
    assert!(victim.most_held < 8 * 1024);
    victim.breaks(CloseCode::StreamFinished, &[data(stream, 1)]);
}

#[test]
fn credit_beyond_what_may_be_open_is_closed() {
    let most = MAX_STREAM_WINDOW_BYTES;
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(most);
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, 1)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(0);
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, u32::MAX)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ask();
    victim.breaks(CloseCode::WindowOverflow, &[opened(stream, most + 1)]);

    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ask();
    victim.breaks(CloseCode::WindowOverflow, &[window(stream, 1)]);

    let victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim.breaks(
        CloseCode::WindowOverflow,
        &[open_with(stream, StreamKind::Tcp, most + 1, Bytes::new())],
    );

    Victim::open(Side::Node).breaks(CloseCode::WindowOverflow, &[window(StreamId::TUNNEL, 1)]);
}

#[test]
fn frames_on_ids_that_were_never_opened_are_closed() {
    for side in SIDES {
        for n in [0, 1, 7, 1 << 30] {
            for stream in [
                Victim::open(side).theirs(n),
                Victim::open(Side::Hub).theirs(n),
                Victim::open(Side::Node).theirs(n),
            ] {
                let datagram = Frame::Datagram {
                    stream,
                    peer: destination(),
                    data: Bytes::new(),
                };
                for frame in [
                    data(stream, 1),
                    data(stream, 0),
                    reset(stream),
                    window(stream, 1000),
                    opened(stream, 1),
                    datagram,
                ] {
                    Victim::open(side).breaks(CloseCode::UnknownStream, &[frame]);
                }
            }
        }
    }
}

#[test]
fn ids_are_used_once_in_rising_order_and_by_their_own_side() {
    for side in SIDES {
        let victim = Victim::open(side);
        let (first, third) = (victim.theirs(0), victim.theirs(2));
        victim.breaks(CloseCode::StreamIdReuse, &[open(first), open(first)]);

        Victim::open(side).breaks(CloseCode::StreamIdReuse, &[open(third), open(first)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.tunnel.reset(stream, ResetCode::Cancelled, "");
        victim.breaks(CloseCode::StreamIdReuse, &[open(stream)]);

        let ours = StreamId(first.0 + 1);
        Victim::open(side).breaks(CloseCode::StreamIdReuse, &[open(ours)]);
    }
}

#[test]
fn the_last_id_is_the_last() {
    for (side, last) in [(Side::Hub, u32::MAX - 1), (Side::Node, u32::MAX)] {
        let mut victim = Victim::open(side);
        victim.send(&[open(StreamId(last))]).unwrap();
        victim.breaks(CloseCode::StreamIdReuse, &[open(StreamId(last - 2))]);
    }
}

#[test]
fn data_after_the_end_is_closed() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 0), data(stream, 1)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 0), data(stream, 0)]);

        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.breaks(CloseCode::StreamFinished, &[reset(stream), data(stream, 1)]);

        // Both directions are over and nobody has reset: the stream is gone.
        let mut victim = Victim::open(side);
        let stream = victim.accepted(0);
        victim.send(&[data(stream, 0)]).unwrap();
        assert_eq!(victim.tunnel.read(victim.now, stream, 1), Ok(Read::Finished));
        victim.tunnel.finish(stream);
        victim.flush();
        assert_eq!(victim.tunnel.stream_count(), 0);
        victim.breaks(CloseCode::StreamFinished, &[data(stream, 1)]);
    }
}

#[test]
fn answers_come_once_and_from_the_side_that_was_asked() {
    for side in SIDES {
        let mut victim = Victim::open(side);
        let stream = victim.ours(1000);
        victim.breaks(CloseCode::Unexpected, &[opened(stream, 1000)]);

        let victim = Victim::open(side);
        let stream = victim.theirs(0);
        victim.breaks(CloseCode::Unexpected, &[open(stream), opened(stream, 1)]);

        // No data before the answer, from neither side.
        let mut victim = Victim::open(side);
        let stream = victim.ask();
        victim.breaks(CloseCode::Unexpected, &[data(stream, 1)]);
        let victim = Victim::open(side);
        let stream = victim.theirs(0);
        victim.breaks(CloseCode::Unexpected, &[open(stream), data(stream, 1)]);
    }
}

#[test]
fn kinds_of_streams_do_not_mix() {
    let datagram = |stream| Frame::Datagram {
        stream,
        peer: destination(),
        data: Bytes::new(),
    };
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.breaks(CloseCode::Unexpected, &[datagram(stream)]);

    for frame in [data(StreamId(1), 1), data(StreamId(1), 0)] {
        let mut victim = Victim::open(Side::Node);
        let stream = victim.theirs(0);
        victim
            .send(&[open_with(stream, StreamKind::Udp, 0, Bytes::new())])
            .unwrap();
        victim.tunnel.accept(stream, Duration::ZERO).unwrap();
        // Our own owner can't cause what would be a breach over there.
        assert_eq!(
            victim.tunnel.write(stream, &mut Bytes::from_static(b"x")),
            Err(StreamError::Closed)
        );
        victim.tunnel.finish(stream);
        let sent = victim.flush();
        assert!(
            sent.iter().all(|frame| !matches!(frame, Frame::Data { .. })),
            "{sent:?}"
        );
        victim.breaks(CloseCode::Unexpected, &[frame]);
    }
}

#[test]
fn writer_is_told_of_a_reset_although_the_end_came_before_it() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.accepted(0);
    victim.send(&[data(stream, 0), reset(stream)]).unwrap();
    assert_eq!(victim.tunnel.read(victim.now, stream, 1), Ok(Read::Finished));
    let told = victim.tunnel.write(stream, &mut Bytes::from_static(b"x"));
    assert!(
        matches!(
            told,
            Err(StreamError::Reset {
                code: ResetCode::Cancelled,
                ..
            })
        ),
        "{told:?}"
    );
    victim.tunnel.release(stream);
    assert_eq!(victim.tunnel.stream_count(), 0);
}

#[test]
fn stream_that_breaks_off_sends_what_is_queued_and_then_reset_as_credit_allows() {
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(1000);
    let mut said = Bytes::from(vec![7; 1500]);
    assert_eq!(victim.tunnel.write(stream, &mut said), Ok(1500));
    victim.tunnel.break_off(stream, ResetCode::ConnectionReset);
    victim.tunnel.release(stream);
    let sent = victim.flush();
    assert!(
        matches!(&sent[..], [Frame::Data { data, fin: false, .. }] if data.len() == 1000),
        "{sent:?}"
    );
    // Its owner has let go: what the peer says goes nowhere, its end included.
    victim.send(&[data(stream, 10), window(stream, 1000)]).unwrap();
    let sent = victim.flush();
    assert!(
        matches!(
            &sent[..],
            [
                Frame::Data { data, fin: false, .. },
                Frame::Reset { code: ResetCode::ConnectionReset, .. }
            ] if data.len() == 500
        ),
        "{sent:?}"
    );
    assert_eq!(victim.tunnel.stream_count(), 0);

    // With nothing queued it is a reset like any other, and a reset by the peer ends the wait for credit.
    let stream = victim.ours(1000);
    victim.tunnel.break_off(stream, ResetCode::ConnectionReset);
    assert!(matches!(&victim.flush()[..], [Frame::Reset { .. }]));
    let stream = victim.ours(0);
    assert_eq!(victim.tunnel.write(stream, &mut Bytes::from_static(b"x")), Ok(1));
    victim.tunnel.break_off(stream, ResetCode::ConnectionReset);
    victim.tunnel.release(stream);
    victim.send(&[reset(stream)]).unwrap();
    assert_eq!((victim.flush(), victim.tunnel.stream_count()), (vec![], 0));
}

#[test]
fn stream_that_was_given_up_can_t_be_accepted() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim.send(&[open(stream), reset(stream)]).unwrap();
    assert_eq!(
        victim.tunnel.accept(stream, Duration::ZERO),
        Err(StreamError::Closed)
    );
    assert_eq!(victim.flush(), []);
}

#[test]
fn first_bytes_may_be_read_before_the_answer() {
    let mut victim = Victim::in_handshake(Side::Node);
    // A window of a single frame: reading that much would give credit back.
    let mut config = Config::new(Side::Node);
    config.budget = Budget::new(0);
    victim.tunnel = Tunnel::new(config, victim.now);
    victim.tunnel.establish();
    victim.flush();
    let stream = victim.theirs(0);
    let early = Bytes::from(vec![0; MAX_DATA_BYTES]);
    victim
        .send(&[open_with(stream, StreamKind::Tcp, 1000, early)])
        .unwrap();
    let read = victim.tunnel.read(victim.now, stream, usize::MAX);
    assert!(matches!(read, Ok(Read::Data(data)) if data.len() == MAX_DATA_BYTES));
    assert_eq!(victim.flush(), [], "no credit for a stream without an answer");
    victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    assert_eq!(victim.flush(), [opened(stream, 16 * 1024)]);
}
