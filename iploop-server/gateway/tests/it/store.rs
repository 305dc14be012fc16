//! A store in memory with one account and its key: what admission, metering and sticky sessions ask for.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::account::AccountStatus;
use iploop_platform::admission::AdmissionStore;
use iploop_platform::api_key::{ApiKey, ApiKeyHash, KeyGrant, KeyUsage};
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::CustomerTerms;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, LeaseId, PlanId};
use iploop_platform::ip_login::{Claimed, IpLogins, ListedAddress, ProvenAddress, UsedAddress};
use iploop_platform::keys::{KeyLimits, WantedLimits};
use iploop_platform::notices::RateAlert;
use iploop_platform::plan::{Gates, Plan};
use iploop_platform::sticky::StickySession;
use iploop_platform::store::{Lease, Ledger, StickySessions, StoreError};
use iploop_platform::usage::{Balance, DayUse, UsageRecord};
use ipnet::IpNet;
use parking_lot::Mutex;

/// Another key of the same account.
pub(crate) const SECOND_KEY: &str = "iploop_111102030405060708090a0b0c0d0e0f1011121314151617";

/// A key of another account.
pub(crate) const OTHERS_KEY: &str = "iploop_222202030405060708090a0b0c0d0e0f1011121314151617";

/// The one key.
pub(crate) const KEY: &str = "iploop_000102030405060708090a0b0c0d0e0f1011121314151617";

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct TestStore {
    grant: KeyGrant,
    books: Arc<Mutex<Books>>,
    sessions: Arc<Mutex<BTreeMap<(AccountId, String), StickySession>>>,
    addresses: Arc<Mutex<BTreeMap<IpAddr, UsedAddress>>>,
}

struct Books {
    balance_bytes: u64,
    records: HashMap<String, UsageRecord>,
}

impl TestStore {
    pub(crate) fn new(balance_bytes: u64, max_concurrent_connections: u32) -> Self {
        let now = Timestamp::from_millis(0);
        let plan = Plan {
            id: PlanId::new(),
            name: "Business".to_owned(),
            description: String::new(),
            price_per_gb_micros: 0,
            price_monthly_cents: 0,
            price_annual_cents: None,
            included_bytes: None,
            requests_per_day: 1_000_000,
            max_concurrent_connections,
            gates: Gates {
                city: true,
                asn: true,
                sticky_sessions: true,
            },
            features: vec![],
            is_active: true,
        };
        let key = ApiKey {
            id: ApiKeyId::new(),
            account: AccountId::new(),
            key_prefix: KEY[..14].to_owned(),
            name: String::new(),
            ip_whitelist: vec![],
            ip_login: false,
            limits: KeyLimits::default(),
            is_active: true,
            last_used_at: None,
            expires_at: None,
            created_at: now,
        };
        let grant = KeyGrant {
            key,
            account_status: AccountStatus::Active,
            email_verified: true,
            plan,
            terms: CustomerTerms::default(),
        };
        let books = Books {
            balance_bytes,
            records: HashMap::new(),
        };
        Self {
            grant,
            books: Arc::new(Mutex::new(books)),
            sessions: Arc::default(),
            addresses: Arc::default(),
        }
    }

    /// Limits the key, before the gateway starts.
    pub(crate) fn limit_key(&mut self, limits: &WantedLimits) {
        self.grant.key.limits = limits.check().expect("sound limits");
    }

    /// Addresses that the key may be used from, and whether proven ones need no password; before the gateway starts.
    pub(crate) fn list_addresses(&mut self, whitelist: &[IpNet], ip_login: bool) {
        (self.grant.key.ip_whitelist, self.grant.key.ip_login) = (whitelist.to_vec(), ip_login);
    }

    pub(crate) fn account(&self) -> AccountId {
        self.grant.key.account
    }

    /// Every request that was booked, in the order of their ids.
    pub(crate) fn records(&self) -> Vec<UsageRecord> {
        let mut records: Vec<_> = self.books.lock().records.values().cloned().collect();
        records.sort_by_key(|record| record.id);
        records
    }
}

fn not_here<T>() -> Result<T, StoreError> {
    Err(StoreError::Internal("not part of this store".into()))
}

