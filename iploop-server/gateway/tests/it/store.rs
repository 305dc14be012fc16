//! A store in memory with one account and its key: what admission and metering ask for, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::abuse::{
    AccountGrant, AuditEntry, AuditQuery, ExitUse, ExitUseQuery, PolicyChange, PolicyChanged, RefusalCount,
    RefusalQuery, Safeguards, StoredPolicy,
};
use iploop_platform::account::Standing;
use iploop_platform::account::{Account, AccountStatus, MailTokenPurpose, NewAccount};
use iploop_platform::api_key::{ApiKey, ApiKeyHash, KeyChange, KeyGrant, KeyUsage, NewApiKey};
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::CustomerTerms;
use iploop_platform::ids::{
    AccountId, ApiKeyId, AppId, AuditId, ConsentId, GatewayId, GrantId, LeaseId, NodeId, PartnerId, PlanId,
    RequestId, TicketId,
};
use iploop_platform::ip_login::{Claimed, IpLogins, ListedAddress, ProvenAddress, UsedAddress};
use iploop_platform::keys::{KeyLimits, WantedLimits};
use iploop_platform::ledger::{
    self, Booking, Checked, NewEntry, PartnerTotals, ShareRow, Step, Transaction, TransactionCursor,
};
use iploop_platform::node::{NodeActivity, NodeRegistration, Registered};
use iploop_platform::owners::{self, CreditBalance, CreditRules, HourCounted, OwnedDevice};
use iploop_platform::partner::{NewPartner, Partner};
use iploop_platform::partners::{
    self, App, AppFacts, AppState, CountryDevices, KeyReplacement, Linked, PartnerChange, PartnerDeleted,
    PartnerDevice, PartnerSummary, Payout,
};
use iploop_platform::plan::{Gates, Plan};
use iploop_platform::proxy_defaults::{KeepsProxyDefaults, ProxyDefaults};
use iploop_platform::statistics::{Dimension, Part, Statistics};
use iploop_platform::sticky::StickySession;
use iploop_platform::store::{
    Accounts, ApiKeys, Health, Lease, Ledger, Nodes, Partners, Plans, StickySessions, StoreError, Usage,
};
use iploop_platform::support::{NewTicket, Ticket, TicketChange, TicketQuery, Tickets};
use iploop_platform::usage::{Balance, DayUse, UsageRecord, UsageSearch, UsageSummary};
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

pub(crate) fn not_here<T>() -> Result<T, StoreError> {
    Err(StoreError::Internal("not part of this store".into()))
}

