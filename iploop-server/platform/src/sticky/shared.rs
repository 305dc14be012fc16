//! Sticky sessions over several gateways: what each writes of its own, and reads of the others'.
//!
//! The last one who writes a session is right, and tells the others, who read it anew before their next request of it. A
//! session that is not written there is whatever this gateway knows of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StickySession;
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, NodeId};
use crate::presence::Presence;
use crate::shared::{Name, SealedNews, SealedState, SharedError, Topic};

/// How long it is remembered that a session was ended by hand: longer than one may live.
const ENDED_LASTS: Duration = Duration::from_secs(25 * 3600);
/// Longest time that a session is kept, and shortest.
const LASTS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(50 * 3600));
/// Sessions named in one message.
const NAMED_TOGETHER: usize = 500;

/// What is written of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharedSession {
    /// It is this.
    Lives(Box<StickySession>),
    /// It was ended by hand: the next request of its name begins another.
    Ended,
}

/// A session's account and name.
pub type SessionKey = (AccountId, String);

/// The sessions of all gateways that share state. Clones share one state.
#[derive(Clone)]
pub struct SharedSessions {
    state: SealedState,
    presence: Presence,
    clock: Arc<dyn Clock>,
}

impl SharedSessions {
    /// Over shared state, with `presence` for where devices are.
    pub fn new(state: SealedState, presence: Presence, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            presence,
            clock,
        }
    }

    /// What was written of a session last; none: nothing that is still known. Waits 250 ms at most.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn read(&self, account: AccountId, name: &str) -> Result<Option<SharedSession>, SharedError> {
        let read = self.state.read(name_of(account, name), self.clock.now()).await?;
        // What another version wrote and this one can't read is not known here.
        Ok(read.and_then(|read| serde_json::from_slice(&read).ok()))
    }

    /// The same of many, in their order.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn read_many(
        &self,
        sessions: &[SessionKey],
    ) -> Result<Vec<Option<SharedSession>>, SharedError> {
        let names: Vec<Name> = sessions
            .iter()
            .map(|(account, name)| name_of(*account, name))
            .collect();
        let read = self.state.read_many(&names, self.clock.now()).await?;
        let sessions = read.into_iter().map(|read| serde_json::from_slice(&read?).ok());
        Ok(sessions.collect())
    }

    /// Writes sessions, in place of what was written of them.
    ///
    /// # Errors
    /// The shared state is away: some may be written.
    pub async fn write(&self, sessions: &[(SessionKey, SharedSession)]) -> Result<(), SharedError> {
        let now = self.clock.now();
        let notes = sessions.iter().filter_map(|((account, name), session)| {
            let value = serde_json::to_vec(session).ok()?;
            Some((name_of(*account, name), value, lasts(session, now)))
        });
        self.state.keep(notes, now).await
    }

    /// Tells the other gateways which sessions changed.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn tell(&self, changed: &[SessionKey]) -> Result<(), SharedError> {
        for part in changed.chunks(NAMED_TOGETHER) {
            let message = serde_json::to_vec(part).unwrap_or_default();
            self.state.tell(Topic::Sessions, message).await?;
        }
        Ok(())
    }

    /// What other gateways tell from now on.
    pub fn news(&self) -> SessionNews {
        SessionNews(self.state.hear(Topic::Sessions))
    }

    /// Whether another process has this device: its sessions have their exit there, and not here.
    pub async fn is_elsewhere(&self, node: NodeId) -> bool {
        self.presence.elsewhere(node).await.is_some()
    }
}

impl fmt::Debug for SharedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSessions").finish_non_exhaustive()
    }
}

/// Which sessions other gateways changed.
#[derive(Debug)]
pub struct SessionNews(SealedNews);

/// What changed at other gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionsChanged {
    /// These.
    These(Vec<SessionKey>),
    /// Any may have.
    Any,
}

impl SessionNews {
    /// The next change; none: no more comes.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Option<SessionsChanged> {
        let message = self.0.next().await?;
        let these = message.and_then(|(_, message)| serde_json::from_slice(&message).ok());
        Some(these.map_or(SessionsChanged::Any, SessionsChanged::These))
    }
}

fn name_of(account: AccountId, name: &str) -> Name {
    Name::new("session", &format!("{account} {name}"))
}

fn lasts(session: &SharedSession, now: Timestamp) -> Duration {
    match session {
        SharedSession::Lives(session) => session.forget_at.since(now).clamp(LASTS.0, LASTS.1),
        SharedSession::Ended => ENDED_LASTS,
    }
}
