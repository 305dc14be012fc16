//! Sticky sessions between gateway, API and store: what one is, and who may see and change it.
//!
//! The gateway has them in memory and decides about them ([`LiveSessions`]); the store keeps them over a restart
//! ([`crate::store::StickySessions`]). Where processes share state their gateways know each other's sessions
//! ([`SharedSessions`]). [`SessionService`] holds what the API's side has to check.

mod everywhere;
mod shared;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_protocol::targeting::{SessionName, Targeting, TargetingError};
use serde::{Deserialize, Serialize};

pub use self::shared::{SessionKey, SessionNews, SessionsChanged, SharedSession, SharedSessions};

use crate::admission::{AdmissionError, check_plan};
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, NodeId};
use crate::presence::{Answer, Processes, Question};
use crate::secret::Secret;
use crate::store::{Store, StoreError};

/// Sessions that other gateways know and that are ended together: what an account may have by default, and as many again.
const MAX_ENDED_ELSEWHERE: usize = 20_000;

/// Most sessions in one page.
pub const MAX_PAGE: u32 = 100;

/// A sticky session as it is kept: a row of `node_sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickySession {
    /// Whose it is: all keys of the account share it.
    pub account: AccountId,
    /// The customer's id for it, or the one that the gateway derived.
    pub name: String,
    /// The key that used it last; none until one does.
    pub api_key: Option<ApiKeyId>,
    /// The wishes of its latest request, in canonical form.
    pub targeting: String,
    /// The exit that it holds on to.
    pub exit: Option<HeldExit>,
    /// The address that was given up on purpose: the next exit is another, if there is one.
    pub left_ip: Option<IpAddr>,
    /// The address that the customer was last told of: any other is announced.
    pub told_ip: Option<IpAddr>,
    /// When this life of it began.
    pub created_at: Timestamp,
    /// When a request last began or ended; none until one does.
    pub last_used_at: Option<Timestamp>,
    /// When it ends unless it is used.
    pub expires_at: Timestamp,
    /// When nothing of it has to be known any more.
    pub forget_at: Timestamp,
    /// Requests and tunnels of this life.
    pub requests: u64,
    /// Bytes towards destinations, of ended requests.
    pub bytes_up: u64,
    /// Bytes from destinations, of ended requests.
    pub bytes_down: u64,
    /// How many times its exit address changed.
    pub rotations: u64,
}

/// The exit of a sticky session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldExit {
    /// The device.
    pub node: NodeId,
    /// Its public address.
    pub ip: IpAddr,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// When the clock of the lifetime began.
    pub since: Timestamp,
}

/// A session that has not ended, as its customer may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// What is kept of it.
    pub session: StickySession,
    /// When its time with the present exit is over; when it ends, where it has none.
    pub expires_at: Timestamp,
    /// When it ends for want of use; none while it is in use, or where no `idle` was given.
    pub idle_until: Option<Timestamp>,
    /// Requests and tunnels that run.
    pub running: u32,
}

/// The sessions of the gateway, as the API shows and changes them. What was changed is written down when a call returns.
#[async_trait]
pub trait LiveSessions: Send + Sync + 'static {
    /// An account's sessions by name, those behind `after`, at most `limit`.
    fn sessions(&self, account: AccountId, after: Option<&str>, limit: u32) -> Vec<LiveSession>;
    /// The same, brought up to date with what other gateways made of them.
    async fn sessions_now(&self, account: AccountId, after: Option<&str>, limit: u32) -> Vec<LiveSession> {
        self.sessions(account, after, limit)
    }
    /// One of them, also one that only other gateways know, as it was written down last.
    async fn session_now(&self, account: AccountId, name: &str) -> Option<LiveSession> {
        self.session(account, name)
    }
    /// One of them.
    fn session(&self, account: AccountId, name: &str) -> Option<LiveSession>;
    /// Makes a session ahead of its first use. `targeting` names it.
    async fn create(
        &self,
        account: AccountId,
        targeting: Arc<Targeting>,
    ) -> Result<LiveSession, SessionError>;
    /// Gives a session's exit up: the next request has another, if there is one.
    async fn rotate(&self, account: AccountId, name: &str) -> Result<LiveSession, SessionError>;
    /// Ends a session. What runs in it goes on.
    async fn end(&self, account: AccountId, name: &str) -> Result<(), SessionError>;
    /// Ends all sessions of an account, at this gateway and of those in the database, and what else there is of these names at
    /// others; the live ones of this gateway's.
    async fn end_all(&self, account: AccountId, elsewhere: &[String]) -> Result<u64, SessionError>;
}

/// Why a session could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The account has none of this name, or it has ended.
    #[error("no such session")]
    NotFound,
    /// The account has a live one of this name.
    #[error("a session of this name is live")]
    Exists,
    /// The wishes can't be read.
    #[error(transparent)]
    Targeting(#[from] TargetingError),
    /// The plan does not have what is asked for.
    #[error(transparent)]
    Plan(AdmissionError),
    /// The account has as many live sessions as it may.
    #[error("at most {limit} live sessions")]
    TooMany {
        /// The bound.
        limit: u32,
        /// When the first of them ends, if it is not used.
        retry_after: Duration,
    },
    /// The gateway has as many live sessions as it can.
    #[error("this gateway has no room for another session")]
    NoRoom,
    /// The data can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session that was made ahead, with what a proxy login needs besides the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionLogin {
    /// The user name of a proxy login. Its password is any key of the account.
    pub username: String,
}

