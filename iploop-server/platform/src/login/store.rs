//! The seam to the data of signing in: logins that live, and second factors.

use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;

use super::origin::Origin;
use crate::account::Account;
use crate::clock::Timestamp;
use crate::ids::{AccountId, LoginId};
use crate::store::StoreError;

/// Most logins of an account that live at the same time; a further one ends the one that was seen longest ago.
pub const MAX_LOGINS: usize = 100;
/// Networks that are remembered of an account.
pub const MAX_NETWORKS: usize = 20;

/// A login to be opened.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// The id in its token.
    pub id: LoginId,
    /// Whose.
    pub account: AccountId,
    /// Where it comes from.
    pub origin: Origin,
    /// When.
    pub now: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What opening a login showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedLogin {
    /// The account signed in before, and never from this network as far as is remembered.
    pub is_new_network: bool,
}

/// A login that lives: a row of `login_sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRecord {
    /// The id in its token.
    pub id: LoginId,
    /// The client's address when it signed in.
    pub address: IpAddr,
    /// What its program calls itself.
    pub user_agent: String,
    /// When it signed in.
    pub created_at: Timestamp,
    /// When it last asked for something, to the minute.
    pub last_seen_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A network that an account signed in from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginNetwork {
    /// As [`Origin::network`] gives it.
    pub network: String,
    /// First time.
    pub first_seen_at: Timestamp,
    /// Last time.
    pub last_seen_at: Timestamp,
}

/// What an account's owner decided about signing in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignInSettings {
    /// A login without a request for so many minutes ends; none: it lasts its day.
    pub idle_minutes: Option<u32>,
    /// Only from these networks; empty: from anywhere.
    pub allowed_from: Vec<IpNet>,
    /// A code is asked for besides the password.
    pub has_second_factor: bool,
}

/// Everything that a token is held against.
#[derive(Clone, Debug)]
pub struct KnownLogin {
    /// Whose it claims to be.
    pub account: Account,
    /// The hash of the password that stands now.
    pub password_hash: String,
    /// What the owner decided.
    pub settings: SignInSettings,
    /// When the login was last seen; none: it has ended, or was never opened.
    pub last_seen_at: Option<Timestamp>,
}

/// Logins that live.
#[async_trait]
pub trait LoginSessions: Send + Sync + 'static {
    /// Opens a login and remembers its network; none if the account is not active. Of more than [`MAX_LOGINS`] the one seen
    /// longest ago ends.
    async fn open_login(&self, login: &NewLogin) -> Result<Option<OpenedLogin>, StoreError>;
    /// What a token of this account and login is held against; none if there is no such account.
    async fn known_login(&self, account: AccountId, id: LoginId) -> Result<Option<KnownLogin>, StoreError>;
    /// An account's logins that did not expire, the one seen last first.
    async fn logins(&self, account: AccountId, now: Timestamp) -> Result<Vec<LoginRecord>, StoreError>;
    /// Ends one login and revokes its token; when it would have expired. None if it is another's, or has ended.
    async fn end_login(&self, account: AccountId, id: LoginId) -> Result<Option<Timestamp>, StoreError>;
    /// Ends an account's logins but one and revokes their tokens; which, and when they would have expired.
    async fn end_other_logins(
        &self,
        account: AccountId,
        keep: Option<LoginId>,
    ) -> Result<Vec<(LoginId, Timestamp)>, StoreError>;
    /// Notes when logins were last seen; never earlier than is known.
    async fn touch_logins(&self, seen: &[(LoginId, Timestamp)]) -> Result<(), StoreError>;
    /// Forgets at most `limit` expired logins; how many.
    async fn forget_logins(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Networks that the account signed in from, the latest first, at most [`MAX_NETWORKS`].
    async fn login_networks(&self, account: AccountId) -> Result<Vec<LoginNetwork>, StoreError>;
}

/// An account's second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// The encrypted secret.
    pub sealed_secret: String,
    /// False: set up, not yet confirmed, and not asked for.
    pub is_on: bool,
    /// Newest step of which a code was used.
    pub last_step: i64,
    /// Recovery codes that were not used.
    pub codes_left: u32,
}

/// Second factors and recovery codes. Of many parallel tries with one code exactly one succeeds.
#[async_trait]
pub trait SecondFactors: Send + Sync + 'static {
    /// The account's second factor.
    async fn second_factor(&self, account: AccountId) -> Result<Option<SecondFactor>, StoreError>;
    /// Keeps a secret that waits to be confirmed, in place of an earlier one; false if a second factor is on.
    async fn set_up_second_factor(
        &self,
        account: AccountId,
        sealed_secret: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Turns the second factor with this secret on, with the hashes of its recovery codes; false if it is on already, or
    /// another secret was set up since.
    async fn confirm_second_factor(
        &self,
        account: AccountId,
        sealed_secret: &str,
        step: i64,
        code_hashes: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Uses a step's code up; false if that one or a later one was used.
    async fn use_step(&self, account: AccountId, step: i64) -> Result<bool, StoreError>;
    /// Uses a recovery code up; how many are left, none if it is not good.
    async fn use_recovery_code(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<u32>, StoreError>;
    /// Puts new recovery codes in place of all; false if no second factor is on.
    async fn replace_recovery_codes(
        &self,
        account: AccountId,
        code_hashes: &[String],
    ) -> Result<bool, StoreError>;
    /// Turns the second factor off, forgets it with its codes, and tells the owner by mail; false if none is on.
    async fn end_second_factor(&self, account: AccountId, now: Timestamp) -> Result<bool, StoreError>;
}
