//! The handle of a running node.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::policy::TestAllow;
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{NodeConfig, Parts};
use crate::consent::{Consent, ConsentError};
use crate::error::NodeError;
use crate::hub::{self, Connector};
use crate::keeper;
use crate::pairing::{self, PairingCode};
use crate::session;
use crate::shared::{Shared, Stop, Wishes};
use crate::sharing::Conditions;
use crate::state::{OwnersWord, StateDir};
use crate::status::{Event, Link, Status};
use crate::supervise;
use crate::surroundings::SystemSurroundings;
use crate::traffic::Traffic;

/// Longest time that [`Node::shutdown`] takes beyond its grace.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest time that [`Node::withdraw`] waits for the hub's confirmation.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(8);

/// A device that shares: connected, or on the way to it, as long as this value lives. Dropping it stops everything at once.
///
/// Starting one takes a [`Consent`], and a consent takes an act of the owner:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use iploop_node::{Consent, ConsentAct, NetworkKind, Node, NodeConfig, OwnersWord, StateDir};
///
/// let config = NodeConfig::new("wss://hub.example/ws".parse()?, "iplp_…".parse()?);
/// let state = StateDir::open("/var/lib/example")?;
/// let consent = match state.consent()? {
///     OwnersWord::Given(consent) => consent,
///     OwnersWord::None | OwnersWord::Withdrawn(_) => {
///         // Show the text with two equal buttons; only if the owner presses yes:
///         let act = ConsentAct {
///             text_version: "2026-11".into(),
///             text: "the whole text that was shown".into(),
///             language: "en".into(),
///             act: "button".into(),
///             networks: vec![NetworkKind::Wifi],
///             minimum_age: true,
///         };
///         Consent::given(act, time::OffsetDateTime::now_utc())?
///     }
/// };
/// let node = Node::start(config, state, consent).await?;
/// println!("{:?}", node.status());
/// # Ok(())
/// # }
/// ```
pub struct Node {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<AbortOnDropHandle<()>>>,
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
    /// Heard everything since start; the first to ask gets it.
    first_listener: Mutex<Option<broadcast::Receiver<Event>>>,
}

impl Node {
    /// Starts sharing, on tokio's current runtime. Connecting goes on in the background: see [`Node::status`].
    ///
    /// # Errors
    /// [`NodeError::Consent`] if the consent was withdrawn or is too old, [`NodeError::State`] and [`NodeError::Config`] for
    /// what is wrong with the folder or a setting.
    pub async fn start(config: NodeConfig, state: StateDir, consent: Consent) -> Result<Self, NodeError> {
        let parts = Parts {
            surroundings: Arc::new(SystemSurroundings::of_source(config.bind)),
            ..Parts::default()
        };
        Self::start_with(config, state, consent, parts).await
    }

