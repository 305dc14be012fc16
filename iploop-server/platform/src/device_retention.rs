//! Devices that nobody heard of for long are removed: what leads to them goes, what they earned stays in the books.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, DAY, Timestamp};
use crate::store::StoreError;

/// Devices in one transaction.
const BATCH: u32 = 500;
/// Between two transactions, so that the database has time for others.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks for silent devices.
const INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// A phone may lie in a drawer over a holiday.
const MIN_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// The `[devices]` section: what is kept of devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DevicesConfig {
    /// A device that is not heard of for so long, at least 30 days, is removed: its address, place, own id and claim are forgotten. It is
    /// a new one if it comes back. Banned devices stay known while their ban holds.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub retention: Duration,
}

impl Default for DevicesConfig {
    fn default() -> Self {
        Self { retention: DAY * 180 }
    }
}

impl DevicesConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        match self.retention < MIN_RETENTION {
            true => vec!["devices.retention: must be at least 30d".to_owned()],
            false => Vec::new(),
        }
    }
}

/// The seam to the data.
#[async_trait]
pub trait DeviceRetention: Send + Sync + 'static {
    /// Takes out what leads to devices that were last heard of before `before` and that no ban keeps out at `now`, at most `limit`;
    /// how many. Their rows stay for the books, under a name that says nothing, and nobody has them claimed any more.
    async fn remove_silent_devices(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}

/// Removes silent devices, until `shutdown`: small transactions with pauses between them. Several processes may run it on the same
/// data.
pub async fn run(
    store: Arc<dyn DeviceRetention>,
    clock: Arc<dyn Clock>,
    config: DevicesConfig,
    shutdown: CancellationToken,
) {
    let work = async {
        loop {
            match remove(store.as_ref(), clock.as_ref(), &config).await {
                Ok(0) => {}
                Ok(devices) => tracing::info!(devices, "devices that were silent for long are removed"),
                Err(error) => tracing::warn!(%error, "silent devices were not removed, trying later"),
            }
            sleep(INTERVAL).await;
        }
    };
    // What is under way is a transaction: whole or not at all.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

/// Removes every device that is due now; how many.
async fn remove(
    store: &dyn DeviceRetention,
    clock: &dyn Clock,
    config: &DevicesConfig,
) -> Result<u64, StoreError> {
    let now = clock.now();
    let before = now.minus(config.retention);
    let mut removed = 0;
    loop {
        let batch = store.remove_silent_devices(before, now, BATCH).await?;
        removed += batch;
        if batch == 0 {
            return Ok(removed);
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::TurnedClock;

    /// When devices were last heard of.
    struct Heard(Mutex<Vec<Timestamp>>);

    #[async_trait]
    impl DeviceRetention for Heard {
        async fn remove_silent_devices(
            &self,
            before: Timestamp,
            _: Timestamp,
            limit: u32,
        ) -> Result<u64, StoreError> {
            let mut left = limit;
            let mut heard = self.0.lock();
            heard.retain(|at| {
                let stays = left == 0 || *at >= before;
                left -= u32::from(!stays);
                stays
            });
            Ok(u64::from(limit - left))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_are_silent_for_longer_go_in_bounded_steps() {
        let clock = TurnedClock::new();
        let config = DevicesConfig::default();
        let silent = clock.now().minus(config.retention + Duration::from_millis(1));
        let seen = clock.now().minus(config.retention);
        let heard = Heard(Mutex::new([vec![silent; 1_234], vec![seen; 3]].concat()));
        assert_eq!(remove(&heard, &clock, &config).await.unwrap(), 1_234);
        assert_eq!(*heard.0.lock(), [seen; 3]);
    }

    #[test]
    fn a_device_is_known_for_a_month_at_least() {
        assert_eq!(DevicesConfig::default().mistakes(), Vec::<String>::new());
        let short = DevicesConfig { retention: DAY * 29 };
        assert_eq!(short.mistakes(), ["devices.retention: must be at least 30d"]);
    }
}
