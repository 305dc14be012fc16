//! One sticky session: which exit it holds on to, and until when.

mod heard;
mod visit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::exits::{Exits, OrElse, Preference, Presence};
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_platform::sticky::{HeldExit, LiveSession, StickySession as Kept};
use iploop_protocol::targeting::{Failover, RotateOn, Targeting};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub(super) use self::heard::Question;
pub(crate) use self::visit::{Turn, Visit};

/// How long a session that was made ahead waits for its first use.
const UNUSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long it is remembered which address an ended session had: who goes on under its name is told of another one.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// One sticky session of an account.
pub(super) struct StickySession {
    pub(super) account: AccountId,
    pub(super) name: Arc<str>,
    pub(super) state: Mutex<State>,
    /// Held by the request that looks for the session's exit.
    choosing: Semaphore,
    /// Held by the request that asks what other gateways know of it.
    pub(super) looking: tokio::sync::Mutex<()>,
}

/// What a session shall do, as its latest request says.
#[derive(Clone)]
pub(super) struct Terms {
    targeting: Arc<Targeting>,
    lifetime: Duration,
    idle: Option<Duration>,
    rotate: RotateOn,
    failover: Failover,
}

pub(super) struct State {
    terms: Terms,
    key: Option<ApiKeyId>,
    created: Timestamp,
    used: Option<Timestamp>,
    hold: Option<Hold>,
    /// The exit that was given up on purpose: the next one is another, if there is one.
    left: Option<IpAddr>,
    /// The exit that the customer heard of last.
    told: Option<IpAddr>,
    /// This life is over: the next request begins another.
    is_over: bool,
    /// Read back after a restart, and its exit not asked since.
    is_restored: bool,
    /// Counts the exits: who was on the way through an earlier one does not bring it back.
    exits: u64,
    /// Requests and tunnels that run.
    running: u32,
    requests: u64,
    bytes_up: u64,
    bytes_down: u64,
    rotations: u64,
    /// Waits to be written down.
    pub(super) is_dirty: bool,
    /// Ended by hand: nothing of it is written any more.
    pub(super) is_deleted: bool,
    written: Option<Timestamp>,
    /// It is asked what other gateways know of it, and no other one changed it since.
    pub(super) is_known: bool,
    /// How often it was made unknown.
    forgotten: u64,
    /// Waits to be told to other gateways …
    pub(super) is_untold: bool,
    /// … and is another than they know.
    pub(super) has_news: bool,
}

/// The exit that a session holds on to.
struct Hold {
    node: NodeId,
    ip: IpAddr,
    country: Option<String>,
    city: Option<String>,
    asn: Option<u32>,
    began: Timestamp,
}

impl Terms {
    /// None without a sticky session.
    pub(super) fn of(targeting: &Arc<Targeting>) -> Option<Self> {
        let sticky = targeting.rotation().sticky()?;
        Some(Self {
            targeting: Arc::clone(targeting),
            lifetime: sticky.lifetime,
            idle: sticky.idle,
            rotate: sticky.rotate,
            failover: sticky.failover,
        })
    }
}

impl StickySession {
    pub(super) fn new(account: AccountId, name: Arc<str>, terms: Terms, now: Timestamp) -> Self {
        Self::in_state(account, name, State::new(terms, now))
    }

