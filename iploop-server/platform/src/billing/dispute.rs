//! Payments that a customer's bank takes back, what is owed then, and what an account may not do meanwhile.

use async_trait::async_trait;

use crate::abuse::AuditEntry;
use crate::clock::Timestamp;
use crate::ids::{AccountId, DisputeId, PaymentId};
use crate::store::StoreError;

/// A dispute as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeState {
    /// Its id at the provider.
    pub id: String,
    /// The provider's payment or charge: what the dispute names of both.
    pub references: Vec<String>,
    /// What is disputed, in cents.
    pub cents: i64,
    /// In lower case.
    pub currency: String,
    /// How it stands.
    pub status: DisputeStatus,
    /// Why, in the bank's word: `fraudulent`, `product_not_received`, …
    pub reason: String,
}

/// How a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeStatus {
    /// The bank asks, and took nothing yet.
    Inquiry,
    /// The bank took the money, and may give it back.
    Open,
    /// The money stays with us.
    Won,
    /// It is gone.
    Lost,
}

impl DisputeStatus {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::Open => "open",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Inquiry, Self::Open, Self::Won, Self::Lost]
            .into_iter()
            .find(|status| status.as_str() == name)
    }

    /// Whether the money is away.
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Open | Self::Lost)
    }

    /// Whether it is decided.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Won | Self::Lost)
    }
}

/// A dispute as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Ours, by the time we heard of it.
    pub id: DisputeId,
    /// The provider's.
    pub reference: String,
    /// Whose payment.
    pub account: AccountId,
    /// Which payment.
    pub payment: PaymentId,
    /// What is disputed, in cents.
    pub cents: i64,
    /// How it stands.
    pub status: DisputeStatus,
    /// Why, in the bank's word.
    pub reason: String,
    /// Bytes of the payment that had been used and are owed.
    pub owed_bytes: i64,
    /// When we heard of it.
    pub opened_at: Timestamp,
    /// The provider's time of its newest state.
    pub state_at: Timestamp,
}

/// Which disputes, newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct DisputeQuery {
    /// Older than this one: the last of the page before.
    pub before: Option<DisputeId>,
    /// Of this customer.
    pub account: Option<AccountId>,
    /// That stand so.
    pub status: Option<DisputeStatus>,
    /// At most so many.
    pub limit: u32,
}

/// Why an account buys nothing for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Disputes in which the bank has the money and has not decided.
    pub open_disputes: i64,
    /// Bytes that were used and then not paid for.
    pub owed_bytes: i64,
}

/// Disputes and what follows from them.
#[async_trait]
pub trait Disputes: Send + Sync + 'static {
    /// Why the account buys nothing for now; none: it may.
    async fn payment_hold(&self, account: AccountId) -> Result<Option<Hold>, StoreError>;
    /// A page of disputes.
    async fn disputes(&self, query: &DisputeQuery) -> Result<Vec<Dispute>, StoreError>;
    /// Lets an account off what it owes, with its audit record, whose `before` and `after` are filled; how many bytes that
    /// were. None: it owes nothing.
    async fn forgive_debt(&self, account: AccountId, entry: AuditEntry) -> Result<Option<i64>, StoreError>;
}
