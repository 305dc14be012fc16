//! What a peer can make us keep.

use super::*;

#[test]
fn what_a_stalled_reader_leaves_is_bounded_by_its_window_whatever_the_frames_are() {
    for (frame_bytes, filler_bytes) in [
        (1, 0),
        (1, 60_000),
        (100, 0),
        (2_000, 60_000),
        (3_000, 1_000),
        (16_384, 60_000),
    ] {
        let mut victim = Victim::open(Side::Hub);
        let stream = victim.ours(64 * 1024);
        let mut filler = vec![0x40, 0];
        filler.extend_from_slice(&u16::try_from(filler_bytes).unwrap().to_be_bytes());
        filler.extend_from_slice(&[0; 4]);
        filler.resize(8 + filler_bytes, 0);
        let mut message = BytesMut::new();
        data(stream, frame_bytes).encode(&mut message);
        if filler_bytes > 0 {
            message.extend_from_slice(&filler);
        }
        let mut sent = 0;
        while victim.send_bytes(message.to_vec()).is_ok() {
            // Frames that carry nothing have a limit of their own.
            victim.now += Duration::from_millis(1);
            sent += frame_bytes;
        }
        assert!(sent <= WINDOW_BYTES, "the window is an end");
        assert!(sent + frame_bytes > WINDOW_BYTES, "and the only one");
        let held = victim.most_held + victim.most_pinned;
        assert!(
            held <= 2 * WINDOW_BYTES + 2 * (filler_bytes + 32 * 1024),
            "{held} bytes for frames of {frame_bytes} and {filler_bytes} of filler"
        );
        victim.closes_with(CloseCode::WindowOverflow);
    }
}

#[test]
fn texts_and_first_bytes_do_not_keep_their_messages() {
    let mut filler = vec![0x40, 0, 0xFF, 0xFF, 0, 0, 0, 0];
    filler.resize(8 + 65_535, 0);
    let mut victim = Victim::open(Side::Node);
    for n in 0..200 {
        let stream = victim.theirs(n);
        let mut message = BytesMut::new();
        open_with(stream, StreamKind::Tcp, 1, Bytes::from_static(b"x")).encode(&mut message);
        message.extend_from_slice(&filler);
        victim.send_bytes(message.to_vec()).unwrap();
        let mut message = BytesMut::new();
        Frame::Reset {
            stream,
            code: ResetCode::Cancelled,
            detail: Bytes::from_static(b"y"),
        }
        .encode(&mut message);
        message.extend_from_slice(&filler);
        victim.send_bytes(message.to_vec()).unwrap();
    }
    assert!(
        victim.most_pinned <= 2 * 70_000,
        "{} bytes of messages",
        victim.most_pinned
    );
    assert!(victim.most_held <= 200 * 1024, "{} bytes", victim.most_held);
}

#[test]
fn copied_bytes_are_the_bytes_that_came() {
    let mut victim = Victim::open(Side::Hub);
    let stream = victim.ours(64 * 1024);
    let mut expected = Vec::new();
    let lengths = [
        1usize, 5, 3_000, 2, 16_384, 1, 1, 1, 2_047, 2_048, 2_049, 9_000, 700,
    ];
    for (n, length) in lengths.into_iter().enumerate() {
        let part: Vec<u8> = (0..length)
            .map(|at| u8::try_from((at + n) % 251).unwrap())
            .collect();
        expected.extend_from_slice(&part);
        let frame = Frame::Data {
            stream,
            data: part.into(),
            fin: false,
        };
        victim.send(&[frame, Frame::Pong(0)]).unwrap();
    }
    let mut read = Vec::new();
    while let Ok(Read::Data(data)) = victim.tunnel.read(victim.now, stream, 1_000) {
        read.extend_from_slice(&data);
    }
    assert!(read == expected, "{} of {} bytes", read.len(), expected.len());
}

#[test]
fn datagrams_that_nobody_reads_are_dropped_the_oldest_first() {
    let mut victim = Victim::open(Side::Node);
    let stream = victim.theirs(0);
    victim
        .send(&[open_with(stream, StreamKind::Udp, 1, Bytes::new())])
        .unwrap();
    victim.tunnel.accept(stream, Duration::ZERO).unwrap();
    for n in 0..1000u16 {
        let mut data = vec![0; 2048];
        data[..2].copy_from_slice(&n.to_be_bytes());
        let frame = Frame::Datagram {
            stream,
            peer: destination(),
            data: data.into(),
        };
        victim.send(&[frame]).unwrap();
    }
    assert!(
        victim.most_held < WINDOW_BYTES + 20 * 1024,
        "{} bytes",
        victim.most_held
    );
    let (_, first) = victim.tunnel.receive_datagram(stream).unwrap().unwrap();
    let kept = u16::try_from(WINDOW_BYTES / 2048).unwrap();
    assert_eq!(first[..2], (1000 - kept).to_be_bytes());
}

#[test]
fn memory_is_shared_out_of_one_budget() {
    let mut victim = Victim::open(Side::Node);
    for n in 0..1024 {
        victim.accepted(n);
    }
    // 4 MiB are enough for the full window of the first streams; the others start with a single frame's.
    let mut taken = 0;
    for n in 0..1024 {
        let stream = victim.theirs(n);
        victim.send(&[data(stream, MAX_DATA_BYTES)]).unwrap();
        victim.flush();
        taken += MAX_DATA_BYTES;
    }
    assert_eq!(taken, 16 * MIB, "more would be a breach for all but the first");
    let poor = victim.theirs(1023);
    victim.breaks(CloseCode::WindowOverflow, &[data(poor, 1)]);
}
