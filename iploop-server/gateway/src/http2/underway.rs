//! What the HTTP/2 library has taken of a stream's content and not yet let go of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;

/// Pieces of one stream that wait for the customer's window or for the connection.
#[derive(Debug, Default)]
pub(super) struct Underway {
    pieces: AtomicUsize,
    waker: AtomicWaker,
}

/// A piece of content. The library drops it once it is written, or given up with its stream.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    of: Arc<Underway>,
}

impl Underway {
    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> Piece {
        self.pieces.fetch_add(1, AcqRel);
        Piece {
            bytes,
            of: Arc::clone(self),
        }
    }

    /// Ready when nothing waits any more. One task may wait.
    pub(super) fn poll_none(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.pieces.load(Acquire) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.of.pieces.fetch_sub(1, AcqRel) == 1 {
            self.of.waker.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
