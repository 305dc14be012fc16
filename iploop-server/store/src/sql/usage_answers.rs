//! What an account asks about its usage again and again, kept until its usage changes ([`Kept`]).
//!
//! Whoever writes requests or sums of an account counts its `usage_version` up, in the same transaction and under the lock
//! of its row in `user_plans`.

use std::fmt;
use std::sync::Arc;

use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::statistics::{Dimension, Part};
use iploop_platform::usage::{UsageRecord, UsageSearch, UsageSummary};
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::ledger::ids;
use super::{SqlStore, Tx};
use crate::error::Failure;
use crate::kept::Kept;

/// Bytes of each of the four kinds of answers.
const MAX_BYTES: u64 = 16 << 20;
/// What an entry takes beside its text, about.
const ENTRY_BYTES: usize = 256;
/// What a request takes beside what its row says, about: small texts on the heap.
const RECORD_TEXT_BYTES: usize = 160;

/// The answers, shared by the clones of a store.
#[derive(Clone)]
pub(super) struct UsageAnswers(Arc<Answers>);

struct Answers {
    by_number: Kept<SumsQuestion, Sums<i64>>,
    by_key: Kept<SumsQuestion, Sums<ApiKeyId>>,
    by_name: Kept<SumsQuestion, Sums<String>>,
    pages: Kept<PageQuestion, Vec<UsageRecord>>,
}

/// Sums, each with its label.
pub(super) type Sums<T> = Vec<(T, UsageSummary)>;

/// Which sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SumsQuestion {
    pub(super) account: AccountId,
    pub(super) key: Option<ApiKeyId>,
    pub(super) dimension: Dimension,
    pub(super) parts: Vec<Part>,
    pub(super) limit: Option<u32>,
}

/// Which page of the request log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PageQuestion {
    pub(super) account: AccountId,
    pub(super) search: UsageSearch,
    pub(super) limit: u32,
}

/// A label of sums: which answers it is found in.
pub(super) trait Label: Clone + Send + Sync + Sized + 'static {
    fn kept(answers: &UsageAnswers) -> &Kept<SumsQuestion, Sums<Self>>;
}

impl Label for i64 {
    fn kept(answers: &UsageAnswers) -> &Kept<SumsQuestion, Sums<Self>> {
        &answers.0.by_number
    }
}

impl Label for ApiKeyId {
    fn kept(answers: &UsageAnswers) -> &Kept<SumsQuestion, Sums<Self>> {
        &answers.0.by_key
    }
}

impl Label for String {
    fn kept(answers: &UsageAnswers) -> &Kept<SumsQuestion, Sums<Self>> {
        &answers.0.by_name
    }
}

/// Says nothing of what customers used.
impl fmt::Debug for UsageAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageAnswers")
    }
}

impl UsageAnswers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Answers {
            by_number: Kept::new(MAX_BYTES, |asked, sums| weight(asked, sums, 0)),
            by_key: Kept::new(MAX_BYTES, |asked, sums| weight(asked, sums, 0)),
            by_name: Kept::new(MAX_BYTES, |asked, sums| {
                weight(asked, sums, sums.iter().map(|(name, _)| name.len()).sum())
            }),
            pages: Kept::new(MAX_BYTES, |_, page| {
                ENTRY_BYTES + page.len() * (size_of::<UsageRecord>() + RECORD_TEXT_BYTES)
            }),
        }))
    }

    pub(super) fn pages(&self) -> &Kept<PageQuestion, Vec<UsageRecord>> {
        &self.0.pages
    }
}

fn weight<T>(asked: &SumsQuestion, sums: &Sums<T>, text_bytes: usize) -> usize {
    ENTRY_BYTES + size_of_val(asked.parts.as_slice()) + size_of_val(sums.as_slice()) + text_bytes
}

impl SqlStore {
    /// The version of an account's usage; none if there is no such account. To be read before what is kept under it.
    pub(super) async fn usage_version(&self, account: AccountId) -> Result<Option<i64>, Failure> {
        let row = sqlx::query("SELECT usage_version FROM user_plans WHERE user_id = $1")
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(|row| row.try_get("usage_version")).transpose()?)
    }
}

/// Ends what is kept of these accounts. Their rows are locked.
pub(super) async fn count_up(tx: &mut Tx, accounts: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(concat!(
        "UPDATE user_plans SET usage_version = usage_version + 1 WHERE user_id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(ids(accounts)))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
