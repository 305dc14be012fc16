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
mod config;
mod error;
mod exchange;
mod key_cache;
mod key_use;
mod last_used;
mod limit_state;
mod store;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::targeting::{AddressLogin, ClaimedUser, Credentials, Gate, Targeting};
use metrics::counter;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::admitted::Admitted;
pub use self::config::AdmissionConfig;
pub use self::error::AdmissionError;
pub use self::limit_state::{LimitField, LimitState, PolicyField, Unit};
pub use self::store::AdmissionStore;

use self::account_use::{AccountUse, AccountUses, Connection};
use self::addresses::Addresses;
use self::error::unavailable;
use self::key_cache::{KeyCache, KnownKey, Memory};
use self::key_use::{KeyConnection, KeyUse, KeyUses};
use self::last_used::LastUsed;
use crate::account::AccountStatus;
use crate::api_key::{ApiKeyHash, KeyGrant};
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, ApiKeyId, RequestId};
use crate::ip_login::{self, IpLogins};
use crate::keys::{KeyChanges, KeyLimits, Rate};
use crate::ledger::PurseChanges;
use crate::login::throttle::{Allowance, Throttle, client_network};
use crate::metering::{Meters, Period};
use crate::notices::RateAlerts;
use crate::plan::{Gates, Plan};
use crate::store::StoreError;

/// Client addresses whose failed logins are remembered.
const MAX_FAILING_CLIENTS: usize = 65_536;
/// Keys whose use is read in one call of the store.
const REFRESH_BATCH: usize = 1000;
/// How many digits of an account's id are its short id.
const SHORT_ID_DIGITS: usize = 12;

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
        self.inner.meters.credited(account);
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
        self.inner.meters.credited(account);
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

/// An account's short id, which may stand for it in the user name: the last 12 hex digits of its id.
pub fn short_id(account: AccountId) -> String {
    let digits = account.uuid().simple().to_string();
    digits[digits.len() - SHORT_ID_DIGITS..].to_owned()
}

impl Inner {
    async fn admit(
        self: Arc<Self>,
        request: RequestId,
        login: Login<'_>,
        client: IpAddr,
    ) -> Result<Admitted, AdmissionError> {
        let now = self.clock.now();
        let epoch = self.cache.epoch();
        let mut key = self.known_key(login, client, now).await?;
        check_account(&key.grant)?;
        check_client(&key.grant, client)?;
        check_plan(&key.grant.plan, login.targeting)?;
        let mut targeting = within_countries(&key.grant.key.limits, login.targeting)?;
        let (key_connection, connection) = self.connect(&key.grant)?;
        if self.cache.epoch() != epoch {
            // Keys changed while this one was looked up: it may be one of an account whose connections were just cut.
            key = self.known_key(login, client, now).await?;
            check_account(&key.grant)?;
            targeting = within_countries(&key.grant.key.limits, login.targeting)?;
        }
        let grant = &key.grant;
        self.load_today(connection.account(), grant.key.account, now)
            .await?;
        self.check_bytes(grant, key_connection.key(), now).await?;
        let limit = requests_per_day(&grant.plan);
        let counted = connection
            .account()
            .count_request(now, limit)
            .map_err(|retry_after| AdmissionError::DailyRequests { limit, retry_after })?;
        let quota = Arc::clone(key_connection.key().quota());
        let meter = self.meters.begin(grant.key.account, quota, request).await?;
        counted.keep();
        if key.note_use(now) {
            self.last_used.note(grant.key.id, now);
        }
        if grant.key.ip_login {
            self.addresses
                .note(grant, client.to_canonical(), !login.by_address, now);
        }
        Ok(Admitted {
            key,
            targeting: Arc::new(targeting),
            meter,
            key_connection,
            connection,
            at: now,
            admission: self,
        })
    }

    /// Takes a request of the key's rate, and a connection of the key and of the plan.
    fn connect(&self, grant: &KeyGrant) -> Result<(KeyConnection, Connection), AdmissionError> {
        let limits = &grant.key.limits;
        let key = self.key_uses.of(grant.key.id).ok_or(AdmissionError::Overloaded)?;
        if limits.rate.is_some() || limits.max_connections.is_some() {
            self.elsewhere.note_key(&key);
        }
        if let Some(rate) = limits.rate {
            key.take_request(rate).map_err(|retry_after| {
                self.rate_alerts.note(&grant.key, rate, self.clock.now());
                AdmissionError::KeyRate { rate, retry_after }
            })?;
        }
        let key = key.connect(limits.max_connections).ok_or_else(|| {
            let limit = limits.max_connections.unwrap_or(u32::MAX);
            AdmissionError::KeyConnections { limit }
        })?;
        let account = self
            .accounts
            .of(grant.key.account)
            .ok_or(AdmissionError::Overloaded)?;
        self.elsewhere.note_account(grant.key.account, &account);
        let limit = grant.plan.max_concurrent_connections;
        let connection = account
            .connect(limit)
            .ok_or(AdmissionError::TooManyConnections { limit })?;
        Ok((key, connection))
    }

