//! Leaving in two steps: first new requests are still served on connections that end after them, then they are refused.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;

/// How far the gateway is with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not leaving.
    Serving = 0,
    /// Leaving: each connection serves the request it has and ends.
    Soft = 1,
    /// New requests are refused; what runs may finish.
    Refusing = 2,
}

/// The gateway's phase, looked at by each request.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: AtomicU8,
    leaving: CancellationToken,
    refusing: CancellationToken,
}

impl Drain {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Soft,
            _ => Phase::Refusing,
        }
    }

    /// Moves on; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Relaxed);
        if phase >= Phase::Soft {
            self.leaving.cancel();
        }
        if phase == Phase::Refusing {
            self.refusing.cancel();
        }
    }

    /// Ready when the gateway begins to leave: connections that carry many requests take no more.
    pub(crate) async fn leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// Ready when new requests are refused: connections that wait for one end.
    pub(crate) async fn refusing(&self) {
        self.refusing.cancelled().await;
    }
}
