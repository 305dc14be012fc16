//! What the tasks of a node and its handle share.

use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::policy::{AbuseTable, Nat64Prefix, TestAllow};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::{broadcast, watch};

use crate::config::{NodeConfig, Parts};
use crate::consent::{Consent, NetworkKind};
use crate::pairing::Desk;
use crate::sharing::{Conditions, NotSharing, SharedNetwork};
use crate::state::{Identity, StateDir};
use crate::status::{Event, Link};
use crate::surroundings::View;
use crate::traffic::Traffic;

/// Events kept for a receiver that is slow; it learns how many it missed.
pub(crate) const MAX_EVENTS: usize = 64;

/// Most customers that are remembered. Beyond, those that rest are forgotten first, and a new one waits for one of them.
const MAX_CUSTOMERS: usize = 4096;

pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) test_allow: TestAllow,
    pub(crate) parts: Parts,
    pub(crate) state: StateDir,
    pub(crate) consent: Consent,
    pub(crate) identity: Identity,
    pub(crate) traffic: Traffic,
    /// What each customer does, by the number in OPEN.
    pub(crate) customers: Mutex<AbuseTable<u64>>,
    /// What the app wishes.
    pub(crate) wishes: watch::Sender<Wishes>,
    /// What follows from that, from the device's surroundings and from the caps.
    pub(crate) outlook: watch::Sender<Outlook>,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) facts: Mutex<HubFacts>,
    pub(crate) pairing: Desk,
    pub(crate) events: broadcast::Sender<Event>,
    told: Mutex<Option<Option<NotSharing>>>,
}

/// What the app wishes. Set by the handle, heard by the tasks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) paused: bool,
    /// What the owner wishes by the account, as the hub of the present connection told.
    pub(crate) paused_from_afar: bool,
    /// Counts the pairing codes that were asked for.
    pub(crate) pairings: u64,
    pub(crate) conditions: Conditions,
    /// Counts the network changes that the app told of.
    pub(crate) network_changes: u64,
    pub(crate) stop: Option<Stop>,
}

/// How a node is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Streams may finish within this time.
    Shutdown(Duration),
    /// At once, and the hub is to know.
    Withdraw,
}

/// What the keeper found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) why_not: Option<NotSharing>,
    /// None: the device can't see its own network.
    pub(crate) view: Option<Arc<View>>,
    /// NAT64 prefixes of this network as far as it was asked; forgotten with the network.
    pub(crate) nat64: Arc<Vec<Nat64Prefix>>,
    /// Counts the network changes, seen and told.
    pub(crate) network_changes: u64,
    /// How many of them the app told of.
    pub(crate) told_changes: u64,
}

/// What the hub told about this device.
#[derive(Clone, Debug, Default)]
pub(crate) struct HubFacts {
    pub(crate) node_id: Option<String>,
    pub(crate) public_ip: Option<std::net::IpAddr>,
}

impl Shared {
    pub(crate) fn new(
        config: NodeConfig,
        parts: Parts,
        state: StateDir,
        consent: Consent,
        identity: Identity,
        traffic: Traffic,
        wishes: Wishes,
    ) -> Self {
        Self {
            test_allow: config.test_allow(),
            config,
            parts,
            state,
            consent,
            identity,
            traffic,
            customers: Mutex::new(AbuseTable::new(MAX_CUSTOMERS)),
            wishes: watch::Sender::new(wishes),
            outlook: watch::Sender::new(Outlook::default()),
            link: watch::Sender::new(Link::Connecting),
            facts: Mutex::default(),
            pairing: Desk::default(),
            events: broadcast::Sender::new(MAX_EVENTS),
            told: Mutex::new(None),
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.parts.clock.now()
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    pub(crate) fn stop(&self) -> Option<Stop> {
        self.wishes.borrow().stop
    }

    /// Why nothing would be shared even over a good link; none: it would.
    pub(crate) fn unwilling(&self) -> Option<NotSharing> {
        let wishes = *self.wishes.borrow();
        match wishes.stop {
            Some(Stop::Withdraw) => Some(NotSharing::Withdrawn),
            Some(Stop::Shutdown(_)) => Some(NotSharing::Stopping),
            None if wishes.paused => Some(NotSharing::Paused),
            None if wishes.paused_from_afar => Some(NotSharing::PausedFromAfar),
            None => self.outlook.borrow().why_not,
        }
    }

    /// Why nothing is shared now; none: it is.
    pub(crate) fn why_not(&self) -> Option<NotSharing> {
        let link = self.link.borrow();
        let by_link = link.why_not();
        if link.is_final() {
            return by_link;
        }
        drop(link);
        self.unwilling().or(by_link)
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.link.send_replace(link.clone());
        self.announce();
        if link.is_final() {
            self.tell(Event::Ended { link });
        }
    }

    /// Tells when sharing begins, ends, or ends for another reason.
    pub(crate) fn announce(&self) {
        let why_not = self.why_not();
        let mut told = self.told.lock();
        if *told == Some(why_not) {
            return;
        }
        *told = Some(why_not);
        self.tell(match why_not {
            None => Event::Sharing,
            Some(reason) => Event::NotSharing {
                reason,
                text: reason.text().to_owned(),
            },
        });
    }

    /// The network as the rule of sharing sees it.
    pub(crate) fn network(&self, view: Option<&View>) -> SharedNetwork {
        match view {
            None => SharedNetwork::Unknown,
            Some(_) if self.config.bind.is_some_and(|source| source.is_loopback()) => SharedNetwork::Loopback,
            Some(view) => SharedNetwork::Real {
                kind: view.network,
                vpn: view.vpn,
            },
        }
    }
}

impl Outlook {
    pub(crate) fn is_on_cellular(&self) -> bool {
        self.view
            .as_ref()
            .is_some_and(|view| view.network == Some(NetworkKind::Cellular))
    }
}
