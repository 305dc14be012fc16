//! The books: their service joined to the rest, and their check from the command line.

use std::sync::Arc;

use anyhow::Result;
use iploop_platform::admission::Admission;
use iploop_platform::clock::Clock;
use iploop_platform::ledger::{Checked, LedgerParts, LedgerService};
use iploop_platform::store::Store;

use crate::config::Config;
use crate::server::open_store;

/// The acts on the books; who fills a purse opens the gateway for it at once.
pub(crate) fn service(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
) -> LedgerService {
    LedgerService::new(LedgerParts {
        store,
        clock,
        changes: admission,
    })
}

/// Checks the books, in one consistent view.
///
/// # Errors
/// If the data can't be reached. What the check finds is no error of it.
pub async fn check(config: &Config) -> Result<Checked> {
    let store = open_store(config).await?;
    Ok(store.check_ledger().await?)
}
