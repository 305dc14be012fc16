//! Figures of the whole platform. Counted at most every half minute, however many look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{AdminError, AdminService};
use crate::clock::Timestamp;
use crate::network::NetworkStats;

/// How old figures may be.
const FRESH: Duration = Duration::from_secs(30);
/// The time over which what is recent is counted.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// What was counted last.
pub(super) type Cached = Option<(Instant, Arc<PlatformStats>)>;

/// Figures of the whole platform.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformStats {
    /// From the database.
    pub stored: StoredStats,
    /// The devices that are connected: to this process's hub, or to all that share state.
    pub network: NetworkStats,
    /// Processes whose devices these are.
    pub processes: u64,
    /// When it was counted.
    pub at: Timestamp,
}

/// Figures from the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredStats {
    /// Accounts.
    pub users: UserCounts,
    /// Accounts that are not deleted, by their plan.
    pub plans: BTreeMap<String, u64>,
    /// All requests ever.
    pub all_time: Traffic,
    /// Requests that began in the last 24 hours.
    pub recent: Traffic,
    /// Of these, the failed ones by their code, at most 50.
    pub errors: BTreeMap<String, u64>,
    /// Devices that ever registered, by status.
    pub nodes: BTreeMap<String, u64>,
    /// Devices heard of in the last 24 hours, by the version of their library, at most 100.
    pub versions: BTreeMap<String, u64>,
}

/// Accounts by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserCounts {
    /// Not deleted.
    pub total: u64,
    /// May sign in.
    pub active: u64,
    /// Stopped.
    pub suspended: u64,
    /// Deleted.
    pub deleted: u64,
    /// Active admins.
    pub admins: u64,
    /// Not deleted, with a verified address.
    pub verified: u64,
    /// Registered in the last 24 hours.
    pub new: u64,
    /// Signed in in the last 24 hours.
    pub signed_in: u64,
}

/// Requests and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Of these, the ones that ended well or run still.
    pub successful: u64,
    /// Customers to destinations.
    pub bytes_up: u64,
    /// Destinations to customers.
    pub bytes_down: u64,
    /// Of both, what customers pay for.
    pub billed_bytes: u64,
}

impl AdminService {
    /// Figures of the whole platform, at most half a minute old.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn stats(&self) -> Result<Arc<PlatformStats>, AdminError> {
        // Held while it is counted, so that many who ask together count once.
        let mut cached = self.0.stats.lock().await;
        if let Some((at, stats)) = &*cached
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(stats));
        }
        let parts = self.parts();
        let now = parts.clock.now();
        let stats = Arc::new(PlatformStats {
            stored: parts.store.stored_stats(now.minus(RECENT), now).await?,
            network: parts.network.stats(),
            processes: parts.network.processes(),
            at: now,
        });
        *cached = Some((Instant::now(), Arc::clone(&stats)));
        Ok(stats)
    }
}
