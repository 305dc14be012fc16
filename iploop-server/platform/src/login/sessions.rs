//! Logins as their owner sees them: listed, ended from elsewhere, ended by themselves when nothing is asked.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::{LoginError, LoginRecord, LoginSession, Logins, REFRESH, SessionError, SignInSettings};
use crate::clock::Timestamp;
use crate::ids::{AccountId, LoginId};
use crate::store::StoreError;

/// When a login was last seen is written down at most this often.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// How much later than written a login may have been seen: another process may know it, and writes it at its next refresh.
/// An idle login ends by so much late, never early.
const SEEN_SLACK: Duration = SEEN_EVERY.saturating_add(REFRESH);
/// Logins that wait to be written down; past that they are written at once.
const MAX_WAITING: usize = 10_000;

/// When logins were seen, as far as it is not written down.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<LoginId, Timestamp>>);

impl Logins {
    /// An account's logins, the one seen last first.
    pub async fn list(&self, account: AccountId) -> Result<Vec<LoginRecord>, StoreError> {
        let mut logins = self.0.store.logins(account, self.0.clock.now()).await?;
        let seen = self.0.seen.0.lock();
        for login in &mut logins {
            login.last_seen_at = login
                .last_seen_at
                .max(seen.get(&login.id).copied().unwrap_or_default());
        }
        drop(seen);
        logins.sort_by_key(|login| std::cmp::Reverse(login.last_seen_at));
        Ok(logins)
    }

    /// Ends a login, for every process at once. Ending one that has ended is no error.
    pub async fn sign_out(&self, session: &LoginSession) -> Result<(), LoginError> {
        if session.impersonated_by.is_some() {
            return self.end_impersonation(session).await;
        }
        self.end(session.account_id(), session.id()).await?;
        Ok(())
    }

    /// Ends one login of an account; false if it is another's, or has ended.
    pub async fn end(&self, account: AccountId, id: LoginId) -> Result<bool, StoreError> {
        let ended = self.0.store.end_login(account, id).await?;
        self.forget_ended(&ended.map(|at| (id, at)).into_iter().collect::<Vec<_>>());
        Ok(ended.is_some())
    }

    /// Ends all logins of an account but `keep`; how many.
    pub async fn end_others(&self, account: AccountId, keep: Option<LoginId>) -> Result<usize, StoreError> {
        let ended = self.0.store.end_other_logins(account, keep).await?;
        self.forget_ended(&ended);
        Ok(ended.len())
    }

    /// Holds a request against what the owner decided, and notes that the login was seen.
    pub(super) async fn note_request(
        &self,
        session: &LoginSession,
        written: Option<Timestamp>,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let id = session.id();
        let written = written.ok_or(SessionError::Revoked)?;
        let seen = self.0.seen.0.lock().get(&id).copied();
        let seen = seen.map_or(written, |seen| seen.max(written));
        if let Some(minutes) = session.settings.idle_minutes {
            let idle = Duration::from_secs(u64::from(minutes) * 60);
            if now.since(seen) >= idle + SEEN_SLACK {
                // For good: a longer limit later does not bring it back.
                self.end(session.account_id(), id).await?;
                return Err(SessionError::Idle);
            }
        }
        if !session.settings.allows(client) {
            return Err(SessionError::AddressNotAllowed);
        }
        if now.since(seen) >= SEEN_EVERY {
            self.note_seen(id, now).await?;
        }
        Ok(())
    }

    /// Writes down which logins were seen.
    pub(super) async fn write_seen(&self) -> Result<(), StoreError> {
        let waiting: Vec<_> = mem::take(&mut *self.0.seen.0.lock()).into_iter().collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.0.store.touch_logins(&waiting).await;
        if written.is_err() {
            let mut seen = self.0.seen.0.lock();
            for (id, at) in waiting.into_iter().take(MAX_WAITING) {
                seen.entry(id).or_insert(at);
            }
        }
        written
    }

    async fn note_seen(&self, id: LoginId, now: Timestamp) -> Result<(), StoreError> {
        let is_full = {
            let mut seen = self.0.seen.0.lock();
            seen.insert(id, now);
            seen.len() > MAX_WAITING
        };
        if is_full { self.write_seen().await } else { Ok(()) }
    }

    /// A row that is gone is refused already; this spares the look for it.
    fn forget_ended(&self, ended: &[(LoginId, Timestamp)]) {
        let now = self.0.clock.now();
        let mut seen = self.0.seen.0.lock();
        for (id, expires_at) in ended {
            seen.remove(id);
            let _ = self.0.revoked.add(id.uuid(), *expires_at, now);
        }
    }
}

impl SignInSettings {
    /// Whether the owner lets `client` in.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allowed_from.is_empty() || self.allowed_from.iter().any(|network| network.contains(&client))
    }
}
