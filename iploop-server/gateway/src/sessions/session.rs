//! One sticky session, and one request within it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::exits::{Exit, Exits, OrElse, Preference, Presence};
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_platform::sticky::{HeldExit, LiveSession, StickySession as Kept};
use iploop_protocol::targeting::{Failover, RotateOn, Targeting};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Inner;

/// The word in place of a session's name when the customer hears of another exit than before.
const ROTATED: &str = "rotated";

/// How long a session that was made ahead waits for its first use.
const UNUSED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long it is remembered which address an ended session had: who goes on under its name is told of another one.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// How often a request looks whether the exit of its session is back. Less is not felt beside a device's way back.
const RETURN_LOOK: Duration = Duration::from_millis(100);

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

/// One request within a sticky session. While it lives the session is in use.
pub(crate) struct Visit {
    pub(super) inner: Arc<Inner>,
    pub(super) session: Arc<StickySession>,
    pub(super) terms: Terms,
    /// [`State::exits`] when this request was given its exit.
    exits: AtomicU64,
    /// Its exit is to be given up, once it is known what that is.
    gives_up: AtomicBool,
}

/// What a request of a session has to do about its exit.
pub(crate) enum Turn<'a> {
    /// Ask for this one and no other.
    Held(Preference),
    /// Choose one; others of the session wait until this is dropped.
    Choose {
        /// What is to be replaced, and by whom.
        prefer: Option<Preference>,
        /// Not this one, if there is another.
        avoid: Option<IpAddr>,
        /// Keeps the others waiting.
        permit: SemaphorePermit<'a>,
    },
    /// Another request still chooses, and the deadline is over.
    TimedOut,
    /// Its exit is connected to another process, which alone can serve it.
    Elsewhere,
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
        Self {
            account,
            name,
            state: Mutex::new(State::new(terms, now)),
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
        Self {
            account: kept.account,
            name: kept.name.as_str().into(),
            state: Mutex::new(state),
            choosing: Semaphore::new(1),
            looking: tokio::sync::Mutex::default(),
        }
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
            is_untold: false,
            has_news: false,
        }
    }

    /// Goes on as another gateway left it. The requests that run here, and what they want of it, stay.
    pub(super) fn adopt(&mut self, kept: &Kept, now: Timestamp) {
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
    pub(super) fn end_elsewhere(&mut self, now: Timestamp) {
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

    pub(super) fn has_exit(&self) -> bool {
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

impl Visit {
    pub(super) fn new(inner: Arc<Inner>, session: Arc<StickySession>, terms: Terms) -> Self {
        Self {
            inner,
            session,
            terms,
            exits: AtomicU64::new(0),
            gives_up: AtomicBool::new(false),
        }
    }

    /// The session's name, which its answers and usage records carry.
    pub(crate) fn name(&self) -> &str {
        &self.session.name
    }

    /// Gives the session's exit up: this request gets a new one.
    pub(crate) fn rotate(&self) {
        if self.session.state.lock().is_known || self.inner.together.get().is_none() {
            self.change(State::give_up);
        } else {
            self.gives_up.store(true, Ordering::Relaxed);
        }
    }

    /// The session's exit, or the right to choose it. After a restart a request waits a while for its session's exit.
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves the choice to the next in line.
    pub(crate) async fn turn(&self, exits: &dyn Exits, deadline: Instant) -> Turn<'_> {
        self.inner.learn(&self.session).await;
        if self.gives_up.swap(false, Ordering::Relaxed) {
            self.change(State::give_up);
        }
        self.leave_if_moved(exits);
        if let Some((held, is_restored)) = self.held() {
            if !is_restored {
                return Turn::Held(held);
            }
            self.await_return(exits, held, deadline).await;
            self.leave_if_moved(exits);
            if let Some((held, _)) = self.held() {
                return Turn::Held(held);
            }
        }
        self.choose(None, deadline).await
    }

    /// What to do now that this exit is gone: one request of the session looks for the next one, the others wait for it.
    ///
    /// # Cancel safety
    /// As [`Visit::turn`].
    pub(crate) async fn replace(&self, gone: IpAddr, deadline: Instant) -> Turn<'_> {
        self.choose(Some(gone), deadline).await
    }

    async fn choose(&self, gone: Option<IpAddr>, deadline: Instant) -> Turn<'_> {
        let Ok(Ok(permit)) = timeout_at(deadline, self.session.choosing.acquire()).await else {
            return Turn::TimedOut;
        };
        if let Some(gone) = gone
            && self.is_elsewhere(gone).await
        {
            return Turn::Elsewhere;
        }
        let state = self.session.state.lock();
        self.exits.store(state.exits, Ordering::Relaxed);
        match state.preference(None) {
            // Whoever chose meanwhile chose for all.
            Some(held) if gone != Some(held.ip) => Turn::Held(held),
            Some(_) => Turn::Choose {
                prefer: state.preference(Some(self.terms.failover)),
                avoid: None,
                permit,
            },
            None => Turn::Choose {
                prefer: None,
                avoid: state.left,
                permit,
            },
        }
    }

    /// Notes the exit that serves this request; what the answer says about the session.
    pub(crate) fn opened(&self, exit: &Exit) -> String {
        let now = self.inner.now();
        let mut state = self.session.state.lock();
        // Who was given an exit that the session has left since is served by it, and brings it back for nobody.
        if state.exits == self.exits.load(Ordering::Relaxed) && !state.is_deleted {
            let before = state.hold.take();
            let is_same = before.as_ref().is_some_and(|hold| hold.ip == exit.ip);
            let is_news = !is_same || before.as_ref().is_some_and(|hold| hold.node != exit.node);
            let began = match &before {
                Some(hold) if is_same || self.terms.rotate != RotateOn::IpChange => hold.began,
                _ => now,
            };
            if !is_same {
                state.exits += 1;
                self.exits.store(state.exits, Ordering::Relaxed);
                let is_change = before.is_some() || state.left.is_some_and(|left| left != exit.ip);
                state.rotations += u64::from(is_change);
            }
            state.hold = match before {
                Some(hold) if !is_news => Some(hold),
                _ => Some(Hold {
                    node: exit.node,
                    ip: exit.ip,
                    country: exit.place.country.clone(),
                    city: exit.place.city.clone(),
                    asn: exit.place.asn,
                    began,
                }),
            };
            state.left = None;
            state.is_restored = false;
            state.is_over = false;
            if is_news {
                self.inner.mark(&self.session, &mut state);
            }
        }
        match state.told {
            Some(told) if told != exit.ip => ROTATED.to_owned(),
            _ => self.session.name.to_string(),
        }
    }

    /// The customer was told of this exit.
    pub(crate) fn told(&self, exit: IpAddr) {
        let mut state = self.session.state.lock();
        if state.told.replace(exit) != Some(exit) {
            self.inner.mark(&self.session, &mut state);
        }
    }

    /// Counts what a request of the session moved.
    pub(crate) fn moved(&self, bytes_up: u64, bytes_down: u64) {
        let mut state = self.session.state.lock();
        state.bytes_up = state.bytes_up.saturating_add(bytes_up);
        state.bytes_down = state.bytes_down.saturating_add(bytes_down);
    }

    /// The exit to ask for, if the session has one, and whether that is since before a restart.
    fn held(&self) -> Option<(Preference, bool)> {
        let state = self.session.state.lock();
        self.exits.store(state.exits, Ordering::Relaxed);
        Some((state.preference(None)?, state.is_restored))
    }

    fn leave_if_moved(&self, exits: &dyn Exits) {
        if self.terms.rotate == RotateOn::IpChange {
            let mut state = self.session.state.lock();
            if state.has_moved(exits) {
                state.end();
                state.go_on_anew(self.inner.now());
                self.inner.mark(&self.session, &mut state);
            }
        }
    }

    /// Waits until the exit is there or the grace after a restart is over, but leaves a third of the time for another one.
    async fn await_return(&self, exits: &dyn Exits, held: Preference, deadline: Instant) {
        let now = Instant::now();
        let until = self
            .inner
            .grace_end
            .min(now + deadline.saturating_duration_since(now) * 2 / 3);
        while exits.presence(held.node, held.ip) == Presence::Gone {
            let now = Instant::now();
            if now >= until {
                return;
            }
            sleep_until(until.min(now + RETURN_LOOK)).await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.session.state.lock();
        change(&mut state);
        self.inner.mark(&self.session, &mut state);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let now = self.inner.now();
        let mut state = self.session.state.lock();
        state.running = state.running.saturating_sub(1);
        state.used = Some(now);
    }
}
