//! Brings what changed into the journal. Blocking: called on blocking threads only.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::journal::Journal;
use super::meters::Inner;
use super::stream::{Outcome, StreamState, Version};
use super::telemetry;

impl Inner {
    /// One tick: every stream whose totals or facts changed goes into the journal, in one write.
    pub(super) fn journal_changes(&self) {
        let changed = self.streams.collect(|state| {
            // Only the table holds it: its meters were dropped without a word.
            if Arc::strong_count(state) == 1 && !state.is_ended() {
                state.finish(Outcome::Served);
            }
            state.needs_journaling()
        });
        let mut journal = self.journal.lock();
        let result = match journal.is_torn() {
            true => journal
                .begin_segment()
                .and_then(|_| self.write(&mut journal, &changed)),
            false => self.write(&mut journal, &changed),
        };
        self.judge(&journal, result);
    }

    /// If the journal has grown enough: begins it anew with what is still needed, and deletes the rest.
    pub(super) fn checkpoint_if_due(&self) {
        let needed = self
            .record_bytes
            .load(Relaxed)
            .saturating_mul(self.streams.len() as u64);
        let total = self.journal.lock().total_bytes();
        if total >= self.shared.config.checkpoint_bytes.max(needed.saturating_mul(2)) {
            self.checkpoint();
        }
    }

    /// Begins the journal anew with what is still needed, and deletes the rest once that is on the disk.
    pub(super) fn checkpoint(&self) {
        let result = self.describe_all().and_then(|ended| {
            self.sync_journal()?;
            self.journal.lock().forget(ended)
        });
        self.judge(&self.journal.lock(), result);
    }

    /// Brings the journal to the disk, without holding up the next tick.
    pub(super) fn sync_journal(&self) -> io::Result<()> {
        let file = self.journal.lock().syncer()?;
        file.sync_data()
    }

    /// A new segment with every request that is not booked to its end; the number of the segment before it.
    fn describe_all(&self) -> io::Result<u64> {
        let mut journal = self.journal.lock();
        let ended = journal.begin_segment()?;
        // Collected under the journal's lock: what comes later is described by a later tick.
        let needed = self
            .streams
            .collect(|state| !state.is_ended() || state.needs_booking());
        self.write(&mut journal, &needed)?;
        if !needed.is_empty() {
            self.record_bytes
                .store(journal.segment_bytes() / needed.len() as u64, Relaxed);
        }
        Ok(ended)
    }

    fn write(&self, journal: &mut Journal, states: &[Arc<StreamState>]) -> io::Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        let versions: Vec<Version> = states.iter().map(|state| put(journal, state)).collect();
        journal.commit()?;
        let (mut up, mut down) = (0, 0);
        for (state, version) in states.iter().zip(versions) {
            let mut marks = state.marks();
            let before = marks.journaled.replace(version).unwrap_or_default();
            marks.described_in = Some(journal.segment());
            up += version.up.saturating_sub(before.up);
            down += version.down.saturating_sub(before.down);
        }
        telemetry::metered(up, down);
        Ok(())
    }

    /// Whether new requests may come, after this write.
    fn judge(&self, journal: &Journal, result: io::Result<()>) {
        let full = journal.total_bytes() > self.shared.config.max_journal_bytes;
        if let Err(error) = &result {
            telemetry::journal_failed();
            tracing::error!(%error, "the journal can't be written: new requests are refused");
        }
        self.journal_fails.store(result.is_err(), Relaxed);
        self.refusing.store(full || result.is_err(), Relaxed);
        telemetry::state(self.streams.len(), journal.total_bytes());
    }
}

/// Puts a stream into the next commit: in full, unless this segment describes it already and only totals moved.
fn put(journal: &mut Journal, state: &StreamState) -> Version {
    let marks = state.marks();
    let version = state.version();
    let described = marks.described_in == Some(journal.segment())
        && marks
            .journaled
            .is_some_and(|journaled| journaled.revision == version.revision);
    if described {
        journal.put_totals(state.id, version.up, version.down);
        return version;
    }
    let (record, version) = state.record();
    journal.put_full(&record);
    version
}
