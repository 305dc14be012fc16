//! The `[api]` section.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;

use ipnet::IpNet;
use serde::Deserialize;

/// Where the API listens and whom it believes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address of the API, the public pages and the health checks; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host under which customers reach the proxy, shown to them; default: the host of `accounts.public_url`.
    pub proxy_host: Option<String>,
    /// Terminators in front of us: their `X-Forwarded-For` says who the client is. Nobody else's is looked at.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time; further ones wait in the system's queue.
    pub max_connections: NonZero<u32>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3000)),
            proxy_host: None,
            trusted_proxies: Vec::new(),
            max_connections: const { NonZero::new(1024).unwrap() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        let parse = |json: &str| serde_json::from_str::<ApiConfig>(json);
        assert_eq!(parse("{}").unwrap().listen.port(), 3000);
        assert!(parse(r#"{"lisen":"127.0.0.1:1"}"#).is_err());
        assert!(parse(r#"{"max_connections":0}"#).is_err());
    }
}
