//! Why an operation did not come about.

use std::time::Duration;

use crate::refusal::Refusal;
use crate::wire::ContentError;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The server refused, and says why.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No answer came: no connection, or one that broke off. Whether the server acted is not known, unless the source is a
    /// [`ConnectError`](crate::ConnectError).
    #[error("no answer: {0}")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for so long. Whether the server acted is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer came that this version does not understand, or something between here and the server answered.
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

impl ApiError {
    /// The server's refusal, where it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The stable name of the server's error, where it is one.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(Refusal::code)
    }
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Timeout(patience) => Self::Timeout(patience),
            ContentError::TooLong(most) => Self::TooLong(most),
            ContentError::Broken(error) => Self::Transport(Box::new(error)),
        }
    }
}
