//! What a node needs to know before it starts.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use iploop_protocol::policy::{NarrowPolicy, TestAllow};

use crate::clock::{Clock, SystemClock};
use crate::hub::HubUrl;
use crate::resolve::{Resolver, SystemResolver};
use crate::sharing::OwnerLimits;
use crate::surroundings::{Surroundings, SystemSurroundings};

/// Settings of a node. [`NodeConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The hub.
    pub hub: HubUrl,
    /// The partner's key.
    pub partner_key: PartnerKey,
    /// Certificates (PEM) to check a `wss` hub's by, instead of the public authorities.
    pub ca: Option<PathBuf>,
    /// Source address of all connections, for devices with several.
    ///
    /// A loopback one is used toward loopback only. Any other also keeps the device to that address's family.
    pub bind: Option<IpAddr>,
    /// What kind of device it is.
    pub device_type: DeviceType,
    /// The app that carries the library, at most 64 characters.
    pub app_id: String,
    /// Its version, at most 64 characters.
    pub app_version: String,
    /// What the owner allows.
    pub limits: OwnerLimits,
    /// What the partner takes away from what customers may reach.
    pub partner_policy: Arc<NarrowPolicy>,
    /// What the owner takes away from what customers may reach.
    pub owner_policy: Arc<NarrowPolicy>,
    /// Single addresses opened against the exit policy, for tests and demos. The hub is told, and refuses unless it is one
    /// for tests itself. Not there without the crate's feature `test-allow`: release packages are built without.
    #[cfg(feature = "test-allow")]
    pub test_allow: TestAllow,
}

/// A partner's key: `iplp_` and 48 hex digits. Its `Debug` shows the first digits only.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerKey(String);

/// The text is no [`PartnerKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a partner key is iplp_ followed by 48 hex digits")]
pub struct PartnerKeyError;

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DeviceType {
    Android,
    Ios,
    Windows,
    Mac,
    Linux,
    Browser,
}

/// What a node asks of the world around it. The defaults ask the operating system.
#[derive(Clone)]
pub struct Parts {
    /// The device's own network.
    pub surroundings: Arc<dyn Surroundings>,
    /// Names into addresses.
    pub resolver: Arc<dyn Resolver>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Draws evenly from 0 to 1, for the jitter of reconnects.
    pub random: fn() -> f64,
}

impl NodeConfig {
    /// The defaults, for this hub and partner: this system's device type, and limits as in the consent text.
    pub fn new(hub: HubUrl, partner_key: PartnerKey) -> Self {
        Self {
            hub,
            partner_key,
            ca: None,
            bind: None,
            device_type: DeviceType::of_this_system(),
            app_id: "iploop-node".to_owned(),
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: OwnerLimits::default(),
            partner_policy: Arc::default(),
            owner_policy: Arc::default(),
            #[cfg(feature = "test-allow")]
            test_allow: TestAllow::default(),
        }
    }

    pub(crate) fn test_allow(&self) -> TestAllow {
        #[cfg(feature = "test-allow")]
        let allow = self.test_allow.clone();
        #[cfg(not(feature = "test-allow"))]
        let allow = TestAllow::default();
        allow
    }
}

impl FromStr for PartnerKey {
    type Err = PartnerKeyError;

    fn from_str(text: &str) -> Result<Self, PartnerKeyError> {
        let digits = text.strip_prefix("iplp_").ok_or(PartnerKeyError)?;
        if digits.len() == 48 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PartnerKeyError)
        }
    }
}

impl PartnerKey {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PartnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartnerKey({}…)", self.0.get(..9).unwrap_or_default())
    }
}

impl DeviceType {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Windows => "windows",
            Self::Mac => "mac",
            Self::Linux => "linux",
            Self::Browser => "browser",
        }
    }

    /// That of the system this was built for.
    pub const fn of_this_system() -> Self {
        if cfg!(target_os = "android") {
            Self::Android
        } else if cfg!(target_os = "ios") {
            Self::Ios
        } else if cfg!(target_os = "windows") {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::Mac
        } else {
            Self::Linux
        }
    }
}

impl FromStr for DeviceType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [
            Self::Android,
            Self::Ios,
            Self::Windows,
            Self::Mac,
            Self::Linux,
            Self::Browser,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| "one of android, ios, windows, mac, linux, browser".to_owned())
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            surroundings: Arc::new(SystemSurroundings::default()),
            resolver: Arc::new(SystemResolver::default()),
            clock: Arc::new(SystemClock),
            random: rand::random::<f64>,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_key_is_checked_and_not_shown() {
        let text = format!("iplp_{}", "0a".repeat(24));
        let key: PartnerKey = text.parse().unwrap();
        assert_eq!(key.reveal(), text);
        assert_eq!(format!("{key:?}"), "PartnerKey(iplp_0a0a…)");
        for text in [
            "",
            "iplp_",
            "iploop_00",
            &text[..52],
            &format!("{text}0"),
            &text.replace('a', "g"),
        ] {
            assert_eq!(text.parse::<PartnerKey>(), Err(PartnerKeyError), "{text}");
        }
    }
}