#[async_trait]
impl AdmissionStore for TestStore {
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError> {
        let mut grant = self.grant.clone();
        if hash == ApiKeyHash::of(SECOND_KEY) {
            grant.key.id = ApiKeyId::new();
        } else if hash == ApiKeyHash::of(OTHERS_KEY) {
            (grant.key.id, grant.key.account) = (ApiKeyId::new(), AccountId::new());
        } else if hash != ApiKeyHash::of(KEY) {
            return Ok(None);
        }
        Ok(Some(grant))
    }
    async fn touch_api_keys(&self, _: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn key_usage(&self, keys: &[ApiKeyId], _: Timestamp) -> Result<Vec<KeyUsage>, StoreError> {
        let key = &self.grant.key;
        let used = KeyUsage {
            key: key.id,
            limits: key.limits.clone(),
            day_bytes: 0,
            month_bytes: 0,
            total_bytes: 0,
        };
        Ok(keys.contains(&key.id).then_some(used).into_iter().collect())
    }
    async fn day_use(&self, _: AccountId, _: Timestamp, _: Timestamp) -> Result<DayUse, StoreError> {
        Ok(DayUse::default())
    }
    async fn tell_rate_limits(&self, _: &[RateAlert]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Ledger for TestStore {
    async fn balance(&self, _: AccountId) -> Result<Balance, StoreError> {
        let bytes = i64::try_from(self.books.lock().balance_bytes).unwrap_or(i64::MAX);
        Ok(Balance {
            bytes,
            ..Balance::default()
        })
    }
    async fn take_lease(
        &self,
        _: AccountId,
        _: GatewayId,
        want_bytes: u64,
        _: Timestamp,
    ) -> Result<Lease, StoreError> {
        let mut books = self.books.lock();
        let granted_bytes = want_bytes.min(books.balance_bytes);
        books.balance_bytes -= granted_bytes;
        Ok(Lease {
            id: LeaseId::new(),
            granted_bytes,
        })
    }
    async fn settle(&self, records: &[UsageRecord], _: Timestamp) -> Result<(), StoreError> {
        let mut books = self.books.lock();
        for record in records {
            books.records.insert(record.id.to_string(), record.clone());
        }
        Ok(())
    }
    async fn shrink_lease(&self, _: AccountId, _: GatewayId, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn return_leases(&self, _: GatewayId, _: Option<AccountId>) -> Result<(), StoreError> {
        Ok(())
    }
    async fn credit(
        &self,
        _: AccountId,
        _: i64,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Balance, StoreError> {
        not_here()
    }
}

#[async_trait]
impl StickySessions for TestStore {
    async fn sticky_sessions(
        &self,
        after: Option<(AccountId, &str)>,
        _: Timestamp,
        limit: u32,
    ) -> Result<Vec<StickySession>, StoreError> {
        let after = after.map(|(account, name)| (account, name.to_owned()));
        let sessions = self.sessions.lock();
        let behind = sessions
            .iter()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        Ok(behind
            .take(limit.try_into().unwrap_or(usize::MAX))
            .map(|(_, session)| session.clone())
            .collect())
    }
    async fn keep_sticky_sessions(
        &self,
        kept: &[StickySession],
        ended: &[(AccountId, String)],
    ) -> Result<(), StoreError> {
        let mut sessions = self.sessions.lock();
        for key in ended {
            sessions.remove(key);
        }
        for session in kept {
            sessions.insert((session.account, session.name.clone()), session.clone());
        }
        Ok(())
    }
    async fn forget_sticky_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.sessions.lock().retain(|_, session| session.forget_at > now);
        Ok(0)
    }
}

#[async_trait]
impl IpLogins for TestStore {
    async fn claim_address(&self, claim: UsedAddress, _: Timestamp) -> Result<Claimed, StoreError> {
        self.addresses.lock().entry(claim.address).or_insert(claim);
        Ok(Claimed::Held(ProvenAddress {
            address: claim.address,
            proven_at: claim.at,
            used_at: claim.at,
        }))
    }
    async fn touch_addresses(&self, _: &[UsedAddress]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn listed_addresses(
        &self,
        after: Option<(IpAddr, ApiKeyId)>,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<ListedAddress>, StoreError> {
        let (key, addresses) = (&self.grant.key, self.addresses.lock());
        let rows = addresses
            .values()
            .filter(|_| key.ip_login && after.is_none())
            .map(|held| ListedAddress {
                address: held.address,
                account: held.account,
                used_at: held.at,
                key: key.id,
                hash: ApiKeyHash::of(KEY),
                whitelist: key.ip_whitelist.clone(),
            });
        Ok(rows.collect())
    }
    async fn addresses_of(&self, _: AccountId, _: Timestamp) -> Result<Vec<ProvenAddress>, StoreError> {
        not_here()
    }
    async fn release_address(&self, _: AccountId, _: IpAddr) -> Result<bool, StoreError> {
        not_here()
    }
    async fn forget_addresses(&self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}
