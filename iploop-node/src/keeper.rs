//! Looks after the device: its network, the caps, and what follows for sharing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::nat64;
use crate::shared::{Outlook, Shared, Stop, Wishes};
use crate::sharing;
use crate::surroundings::View;
use crate::uplink::Uplink;

/// Between two looks at the network while nobody says that it changed.
const NETWORK_EVERY: Duration = Duration::from_secs(30);
/// Between two looks at the counters while streams are open: what a crash loses of them.
const COUNTERS_EVERY: Duration = Duration::from_secs(5);

/// Runs until the node is shut down. `wishes` is from before the first look.
pub(crate) async fn keep(shared: Arc<Shared>, wishes: watch::Receiver<Wishes>) {
    tokio::select! {
        () = watch(&shared, wishes) => {}
        () = nat64::follow(&shared) => {}
    }
}

async fn watch(shared: &Arc<Shared>, mut wishes: watch::Receiver<Wishes>) {
    let mut network_at = Instant::now();
    let mut counters_at = network_at;
    loop {
        let next = if shared.traffic.is_busy() {
            (counters_at + COUNTERS_EVERY).min(network_at + NETWORK_EVERY)
        } else {
            network_at + NETWORK_EVERY
        };
        let mut is_told = false;
        tokio::select! {
            () = sleep_until(next) => {}
            // It may be time for the counters now.
            () = shared.traffic.grows_busy() => continue,
            () = shared.traffic.meets_a_cap() => {}
            changed = wishes.changed() => {
                if changed.is_err() || matches!(shared.stop(), Some(Stop::Shutdown(_))) {
                    return;
                }
                is_told = true;
            }
        }
        let now = Instant::now();
        counters_at = now;
        // The app may have told of a change.
        if is_told || now >= network_at + NETWORK_EVERY {
            network_at = now;
            look(shared).await;
        } else {
            let view = shared.outlook.borrow().view.clone();
            conclude(shared, view).await;
        }
    }
}

/// Looks at the network, and publishes what follows.
pub(crate) async fn look(shared: &Arc<Shared>) {
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
    conclude(shared, view).await;
}

/// Books and stores what was relayed, and publishes whether to share.
async fn conclude(shared: &Arc<Shared>, view: Option<Arc<View>>) {
    let before = shared.outlook.borrow().clone();
    // Booked on the network that was used; what is left depends on the one that is.
    save(shared, before.is_on_cellular()).await;
    let wishes = *shared.wishes.borrow();
    let next = Outlook {
        view,
        ..before.clone()
    };
    let used = shared
        .traffic
        .book(shared.now(), next.is_on_cellular(), &shared.config.limits);
    let why_not = sharing::why_not(
        &shared.config.limits,
        &shared.consent,
        &wishes.conditions,
        shared.network(next.view.as_deref()),
        &used,
    );
    let is_other_network = before.view != next.view;
    if is_other_network {
        shared.traffic.update_uplink(Uplink::forget);
    }
    let told_changes = wishes.network_changes;
    shared.outlook.send_if_modified(|outlook| {
        let is_told = told_changes != outlook.told_changes;
        let is_new = is_other_network || is_told || why_not != outlook.why_not;
        if is_other_network || is_told {
            outlook.nat64 = Arc::default();
        }
        *outlook = Outlook {
            nat64: Arc::clone(&outlook.nat64),
            why_not,
            view: next.view.clone(),
            network_changes: outlook.network_changes
                + u64::from(is_other_network)
                + told_changes.wrapping_sub(outlook.told_changes),
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
