//! One stream of a tunnel as `AsyncRead + AsyncWrite`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Shared, remember};
use crate::codes::ResetCode;
use crate::destination::Destination;
use crate::frame::StreamId;
use crate::tunnel::{Read, StreamError};

/// A relayed connection.
///
/// Dropping it resets the stream, unless [`Stream::finish`] or [`Stream::break_off`] was called: then what is queued is sent first.
pub struct Stream {
    pub(super) shared: Arc<Shared>,
    id: StreamId,
    /// The end was read: the tunnel may have forgotten the stream since.
    ended: bool,
    held: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId) -> Self {
        Self {
            shared,
            id,
            ended: false,
            held: None,
        }
    }

    /// Keeps `guard` until this handle is dropped: for what somebody counts or lends while the stream is in use.
    ///
    /// A later guard replaces, and so drops, an earlier one.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.held = Some(Box::new(guard));
    }

    /// Its id in the tunnel.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The next bytes; none when the peer has finished.
    ///
    /// # Errors
    /// After a reset, once everything that came before is read.
    ///
    /// # Cancel safety
    /// Yes: nothing is lost.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.poll_read_chunk(cx, usize::MAX)).await
    }

    /// The poll form of [`Stream::read_chunk`], for at most `most` bytes.
    pub fn poll_read_chunk(
        &mut self,
        cx: &Context<'_>,
        most: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let mut inner = self.shared.lock();
        let read = inner.tunnel.read(Instant::now().into_std(), self.id, most);
        match read {
            Ok(Read::Data(data)) => {
                // Credit may have to go out.
                inner.dispatch();
                Poll::Ready(Ok(Some(data)))
            }
            Ok(Read::Finished) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            Ok(Read::Blocked) => {
                remember(&mut inner.wakers.entry(self.id).or_default().read, cx);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Takes all that is there, up to about `most` bytes, into `chunks`; the number of bytes, 0 when the peer has finished.
    pub(super) fn poll_read_chunks(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, StreamError>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let mut inner = self.shared.lock();
        let now = Instant::now().into_std();
        let mut taken = 0;
        let end = loop {
            if taken >= most {
                break None;
            }
            match inner.tunnel.read(now, self.id, most - taken) {
                Ok(Read::Data(data)) => {
                    taken += data.len();
                    chunks.push_back(data);
                }
                // The end is told again at the next call.
                other => break Some(other),
            }
        };
        self.ended = end == Some(Ok(Read::Finished));
        if taken > 0 {
            inner.dispatch();
            return Poll::Ready(Ok(taken));
        }
        match end {
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(Read::Blocked)) => {
                remember(&mut inner.wakers.entry(self.id).or_default().read, cx);
                Poll::Pending
            }
            _ => Poll::Ready(Ok(0)),
        }
    }

    /// Sends bytes, waiting for room as often as needed.
    ///
    /// # Errors
    /// If the stream was reset or this direction is finished.
    ///
    /// # Cancel safety
    /// No: a part may have been queued.
    pub async fn write_chunk(&mut self, mut data: Bytes) -> Result<(), StreamError> {
        while !data.is_empty() {
            poll_fn(|cx| self.poll_write_chunk(cx, &mut data)).await?;
        }
        Ok(())
    }

    /// Queues as much of `data` as there is room for; pending while there is none.
    pub fn poll_write_chunk(
        &mut self,
        cx: &Context<'_>,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        let mut inner = self.shared.lock();
        let taken = inner.tunnel.write(self.id, data)?;
        if taken > 0 || data.is_empty() {
            inner.dispatch();
            return Poll::Ready(Ok(taken));
        }
        remember(&mut inner.wakers.entry(self.id).or_default().write, cx);
        Poll::Pending
    }

    /// Ready when at least one byte can be queued; the number of bytes that can.
    pub fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<usize, StreamError>> {
        let mut inner = self.shared.lock();
        match inner.tunnel.room(self.id)? {
            0 => {
                remember(&mut inner.wakers.entry(self.id).or_default().write, cx);
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    /// No more bytes will be written: the peer is told when what is queued has gone out.
    pub fn finish(&mut self) {
        let mut inner = self.shared.lock();
        inner.tunnel.finish(self.id);
        inner.dispatch();
    }

    /// Ends the stream now, in both directions.
    pub fn reset(&mut self, code: ResetCode) {
        self.reset_with(code, "");
    }

    /// [`Stream::reset`] with a text for the peer, at most 128 bytes.
    pub fn reset_with(&mut self, code: ResetCode, detail: &str) {
        let mut inner = self.shared.lock();
        inner.tunnel.reset(self.id, code, detail);
        inner.dispatch();
    }

    /// Ends the stream in both directions, this one behind what is queued: its source broke, and what it said before is still
    /// handed on. Drop the stream then.
    pub fn break_off(&mut self, code: ResetCode) {
        let mut inner = self.shared.lock();
        inner.tunnel.break_off(self.id, code);
        inner.dispatch();
    }

    /// Sends a datagram on a UDP stream; the oldest waiting one is dropped where there is no room.
    ///
    /// # Errors
    /// If the stream is closed or carries no datagrams.
    pub fn send_datagram(&mut self, peer: Destination, data: Bytes) -> Result<(), StreamError> {
        let mut inner = self.shared.lock();
        inner.tunnel.send_datagram(self.id, peer, data)?;
        inner.dispatch();
        Ok(())
    }

    /// The next datagram of a UDP stream.
    ///
    /// # Errors
    /// If the stream is closed, was reset, or carries no datagrams.
    ///
    /// # Cancel safety
    /// Yes: nothing is lost.
    pub async fn receive_datagram(&mut self) -> Result<(Destination, Bytes), StreamError> {
        poll_fn(|cx| {
            let mut inner = self.shared.lock();
            match inner.tunnel.receive_datagram(self.id)? {
                Some(datagram) => Poll::Ready(Ok(datagram)),
                None => {
                    remember(&mut inner.wakers.entry(self.id).or_default().read, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.id.0)
            .finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.tunnel.release(self.id);
        inner.wakers.remove(&self.id);
        inner.dispatch();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(data) = ready!(self.get_mut().poll_read_chunk(cx, buf.remaining()))? {
            buf.put_slice(&data);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let room = ready!(this.poll_room(cx))?;
        let mut part = Bytes::copy_from_slice(&data[..data.len().min(room)]);
        Poll::Ready(Ok(ready!(this.poll_write_chunk(cx, &mut part))?))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Reset { .. } => io::ErrorKind::ConnectionReset,
            StreamError::Closed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}