/// The API's side of sticky sessions. Clones share one state.
#[derive(Clone)]
pub struct SessionService {
    store: Arc<dyn Store>,
    live: Arc<dyn LiveSessions>,
    others: Option<Processes>,
}

impl SessionService {
    /// Over the sessions of the gateway, and of those of `others` if there are any.
    pub fn new(store: Arc<dyn Store>, live: Arc<dyn LiveSessions>, others: Option<Processes>) -> Self {
        Self { store, live, others }
    }

    /// A page of an account's sessions at all gateways, by name, and the name to go on behind, if there are more.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: u32,
    ) -> (Vec<LiveSession>, Option<String>) {
        let limit = limit.clamp(1, MAX_PAGE);
        let question = Question::Sessions {
            account,
            after: after.map(str::to_owned),
            limit: limit + 1,
        };
        let (here, elsewhere) = tokio::join!(
            self.live.sessions_now(account, after, limit + 1),
            self.ask(&question)
        );
        let mut page = everywhere::merged(here, elsewhere);
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = page.len() > most;
        page.truncate(most);
        let next = page
            .last()
            .filter(|_| has_more)
            .map(|last| last.session.name.clone());
        (page, next)
    }

    /// One session.
    ///
    /// # Errors
    /// [`SessionError::NotFound`].
    pub async fn get(&self, account: AccountId, name: &str) -> Result<LiveSession, SessionError> {
        let question = Question::Session(account, name.to_owned());
        let (here, elsewhere) = tokio::join!(self.live.session_now(account, name), self.ask(&question));
        let mut found = everywhere::merged(here.into_iter().collect(), elsewhere);
        found.pop().ok_or(SessionError::NotFound)
    }

    async fn ask(&self, question: &Question) -> Vec<LiveSession> {
        let Some(others) = &self.others else {
            return Vec::new();
        };
        let answers = others.ask_all(question).await.into_iter();
        let sessions = answers.filter_map(|answer| match answer {
            Answer::Sessions(sessions) => Some(sessions),
            _ => None,
        });
        sessions.flatten().collect()
    }

    /// Makes a session with these wishes (`country-US-session-a-lifetime-30`); where they name none, a name is made up.
    ///
    /// # Errors
    /// See [`SessionError`]; wishes that contradict a session are a targeting error.
    pub async fn create(
        &self,
        account: AccountId,
        wishes: &str,
    ) -> Result<(LiveSession, SessionLogin), SessionError> {
        let targeting = named(wishes)?;
        let plan = self.store.plan_of(account).await?;
        if let Some(plan) = plan {
            check_plan(&plan, &targeting).map_err(SessionError::Plan)?;
        }
        let login = SessionLogin {
            username: format!("iploop-{targeting}"),
        };
        let session = self.live.create(account, Arc::new(targeting)).await?;
        Ok((session, login))
    }

    /// Gives a session's exit up.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Store`].
    pub async fn rotate(&self, account: AccountId, name: &str) -> Result<LiveSession, SessionError> {
        self.live.rotate(account, name).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Store`].
    pub async fn end(&self, account: AccountId, name: &str) -> Result<(), SessionError> {
        self.live.end(account, name).await
    }

    /// Ends all sessions of an account; how many there were.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn end_all(&self, account: AccountId) -> Result<u64, SessionError> {
        let mut names = Vec::new();
        if self.others.is_some() {
            let mut after = None;
            while names.len() < MAX_ENDED_ELSEWHERE {
                let (page, next) = self.list(account, after.as_deref(), MAX_PAGE).await;
                names.extend(page.into_iter().map(|live| live.session.name));
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        let known = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let here = self.live.end_all(account, &names).await?;
        Ok(known.max(here))
    }
}

/// The wishes with a session that has a name.
fn named(wishes: &str) -> Result<Targeting, TargetingError> {
    let targeting = Targeting::parse(wishes)?;
    match targeting.rotation().sticky() {
        Some(sticky) if matches!(sticky.session, SessionName::Given(_)) => Ok(targeting),
        _ => {
            let name = Secret::random::<8>("s");
            let separator = if wishes.is_empty() { "" } else { "-" };
            Targeting::parse(&format!("{wishes}{separator}session-{}", name.expose()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(wishes: &str) -> Result<String, &'static str> {
        let targeting = named(wishes).map_err(|error| error.code())?;
        match &targeting.rotation().sticky().unwrap().session {
            SessionName::Given(id) => Ok(id.to_string()),
            SessionName::Derived => panic!("{wishes}"),
        }
    }

    #[test]
    fn a_session_made_ahead_has_the_name_given_or_one_of_its_own() {
        assert_eq!(name_of("country-US-session-mine"), Ok("mine".to_owned()));
        for wishes in ["", "country-US", "-country-US-lifetime-30", "sesstype-sticky"] {
            let (one, other) = (name_of(wishes).unwrap(), name_of(wishes).unwrap());
            assert!(one.len() == 17 && one != other, "{wishes}: {one}, {other}");
        }
    }

    #[test]
    fn wishes_that_contradict_a_session_are_refused_as_the_gateway_does() {
        assert_eq!(name_of("rotate-request"), Err("conflicting_parameters"));
        assert_eq!(
            name_of("session-a-sesstype-rotating"),
            Err("conflicting_parameters")
        );
        assert_eq!(name_of("contry-US"), Err("unknown_parameter"));
        assert_eq!(name_of("country-XX"), Err("invalid_country"));
    }
}
