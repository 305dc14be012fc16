//! Which exit a request gets again, and which one it shall not get again (DESIGN 4.2).
//!
//! A sticky session belongs to its account and holds on to one exit from its first use until its lifetime or its idle time
//! ends. While its first request is still looking for an exit, others of the same session wait for it, so that a browser
//! that opens six connections at once has one exit. The table is bounded: a session that was not used for longest is
//! forgotten first, as if it had ended.

mod table;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::exits::{Exit, OrElse, Preference};
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_protocol::targeting::{Failover, RotateOn, SessionName, Sticky, Targeting};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use self::table::Table;

/// The word in place of a session's name when its exit has changed.
const ROTATED: &str = "rotated";

/// The sticky sessions of this gateway, and the last exit of each key. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Table<(AccountId, Arc<str>), Arc<StickySession>>,
    last_exits: Table<ApiKeyId, IpAddr>,
}

/// One sticky session.
struct StickySession {
    name: Arc<str>,
    state: Mutex<State>,
    /// Held by the request that looks for the session's exit.
    choosing: Semaphore,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    /// The exit that was given up on purpose: the next one is another, if there is one.
    left: Option<IpAddr>,
    /// Whether a new exit is a change that has to be announced.
    changing: bool,
    /// Requests and tunnels that run.
    running: u32,
}

/// The exit that a session holds on to.
#[derive(Clone, Copy)]
struct Hold {
    node: NodeId,
    ip: IpAddr,
    asn: Option<u32>,
    began: Instant,
    used: Instant,
}

/// One request within a sticky session. While it lives the session is in use.
pub(crate) struct Visit {
    session: Arc<StickySession>,
    lifetime: Duration,
    idle: Option<Duration>,
    rotate: RotateOn,
    failover: Failover,
}

/// What a request of a session has to do about its exit.
pub(crate) enum Turn<'a> {
    /// Ask for this one.
    Held(Preference),
    /// Choose one; others of the session wait until this is dropped.
    Choose {
        /// Not this one, if there is another.
        avoid: Option<IpAddr>,
        /// Keeps the others waiting.
        _permit: SemaphorePermit<'a>,
    },
    /// Another request still chooses, and the deadline is over.
    TimedOut,
}

