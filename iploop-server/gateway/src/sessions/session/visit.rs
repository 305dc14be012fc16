//! One request within a sticky session: which exit it takes, and what it leaves for the next.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use iploop_platform::exits::{Exit, Exits, Preference, Presence};
use iploop_protocol::targeting::RotateOn;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::Inner;
use super::{Hold, State, StickySession, Terms};

/// The word in place of a session's name when the customer hears of another exit than before.
const ROTATED: &str = "rotated";

/// How often a request looks whether the exit of its session is back. Less is not felt beside a device's way back.
const RETURN_LOOK: Duration = Duration::from_millis(100);

/// One request within a sticky session. While it lives the session is in use.
pub(crate) struct Visit {
    pub(in super::super) inner: Arc<Inner>,
    pub(in super::super) session: Arc<StickySession>,
    pub(in super::super) terms: Terms,
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

impl Visit {
    pub(in super::super) fn new(inner: Arc<Inner>, session: Arc<StickySession>, terms: Terms) -> Self {
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
