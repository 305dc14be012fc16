//! One connection to the hub, from HELLO to CLOSE.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{
    DeviceFacts, Heartbeat, Hello, Notice, OwnersWish, PolicyUpdate, SharingStatus, ToHub, ToNode, VERSION,
    Welcome, capability,
};
use iploop_protocol::io::{self, Closed, Events, Incoming, Initiator, Tunnel};
use iploop_protocol::tunnel::{Config, Side};
use parking_lot::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::grants::CustomerGrants;
use crate::hub::HubConnection;
use crate::rules::{FromHub, Rules};
use crate::serve::{Stage, serve};
use crate::shared::{HubFacts, Shared, Stop};
use crate::sharing::NotSharing;
use crate::state::Withdrawn;
use crate::status::{Event, Link};
use crate::traffic::Totals;

/// From HELLO to WELCOME.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Open streams get this long when sharing pauses.
const PAUSE_GRACE: Duration = Duration::from_secs(10);
/// The hub gets this long to confirm a withdrawal.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(4);
/// Between two looks at how fast the uplink is, while streams are open.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether everything is sent, on the way out.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// For the streams' tasks after the tunnel is gone.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(crate) struct Ended {
    pub(crate) closed: Closed,
    /// From WELCOME on; none: there was none.
    pub(crate) served: Option<Duration>,
    /// The hub has confirmed that the owner withdrew.
    pub(crate) is_withdrawal_known: bool,
    /// The address it came from belongs to this device no longer: another attempt can succeed at once.
    pub(crate) has_moved: bool,
}

/// Registers and serves until the connection ends, for whatever reason.
pub(crate) async fn run(shared: &Arc<Shared>, connection: HubConnection) -> Ended {
    let mut config = Config::new(Side::Node);
    config.max_peer_streams = shared.config.limits.max_streams.max(1);
    let hub = connection.peer.ip();
    let (tunnel, events, driver) = io::connect(connection.transport, config);
    let mut driver = AbortOnDropHandle::new(tokio::spawn(driver));
    let outlook = shared.outlook.borrow().clone();
    let mut from_hub = FromHub::default();
    from_hub.take_platform(Vec::new(), hub);
    let rules = Rules::new(shared, &from_hub, &outlook);
    let mut session = Session {
        shared: Arc::clone(shared),
        stage: Arc::new(Stage {
            shared: Arc::clone(shared),
            rules: RwLock::new(Arc::new(rules)),
            grants: CustomerGrants::default(),
        }),
        tunnel,
        hub,
        local: connection.local.ip(),
        from_hub,
        streams: JoinSet::new(),
        cut: CancellationToken::new(),
        told: sharing_status(shared.unwilling()),
        welcome: None,
        gives_codes: false,
        codes_asked: shared.wishes.borrow().pairings,
        heartbeat_every: Duration::from_secs(300),
        since: shared.traffic.totals(),
        welcome_by: Some(Instant::now() + WELCOME_TIMEOUT),
        heartbeat_at: None,
        cut_at: None,
        observe_at: None,
        leaving: None,
        has_moved: false,
    };
    session.send(&ToHub::Hello(Box::new(hello(
        shared,
        shared.consent.statement().clone(),
        session.told.clone(),
    ))));
    let closed = session.live(events, &mut driver).await;
    session.end_streams().await;
    shared.pairing.refuse("the connection to the hub ended");
    let is_withdrawal_known = shared.stop() == Some(Stop::Withdraw)
        && session.leaving.is_some()
        && closed.by == Initiator::Peer
        && matches!(closed.code, CloseCode::Withdrawn | CloseCode::ConsentRequired);
    Ended {
        is_withdrawal_known,
        served: session.welcome.map(|at| at.elapsed()),
        has_moved: session.has_moved,
        closed,
    }
}

/// Connects only to tell that the owner withdrew. True: the hub knows now.
pub(crate) async fn deliver(
    hello: Hello,
    withdrawn: &Withdrawn,
    connection: HubConnection,
) -> Result<bool, Closed> {
    let (tunnel, mut events, driver) = io::connect(connection.transport, Config::new(Side::Node));
    let mut driver = AbortOnDropHandle::new(tokio::spawn(driver));
    let until = Instant::now() + WELCOME_TIMEOUT;
    // Control messages of a new tunnel always find room.
    let _ = tunnel.send_control(ToHub::Hello(Box::new(hello)).encode());
    let mut is_told = false;
    loop {
        tokio::select! {
            closed = &mut driver => {
                let closed = closed.unwrap_or_else(|_| lost("the driver failed"));
                let knows = matches!(closed.code, CloseCode::Withdrawn | CloseCode::ConsentRequired);
                return match closed.by {
                    Initiator::Peer if knows => Ok(true),
                    Initiator::Peer if !closed.code.is_retryable() => Err(closed),
                    _ => Ok(false),
                };
            }
            Some(event) = events.next() => match event {
                io::Event::Control(message) if !is_told => {
                    if let Ok(Some(ToNode::Welcome(_))) = ToNode::decode(&message) {
                        is_told = true;
                        let _ = tunnel.send_control(ToHub::Withdraw(withdrawn.message()).encode());
                    }
                }
                io::Event::Incoming(incoming) => {
                    incoming.reject(iploop_protocol::codes::ResetCode::Paused, NotSharing::Withdrawn.as_str());
                }
                _ => {}
            },
            () = sleep_until(until) => {
                tunnel.close(CloseCode::Withdrawn, None, "the owner withdrew");
                let _ = driver.await;
                return Ok(false);
            }
        }
    }
}