    /// The key has bytes left. What was used before is read from the store the first time only.
    async fn check_bytes(
        &self,
        grant: &KeyGrant,
        used: &KeyUse,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        let quota = used.quota();
        quota.limit(grant.key.limits.bytes);
        if quota.needs_usage() {
            let load = async {
                let _one_at_a_time = used.loading.lock().await;
                if quota.needs_usage() {
                    let settled = quota.settled();
                    let known = self.store.key_usage(&[grant.key.id], now).await?;
                    // A key that was deleted this moment has used nothing that matters.
                    if let Some(usage) = known.first() {
                        quota.know(usage, settled, now);
                    }
                }
                Ok(())
            };
            match timeout(self.config.lookup_timeout, load).await {
                Ok(loaded) => loaded.map_err(unavailable)?,
                Err(elapsed) => return Err(unavailable(StoreError::Unavailable(Box::new(elapsed)))),
            }
        }
        match quota.exhausted(now) {
            None => Ok(()),
            Some(exhausted) => Err(AdmissionError::KeyQuotaExceeded {
                period: exhausted.period,
                limit: exhausted.limit,
                retry_after: exhausted.retry_after,
            }),
        }
    }

    /// Reads anew what limits the keys in use and what they have used. What fails is tried again the next time.
    async fn refresh_keys(&self) {
        let keys = self.key_uses.to_refresh();
        for part in keys.chunks(REFRESH_BATCH) {
            let now = self.clock.now();
            let settled: Vec<i64> = part.iter().map(|key| key.quota().settled()).collect();
            let ids: Vec<ApiKeyId> = part.iter().map(|key| key.quota().key()).collect();
            let mut known = match timeout(self.config.lookup_timeout, self.store.key_usage(&ids, now)).await {
                Ok(Ok(known)) => known,
                Ok(Err(error)) => {
                    part.iter().for_each(|key| key.changed());
                    tracing::debug!(%error, "the use of keys was not read");
                    continue;
                }
                Err(_) => {
                    part.iter().for_each(|key| key.changed());
                    tracing::debug!("the use of keys was not read in time");
                    continue;
                }
            };
            known.sort_unstable_by_key(|usage| usage.key);
            for (key, settled) in part.iter().zip(settled) {
                let quota = key.quota();
                let Ok(at) = known.binary_search_by_key(&quota.key(), |usage| usage.key) else {
                    continue;
                };
                quota.limit(known[at].limits.bytes);
                if quota.is_limited() {
                    quota.know(&known[at], settled, now);
                }
            }
        }
    }

    /// The key of a login that proves it. Failures count against the client's address, and cost the database nothing.
    async fn known_key(
        &self,
        login: Login<'_>,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<KnownKey>, AdmissionError> {
        let hash = login.hash;
        let network = client_network(client);
        let key = match self.cache.recall(hash) {
            Memory::Known(key) => self.cache.refresh_if_old(hash, key).await,
            Memory::Stale => self.cache.reread(hash).await.map_err(unavailable)?,
            Memory::Unknown => None,
            Memory::Absent => {
                // A try costs the client one failure until it turns out to be none: so parallel guesses are counted too.
                let mut has_asked = false;
                let may_ask = || self.may_fail(&network, now).inspect(|()| has_asked = true);
                let key = self.cache.look_up(hash, may_ask).await;
                if has_asked {
                    self.failures.give_back(&network);
                }
                key?
            }
        };
        if login.by_address {
            // Nobody guesses here: the address is what it is.
            let admits = |key: &Arc<KnownKey>| ip_login::admits(&key.grant.key, client.to_canonical());
            let key = key.filter(admits).ok_or(AdmissionError::NoAddressLogin)?;
            return check_key(&key.grant, login, now).map(|()| key);
        }
        let checked = key.ok_or(AdmissionError::UnknownKey).and_then(|key| {
            check_key(&key.grant, login, now)?;
            Ok(key)
        });
        if checked.is_err() {
            self.may_fail(&network, now)?;
        }
        checked
    }

