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
    /// What else is known of that.
    pub geo: GeoFacts,
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

/// What is known of a device's whereabouts besides its [`Place`]. For admins: nothing is chosen by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoFacts {
    /// The country's English name.
    pub country_name: Option<String>,
    /// Where its city or region is, as GeoIP has it.
    pub point: Option<Point>,
    /// The mobile network's name, where the device says that it is on one.
    pub carrier: Option<String>,
}

/// A place on the earth, to a tenth of a degree (some 10 km): finer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    latitude_tenths: i16,
    longitude_tenths: i16,
}

impl Point {
    /// From degrees, rounded; none if they are not on the earth.
    pub fn from_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        Self::from_tenths(tenths(latitude)?, tenths(longitude)?)
    }

    /// From tenths of a degree, as they are stored.
    pub fn from_tenths(latitude: i16, longitude: i16) -> Option<Self> {
        let is_on_earth = latitude.unsigned_abs() <= 900 && longitude.unsigned_abs() <= 1800;
        is_on_earth.then_some(Self {
            latitude_tenths: latitude,
            longitude_tenths: longitude,
        })
    }

    /// Latitude and longitude in tenths of a degree.
    pub const fn tenths(self) -> (i16, i16) {
        (self.latitude_tenths, self.longitude_tenths)
    }

    /// Degrees north.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude_tenths) / 10.0
    }

    /// Degrees east.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude_tenths) / 10.0
    }
}

fn tenths(degrees: f64) -> Option<i16> {
    let tenths = (degrees * 10.0).round();
    if !(-1800.0..=1800.0).contains(&tenths) {
        return None;
    }
    // In range, so nothing is cut.
    #[expect(clippy::cast_possible_truncation, reason = "-1800 to 1800")]
    let tenths = tenths as i16;
    Some(tenths)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_kept_to_a_tenth_of_a_degree_and_only_on_the_earth() {
        let point = Point::from_degrees(52.5163, -13.3777).unwrap();
        assert_eq!(point.tenths(), (525, -134));
        assert_eq!((point.latitude(), point.longitude()), (52.5, -13.4));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Point::from_degrees(latitude, longitude), None);
        }
    }
}