/// The registration of this device.
pub(crate) fn hello(
    shared: &Shared,
    consent: iploop_protocol::control::ConsentStatement,
    status: SharingStatus,
) -> Hello {
    let net = shared
        .outlook
        .borrow()
        .view
        .as_ref()
        .and_then(|view| view.network);
    Hello {
        versions: vec![VERSION],
        agent: agent(),
        partner_key: shared.config.partner_key.reveal().to_owned(),
        device: DeviceFacts {
            id: shared.identity.id.clone(),
            secret: shared.identity.secret.clone(),
            os: shared.config.device_type.as_str().to_owned(),
            net: net.map(|kind| kind.as_str().to_owned()),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            app_id: shared.config.app_id.clone(),
            app_version: shared.config.app_version.clone(),
        },
        consent,
        capabilities: vec![capability::UDP.to_owned(), capability::WISH.to_owned()],
        max_streams: shared.config.limits.max_streams.max(1),
        test_allow: shared
            .test_allow
            .iter()
            .map(|address| address.to_string())
            .collect(),
        status,
    }
}

/// Name and version of this library.
pub(crate) fn agent() -> String {
    concat!("iploop-node/", env!("CARGO_PKG_VERSION")).to_owned()
}

pub(crate) fn sharing_status(why_not: Option<NotSharing>) -> SharingStatus {
    SharingStatus {
        sharing: why_not.is_none(),
        reason: why_not.map(|reason| reason.as_str().to_owned()),
    }
}

struct Session {
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    tunnel: Tunnel,
    hub: std::net::IpAddr,
    local: std::net::IpAddr,
    from_hub: FromHub,
    streams: JoinSet<()>,
    /// Ends the streams of now; those that come later get a new one.
    cut: CancellationToken,
    /// What the hub believes.
    told: SharingStatus,
    welcome: Option<Instant>,
    /// Whether the hub gives pairing codes, and how many of those asked for it was asked for.
    gives_codes: bool,
    codes_asked: u64,
    heartbeat_every: Duration,
    since: Totals,
    welcome_by: Option<Instant>,
    heartbeat_at: Option<Instant>,
    cut_at: Option<Instant>,
    observe_at: Option<Instant>,
    /// The way out: what is awaited, and until when.
    leaving: Option<(Leaving, Instant)>,
    has_moved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// For open streams to finish.
    Drain,
    /// For the hub to confirm the withdrawal.
    Withdraw,
    /// For the driver to end.
    Closed,
}

impl Session {
    async fn live(
        &mut self,
        mut events: Events,
        driver: &mut (impl Future<Output = Result<Closed, tokio::task::JoinError>> + Unpin),
    ) -> Closed {
        let mut wishes = self.shared.wishes.subscribe();
        let mut outlook = self.shared.outlook.subscribe();
        let shared = Arc::clone(&self.shared);
        let mut pace = pin!(shared.traffic.pace());
        let mut has_events = true;
        let mut timer = pin!(sleep_until(Instant::now()));
        // What changed while we connected.
        self.follow();
        loop {
            let next = self.next_deadline();
            if let Some(next) = next.filter(|next| timer.deadline() != *next) {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                closed = &mut *driver => {
                    // What the hub said before it closed is still to be told.
                    while let Some(event) = events.next().await {
                        if let io::Event::Control(message) = event {
                            self.control(&message);
                        }
                    }
                    return closed.unwrap_or_else(|_| lost("the driver failed"));
                }
                event = events.next(), if has_events => match event {
                    Some(io::Event::Incoming(incoming)) => self.incoming(incoming),
                    Some(io::Event::Control(message)) => self.control(&message),
                    Some(io::Event::Draining { grace }) => {
                        tracing::debug!(grace_s = grace.as_secs(), "the hub takes no new streams");
                    }
                    None => has_events = false,
                },
                Some(_) = self.streams.join_next() => {}
                changed = wishes.changed() => if changed.is_ok() { self.follow() },
                changed = outlook.changed() => if changed.is_ok() { self.follow() },
                // Never done.
                () = &mut pace => {}
                () = &mut timer, if next.is_some() => self.deadline(Instant::now()),
            }
        }
    }

