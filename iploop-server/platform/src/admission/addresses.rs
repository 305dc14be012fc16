//! The addresses that need no password, in memory: which key a client without one comes by.
//!
//! Read whole now and then, and when something changed here, so that no request waits for it. What the index says is a hint:
//! the key's own grant, as fresh as for any login, decides whether it admits the address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::api_key::{ApiKeyHash, KeyGrant};
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, ApiKeyId};
use crate::ip_login::{
    self, Claimed, IpLogins, ListedAddress, NOTE_INTERVAL, UsedAddress, lapsed_before, listed_by,
};
use crate::store::StoreError;

/// Proofs and uses that wait to be written; more are dropped, as the next use brings them again.
const MAX_NOTES: usize = 10_000;
/// Proofs written at once. Of the others the next use brings another note.
const MAX_CLAIMS: usize = 200;
/// A claim that failed is not tried again for so long.
const REFUSED_MEMORY: Duration = Duration::from_secs(60);
/// Rows in one call of the store.
const PAGE: u32 = 1000;
/// Between two readings, at least.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// How often addresses that lapsed are deleted.
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);

pub(super) struct Addresses {
    store: Option<Arc<dyn IpLogins>>,
    index: RwLock<Arc<HashMap<IpAddr, Entry>>>,
    notes: Mutex<Notes>,
    changed: Notify,
    /// Rows of the index at most.
    most: usize,
    /// Addresses of private networks and of this machine count too.
    local: bool,
}

/// A proven address.
struct Entry {
    account: AccountId,
    /// None where two keys fit equally well.
    key: Option<ApiKeyHash>,
    /// When its use was last noted, in milliseconds since 1970.
    noted_at: AtomicI64,
}

#[derive(Default)]
struct Notes {
    claims: HashMap<(IpAddr, AccountId), Timestamp>,
    uses: HashMap<(IpAddr, AccountId), Timestamp>,
    /// Claims that failed, and when: another's address, or one too many.
    refused: HashMap<(IpAddr, AccountId), Timestamp>,
}

impl Notes {
    fn is_refused(&self, address: IpAddr, account: AccountId, now: Timestamp) -> bool {
        let at = self.refused.get(&(address, account));
        at.is_some_and(|at| now.since(*at) < REFUSED_MEMORY)
    }

    fn refuse(&mut self, address: IpAddr, account: AccountId, now: Timestamp) {
        if self.refused.len() >= MAX_NOTES {
            self.refused.retain(|_, at| now.since(*at) < REFUSED_MEMORY);
        }
        if self.refused.len() < MAX_NOTES {
            self.refused.insert((address, account), now);
        }
    }
}

impl Addresses {
    /// Without a store no address needs no password.
    pub(super) fn new(store: Option<Arc<dyn IpLogins>>, most: usize, local: bool) -> Self {
        Self {
            store,
            index: RwLock::default(),
            notes: Mutex::default(),
            changed: Notify::new(),
            most,
            local,
        }
    }

    /// The key that a client at this address may come by.
    pub(super) fn key_of(&self, client: IpAddr) -> Option<ApiKeyHash> {
        let entry_key = self.index.read().get(&client)?.key;
        entry_key.filter(|_| ip_login::identifies(client, self.local))
    }

    /// A client was admitted from this address. `by_key`: it proved to have a key of the account, so the address is the
    /// account's from soon on if it is nobody's.
    pub(super) fn note(&self, grant: &KeyGrant, client: IpAddr, by_key: bool, now: Timestamp) {
        let account = grant.key.account;
        if !ip_login::admits(&grant.key, client) {
            return;
        }
        match self.index.read().get(&client) {
            Some(entry) if entry.account != account => return,
            Some(entry) => {
                let noted = entry.noted_at.load(Relaxed);
                let is_due = now.since(Timestamp::from_millis(noted)) >= NOTE_INTERVAL
                    && entry
                        .noted_at
                        .compare_exchange(noted, now.as_millis(), Relaxed, Relaxed)
                        .is_ok();
                if is_due {
                    let mut notes = self.notes.lock();
                    if notes.uses.len() < MAX_NOTES {
                        notes.uses.insert((client, account), now);
                    }
                }
                return;
            }
            None => {}
        }
        if !by_key || self.store.is_none() || !ip_login::identifies(client, self.local) {
            return;
        }
        let mut notes = self.notes.lock();
        if notes.is_refused(client, account, now) {
            return;
        }
        if notes.claims.len() < MAX_NOTES && notes.claims.insert((client, account), now).is_none() {
            self.changed.notify_one();
        }
    }

