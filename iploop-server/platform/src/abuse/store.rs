//! The seam to the data of this module: each method is one act, with its audit record in the same transaction.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use iploop_protocol::policy::{Grant, Opening};

use super::audit::{AuditEntry, AuditQuery};
use super::lists::{PolicyChange, PolicyChanged, StoredPolicy};
use crate::account::{AccountStatus, Standing};
use crate::accounts::EmailAddress;
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, AuditId, GrantId, NodeId, RequestId};
use crate::store::StoreError;

/// One opening of a customer's, by an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountGrant {
    /// Its id.
    pub id: GrantId,
    /// Whose.
    pub account: AccountId,
    /// What is open.
    pub opening: Opening,
    /// Open before this time.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Since when.
    pub given_at: Timestamp,
    /// Closed by an admin at this time.
    pub revoked_at: Option<Timestamp>,
}

impl AccountGrant {
    /// In the form in which gateway and devices ask.
    pub fn grant(&self) -> Grant {
        Grant {
            opening: self.opening,
            until_ms: u64::try_from(self.until.as_millis()).unwrap_or(0),
        }
    }
}

/// How often a rule or limit stood in a customer's way on one UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// Days since 1970 in UTC.
    pub day: i64,
    /// The rule's class, or `limit_` and the limit's name.
    pub cause: String,
    /// The customer.
    pub account: AccountId,
    /// The device; none: the gateway refused.
    pub node: Option<NodeId>,
    /// How often.
    pub count: u64,
    /// First time that day.
    pub first_at: Timestamp,
    /// Last time that day.
    pub last_at: Timestamp,
}

/// Which refusals, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalQuery {
    /// From this day on.
    pub from_day: i64,
    /// Of this customer.
    pub account: Option<AccountId>,
    /// At this device.
    pub node: Option<NodeId>,
    /// For this cause.
    pub cause: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// Which use of an exit's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitUseQuery {
    /// The address that a complaint names.
    pub ip: IpAddr,
    /// The time that it names.
    pub at: Timestamp,
    /// How far off that time may be.
    pub within: Duration,
    /// At most so many requests.
    pub limit: u32,
}

/// A request that left by an exit's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitUse {
    /// The request.
    pub request: RequestId,
    /// Whose.
    pub account: AccountId,
    /// With which key.
    pub api_key: ApiKeyId,
    /// Through which device.
    pub node: Option<NodeId>,
    /// Host and port.
    pub destination: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
}

/// Who is told by mail that a customer was suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nobody: a person did it.
    Nobody,
    /// Admins that may sign in, the oldest ones, so many at most.
    Admins(u32),
    /// These addresses.
    Addresses(Vec<EmailAddress>),
}

/// Lists, grants, standing, suspensions, refusals and audit records.
#[async_trait]
pub trait Safeguards: Send + Sync + 'static {
    /// The stored policy, whole.
    async fn stored_policy(&self) -> Result<StoredPolicy, StoreError>;
    /// Makes one change and counts the version up. `entry.before` is filled in from what was there.
    ///
    /// `Conflict { what: "policy entry" }` if the value is listed already, `LimitReached` beyond
    /// [`MAX_ENTRIES`](super::MAX_ENTRIES).
    async fn change_policy(
        &self,
        change: &PolicyChange,
        entry: AuditEntry,
    ) -> Result<PolicyChanged, StoreError>;
    /// A customer's grants, newest first, at most [`MAX_GRANTS`](iploop_protocol::policy::MAX_GRANTS) of those that ended.
    async fn grants(&self, account: AccountId, now: Timestamp) -> Result<Vec<AccountGrant>, StoreError>;
    /// Gives a grant; `LimitReached` if the customer has [`MAX_GRANTS`](iploop_protocol::policy::MAX_GRANTS) that hold; false
    /// if there is no such account.
    async fn give_grant(&self, grant: &AccountGrant, entry: AuditEntry) -> Result<bool, StoreError>;
    /// Closes a grant; none if there is no such one of this account, or it is closed already.
    async fn revoke_grant(
        &self,
        account: AccountId,
        id: GrantId,
        entry: AuditEntry,
    ) -> Result<Option<AccountGrant>, StoreError>;
    /// Moves an account from one status to another, with the reason; false if it does not have the first. The mails about it are
    /// part of the act.
    async fn set_account_status(
        &self,
        account: AccountId,
        from: AccountStatus,
        to: AccountStatus,
        entry: AuditEntry,
        told: &Told,
    ) -> Result<bool, StoreError>;
    /// Sets a customer's standing; false if there is no such account or it has that standing.
    async fn set_standing(
        &self,
        account: AccountId,
        standing: Standing,
        entry: AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Appends a record of something that changed no data.
    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError>;
    /// A page of records, newest first.
    async fn audit_entries(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;
    /// Records made from `from` on, oldest first, after `after` if given: the feed of changes.
    async fn audit_since(
        &self,
        from: Timestamp,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;
    /// Adds counts to those of the same day, cause, customer and device.
    async fn add_refusals(&self, counts: &[RefusalCount]) -> Result<(), StoreError>;
    /// Counts of refusals.
    async fn refusals(&self, query: &RefusalQuery) -> Result<Vec<RefusalCount>, StoreError>;
    /// Forgets counts of days before `day`, at most `limit`; how many.
    async fn forget_refusals(&self, day: i64, limit: u32) -> Result<u64, StoreError>;
    /// Who left by an exit's address, newest first.
    async fn exit_uses(&self, query: &ExitUseQuery) -> Result<Vec<ExitUse>, StoreError>;
}
