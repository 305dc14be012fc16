//! Control messages: JSON objects in CONTROL frames, told apart by their `type` (`docs/protocol.md`, Control messages).
//!
//! Unknown fields and unknown types are ignored, so that either side can be older than the other.

mod text;

use std::net::IpAddr;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 2;

/// Longest text of a control message, in bytes, keys and entries of lists included: a longer one, or one with a control
/// character, makes the message invalid. A policy document has bounds of its own.
pub const MAX_TEXT_BYTES: usize = 512;

/// What a node tells its hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToHub {
    /// The first message: who the device is and what its owner agreed to.
    Hello(Box<Hello>),
    /// Whether the device takes streams, when that changes.
    Status(SharingStatus),
    /// Counters, every five minutes or so.
    Heartbeat(Heartbeat),
    /// The owner withdrew consent. The last message.
    Withdraw(Withdrawal),
    /// The owner wants a code by which an account claims the device. To hubs with [`capability::PAIRING`].
    Pair,
}

/// What a hub tells a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToNode {
    /// The device is registered: streams may come.
    Welcome(Box<Welcome>),
    /// A new platform policy, in force for new streams at once.
    Policy(PolicyUpdate),
    /// What an admin opened for one customer, before that customer's first stream and whenever it changes.
    Grants(GrantsUpdate),
    /// Something the owner or the app should know.
    Notice(Notice),
    /// The answer to [`ToHub::Pair`].
    Pairing(Pairing),
    /// What the owner wishes from afar. To nodes with [`capability::WISH`].
    Wish(OwnersWish),
}

/// What a side can do beyond what every one of its version can, as `capabilities` of hello and welcome name it.
pub mod capability {
    /// Of a node: it serves datagrams.
    pub const UDP: &str = "udp";
    /// Of a node: it hears [`super::ToNode::Wish`].
    pub const WISH: &str = "wish";
    /// Of a hub: it answers [`super::ToHub::Pair`].
    pub const PAIRING: &str = "pairing";
}

/// Who a device is and what its owner agreed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Versions of the protocol that the node speaks.
    pub versions: Vec<u16>,
    /// Name and version of the library, as in an HTTP `User-Agent`.
    #[serde(deserialize_with = "text::one")]
    pub agent: String,
    /// The partner's key.
    #[serde(deserialize_with = "text::one")]
    pub partner_key: String,
    /// The device.
    pub device: DeviceFacts,
    /// What its owner agreed to.
    pub consent: ConsentStatement,
    /// What it can do beyond TCP: of [`capability`].
    #[serde(default, deserialize_with = "text::many")]
    pub capabilities: Vec<String>,
    /// Streams it serves at the same time.
    pub max_streams: u32,
    /// Addresses that it opened for tests against the exit policy (`host:port`). A production hub refuses such a node.
    #[serde(default, deserialize_with = "text::many")]
    pub test_allow: Vec<String>,
    /// Whether it takes streams now.
    #[serde(default)]
    pub status: SharingStatus,
}

/// Facts about a device. Nothing here identifies a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFacts {
    /// A random id that lasts as long as the installation, 16 to 64 characters.
    #[serde(deserialize_with = "text::one")]
    pub id: String,
    /// A random secret that proves it is the same device when it comes back, 32 to 128 characters.
    #[serde(deserialize_with = "text::one")]
    pub secret: String,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    #[serde(deserialize_with = "text::one")]
    pub os: String,
    /// `wifi`, `cellular` or `ethernet`; none where the system does not say.
    #[serde(
        default,
        deserialize_with = "text::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub net: Option<String>,
    /// The library's version.
    #[serde(deserialize_with = "text::one")]
    pub sdk_version: String,
    /// The app that carries it.
    #[serde(deserialize_with = "text::one")]
    pub app_id: String,
    /// The app's version.
    #[serde(deserialize_with = "text::one")]
    pub app_version: String,
}

/// What an owner agreed to, when and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentStatement {
    /// The record's own id, a UUID made when the owner acted.
    #[serde(deserialize_with = "text::one")]
    pub id: String,
    /// Version of the text that was shown.
    #[serde(deserialize_with = "text::one")]
    pub text_version: String,
    /// SHA-256 of that text, in hex.
    #[serde(deserialize_with = "text::one")]
    pub text_hash: String,
    /// BCP 47 tag of the language it was shown in.
    #[serde(deserialize_with = "text::one")]
    pub language: String,
    /// When the owner acted, RFC 3339.
    #[serde(deserialize_with = "text::one")]
    pub given_at: String,
    /// How: `button`, `command-line`, …
    #[serde(deserialize_with = "text::one")]
    pub act: String,
    /// Kinds of network the owner allowed: `wifi`, `ethernet`, `cellular`.
    #[serde(deserialize_with = "text::many")]
    pub networks: Vec<String>,
    /// The owner confirmed the minimum age.
    pub minimum_age: bool,
}

