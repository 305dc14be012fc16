//! The seam to the data: one method is one business act, whole or not at all.
//!
//! `iploop-store` implements these on SQLite and on PostgreSQL and runs one contract suite on both.

use async_trait::async_trait;

use crate::abuse::Safeguards;
use crate::account::{Account, MailTokenPurpose, NewAccount};
use crate::accounts::Identity;
use crate::admin::AdminStore;
use crate::admission::AdmissionStore;
use crate::api_key::{ApiKey, ApiKeyHash, KeyChange, NewApiKey};
use crate::billing::Billing;
use crate::clock::Timestamp;
use crate::device_retention::DeviceRetention;
use crate::events::Events;
use crate::ids::{AccountId, ApiKeyId, ConsentId, GatewayId, LeaseId, RequestId};
use crate::ip_login::IpLogins;
use crate::ledger::Books;
use crate::node::{NodeActivity, NodeRegistration, Registered};
use crate::notices::Notices;
use crate::owners::Owners;
use crate::partner::{NewPartner, Partner};
use crate::partners::PartnerRecords;
use crate::plan::Plan;
use crate::proxy_defaults::KeepsProxyDefaults;
use crate::statistics::Statistics;
use crate::sticky::StickySession;
use crate::support::Tickets;
use crate::usage::{Balance, UsageRecord, UsageSearch, UsageSummary};
use crate::webhooks::Webhooks;

/// Names the parts of [`Store`] once, for the trait and for whatever implements all of them.
macro_rules! store_of {
    ($($part:ident),+ $(,)?) => {
        /// Everything the platform keeps.
        pub trait Store: $($part +)+ {}
        impl<T> Store for T where T: $($part +)+ {}
    };
}

store_of! {
    Accounts,
    ApiKeys,
    AdmissionStore,
    Plans,
    Ledger,
    Usage,
    Statistics,
    KeepsProxyDefaults,
    Nodes,
    Partners,
    StickySessions,
    Safeguards,
    IpLogins,
    Identity,
    Books,
    Events,
    Webhooks,
    Notices,
    Tickets,
    AdminStore,
    Billing,
    PartnerRecords,
    Owners,
    DeviceRetention,
    Health,
}

