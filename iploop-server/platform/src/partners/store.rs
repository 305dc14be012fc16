//! The seam to the data of partners: what is kept besides the ledger.

use async_trait::async_trait;

use super::app::{App, AppFacts, AppState};
use crate::abuse::AuditEntry;
use crate::api_key::ApiKeyHash;
use crate::clock::Timestamp;
use crate::ids::{AccountId, AppId, EntryId, NodeId, PartnerId};
use crate::partner::Partner;
use crate::store::StoreError;

/// A partner with what follows from devices and the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerSummary {
    /// The partner.
    pub partner: Partner,
    /// Devices that ever registered with its key and still are its.
    pub devices: u64,
    /// Of these, the ones that are connected.
    pub active_devices: u64,
    /// Its share of what its devices' bytes sold for, in all.
    pub earned_micros: i64,
}

/// An account that acts for a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerUser {
    /// The account.
    pub account: AccountId,
    /// Its mail address.
    pub email: String,
    /// Since when.
    pub linked_at: Timestamp,
}

/// What changes of a partner: none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerChange {
    /// The company's name.
    pub name: Option<String>,
    /// Contact address; none inside: no longer any.
    pub email: Option<Option<String>>,
    /// Whether its devices are accepted.
    pub is_active: Option<bool>,
    /// Its share of what is sold from now on, in basis points.
    pub revenue_share_bp: Option<u32>,
}

/// A key that takes the place of another.
#[derive(Clone, Debug)]
pub struct KeyReplacement {
    /// SHA-256 of the new one.
    pub key_hash: ApiKeyHash,
    /// The first characters of the new one.
    pub key_prefix: String,
    /// Until when the one before works; the one before that ends now.
    pub old_until: Timestamp,
}

/// A device of a partner's. Says nothing that leads to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerDevice {
    /// Its id.
    pub id: NodeId,
    /// `available`, `inactive` or `banned`.
    pub status: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    pub device_type: Option<String>,
    /// `wifi`, `cellular` or `ethernet`.
    pub connection_type: Option<String>,
    /// The library's version.
    pub sdk_version: String,
    /// Bytes both ways, in all.
    pub bytes: u64,
    /// 0 to 100.
    pub quality: Option<u8>,
    /// Last sign of life.
    pub last_seen_at: Timestamp,
    /// When it first registered.
    pub created_at: Timestamp,
}

/// A partner's devices in one country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryDevices {
    /// ISO 3166-1 alpha-2; none: not known.
    pub country: Option<String>,
    /// All of them.
    pub devices: u64,
    /// Those that are connected.
    pub active_devices: u64,
    /// Bytes both ways, in all.
    pub bytes: u64,
}

/// A payout in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// The entry.
    pub id: EntryId,
    /// Paid.
    pub amount_micros: i64,
    /// The payment, as the bank names it.
    pub reference: Option<String>,
    /// When it was booked.
    pub at: Timestamp,
}

/// What became of a partner that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerDeleted {
    /// It is gone.
    Gone,
    /// There is no such partner.
    NotThere,
    /// So many of its devices are connected.
    HasActiveDevices(u64),
}

/// What became of a user that was to act for a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It does.
    Done,
    /// There is no such partner.
    NoPartner,
    /// There is no such account.
    NoAccount,
    /// The account is deleted.
    Deleted,
    /// The account is an admin's, a device owner's, or acts for a partner already.
    OtherRole,
}

/// Partners, their apps and their users.
///
/// A deleted partner is none for all of these but the payouts.
#[async_trait]
pub trait PartnerRecords: Send + Sync + 'static {
    /// Partners behind `after`, oldest first, at most `limit`. Devices count as connected if they were heard after `active_after`.
    async fn partners(
        &self,
        after: Option<PartnerId>,
        active_after: Timestamp,
        limit: u32,
    ) -> Result<Vec<PartnerSummary>, StoreError>;
    /// One of them.
    async fn partner(
        &self,
        id: PartnerId,
        active_after: Timestamp,
    ) -> Result<Option<PartnerSummary>, StoreError>;
    /// Its devices behind `after`, oldest first, at most `limit`.
    async fn partner_devices(
        &self,
        id: PartnerId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<PartnerDevice>, StoreError>;
    /// Its devices by country, most first; there are some 250 countries.
    async fn partner_countries(
        &self,
        id: PartnerId,
        active_after: Timestamp,
    ) -> Result<Vec<CountryDevices>, StoreError>;
    /// Changes a partner. The record's `before` and `after` are filled.
    async fn change_partner(
        &self,
        id: PartnerId,
        change: &PartnerChange,
        entry: AuditEntry,
    ) -> Result<Option<Partner>, StoreError>;
    /// Gives a partner another key.
    async fn replace_partner_key(
        &self,
        id: PartnerId,
        key: &KeyReplacement,
        entry: AuditEntry,
    ) -> Result<Option<Partner>, StoreError>;
    /// Deletes a partner with its key, apps and users' links, unless a device was heard after `active_after`.
    async fn delete_partner(
        &self,
        id: PartnerId,
        active_after: Timestamp,
        entry: AuditEntry,
    ) -> Result<PartnerDeleted, StoreError>;

    // The record of each change of an app gets its `before` and `after` filled in.

    /// Its apps, oldest first.
    async fn partner_apps(&self, partner: PartnerId) -> Result<Vec<App>, StoreError>;
    /// Hands an app in, to be looked at; none: no such partner. `Conflict { what: "app" }` if it has one of this bundle id and
    /// platform, `LimitReached` above [`super::MAX_APPS`], also of parallel tries.
    async fn create_app(
        &self,
        partner: PartnerId,
        app: AppId,
        facts: &AppFacts,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError>;
    /// Says something else of an app, which is to be looked at again; none: no such app of this partner. One that was
    /// suspended stays so.
    async fn change_app(
        &self,
        partner: PartnerId,
        app: AppId,
        facts: &AppFacts,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError>;
    /// Removes an app nobody decided against; false: no such app of this partner, or it was rejected or suspended.
    async fn delete_app(&self, partner: PartnerId, app: AppId, entry: AuditEntry)
    -> Result<bool, StoreError>;
    /// Decides about an app. The record's `before` and `after` are filled.
    async fn review_app(
        &self,
        partner: PartnerId,
        app: AppId,
        state: AppState,
        entry: AuditEntry,
    ) -> Result<Option<App>, StoreError>;

    /// Lets a customer's account act for a partner: its role becomes `partner`.
    async fn link_partner_user(
        &self,
        partner: PartnerId,
        account: AccountId,
        entry: AuditEntry,
    ) -> Result<Linked, StoreError>;
    /// Ends that: its role is `customer` again. False: it did not act for this partner.
    async fn unlink_partner_user(
        &self,
        partner: PartnerId,
        account: AccountId,
        entry: AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Who acts for a partner, by id, behind `after`, at most `limit`.
    async fn partner_users(
        &self,
        partner: PartnerId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, StoreError>;
    /// The partner that an account acts for.
    async fn partner_of(&self, account: AccountId) -> Result<Option<PartnerId>, StoreError>;

    /// Payouts booked in `[from, to)`, newest first, at most `limit`.
    async fn payouts(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<Payout>, StoreError>;
}
