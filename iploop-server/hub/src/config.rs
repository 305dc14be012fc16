//! The section `[hub]`, and what can be wrong with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use iploop_platform::duration;
use iploop_platform::tls::TlsMistake;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::Tls;
use crate::geo::GeoError;

/// Where devices connect by default.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8001);
/// Connections at the same time, those under way to a registration included.
const DEFAULT_MAX_CONNECTIONS: usize = 100_000;
/// From the connection to the whole hello: TLS, HTTP and the first message together.
///
/// Saying farewell may take 5 seconds more, and a silent connection is gone after 15 (`docs/protocol.md`, Life of a tunnel).
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the hello to the welcome, waiting in line included. Shorter than the 10 seconds after which devices give up.
const DEFAULT_REGISTRATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Registrations in the store at the same time.
const DEFAULT_REGISTRATIONS: usize = 64;
/// Registrations that wait for their turn; more are sent away for a while.
const DEFAULT_REGISTRATION_QUEUE: usize = 4096;
/// Time between the statistics that a device sends.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(300);
/// Time that a device has for one dial.
const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one device at the same time, however many it offers.
const DEFAULT_MAX_STREAMS_PER_NODE: u32 = 1024;
/// Memory that the receive windows of all devices may promise away together, in bytes.
const DEFAULT_WINDOW_BUDGET_BYTES: u64 = 512 << 20;
/// Versions of the consent text that are accepted.
pub const DEFAULT_TERMS: &str = "2026-11";
/// How long a consent holds before the owner is asked again.
const DEFAULT_CONSENT_MAX_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The `[hub]` section: where devices connect, and what bounds them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HubConfig {
    /// Where devices connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate chain in PEM form, for TLS by the hub itself. Needs `tls_key`.
    #[schemars(example = &"/etc/iploop/cert.pem")]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM form. Needs `tls_cert`.
    #[schemars(example = &"/etc/iploop/key.pem")]
    pub tls_key: Option<PathBuf>,
    /// Proxies in front of the hub, as addresses or CIDR prefixes, whose `X-Forwarded-For` is believed.
    #[schemars(with = "Vec<String>")]
    #[serde(deserialize_with = "iploop_platform::cidr::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time; more are closed at once.
    pub max_connections: usize,
    /// From the connection to the whole hello.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub handshake_timeout: Duration,
    /// From the hello to the welcome.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub registration_timeout: Duration,
    /// Registrations in the store at the same time.
    pub registrations: usize,
    /// Registrations that wait for their turn.
    pub registration_queue: usize,
    /// Time between the statistics that a device sends.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub heartbeat: Duration,
    /// Time that a device has for one dial.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub dial_timeout: Duration,
    /// Streams on one device at the same time.
    pub max_streams_per_node: u32,
    /// Memory that receive windows may promise away, in bytes.
    pub window_budget_bytes: u64,
    /// Versions of the consent text that are accepted.
    pub terms: Vec<String>,
    /// How long a consent holds.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub consent_max_age: Duration,
    /// Oldest version of the library that is served (`1.4.0`); absent: any.
    #[schemars(example = &"1.4.0")]
    pub min_sdk_version: Option<String>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            registration_timeout: DEFAULT_REGISTRATION_TIMEOUT,
            registrations: DEFAULT_REGISTRATIONS,
            registration_queue: DEFAULT_REGISTRATION_QUEUE,
            heartbeat: DEFAULT_HEARTBEAT,
            dial_timeout: DEFAULT_DIAL_TIMEOUT,
            max_streams_per_node: DEFAULT_MAX_STREAMS_PER_NODE,
            window_budget_bytes: DEFAULT_WINDOW_BUDGET_BYTES,
            terms: vec![DEFAULT_TERMS.to_owned()],
            consent_max_age: DEFAULT_CONSENT_MAX_AGE,
            min_sdk_version: None,
        }
    }
}

