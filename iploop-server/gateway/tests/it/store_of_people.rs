//! What the store in memory does not keep: people, their logins and second factors.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::Account;
use iploop_platform::accounts::{Erased, ProfileChange, Profiles};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, LoginId};
use iploop_platform::login::{
    KnownLogin, LoginNetwork, LoginRecord, LoginSessions, NewLogin, OpenedLogin, SecondFactor, SecondFactors,
    SignInSettings,
};
use iploop_platform::store::StoreError;
use ipnet::IpNet;

use crate::store::{TestStore, not_here};

#[async_trait]
impl Profiles for TestStore {
    async fn change_profile(&self, _: AccountId, _: &ProfileChange) -> Result<Option<Account>, StoreError> {
        not_here()
    }
    async fn sign_in_settings(&self, _: AccountId) -> Result<Option<SignInSettings>, StoreError> {
        not_here()
    }
    async fn set_sign_in_settings(
        &self,
        _: AccountId,
        _: Option<u32>,
        _: &[IpNet],
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn erase_account(&self, _: AccountId, _: AuditEntry) -> Result<Erased, StoreError> {
        not_here()
    }
}

#[async_trait]
impl LoginSessions for TestStore {
    async fn open_login(&self, _: &NewLogin) -> Result<Option<OpenedLogin>, StoreError> {
        not_here()
    }
    async fn known_login(&self, _: AccountId, _: LoginId) -> Result<Option<KnownLogin>, StoreError> {
        not_here()
    }
    async fn logins(&self, _: AccountId, _: Timestamp) -> Result<Vec<LoginRecord>, StoreError> {
        not_here()
    }
    async fn end_login(&self, _: AccountId, _: LoginId) -> Result<Option<Timestamp>, StoreError> {
        not_here()
    }
    async fn end_other_logins(
        &self,
        _: AccountId,
        _: Option<LoginId>,
    ) -> Result<Vec<(LoginId, Timestamp)>, StoreError> {
        not_here()
    }
    async fn touch_logins(&self, _: &[(LoginId, Timestamp)]) -> Result<(), StoreError> {
        not_here()
    }
    async fn forget_logins(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        not_here()
    }
    async fn login_networks(&self, _: AccountId) -> Result<Vec<LoginNetwork>, StoreError> {
        not_here()
    }
}

#[async_trait]
impl SecondFactors for TestStore {
    async fn second_factor(&self, _: AccountId) -> Result<Option<SecondFactor>, StoreError> {
        not_here()
    }
    async fn set_up_second_factor(&self, _: AccountId, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        not_here()
    }
    async fn confirm_second_factor(
        &self,
        _: AccountId,
        _: &str,
        _: i64,
        _: &[String],
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        not_here()
    }
    async fn use_step(&self, _: AccountId, _: i64) -> Result<bool, StoreError> {
        not_here()
    }
    async fn use_recovery_code(
        &self,
        _: AccountId,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        not_here()
    }
    async fn replace_recovery_codes(&self, _: AccountId, _: &[String]) -> Result<bool, StoreError> {
        not_here()
    }
    async fn end_second_factor(&self, _: AccountId) -> Result<bool, StoreError> {
        not_here()
    }
}
