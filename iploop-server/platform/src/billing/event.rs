//! What the payment provider tells, in our words.

use super::dispute::DisputeState;
use crate::clock::Timestamp;
use crate::ids::PaymentId;

/// One event. Events may come twice and in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEvent {
    /// The provider's id of it; the same again changes nothing.
    pub id: String,
    /// Its name at the provider, for the record.
    pub kind: String,
    /// When it happened at the provider, in whole seconds.
    pub at: Timestamp,
    /// When it came.
    pub now: Timestamp,
    /// What it tells.
    pub change: Change,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A subscription was made, changed or ended.
    Subscription(SubscriptionState),
    /// An invoice of a subscription was paid.
    InvoicePaid(PaidInvoice),
    /// An invoice of a subscription could not be collected.
    InvoiceFailed {
        /// The provider's customer.
        customer: String,
        /// The subscription.
        subscription: String,
        /// The invoice.
        invoice: String,
        /// What is due, in cents.
        cents: i64,
    },
    /// A payment that we began was made.
    Paid(Receipt),
    /// A payment that we began, and that the customer's bank took its time for, will not be made.
    NotPaid(PaymentId),
    /// Money of a payment went back.
    Refunded(RefundState),
    /// A customer's bank disputes a payment, or decided.
    Disputed(DisputeState),
    /// Nothing that concerns us.
    Other,
}

/// A subscription as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Its id at the provider.
    pub id: String,
    /// The provider's customer.
    pub customer: String,
    /// The provider's price.
    pub price: String,
    /// How it stands.
    pub status: SubscriptionStatus,
    /// The event tells that it was made: any other event about it is newer.
    pub is_new: bool,
    /// Begin of the period that is paid or to be paid.
    pub from: Timestamp,
    /// Its end: the renewal.
    pub to: Timestamp,
    /// It ends then.
    pub ends_at_period_end: bool,
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// The first payment is not made yet.
    Incomplete,
    /// Paid.
    Active,
    /// A renewal could not be collected: the balance stays, no new allowance comes.
    PastDue,
    /// Over for good.
    Cancelled,
}

impl SubscriptionStatus {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it gives the account its plan.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::PastDue)
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Incomplete, Self::Active, Self::PastDue, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// Why an invoice was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceReason {
    /// A period begins: it pays for the whole of it.
    Period,
    /// The plan was changed within a period: it pays for the difference.
    Change,
}

/// An invoice that was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidInvoice {
    /// Its id.
    pub id: String,
    /// The provider's customer.
    pub customer: String,
    /// The subscription.
    pub subscription: String,
    /// The price of its newest line.
    pub price: String,
    /// Why it was written.
    pub reason: InvoiceReason,
    /// Before discounts and taxes, in cents.
    pub subtotal_cents: i64,
    /// What was paid, in cents; credit of earlier changes makes it less.
    pub paid_cents: i64,
    /// In lower case.
    pub currency: String,
    /// The payment behind it, where the provider names it.
    pub intent: Option<String>,
    /// Begin of the period that it pays for.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Ours.
    pub payment: PaymentId,
    /// The provider's.
    pub intent: String,
    /// In cents.
    pub cents: i64,
    /// In lower case.
    pub currency: String,
}

/// Money that went back, in all until now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundState {
    /// The provider's payment or invoice: what the charge names of both.
    pub references: Vec<String>,
    /// The provider's customer.
    pub customer: Option<String>,
    /// In cents, all refunds of the charge together.
    pub cents: i64,
    /// In lower case.
    pub currency: String,
}
