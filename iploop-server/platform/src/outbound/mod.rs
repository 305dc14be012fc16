//! Requests that the server itself makes: to customers' webhooks, to a mail service, to an assistant's endpoint.
//!
//! Whoever names the address decides how far it is trusted ([`Reach`]): a customer's address is resolved here, every answer
//! is checked, and the connection goes to a checked address itself, so that a name can't mean another place a moment later.
//! No redirect is followed, every part has a bound, and nothing is kept between two requests.

mod client;
mod config;
mod guard;
mod stream;
mod target;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

pub use client::OutboundClient;
pub use config::OutboundConfig;
pub use guard::{Resolve, SystemResolver};
pub use stream::OutboundStream;
pub use target::{Target, TargetError};

/// How far an address is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A customer named it: TLS, and public addresses only.
    Public,
    /// The operator named it in the configuration: any address.
    Operator,
}

/// One request.
#[derive(Clone)]
pub struct Outbound {
    /// Where to.
    pub target: Target,
    /// Who named that.
    pub reach: Reach,
    /// The method.
    pub method: Method,
    /// Header fields besides `Host`, `User-Agent` and `Content-Length`.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
    /// Longest time for all of it.
    pub timeout: Duration,
    /// Most of the answer's content that is read, in bytes; the rest is left unread.
    pub answer_limit: usize,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct OutboundAnswer {
    /// Its status; a redirect is an answer like any other.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// The beginning of its content, at most `answer_limit` bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts are for the customer who named the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The address is none that may be called.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The name has no address.
    #[error("the host's name can't be resolved")]
    Unresolved,
    /// The name has an address that is not public.
    #[error("the host has an address that is not public")]
    NotPublic,
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// No TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(String),
    /// Too slow.
    #[error("no answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
}

#[cfg(test)]
mod tests;
