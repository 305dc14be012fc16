//! What admins do, joined with the hub and the gateways.

use iploop_platform::admin::{AdminParts, AdminService};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The service, its task running until `stop`.
pub(crate) fn start(parts: AdminParts, stop: &CancellationToken, tasks: &mut JoinSet<()>) -> AdminService {
    let (admin, bans) = AdminService::new(parts);
    tasks.spawn(bans.run(stop.clone()));
    admin
}
