//! Sticky sessions as a gateway would have them, in memory: what its own rules are, its own tests show.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::clock::Clock;
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_platform::sticky::{HeldExit, LiveSession, LiveSessions, SessionError, StickySession};
use iploop_protocol::targeting::{SessionName, Targeting};
use parking_lot::Mutex;

/// Most sessions of an account.
const LIMIT: u32 = 5;

/// The sessions of this test's gateway. One that is rotated gets an exit with that.
pub(crate) struct Desk {
    clock: Arc<dyn Clock>,
    live: Mutex<BTreeMap<(AccountId, String), LiveSession>>,
}

impl Desk {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            live: Mutex::default(),
        }
    }
}

#[async_trait]
impl LiveSessions for Desk {
    fn sessions(&self, account: AccountId, after: Option<&str>, limit: u32) -> Vec<LiveSession> {
        let behind = Bound::Excluded((account, after.unwrap_or_default().to_owned()));
        let live = self.live.lock();
        live.range((behind, Bound::Unbounded))
            .take_while(|((of, _), _)| *of == account)
            .take(limit.try_into().unwrap())
            .map(|(_, session)| session.clone())
            .collect()
    }

    fn session(&self, account: AccountId, name: &str) -> Option<LiveSession> {
        self.live.lock().get(&(account, name.to_owned())).cloned()
    }

    async fn create(
        &self,
        account: AccountId,
        targeting: Arc<Targeting>,
    ) -> Result<LiveSession, SessionError> {
        let SessionName::Given(name) = &targeting.rotation().sticky().unwrap().session else {
            panic!("a session made ahead has a name");
        };
        if self.session(account, name.as_str()).is_some() {
            return Err(SessionError::Exists);
        }
        if self.sessions(account, None, LIMIT).len() == 5 {
            let retry_after = Duration::from_millis(41_500);
            return Err(SessionError::TooMany {
                limit: LIMIT,
                retry_after,
            });
        }
        let now = self.clock.now();
        let expires_at = now.plus(Duration::from_secs(86_400));
        let session = StickySession {
            account,
            name: name.to_string(),
            api_key: None,
            targeting: targeting.to_string(),
            exit: None,
            left_ip: None,
            told_ip: None,
            created_at: now,
            last_used_at: None,
            expires_at,
            forget_at: expires_at,
            requests: 0,
            bytes_up: 0,
            bytes_down: 0,
            rotations: 0,
        };
        let live = LiveSession {
            session,
            expires_at,
            idle_until: None,
            running: 0,
        };
        self.live.lock().insert((account, name.to_string()), live.clone());
        Ok(live)
    }

    async fn rotate(&self, account: AccountId, name: &str) -> Result<LiveSession, SessionError> {
        let now = self.clock.now();
        let mut sessions = self.live.lock();
        let live = sessions
            .get_mut(&(account, name.to_owned()))
            .ok_or(SessionError::NotFound)?;
        live.session.api_key = Some(ApiKeyId::new());
        live.session.last_used_at = Some(now);
        live.session.rotations += 1;
        live.session.exit = Some(HeldExit {
            node: NodeId::new(),
            ip: "198.51.100.7".parse().unwrap(),
            country: Some("DE".to_owned()),
            city: None,
            asn: Some(64500),
            since: now,
        });
        Ok(live.clone())
    }

    async fn end(&self, account: AccountId, name: &str) -> Result<(), SessionError> {
        let ended = self.live.lock().remove(&(account, name.to_owned()));
        ended.map(drop).ok_or(SessionError::NotFound)
    }

    async fn end_all(&self, account: AccountId, _: &[String]) -> Result<u64, SessionError> {
        let mut sessions = self.live.lock();
        let before = sessions.len();
        sessions.retain(|(of, _), _| *of != account);
        Ok(u64::try_from(before - sessions.len()).unwrap())
    }
}