    /// Something changed: the index is read anew soon.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Keeps the index, for ever: read anew when something changed here, and after `every` for what others changed.
    pub(super) async fn follow(&self, clock: &dyn Clock, every: Duration) {
        let mut forgotten_at: Option<Instant> = None;
        loop {
            let began = Instant::now();
            if let Err(error) = self.refresh(clock.now()).await {
                tracing::debug!(%error, "the addresses without a password were not read");
            }
            if forgotten_at.is_none_or(|at| at.elapsed() >= FORGET_INTERVAL) {
                forgotten_at = Some(began);
                if let Err(error) = self.forget(clock.now()).await {
                    tracing::debug!(%error, "addresses that lapsed were not deleted");
                }
            }
            // However much changes, the database is busy with this for a tenth of the time at most.
            sleep((began.elapsed() * 9).max(MIN_PAUSE)).await;
            let _ = timeout(every, self.changed.notified()).await;
        }
    }

    /// Writes what was noted, then reads the index anew. What fails is tried again with the next use.
    pub(super) async fn refresh(&self, now: Timestamp) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let (claims, uses) = {
            let mut notes = self.notes.lock();
            (std::mem::take(&mut notes.claims), std::mem::take(&mut notes.uses))
        };
        let lapsed = lapsed_before(now);
        for ((address, account), at) in claims.into_iter().take(MAX_CLAIMS) {
            let claim = UsedAddress { address, account, at };
            match store.claim_address(claim, lapsed).await {
                Ok(Claimed::Held(_)) => {}
                Ok(Claimed::Taken) | Err(StoreError::LimitReached { .. }) => {
                    tracing::debug!(account.id = %account, "an address is another account's, or one too many");
                    self.notes.lock().refuse(address, account, now);
                }
                Err(error) => return Err(error),
            }
        }
        let uses: Vec<_> = uses
            .into_iter()
            .map(|((address, account), at)| UsedAddress { address, account, at })
            .collect();
        for part in uses.chunks(PAGE as usize) {
            store.touch_addresses(part).await?;
        }
        let index = self.read(store.as_ref(), lapsed).await?;
        *self.index.write() = Arc::new(index);
        Ok(())
    }

    /// Deletes what lapsed.
    async fn forget(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.store {
            Some(store) => store.forget_addresses(lapsed_before(now)).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn read(
        &self,
        store: &dyn IpLogins,
        lapsed: Timestamp,
    ) -> Result<HashMap<IpAddr, Entry>, StoreError> {
        let mut index = HashMap::new();
        let mut best: Option<Best> = None;
        let mut after: Option<(IpAddr, ApiKeyId)> = None;
        let mut rows = 0;
        loop {
            let page = store.listed_addresses(after, lapsed, PAGE).await?;
            rows += page.len();
            let is_last = page.len() < PAGE as usize;
            for listed in page {
                after = Some((listed.address, listed.key));
                // An address's rows follow each other.
                match &mut best {
                    Some(best) if best.listed.address == listed.address => best.meet(listed),
                    other => {
                        if let Some(done) = other.replace(Best::new(listed)) {
                            done.put(&mut index);
                        }
                    }
                }
            }
            if is_last {
                break;
            }
            if rows >= self.most {
                tracing::warn!(
                    rows,
                    "more addresses without a password than are remembered (admission.max_keys)"
                );
                break;
            }
        }
        if let Some(done) = best {
            done.put(&mut index);
        }
        Ok(index)
    }
}

/// The key that lists an address most narrowly.
struct Best {
    listed: ListedAddress,
    prefix: Option<u8>,
    is_tie: bool,
}

impl Best {
    fn new(listed: ListedAddress) -> Self {
        Self {
            prefix: listed_by(&listed.whitelist, listed.address),
            listed,
            is_tie: false,
        }
    }

    fn meet(&mut self, other: ListedAddress) {
        let other = Self::new(other);
        if other.prefix > self.prefix {
            *self = other;
        } else if other.prefix == self.prefix {
            self.is_tie = true;
        }
    }

    fn put(self, index: &mut HashMap<IpAddr, Entry>) {
        let entry = Entry {
            account: self.listed.account,
            key: Some(self.listed.hash).filter(|_| self.prefix.is_some() && !self.is_tie),
            noted_at: AtomicI64::new(self.listed.used_at.as_millis()),
        };
        index.insert(self.listed.address, entry);
    }
}