    /// The streams have seen that the tunnel is gone; what they still do takes no time.
    async fn end_streams(&mut self) {
        self.cut.cancel();
        let ended = async { while self.streams.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
    }

    fn incoming(&mut self, incoming: Incoming) {
        // What goes to a hub on this machine leaves by no uplink.
        if self.observe_at.is_none() && !self.local.is_loopback() {
            self.observe_at = Some(Instant::now() + OBSERVE_EVERY);
        }
        // Bounded: the tunnel refuses streams beyond `max_peer_streams` itself.
        self.streams
            .spawn(serve(incoming, Arc::clone(&self.stage), self.cut.clone()));
    }

    fn control(&mut self, message: &[u8]) {
        match ToNode::decode(message) {
            Ok(Some(ToNode::Welcome(welcome))) => self.welcome(*welcome),
            Ok(Some(ToNode::Policy(update))) => self.policy(Some(update)),
            Ok(Some(ToNode::Grants(update))) => self.stage.grants.take(&update),
            Ok(Some(ToNode::Notice(Notice { code, message }))) => {
                self.shared.tell(Event::Notice { code, message });
            }
            Ok(Some(ToNode::Pairing(pairing))) => self.shared.pairing.answer(&pairing),
            Ok(Some(ToNode::Wish(OwnersWish { paused }))) => self.wish(paused),
            // Of a later version.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the hub sends what is no message");
                self.close(CloseCode::Malformed, "not a control message");
            }
        }
    }

    fn welcome(&mut self, welcome: Welcome) {
        if self.welcome.is_some() {
            return self.close(CloseCode::Unexpected, "welcomed twice");
        }
        if welcome.version != VERSION {
            return self.close(CloseCode::Version, "the hub chose a version that was not offered");
        }
        self.welcome = Some(Instant::now());
        self.welcome_by = None;
        self.heartbeat_every = Duration::from_secs(u64::from(welcome.heartbeat_s).clamp(10, 3600));
        self.heartbeat_at = Some(Instant::now() + self.heartbeat_every);
        self.from_hub.public_ip = welcome.public_ip;
        self.from_hub.take_platform(welcome.platform_addresses, self.hub);
        let node_id = welcome.node_id;
        *self.shared.facts.lock() = HubFacts {
            node_id: Some(node_id.clone()),
            public_ip: welcome.public_ip,
        };
        self.shared.tell(Event::Connected {
            node_id,
            public_ip: welcome.public_ip,
        });
        self.gives_codes = welcome.capabilities.iter().any(|can| can == capability::PAIRING);
        self.wish(welcome.paused);
        self.policy(welcome.policy);
        self.shared.set_link(Link::Connected);
        self.follow();
    }

    fn policy(&mut self, update: Option<PolicyUpdate>) {
        let version = self.from_hub.take_policy(update);
        self.renew_rules();
        self.shared.tell(Event::Policy { version });
    }

    /// The owner's wish from afar. Heard as every other wish is: by [`Session::follow`].
    fn wish(&self, paused: bool) {
        let is_new = self
            .shared
            .wishes
            .send_if_modified(|wishes| std::mem::replace(&mut wishes.paused_from_afar, paused) != paused);
        if is_new {
            self.shared.announce();
        }
    }

    /// Asks for the pairing code that the app asked for.
    fn pair(&mut self) {
        let asked = self.shared.wishes.borrow().pairings;
        if self.welcome.is_none() || asked == self.codes_asked {
            return;
        }
        self.codes_asked = asked;
        if self.gives_codes {
            self.send(&ToHub::Pair);
        } else {
            self.shared.pairing.refuse("this hub gives no pairing codes");
        }
    }

    fn renew_rules(&self) {
        let outlook = self.shared.outlook.borrow().clone();
        let rules = Rules::new(&self.shared, &self.from_hub, &outlook);
        *self.stage.rules.write() = Arc::new(rules);
    }

