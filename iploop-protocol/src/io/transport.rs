//! What carries a tunnel: whole messages, in order, both ways.

use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

/// A connection that carries whole messages, each at most [`crate::frame::MAX_MESSAGE_BYTES`] long.
///
/// All methods are called by one task, the owner of the [`super::Driver`].
pub trait Transport: Send + Unpin {
    /// The next message; none when the peer has ended the connection in order.
    ///
    /// An error of the kind `InvalidData` says that the peer sent what the carrier does not allow; it is told so, any other
    /// one ends the tunnel without a word.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;

    /// The code with which the peer has ended the connection, once [`Transport::poll_receive`] gave none.
    fn close_code(&self) -> Option<u16> {
        None
    }

    /// Has `write` append one message to the transport's own buffer, to be sent with the next flush; false if it had none.
    ///
    /// # Errors
    /// If the connection is broken.
    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> io::Result<bool>;

    /// Ready when everything is with the operating system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the connection in order; `code` is the tunnel's close code.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<io::Result<()>>;
}
