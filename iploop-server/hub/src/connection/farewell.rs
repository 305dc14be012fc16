//! Ends a connection so that the device reads why.
//!
//! A socket that is dropped while bytes of the device lie unread in it is reset by the system, and the reset takes with it what
//! the device has not read yet: the close code, and when to come back. So the rest is read and thrown away until the
//! device hangs up; the driver limits the time.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use iploop_protocol::io::Transport;

/// A transport that waits for the other side's end after its own.
pub(super) struct Farewell<T> {
    inner: T,
    is_said: bool,
}

impl<T> Farewell<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            is_said: false,
        }
    }
}

impl<T: Transport> Transport for Farewell<T> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.inner.poll_receive(cx)
    }

    fn send(&mut self, message: &mut BytesMut) -> io::Result<()> {
        self.inner.send(message)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<io::Result<()>> {
        if !self.is_said {
            ready!(self.inner.poll_close(cx, code))?;
            self.is_said = true;
        }
        while let Some(Ok(_unheard)) = ready!(self.inner.poll_receive(cx)) {}
        Poll::Ready(Ok(()))
    }
}