/// Why a hub can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A value that makes no sense.
    #[error("hub.{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// Certificate or key.
    #[error("{}", .0.iter().map(|TlsMistake { key, problem }| format!("hub.{key}: {problem}")).collect::<Vec<_>>().join("; "))]
    Tls(Vec<TlsMistake>),
    /// GeoIP files or overrides.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Geo(Vec<GeoError>),
    /// The address can't be listened on.
    #[error("hub.listen: {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl HubConfig {
    /// Everything that is wrong with the values, files aside.
    pub fn mistakes(&self) -> Vec<HubError> {
        let mut problems = Vec::new();
        let mut wrong = |key: &'static str, problem: &str| {
            problems.push(HubError::Value {
                key,
                problem: problem.to_owned(),
            });
        };
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => wrong("tls_key", "is missing; tls_cert needs it"),
            (None, Some(_)) => wrong("tls_cert", "is missing; tls_key needs it"),
            _ => {}
        }
        for (key, number) in [
            ("max_connections", self.max_connections),
            ("registrations", self.registrations),
            ("registration_queue", self.registration_queue),
            (
                "max_streams_per_node",
                usize::try_from(self.max_streams_per_node).unwrap_or(usize::MAX),
            ),
            (
                "window_budget_bytes",
                usize::try_from(self.window_budget_bytes).unwrap_or(usize::MAX),
            ),
        ] {
            if number == 0 {
                wrong(key, "must be at least 1");
            }
        }
        for (key, time) in [
            ("handshake_timeout", self.handshake_timeout),
            ("registration_timeout", self.registration_timeout),
            ("dial_timeout", self.dial_timeout),
            ("consent_max_age", self.consent_max_age),
        ] {
            if time.is_zero() {
                wrong(key, "must be longer than nothing");
            }
        }
        if self.heartbeat < Duration::from_secs(10) {
            wrong(
                "heartbeat",
                "must be at least \"10s\": every device sends one that often",
            );
        }
        if self.terms.is_empty() {
            wrong(
                "terms",
                "is empty, so that no device could register; name the versions of the consent text",
            );
        }
        if self
            .min_sdk_version
            .as_deref()
            .is_some_and(|text| crate::registration::Version::parse(text).is_none())
        {
            wrong(
                "min_sdk_version",
                "is not a version; write numbers with dots, such as \"1.4.0\"",
            );
        }
        problems
    }

    /// Everything that is wrong with the files that the values name. Reads them; meant for the start.
    pub fn file_mistakes(&self) -> Vec<HubError> {
        let mistakes = Tls::open(self).err().unwrap_or_default();
        let named = mistakes
            .into_iter()
            .map(|TlsMistake { key, problem }| HubError::Value { key, problem });
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_written_as_they_are_read() {
        let config = HubConfig::default();
        assert!(config.mistakes().is_empty());
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("handshake_timeout = \"10s\""), "{text}");
        assert_eq!(toml::from_str::<HubConfig>(&text).unwrap(), config);
        assert_eq!(toml::from_str::<HubConfig>("").unwrap(), config);
    }

    #[test]
    fn a_typo_and_a_bare_number_are_refused() {
        let typo = toml::from_str::<HubConfig>("listn = \"0.0.0.0:1\"")
            .unwrap_err()
            .to_string();
        assert!(typo.contains("unknown field `listn`"), "{typo}");
        let bare = toml::from_str::<HubConfig>("dial_timeout = \"15\"")
            .unwrap_err()
            .to_string();
        assert!(bare.contains("write \"15s\" or \"15m\""), "{bare}");
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let config = HubConfig {
            tls_cert: Some("cert.pem".into()),
            registrations: 0,
            terms: vec![],
            heartbeat: Duration::from_secs(1),
            min_sdk_version: Some("new".into()),
            ..HubConfig::default()
        };
        let problems: Vec<_> = config.mistakes().iter().map(ToString::to_string).collect();
        for key in [
            "hub.tls_key",
            "hub.registrations",
            "hub.terms",
            "hub.heartbeat",
            "hub.min_sdk_version",
        ] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(key)),
                "{key} in {problems:?}"
            );
        }
        assert_eq!(problems.len(), 5);
    }
}