    /// [`Node::start`] in a world of the caller's making: a phone's app knows the network, a test the time.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(
        config: NodeConfig,
        state: StateDir,
        consent: Consent,
        parts: Parts,
    ) -> Result<Self, NodeError> {
        let now = parts.clock.now();
        consent.check_current(now)?;
        match state.consent()? {
            OwnersWord::Withdrawn(withdrawn) if !is_newer(&consent, withdrawn.at()) => {
                let at = withdrawn.at().to_owned();
                return Err(ConsentError::Withdrawn { at }.into());
            }
            OwnersWord::Given(known) if known == consent => {}
            _ => state.record(&consent)?,
        }
        let (shared, connector) = prepare(config, state, consent, parts)?;
        if !shared.test_allow.is_empty() {
            warn_of_test_allow(&shared.test_allow);
        }
        let first_listener = Mutex::new(Some(shared.events.subscribe()));
        let wishes = shared.wishes.subscribe();
        keeper::look(&shared).await;
        let keeper = AbortOnDropHandle::new(tokio::spawn(keeper::keep(Arc::clone(&shared), wishes)));
        let supervisor = supervise::supervise(Arc::clone(&shared), connector);
        Ok(Self {
            supervisor: Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(supervisor)))),
            keeper: Mutex::new(Some(keeper)),
            first_listener,
            shared,
        })
    }

    /// The node at this moment.
    pub fn status(&self) -> Status {
        let shared = &*self.shared;
        let reason = shared.why_not();
        let used = shared.traffic.used(shared.now());
        let totals = shared.traffic.totals();
        let facts = shared.facts.lock().clone();
        let consent = shared.consent.statement();
        Status {
            sharing: reason.is_none(),
            reason,
            reason_text: reason.map(|reason| reason.text().to_owned()),
            paused_from_afar: shared.wishes.borrow().paused_from_afar,
            link: shared.link.borrow().clone(),
            hub: shared.config.hub.to_string(),
            device_id: shared.identity.id.clone(),
            node_id: facts.node_id,
            public_ip: facts.public_ip,
            open_streams: totals.open_streams,
            streams_served: totals.served,
            streams_refused: totals
                .refused
                .into_iter()
                .map(|(code, count)| (code.to_owned(), count))
                .collect(),
            bytes_today: used.day.total(),
            bytes_this_month: used.month.total(),
            daily_limit: shared.config.limits.daily_bytes,
            monthly_limit: shared.config.limits.monthly_bytes,
            consent_version: consent.text_version.clone(),
            consent_given_at: consent.given_at.clone(),
            test_allow: shared
                .test_allow
                .iter()
                .map(|address| address.to_string())
                .collect(),
        }
    }

    /// What happens: to the first who asks since start, to others from now on. At most 64 events wait for a receiver; one that is
    /// slow misses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self.first_listener.lock().take();
        first.unwrap_or_else(|| self.shared.events.subscribe())
    }

    /// Ready when the link is over until the app does something: consent withdrawn or asked for anew, rejected, shut down.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn ended(&self) -> Link {
        let mut link = self.shared.link.subscribe();
        match link.wait_for(Link::is_final).await {
            Ok(link) => link.clone(),
            // The sender lives as long as we do.
            Err(_) => Link::Stopped,
        }
    }

    /// Stops sharing until [`Node::resume`], also after a restart. New streams are refused from now on; open ones get 10
    /// seconds.
    ///
    /// # Errors
    /// [`NodeError::State`] if it can't be stored; it is in force all the same until the node ends.
    pub async fn pause(&self) -> Result<(), NodeError> {
        self.set_paused(true).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`NodeError::State`] if it can't be stored; it is in force all the same until the node ends.
    pub async fn resume(&self) -> Result<(), NodeError> {
        self.set_paused(false).await
    }

    /// A code for the owner, by which an account claims this device.
    ///
    /// # Errors
    /// [`NodeError::Network`] if the hub is not connected, gives no codes, or gives none now.
    ///
    /// # Cancel safety
    /// Yes: a code that nobody hears of ends by itself.
    pub async fn pairing_code(&self) -> Result<PairingCode, NodeError> {
        pairing::ask(&self.shared).await
    }

    /// The owner withdraws consent: every stream ends at once, the connection with it, and no other is made but to tell the
    /// hub. It is on record before this returns, so it holds after a restart and without a network too.
    ///
    /// True: the hub knows. False: it could not be told yet; that is tried for as long as this value lives, and
    /// [`deliver_withdrawal`] does it later.
    ///
    /// # Errors
    /// [`NodeError::State`] if it can't be stored: it is in force until the node ends, and the owner has to be told.
    pub async fn withdraw(&self, reason: &str) -> Result<bool, NodeError> {
        let recorded = self.in_background({
            let reason = reason.to_owned();
            move |shared| shared.state.withdraw(shared.now(), &reason).map(drop)
        });
        let recorded = recorded.await;
        self.shared
            .wishes
            .send_modify(|wishes| wishes.stop = Some(Stop::Withdraw));
        self.shared.announce();
        let mut link = self.shared.link.subscribe();
        let is_withdrawn = |link: &Link| matches!(link, Link::Withdrawn { .. } | Link::Stopped);
        let delivered = match tokio::time::timeout(WITHDRAW_TIMEOUT, link.wait_for(is_withdrawn)).await {
            Ok(Ok(link)) => *link == (Link::Withdrawn { delivered: true }),
            Ok(Err(_)) | Err(_) => false,
        };
        recorded?;
        Ok(delivered)
    }

    /// The app knows that the network changed: the surroundings are looked at and a waiting node connects at once.
    pub fn network_changed(&self) {
        self.shared
            .wishes
            .send_modify(|wishes| wishes.network_changes += 1);
    }

    /// The app tells the state of power and network.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.shared
            .traffic
            .update_uplink(|uplink| uplink.told(conditions.uplink_bytes_per_second));
        self.shared.wishes.send_if_modified(|wishes| {
            let is_new = wishes.conditions != conditions;
            wishes.conditions = conditions;
            is_new
        });
    }

    /// Ends the node in order: no new streams, `grace` for those that are open, then the connection is closed.
    ///
    /// Takes at most `grace` and some seconds; the state folder is free once this value is dropped after it. A second call, and one after [`Node::withdraw`], waits for the end as well.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.wishes.send_modify(|wishes| {
            // What is withdrawn stays withdrawn; only its delivery is given up.
            wishes.stop = Some(Stop::Shutdown(grace));
        });
        self.shared.announce();
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor {
            // Whoever takes longer than that is aborted by the drop.
            let _ = tokio::time::timeout(grace + SHUTDOWN_TIMEOUT, supervisor).await;
        } else {
            self.ended().await;
        }
        // It ends by itself; awaited, so that the state folder is free when this value is dropped.
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, keeper).await;
        }
    }

    async fn set_paused(&self, paused: bool) -> Result<(), NodeError> {
        let stored = self.in_background(move |shared| shared.state.set_paused(paused));
        self.shared.wishes.send_modify(|wishes| wishes.paused = paused);
        self.shared.announce();
        Ok(stored.await?)
    }

    /// File work, off the runtime's own threads. Begins when it is called, not when it is awaited.
    fn in_background<F>(&self, work: F) -> impl Future<Output = Result<(), crate::StateError>> + use<F>
    where
        F: FnOnce(&Shared) -> Result<(), crate::StateError> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let path = shared.state.path().to_owned();
        let work = tokio::task::spawn_blocking(move || work(&shared));
        async move {
            work.await.unwrap_or_else(|error| {
                Err(crate::StateError::Io {
                    path,
                    source: std::io::Error::other(error),
                })
            })
        }
    }
}

