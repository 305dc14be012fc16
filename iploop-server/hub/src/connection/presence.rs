//! A registered device's place in the directory, from its welcome to its end.

use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::SharingStatus;
use iploop_protocol::io::{Closed, Initiator, Tunnel};
use tokio::time::Instant;

use crate::directory::{NodeFacts, NodeKey};
use crate::node::Node;
use crate::quality::Quality;
use crate::registration::Registration;
use crate::shared::Shared;

/// Between two pairing codes of a device (`docs/protocol.md`, pairing).
const PAIRING_EVERY: Duration = Duration::from_secs(10);

/// A device in the directory. Dropping it takes the device out and hands its last figures to the store.
pub(super) struct Presence {
    shared: Arc<Shared>,
    node: Arc<Node>,
    key: NodeKey,
    /// Not yet taken out.
    listed: bool,
    /// When it was given a pairing code last.
    paired_at: Option<Instant>,
    /// Nobody else stands for this device now.
    was_last: bool,
    lost: bool,
}

impl Presence {
    /// Lists a device; an earlier connection of it is closed.
    pub(super) fn enter(shared: &Arc<Shared>, tunnel: Tunnel, registration: Registration) -> Self {
        let now = Instant::now().into_std();
        let Registration {
            exit,
            region_code,
            device,
            max_streams,
            status,
            is_paused,
            ..
        } = registration;
        let exit = Arc::new(exit);
        let quality = shared
            .memory
            .lock()
            .recall(exit.node)
            .unwrap_or_else(|| Quality::new(now));
        let quality_now = quality.score(now);
        let node = Node::new(
            Arc::clone(&exit),
            tunnel,
            device,
            (status, is_paused),
            quality,
            shared.clock.now(),
        );
        let node = Arc::new(node);
        let facts = NodeFacts {
            exit: &exit,
            region_code: region_code.as_deref(),
            max_streams,
            quality: quality_now,
            sharing: node.takes_streams(),
        };
        let (key, replaced) = shared.live.lock().insert(&facts, Arc::clone(&node));
        if let Some(earlier) = &replaced {
            node.inherit(earlier.leave(false, now));
        }
        shared.live.lock().set_figures(key, node.figures(now));
        if let Some(earlier) = replaced {
            earlier
                .tunnel
                .close(CloseCode::Replaced, None, "the same device connected again");
        }
        metrics::gauge!("iploop_hub_nodes").increment(1.0);
        shared.moved(|moves| moves.came(exit.node));
        Self {
            shared: Arc::clone(shared),
            node,
            key,
            listed: true,
            paired_at: None,
            was_last: false,
            lost: false,
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// The device takes streams, or takes none for a while.
    pub(super) fn says(&self, status: SharingStatus) {
        self.node.note_status(status);
        self.shared.renew_sharing(self.key, &self.node);
    }

    /// No new stream comes here from now on.
    pub(super) fn leaving(&self) {
        self.node.leave_service();
        self.shared.renew_sharing(self.key, &self.node);
    }

    /// Takes the right to a pairing code.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn may_pair(&mut self) -> Result<(), Duration> {
        let now = Instant::now();
        let wait = self
            .paired_at
            .and_then(|at| PAIRING_EVERY.checked_sub(now.saturating_duration_since(at)))
            .filter(|wait| !wait.is_zero());
        match wait {
            Some(wait) => Err(wait),
            None => {
                self.paired_at = Some(now);
                Ok(())
            }
        }
    }

    /// A heartbeat came: time to look at our own figures of the device.
    pub(super) fn heard(&self) {
        self.shared.add_bytes(self.node.take_new_bytes());
        let figures = self.node.figures(Instant::now().into_std());
        self.shared.live.lock().set_figures(self.key, figures);
    }

    /// Takes the device out of the directory.
    pub(super) fn retire(&mut self) {
        if std::mem::take(&mut self.listed) {
            self.was_last = self.shared.live.lock().remove(self.key).is_some();
            if self.was_last {
                self.shared.moved(|moves| moves.went(self.node.exit.node));
            }
        }
    }

    /// Ends the presence, knowing how the tunnel ended.
    pub(super) fn end(mut self, closed: &Closed) {
        self.lost = closed.by == Initiator::Transport || closed.code == CloseCode::Silent;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.retire();
        let now = Instant::now().into_std();
        let quality = self.node.leave(self.lost, now);
        if self.was_last {
            self.shared.memory.lock().keep(self.node.exit.node, quality);
        }
        // One that was replaced is connected still, by its successor.
        let last = self
            .node
            .take_activity(!self.was_last, self.shared.clock.now(), now);
        self.shared.activity.push(last);
        self.shared.subtract_bytes(self.node.summed_bytes());
        metrics::gauge!("iploop_hub_nodes").decrement(1.0);
    }
}
