//! Answers that are not kept in memory.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;

use crate::error::Error;
use crate::wire::{next_piece, whole};

/// An answer that arrives piece by piece: an export, or events as they happen. Dropping it ends it.
#[derive(Debug)]
pub struct Download {
    content_type: Option<String>,
    content: Incoming,
    patience: Duration,
}

impl Download {
    pub(super) fn new(content_type: Option<String>, content: Incoming, patience: Duration) -> Self {
        Self {
            content_type,
            content,
            patience,
        }
    }

    /// Its media type.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The next piece, as the network cut it; none at the end.
    ///
    /// # Errors
    /// It broke off, or nothing came for the API's patience. What came before is not whole then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        next_piece(&mut self.content, self.patience).await
    }

    /// All that is left, if it is no longer than `most` bytes.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`Error::TooLong`].
    pub async fn bytes(mut self, most: usize) -> Result<Bytes, Error> {
        whole(&mut self.content, most, self.patience).await
    }
}
