//! Who may use the proxy: decided from memory, within microseconds, for each request.
//!
//! [`Admission::admit`] turns a login into an [`Admitted`] request: checked, counted in, with a lease to draw on. No path
//! to a device goes around it. The checks in their order, each its own [`AdmissionError`]:
//!
//! | check | code |
//! |---|---|
//! | failed logins of this client address | `rate_limited` |
//! | the key is somebody's, and of the claimed account | `credentials_invalid` |
//! | it is switched on and in its time | `key_inactive`, `key_expired` |
//! | the account may use the proxy, its address is verified | `account_suspended`, `account_deleted`, `email_unverified` |
//! | the client's address is on the key's list | `ip_not_allowed` |
//! | the plan has what the parameters ask for | `plan_feature` |
//! | the key is for the countries asked for | `key_country_forbidden` |
//! | the key's rate | `rate_limited` |
//! | connections at the same time, of the key and of the plan | `too_many_connections` |
//! | the key's bytes | `key_quota_exceeded` |
//! | requests of this UTC day | `daily_requests` |
//! | the balance | `balance_depleted` |
//!
//! Where the request goes is asked later, by [`Admitted::check_destination`]: `key_destination_forbidden`,
//! `key_port_forbidden`.
//!
//! A client without a key may come by its address, where the key's owner lets it ([`crate::ip_login`]): then
//! `credentials_missing` stands in place of the key's own first check.
//!
//! Nothing is remembered by client address but failures and such addresses: a wrong login after a right one is refused.
//!
//! Metrics: `iploop_admitted_total` and `iploop_refused_total{code}`, both counters.
//!
//! Connections, rates and requests are counted in this process; those of other gateways count too, a moment late, where they
//! have a shared state ([`Admission::count_together`]). Without one, requests of other processes count up to the moment when an
//! account is first seen here. After a kill the day's count lacks what the journal had not
//! taken yet: the requests of its last tick. A key's bytes of other gateways count once they are booked and read, within
//! [`key_refresh_interval`](AdmissionConfig::key_refresh_interval) of that.

mod account_use;
mod addresses;
mod admitted;
mod checks;
mod config;
mod deciding;
mod error;
mod exchange;
mod key_cache;
mod key_use;
mod last_used;
mod limit_state;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::targeting::{AddressLogin, ClaimedUser, Credentials, Targeting};
use metrics::counter;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::admitted::Admitted;
pub(crate) use self::checks::check_plan;
pub use self::checks::{opens, short_id};
pub use self::config::AdmissionConfig;
pub use self::error::AdmissionError;
pub use self::limit_state::{LimitField, LimitState, PolicyField, Unit};
pub use self::store::AdmissionStore;

use self::account_use::AccountUses;
use self::addresses::Addresses;
use self::key_cache::KeyCache;
use self::key_use::KeyUses;
use self::last_used::LastUsed;
use crate::api_key::ApiKeyHash;
use crate::clock::Clock;
use crate::ids::{AccountId, ApiKeyId, RequestId};
use crate::ip_login::IpLogins;
use crate::keys::KeyChanges;
use crate::ledger::PurseChanges;
use crate::login::throttle::{Allowance, Throttle};
use crate::metering::Meters;
use crate::notices::RateAlerts;
use crate::store::StoreError;

/// Client addresses whose failed logins are remembered.
const MAX_FAILING_CLIENTS: usize = 65_536;

/// Decides who may use the proxy. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn AdmissionStore>,
    clock: Arc<dyn Clock>,
    meters: Meters,
    cache: KeyCache,
    accounts: AccountUses,
    key_uses: KeyUses,
    /// What is counted together with other gateways.
    elsewhere: exchange::Register,
    /// Told when a key was changed here: its running requests shall hear of it.
    key_changed: Notify,
    failures: Throttle<IpAddr>,
    addresses: Addresses,
    last_used: LastUsed,
    rate_alerts: RateAlerts,
    config: AdmissionConfig,
}

/// What a client says of itself.
#[derive(Clone, Copy)]
struct Login<'a> {
    /// Of its key, or of the one that its address stands for.
    hash: ApiKeyHash,
    user: Option<&'a ClaimedUser>,
    targeting: &'a Targeting,
    by_address: bool,
}

