//! What the destination answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use super::Told;
use crate::error::Error;
use crate::wire::{next_piece, whole};

/// An answer of the destination, whatever its status. Dropping it ends the connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The destination's status.
    pub status: StatusCode,
    /// The destination's fields.
    pub headers: HeaderMap,
    /// What the gateway says of the request.
    pub told: Told,
    content: Incoming,
    patience: Duration,
    /// Reads and writes for the content, and ends with it.
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    pub(super) fn new(
        response: Response<Incoming>,
        told: Told,
        patience: Duration,
        connection: AbortOnDropHandle<()>,
    ) -> Self {
        let (head, content) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            told,
            content,
            patience,
            _connection: connection,
        }
    }

    /// The next piece of its content, as the network cut it; none at the end.
    ///
    /// # Errors
    /// It broke off, or nothing came for the customer's patience. What came before is not whole then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        next_piece(&mut self.content, self.patience).await
    }

    /// All of its content that is left, if it is no longer than `most` bytes.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`Error::TooLong`].
    pub async fn bytes(mut self, most: usize) -> Result<Bytes, Error> {
        whole(&mut self.content, most, self.patience).await
    }
}
