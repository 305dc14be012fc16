//! The `[gateway]` section, and what can be wrong with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::acme::AcmeConfig;
use crate::listener::tls;

/// The customary ports of a proxy here: HTTP, TLS and SOCKS5 on both.
const DEFAULT_PORTS: [u16; 2] = [7777, 1080];

/// The longest that a connection may take to say what it wants, on every port.
pub const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// The `[gateway]` section: where customers are listened for, and what bounds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Addresses to listen on; each tells HTTP, TLS and SOCKS5 apart by the first bytes. The first is shown to customers for HTTP, the last for SOCKS5.
    pub listen: Vec<SocketAddr>,
    /// Certificate chain in PEM, for customers who connect by TLS. Needs `tls_key`.
    #[schemars(example = &"/etc/iploop/cert.pem")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM. Needs `tls_cert`.
    #[schemars(example = &"/etc/iploop/key.pem")]
    pub tls_key: Option<PathBuf>,
    /// Names the proxy to destinations and customers in a `Via` field on plain requests (RFC 9110 section 7.6.3). Off: a destination is not told that
    /// there is a proxy.
    pub via: bool,
    /// Balancers, as addresses or CIDR prefixes, that say by the PROXY protocol (version 1 or 2) who their connections are from.
    /// They must then say it on each; nobody else's word is taken.
    #[schemars(with = "Vec<String>", example = &["10.0.0.0/24"])]
    #[serde(deserialize_with = "iploop_platform::cidr::deserialize")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Connections at the same time; beyond them requests are answered with `overloaded`.
    pub max_connections: usize,
    /// Connections that are answered with `overloaded` at the same time; beyond them nothing is accepted.
    pub max_refusals: usize,
    /// From accepting a connection, or from the first byte of its next request, to the request's whole head. At most `15s`.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub handshake_timeout: Duration,
    /// How long a connection without a request is kept for the next one.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub keep_alive_timeout: Duration,
    /// From admission to an open stream, all attempts together.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub connect_timeout: Duration,
    /// The same for one exit; then another one is tried. At most `connect_timeout`.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub attempt_timeout: Duration,
    /// Exits asked for one request.
    pub max_attempts: u32,
    /// Asks another exit beside one that takes longer than it usually does, and uses the one that connects first. Costs customers nothing, and exits some dials: at most one more in ten.
    pub hedge_dials: bool,
    /// How long a destination may take to answer a plain request, and its customer with the rest of its content, while nothing moves.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub response_timeout: Duration,
    /// How long a tunnel, or the content of an answer to a plain request, may stand still.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub idle_timeout: Duration,
    /// How long a tunnel may last.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub max_duration: Duration,
    /// How long a draining gateway still serves new requests, as a part of its grace.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub soft_drain: Duration,
    /// The address that customers send their datagrams to (SOCKS5 UDP ASSOCIATE); by default the one that they connected to.
    /// For a gateway behind a balancer or a translator.
    #[schemars(example = &"198.51.100.1")]
    pub udp_address: Option<IpAddr>,
    /// Live sticky sessions, and keys whose last exit is remembered. Beyond them new sessions are answered with `overloaded`.
    pub max_sessions: usize,
    /// Live sticky sessions of one account; beyond them new ones are answered with `too_many_sessions`.
    pub max_sessions_per_account: usize,
    /// How long after its start the gateway waits for the exits of sessions from before; then they fail over.
    #[serde(with = "iploop_platform::duration")]
    #[schemars(with = "iploop_platform::duration::DurationText")]
    pub session_grace: Duration,
    /// A certificate from an ACME directory, in place of `tls_cert` and `tls_key`.
    pub acme: AcmeConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            listen: DEFAULT_PORTS.map(|port| SocketAddr::new(any, port)).to_vec(),
            tls_cert: None,
            tls_key: None,
            via: false,
            proxy_protocol_from: Vec::new(),
            max_connections: 16_384,
            max_refusals: 1_024,
            handshake_timeout: MAX_HANDSHAKE_TIMEOUT,
            keep_alive_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(12),
            max_attempts: 5,
            hedge_dials: true,
            response_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(600),
            max_duration: Duration::from_secs(24 * 3600),
            soft_drain: Duration::from_secs(5),
            udp_address: None,
            max_sessions: 100_000,
            max_sessions_per_account: 10_000,
            session_grace: Duration::from_secs(60),
            acme: AcmeConfig::default(),
        }
    }
}

impl GatewayConfig {
    /// What is wrong with the section, each with its key; empty if nothing is. Files are not looked at.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.listen.is_empty() {
            mistakes.push("gateway.listen: name at least one address, such as \"0.0.0.0:7777\"".to_owned());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            mistakes.push("gateway.tls_cert, gateway.tls_key: give both or neither".to_owned());
        }
        if self.acme.is_on() && (self.tls_cert.is_some() || self.tls_key.is_some()) {
            mistakes
                .push("gateway.acme.domains: give these, or tls_cert and tls_key, and not both".to_owned());
        }
        mistakes.extend(self.acme.mistakes());
        for (key, value) in [
            ("max_connections", self.max_connections),
            ("max_refusals", self.max_refusals),
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_account", self.max_sessions_per_account),
        ] {
            if value == 0 {
                mistakes.push(format!("gateway.{key}: must be at least 1"));
            }
        }
        if self.max_attempts == 0 {
            mistakes.push("gateway.max_attempts: must be at least 1".to_owned());
        }
        if self.handshake_timeout > MAX_HANDSHAKE_TIMEOUT {
            mistakes.push("gateway.handshake_timeout: must be at most 15s".to_owned());
        }
        if self.attempt_timeout > self.connect_timeout {
            mistakes.push("gateway.attempt_timeout: must be at most connect_timeout".to_owned());
        }
        for (key, value) in [
            ("handshake_timeout", self.handshake_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("connect_timeout", self.connect_timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("response_timeout", self.response_timeout),
            ("idle_timeout", self.idle_timeout),
            ("max_duration", self.max_duration),
        ] {
            if value < Duration::from_millis(10) {
                mistakes.push(format!("gateway.{key}: must be at least 10ms"));
            }
        }
        mistakes
    }

    /// What is wrong with the files that the section names, each with its key. Reads them; meant for the start.
    pub fn file_mistakes(&self) -> Vec<String> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls::acceptor(cert, key).err().unwrap_or_default(),
            _ => self.acme.file_mistakes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_survives_a_round_trip() {
        let config = GatewayConfig::default();
        assert_eq!(config.mistakes(), Vec::<String>::new());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<GatewayConfig>(&text).unwrap(), config);
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let unknown = serde_json::from_str::<GatewayConfig>(r#"{"lisen": []}"#).unwrap_err();
        assert!(unknown.to_string().contains("lisen"), "{unknown}");
        let bare = serde_json::from_str::<GatewayConfig>(r#"{"idle_timeout": "15"}"#).unwrap_err();
        assert!(bare.to_string().contains("15s"), "{bare}");
        let config = GatewayConfig {
            listen: vec![],
            tls_cert: Some("cert.pem".into()),
            max_attempts: 0,
            handshake_timeout: Duration::from_secs(16),
            idle_timeout: Duration::ZERO,
            ..GatewayConfig::default()
        };
        assert_eq!(config.mistakes().len(), 5, "{:?}", config.mistakes());
    }
}
