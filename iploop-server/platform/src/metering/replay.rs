//! The start after an end of any kind: what the journal holds is booked, and leases go back.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::time::timeout;

use super::blocking;
use super::config::MeteringConfig;
use super::journal::{Journal, JournalError};
use super::meters::StartError;
use super::telemetry;
use crate::clock::Clock;
use crate::ids::GatewayId;
use crate::store::{Ledger, StoreError};
use crate::usage::UsageRecord;

/// Records in one call of the store.
pub(super) const BATCH: usize = 1000;

/// Opens the journal and settles what an earlier process left in it.
pub(super) async fn recover(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    gateway: GatewayId,
    dir: &Path,
    config: &MeteringConfig,
) -> Result<Journal, StartError> {
    let (path, now) = (dir.to_owned(), clock.now());
    let (mut journal, replay) = blocking(move || Journal::open(&path, now)).await?;
    if replay.torn > 0 {
        telemetry::torn(replay.torn);
        tracing::warn!(
            segments = replay.torn,
            "the journal ends in cut records: what follows them is not booked"
        );
    }
    let mut gateways = BTreeSet::from([gateway]);
    gateways.extend(replay.records.iter().map(|record| record.gateway));
    let booked = replay.records.len();
    for records in replay.records.chunks(BATCH) {
        journal = book(ledger, clock, config, journal, records).await?;
    }
    // After the usage: a settled byte goes out of its lease, so what goes back now is truly unused.
    for gateway in gateways {
        bounded(config, ledger.return_leases(gateway, None)).await?;
    }
    if booked > 0 {
        tracing::info!(
            requests = booked,
            "booked the usage that the last run left in its journal"
        );
    }
    let dir = dir.to_owned();
    blocking(move || {
        let last = journal.segment() - 1;
        journal
            .forget(last)
            .map_err(|source| JournalError::Io { dir, source })?;
        Ok(journal)
    })
    .await
    .map_err(StartError::Journal)
}

/// Books a batch. If the store refuses it, finds the records that it refuses and puts them aside for a human.
async fn book(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    config: &MeteringConfig,
    mut journal: Journal,
    records: &[UsageRecord],
) -> Result<Journal, StartError> {
    let Err(refusal) = bounded(config, ledger.settle(records, clock.now())).await else {
        return Ok(journal);
    };
    if !is_about_the_records(&refusal) {
        return Err(refusal.into());
    }
    let mut refused = Vec::new();
    for record in records {
        match bounded(config, ledger.settle(std::slice::from_ref(record), clock.now())).await {
            Ok(()) => {}
            Err(error) if is_about_the_records(&error) => refused.push((record.clone(), error)),
            Err(error) => return Err(error.into()),
        }
    }
    if refused.len() == records.len() && refused.len() > 1 {
        // Not one of them: the fault is the store's.
        return Err(refusal.into());
    }
    for (record, error) in refused {
        journal = put_aside(journal, record, &error).await?;
    }
    Ok(journal)
}

async fn put_aside(journal: Journal, record: UsageRecord, error: &StoreError) -> Result<Journal, StartError> {
    telemetry::put_aside();
    tracing::error!(request.id = %record.id, %error, "a usage record was refused and put aside in unbookable.jsonl");
    blocking(move || journal.put_aside(&record).map(|()| journal))
        .await
        .map_err(|source| StartError::Store(StoreError::Internal(Box::new(source))))
}

/// A store call with a bound on its wait.
pub(super) async fn bounded<T>(
    config: &MeteringConfig,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(config.settle_timeout, call).await {
        Ok(result) => result,
        Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
    }
}

/// Trying again won't help: the store works and refuses what it was given.
pub(super) fn is_about_the_records(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_))
}
