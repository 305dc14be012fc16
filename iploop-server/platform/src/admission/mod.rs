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
//! | connections at the same time, requests of this UTC day | `too_many_connections`, `daily_requests` |
//! | the balance | `balance_depleted` |
//!
//! Nothing is remembered by client address but failures: a wrong login after a right one is refused.
//!
//! Metrics: `iploop_admitted_total` and `iploop_refused_total{code}`, both counters.
//!
//! Connections and requests are counted in this process; further gateways count their own, and requests of other
//! processes up to the moment when an account is first seen here.

mod account_use;
mod config;
mod error;
mod key_cache;
mod last_used;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::targeting::{ClaimedUser, Credentials, Gate, Targeting};
use metrics::counter;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::config::AdmissionConfig;
pub use self::error::AdmissionError;

use self::account_use::{AccountUse, AccountUses, Connection};
use self::error::unavailable;
use self::key_cache::{KeyCache, KnownKey, Memory};
use self::last_used::LastUsed;
use crate::account::AccountStatus;
use crate::api_key::{ApiKeyHash, KeyGrant};
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, ApiKeyId, RequestId};
use crate::keys::KeyChanges;
use crate::login::throttle::{Allowance, Throttle, client_network};
use crate::metering::{Meters, Outcome, StreamMeter};
use crate::plan::{Gates, Plan};
use crate::store::{ApiKeys, Store, StoreError, Usage};

/// Client addresses whose failed logins are remembered.
const MAX_FAILING_CLIENTS: usize = 65_536;
/// How many digits of an account's id are its short id.
const SHORT_ID_DIGITS: usize = 12;

/// Decides who may use the proxy. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Arc<dyn ApiKeys>,
    usage: Arc<dyn Usage>,
    clock: Arc<dyn Clock>,
    meters: Meters,
    cache: KeyCache,
    accounts: AccountUses,
    failures: Throttle<IpAddr>,
    last_used: LastUsed,
    config: AdmissionConfig,
}

/// A request that passed every check. Holds one of the plan's connections and the meter of its bytes.
///
/// Dropping it releases the connection and books what was counted; [`finish`](Self::finish) says besides how it ended.
pub struct Admitted {
    key: Arc<KnownKey>,
    meter: StreamMeter,
    _connection: Connection,
}

impl Admission {
    /// Starts with empty memory. `config` is taken as sound: see [`AdmissionConfig::mistakes`].
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        meters: Meters,
        config: AdmissionConfig,
    ) -> Self {
        Self::over(
            Arc::clone(&store) as Arc<dyn ApiKeys>,
            store,
            clock,
            meters,
            config,
        )
    }

    fn over(
        keys: Arc<dyn ApiKeys>,
        usage: Arc<dyn Usage>,
        clock: Arc<dyn Clock>,
        meters: Meters,
        config: AdmissionConfig,
    ) -> Self {
        let failures = Allowance {
            burst: config.failed_logins_burst.max(1),
            refill: Duration::from_secs(1) / config.failed_logins_per_second.max(1),
        };
        let inner = Inner {
            cache: KeyCache::new(Arc::clone(&keys), config.clone()),
            accounts: AccountUses::new(config.max_accounts),
            failures: Throttle::new(failures, MAX_FAILING_CLIENTS),
            last_used: LastUsed::default(),
            keys,
            usage,
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
        let result = self.inner.admit(request, login, client).await;
        match &result {
            Ok(_) => counter!("iploop_admitted_total").increment(1),
            Err(error) => counter!("iploop_refused_total", "code" => error.code()).increment(1),
        }
        result
    }

    /// Writes down when keys were last used, every few seconds until `shutdown`. Without it nothing else suffers.
    pub async fn run(&self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(sleep(self.inner.config.last_used_interval))
            .await
            .is_some()
        {
            self.inner.write_last_used().await;
        }
        self.inner.write_last_used().await;
    }

    /// Forgets a key at once: its next login asks the database.
    pub fn invalidate_key(&self, key: ApiKeyId) {
        self.inner.cache.forget(|grant| grant.key.id == key);
    }

    /// Forgets an account's keys at once: their next logins ask the database.
    pub fn invalidate_account(&self, account: AccountId) {
        self.inner.cache.forget(|grant| grant.key.account == account);
    }
}

