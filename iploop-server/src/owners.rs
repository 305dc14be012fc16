//! Devices and their owners, joined with the hub that has the devices.

use std::sync::Arc;

use iploop_hub::Hub;
use iploop_platform::clock::Clock;
use iploop_platform::device_news::{NewsBell, NewsTask};
use iploop_platform::device_retention;
use iploop_platform::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Counts what devices earn, forgets those that are gone, and tells connected ones what they have to know, until `stop`.
pub(crate) fn start(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    config: &Config,
    hub: &Hub,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> NewsBell {
    tasks.spawn(iploop_platform::owners::run(
        Arc::clone(store) as _,
        Arc::clone(clock),
        config.owners.rules(),
        stop.clone(),
    ));
    tasks.spawn(device_retention::run(
        Arc::clone(store) as _,
        Arc::clone(clock),
        config.devices.clone(),
        stop.clone(),
    ));
    let (bell, news) = NewsTask::new(Arc::clone(store) as _, Arc::clone(clock), Arc::new(hub.clone()));
    tasks.spawn(news.run(stop.clone()));
    bell
}
