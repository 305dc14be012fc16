//! Joins what happens now with those who watch it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// Where a listener of ours is reached from this machine.
pub(crate) fn loopback(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listener
}
