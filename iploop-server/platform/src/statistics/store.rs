//! The seam to the roll-ups.

use async_trait::async_trait;

use super::{Dimension, Part};
use crate::ids::{AccountId, ApiKeyId};
use crate::store::StoreError;
use crate::usage::UsageSummary;

/// Reading sums. Each request counts in the slot in which it began; those that run count with what is booked of them.
#[async_trait]
pub trait Statistics: Send + Sync + 'static {
    /// Sums by the number that the parts say, in its order; numbers without a request are left out.
    async fn sums_by_number(
        &self,
        account: AccountId,
        key: Option<ApiKeyId>,
        parts: &[Part],
    ) -> Result<Vec<(i64, UsageSummary)>, StoreError>;
    /// Sums by key, most requests first.
    async fn sums_by_key(
        &self,
        account: AccountId,
        parts: &[Part],
    ) -> Result<Vec<(ApiKeyId, UsageSummary)>, StoreError>;
    /// Sums by what requests have in common, most requests first, at most `limit`.
    async fn sums_by_name(
        &self,
        account: AccountId,
        key: Option<ApiKeyId>,
        dimension: Dimension,
        parts: &[Part],
        limit: u32,
    ) -> Result<Vec<(String, UsageSummary)>, StoreError>;
}
