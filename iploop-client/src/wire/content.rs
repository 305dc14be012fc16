//! Reading what follows a head.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::error::Error;

/// The next piece; none at the end.
pub(crate) async fn next_piece(content: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = timeout(patience, content.frame())
            .await
            .map_err(|_| Error::Timeout(patience))?;
        let Some(frame) = frame else { return Ok(None) };
        match frame?.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            // Trailers, which nobody here reads.
            Ok(_) | Err(_) => {}
        }
    }
}

/// All of it, if it is no longer than `most` bytes.
pub(crate) async fn whole(content: &mut Incoming, most: usize, patience: Duration) -> Result<Bytes, Error> {
    let mut all = Vec::new();
    while let Some(piece) = next_piece(content, patience).await? {
        if piece.len() > most - all.len() {
            return Err(Error::TooLong(most));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}