    /// Does what the app's wishes and the device's state ask for now.
    fn follow(&mut self) {
        match self.shared.stop() {
            Some(Stop::Withdraw) => return self.withdraw(),
            Some(Stop::Shutdown(grace)) => return self.drain(grace),
            None => {}
        }
        let outlook = self.shared.outlook.borrow().clone();
        let is_ours = |view: &crate::surroundings::View| {
            self.local.is_loopback() || view.facts.interfaces.contains(&self.local)
        };
        if outlook.view.as_deref().is_some_and(|view| !is_ours(view)) {
            self.has_moved = true;
            return self.close(CloseCode::Done, "the network changed");
        }
        self.renew_rules();
        self.pair();
        let why_not = self.shared.unwilling();
        self.cut_at = match why_not {
            None => None,
            Some(_) if self.streams.is_empty() => None,
            Some(_) => self.cut_at.or(Some(Instant::now() + PAUSE_GRACE)),
        };
        let status = sharing_status(why_not);
        if self.welcome.is_some() && status != self.told {
            self.send(&ToHub::Status(status.clone()));
            self.told = status;
        }
    }

    fn drain(&mut self, grace: Duration) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some((Leaving::Drain, Instant::now() + grace));
        self.tunnel.drain(grace);
        self.leave_if_drained();
    }

    fn withdraw(&mut self) {
        if matches!(self.leaving, Some((Leaving::Withdraw | Leaving::Closed, _))) {
            return;
        }
        self.cut.cancel();
        if self.welcome.is_none() {
            // The hub does not know us yet: it is told by a connection made for that.
            return self.close(CloseCode::Withdrawn, "the owner withdrew");
        }
        self.leaving = Some((Leaving::Withdraw, Instant::now() + WITHDRAW_TIMEOUT));
        if let Ok(crate::state::OwnersWord::Withdrawn(withdrawn)) = self.shared.state.consent() {
            self.send(&ToHub::Withdraw(withdrawn.message()));
        } else {
            self.close(CloseCode::Withdrawn, "the owner withdrew");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.and_then(|(leaving, until)| match leaving {
            Leaving::Drain => Some(until.min(Instant::now() + DRAIN_STEP)),
            Leaving::Withdraw => Some(until),
            Leaving::Closed => None,
        });
        [
            self.welcome_by,
            self.heartbeat_at,
            self.cut_at,
            self.observe_at,
            leaving,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn deadline(&mut self, now: Instant) {
        if self.welcome_by.is_some_and(|at| now >= at) {
            self.welcome_by = None;
            self.close(CloseCode::HandshakeTimeout, "no welcome in time");
        }
        if self.heartbeat_at.is_some_and(|at| now >= at) {
            self.heartbeat_at = Some(now + self.heartbeat_every);
            let heartbeat = self.heartbeat();
            self.send(&ToHub::Heartbeat(heartbeat));
            if self.shared.consent.check_current(self.shared.now()).is_err() {
                self.close(CloseCode::ConsentRequired, "the consent has lasted its time");
            }
        }
        if self.observe_at.is_some_and(|at| now >= at) {
            let seen = self.tunnel.delivery();
            self.shared
                .traffic
                .update_uplink(|uplink| uplink.observe(now, seen));
            self.observe_at = (!self.streams.is_empty()).then_some(now + OBSERVE_EVERY);
        }
        if self.cut_at.is_some_and(|at| now >= at) {
            self.cut_at = None;
            self.cut.cancel();
            self.cut = CancellationToken::new();
        }
        match self.leaving {
            Some((Leaving::Drain, until)) if now >= until => self.leave(),
            Some((Leaving::Drain, _)) => self.leave_if_drained(),
            Some((Leaving::Withdraw, until)) if now >= until => {
                self.close(CloseCode::Withdrawn, "the owner withdrew");
            }
            _ => {}
        }
    }

    /// The streams' tasks are done and what they wrote is sent.
    fn leave_if_drained(&mut self) {
        if self.streams.is_empty() && self.tunnel.stream_count() == 0 {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.cut.cancel();
        self.close(CloseCode::ShuttingDown, "the device stops sharing");
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.leaving = Some((Leaving::Closed, Instant::now()));
        self.cut_at = None;
        self.heartbeat_at = None;
        self.observe_at = None;
        self.tunnel.close(code, None, reason);
    }

    fn heartbeat(&self) -> Heartbeat {
        let totals = self.shared.traffic.totals();
        let since = &self.since;
        Heartbeat {
            bytes_up: totals.up.saturating_sub(since.up),
            bytes_down: totals.down.saturating_sub(since.down),
            streams: totals.served.saturating_sub(since.served),
            refused: totals
                .refused
                .iter()
                .map(|(code, count)| {
                    let before = since.refused.get(code).copied().unwrap_or(0);
                    ((*code).to_owned(), count.saturating_sub(before))
                })
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }

    fn send(&self, message: &ToHub) {
        if self.tunnel.send_control(message.encode()).is_err() {
            tracing::debug!("the hub does not read its control messages");
        }
    }
}

fn lost(reason: &str) -> Closed {
    Closed {
        code: CloseCode::Internal,
        by: Initiator::Local,
        reason: reason.to_owned(),
        retry_after: None,
    }
}