/// Tells the hub of a withdrawal that it doesn't know yet, by one short connection that serves nothing.
///
/// For apps to call when they are online, after [`Node::withdraw`] returned false or the owner withdrew while no node ran.
/// True: the hub knows. False: there is nothing to tell, or it could not be told now.
///
/// # Errors
/// [`NodeError::Network`] to try again later; [`NodeError::Rejected`] if the hub doesn't talk to this device or key at all.
pub async fn deliver_withdrawal(config: NodeConfig, state: StateDir) -> Result<bool, NodeError> {
    let OwnersWord::Withdrawn(withdrawn) = state.consent()? else {
        return Ok(false);
    };
    if withdrawn.is_delivered() {
        return Ok(true);
    }
    // Only to fill the place: nothing is served, and the hub gets the record that was withdrawn.
    let consent = Consent::from_statement(withdrawn.statement.clone())?;
    let (shared, connector) = prepare(config, state, consent, Parts::default())?;
    supervise::deliver(&shared, &connector, &withdrawn).await
}

fn prepare(
    config: NodeConfig,
    state: StateDir,
    consent: Consent,
    parts: Parts,
) -> Result<(Arc<Shared>, Connector), NodeError> {
    for (setting, text) in [("app_id", &config.app_id), ("app_version", &config.app_version)] {
        if !(1..=64).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(NodeError::config(setting, "must have 1 to 64 characters"));
        }
    }
    let roots = hub::roots(config.ca.as_deref())?;
    let connector = Connector::new(config.hub.clone(), roots, config.bind, &session::agent())?;
    let identity = state.identity()?;
    let wishes = Wishes {
        paused: state.is_paused()?,
        ..Wishes::default()
    };
    let traffic = Traffic::new(state.counters(parts.clock.now())?, &config.limits);
    let shared = Shared::new(config, parts, state, consent, identity, traffic, wishes);
    Ok((Arc::new(shared), connector))
}

/// Whether an act came after a withdrawal.
fn is_newer(consent: &Consent, withdrawn_at: &str) -> bool {
    OffsetDateTime::parse(withdrawn_at, &Rfc3339).is_ok_and(|at| consent.given_at() > at)
}

fn warn_of_test_allow(test_allow: &TestAllow) {
    let addresses: Vec<String> = test_allow.iter().map(|address| address.to_string()).collect();
    tracing::warn!(
        addresses = addresses.join(" "),
        "TEST ALLOW-LIST: customers can reach these addresses of this machine's networks; never run a real device like this"
    );
}
