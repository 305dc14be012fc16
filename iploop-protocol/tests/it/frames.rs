//! Properties of frames.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::{Destination, Host};
use iploop_protocol::frame::{
    DecodeError, Frame, HEADER_BYTES, MAX_CLOSE_REASON_BYTES, MAX_DATA_BYTES, MAX_DATAGRAM_BYTES,
    MAX_PAYLOAD_BYTES, MAX_RESET_DETAIL_BYTES, Open, StreamId, StreamKind,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn frames_read_back_and_messages_of_frames_too(frames in prop::collection::vec(any_frame(), 1..8)) {
        let mut message = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut message);
        }
        let mut message = message.freeze();
        for frame in &frames {
            prop_assert_eq!(&Frame::decode(&mut message).unwrap(), frame);
        }
        prop_assert!(message.is_empty());
    }

    #[test]
    fn any_bytes_give_frames_that_read_back_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_any(&bytes);
    }

    #[test]
    fn any_payload_under_a_true_header_too(
        kind in 0u8..0x50,
        flags in any::<u8>(),
        stream in prop_oneof![Just(0), Just(1), any::<u32>()],
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = header(kind, flags, payload.len(), stream);
        bytes.extend_from_slice(&payload);
        check_any(&bytes);
    }

    #[test]
    fn a_frame_that_is_cut_or_damaged_is_never_taken_for_more_than_is_there(
        frame in any_frame(), keep in any::<prop::sample::Index>(), damage in any::<(prop::sample::Index, u8)>()
    ) {
        let mut message = BytesMut::new();
        frame.encode(&mut message);
        let cut = keep.index(message.len());
        let error = Frame::decode(&mut Bytes::copy_from_slice(&message[..cut])).unwrap_err();
        prop_assert_eq!(error, if cut == 0 { DecodeError::Empty } else { DecodeError::Truncated });
        let at = damage.0.index(message.len());
        message[at] = damage.1;
        check_any(&message);
    }
}

#[test]
fn no_length_is_believed_before_its_bytes_are_there() {
    for kind in 0..=u8::MAX {
        for length in [1, 16, 1024, MAX_PAYLOAD_BYTES] {
            for there in [0, length - 1] {
                let mut bytes = header(kind, 0, length, 1);
                bytes.extend(std::iter::repeat_n(0, there));
                let mut message = Bytes::from(bytes);
                assert_eq!(Frame::decode(&mut message), Err(DecodeError::Truncated));
            }
        }
    }
}

#[test]
fn payloads_are_slices_of_the_message_and_not_copies() {
    let mut message = BytesMut::new();
    let data = Bytes::from(vec![7; MAX_DATA_BYTES]);
    let stream = StreamId(1);
    Frame::Data {
        stream,
        data,
        fin: false,
    }
    .encode(&mut message);
    let message = message.freeze();
    match Frame::decode(&mut message.clone()) {
        Ok(Frame::Data { data, .. }) => assert_eq!(data.as_ptr(), message[HEADER_BYTES..].as_ptr()),
        other => panic!("{other:?}"),
    }
}

/// Decodes until the end or an error; what was decoded must read back.
fn check_any(bytes: &[u8]) {
    let mut message = Bytes::copy_from_slice(bytes);
    let mut left = message.len();
    while let Ok(frame) = Frame::decode(&mut message) {
        assert!(
            message.len() + HEADER_BYTES <= left,
            "every frame costs its header"
        );
        left = message.len();
        if frame != Frame::Extension {
            let mut again = BytesMut::new();
            frame.encode(&mut again);
            assert_eq!(Frame::decode(&mut again.freeze()), Ok(frame));
        }
        if left == 0 {
            break;
        }
    }
}

fn header(kind: u8, flags: u8, length: usize, stream: u32) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (
            any_stream(),
            any_open(),
            payload(0..=MAX_DATA_BYTES),
            any::<bool>()
        )
            .prop_map(|(stream, open, early, fin)| {
                let is_tcp = open.kind == StreamKind::Tcp;
                Frame::Open {
                    stream,
                    open,
                    early: if is_tcp { early } else { Bytes::new() },
                    fin: fin && is_tcp,
                }
            }),
        (any_stream(), any::<u32>(), any::<u32>()).prop_map(|(stream, window_bytes, dial_ms)| {
            Frame::Opened {
                stream,
                window_bytes,
                dial_ms,
            }
        }),
        (any_stream(), payload(0..=MAX_DATA_BYTES), any::<bool>()).prop_map(|(stream, data, fin)| {
            Frame::Data {
                stream,
                fin: fin || data.is_empty(),
                data,
            }
        }),
        (any_stream(), any::<u16>(), payload(0..=MAX_RESET_DETAIL_BYTES)).prop_map(
            |(stream, code, detail)| {
                Frame::Reset {
                    stream,
                    code: ResetCode::from_wire(code),
                    detail,
                }
            }
        ),
        (any::<u32>(), 1..=u32::MAX).prop_map(|(stream, credit_bytes)| Frame::Window {
            stream: StreamId(stream),
            credit_bytes
        }),
        any::<u64>().prop_map(Frame::Ping),
        any::<u64>().prop_map(Frame::Pong),
        (payload(1..=MAX_PAYLOAD_BYTES), any::<bool>())
            .prop_map(|(part, more)| Frame::Control { part, more }),
        any::<u32>().prop_map(|grace_ms| Frame::Drain { grace_ms }),
        (any_stream(), any_destination(), payload(0..=MAX_DATAGRAM_BYTES))
            .prop_map(|(stream, peer, data)| Frame::Datagram { stream, peer, data }),
        (any::<u16>(), any::<u32>(), payload(0..=MAX_CLOSE_REASON_BYTES)).prop_map(
            |(code, retry_after_s, reason)| {
                Frame::Close {
                    code: CloseCode::from_wire(code),
                    retry_after_s,
                    reason,
                }
            }
        ),
    ]
}

fn any_open() -> impl Strategy<Value = Open> {
    let kind = prop_oneof![4 => Just(StreamKind::Tcp), 1 => Just(StreamKind::Udp)];
    (kind, any::<u32>(), any::<u32>(), any::<u64>(), any_destination()).prop_map(
        |(kind, window_bytes, timeout_ms, customer, destination)| Open {
            kind,
            window_bytes,
            timeout_ms,
            customer,
            destination,
        },
    )
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let host = prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-z0-9_-]{1,63}(\\.[a-z][a-z0-9-]{0,20}){1,8}"
            .prop_filter_map("a host name", |name| Host::parse(&name).ok()),
    ];
    (host, any::<u16>()).prop_map(|(host, port)| Destination { host, port })
}

fn any_stream() -> impl Strategy<Value = StreamId> {
    (1..=u32::MAX).prop_map(StreamId)
}

/// Mostly short, now and then up to the edge: the content does not matter.
fn payload(length: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Bytes> {
    let (least, most) = (*length.start(), *length.end());
    let length = prop_oneof![8 => least..=most.min(64), 1 => Just(most), 1 => length];
    (length, any::<u8>()).prop_map(|(length, byte)| Bytes::from(vec![byte; length]))
}
