//! Why a request through the proxy has no answer of its destination.

use std::time::Duration;

use crate::refusal::Refusal;
use crate::wire::{ConnectError, ContentError};

/// Why there is no answer of the destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The gateway refused or failed, and says why. An error that the destination answered is no such thing, but an
    /// [`Answer`](super::Answer).
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Something that is not our gateway answered in its place.
    #[error("status {0} of something that is no gateway of ours")]
    Stranger(u16),
    /// The proxy can't be reached.
    #[error("proxy: {0}")]
    Proxy(#[source] ConnectError),
    /// The tunnel stands, and TLS with the destination in it does not come about.
    #[error("destination: {0}")]
    Destination(#[source] ConnectError),
    /// The connection broke off, or what came is no HTTP. Whether the destination acted is not known.
    #[error("the exchange broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// Nothing came for so long. Whether the destination acted is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is longer than so many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// This can't be asked through a proxy; nothing was sent.
    #[error("the request can't be made: {0}")]
    Invalid(String),
}

impl ProxyError {
    /// The gateway's refusal, where it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The stable name of the gateway's error, where it is one: `no_exit`, `credentials_invalid`.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(Refusal::code)
    }
}

impl From<ContentError> for ProxyError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Timeout(patience) => Self::Timeout(patience),
            ContentError::TooLong(most) => Self::TooLong(most),
            ContentError::Broken(error) => Self::Broken(error),
        }
    }
}
