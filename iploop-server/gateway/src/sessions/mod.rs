//! Which exit a request gets again, and which one it shall not get again (`docs/contracts.md`,
//! Credentials and targeting).
//!
//! A sticky session belongs to its account and holds on to one exit, by its public address first and its device second,
//! from its first use until its lifetime or its idle time ends. While one of its requests looks for an exit, the first or
//! the next, the others wait for it, so that a browser that opens six connections at once has one exit. What the customer
//! was told last is remembered: whatever brings another address, even the end of the session and a new one of its name,
//! is announced.
//!
//! Live sessions are bounded and never put out: see [`register`]. They outlive a restart: see [`keeper`]. Gateways that share
//! state know each other's: see [`together`].

mod keeper;
mod live;
mod register;
mod session;
mod table;
mod together;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::store::StickySessions;
use iploop_protocol::targeting::{SessionName, Sticky, Targeting};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::keeper::Keeper;
use self::register::{Full, Register};
use self::session::{State, StickySession, Terms};
use self::table::Table;
use self::together::Together;
use crate::answer::ProxyError;
use crate::config::GatewayConfig;

pub(crate) use self::session::{Turn, Visit};

/// The sticky sessions of this gateway, and the last exit of each key. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    register: Register,
    last_exits: Table<ApiKeyId, IpAddr>,
    keeper: Keeper,
    /// Set where other gateways know the sessions too.
    together: OnceLock<Together>,
    /// The wall clock at `started`: from there on time only goes forward.
    began: Timestamp,
    started: Instant,
    /// Until then requests wait for the exits of sessions from before a restart.
    grace_end: Instant,
}

impl Sessions {
    /// None yet, with the bounds of the configuration. Written to `store` as they come, if there is one.
    fn new(config: &GatewayConfig, now: Timestamp, store: Option<Arc<dyn StickySessions>>) -> Self {
        let started = Instant::now();
        let inner = Inner {
            register: Register::new(config.max_sessions, config.max_sessions_per_account),
            last_exits: Table::new(config.max_sessions),
            keeper: Keeper::new(store, config.max_sessions),
            together: OnceLock::new(),
            began: now,
            started,
            grace_end: started + config.session_grace,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Enters the session that a request asks for, which begins if there is none of its name; none without one.
    ///
    /// # Errors
    /// The account, or this gateway, has as many live ones as it may.
    pub(crate) fn visit(
        &self,
        account: AccountId,
        key: ApiKeyId,
        targeting: &Arc<Targeting>,
        client: IpAddr,
    ) -> Result<Option<Visit>, ProxyError> {
        let (Some(sticky), Some(terms)) = (targeting.rotation().sticky(), Terms::of(targeting)) else {
            return Ok(None);
        };
        let name = name_of(sticky, key, targeting, client);
        let inner = &self.inner;
        let now = inner.now();
        let make = || StickySession::new(account, Arc::clone(&name), terms.clone(), now);
        let entered = inner.register.enter(account, &name, now, make, |session| {
            let mut state = session.state.lock();
            if state.enter(&terms, key, now) {
                inner.mark(session, &mut state);
            }
            Arc::clone(session)
        });
        match entered {
            Ok(session) => Ok(Some(Visit::new(Arc::clone(inner), session, terms))),
            Err(Full::Gateway) => Err(ProxyError::Overloaded),
            Err(Full::Account(retry_after)) => Err(ProxyError::TooManySessions {
                limit: inner.register.max_per_account(),
                retry_after,
            }),
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

impl Inner {
    fn now(&self) -> Timestamp {
        self.began.plus(self.started.elapsed())
    }

    /// Has a session written down soon. Its state is locked by the caller.
    fn mark(&self, session: &Arc<StickySession>, state: &mut State) {
        self.mark_as(session, state, true);
    }

    /// The same where nothing changed but its counts.
    fn mark_use(&self, session: &Arc<StickySession>, state: &mut State) {
        self.mark_as(session, state, false);
    }

    fn mark_as(&self, session: &Arc<StickySession>, state: &mut State, is_news: bool) {
        if !state.is_dirty && !state.is_deleted {
            state.is_dirty = self.keeper.mark(session);
        }
        if let Some(together) = self.together.get() {
            together.mark(session, state, is_news);
        }
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("sessions", &self.inner.register.len())
            .finish_non_exhaustive()
    }
}

/// The name of a session: the customer's, or one that stays the same for key, targeting and client address.
fn name_of(sticky: &Sticky, key: ApiKeyId, targeting: &Targeting, client: IpAddr) -> Arc<str> {
    match &sticky.session {
        SessionName::Given(id) => id.as_str().into(),
        SessionName::Derived => {
            // Whoever makes two of these meet shares an exit with nobody but himself: sessions belong to accounts.
            let digest = Sha256::digest(format!("{key} {targeting} {}", client.to_canonical()));
            let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("auto-{digits}").into()
        }
    }
}

#[cfg(test)]
mod tests;
