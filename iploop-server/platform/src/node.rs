//! Devices as the database knows them, and the consent of their owners.

use std::net::IpAddr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::exits::Place;
use crate::ids::{ConsentId, NodeId, PartnerId};

/// A device that registered, as one act: its row is made or brought up to date and its consent record appended.
#[derive(Clone, Debug)]
pub struct NodeRegistration {
    /// The id a new device gets; a known one keeps its own.
    pub id: NodeId,
    /// The device's own lasting id, 16 to 64 characters.
    pub device_id: String,
    /// SHA-256, in hex, of the secret that proves it is the same device; set at first registration, required after.
    pub device_secret_hash: String,
    /// The partner whose key it came with.
    pub partner: PartnerId,
    /// Its public address.
    pub ip: IpAddr,
    /// Where that is.
    pub place: Place,
    /// `wifi`, `cellular` or `ethernet`.
    pub connection_type: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    pub device_type: Option<String>,
    /// The library's version.
    pub sdk_version: String,
    /// What its owner agreed to.
    pub consent: ConsentRecord,
    /// Whether only approved apps may bring devices; none of them may, if it was rejected or suspended.
    pub review_apps: bool,
    /// When.
    pub now: Timestamp,
}

/// What the database answers to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// Accepted, under this id.
    Accepted(NodeId),
    /// Accepted, and the account that claimed it wishes that it pauses.
    Paused(NodeId),
    /// The device is banned.
    Banned {
        /// Why, as the admin wrote it.
        reason: String,
        /// Until when; none: for good.
        until: Option<Timestamp>,
    },
    /// Another secret belongs to this device id.
    SecretMismatch,
    /// The owner withdrew this very consent record: the owner must be asked again.
    ConsentWithdrawn,
    /// The app that asked its owner may not bring devices.
    AppNotAdmitted,
}

/// What an owner agreed to: append-only, one row each time the owner is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsentRecord {
    /// The record's id, made by the device, so that sending it twice stores it once.
    pub id: ConsentId,
    /// Version of the text.
    pub text_version: String,
    /// SHA-256 of the text, in hex.
    pub text_hash: String,
    /// BCP 47 tag of the language it was shown in.
    pub language: String,
    /// When the owner acted.
    pub given_at: Timestamp,
    /// How: `button`, `command-line`, …
    pub act: String,
    /// App id.
    pub app_id: String,
    /// App version.
    pub app_version: String,
    /// Networks the owner allowed, as JSON.
    pub networks: serde_json::Value,
    /// The owner confirmed the minimum age.
    pub minimum_age: bool,
}

/// Counters of one device since the last batch.
#[derive(Clone, Debug)]
pub struct NodeActivity {
    /// The device.
    pub node: NodeId,
    /// Streams it was asked to open.
    pub requests: u64,
    /// Of these, the ones that succeeded.
    pub successful_requests: u64,
    /// Bytes both ways.
    pub bytes: u64,
    /// 0 to 100.
    pub quality: u8,
    /// Last sign of life.
    pub last_heartbeat: Timestamp,
    /// False when it disconnected.
    pub connected: bool,
}
