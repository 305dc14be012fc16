//! The seam to the data of devices' owners.

use async_trait::async_trait;
use serde_json::Value;

use super::credits::CreditRules;
use crate::abuse::AuditEntry;
use crate::clock::Timestamp;
use crate::device_news::DeviceNews;
use crate::ids::{AccountId, NodeId};
use crate::store::StoreError;

/// A device as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedDevice {
    /// Its id.
    pub id: NodeId,
    /// `available`, `inactive` or `banned`.
    pub status: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    pub device_type: Option<String>,
    /// The library's version.
    pub sdk_version: String,
    /// Bytes shared, both ways, in all.
    pub bytes: u64,
    /// Last sign of life.
    pub last_seen_at: Timestamp,
    /// When its owner claimed it.
    pub claimed_at: Timestamp,
    /// Whether its owner wishes that it pauses.
    pub is_paused: bool,
    /// Its newest consent record, and whether it was withdrawn.
    pub consent: Option<Value>,
}

/// What a device earned for an account in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarnedHour {
    /// When it began.
    pub hour: Timestamp,
    /// The device.
    pub node: NodeId,
    /// Paid bytes of others.
    pub bytes: i64,
    /// In nano-credits.
    pub nanos: i64,
}

/// An account's credits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreditBalance {
    /// In the ledger, to be spent.
    pub credits: i64,
    /// Earned and not in the ledger yet, in nano-credits.
    pub pending_nanos: i64,
    /// Why the pending ones wait for an admin; none: they wait until they make a whole credit.
    pub held: Option<String>,
}

/// Which owners, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnerQuery {
    /// Those whose credits are held back, or the others.
    pub is_held: Option<bool>,
    /// Behind this one.
    pub after: Option<AccountId>,
    /// At most so many.
    pub limit: u32,
}

/// An account that has devices, or earned by some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRecord {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub email: String,
    /// Devices that it claimed.
    pub devices: u64,
    /// What it earned.
    pub balance: CreditBalance,
}

/// What became of an account's hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HourCounted {
    /// So many credits were posted; the rest is pending.
    Posted(i64),
    /// It was counted before, or there was nothing.
    Nothing,
}

/// Codes by which an account claims a device.
#[async_trait]
pub trait PairingCodes: Send + Sync + 'static {
    /// Sets the code that a device shows, in place of the one before; false: no such device, or another secret is its.
    async fn set_pairing_code(
        &self,
        device_id: &str,
        device_secret_hash: &str,
        code_hash: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// The same for a device that proved itself when it registered; false: there is none.
    async fn set_code_of(
        &self,
        device: NodeId,
        code_hash: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;
}

/// Devices' owners.
#[async_trait]
pub trait Owners: PairingCodes + Earnings + DeviceNews {
    /// Uses a code up: the device is the account's, and no longer another's. Exactly one of many parallel tries succeeds;
    /// none: the code is unknown, used or expired.
    async fn claim_device(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<NodeId>, StoreError>;
    /// Gives a device up, and with it the owner's wish; false: it is not the account's.
    async fn unclaim_device(
        &self,
        account: AccountId,
        device: NodeId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Notes whether the owner wishes that a device pauses; false: it is not the account's.
    async fn wish_pause(
        &self,
        account: AccountId,
        device: NodeId,
        is_paused: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Withdraws every consent of a device; false: it is not the account's.
    async fn withdraw_device(
        &self,
        account: AccountId,
        device: NodeId,
        entry: AuditEntry,
    ) -> Result<bool, StoreError>;
    /// An account's devices behind `after`, oldest first, at most `limit`.
    async fn owned_devices(
        &self,
        account: AccountId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<OwnedDevice>, StoreError>;
    /// Everything that we hold of a device, the newest 1,000 rows of each kind; none: it is not the account's.
    async fn export_device(&self, account: AccountId, device: NodeId) -> Result<Option<Value>, StoreError>;
    /// Withdraws every consent of a device, takes what leads to it out of its row, and gives it up; false: it is not the
    /// account's. Its id stays in usage and credits; its own id stays in the withdrawals, so that they hold.
    async fn erase_device(
        &self,
        account: AccountId,
        device: NodeId,
        entry: AuditEntry,
    ) -> Result<bool, StoreError>;
}

/// What devices' owners earn.
#[async_trait]
pub trait Earnings: Send + Sync + 'static {
    /// Notes how claimed devices are that were heard after `active_after`, once for an hour. Forgets hours before `forget`.
    async fn note_device_hours(
        &self,
        hour: Timestamp,
        active_after: Timestamp,
        forget: Timestamp,
    ) -> Result<(), StoreError>;
    /// The next hour to be counted: `first`, where none was counted yet.
    async fn credit_hour(&self, first: Timestamp) -> Result<Timestamp, StoreError>;
    /// Accounts with devices, behind `after`, at most `limit`.
    async fn owners(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<AccountId>, StoreError>;
    /// Counts an account's hour and posts the whole credits to the ledger, unless they are held. Once, whoever tries.
    async fn count_credits(
        &self,
        account: AccountId,
        hour: Timestamp,
        rules: &CreditRules,
        now: Timestamp,
    ) -> Result<HourCounted, StoreError>;
    /// Every account's hour is counted: the next one is `next`.
    async fn finish_credit_hour(&self, next: Timestamp) -> Result<(), StoreError>;
    /// What an account has.
    async fn credits(&self, account: AccountId) -> Result<CreditBalance, StoreError>;
    /// Accounts with devices or pending credits that are not deleted.
    async fn owner_records(&self, query: &OwnerQuery) -> Result<Vec<OwnerRecord>, StoreError>;
    /// What an account's devices earned, those included that it gave up, the latest hours first, behind `after`, at most `limit`.
    async fn earned_hours(
        &self,
        account: AccountId,
        after: Option<(Timestamp, NodeId)>,
        limit: u32,
    ) -> Result<Vec<EarnedHour>, StoreError>;
    /// Holds an account's credits back, or lets them go: what was pending is posted. False: it is so, or it has none.
    async fn hold_credits(
        &self,
        account: AccountId,
        is_held: bool,
        entry: AuditEntry,
    ) -> Result<bool, StoreError>;
}