    /// Takes one failed login of the client's allowance.
    fn may_fail(&self, network: &IpAddr, now: Timestamp) -> Result<(), AdmissionError> {
        self.failures
            .take(network, now)
            .map_err(|retry_after| AdmissionError::RateLimited { retry_after })
    }

    async fn load_today(
        &self,
        account: &AccountUse,
        id: AccountId,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        match timeout(
            self.config.lookup_timeout,
            account.load(id, self.store.as_ref(), now),
        )
        .await
        {
            Ok(loaded) => loaded.map_err(unavailable),
            Err(elapsed) => Err(unavailable(StoreError::Unavailable(Box::new(elapsed)))),
        }
    }

    async fn tell_rate_alerts(&self) {
        match timeout(self.config.lookup_timeout, self.rate_alerts.tell()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "nobody was told of rates that were reached"),
            Err(_) => tracing::debug!("nobody was told in time of rates that were reached"),
        }
    }

    async fn write_last_used(&self) {
        match timeout(
            self.config.lookup_timeout,
            self.last_used.write(self.store.as_ref()),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last use of keys was not written"),
            Err(_) => tracing::debug!("the last use of keys was not written in time"),
        }
    }
}

/// The key is of the claimed account, switched on and in its time.
fn check_key(grant: &KeyGrant, login: Login<'_>, now: Timestamp) -> Result<(), AdmissionError> {
    let is_claimed = match login.user {
        None => true,
        Some(ClaimedUser::AccountId(id)) => grant.key.account.uuid().as_u128() == *id,
        Some(ClaimedUser::ShortId(id)) => short_id(grant.key.account).eq_ignore_ascii_case(id),
    };
    if !is_claimed {
        Err(AdmissionError::UserMismatch)
    } else if !grant.key.is_active {
        Err(AdmissionError::KeyInactive)
    } else if grant.key.expires_at.is_some_and(|end| end <= now) {
        Err(AdmissionError::KeyExpired)
    } else {
        Ok(())
    }
}

fn check_account(grant: &KeyGrant) -> Result<(), AdmissionError> {
    match grant.account_status {
        AccountStatus::Suspended => Err(AdmissionError::AccountSuspended),
        AccountStatus::Deleted => Err(AdmissionError::AccountDeleted),
        AccountStatus::Active if !grant.email_verified => Err(AdmissionError::EmailUnverified),
        AccountStatus::Active => Ok(()),
    }
}

/// An empty list allows any address; an IPv4 address may come in its IPv6 form.
fn check_client(grant: &KeyGrant, client: IpAddr) -> Result<(), AdmissionError> {
    let client = client.to_canonical();
    let list = &grant.key.ip_whitelist;
    match list.is_empty() || list.iter().any(|net| net.contains(&client)) {
        true => Ok(()),
        false => Err(AdmissionError::IpNotAllowed),
    }
}

/// What the plan does not have of what is asked for, if anything.
pub(crate) fn check_plan(plan: &Plan, targeting: &Targeting) -> Result<(), AdmissionError> {
    match targeting.gates().find(|gate| !opens(&plan.gates, *gate)) {
        None => Ok(()),
        Some(gate) => Err(AdmissionError::PlanFeature {
            parameter: targeting.parameter_for(gate),
            plan: plan.name.clone(),
        }),
    }
}

/// The wishes within the countries that the key is for; what asks for another one is refused.
fn within_countries(limits: &KeyLimits, wished: &Targeting) -> Result<Targeting, AdmissionError> {
    if limits.countries.is_empty() {
        return Ok(wished.clone());
    }
    wished
        .within(limits.countries)
        .map_err(|countries| AdmissionError::KeyCountry { countries })
}

fn requests_per_day(plan: &Plan) -> u64 {
    u64::try_from(plan.requests_per_day).unwrap_or(0)
}

/// The time in which a whole burst comes back.
fn rate_window(rate: Rate) -> Duration {
    Duration::from_secs(u64::from(rate.burst.div_ceil(rate.per_second.max(1))))
}

fn period_name(period: Period) -> &'static str {
    match period {
        Period::Day => "key-bytes-day",
        Period::Month => "key-bytes-month",
        Period::Total => "key-bytes-total",
    }
}

/// Whether a plan has what a gate stands for (PRD 5.9).
pub fn opens(gates: &Gates, gate: Gate) -> bool {
    match gate {
        Gate::City | Gate::Region | Gate::Zip => gates.city,
        Gate::Asn | Gate::Isp => gates.asn,
        Gate::StickySession => gates.sticky_sessions,
        Gate::ConnectionType | Gate::DeviceType | Gate::Profile | Gate::Performance => true,
    }
}
