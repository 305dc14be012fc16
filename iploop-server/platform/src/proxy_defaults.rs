//! How a customer usually reaches the proxy: what the ready lines of its pages carry.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::store::StoreError;

/// The customer's usual wishes. Requests that come without any are served as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyDefaults {
    /// Parameters in canonical form; empty: none.
    pub targeting: String,
    /// By which protocol.
    pub protocol: ProxyProtocol,
    /// When they were set.
    pub changed_at: Timestamp,
}

/// A protocol of the proxy port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// HTTP proxying.
    #[default]
    Http,
    /// SOCKS5.
    Socks5,
}

impl ProxyProtocol {
    /// As it stands in the data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }

    /// By that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Http, Self::Socks5]
            .into_iter()
            .find(|known| known.as_str() == word)
    }
}

impl fmt::Display for ProxyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where they are kept.
#[async_trait]
pub trait KeepsProxyDefaults: Send + Sync + 'static {
    /// Those of an account; none: it never set any.
    async fn proxy_defaults(&self, account: AccountId) -> Result<Option<ProxyDefaults>, StoreError>;
    /// Sets them, whole.
    async fn set_proxy_defaults(
        &self,
        account: AccountId,
        defaults: &ProxyDefaults,
    ) -> Result<(), StoreError>;
}
