//! Joins what happens now with those who watch it.

use std::sync::Arc;

use iploop_platform::live::{Live, LiveParts, LiveTask};
use iploop_platform::metering::Meters;
use iploop_platform::network::Network;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts counting for those who watch; the feeds are the meters' own.
pub(crate) fn start(
    meters: Meters,
    network: &Arc<dyn Network>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Arc<Live> {
    let live = Arc::clone(meters.live());
    let task = LiveTask::new(LiveParts {
        meters,
        network: Arc::clone(network),
    });
    tasks.spawn(task.run(stop.clone()));
    live
}
