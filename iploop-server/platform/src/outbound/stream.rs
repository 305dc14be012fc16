//! An answer whose content is taken as it comes.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::OutboundError;

/// The connection's own work. It is done while the answer is waited for: no task outlives the request.
pub(super) type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An answer whose content is still coming. Dropping it ends the connection.
pub struct OutboundStream {
    /// Its status; a redirect is an answer like any other.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    pub(super) content: Incoming,
    /// None once it has ended.
    pub(super) connection: Option<Connection>,
    /// Bytes that are still read.
    pub(super) room: usize,
    pub(super) until: Instant,
    /// What `until` comes from.
    pub(super) timeout: Duration,
}

impl OutboundStream {
    /// The next bytes of the content; none at its end and once the request's `answer_limit` of them were handed over.
    ///
    /// # Errors
    /// The content broke off, or the request's time is over.
    ///
    /// # Cancel safety
    /// Safe: what was not handed over comes with the next call.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OutboundError> {
        while self.room > 0 {
            let frame = driven(&mut self.connection, self.content.frame());
            let frame = timeout_at(self.until, frame)
                .await
                .map_err(|_| OutboundError::Timeout(self.timeout))??;
            let Some(frame) = frame else { break };
            // Trailers tell us nothing.
            if let Ok(mut data) = frame.map_err(http)?.into_data() {
                data.truncate(self.room);
                self.room -= data.len();
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Waits for `work`, driving the connection meanwhile.
pub(super) async fn driven<T>(
    connection: &mut Option<Connection>,
    work: impl Future<Output = T>,
) -> Result<T, OutboundError> {
    tokio::pin!(work);
    if let Some(running) = connection {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            ended = running => {
                *connection = None;
                ended.map_err(http)?;
            }
        }
    }
    // The answer may be whole already.
    Ok(work.await)
}

pub(super) fn http(error: hyper::Error) -> OutboundError {
    OutboundError::Http(error.to_string())
}