/// Whether a device takes streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharingStatus {
    /// It does.
    pub sharing: bool,
    /// Why not: `paused_by_owner`, `daily_cap`, `metered_network`, …
    #[serde(
        default,
        deserialize_with = "text::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub reason: Option<String>,
}

impl Default for SharingStatus {
    fn default() -> Self {
        Self {
            sharing: true,
            reason: None,
        }
    }
}

/// Counters since the tunnel was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Bytes sent to destinations.
    pub bytes_up: u64,
    /// Bytes received from destinations.
    pub bytes_down: u64,
    /// Streams served.
    pub streams: u64,
    /// Streams refused, by code.
    #[serde(default, deserialize_with = "text::keys")]
    pub refused: std::collections::BTreeMap<String, u64>,
}

/// The owner withdrew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// The consent record that no longer holds.
    #[serde(deserialize_with = "text::one")]
    pub consent_id: String,
    /// When the owner acted, RFC 3339.
    #[serde(deserialize_with = "text::one")]
    pub at: String,
}

/// The device is registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The version of the protocol that the hub chose.
    pub version: u16,
    /// The device's id at the platform.
    #[serde(deserialize_with = "text::one")]
    pub node_id: String,
    /// The device's public address as the hub sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<IpAddr>,
    /// Seconds between heartbeats.
    pub heartbeat_s: u32,
    /// Streams that the node may open at the same time.
    #[serde(default)]
    pub max_streams: u32,
    /// The platform's exit policy; none: only ports 80 and 443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyUpdate>,
    /// The platform's own addresses, which no device may dial.
    #[serde(default)]
    pub platform_addresses: Vec<IpAddr>,
    /// What the hub can do beyond the version: of [`capability`].
    #[serde(default, deserialize_with = "text::many")]
    pub capabilities: Vec<String>,
    /// As in [`OwnersWish::paused`], from the start.
    #[serde(default)]
    pub paused: bool,
}

/// A platform policy in the form of [`crate::policy::PlatformPolicy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyUpdate {
    /// The policy document. Parsed by the receiver: one that does not parse counts as missing.
    pub document: serde_json::Value,
}

/// What is open for one customer beyond the policy, in place of what was told before.
///
/// Default rules only, whatever stands in it: hard ones can't be named in [`crate::policy::Grants`], and would not be heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantsUpdate {
    /// The customer as in OPEN, in 16 hexadecimal digits.
    #[serde(deserialize_with = "text::one")]
    pub customer: String,
    /// The openings. Parsed by the receiver: what does not parse counts as none.
    pub grants: serde_json::Value,
}

impl GrantsUpdate {
    /// For the customer that OPEN names by this number.
    pub fn new(customer: u64, grants: &crate::policy::Grants) -> Self {
        Self {
            customer: format!("{customer:016x}"),
            // Plain data: serialisation has no way to fail.
            grants: serde_json::to_value(grants).unwrap_or_default(),
        }
    }

    /// Customer and openings; none if the customer is no number. Openings that can't be read are none.
    pub fn read(&self) -> Option<(u64, crate::policy::Grants)> {
        let is_number =
            self.customer.len() == 16 && self.customer.bytes().all(|byte| byte.is_ascii_hexdigit());
        let customer = u64::from_str_radix(&self.customer, 16)
            .ok()
            .filter(|_| is_number)?;
        let grants = serde_json::from_value(self.grants.clone()).unwrap_or_default();
        Some((customer, grants))
    }
}

/// Something the owner or the app should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// `paused`, `too_old`, `terms_changed`, …
    #[serde(deserialize_with = "text::one")]
    pub code: String,
    /// For people.
    #[serde(deserialize_with = "text::one")]
    pub message: String,
}

/// A code by which an account claims the device, or when to ask for one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pairing {
    /// To be shown to the owner; none: there is none now.
    #[serde(
        default,
        deserialize_with = "text::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<String>,
    /// Seconds for which the code is good; without one, after which the device may ask again.
    pub seconds: u32,
}

/// What the owner wishes from afar, by the account that claimed the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnersWish {
    /// The device shall not share. False ends that, and no pause but that.
    pub paused: bool,
}