/// Why the data could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A unique rule is broken.
    #[error("{what} is taken already")]
    Conflict {
        /// The rule: `email`, `api_key`, …
        what: &'static str,
    },
    /// A limit on the number of rows is reached.
    #[error("at most {limit} {what}")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// The database can't be reached or is overloaded: trying again may help.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Everything else: for the log.
    #[error("the database failed: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Accounts and the tokens sent to their mail addresses.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Makes an account with its plan and its bonus; `Conflict { what: "email" }` if the address is known.
    async fn create_account(&self, account: NewAccount) -> Result<Account, StoreError>;
    /// Likewise, with the mail that greets its owner and verifies the address.
    async fn register_account(&self, account: NewAccount) -> Result<Account, StoreError>;
    /// By id.
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;
    /// By address, without regard to case, with the password's hash.
    async fn account_by_email(&self, email: &str) -> Result<Option<(Account, String)>, StoreError>;
    /// The password's hash.
    async fn password_hash(&self, id: AccountId) -> Result<Option<String>, StoreError>;
    /// A new password's hash in place of the known one; false, and nothing is changed, if it is another one by now. Ends the
    /// account's logins, and tells its owner by mail.
    async fn set_password(
        &self,
        id: AccountId,
        known: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Notes a sign-in.
    async fn touch_login(&self, id: AccountId, now: Timestamp) -> Result<(), StoreError>;
    /// Stores a token sent by mail (SHA-256, hex); earlier ones of the same purpose stop working.
    async fn create_mail_token(
        &self,
        account: AccountId,
        purpose: MailTokenPurpose,
        token_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Whose a token is, if it is still good. Does not use it up.
    async fn mail_token(
        &self,
        purpose: MailTokenPurpose,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError>;
    /// Uses a verification token up and marks the account's address as verified; none if it is not good.
    async fn verify_email(&self, token_hash: &str, now: Timestamp) -> Result<Option<AccountId>, StoreError>;
    /// Uses a reset token up, sets the password and ends the account's logins; none if it is not good. Exactly one of many
    /// parallel tries succeeds.
    async fn reset_password(
        &self,
        token_hash: &str,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError>;
    /// Ends a login session before its time: its token id is refused from now until `expires_at`.
    async fn revoke_login(&self, token_id: &str, expires_at: Timestamp) -> Result<(), StoreError>;
    /// The token ids revoked and not yet expired.
    async fn revoked_logins(&self, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError>;
}

/// Customer keys.
#[async_trait]
pub trait ApiKeys: Send + Sync + 'static {
    /// Stores a key, with its event; `LimitReached` if the account has [`crate::api_key::MAX_KEYS_PER_ACCOUNT`], also under parallel tries.
    async fn create_api_key(&self, key: NewApiKey) -> Result<ApiKey, StoreError>;
    /// An account's keys, oldest first.
    async fn api_keys(&self, account: AccountId) -> Result<Vec<ApiKey>, StoreError>;
    /// One key of an account; none if it is another's.
    async fn api_key(&self, account: AccountId, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError>;
    /// Changes a key; none if it is another's.
    async fn change_api_key(
        &self,
        account: AccountId,
        id: ApiKeyId,
        change: KeyChange,
    ) -> Result<Option<ApiKey>, StoreError>;
    /// Sets the addresses a key may be used from; none if it is another's.
    async fn set_api_key_whitelist(
        &self,
        account: AccountId,
        id: ApiKeyId,
        whitelist: &[ipnet::IpNet],
    ) -> Result<Option<ApiKey>, StoreError>;
    /// Deletes a key, with its event; false if it is another's. Its usage stays.
    async fn delete_api_key(
        &self,
        account: AccountId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// Plans.
#[async_trait]
pub trait Plans: Send + Sync + 'static {
    /// All plans, cheapest first. The migration `plans` seeds them.
    async fn plans(&self) -> Result<Vec<Plan>, StoreError>;
    /// The plan of an account.
    async fn plan_of(&self, account: AccountId) -> Result<Option<Plan>, StoreError>;
}

/// A gateway's share of an account's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Bytes granted by this call; 0: the balance is used up.
    pub granted_bytes: u64,
}

/// Balance, leases and settlement.
///
/// `balance = bought + bonus - used`; a lease sets part of the balance aside for one gateway, so that two gateways never
/// serve the same byte. There is one open lease for an account and gateway.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// What an account has left.
    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError>;
    /// Adds up to `want_bytes` of what is free to the gateway's lease on the account, opening it if there is none.
    async fn take_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        want_bytes: u64,
        now: Timestamp,
    ) -> Result<Lease, StoreError>;
    /// Books usage in one transaction: rows are made or brought up to their totals, balance and lease go down by what is new.
    ///
    /// Idempotent: a record that is booked already, or older than what is booked, changes nothing.
    async fn settle(&self, records: &[UsageRecord], now: Timestamp) -> Result<(), StoreError>;
    /// Frees so much of a gateway's lease on an account, all of it if that is less.
    async fn shrink_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        bytes: u64,
    ) -> Result<(), StoreError>;
    /// Returns what is left of a gateway's leases: of one account, or of all at its start and end.
    async fn return_leases(&self, gateway: GatewayId, account: Option<AccountId>) -> Result<(), StoreError>;
    /// Adds bytes by hand, as a transaction of type `bonus`; idempotent by `key`, `Conflict` if that stands for something else.
    async fn credit(
        &self,
        account: AccountId,
        bytes: i64,
        description: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Balance, StoreError>;
}

/// Reading usage.
#[async_trait]
pub trait Usage: Send + Sync + 'static {
    /// Sums over the requests that began in `[from, to)`.
    async fn usage_summary(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<UsageSummary, StoreError>;
    /// The newest requests, at most `limit`.
    async fn recent_usage(&self, account: AccountId, limit: u32) -> Result<Vec<UsageRecord>, StoreError>;
    /// One request of an account; none if it is another's, or too old to be kept.
    async fn usage_record(
        &self,
        account: AccountId,
        id: RequestId,
    ) -> Result<Option<UsageRecord>, StoreError>;
    /// The account's requests that `search` describes, newest first, at most `limit`.
    async fn search_usage(
        &self,
        account: AccountId,
        search: &UsageSearch,
        limit: u32,
    ) -> Result<Vec<UsageRecord>, StoreError>;
    /// Turns at most `limit` ended requests that began before `before`, a whole hour, into sums by key and hour; how many.
    ///
    /// Sums over periods stay what they were. A request that is booked for the first time after that costs nothing: it may
    /// have been booked before and be gone.
    async fn archive_usage(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Devices and consent.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Makes or updates a device's row and appends its consent record.
    async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError>;
    /// Notes that an owner withdrew; idempotent.
    async fn withdraw_consent(
        &self,
        device_id: &str,
        consent: ConsentId,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Adds counters of devices.
    async fn note_activity(&self, activity: &[NodeActivity]) -> Result<(), StoreError>;
    /// Devices that ever registered.
    async fn node_count(&self) -> Result<u64, StoreError>;
}

/// Partners.
#[async_trait]
pub trait Partners: Send + Sync + 'static {
    /// Stores a partner.
    async fn create_partner(&self, partner: NewPartner) -> Result<Partner, StoreError>;
    /// By the hash of its key, or of the one before while that still works.
    async fn partner_by_key(&self, hash: ApiKeyHash, now: Timestamp) -> Result<Option<Partner>, StoreError>;
}

/// Sticky sessions, over a restart.
#[async_trait]
pub trait StickySessions: Send + Sync + 'static {
    /// Those that are not to be forgotten yet, by account and name, behind `after`, at most `limit`.
    async fn sticky_sessions(
        &self,
        after: Option<(AccountId, &str)>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StickySession>, StoreError>;
    /// Deletes those that were ended by hand, then writes the others whole; idempotent. Each of the two is done whole or
    /// not at all.
    async fn keep_sticky_sessions(
        &self,
        kept: &[StickySession],
        ended: &[(AccountId, String)],
    ) -> Result<(), StoreError>;
    /// Deletes what is to be forgotten by now; how many.
    async fn forget_sticky_sessions(&self, now: Timestamp) -> Result<u64, StoreError>;
}

/// Whether the data can be reached.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// One cheap read.
    async fn ping(&self) -> Result<(), StoreError>;
}
