//! The seam to the data of the ledger.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::act::{EntryKind, NewEntry, Refusal};
use super::check::Checked;
use crate::clock::Timestamp;
use crate::ids::{AccountId, EntryId, PartnerId};
use crate::store::StoreError;
use crate::usage::NotACursor;

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booking {
    /// It is booked, now or under the same key before.
    Done(Booked),
    /// Nothing is booked.
    Refused(Refusal),
}

/// An entry that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its id.
    pub entry: EntryId,
    /// True: it stood already, and this call changed nothing.
    pub is_repeat: bool,
}

/// A line of a customer's statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The entry; of usage: of the customer and day.
    pub id: EntryId,
    /// What it is. Never a payout or an opening.
    pub kind: EntryKind,
    /// What it brought to the purse.
    pub bytes: i64,
    /// Paid, or less than nothing: paid back, or what used bytes had been bought for.
    pub amount_micros: i64,
    /// What it brought in credits.
    pub credits: i64,
    /// In words.
    pub description: String,
    /// The payment, as the payment provider names it.
    pub reference: Option<String>,
    /// How it stands.
    pub status: TransactionStatus,
    /// More about it.
    pub metadata: Value,
    /// When; usage: the beginning of its UTC day.
    pub at: Timestamp,
}

impl Transaction {
    /// What a customer used on a UTC day, as a line of its statement: what left the purse. Its id follows from both.
    pub fn of_usage(account: AccountId, day: Timestamp, bytes: i64, sold_micros: i64) -> Self {
        Self {
            id: usage_id(account, day),
            kind: EntryKind::Usage,
            bytes: bytes.saturating_neg(),
            amount_micros: sold_micros.saturating_neg(),
            credits: 0,
            description: "Usage".to_owned(),
            reference: None,
            status: TransactionStatus::Completed,
            metadata: Value::Object(serde_json::Map::new()),
            at: day,
        }
    }
}

/// The time as in UUID v7, then the customer's id, as far as UUID v8 has room for it.
fn usage_id(account: AccountId, day: Timestamp) -> EntryId {
    let account = account.uuid().as_u128();
    let millis = u128::from(day.as_millis().unsigned_abs()) & 0xffff_ffff_ffff;
    let (middle, tail) = ((account >> 62) & 0xfff, account & ((1 << 62) - 1));
    EntryId::from(Uuid::from_u128(
        (millis << 80) | (0x8 << 76) | (middle << 64) | (0b10 << 62) | tail,
    ))
}

/// How a transaction stands. What is not completed yet is not in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// It counts.
    Completed,
    /// A purchase, all of which was paid back.
    Refunded,
}

/// A place in a customer's statement: the line that was seen last. New ones do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionCursor {
    /// When that line is from.
    pub at: Timestamp,
    /// Its id.
    pub id: EntryId,
}

impl TransactionCursor {
    /// The place of this line.
    pub fn of(transaction: &Transaction) -> Self {
        Self {
            at: transaction.at,
            id: transaction.id,
        }
    }
}

impl fmt::Display for TransactionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.at.as_millis(), self.id.uuid().simple())
    }
}

impl FromStr for TransactionCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (millis, id) = text.split_once('.').ok_or(NotACursor)?;
        Ok(Self {
            at: Timestamp::from_millis(i64::from_str_radix(millis, 16).map_err(|_| NotACursor)?),
            id: id.parse().map_err(|_| NotACursor)?,
        })
    }
}

/// What a partner earned and got, in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartnerTotals {
    /// Paid bytes that its devices served.
    pub bytes: i64,
    /// What these sold for.
    pub sold_micros: i64,
    /// Its share of that.
    pub earned_micros: i64,
    /// Paid out.
    pub paid_micros: i64,
}

impl PartnerTotals {
    /// What it is owed. Less than nothing where bytes that it was paid for turned out not to be paid by the customer.
    pub fn payable_micros(&self) -> i64 {
        self.earned_micros.saturating_sub(self.paid_micros)
    }
}

/// Most periods in one answer: a year of hours and a little more.
pub const MAX_SHARE_ROWS: u32 = 10_000;

/// Length of the periods of a partner's statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// UTC hours.
    Hour,
    /// UTC days.
    Day,
}

impl Step {
    /// Its length in milliseconds.
    pub const fn as_millis(self) -> i64 {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

/// What a partner's devices earned in one period, by the begin of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareRow {
    /// When the period began.
    pub from: Timestamp,
    /// Paid bytes.
    pub bytes: i64,
    /// What these sold for.
    pub sold_micros: i64,
    /// The partner's share.
    pub earned_micros: i64,
}

/// The books: acts, statements and the check.
#[async_trait]
pub trait Books: Send + Sync + 'static {
    /// Books an act with its postings and its audit record in one transaction, under the lock of its owner's row.
    ///
    /// Idempotent by key, for each owner: the same act again is the entry that stands, another one [`Refusal::KeyTaken`].
    async fn book(&self, entry: &NewEntry) -> Result<Booking, StoreError>;
    /// A customer's statement behind `after`, newest first, at most `limit` lines.
    async fn transactions(
        &self,
        account: AccountId,
        after: Option<TransactionCursor>,
        limit: u32,
    ) -> Result<Vec<Transaction>, StoreError>;
    /// What a partner earned and got. Reads every hour in which it earned.
    async fn partner_totals(&self, partner: PartnerId) -> Result<PartnerTotals, StoreError>;
    /// What a partner's devices earned by requests that began in `[from, to)`, oldest first; periods without any are left
    /// out, and so is what comes behind [`MAX_SHARE_ROWS`]. The newest 25 hours may still change: a request ends later than it begins.
    async fn partner_shares(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        step: Step,
    ) -> Result<Vec<ShareRow>, StoreError>;
    /// Proves the ledger against everything that follows from it or leads to it, in one consistent view and bounded memory.
    /// Takes as long as it takes: for operators, not for requests.
    async fn check_ledger(&self) -> Result<Checked, StoreError>;
}
