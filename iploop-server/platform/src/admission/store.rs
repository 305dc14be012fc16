//! What admission asks of the data; what it knows of addresses that stand for keys is [`crate::ip_login::IpLogins`].

use async_trait::async_trait;

use crate::api_key::{ApiKeyHash, KeyGrant, KeyUsage};
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId};
use crate::notices::RateAlert;
use crate::store::StoreError;
use crate::usage::DayUse;

/// Keys and their use, as a proxy login needs them.
#[async_trait]
pub trait AdmissionStore: Send + Sync + 'static {
    /// Everything a proxy login needs, by the key's hash.
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError>;
    /// Notes when keys were last used.
    async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError>;
    /// What these keys have used, as of the UTC day of `now`, with the limits that stand; keys that don't exist are left out.
    async fn key_usage(&self, keys: &[ApiKeyId], now: Timestamp) -> Result<Vec<KeyUsage>, StoreError>;
    /// Requests that began in `[from, to)`: for the limits by the day, after a restart.
    async fn day_use(&self, account: AccountId, from: Timestamp, to: Timestamp)
    -> Result<DayUse, StoreError>;
    /// Writes the events about keys that reached their rate, with their mails: one for each key and hour, however many processes
    /// say so.
    async fn tell_rate_limits(&self, alerts: &[RateAlert]) -> Result<(), StoreError>;
}
