//! The meter's metrics, each name in one place.
//!
//! | name | kind | meaning |
//! |---|---|---|
//! | `iploop_metered_bytes_total{direction}` | counter | bytes counted, `up` and `down`, to the last journal tick |
//! | `iploop_metering_requests` | gauge | requests running or not booked yet |
//! | `iploop_metering_booked_total` | counter | records the ledger confirmed |
//! | `iploop_metering_put_aside_total` | counter | records the ledger refused for good: each wants a human |
//! | `iploop_metering_settle_failures_total` | counter | rounds that ended early because the database was away |
//! | `iploop_metering_leased_bytes_total` | counter | bytes taken under lease |
//! | `iploop_metering_refill_failures_total` | counter | leases that could not be taken |
//! | `iploop_metering_refill_queue_full_total` | counter | refills that had to be asked for again |
//! | `iploop_metering_refused_total` | counter | requests refused because the journal or the table was full |
//! | `iploop_journal_bytes` | gauge | size of the journal |
//! | `iploop_journal_failures_total` | counter | writes that failed |
//! | `iploop_journal_torn_total` | counter | segments found cut or damaged at start |

use metrics::{counter, gauge};

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; 2^53 is beyond any journal or table"
)]
pub(super) fn state(requests: usize, journal_bytes: u64) {
    gauge!("iploop_metering_requests").set(requests as f64);
    gauge!("iploop_journal_bytes").set(journal_bytes as f64);
}

pub(super) fn metered(up: u64, down: u64) {
    counter!("iploop_metered_bytes_total", "direction" => "up").increment(up);
    counter!("iploop_metered_bytes_total", "direction" => "down").increment(down);
}

pub(super) fn booked(records: u64) {
    counter!("iploop_metering_booked_total").increment(records);
}

pub(super) fn put_aside() {
    counter!("iploop_metering_put_aside_total").increment(1);
}

pub(super) fn settle_failed() {
    counter!("iploop_metering_settle_failures_total").increment(1);
}

pub(super) fn leased(bytes: i64) {
    counter!("iploop_metering_leased_bytes_total").increment(u64::try_from(bytes).unwrap_or(0));
}

pub(super) fn refill_failed() {
    counter!("iploop_metering_refill_failures_total").increment(1);
}

pub(super) fn refill_queue_full() {
    counter!("iploop_metering_refill_queue_full_total").increment(1);
}

pub(super) fn refused() {
    counter!("iploop_metering_refused_total").increment(1);
}

pub(super) fn journal_failed() {
    counter!("iploop_journal_failures_total").increment(1);
}

pub(super) fn torn(segments: usize) {
    counter!("iploop_journal_torn_total").increment(segments as u64);
}
