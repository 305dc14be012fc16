//! Books what the journal holds: batches, repeated until the ledger confirms.

use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::blocking;
use super::meters::Inner;
use super::replay::{BATCH, bounded, is_about_the_records};
use super::stream::{StreamState, Version};
use super::telemetry;
use crate::store::StoreError;
use crate::usage::UsageRecord;

/// Rounds in which a record may be refused before it is put aside.
const MAX_STRIKES: u8 = 3;
/// Refusals without one success between them after which the fault is taken for the store's.
const MAX_REFUSALS: usize = 16;

impl Inner {
    /// Books every ended request, and with `running` the totals of the others too.
    pub(super) async fn settle_round(self: &Arc<Self>, running: bool) -> Result<(), StoreError> {
        let due = self
            .streams
            .collect(|state| (running || state.is_ended()) && state.needs_booking());
        let journal_fails = self.journal_fails.load(Relaxed);
        for states in due.chunks(BATCH) {
            let mut batch = Batch::default();
            for state in states {
                if let Some((record, version)) = state.record_to_book(journal_fails) {
                    batch.records.push(record);
                    batch.sources.push((Arc::clone(state), version));
                }
            }
            self.book(&batch).await?;
        }
        drop(due);
        self.streams.forget_booked();
        Ok(())
    }

    /// Books a batch; what the ledger refuses is searched by halves, so that one bad record does not hold up the others.
    async fn book(self: &Arc<Self>, batch: &Batch) -> Result<(), StoreError> {
        let mut open = Vec::from_iter(iter::once(0..batch.records.len()));
        let mut refused = Vec::new();
        let mut booked = 0;
        let mut refusals = 0;
        while let Some(part) = open.pop().filter(|part| !part.is_empty()) {
            let records = &batch.records[part.clone()];
            match bounded(
                &self.shared.config,
                self.ledger.settle(records, self.shared.clock.now()),
            )
            .await
            {
                Ok(()) => {
                    booked += records.len();
                    refusals = 0;
                    batch.confirm(part);
                }
                Err(error) if !is_about_the_records(&error) => return Err(error),
                Err(error) if part.len() == 1 => refused.push((part.start, error)),
                Err(error) => {
                    refusals += 1;
                    if refusals > MAX_REFUSALS {
                        return Err(error);
                    }
                    let middle = part.start + part.len() / 2;
                    open.push(middle..part.end);
                    open.push(part.start..middle);
                }
            }
        }
        telemetry::booked(booked as u64);
        for (index, error) in refused {
            // A ledger that takes nothing has a fault of its own.
            if booked == 0 {
                return Err(error);
            }
            self.strike(batch, index, &error).await;
        }
        Ok(())
    }

    /// Counts a refusal; after the last one the record is put aside for a human, so that it is not lost and not in the way.
    async fn strike(self: &Arc<Self>, batch: &Batch, index: usize, error: &StoreError) {
        let (state, _) = &batch.sources[index];
        let strikes = {
            let mut marks = state.marks();
            marks.strikes = marks.strikes.saturating_add(1);
            marks.strikes
        };
        if strikes < MAX_STRIKES || !state.is_ended() {
            return;
        }
        let record = batch.records[index].clone();
        let inner = Arc::clone(self);
        let kept = blocking(move || inner.journal.lock().put_aside(&record)).await;
        match kept {
            Ok(()) => {
                telemetry::put_aside();
                tracing::error!(
                    request.id = %state.id,
                    %error,
                    "a usage record was refused and put aside in unbookable.jsonl"
                );
                batch.confirm(index..index + 1);
            }
            Err(failure) => {
                tracing::error!(request.id = %state.id, %error, %failure, "a usage record can't be booked nor put aside");
            }
        }
    }
}

/// Records and the streams that they show.
#[derive(Default)]
struct Batch {
    records: Vec<UsageRecord>,
    sources: Vec<(Arc<StreamState>, Version)>,
}

impl Batch {
    fn confirm(&self, part: Range<usize>) {
        for (record, (state, version)) in self.records[part.clone()].iter().zip(&self.sources[part]) {
            state.booked(record, *version);
        }
    }
}
