//! Every second: the numbers of those who are watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::together::Part;
use super::{Event, Live, NetworkNow, NodesNow, Numbers, Subject};
use crate::ids::AccountId;
use crate::metering::{Activity, Meters};
use crate::network::Network;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds for which a balance is believed.
const BALANCE_FOR: u64 = 5;
/// Balances read at the same time.
const READS: usize = 8;
/// How long the reads of one second may take together; what is not read is read in the next.
const READ_TIME: Duration = Duration::from_millis(800);

/// Where the numbers come from.
pub struct LiveParts {
    /// Requests and bytes.
    pub meters: Meters,
    /// Devices.
    pub network: Arc<dyn Network>,
}

/// Counts for those who watch. One per process.
pub struct LiveTask {
    parts: LiveParts,
    balances: HashMap<AccountId, (u64, i64)>,
    seconds: u64,
    /// The last second was counted too, so that what came since is what came in a second.
    is_counting: bool,
}

impl LiveTask {
    /// From its parts.
    pub fn new(parts: LiveParts) -> Self {
        Self {
            parts,
            balances: HashMap::new(),
            seconds: 0,
            is_counting: false,
        }
    }

    /// Runs until `shutdown`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut ticks = interval(SECOND);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.second().await;
            }
        };
        let _: Option<()> = shutdown.run_until_cancelled(work).await;
    }

    /// One second's work; next to none while nobody watches.
    pub(super) async fn second(&mut self) {
        let live = Arc::clone(self.parts.meters.live());
        if live.remembered.load(Relaxed) == 0 {
            self.is_counting = false;
            self.balances.clear();
            return;
        }
        self.seconds += 1;
        let activity = self.parts.meters.activity();
        let was_counting = std::mem::replace(&mut self.is_counting, true);
        let bytes = |activity: &Activity| if was_counting { activity.new_bytes } else { 0 };
        let stats = self.parts.network.stats();
        let nodes = NodesNow {
            connected_nodes: stats.connected_nodes,
            available_nodes: stats.available_nodes,
        };
        self.read_balances(&live).await;

        let mut all = Part::default();
        for activity in activity.values() {
            all.active_accounts += u64::from(activity.active > 0);
            all.active += activity.active;
            all.bytes_per_second = all.bytes_per_second.saturating_add(bytes(activity));
        }
        let mut feeds = live.feeds.lock();
        feeds.retain(|_, feed| !feed.is_left());
        all.watchers = feeds.values().map(|feed| feed.watchers() as u64).sum();
        let (mut watched, mut wanted) = (Vec::new(), Vec::new());
        for (subject, feed) in &mut *feeds {
            let (requests, window_seconds) = feed.second();
            let own = match subject {
                Subject::Account(account) => {
                    let activity = activity.get(account).copied().unwrap_or_default();
                    Part {
                        active: activity.active,
                        bytes_per_second: bytes(&activity),
                        ..Part::default()
                    }
                }
                Subject::Network => all,
            };
            let own = Part {
                requests,
                told: feed.others.told(),
                ..own
            };
            if feed.others.is_wanted() {
                wanted.push((*subject, own));
            }
            if feed.watchers() > 0 {
                watched.push(*subject);
            }
            let sum = own.plus(feed.others.second());
            match subject {
                Subject::Account(account) => {
                    feed.state(Event::Numbers(Numbers {
                        balance_bytes: self.balances.get(account).map(|(_, bytes)| *bytes),
                        active_connections: sum.active,
                        requests: sum.requests,
                        window_seconds,
                        bytes_per_second: sum.bytes_per_second,
                    }));
                    feed.state(Event::Nodes(nodes));
                }
                Subject::Network => feed.state(Event::Network(NetworkNow {
                    active_accounts: sum.active_accounts,
                    active_connections: sum.active,
                    requests: sum.requests,
                    window_seconds,
                    bytes_per_second: sum.bytes_per_second,
                    connected_nodes: nodes.connected_nodes,
                    available_nodes: nodes.available_nodes,
                    watchers: sum.watchers,
                })),
            }
        }
        live.tell_watched(watched);
        live.tell_second(wanted);
        self.balances
            .retain(|account, _| feeds.contains_key(&Subject::Account(*account)));
        live.note_remembered(feeds.len());
    }

    async fn read_balances(&mut self, live: &Live) {
        let is_old = |account: &AccountId| match self.balances.get(account) {
            Some((read_at, _)) => self.seconds >= read_at + BALANCE_FOR,
            None => true,
        };
        let due: Vec<AccountId> = live
            .feeds
            .lock()
            .iter()
            .filter(|(_, feed)| feed.watchers() > 0)
            .filter_map(|(subject, _)| match subject {
                Subject::Account(account) => Some(*account),
                Subject::Network => None,
            })
            .filter(is_old)
            .collect();
        let meters = self.parts.meters.clone();
        let read = stream::iter(due)
            .map(|account| {
                let meters = meters.clone();
                async move { (account, meters.balance(account).await) }
            })
            .buffer_unordered(READS);
        tokio::pin!(read);
        let (balances, seconds) = (&mut self.balances, self.seconds);
        // What can't be read stays as it was.
        let _ = timeout(READ_TIME, async {
            while let Some((account, balance)) = read.next().await {
                if let Ok(balance) = balance {
                    balances.insert(account, (seconds, balance.bytes));
                }
            }
        })
        .await;
    }
}

impl std::fmt::Debug for LiveTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveTask").finish_non_exhaustive()
    }
}
