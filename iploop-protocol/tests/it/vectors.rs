//! `vectors/frames.json`, walked in both directions.

use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{DecodeError, Frame, Open, StreamId, StreamKind};
use serde_json::Value;

#[test]
fn every_vector_reads_and_writes_as_it_says() {
    for vector in cases("frames") {
        let (name, bytes) = (text(&vector, "name"), expand(text(&vector, "hex")));
        let frame = frame(&vector["frame"]);
        let mut written = BytesMut::new();
        frame.encode(&mut written);
        assert_eq!(written, bytes, "{name}");
        assert_eq!(decode_all(&bytes), (vec![frame], None), "{name}");
    }
}

#[test]
fn what_nobody_writes_still_reads() {
    for vector in cases("decodeOnly") {
        let bytes = expand(text(&vector, "hex"));
        assert_eq!(
            decode_all(&bytes),
            (vec![frame(&vector["frame"])], None),
            "{vector}"
        );
    }
}

#[test]
fn what_is_no_frame_is_refused_for_the_right_reason() {
    for vector in cases("invalid") {
        let bytes = expand(text(&vector, "hex"));
        let error = Frame::decode(&mut Bytes::from(bytes)).map_err(kind);
        assert_eq!(error, Err(text(&vector, "error")), "{vector}");
    }
}

#[test]
fn messages_hold_several_frames() {
    for vector in cases("messages").iter().chain(&cases("invalidMessages")) {
        let frames: Vec<Frame> = vector["frames"].as_array().unwrap().iter().map(frame).collect();
        let error = vector["error"].as_str();
        assert_eq!(
            decode_all(&expand(text(vector, "hex"))),
            (frames, error),
            "{vector}"
        );
    }
}

/// Bytes from the notation of the vectors: hexadecimal, spaces anywhere, `xx*n` for a byte n times.
pub(crate) fn expand(hex: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in hex.split_whitespace() {
        let (digits, times) = token
            .split_once('*')
            .map_or((token, 1), |(digits, times)| (digits, times.parse().unwrap()));
        let part: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        for _ in 0..times {
            bytes.extend_from_slice(&part);
        }
    }
    bytes
}

fn cases(list: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/frames.json")).unwrap();
    let cases = file[list].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn decode_all(bytes: &[u8]) -> (Vec<Frame>, Option<&'static str>) {
    let mut message = Bytes::copy_from_slice(bytes);
    let mut frames = Vec::new();
    loop {
        match Frame::decode(&mut message) {
            Ok(frame) => frames.push(frame),
            Err(error) => return (frames, Some(kind(error))),
        }
        if message.is_empty() {
            return (frames, None);
        }
    }
}

fn kind(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Truncated => "truncated",
        DecodeError::Empty => "empty",
        DecodeError::UnknownType(_) => "type",
        DecodeError::Length { .. } => "length",
        DecodeError::Stream { .. } => "stream",
        DecodeError::Field(_) => "field",
    }
}

fn frame(value: &Value) -> Frame {
    let stream = || StreamId(small(value, "stream"));
    match text(value, "type") {
        "open" => Frame::Open {
            stream: stream(),
            open: Open {
                kind: match text(value, "kind") {
                    "tcp" => StreamKind::Tcp,
                    "udp" => StreamKind::Udp,
                    other => panic!("{other}"),
                },
                window_bytes: small(value, "windowBytes"),
                timeout_ms: small(value, "timeoutMs"),
                customer: text(value, "customer").parse().unwrap(),
                destination: destination(value, "destination"),
            },
            early: bytes(value, "early"),
            fin: flag(value, "fin"),
        },
        "opened" => Frame::Opened {
            stream: stream(),
            window_bytes: small(value, "windowBytes"),
            dial_ms: small(value, "dialMs"),
        },
        "data" => Frame::Data {
            stream: stream(),
            data: bytes(value, "data"),
            fin: flag(value, "fin"),
        },
        "reset" => Frame::Reset {
            stream: stream(),
            code: ResetCode::from_wire(small(value, "code").try_into().unwrap()),
            detail: text(value, "detail").to_owned().into(),
        },
        "window" => Frame::Window {
            stream: stream(),
            credit_bytes: small(value, "creditBytes"),
        },
        "ping" => Frame::Ping(text(value, "value").parse().unwrap()),
        "pong" => Frame::Pong(text(value, "value").parse().unwrap()),
        "control" => Frame::Control {
            part: bytes(value, "part"),
            more: flag(value, "more"),
        },
        "drain" => Frame::Drain {
            grace_ms: small(value, "graceMs"),
        },
        "datagram" => Frame::Datagram {
            stream: stream(),
            peer: destination(value, "peer"),
            data: bytes(value, "data"),
        },
        "close" => Frame::Close {
            code: CloseCode::from_wire(small(value, "code").try_into().unwrap()),
            retry_after_s: small(value, "retryAfterS"),
            reason: text(value, "reason").to_owned().into(),
        },
        "extension" => Frame::Extension,
        other => panic!("{other}"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

fn small(value: &Value, field: &str) -> u32 {
    value[field].as_u64().unwrap().try_into().unwrap()
}

fn flag(value: &Value, field: &str) -> bool {
    value[field].as_bool().unwrap()
}

fn bytes(value: &Value, field: &str) -> Bytes {
    expand(text(value, field)).into()
}

fn destination(value: &Value, field: &str) -> Destination {
    Destination::parse_authority(text(value, field)).unwrap()
}