#[async_trait]
impl ApiKeys for TestStore {
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
    async fn create_api_key(&self, _: NewApiKey) -> Result<ApiKey, StoreError> {
        not_here()
    }
    async fn api_keys(&self, _: AccountId) -> Result<Vec<ApiKey>, StoreError> {
        not_here()
    }
    async fn api_key(&self, _: AccountId, _: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        not_here()
    }
    async fn change_api_key(
        &self,
        _: AccountId,
        _: ApiKeyId,
        _: KeyChange,
    ) -> Result<Option<ApiKey>, StoreError> {
        not_here()
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
    async fn set_api_key_whitelist(
        &self,
        _: AccountId,
        _: ApiKeyId,
        _: &[ipnet::IpNet],
    ) -> Result<Option<ApiKey>, StoreError> {
        not_here()
    }
    async fn delete_api_key(&self, _: AccountId, _: ApiKeyId, _: Timestamp) -> Result<bool, StoreError> {
        not_here()
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
impl Usage for TestStore {
    async fn day_use(&self, _: AccountId, _: Timestamp, _: Timestamp) -> Result<DayUse, StoreError> {
        Ok(DayUse::default())
    }
    async fn usage_record(&self, _: AccountId, _: RequestId) -> Result<Option<UsageRecord>, StoreError> {
        not_here()
    }
    async fn search_usage(
        &self,
        _: AccountId,
        _: &UsageSearch,
        _: u32,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        not_here()
    }
    async fn archive_usage(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        not_here()
    }
    async fn usage_summary(
        &self,
        _: AccountId,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        not_here()
    }
    async fn recent_usage(&self, _: AccountId, _: u32) -> Result<Vec<UsageRecord>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Statistics for TestStore {
    async fn sums_by_number(
        &self,
        _: AccountId,
        _: Option<ApiKeyId>,
        _: &[Part],
    ) -> Result<Vec<(i64, UsageSummary)>, StoreError> {
        not_here()
    }
    async fn sums_by_key(
        &self,
        _: AccountId,
        _: &[Part],
    ) -> Result<Vec<(ApiKeyId, UsageSummary)>, StoreError> {
        not_here()
    }
    async fn sums_by_name(
        &self,
        _: AccountId,
        _: Option<ApiKeyId>,
        _: Dimension,
        _: &[Part],
        _: u32,
    ) -> Result<Vec<(String, UsageSummary)>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl KeepsProxyDefaults for TestStore {
    async fn proxy_defaults(&self, _: AccountId) -> Result<Option<ProxyDefaults>, StoreError> {
        not_here()
    }
    async fn set_proxy_defaults(&self, _: AccountId, _: &ProxyDefaults) -> Result<(), StoreError> {
        not_here()
    }
}

#[async_trait]
impl Accounts for TestStore {
    async fn create_account(&self, _: NewAccount) -> Result<Account, StoreError> {
        not_here()
    }
    async fn account(&self, _: AccountId) -> Result<Option<Account>, StoreError> {
        not_here()
    }
    async fn account_by_email(&self, _: &str) -> Result<Option<(Account, String)>, StoreError> {
        not_here()
    }
    async fn password_hash(&self, _: AccountId) -> Result<Option<String>, StoreError> {
        not_here()
    }
    async fn set_password(&self, _: AccountId, _: &str, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn touch_login(&self, _: AccountId, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn create_mail_token(
        &self,
        _: AccountId,
        _: MailTokenPurpose,
        _: &str,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        not_here()
    }
    async fn mail_token(
        &self,
        _: MailTokenPurpose,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<AccountId>, StoreError> {
        not_here()
    }
    async fn verify_email(&self, _: &str, _: Timestamp) -> Result<Option<AccountId>, StoreError> {
        not_here()
    }
    async fn reset_password(&self, _: &str, _: &str, _: Timestamp) -> Result<Option<AccountId>, StoreError> {
        not_here()
    }
    async fn revoke_login(&self, _: &str, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn revoked_logins(&self, _: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Plans for TestStore {
    async fn plans(&self) -> Result<Vec<Plan>, StoreError> {
        not_here()
    }
    async fn plan_of(&self, _: AccountId) -> Result<Option<Plan>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Nodes for TestStore {
    async fn register_node(&self, _: NodeRegistration) -> Result<Registered, StoreError> {
        not_here()
    }
    async fn withdraw_consent(&self, _: &str, _: ConsentId, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn note_activity(&self, _: &[NodeActivity]) -> Result<(), StoreError> {
        not_here()
    }
    async fn node_count(&self) -> Result<u64, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Partners for TestStore {
    async fn create_partner(&self, _: NewPartner) -> Result<Partner, StoreError> {
        not_here()
    }
    async fn partner_by_key(&self, _: ApiKeyHash, _: Timestamp) -> Result<Option<Partner>, StoreError> {
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

#[async_trait]
impl Health for TestStore {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Tickets for TestStore {
    async fn create_ticket(&self, _: NewTicket) -> Result<Option<Ticket>, StoreError> {
        not_here()
    }
    async fn ticket(&self, _: Option<AccountId>, _: TicketId) -> Result<Option<Ticket>, StoreError> {
        not_here()
    }
    async fn tickets(&self, _: &TicketQuery) -> Result<Vec<Ticket>, StoreError> {
        not_here()
    }
    async fn change_ticket(
        &self,
        _: TicketId,
        _: &TicketChange,
        _: AuditEntry,
    ) -> Result<Option<Ticket>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl Safeguards for TestStore {
    async fn stored_policy(&self) -> Result<StoredPolicy, StoreError> {
        not_here()
    }
    async fn change_policy(&self, _: &PolicyChange, _: AuditEntry) -> Result<PolicyChanged, StoreError> {
        not_here()
    }
    async fn grants(&self, _: AccountId, _: Timestamp) -> Result<Vec<AccountGrant>, StoreError> {
        not_here()
    }
    async fn give_grant(&self, _: &AccountGrant, _: AuditEntry) -> Result<bool, StoreError> {
        not_here()
    }
    async fn revoke_grant(
        &self,
        _: AccountId,
        _: GrantId,
        _: AuditEntry,
    ) -> Result<Option<AccountGrant>, StoreError> {
        not_here()
    }
    async fn set_account_status(
        &self,
        _: AccountId,
        _: AccountStatus,
        _: AccountStatus,
        _: AuditEntry,
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn set_standing(&self, _: AccountId, _: Standing, _: AuditEntry) -> Result<bool, StoreError> {
        not_here()
    }
    async fn append_audit(&self, _: AuditEntry) -> Result<(), StoreError> {
        not_here()
    }
    async fn audit_entries(&self, _: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        not_here()
    }
    async fn audit_since(
        &self,
        _: Timestamp,
        _: Option<AuditId>,
        _: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        not_here()
    }
    async fn add_refusals(&self, _: &[RefusalCount]) -> Result<(), StoreError> {
        not_here()
    }
    async fn refusals(&self, _: &RefusalQuery) -> Result<Vec<RefusalCount>, StoreError> {
        not_here()
    }
    async fn forget_refusals(&self, _: i64, _: u32) -> Result<u64, StoreError> {
        not_here()
    }
    async fn exit_uses(&self, _: &ExitUseQuery) -> Result<Vec<ExitUse>, StoreError> {
        not_here()
    }
    async fn admin_addresses(&self, _: u32) -> Result<Vec<(String, String)>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl ledger::Books for TestStore {
    async fn book(&self, _: &NewEntry) -> Result<Booking, StoreError> {
        not_here()
    }
    async fn transactions(
        &self,
        _: AccountId,
        _: Option<TransactionCursor>,
        _: u32,
    ) -> Result<Vec<Transaction>, StoreError> {
        not_here()
    }
    async fn partner_totals(&self, _: PartnerId) -> Result<PartnerTotals, StoreError> {
        not_here()
    }
    async fn partner_shares(
        &self,
        _: PartnerId,
        _: Timestamp,
        _: Timestamp,
        _: Step,
    ) -> Result<Vec<ShareRow>, StoreError> {
        not_here()
    }
    async fn check_ledger(&self) -> Result<Checked, StoreError> {
        not_here()
    }
}

#[async_trait]
impl partners::PartnerRecords for TestStore {
    async fn partners(
        &self,
        _: Option<PartnerId>,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<PartnerSummary>, StoreError> {
        not_here()
    }
    async fn partner(&self, _: PartnerId, _: Timestamp) -> Result<Option<PartnerSummary>, StoreError> {
        not_here()
    }
    async fn partner_devices(
        &self,
        _: PartnerId,
        _: Option<NodeId>,
        _: u32,
    ) -> Result<Vec<PartnerDevice>, StoreError> {
        not_here()
    }
    async fn partner_countries(&self, _: PartnerId, _: Timestamp) -> Result<Vec<CountryDevices>, StoreError> {
        not_here()
    }
    async fn change_partner(
        &self,
        _: PartnerId,
        _: &PartnerChange,
        _: AuditEntry,
    ) -> Result<Option<Partner>, StoreError> {
        not_here()
    }
    async fn replace_partner_key(
        &self,
        _: PartnerId,
        _: &KeyReplacement,
        _: AuditEntry,
    ) -> Result<Option<Partner>, StoreError> {
        not_here()
    }
    async fn delete_partner(
        &self,
        _: PartnerId,
        _: Timestamp,
        _: AuditEntry,
    ) -> Result<PartnerDeleted, StoreError> {
        not_here()
    }
    async fn partner_apps(&self, _: PartnerId) -> Result<Vec<App>, StoreError> {
        not_here()
    }
    async fn create_app(&self, _: PartnerId, _: &AppFacts, _: Timestamp) -> Result<Option<App>, StoreError> {
        not_here()
    }
    async fn change_app(
        &self,
        _: PartnerId,
        _: AppId,
        _: &AppFacts,
        _: Timestamp,
    ) -> Result<Option<App>, StoreError> {
        not_here()
    }
    async fn delete_app(&self, _: PartnerId, _: AppId) -> Result<bool, StoreError> {
        not_here()
    }
    async fn review_app(
        &self,
        _: PartnerId,
        _: AppId,
        _: AppState,
        _: AuditEntry,
    ) -> Result<Option<App>, StoreError> {
        not_here()
    }
    async fn link_partner_user(
        &self,
        _: PartnerId,
        _: AccountId,
        _: AuditEntry,
    ) -> Result<Linked, StoreError> {
        not_here()
    }
    async fn unlink_partner_user(
        &self,
        _: PartnerId,
        _: AccountId,
        _: AuditEntry,
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn partner_users(&self, _: PartnerId) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn partner_of(&self, _: AccountId) -> Result<Option<PartnerId>, StoreError> {
        not_here()
    }
    async fn payouts(
        &self,
        _: PartnerId,
        _: Timestamp,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<Payout>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl owners::Owners for TestStore {
    async fn set_pairing_code(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        not_here()
    }
    async fn claim_device(&self, _: AccountId, _: &str, _: Timestamp) -> Result<Option<NodeId>, StoreError> {
        not_here()
    }
    async fn unclaim_device(&self, _: AccountId, _: NodeId) -> Result<bool, StoreError> {
        not_here()
    }
    async fn owned_devices(
        &self,
        _: AccountId,
        _: Option<NodeId>,
        _: u32,
    ) -> Result<Vec<OwnedDevice>, StoreError> {
        not_here()
    }
    async fn export_device(&self, _: AccountId, _: NodeId) -> Result<Option<serde_json::Value>, StoreError> {
        not_here()
    }
    async fn erase_device(&self, _: AccountId, _: NodeId, _: AuditEntry) -> Result<bool, StoreError> {
        not_here()
    }
    async fn note_device_hours(&self, _: Timestamp, _: Timestamp, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn credit_hour(&self, _: Timestamp) -> Result<Timestamp, StoreError> {
        not_here()
    }
    async fn owners(&self, _: Option<AccountId>, _: u32) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn count_credits(
        &self,
        _: AccountId,
        _: Timestamp,
        _: &CreditRules,
        _: Timestamp,
    ) -> Result<HourCounted, StoreError> {
        not_here()
    }
    async fn finish_credit_hour(&self, _: Timestamp) -> Result<(), StoreError> {
        not_here()
    }
    async fn credits(&self, _: AccountId) -> Result<CreditBalance, StoreError> {
        not_here()
    }
    async fn hold_credits(&self, _: AccountId, _: bool, _: AuditEntry) -> Result<bool, StoreError> {
        not_here()
    }
}