impl KeyChanges for Admission {
    fn key_changed(&self, key: ApiKeyId) {
        self.invalidate_key(key);
    }

    fn account_changed(&self, account: AccountId) {
        self.invalidate_account(account);
        self.inner.meters.credited(account);
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl Admitted {
    /// Who pays.
    pub fn account(&self) -> AccountId {
        self.key.grant.key.account
    }

    /// With which key.
    pub fn api_key(&self) -> ApiKeyId {
        self.key.grant.key.id
    }

    /// The account's plan.
    pub fn plan(&self) -> &Plan {
        &self.key.grant.plan
    }

    /// Counts the request's bytes; clones count into the same request.
    pub fn meter(&self) -> &StreamMeter {
        &self.meter
    }

    /// Ends the request: its bytes are paid or not by its outcome, and the connection is released.
    pub fn finish(self, outcome: Outcome) {
        self.meter.finish(outcome);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.meter.finish(Outcome::Served);
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("meter", &self.meter)
            .finish_non_exhaustive()
    }
}

/// An account's short id, which may stand for it in the user name: the last 12 hex digits of its id.
pub fn short_id(account: AccountId) -> String {
    let digits = account.uuid().simple().to_string();
    digits[digits.len() - SHORT_ID_DIGITS..].to_owned()
}

impl Inner {
    async fn admit(
        &self,
        request: RequestId,
        login: &Credentials,
        client: IpAddr,
    ) -> Result<Admitted, AdmissionError> {
        let now = self.clock.now();
        let key = self.known_key(login, client, now).await?;
        let grant = &key.grant;
        check_account(grant)?;
        check_client(grant, client)?;
        check_plan(&grant.plan, &login.targeting)?;
        let account = self
            .accounts
            .of(grant.key.account)
            .ok_or(AdmissionError::Overloaded)?;
        let limit = grant.plan.max_concurrent_connections;
        let connection = account
            .connect(limit)
            .ok_or(AdmissionError::TooManyConnections { limit })?;
        self.load_today(&account, grant.key.account, now).await?;
        let limit = u64::try_from(grant.plan.requests_per_day).unwrap_or(0);
        let counted = account
            .count_request(now, limit)
            .map_err(|retry_after| AdmissionError::DailyRequests { limit, retry_after })?;
        let meter = self
            .meters
            .begin(grant.key.account, grant.key.id, request)
            .await?;
        counted.keep();
        if key.note_use(now) {
            self.last_used.note(grant.key.id, now);
        }
        Ok(Admitted {
            key,
            meter,
            _connection: connection,
        })
    }

    /// The key of a login that proves it. Failures count against the client's address, and cost the database nothing.
    async fn known_key(
        &self,
        login: &Credentials,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<KnownKey>, AdmissionError> {
        let hash = ApiKeyHash::of(login.key.expose());
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
            account.load(id, self.usage.as_ref(), now),
        )
        .await
        {
            Ok(loaded) => loaded.map_err(unavailable),
            Err(elapsed) => Err(unavailable(StoreError::Unavailable(Box::new(elapsed)))),
        }
    }

    async fn write_last_used(&self) {
        match timeout(
            self.config.lookup_timeout,
            self.last_used.write(self.keys.as_ref()),
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
fn check_key(grant: &KeyGrant, login: &Credentials, now: Timestamp) -> Result<(), AdmissionError> {
    let is_claimed = match &login.user {
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

fn check_plan(plan: &Plan, targeting: &Targeting) -> Result<(), AdmissionError> {
    match targeting.gates().find(|gate| !opens(&plan.gates, *gate)) {
        None => Ok(()),
        Some(gate) => Err(AdmissionError::PlanFeature {
            parameter: targeting.parameter_for(gate),
            plan: plan.name.clone(),
        }),
    }
}

/// Whether a plan has what a gate stands for (PRD 5.9).
fn opens(gates: &Gates, gate: Gate) -> bool {
    match gate {
        Gate::City | Gate::Region | Gate::Zip => gates.city,
        Gate::Asn | Gate::Isp => gates.asn,
        Gate::StickySession => gates.sticky_sessions,
        Gate::ConnectionType | Gate::DeviceType | Gate::Profile | Gate::Performance => true,
    }
}
