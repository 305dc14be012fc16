//! The sessions as the API shows and changes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::ids::AccountId;
use iploop_platform::sticky::{LiveSession, LiveSessions, SessionError};
use iploop_protocol::targeting::{SessionName, Targeting};

use super::register::Full;
use super::session::{State, StickySession, Terms};
use crate::gateway::Gateway;

#[async_trait]
impl LiveSessions for Gateway {
    fn sessions(&self, account: AccountId, after: Option<&str>, limit: u32) -> Vec<LiveSession> {
        let inner = &self.sticky().inner;
        let now = inner.now();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        inner
            .register
            .page(account, after, limit, |session| session.view(self.exits(), now))
    }

    fn session(&self, account: AccountId, name: &str) -> Option<LiveSession> {
        let inner = &self.sticky().inner;
        let session = inner.register.get(account, name)?;
        session.view(self.exits(), inner.now())
    }

    async fn sessions_now(&self, account: AccountId, after: Option<&str>, limit: u32) -> Vec<LiveSession> {
        self.sticky().learn_page(account, after, limit).await;
        self.sessions(account, after, limit)
    }

    async fn session_now(&self, account: AccountId, name: &str) -> Option<LiveSession> {
        let sessions = self.sticky();
        match sessions.inner.register.get(account, name) {
            Some(session) => {
                sessions.inner.learn(&session).await;
                session.view(self.exits(), sessions.inner.now())
            }
            None => {
                let elsewhere = sessions.elsewhere(account, name).await?;
                elsewhere.view(self.exits(), sessions.inner.now())
            }
        }
    }

    async fn create(
        &self,
        account: AccountId,
        targeting: Arc<Targeting>,
    ) -> Result<LiveSession, SessionError> {
        let sessions = self.sticky();
        let inner = &sessions.inner;
        let (name, terms) = named(&targeting).ok_or(SessionError::NotFound)?;
        sessions.take_in(account, &name).await;
        let now = inner.now();
        let make = || {
            let session = StickySession::new(account, Arc::clone(&name), terms.clone(), now);
            // So that it is made below like one that is remembered.
            session.state.lock().end();
            session
        };
        let made = inner.register.enter(account, &name, now, make, |session| {
            let mut state = session.state.lock();
            let is_made = state.make(&terms, now);
            if is_made {
                inner.mark(session, &mut state);
            }
            is_made.then(|| Arc::clone(session))
        });
        let session = match made {
            Ok(Some(session)) => session,
            Ok(None) => return Err(SessionError::Exists),
            Err(Full::Gateway) => return Err(SessionError::NoRoom),
            Err(Full::Account(retry_after)) => {
                let limit = u32::try_from(inner.register.max_per_account()).unwrap_or(u32::MAX);
                return Err(SessionError::TooMany { limit, retry_after });
            }
        };
        sessions.write().await?;
        session
            .view(self.exits(), inner.now())
            .ok_or(SessionError::NotFound)
    }

    async fn rotate(&self, account: AccountId, name: &str) -> Result<LiveSession, SessionError> {
        let sessions = self.sticky();
        let inner = &sessions.inner;
        sessions.take_in(account, name).await;
        let session = inner.register.get(account, name).ok_or(SessionError::NotFound)?;
        session
            .view(self.exits(), inner.now())
            .ok_or(SessionError::NotFound)?;
        {
            let mut state = session.state.lock();
            State::give_up(&mut state);
            inner.mark(&session, &mut state);
        }
        sessions.write().await?;
        session
            .view(self.exits(), inner.now())
            .ok_or(SessionError::NotFound)
    }

    async fn end(&self, account: AccountId, name: &str) -> Result<(), SessionError> {
        let sessions = self.sticky();
        let inner = &sessions.inner;
        sessions.take_in(account, name).await;
        self.session(account, name).ok_or(SessionError::NotFound)?;
        let session = inner
            .register
            .remove(account, name)
            .ok_or(SessionError::NotFound)?;
        inner.put_away(&session);
        Ok(sessions.write().await?)
    }

    async fn end_all(&self, account: AccountId, elsewhere: &[String]) -> Result<u64, SessionError> {
        let sessions = self.sticky();
        let inner = &sessions.inner;
        let now = inner.now();
        let mut live = 0;
        for session in inner.register.remove_all(account) {
            live += u64::from(session.view(self.exits(), now).is_some());
            inner.put_away(&session);
        }
        if let Some(together) = inner.together.get() {
            let kept = sessions.names_of(account).await?;
            let names: BTreeSet<&str> = elsewhere.iter().chain(&kept).map(String::as_str).collect();
            for name in names {
                inner.keeper.mark_ended(account, &name.into());
                together.mark_ended(account, name);
            }
        }
        sessions.write().await?;
        Ok(live)
    }
}

impl super::Inner {
    /// Ends a session that was taken out of the register, and its row.
    fn put_away(&self, session: &StickySession) {
        {
            let mut state = session.state.lock();
            state.end();
            state.is_deleted = true;
        }
        self.keeper.mark_ended(session.account, &session.name);
        if let Some(together) = self.together.get() {
            together.mark_ended(session.account, &session.name);
        }
    }
}

fn named(targeting: &Arc<Targeting>) -> Option<(Arc<str>, Terms)> {
    let terms = Terms::of(targeting)?;
    match &targeting.rotation().sticky()?.session {
        SessionName::Given(id) => Some((id.as_str().into(), terms)),
        SessionName::Derived => None,
    }
}
