//! Sessions over several gateways that share state.
//!
//! Before the first request of a session here, and whenever another gateway changed it, a request asks what it is: the one
//! wait of a request for the shared state, 250 ms at most. What changes here is written at once and told. While the shared
//! state is away each gateway goes on with what it knows.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::ids::AccountId;
use iploop_platform::shared::SharedError;
use iploop_platform::sticky::{SessionKey, SessionNews, SessionsChanged, SharedSession, SharedSessions};
use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::session::{Question, State, StickySession, Terms, Visit};
use super::{Inner, Sessions};

/// After a failure it is tried again this late.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What was ended elsewhere makes room in a page for those behind: so many times it is looked again.
const MAX_ROUNDS: u32 = 10;

/// What waits to be told to the other gateways.
pub(super) struct Together {
    sessions: SharedSessions,
    waiting: Mutex<Waiting>,
    has_news: Notify,
    /// Most ended sessions that wait.
    max_ended: usize,
}

#[derive(Default)]
struct Waiting {
    /// Each once: see [`State::is_untold`].
    changed: Vec<Arc<StickySession>>,
    ended: Vec<SessionKey>,
}

impl Sessions {
    /// Knows the sessions of other gateways from now on, until `stop`; once for all clones.
    pub async fn go_together(self, sessions: SharedSessions, stop: CancellationToken) {
        let news = sessions.news();
        let together = Together {
            sessions,
            waiting: Mutex::default(),
            has_news: Notify::new(),
            max_ended: self.inner.register.max(),
        };
        let together = self.inner.together.get_or_init(|| together);
        let work = async { tokio::join!(self.listen(news), self.tell(together)) };
        let _: Option<((), ())> = stop.run_until_cancelled(work).await;
    }

    async fn listen(&self, mut news: SessionNews) {
        while let Some(changed) = news.next().await {
            match changed {
                SessionsChanged::These(keys) => {
                    for (account, name) in keys {
                        if let Some(session) = self.inner.register.get(account, &name) {
                            session.state.lock().forget();
                        }
                    }
                }
                SessionsChanged::Any => self
                    .inner
                    .register
                    .for_each(|session| session.state.lock().forget()),
            }
        }
    }

