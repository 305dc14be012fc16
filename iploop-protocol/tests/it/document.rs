//! `docs/protocol.md` says what the code does: its tables, its numbers and its examples.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::{MAX_TEXT_BYTES, ToHub, ToNode, VERSION};
use iploop_protocol::frame::{
    Frame, HEADER_BYTES, MAX_CLOSE_REASON_BYTES, MAX_DATA_BYTES, MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES, MAX_RESET_DETAIL_BYTES,
};
use iploop_protocol::tunnel::{
    CONNECTION_WINDOW_BYTES, Config, MAX_STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES, Side,
};

const PAGE: &str = include_str!("../../../docs/protocol.md");

#[test]
fn reset_codes_are_those_of_the_code() {
    let rows: Vec<(u16, String)> = rows("### Reset codes")
        .into_iter()
        .map(|row| (number(&row[0]), row[1].clone()))
        .collect();
    let codes: Vec<(u16, String)> = ResetCode::ALL
        .iter()
        .map(|code| (code.to_wire(), format!("`{code}`")))
        .collect();
    assert_eq!(rows, codes);
}

#[test]
fn close_codes_are_those_of_the_code() {
    let rows: Vec<Vec<String>> = rows("### Close codes")
        .into_iter()
        .map(|row| row[..4].to_vec())
        .collect();
    let codes: Vec<Vec<String>> = CloseCode::ALL
        .iter()
        .map(|code| {
            vec![
                code.to_wire().to_string(),
                format!("`{code}`"),
                code.to_websocket().to_string(),
                if code.is_retryable() { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    assert_eq!(rows, codes);
    assert!(
        CloseCode::Other(500).is_retryable(),
        "an unknown code counts as yes"
    );
}

#[test]
fn numbers_are_those_of_the_code() {
    let (hub, node) = (Config::new(Side::Hub), Config::new(Side::Node));
    assert_eq!(hub.handshake_timeout, node.handshake_timeout);
    let code: BTreeMap<&str, u64> = BTreeMap::from([
        ("version", VERSION.into()),
        ("header_bytes", HEADER_BYTES as u64),
        ("max_data_bytes", MAX_DATA_BYTES as u64),
        ("max_payload_bytes", MAX_PAYLOAD_BYTES as u64),
        ("max_message_bytes", MAX_MESSAGE_BYTES as u64),
        ("max_reset_detail_bytes", MAX_RESET_DETAIL_BYTES as u64),
        ("max_close_reason_bytes", MAX_CLOSE_REASON_BYTES as u64),
        ("max_datagram_bytes", MAX_DATAGRAM_BYTES as u64),
        ("max_control_bytes_to_hub", hub.max_control_bytes as u64),
        ("max_control_bytes_to_node", node.max_control_bytes as u64),
        ("max_text_bytes", MAX_TEXT_BYTES as u64),
        ("connection_window_bytes", CONNECTION_WINDOW_BYTES),
        ("max_stream_window_bytes", MAX_STREAM_WINDOW_BYTES.into()),
        ("handshake_timeout_s", hub.handshake_timeout.as_secs()),
        ("ping_after_s", hub.ping_after.as_secs()),
        ("pong_within_s", hub.pong_within.as_secs()),
    ]);
    let page = rows("## 13. Numbers");
    let page: BTreeMap<&str, u64> = page
        .iter()
        .map(|row| (row[0].trim_matches('`'), row[1].replace(',', "").parse().unwrap()))
        .collect();
    assert_eq!(page, code);
    for (bytes, said) in [
        (STREAM_WINDOW_BYTES, "bytes at first, five full messages"),
        (STREAM_WINDOW_BYTES / 5 * 4, "bytes, which is four full messages"),
    ] {
        let said = format!("{},{:03} {said}", bytes / 1_000, bytes % 1_000);
        assert!(PAGE.contains(&said), "the page does not say {said:?}");
    }
}

#[test]
fn examples_in_hexadecimal_are_frames_as_we_write_them() {
    let mut types = BTreeSet::new();
    for (_, text) in blocks("hex") {
        let hex: String = text
            .lines()
            .map(|line| line.split("   ").next().unwrap_or_default())
            .collect();
        let bytes = crate::vectors::expand(&hex);
        let mut message = Bytes::from(bytes.clone());
        let mut again = BytesMut::new();
        while !message.is_empty() {
            types.insert(message[0]);
            Frame::decode(&mut message)
                .unwrap_or_else(|error| panic!("{error}:\n{text}"))
                .encode(&mut again);
        }
        assert_eq!(bytes, again, "{text}");
    }
    assert!(types.into_iter().eq(0x01..=0x0B), "every type has its example");
}

#[test]
fn examples_in_json_are_control_messages_with_every_field() {
    let mut seen = Vec::new();
    for (name, text) in blocks("json") {
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page["type"], name.as_str());
        let ours = if matches!(
            name.as_str(),
            "hello" | "status" | "heartbeat" | "withdraw" | "pair"
        ) {
            ToHub::decode(text.as_bytes())
                .unwrap()
                .map(|message| message.encode())
        } else {
            ToNode::decode(text.as_bytes())
                .unwrap()
                .map(|message| message.encode())
        };
        let ours: serde_json::Value = serde_json::from_slice(&ours.unwrap()).unwrap();
        assert_eq!(ours, page, "{name}");
        seen.push(name);
    }
    let all = [
        "hello",
        "welcome",
        "status",
        "heartbeat",
        "withdraw",
        "pair",
        "policy",
        "grants",
        "notice",
        "pairing",
        "wish",
    ];
    assert_eq!(seen, all);
}

/// The rows of the first table after a heading.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let at = PAGE
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{heading} is missing"));
    PAGE[at..]
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn number(text: &str) -> u16 {
    text.parse().unwrap()
}

/// Fenced blocks of a language, with what stands behind its name.
fn blocks(language: &str) -> Vec<(String, String)> {
    PAGE.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| {
            let (head, text) = block.split_once('\n')?;
            let (block_language, name) = head.split_once(' ').unwrap_or((head, ""));
            (block_language == language).then(|| (name.to_owned(), text.to_owned()))
        })
        .collect()
}
