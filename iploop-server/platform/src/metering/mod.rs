//! What customers pay for: every byte counted, drawn on a lease, journaled and booked once.
//!
//! ```text
//! count ──▶ pool of leased bytes ◀── refills ── Ledger
//!   │
//!   └──▶ totals of the stream ──(400 ms)──▶ journal ──(1 s, batches)──▶ Ledger
//! ```
//!
//! [`StreamMeter`] counts on the hot path: a few atomic operations per chunk against the account's pool, before the chunk
//! is written. [`MeterTask`] does everything else. What holds, whatever happens:
//!
//! * **Nothing is billed twice.** Records carry totals and the request's id; the ledger books only what is new. A request's
//!   end is booked only after the journal has it, so a replay never brings an older state after a final one.
//! * **A killed process loses at most one [`journal_interval`](MeteringConfig::journal_interval)** of each live stream, and
//!   the write under way. A power cut loses at most [`sync_interval`](MeteringConfig::sync_interval) on top.
//! * **An exhausted balance over-serves one chunk per account and process**: the last chunk counted may reach past the end.
//!   The limits of a key likewise, one chunk per key and process.
//! * **While the database is away** running streams go on up to [`trust_bytes`](MeteringConfig::trust_bytes) of what their
//!   account was known to have. What can't be booked stays in journal and memory; when either is full, new requests are
//!   refused rather than served unbilled.

mod config;
mod crc32;
mod journal;
mod journaling;
mod meters;
mod pool;
mod quota;
mod replay;
mod settling;
mod stream;
mod tables;
mod task;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod tests;

pub use config::MeteringConfig;
pub use journal::JournalError;
pub(crate) use meters::Activity;
pub use meters::{BeginError, Meters, StartError};
pub(crate) use quota::KeyQuota;
pub use quota::Period;
pub use stream::{Counted, NoCredit, Outcome, ProxyType, StreamMeter};
pub use task::{Closed, MeterTask};

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody polls this again.
            Err(_) => std::future::pending().await,
        },
    }
}