    fn in_state(account: AccountId, name: Arc<str>, state: State) -> Self {
        Self {
            account,
            name,
            state: Mutex::new(state),
            choosing: Semaphore::new(1),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// As it was written down. The idle clock begins anew: nobody could use it meanwhile.
    pub(super) fn restored(kept: &Kept, terms: Terms, now: Timestamp) -> Self {
        let hold = kept.exit.as_ref().map(Hold::of);
        let state = State {
            key: kept.api_key,
            created: kept.created_at,
            used: match (kept.last_used_at, terms.idle) {
                (Some(_), Some(_)) => Some(now),
                (used, _) => used,
            },
            is_restored: hold.is_some(),
            // As `ends_at` says it of a life that was over.
            is_over: hold.is_none() && kept.last_used_at == Some(kept.expires_at),
            hold,
            left: kept.left_ip,
            told: kept.told_ip,
            requests: kept.requests,
            bytes_up: kept.bytes_up,
            bytes_down: kept.bytes_down,
            rotations: kept.rotations,
            written: Some(now),
            ..State::new(terms, now)
        };
        Self::in_state(kept.account, kept.name.as_str().into(), state)
    }

    /// As another gateway wrote it down: it is in use there, if anywhere.
    pub(super) fn of_another(kept: &Kept, terms: Terms, now: Timestamp) -> Self {
        let session = Self::restored(kept, terms, now);
        {
            let mut state = session.state.lock();
            state.used = kept.last_used_at;
            (state.is_restored, state.is_known) = (false, true);
        }
        session
    }

    /// As the customer may see it; none once it has ended.
    pub(super) fn view(&self, exits: &dyn Exits, now: Timestamp) -> Option<LiveSession> {
        let mut state = self.state.lock();
        state.bring_up(now);
        if state.follows_address() && state.has_moved(exits) {
            state.end();
        }
        if !state.is_live(now) {
            return None;
        }
        let terms = &state.terms;
        let expires_at = match &state.hold {
            Some(hold) => hold.began.plus(terms.lifetime),
            None => state.ends_at(),
        };
        let idle_until = match (terms.idle, state.used) {
            (Some(idle), Some(used)) if state.running == 0 => Some(used.plus(idle)),
            _ => None,
        };
        Some(LiveSession {
            session: state.kept(self),
            expires_at,
            idle_until,
            running: state.running,
        })
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        state.bring_up(now);
        state.is_live(now) || state.running > 0
    }

    pub(super) fn ends_at(&self) -> Timestamp {
        self.state.lock().ends_at()
    }

    /// It has ended, nobody is in it, and nobody would be surprised by another exit under its name.
    pub(super) fn may_be_forgotten(&self, now: Timestamp) -> bool {
        let state = self.state.lock();
        state.running == 0 && state.forget_at() <= now
    }

    /// It was used since it was written down, and that is at least `age` ago.
    pub(super) fn is_stale(&self, age: Duration, now: Timestamp) -> bool {
        let state = self.state.lock();
        let is_old = |written| now.since(written) >= age && state.used.is_some_and(|used| used >= written);
        state.written.is_some_and(is_old)
    }

    /// What is to be written of it; none if it was ended by hand.
    pub(super) fn take_written(&self, now: Timestamp) -> Option<Kept> {
        let mut state = self.state.lock();
        state.is_dirty = false;
        if state.is_deleted {
            return None;
        }
        state.written = Some(now);
        Some(state.kept(self))
    }

    /// What is to be told of it to other gateways, and whether they know another; none if it was ended by hand.
    pub(super) fn take_told(&self) -> Option<(Kept, bool)> {
        let mut state = self.state.lock();
        state.is_untold = false;
        let has_news = std::mem::take(&mut state.has_news);
        (!state.is_deleted).then(|| (state.kept(self), has_news))
    }
}

impl Hold {
    fn of(exit: &HeldExit) -> Self {
        Self {
            node: exit.node,
            ip: exit.ip,
            country: exit.country.clone(),
            city: exit.city.clone(),
            asn: exit.asn,
            began: exit.since,
        }
    }
}

impl State {
    fn new(terms: Terms, now: Timestamp) -> Self {
        Self {
            terms,
            key: None,
            created: now,
            used: None,
            hold: None,
            left: None,
            told: None,
            is_over: false,
            is_restored: false,
            exits: 0,
            running: 0,
            requests: 0,
            bytes_up: 0,
            bytes_down: 0,
            rotations: 0,
            is_dirty: false,
            is_deleted: false,
            written: None,
            is_known: false,
            forgotten: 0,
            is_untold: false,
            has_news: false,
        }
    }

    /// Goes on as another gateway left it. The requests that run here, and what they want of it, stay.
    fn adopt(&mut self, kept: &Kept, now: Timestamp) {
        let is_same = match (&self.hold, &kept.exit) {
            (Some(hold), Some(exit)) => hold.ip == exit.ip,
            (None, None) => true,
            _ => false,
        };
        self.hold = kept.exit.as_ref().map(Hold::of);
        self.exits += u64::from(!is_same);
        (self.left, self.told) = (kept.left_ip, kept.told_ip);
        (self.created, self.key) = (kept.created_at, self.key.or(kept.api_key));
        (self.is_restored, self.is_over) = (false, false);
        self.requests = self
            .requests
            .max(kept.requests.saturating_add(self.running.into()));
        self.bytes_up = self.bytes_up.max(kept.bytes_up);
        self.bytes_down = self.bytes_down.max(kept.bytes_down);
        self.rotations = self.rotations.max(kept.rotations);
        self.bring_up(now);
        if self.is_over && self.running > 0 {
            self.go_on_anew(now);
        }
    }

    /// Another gateway ended it by hand.
    fn end_elsewhere(&mut self, now: Timestamp) {
        self.end();
        if self.running > 0 {
            self.go_on_anew(now);
        }
    }

    /// A new life begins with the requests that run.
    fn go_on_anew(&mut self, now: Timestamp) {
        let running = self.running;
        self.begin_anew(now);
        self.used = Some(now);
        self.requests = running.into();
    }

    fn has_exit(&self) -> bool {
        self.hold.is_some()
    }

    /// The device that it holds on to, if its address is this one.
    pub(super) fn exit_at(&self, ip: IpAddr) -> Option<NodeId> {
        let hold = self.hold.as_ref().filter(|hold| hold.ip == ip)?;
        Some(hold.node)
    }

    /// A request enters; whether this is worth writing down.
    pub(super) fn enter(&mut self, terms: &Terms, key: ApiKeyId, now: Timestamp) -> bool {
        self.bring_up(now);
        if !self.is_live(now) {
            self.end();
        }
        if self.is_over {
            self.begin_anew(now);
        }
        let is_news =
            self.terms.targeting != terms.targeting || self.key != Some(key) || self.written.is_none();
        self.terms.clone_from(terms);
        self.key = Some(key);
        self.used = Some(now);
        self.running += 1;
        self.requests += 1;
        is_news
    }

    /// Made ahead by the API: false if it is live already.
    pub(super) fn make(&mut self, terms: &Terms, now: Timestamp) -> bool {
        self.bring_up(now);
        if self.is_live(now) {
            return false;
        }
        self.begin_anew(now);
        self.terms.clone_from(terms);
        true
    }

    /// Lets go of an exit whose time is over.
    fn bring_up(&mut self, now: Timestamp) {
        let Some(hold) = &self.hold else { return };
        let is_outlived = now.since(hold.began) >= self.terms.lifetime;
        let is_idle = self.running == 0
            && matches!((self.terms.idle, self.used), (Some(idle), Some(used)) if now.since(used) >= idle);
        match self.terms.rotate {
            _ if !is_outlived && !is_idle => {}
            RotateOn::Clock => {
                self.give_up();
            }
            _ => self.end(),
        }
    }

    /// Lets go of the exit so that the next is another one.
    pub(super) fn give_up(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.left = Some(hold.ip);
            self.exits += 1;
            self.is_restored = false;
        }
    }

    /// Ends this life of the session. What the customer was told last is remembered for a while.
    pub(super) fn end(&mut self) {
        self.hold = None;
        self.left = None;
        self.is_over = true;
        self.is_restored = false;
        self.exits += 1;
    }

    fn begin_anew(&mut self, now: Timestamp) {
        self.created = now;
        self.used = None;
        self.hold = None;
        self.left = None;
        self.is_over = false;
        (self.requests, self.bytes_up, self.bytes_down, self.rotations) = (0, 0, 0, 0);
    }

    fn is_live(&self, now: Timestamp) -> bool {
        !self.is_over && (self.running > 0 || now < self.ends_at())
    }

    /// When it ends unless it is used.
    fn ends_at(&self) -> Timestamp {
        let Terms {
            lifetime,
            idle,
            rotate,
            ..
        } = self.terms;
        let used = self.used.unwrap_or(self.created);
        match &self.hold {
            _ if self.is_over => used,
            Some(hold) if rotate != RotateOn::Clock => {
                let outlived = hold.began.plus(lifetime);
                idle.map_or(outlived, |idle| outlived.min(used.plus(idle)))
            }
            None if self.used.is_none() => self.created.plus(UNUSED_FOR),
            // The clock brings a new exit, not the end: that comes when a whole turn of it goes by unused.
            _ if rotate == RotateOn::Clock => used.plus(lifetime * 2),
            _ => used.plus(lifetime),
        }
    }

    /// Nothing of it has to be known any more.
    fn forget_at(&self) -> Timestamp {
        match self.told {
            Some(_) => self.ends_at().plus(REMEMBERED_FOR),
            None => self.ends_at(),
        }
    }

    fn follows_address(&self) -> bool {
        self.terms.rotate == RotateOn::IpChange
    }

    /// The device is there, with another address than this session's.
    fn has_moved(&self, exits: &dyn Exits) -> bool {
        self.hold
            .as_ref()
            .is_some_and(|hold| matches!(exits.presence(hold.node, hold.ip), Presence::Moved(_)))
    }

    fn preference(&self, failover: Option<Failover>) -> Option<Preference> {
        let hold = self.hold.as_ref()?;
        let or_else = match (failover, hold.asn) {
            (Some(Failover::Any), _) => OrElse::Any,
            (Some(Failover::SameAsn), Some(asn)) => OrElse::SameAsn(asn),
            // The network of the exit is not known: only its own address is certain to be in it.
            (Some(Failover::SameAsn), None) | (Some(Failover::SameIp | Failover::None) | None, _) => {
                OrElse::SameIp
            }
        };
        Some(Preference {
            node: hold.node,
            ip: hold.ip,
            or_else,
        })
    }

    fn kept(&self, session: &StickySession) -> Kept {
        Kept {
            account: session.account,
            name: session.name.to_string(),
            api_key: self.key,
            targeting: self.terms.targeting.to_string(),
            exit: self.hold.as_ref().map(|hold| HeldExit {
                node: hold.node,
                ip: hold.ip,
                country: hold.country.clone(),
                city: hold.city.clone(),
                asn: hold.asn,
                since: hold.began,
            }),
            left_ip: self.left,
            told_ip: self.told,
            created_at: self.created,
            last_used_at: self.used,
            expires_at: self.ends_at(),
            forget_at: self.forget_at(),
            requests: self.requests,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            rotations: self.rotations,
        }
    }
}
