use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;

use super::ProvenAddress;
use crate::api_key::ApiKeyHash;
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId};
use crate::store::StoreError;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The address is the account's, perhaps since before.
    Held(ProvenAddress),
    /// Another account holds it.
    Taken,
}

/// A proven address beside one of its account's keys that are switched on and have `ip_login`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub account: AccountId,
    /// When it was last used, to the day.
    pub used_at: Timestamp,
    /// The key.
    pub key: ApiKeyId,
    /// Its hash.
    pub hash: ApiKeyHash,
    /// The addresses that the key may be used from.
    pub whitelist: Vec<IpNet>,
}

/// A use of an address by its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whose use.
    pub account: AccountId,
    /// When.
    pub at: Timestamp,
}

/// Which addresses need no password.
#[async_trait]
pub trait IpLogins: Send + Sync + 'static {
    /// Makes an address an account's, unless it is another's that was used since `lapsed_before`. Of parallel claims one
    /// succeeds.
    ///
    /// `LimitReached` if the account has [`super::MAX_ADDRESSES`], also under parallel tries.
    async fn claim_address(
        &self,
        claim: UsedAddress,
        lapsed_before: Timestamp,
    ) -> Result<Claimed, StoreError>;
    /// Notes uses of addresses that are their account's; what is not is left alone.
    async fn touch_addresses(&self, used: &[UsedAddress]) -> Result<(), StoreError>;
    /// Addresses used since `lapsed_before`, each beside each key that may admit it, in an order of their own, behind
    /// `after`, at most `limit`.
    async fn listed_addresses(
        &self,
        after: Option<(IpAddr, ApiKeyId)>,
        lapsed_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedAddress>, StoreError>;
    /// An account's addresses used since `lapsed_before`.
    async fn addresses_of(
        &self,
        account: AccountId,
        lapsed_before: Timestamp,
    ) -> Result<Vec<ProvenAddress>, StoreError>;
    /// Gives an address up; false if it is not the account's.
    async fn release_address(&self, account: AccountId, address: IpAddr) -> Result<bool, StoreError>;
    /// Deletes what was last used before this; how many.
    async fn forget_addresses(&self, lapsed_before: Timestamp) -> Result<u64, StoreError>;
}
