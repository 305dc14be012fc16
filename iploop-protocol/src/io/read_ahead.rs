//! Reads more from a connection than its user asks for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Most bytes read at once: four TLS records.
const MAX_READ_BYTES: usize = 64 * 1024 + 256;

/// A connection that is read in large pieces while there is much to read.
///
/// For a TLS library, which asks for a record in two small reads: each of them is a system call and may send an
/// acknowledgement. An idle connection keeps no buffer, and what trickles is read as asked.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    ahead: Bytes,
    /// The last read filled all that it was given: there is likely to be more.
    is_busy: bool,
}

impl<S> ReadAhead<S> {
    /// Over this connection.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: Bytes::new(),
            is_busy: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.is_busy {
                let before = buf.remaining();
                let read = Pin::new(&mut this.inner).poll_read(cx, buf);
                this.is_busy = before > 0 && buf.remaining() == 0;
                return read;
            }
            let mut ahead = BytesMut::with_capacity(MAX_READ_BYTES);
            let Poll::Ready(read) = poll_read_buf(Pin::new(&mut this.inner), cx, &mut ahead)? else {
                this.is_busy = false;
                return Poll::Pending;
            };
            this.is_busy = read >= MAX_READ_BYTES / 4;
            this.ahead = ahead.freeze();
        }
        let length = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..length]);
        this.ahead.advance(length);
        if this.ahead.is_empty() {
            this.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order(
            pieces in prop::collection::vec(1usize..100_000, 1..12),
            asked in prop::collection::vec(1usize..20_000, 1..8),
        ) {
            let sent: Vec<u8> = (0..=250).cycle().take(pieces.iter().sum()).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let received = runtime.block_on(async {
                let (mut writer, reader) = tokio::io::duplex(1 << 20);
                let (mut reader, mut received) = (ReadAhead::new(reader), Vec::new());
                let mut asked = asked.iter().cycle();
                let mut rest = &sent[..];
                for piece in pieces {
                    let (now, later) = rest.split_at(piece);
                    rest = later;
                    tokio::io::AsyncWriteExt::write_all(&mut writer, now).await.unwrap();
                    while received.len() < sent.len() - rest.len() {
                        let mut part = vec![0; *asked.next().unwrap()];
                        let read = reader.read(&mut part).await.unwrap();
                        received.extend_from_slice(&part[..read]);
                    }
                }
                drop(writer);
                assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
                received
            });
            prop_assert_eq!(received, sent);
        }
    }
}
