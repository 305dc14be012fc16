//! The seam to the data of accounts' owners: their settings, and their leaving.

use async_trait::async_trait;
use ipnet::IpNet;

use super::operator::{Unlock, Unlocked};
use crate::abuse::AuditEntry;
use crate::account::Account;
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::login::{LoginSessions, SecondFactors, SignInSettings};
use crate::store::StoreError;

/// Everything around one person: settings, logins, second factor.
pub trait Identity: Profiles + LoginSessions + SecondFactors {}
impl<T: Profiles + LoginSessions + SecondFactors> Identity for T {}

/// Changes of a profile: what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Company; none inside: no longer any.
    pub company: Option<Option<String>>,
    /// Phone number; none inside: no longer any.
    pub phone: Option<Option<String>>,
    /// A name of the IANA time zone database.
    pub time_zone: Option<String>,
}

/// What became of an account that was to be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// It is gone.
    Gone,
    /// There is no such account, or it was gone already.
    NotThere,
    /// It is the last admin's that may sign in.
    LastAdmin,
}

/// Settings and erasure.
#[async_trait]
pub trait Profiles: Send + Sync + 'static {
    /// Changes a profile; none if there is no such account.
    async fn change_profile(
        &self,
        account: AccountId,
        change: &ProfileChange,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError>;
    /// What the owner decided about signing in; none if there is no such account.
    async fn sign_in_settings(&self, account: AccountId) -> Result<Option<SignInSettings>, StoreError>;
    /// Sets how long a login may be idle, and from where to sign in: what is absent stays. False if there is no such account. That
    /// the list is another one is told by mail.
    async fn set_sign_in_settings(
        &self,
        account: AccountId,
        idle_minutes: Option<Option<u32>>,
        allowed_from: Option<&[IpNet]>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Takes away what keeps an account's owner out, ends its logins and writes a mail to its owner; none if there is no such
    /// account. With its audit record, of which the values are filled in, in one act.
    async fn unlock_account(
        &self,
        account: AccountId,
        unlock: Unlock,
        entry: AuditEntry,
    ) -> Result<Option<Unlocked>, StoreError>;
    /// Erases what is personal in an account, ends its keys, logins and sticky sessions, frees its address and marks it as
    /// deleted. Transactions and usage stay, under an id that says nothing. With its audit record and the mail to the address that
    /// it had, in one act.
    async fn erase_account(&self, account: AccountId, entry: AuditEntry) -> Result<Erased, StoreError>;
}
