//! The `[api]` section.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[api]` section: where the API and the public pages listen, and whom they believe.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address of the API, the public pages and the health checks; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host under which customers reach the proxy, shown to them; default: the host of `accounts.public_url`.
    #[schemars(example = &"proxy.example.com")]
    pub proxy_host: Option<String>,
    /// Folder with the dashboard, built by `cargo xtask web`; none: there is none, and `/` is the status page.
    #[schemars(example = &"/usr/share/iploop/dashboard")]
    pub dashboard: Option<PathBuf>,
    /// Terminators in front of us, as addresses or CIDR prefixes: their `X-Forwarded-For` says who the client is. Nobody else's
    /// is looked at.
    #[schemars(with = "Vec<String>")]
    #[serde(deserialize_with = "iploop_platform::cidr::deserialize")]
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time; further ones wait in the system's queue.
    pub max_connections: NonZero<u32>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3000)),
            proxy_host: None,
            dashboard: None,
            trusted_proxies: Vec::new(),
            max_connections: const { NonZero::new(1024).unwrap() },
        }
    }
}

impl ApiConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let is_host = |host: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
            !host.is_empty() && host.bytes().all(is_plain)
        };
        match &self.proxy_host {
            Some(host) if !is_host(host) => {
                vec![
                    "api.proxy_host: write a host name or an address, such as \"proxy.example.com\""
                        .to_owned(),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// What is wrong with the files that the section names. Looks at them; meant for the start.
    pub fn file_mistakes(&self) -> Vec<String> {
        let Some(folder) = &self.dashboard else {
            return Vec::new();
        };
        let page = folder.join(crate::dashboard::PAGE);
        match std::fs::File::open(&page) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let page = page.display();
                vec![format!(
                    "api.dashboard: {page} can't be read: {error}; cargo xtask web makes one in web/dist"
                )]
            }
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

    #[test]
    fn a_proxy_host_is_a_host_and_no_address_of_a_page() {
        let mistakes = |host: &str| {
            let config = ApiConfig {
                proxy_host: Some(host.to_owned()),
                ..ApiConfig::default()
            };
            config.mistakes()
        };
        assert!(mistakes("proxy.example.com").is_empty());
        assert_eq!(mistakes("https://proxy.example.com").len(), 1);
        assert_eq!(mistakes("").len(), 1);
        assert!(ApiConfig::default().mistakes().is_empty());
    }
}
