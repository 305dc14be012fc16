//! The background job: notes how claimed devices are, and counts hours once their requests are all booked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::credits::CreditRules;
use crate::clock::{Clock, Timestamp};
use crate::partners::ACTIVE_WITHIN;
use crate::store::{Store, StoreError};

const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(300);
/// A request ends up to a day later than it begins, and is booked soon after.
const SETTLED_AFTER: Duration = Duration::from_secs(26 * 3600);
/// How long an hour's notes are kept.
const NOTES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Accounts read at once.
const PAGE: u32 = 500;
/// Hours counted in one look: a server that was away for long catches up in steps.
const MAX_HOURS: u32 = 48;

/// Works until `shutdown`.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: CreditRules,
    shutdown: CancellationToken,
) {
    let work = async {
        loop {
            if let Err(error) = look(store.as_ref(), clock.now(), &rules).await {
                tracing::warn!(%error, "credits were not counted, trying later");
            }
            sleep(INTERVAL).await;
        }
    };
    // What is under way is a transaction: whole or not at all.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

/// Notes the present hour and counts the ones that are due.
async fn look(store: &dyn Store, now: Timestamp, rules: &CreditRules) -> Result<(), StoreError> {
    store
        .note_device_hours(now.hour_start(), now.minus(ACTIVE_WITHIN), now.minus(NOTES_KEPT))
        .await?;
    let last = now.minus(SETTLED_AFTER).hour_start();
    let mut hour = store.credit_hour(last).await?;
    for _ in 0..MAX_HOURS {
        if hour > last {
            break;
        }
        let mut after = None;
        loop {
            let owners = store.owners(after, PAGE).await?;
            for account in &owners {
                store.count_credits(*account, hour, rules, now).await?;
            }
            after = owners.last().copied();
            if after.is_none() {
                break;
            }
        }
        hour = hour.plus(HOUR);
        store.finish_credit_hour(hour).await?;
    }
    Ok(())
}
