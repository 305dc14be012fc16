//! Reading what follows a head.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Why content is not whole.
pub(crate) enum ContentError {
    /// Nothing came for so long.
    Timeout(Duration),
    /// It is longer than so many bytes.
    TooLong(usize),
    /// The connection broke off.
    Broken(hyper::Error),
}

/// The next piece; none at the end.
pub(crate) async fn next_piece(
    content: &mut Incoming,
    patience: Duration,
) -> Result<Option<Bytes>, ContentError> {
    loop {
        let frame = timeout(patience, content.frame())
            .await
            .map_err(|_| ContentError::Timeout(patience))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(ContentError::Broken(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                // Trailers, which nobody here reads.
                Ok(_) | Err(_) => {}
            },
        }
    }
}

/// All of it, if it is no longer than `most` bytes.
pub(crate) async fn whole(
    content: &mut Incoming,
    most: usize,
    patience: Duration,
) -> Result<Bytes, ContentError> {
    let mut all = Vec::new();
    while let Some(piece) = next_piece(content, patience).await? {
        if piece.len() > most - all.len() {
            return Err(ContentError::TooLong(most));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}