impl Sessions {
    /// Room for `max_sessions` sessions, and as many keys.
    pub fn new(max_sessions: usize) -> Self {
        let inner = Inner {
            sessions: Table::new(max_sessions),
            last_exits: Table::new(max_sessions),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Lets a session's next request have a new exit; false if there is no such session.
    pub fn rotate(&self, account: AccountId, session: &str) -> bool {
        match self
            .inner
            .sessions
            .get(&(account, session.into()), Instant::now())
        {
            Some(session) => session.state.lock().give_up(),
            None => false,
        }
    }

    /// Enters a session, which begins if there is none of this name.
    pub(crate) fn visit(&self, account: AccountId, name: Arc<str>, sticky: &Sticky, now: Instant) -> Visit {
        let make = || {
            Arc::new(StickySession {
                name: Arc::clone(&name),
                state: Mutex::default(),
                choosing: Semaphore::new(1),
            })
        };
        let session = self
            .inner
            .sessions
            .get_or_insert((account, Arc::clone(&name)), now, make);
        session.state.lock().running += 1;
        Visit {
            session,
            lifetime: sticky.lifetime,
            idle: sticky.idle,
            rotate: sticky.rotate,
            failover: sticky.failover,
        }
    }

    /// The address of the exit that a key used last.
    pub(crate) fn last_exit(&self, key: ApiKeyId, now: Instant) -> Option<IpAddr> {
        self.inner.last_exits.get(&key, now)
    }

    /// Notes the exit that a key uses.
    pub(crate) fn note_exit(&self, key: ApiKeyId, ip: IpAddr, now: Instant) {
        self.inner.last_exits.insert(key, now, ip);
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// The name of a session: the customer's, or one that stays the same for key, targeting and client address.
pub(crate) fn name_of(sticky: &Sticky, key: ApiKeyId, targeting: &Targeting, client: IpAddr) -> Arc<str> {
    match &sticky.session {
        SessionName::Given(id) => id.as_str().into(),
        SessionName::Derived => {
            // Whoever makes two of these meet shares an exit with nobody but himself: sessions belong to accounts.
            let mut hasher = DefaultHasher::new();
            (key, targeting, client).hash(&mut hasher);
            format!("auto-{:016x}", hasher.finish()).into()
        }
    }
}

impl Visit {
    /// Gives the session's exit up: this request gets a new one.
    pub(crate) fn rotate(&self) {
        self.session.state.lock().give_up();
    }

    /// The session's exit, or the right to choose it.
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves the choice to the next in line.
    pub(crate) async fn turn(&self, deadline: Instant) -> Turn<'_> {
        if let Some(held) = self.held(Instant::now()) {
            return Turn::Held(held);
        }
        let Ok(Ok(permit)) = timeout_at(deadline, self.session.choosing.acquire()).await else {
            return Turn::TimedOut;
        };
        // Whoever chose meanwhile chose for all.
        match self.held(Instant::now()) {
            Some(held) => Turn::Held(held),
            None => Turn::Choose {
                avoid: self.session.state.lock().left,
                _permit: permit,
            },
        }
    }

    /// Notes the exit that serves this request; what the answer says about the session.
    pub(crate) fn opened(&self, exit: &Exit, now: Instant) -> &str {
        let mut state = self.session.state.lock();
        let before = state.hold;
        let is_same = before.is_some_and(|hold| hold.ip == exit.ip);
        let changed = state.changing || (before.is_some() && !is_same);
        let restarts = !is_same && self.rotate == RotateOn::IpChange;
        let began = before.filter(|_| !restarts).map_or(now, |hold| hold.began);
        state.hold = Some(Hold {
            node: exit.node,
            ip: exit.ip,
            asn: exit.place.asn,
            began,
            used: now,
        });
        state.left = None;
        state.changing = false;
        if changed { ROTATED } else { &self.session.name }
    }

    /// The exit to ask for, if the session has one and has not ended.
    fn held(&self, now: Instant) -> Option<Preference> {
        let mut state = self.session.state.lock();
        let state = &mut *state;
        let hold = state.hold.as_mut()?;
        let outlived = now.duration_since(hold.began) >= self.lifetime;
        let was_idle = self
            .idle
            .is_some_and(|idle| now.duration_since(hold.used) >= idle);
        hold.used = now;
        // This request counts as running: another one beside it means that the session is in use.
        if outlived || (was_idle && state.running <= 1) {
            if self.rotate == RotateOn::Clock {
                state.give_up();
            } else {
                state.hold = None;
            }
            return None;
        }
        let hold = *hold;
        let or_else = match (self.failover, hold.asn) {
            (Failover::Any, _) => OrElse::Any,
            (Failover::SameAsn, Some(asn)) => OrElse::SameAsn(asn),
            // The network of the exit is not known: only its own address is certain to be in it.
            (Failover::SameAsn, None) | (Failover::SameIp | Failover::None, _) => OrElse::SameIp,
        };
        Some(Preference {
            node: hold.node,
            ip: hold.ip,
            or_else,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(hold) = &mut state.hold {
            hold.used = Instant::now();
        }
    }
}

impl State {
    /// Lets go of the exit so that the next is another one; false if there is none to let go of.
    fn give_up(&mut self) -> bool {
        match self.hold.take() {
            Some(hold) => {
                self.left = Some(hold.ip);
                self.changing = true;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iploop_platform::exits::Place;
    use std::net::Ipv4Addr;
    use tokio::time::advance;

    fn exit(last: u8) -> Exit {
        Exit {
            node: NodeId::new(),
            ip: Ipv4Addr::new(198, 51, 100, last).into(),
            place: Place {
                asn: Some(64500),
                ..Place::default()
            },
            net: None,
            os: None,
        }
    }

    fn sticky(parameters: &str) -> Sticky {
        Targeting::parse(parameters)
            .unwrap()
            .rotation()
            .sticky()
            .unwrap()
            .clone()
    }

    fn visit(sessions: &Sessions, account: AccountId, parameters: &str) -> Visit {
        sessions.visit(account, "a".into(), &sticky(parameters), Instant::now())
    }

    async fn held(visit: &Visit) -> Option<Preference> {
        match visit.turn(Instant::now()).await {
            Turn::Held(held) => Some(held),
            Turn::Choose { .. } => None,
            Turn::TimedOut => panic!("nobody else chooses"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_keeps_its_exit_for_its_lifetime_from_first_use() {
        let sessions = Sessions::new(100);
        let account = AccountId::new();
        let first = exit(1);
        assert_eq!(
            visit(&sessions, account, "session-a-lifetime-30s").opened(&first, Instant::now()),
            "a"
        );
        for _ in 0..2 {
            advance(Duration::from_secs(14)).await;
            let held = held(&visit(&sessions, account, "session-a-lifetime-30s"))
                .await
                .unwrap();
            assert_eq!(
                (held.node, held.ip, held.or_else),
                (first.node, first.ip, OrElse::Any)
            );
        }
        advance(Duration::from_secs(2)).await;
        let again = visit(&sessions, account, "session-a-lifetime-30s");
        assert_eq!(held(&again).await, None);
        assert_eq!(
            again.opened(&exit(2), Instant::now()),
            "a",
            "a session that has ended begins anew"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ends_a_session_that_nobody_uses() {
        let sessions = Sessions::new(100);
        let account = AccountId::new();
        let parameters = "session-a-idle-10s";
        let running = visit(&sessions, account, parameters);
        running.opened(&exit(1), Instant::now());
        advance(Duration::from_secs(60)).await;
        assert!(
            held(&visit(&sessions, account, parameters)).await.is_some(),
            "a tunnel runs all the time"
        );
        drop(running);
        advance(Duration::from_secs(11)).await;
        assert_eq!(held(&visit(&sessions, account, parameters)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn rotation_by_clock_and_by_demand_avoids_the_old_exit_and_says_so() {
        for (parameters, by_demand) in [
            ("session-a-rotate-time-lifetime-10s", false),
            ("session-a-rotate-manual", true),
        ] {
            let sessions = Sessions::new(100);
            let account = AccountId::new();
            visit(&sessions, account, parameters).opened(&exit(1), Instant::now());
            if by_demand {
                assert!(sessions.rotate(account, "a"));
                assert!(!sessions.rotate(account, "b") && !sessions.rotate(AccountId::new(), "a"));
            } else {
                advance(Duration::from_secs(10)).await;
            }
            let visit = visit(&sessions, account, parameters);
            let Turn::Choose { avoid, .. } = visit.turn(Instant::now()).await else {
                panic!("{parameters}")
            };
            assert_eq!(avoid, Some(exit(1).ip));
            assert_eq!(visit.opened(&exit(2), Instant::now()), "rotated");
            assert_eq!(visit.opened(&exit(2), Instant::now()), "a", "announced once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_exit_is_replaced_as_failover_says_and_announced() {
        let sessions = Sessions::new(100);
        for (failover, or_else) in [
            ("any", OrElse::Any),
            ("same-asn", OrElse::SameAsn(64500)),
            ("same-ip", OrElse::SameIp),
            ("none", OrElse::SameIp),
        ] {
            let account = AccountId::new();
            let parameters = format!("session-a-failover-{failover}");
            let visit = visit(&sessions, account, &parameters);
            visit.opened(&exit(1), Instant::now());
            assert_eq!(held(&visit).await.unwrap().or_else, or_else);
            assert_eq!(visit.opened(&exit(2), Instant::now()), "rotated");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_change_begins_a_new_session_only_where_that_was_asked() {
        for (parameters, lives_on) in [
            ("session-a-lifetime-20s", false),
            ("session-a-rotate-ip-change-lifetime-20s", true),
        ] {
            let sessions = Sessions::new(100);
            let account = AccountId::new();
            visit(&sessions, account, parameters).opened(&exit(1), Instant::now());
            advance(Duration::from_secs(15)).await;
            visit(&sessions, account, parameters).opened(&exit(2), Instant::now());
            advance(Duration::from_secs(15)).await;
            assert_eq!(
                held(&visit(&sessions, account, parameters)).await.is_some(),
                lives_on,
                "{parameters}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parallel_first_requests_share_one_exit() {
        let sessions = Sessions::new(100);
        let account = AccountId::new();
        let first = visit(&sessions, account, "session-a");
        let second = visit(&sessions, account, "session-a");
        let turn = first.turn(Instant::now()).await;
        assert!(matches!(turn, Turn::Choose { avoid: None, .. }));
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut waiting = Box::pin(second.turn(deadline));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        first.opened(&exit(1), Instant::now());
        drop(turn);
        assert!(matches!(waiting.await, Turn::Held(held) if held.ip == exit(1).ip));

        let other = AccountId::new();
        let first = visit(&sessions, other, "session-a");
        let _turn = first.turn(Instant::now()).await;
        let waiting = visit(&sessions, other, "session-a");
        assert!(matches!(waiting.turn(deadline).await, Turn::TimedOut));
    }

    #[test]
    fn a_derived_name_is_stable_and_differs_by_key_targeting_and_client() {
        let key = ApiKeyId::new();
        let name = |key, text: &str, client: &str| {
            let targeting = Targeting::parse(text).unwrap();
            name_of(&sticky(text), key, &targeting, client.parse().unwrap())
        };
        let one = name(key, "sesstype-sticky-country-US", "192.0.2.1");
        assert_eq!(one, name(key, "country-us-sesstype-sticky", "192.0.2.1"));
        assert_ne!(
            one,
            name(ApiKeyId::new(), "sesstype-sticky-country-US", "192.0.2.1")
        );
        assert_ne!(one, name(key, "sesstype-sticky-country-CA", "192.0.2.1"));
        assert_ne!(one, name(key, "sesstype-sticky-country-US", "192.0.2.2"));
        assert!(one.starts_with("auto-") && one.len() == 21);
        assert_eq!(&*name(key, "session-mine", "192.0.2.1"), "mine");
    }
}
