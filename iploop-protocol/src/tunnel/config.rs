//! What a tunnel may cost: limits and times, as arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sending::{BULK_BYTES, FULL_DATA_BYTES};

/// Credit that each side of a new tunnel has for DATA payloads in flight, in bytes: the connection window.
///
/// It is given back on receipt, so it bounds what lies in the transport, not what a slow reader holds (the stream
/// windows do that). 8 MiB fills 1.3 Gbit/s at 50 ms.
pub const CONNECTION_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Smallest window a stream starts with when memory is short, in bytes: one DATA frame.
pub const MIN_STREAM_WINDOW_BYTES: u32 = 16 * 1024;

/// Window a stream starts with where memory allows, in bytes: what a stalled stream may hold. Whole messages, as a part of one
/// would put all that follows out of step.
pub const STREAM_WINDOW_BYTES: u32 = 5 * FULL_DATA_BYTES;

/// Largest window of one stream, in bytes. A peer may not be given more credit than this.
pub const MAX_STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Which end of a tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Accepts the device's connection; its streams have odd ids.
    Hub,
    /// The device; its streams have even ids.
    Node,
}

/// Limits and times of one tunnel.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end this is.
    pub side: Side,
    /// Streams the peer may have open at the same time; further ones are refused with `busy`.
    pub max_peer_streams: u32,
    /// Streams this side may have open at the same time, until the handshake says what the peer allows.
    pub max_local_streams: u32,
    /// Window a stream starts with, in bytes.
    pub stream_window_bytes: u32,
    /// Bytes queued for sending on one stream before `write` says wait.
    pub send_queue_bytes: usize,
    /// Memory that the windows of all streams may promise away.
    pub budget: Budget,
    /// From the transport's start to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Silence after which the peer is asked for a sign of life.
    pub ping_after: Duration,
    /// Time for the answer; two missed in a row end the tunnel.
    pub pong_within: Duration,
    /// Largest control message, in bytes.
    pub max_control_bytes: usize,
}

impl Config {
    /// The defaults for a side.
    ///
    /// Hub: 1,024 streams a device, 64 MiB of windows. Node: 1,024 streams, 32 MiB of windows; control messages up to
    /// 1 MiB, as policies may be long. Both: gone after 25 + 2 × 10 seconds of silence.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            max_peer_streams: match side {
                Side::Hub => 16,
                Side::Node => 1024,
            },
            max_local_streams: match side {
                Side::Hub => 1024,
                Side::Node => 16,
            },
            stream_window_bytes: STREAM_WINDOW_BYTES,
            send_queue_bytes: BULK_BYTES,
            budget: Budget::new(match side {
                Side::Hub => 64 << 20,
                Side::Node => 32 << 20,
            }),
            handshake_timeout: Duration::from_secs(10),
            ping_after: Duration::from_secs(25),
            pong_within: Duration::from_secs(10),
            max_control_bytes: match side {
                Side::Hub => 64 << 10,
                Side::Node => 1 << 20,
            },
        }
    }
}

/// Receive memory that windows may promise away, for one tunnel and for all tunnels of a process.
///
/// A window beyond [`MIN_STREAM_WINDOW_BYTES`] is reserved here and released when its stream ends, so what all
/// streams together can hold is bounded however many there are. Clones share the process's part.
#[derive(Clone, Debug)]
pub struct Budget {
    tunnel_left: u64,
    process_left: Option<Arc<AtomicU64>>,
}

impl Budget {
    /// A budget for one tunnel alone.
    pub const fn new(tunnel_bytes: u64) -> Self {
        Self {
            tunnel_left: tunnel_bytes,
            process_left: None,
        }
    }

    /// The same tunnel budget, also bounded by one that many tunnels share.
    #[must_use]
    pub fn within(mut self, process_left: Arc<AtomicU64>) -> Self {
        self.process_left = Some(process_left);
        self
    }

    /// Reserves all of `bytes` or nothing.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        if self.tunnel_left < bytes {
            return false;
        }
        if let Some(process) = &self.process_left {
            let took = process.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
            if took.is_err() {
                return false;
            }
        }
        self.tunnel_left -= bytes;
        true
    }

    /// Returns what was reserved.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.tunnel_left += bytes;
        if let Some(process) = &self.process_left {
            process.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}
