//! Joins what this process has with what the other ones have, where they share a Redis.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use iploop_gateway::{Gateway, Sessions};
use iploop_hub::Hub;
use iploop_platform::admin::LiveNodes;
use iploop_platform::clock::Clock;
use iploop_platform::device_news::Connected;
use iploop_platform::live::{Live, LiveTogether};
use iploop_platform::login::SigningSecret;
use iploop_platform::network::Network;
use iploop_platform::presence::{Answering, NetworkEverywhere, NodesEverywhere, Presence, Processes};
use iploop_platform::shared::{SealedState, SharedState};
use iploop_platform::sticky::SharedSessions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// Devices as figures show them: of all processes, or of this one where it shares nothing.
pub(crate) struct Devices {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) nodes: Arc<dyn LiveNodes>,
    pub(crate) connected: Arc<dyn Connected>,
    /// To be asked; none: this process is alone.
    pub(crate) others: Option<Processes>,
}

/// What is joined.
pub(crate) struct Parts<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) sessions: Sessions,
    pub(crate) live: &'a Arc<Live>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secret: &'a SigningSecret,
}

/// Starts telling the other processes, and hearing of them.
pub(crate) fn start(
    shared: &Shared,
    parts: Parts<'_>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Devices> {
    let here = Devices {
        network: Arc::new(parts.hub.clone()),
        nodes: Arc::new(parts.hub.clone()),
        connected: Arc::new(parts.hub.clone()),
        others: None,
    };
    let Some(state) = shared.with_others() else {
        return Ok(here);
    };
    let sealed = SealedState::new(Arc::clone(&state), parts.secret).context("the shared state has no key")?;
    let presence = present(parts.hub, &here, state, &parts.clock, stop, tasks);
    if let Some(live) = LiveTogether::new(parts.live, sealed.clone()) {
        tasks.spawn(live.run(stop.clone()));
    }
    let others = Processes::new(presence.clone(), sealed.clone());
    let sessions = SharedSessions::new(sealed, presence.clone(), parts.clock);
    tasks.spawn(parts.sessions.go_together(sessions, stop.clone()));
    let nodes = Arc::new(NodesEverywhere::new(
        here.nodes,
        here.connected,
        presence.clone(),
        others.clone(),
    ));
    Ok(Devices {
        network: Arc::new(NetworkEverywhere::new(here.network, presence, others.clone())),
        connected: Arc::clone(&nodes) as _,
        nodes,
        others: Some(others),
    })
}

/// Answers what the other processes ask of this one.
pub(crate) fn answer(
    devices: &Devices,
    hub: &Hub,
    gateway: &Gateway,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    if let Some(others) = devices.others.clone() {
        let answering = Answering {
            network: Arc::new(hub.clone()),
            nodes: Arc::new(hub.clone()),
            connected: Arc::new(hub.clone()),
            sessions: Arc::new(gateway.clone()),
        };
        tasks.spawn(others.answer(answering, stop.clone()));
    }
}

fn present(
    hub: &Hub,
    here: &Devices,
    state: Arc<dyn SharedState>,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Presence {
    let (presence, task) = Presence::new(state, Arc::clone(clock));
    hub.tell_moves(Arc::new(presence.clone()));
    tasks.spawn(task.run(Arc::clone(&here.network), Arc::clone(&here.nodes), stop.clone()));
    presence
}