/// Why bytes are not a control message.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not JSON, or a field is missing, has the wrong type, or is a text beyond [`MAX_TEXT_BYTES`].
    #[error("not a control message: {0}")]
    Json(#[from] serde_json::Error),
}

impl ToHub {
    /// The message as JSON.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a message; none: a type that this version does not know, to be ignored.
    ///
    /// # Errors
    /// If it is not a JSON object, or one of a known type with a field missing, of the wrong type, or a text beyond
    /// [`MAX_TEXT_BYTES`].
    pub fn decode(message: &[u8]) -> Result<Option<Self>, ControlError> {
        decode(message, &["hello", "status", "heartbeat", "withdraw", "pair"])
    }
}

impl ToNode {
    /// The message as JSON.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a message; none: a type that this version does not know, to be ignored.
    ///
    /// # Errors
    /// If it is not a JSON object, or one of a known type with a field missing, of the wrong type, or a text beyond
    /// [`MAX_TEXT_BYTES`].
    pub fn decode(message: &[u8]) -> Result<Option<Self>, ControlError> {
        decode(
            message,
            &["welcome", "policy", "grants", "notice", "pairing", "wish"],
        )
    }
}

fn encode<T: Serialize>(message: &T) -> Bytes {
    // Plain structs with string keys: serialisation has no way to fail.
    serde_json::to_vec(message).map(Bytes::from).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(message: &[u8], known: &[&str]) -> Result<Option<T>, ControlError> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    let Kind { kind } = serde_json::from_slice(message)?;
    if known.contains(&kind.as_ref()) {
        Ok(Some(serde_json::from_slice(message)?))
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_ignored_and_unknown_fields_too() {
        assert_eq!(ToNode::decode(br#"{"type":"confetti","n":1}"#).unwrap(), None);
        let status =
            ToHub::decode(br#"{"type":"status","sharing":false,"reason":"daily_cap","mood":"fine"}"#);
        let expected = SharingStatus {
            sharing: false,
            reason: Some("daily_cap".into()),
        };
        assert_eq!(status.unwrap(), Some(ToHub::Status(expected)));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"type":7}"#,
            r#"{"type":"hello"}"#,
            "\u{fffd}",
        ] {
            assert!(ToHub::decode(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn every_message_reads_back() {
        let welcome = ToNode::Welcome(Box::new(Welcome {
            version: VERSION,
            node_id: "0199c0de-0000-7000-8000-000000000000".into(),
            public_ip: Some([203, 0, 113, 7].into()),
            heartbeat_s: 300,
            max_streams: 0,
            policy: Some(PolicyUpdate {
                document: serde_json::json!({"version": 1}),
            }),
            platform_addresses: vec![],
            capabilities: vec![capability::PAIRING.into()],
            paused: true,
        }));
        assert_eq!(ToNode::decode(&welcome.encode()).unwrap(), Some(welcome));
        let pair = br#"{"type":"pair","later":1}"#;
        assert_eq!(ToHub::decode(pair).unwrap(), Some(ToHub::Pair));
        assert_eq!(ToHub::Pair.encode(), br#"{"type":"pair"}"#[..]);
    }

    #[test]
    fn grants_name_their_customer_and_never_a_hard_rule() {
        use crate::policy::Grants;
        let text = r#"[{"opening":{"tcpPorts":"5900-5910"},"untilMs":9}]"#;
        let grants: Grants = serde_json::from_str(text).unwrap();
        let update = GrantsUpdate::new(0xfe, &grants);
        assert_eq!(update.customer, "00000000000000fe");
        assert_eq!(update.read(), Some((0xfe, grants)));
        for hopeless in [
            serde_json::json!([{ "opening": { "rule": "loopback" }, "untilMs": 9 }]),
            serde_json::json!([{ "opening": { "everything": true }, "untilMs": 9 }]),
            serde_json::json!("all"),
            serde_json::Value::Null,
        ] {
            let update = GrantsUpdate {
                customer: "00000000000000fe".into(),
                grants: hopeless,
            };
            assert_eq!(update.read(), Some((0xfe, Grants::default())));
        }
        for nobody in ["", "fe", "+0000000000000fe", "g000000000000000"] {
            let update = GrantsUpdate {
                customer: nobody.into(),
                grants: serde_json::json!([]),
            };
            assert_eq!(update.read(), None, "{nobody}");
        }
    }

    /// One message of each type with every field, as JSON.
    fn full() -> Vec<serde_json::Value> {
        vec![
            serde_json::json!({
                "type": "hello", "versions": [2], "agent": "a", "partnerKey": "k",
                "device": {
                    "id": "i", "secret": "s", "os": "linux", "net": "wifi", "sdkVersion": "1",
                    "appId": "a", "appVersion": "1",
                },
                "consent": {
                    "id": "i", "textVersion": "v", "textHash": "h", "language": "en", "givenAt": "t",
                    "act": "button", "networks": ["wifi"], "minimumAge": true,
                },
                "capabilities": ["udp"], "maxStreams": 1, "testAllow": ["127.0.0.1:1"],
                "status": { "sharing": false, "reason": "r" },
            }),
            serde_json::json!({ "type": "status", "sharing": false, "reason": "r" }),
            serde_json::json!({
                "type": "heartbeat", "bytesUp": 1, "bytesDown": 1, "streams": 1, "refused": { "key": 1 },
            }),
            serde_json::json!({ "type": "withdraw", "consentId": "i", "at": "t" }),
            serde_json::json!({
                "type": "welcome", "version": 2, "nodeId": "n", "publicIp": "1.1.1.1", "heartbeatS": 1,
                "maxStreams": 0, "policy": { "document": {} }, "platformAddresses": ["1.1.1.1"],
                "capabilities": ["c"], "paused": true,
            }),
            serde_json::json!({ "type": "policy", "document": {} }),
            serde_json::json!({ "type": "grants", "customer": "c", "grants": [] }),
            serde_json::json!({ "type": "notice", "code": "c", "message": "m" }),
            serde_json::json!({ "type": "pair" }),
            serde_json::json!({ "type": "pairing", "code": "c", "seconds": 1 }),
            serde_json::json!({ "type": "wish", "paused": true }),
        ]
    }

    /// The value with each of its texts, but the message's type, replaced in turn.
    fn with_each_text(value: &serde_json::Value, text: &str) -> Vec<serde_json::Value> {
        use serde_json::Value;
        match value {
            Value::String(_) => vec![text.into()],
            Value::Array(entries) => (0..entries.len())
                .flat_map(|at| {
                    with_each_text(&entries[at], text).into_iter().map(move |entry| {
                        let mut entries = entries.clone();
                        entries[at] = entry;
                        Value::Array(entries)
                    })
                })
                .collect(),
            Value::Object(fields) => {
                let mut changed = Vec::new();
                for (name, field) in fields.iter().filter(|(name, _)| *name != "type") {
                    if name == "key" {
                        changed.push(serde_json::json!({ text: field }));
                    }
                    for field in with_each_text(field, text) {
                        let mut fields = fields.clone();
                        fields.insert(name.clone(), field);
                        changed.push(Value::Object(fields));
                    }
                }
                changed
            }
            _ => Vec::new(),
        }
    }

    fn is_message(value: &serde_json::Value) -> bool {
        let bytes = value.to_string();
        let to_hub = ToHub::decode(bytes.as_bytes()).is_ok_and(|message| message.is_some());
        let to_node = ToNode::decode(bytes.as_bytes()).is_ok_and(|message| message.is_some());
        to_hub || to_node
    }

    #[test]
    fn every_text_has_its_bound_and_no_control_characters() {
        let (longest, longer) = ("é".repeat(MAX_TEXT_BYTES / 2), "x".repeat(MAX_TEXT_BYTES + 1));
        let mut texts = 0;
        for message in full() {
            assert!(is_message(&message), "{message}");
            for refused in [longer.as_str(), "a\nb", "\u{7f}", "\0"] {
                for message in with_each_text(&message, refused) {
                    texts += 1;
                    assert!(!is_message(&message), "{message}");
                }
            }
        }
        assert!(texts > 4 * 25, "{texts} texts tried");
        let notice = |message: &str| {
            ToNode::Notice(Notice {
                code: "c".into(),
                message: message.into(),
            })
        };
        assert_eq!(
            ToNode::decode(&notice(&longest).encode()).unwrap(),
            Some(notice(&longest))
        );
        let error = ToNode::decode(&notice(&longer).encode()).unwrap_err().to_string();
        assert!(error.contains("512 bytes") && !error.contains("xx"), "{error}");
    }

    #[test]
    fn a_policy_document_is_bounded_by_its_own_rules() {
        let document = serde_json::json!({ "note": "x\n".repeat(MAX_TEXT_BYTES) });
        let policy = ToNode::Policy(PolicyUpdate { document });
        assert_eq!(ToNode::decode(&policy.encode()).unwrap(), Some(policy));
    }
}
