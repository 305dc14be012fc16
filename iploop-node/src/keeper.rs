//! Looks after the device: its network, the caps, and what follows for sharing.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::{Outlook, Shared, Stop};
use crate::sharing;

/// Between two looks at the network while nothing happens.
const IDLE: Duration = Duration::from_secs(30);
/// Between two looks while streams are open: what a crash loses of the counters.
const BUSY: Duration = Duration::from_secs(5);

/// Runs until the node is shut down.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut wishes = shared.wishes.subscribe();
    loop {
        let busy = shared.traffic.totals().open_streams > 0;
        tokio::select! {
            () = tokio::time::sleep(if busy { BUSY } else { IDLE }) => {}
            () = shared.traffic.wants_a_look() => {}
            changed = wishes.changed() => {
                if changed.is_err() || matches!(shared.stop(), Some(Stop::Shutdown(_))) {
                    return;
                }
            }
        }
        look(&shared).await;
    }
}

/// Looks once, and publishes what follows.
pub(crate) async fn look(shared: &Arc<Shared>) {
    let wishes = *shared.wishes.borrow();
    let surroundings = Arc::clone(&shared.parts.surroundings);
    let view = match tokio::task::spawn_blocking(move || surroundings.look()).await {
        Ok(Ok(view)) => Some(Arc::new(view)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the device can't see its own network: nothing is shared");
            None
        }
        // It panicked: nothing is known.
        Err(_) => None,
    };
    let before = shared.outlook.borrow().clone();
    let on_cellular = before.is_on_cellular();
    save(shared, on_cellular).await;
    let next = Outlook {
        view,
        ..before.clone()
    };
    // Booked on the network that was used; what is left depends on the one that is.
    let used = shared
        .traffic
        .book(shared.now(), next.is_on_cellular(), &shared.config.limits);
    let why_not = if wishes.paused {
        Some(sharing::NotSharing::Paused)
    } else {
        sharing::why_not(
            &shared.config.limits,
            &shared.consent,
            &wishes.conditions,
            shared.network(next.view.as_deref()),
            &used,
        )
    };
    let is_other_network = before.view.as_deref() != next.view.as_deref();
    let told_changes = wishes.network_changes;
    shared.outlook.send_if_modified(|outlook| {
        let mut changes = outlook.network_changes;
        if is_other_network {
            changes += 1;
        }
        let is_new = is_other_network || why_not != outlook.why_not || told_changes != outlook.told_changes;
        *outlook = Outlook {
            why_not,
            view: next.view.clone(),
            network_changes: changes + told_changes.wrapping_sub(outlook.told_changes),
            told_changes,
        };
        is_new
    });
    shared.announce();
}

/// Books and stores what was relayed.
pub(crate) async fn save(shared: &Arc<Shared>, on_cellular: bool) {
    shared
        .traffic
        .book(shared.now(), on_cellular, &shared.config.limits);
    if !shared.traffic.is_unstored() {
        return;
    }
    let store = Arc::clone(shared);
    let stored =
        tokio::task::spawn_blocking(move || store.traffic.store(|ledger| store.state.set_counters(ledger)));
    if let Ok(Err(error)) = stored.await {
        tracing::warn!(%error, "the byte counters can't be stored");
    }
}
