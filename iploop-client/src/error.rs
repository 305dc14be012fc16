//! Why a request has no answer.

use std::time::Duration;

use crate::refusal::Refusal;
use crate::wire::ConnectError;

/// Why there is no good answer: of a destination to a request through the proxy, or of the API to an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway or the API refused or failed, and says why. An error that a destination answered is no such thing, but an
    /// [`Answer`](crate::proxy::Answer).
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The proxy or the API can't be reached; nothing was sent.
    #[error(transparent)]
    Connect(ConnectError),
    /// The tunnel stands, and TLS with the destination in it does not come about.
    #[error("destination: {0}")]
    Destination(#[source] ConnectError),
    /// The connection broke off, or what came is no HTTP. Whether the other side acted is not known.
    #[error("the exchange broke off: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for so long. Whether the other side acted is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Something that is neither our gateway nor the API answered, or a version that this one does not understand.
    #[error("status {status}: the answer can't be read: {problem}")]
    Unreadable {
        /// Its HTTP status.
        status: u16,
        /// Why it can't be read.
        problem: String,
    },
    /// The answer is longer than so many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The request can't be made of these values; nothing was sent.
    #[error("the request can't be made: {0}")]
    Invalid(String),
}

impl Error {
    /// The refusal of the gateway or the API, where it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The stable name of the error in a refusal: `no_exit`, `credentials_invalid`.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(Refusal::code)
    }

    pub(crate) fn invalid(problem: impl ToString) -> Self {
        Self::Invalid(problem.to_string())
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}
