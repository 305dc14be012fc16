//! Old requests become sums: the request log is kept for a while, what it sums to forever.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, DAY};
use crate::store::{StoreError, Usage};

/// Requests in one transaction.
const BATCH: u32 = 1000;
/// Between two transactions, so that the database has time for others.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks for old requests.
const INTERVAL: Duration = Duration::from_secs(600);
/// A journal of a gateway that was away may still bring requests of the last days.
const MIN_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The `[usage]` section: the request log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsageConfig {
    /// How long single requests are kept, at least a week. After that their sums by key and hour stay. Usage that a gateway
    /// brings later than this costs its customer nothing.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub retention: Duration,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { retention: DAY * 90 }
    }
}

impl UsageConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        match self.retention < MIN_RETENTION {
            true => vec!["usage.retention: must be at least 7d".to_owned()],
            false => Vec::new(),
        }
    }
}

/// Archives what is older than the retention, until `shutdown`: small transactions with pauses between them.
pub async fn run(
    usage: Arc<dyn Usage>,
    clock: Arc<dyn Clock>,
    config: UsageConfig,
    shutdown: CancellationToken,
) {
    let work = async {
        loop {
            if let Err(error) = archive(usage.as_ref(), clock.as_ref(), &config).await {
                tracing::warn!(%error, "old requests were not archived, trying later");
            }
            sleep(INTERVAL).await;
        }
    };
    // What is under way is a transaction: whole or not at all.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

/// Archives everything that is due now; how many requests.
async fn archive(usage: &dyn Usage, clock: &dyn Clock, config: &UsageConfig) -> Result<u64, StoreError> {
    let before = clock.now().minus(config.retention).hour_start();
    let mut archived = 0;
    loop {
        let batch = usage.archive_usage(before, BATCH).await?;
        archived += batch;
        if batch == 0 {
            return Ok(archived);
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_kept_a_week_at_least() {
        assert_eq!(UsageConfig::default().mistakes(), Vec::<String>::new());
        let short = UsageConfig { retention: DAY };
        assert_eq!(short.mistakes(), ["usage.retention: must be at least 7d"]);
    }
}
