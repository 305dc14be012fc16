//! Small frames that wait to be sent, ahead of all DATA.

use std::collections::VecDeque;

use crate::frame::{Frame, HEADER_BYTES};

/// Most frames. An honest peer reads, so they do not pile up.
const MAX_FRAMES: usize = 8 * 1024;
/// Most bytes: two of the longest control messages and the first bytes of more than a hundred streams.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// About what a frame needs besides its payload.
const FRAME_BYTES: usize = size_of::<Frame>() + HEADER_BYTES;

/// A queue of frames that knows its size.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Outbox {
    /// Adds a frame. Whoever lets others cause frames asks [`Outbox::is_full`] before.
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += cost(&frame);
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= cost(&frame);
        if self.frames.is_empty() && self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Half full: nothing that can wait or go elsewhere is added.
    pub(super) fn is_busy(&self) -> bool {
        self.frames.len() > MAX_FRAMES / 2 || self.bytes > MAX_BYTES / 2
    }

    /// Full: the peer asks and does not read the answers.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= MAX_FRAMES || self.bytes >= MAX_BYTES
    }

    /// Bytes that the waiting frames hold, about.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }
}

/// What a frame holds in memory.
fn cost(frame: &Frame) -> usize {
    let payload = match frame {
        Frame::Open { early, .. } => early.len(),
        Frame::Control { part, .. } => part.len(),
        Frame::Reset { detail, .. } => detail.len(),
        Frame::Close { reason, .. } => reason.len(),
        _ => 0,
    };
    FRAME_BYTES + payload
}
