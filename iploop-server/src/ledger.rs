//! The books: their service joined to the rest, and their check from the command line.

use std::sync::Arc;

use anyhow::Result;
use iploop_platform::clock::Clock;
use iploop_platform::ids::AccountId;
use iploop_platform::keys::KeyChanges;
use iploop_platform::ledger::{Checked, LedgerParts, LedgerService, PurseChanges};
use iploop_platform::store::Store;

use crate::config::Config;
use crate::server::open_store;

/// A purse that was filled is news of its account, for every gateway.
pub(crate) struct Told(pub(crate) Arc<dyn KeyChanges>);

impl PurseChanges for Told {
    fn credited(&self, account: AccountId) {
        self.0.account_changed(account);
    }
}

/// The acts on the books; who fills a purse opens the gateway for it at once.
pub(crate) fn service(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    changes: Arc<dyn KeyChanges>,
) -> LedgerService {
    LedgerService::new(LedgerParts {
        store,
        clock,
        changes: Arc::new(Told(changes)),
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