    async fn tell(&self, together: &Together) {
        loop {
            together.has_news.notified().await;
            while let Err(error) = self.tell_waiting(together).await {
                tracing::debug!(%error, "other gateways do not learn what changed of sticky sessions");
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn tell_waiting(&self, together: &Together) -> Result<(), SharedError> {
        let Waiting { changed, ended } = std::mem::take(&mut *together.waiting.lock());
        let (mut sessions, mut news) = (Vec::new(), Vec::new());
        for session in &changed {
            if let Some((kept, is_news)) = session.take_told() {
                let key = (session.account, session.name.to_string());
                if is_news {
                    news.push(key.clone());
                }
                sessions.push((key, SharedSession::Lives(Box::new(kept))));
            }
        }
        sessions.extend(ended.iter().cloned().map(|key| (key, SharedSession::Ended)));
        news.extend(ended.iter().cloned());
        let told = match together.sessions.write(&sessions).await {
            Ok(()) => together.sessions.tell(&news).await,
            Err(error) => Err(error),
        };
        if told.is_err() {
            for session in &changed {
                together.mark(session, &mut session.state.lock(), true);
            }
            let mut waiting = together.waiting.lock();
            let room = together.max_ended.saturating_sub(waiting.ended.len());
            waiting.ended.extend(ended.into_iter().take(room));
        }
        told
    }

    /// Takes in a session that only other gateways know, so that it can be changed here.
    pub(super) async fn take_in(&self, account: AccountId, name: &str) {
        let inner = &self.inner;
        if let Some(session) = inner.register.get(account, name) {
            return inner.learn(&session).await;
        }
        if let Some(session) = self.elsewhere(account, name).await {
            // Where there is no room it stays unknown here.
            let _ = inner
                .register
                .enter(account, &name.into(), inner.now(), || session, |_| ());
        }
    }

    /// A session as other gateways wrote it down last; none: it was ended, or nobody knows of it.
    pub(super) async fn elsewhere(&self, account: AccountId, name: &str) -> Option<StickySession> {
        let together = self.inner.together.get()?;
        match together.sessions.read(account, name).await {
            Ok(Some(SharedSession::Lives(kept))) => {
                let terms = Terms::of(&Arc::new(Targeting::parse(&kept.targeting).ok()?))?;
                Some(StickySession::of_another(&kept, terms, self.inner.now()))
            }
            _ => None,
        }
    }

    /// Asks what the sessions of a page are that another gateway changed, until its first `limit` live ones are known.
    pub(super) async fn learn_page(&self, account: AccountId, after: Option<&str>, limit: u32) {
        let inner = &self.inner;
        let Some(together) = inner.together.get() else {
            return;
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        for _ in 0..MAX_ROUNDS {
            let now = inner.now();
            let live = |session: &Arc<StickySession>| session.is_live(now).then(|| Arc::clone(session));
            let mut unknown = inner.register.page(account, after, limit, live);
            unknown.retain(|session| !session.state.lock().is_known);
            // What somebody else asks for is known soon.
            let asked: Vec<_> = unknown
                .iter()
                .filter_map(|session| {
                    let looking = session.looking.try_lock().ok()?;
                    let question = session.state.lock().ask()?;
                    Some((session, question, looking))
                })
                .collect();
            if asked.is_empty() {
                return;
            }
            let keys: Vec<SessionKey> = asked
                .iter()
                .map(|(session, ..)| (session.account, session.name.to_string()))
                .collect();
            let mut read = match together.sessions.read_many(&keys).await {
                Ok(read) => read.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); keys.len()],
            }
            .into_iter();
            for (session, question, _looking) in &asked {
                inner.learned(together, session, question, read.next().unwrap_or(Ok(None)));
            }
        }
    }
}

impl Together {
    /// Has a session told soon. Its state is locked by the caller.
    pub(super) fn mark(&self, session: &Arc<StickySession>, state: &mut State, is_news: bool) {
        // What is not known yet is no news: it would overwrite what others know.
        if !state.is_known || state.is_deleted {
            return;
        }
        state.has_news |= is_news;
        if !std::mem::replace(&mut state.is_untold, true) {
            self.waiting.lock().changed.push(Arc::clone(session));
            self.has_news.notify_one();
        }
    }

    /// Has it told that a session was ended by hand.
    pub(super) fn mark_ended(&self, account: AccountId, name: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.ended.len() < self.max_ended {
            waiting.ended.push((account, name.to_owned()));
            self.has_news.notify_one();
        }
    }
}

impl Inner {
    /// Asks what a session is, if that is not known.
    pub(super) async fn learn(&self, session: &Arc<StickySession>) {
        let Some(together) = self.together.get() else {
            return;
        };
        if session.state.lock().is_known {
            return;
        }
        let _one_at_a_time = session.looking.lock().await;
        // Once more where there was news meanwhile.
        for _ in 0..MAX_ROUNDS {
            let question = session.state.lock().ask();
            let Some(question) = question else { return };
            let read = together.sessions.read(session.account, &session.name).await;
            self.learned(together, session, &question, read);
        }
    }

    /// Takes in what others know of a session. The caller holds [`StickySession::looking`].
    fn learned(
        &self,
        together: &Together,
        session: &Arc<StickySession>,
        question: &Question,
        read: Result<Option<SharedSession>, SharedError>,
    ) {
        let now = self.now();
        let mut state = session.state.lock();
        if state.hear(question, read, now) {
            together.mark(session, &mut state, false);
        }
    }
}

impl Visit {
    /// Writes what changed of the session before the answer says so: who goes on at another gateway finds it.
    pub(crate) async fn share(&self) {
        let Some(together) = self.inner.together.get() else {
            return;
        };
        let session = &self.session;
        if !session.state.lock().is_untold {
            return;
        }
        // It waits still, and is written once more then: that is what a failure here leaves to be done.
        let Some((kept, is_news)) = session.take_told() else {
            return;
        };
        let key = (session.account, session.name.to_string());
        let news = [key.clone()];
        let all = [(key, SharedSession::Lives(Box::new(kept)))];
        let told = match together.sessions.write(&all).await {
            Ok(()) if is_news => together.sessions.tell(&news).await,
            written => written,
        };
        if told.is_err() {
            together.mark(session, &mut session.state.lock(), is_news);
        }
    }

    /// Whether another process has this session's exit, so that it can't be served here and shall not be replaced either.
    pub(super) async fn is_elsewhere(&self, gone: std::net::IpAddr) -> bool {
        let Some(together) = self.inner.together.get() else {
            return false;
        };
        let node = self.session.state.lock().exit_at(gone);
        match node {
            Some(node) => together.sessions.is_elsewhere(node).await,
            None => false,
        }
    }
}