impl Admission {
    /// Starts with empty memory. Without `addresses` everybody needs a key. `config` is taken as sound: see
    /// [`AdmissionConfig::mistakes`].
    pub fn new(
        store: Arc<dyn AdmissionStore>,
        addresses: Option<Arc<dyn IpLogins>>,
        clock: Arc<dyn Clock>,
        meters: Meters,
        config: AdmissionConfig,
    ) -> Self {
        let failures = Allowance {
            burst: config.failed_logins_burst.max(1),
            refill: Duration::from_secs(1) / config.failed_logins_per_second.max(1),
        };
        let inner = Inner {
            cache: KeyCache::new(Arc::clone(&store), config.clone()),
            accounts: AccountUses::new(config.max_accounts),
            key_uses: KeyUses::new(usize::try_from(config.max_keys).unwrap_or(usize::MAX)),
            elsewhere: exchange::Register::default(),
            key_changed: Notify::new(),
            failures: Throttle::new(failures, MAX_FAILING_CLIENTS),
            addresses: Addresses::new(
                addresses,
                usize::try_from(config.max_keys).unwrap_or(usize::MAX),
                config.ip_login_local,
            ),
            last_used: LastUsed::default(),
            rate_alerts: RateAlerts::new(Arc::clone(&store)),
            store,
            clock,
            meters,
            config,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Admits one request, under the id that its answer and its usage record will carry.
    ///
    /// Asks the database only for what memory lacks: a key's first use, an account's first request and first lease.
    ///
    /// # Errors
    /// Says why not; see the table of this module.
    ///
    /// # Cancel safety
    /// Safe: dropping the future leaves nothing counted.
    pub async fn admit(
        &self,
        request: RequestId,
        login: &Credentials,
        client: IpAddr,
    ) -> Result<Admitted, AdmissionError> {
        let login = Login {
            hash: ApiKeyHash::of(login.key.expose()),
            user: login.user.as_ref(),
            targeting: &login.targeting,
            by_address: false,
        };
        self.count(Arc::clone(&self.inner).admit(request, login, client).await)
    }

    /// Admits one request of a client without a key, by its address.
    ///
    /// # Errors
    /// [`AdmissionError::NoAddressLogin`] where its address does not stand for a key; else as [`admit`](Self::admit).
    ///
    /// # Cancel safety
    /// As [`admit`](Self::admit).
    pub async fn admit_address(
        &self,
        request: RequestId,
        login: &AddressLogin,
        client: IpAddr,
    ) -> Result<Admitted, AdmissionError> {
        let admitted = match self.inner.addresses.key_of(client.to_canonical()) {
            None => Err(AdmissionError::NoAddressLogin),
            Some(hash) => {
                let login = Login {
                    hash,
                    user: login.user.as_ref(),
                    targeting: &login.targeting,
                    by_address: true,
                };
                Arc::clone(&self.inner).admit(request, login, client).await
            }
        };
        self.count(admitted)
    }

    /// Whether a client at this address may come without a key, as far as memory says.
    pub fn knows_address(&self, client: IpAddr) -> bool {
        self.inner.addresses.key_of(client.to_canonical()).is_some()
    }

    /// Writes down which addresses were proven, and reads anew whose they are. [`run`](Self::run) does so by itself.
    ///
    /// # Errors
    /// The store's.
    pub async fn refresh_addresses(&self) -> Result<(), StoreError> {
        self.inner.addresses.refresh(self.inner.clock.now()).await
    }

    fn count(&self, result: Result<Admitted, AdmissionError>) -> Result<Admitted, AdmissionError> {
        match &result {
            Ok(_) => counter!("iploop_admitted_total").increment(1),
            Err(error) => counter!("iploop_refused_total", "code" => error.code()).increment(1),
        }
        result
    }

    /// Writes down when keys were last used, and reads anew the limits and the use of keys that are used, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let inner = &self.inner;
        let write = async {
            loop {
                sleep(inner.config.last_used_interval).await;
                inner.write_last_used().await;
                inner.tell_rate_alerts().await;
            }
        };
        let refresh = async {
            loop {
                // A change made here is not waited for; what it sets off is bounded by the requests of the API.
                let _ = timeout(inner.config.key_refresh_interval, inner.key_changed.notified()).await;
                inner.refresh_keys().await;
            }
        };
        let addresses = inner.addresses.follow(&*inner.clock, inner.config.key_ttl);
        let work = async { tokio::join!(write, refresh, addresses) };
        let _: Option<((), (), ())> = shutdown.run_until_cancelled(work).await;
        inner.write_last_used().await;
        inner.tell_rate_alerts().await;
    }

    /// Forgets a key at once: its next login asks the database.
    pub fn invalidate_key(&self, key: ApiKeyId) {
        self.inner.cache.forget(|grant| grant.key.id == key);
    }

    /// Forgets an account's keys and ends what runs under it.
    pub fn cut_account(&self, account: AccountId) {
        self.invalidate_account(account);
        self.inner.accounts.cut(account);
    }

    /// Forgets an account's keys at once: their next logins ask the database.
    pub fn invalidate_account(&self, account: AccountId) {
        self.inner.cache.forget(|grant| grant.key.account == account);
    }
}

impl PurseChanges for Admission {
    fn credited(&self, account: AccountId) {
        self.inner.meters.purse_changed(account);
    }
}

impl KeyChanges for Admission {
    fn key_changed(&self, key: ApiKeyId) {
        self.invalidate_key(key);
        if let Some(used) = self.inner.key_uses.get(key) {
            used.changed();
            self.inner.key_changed.notify_one();
        }
        self.inner.addresses.changed();
    }

    fn account_changed(&self, account: AccountId) {
        self.invalidate_account(account);
        self.inner.meters.purse_changed(account);
    }

    fn account_suspended(&self, account: AccountId) {
        self.cut_account(account);
    }

    fn addresses_changed(&self) {
        self.inner.addresses.changed();
    }

    fn anything_changed(&self) {
        self.inner.cache.forget(|_| true);
        self.inner.addresses.changed();
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
