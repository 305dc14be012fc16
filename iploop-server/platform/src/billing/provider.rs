//! The seam to the payment provider.

use async_trait::async_trait;

use super::event::{PaymentEvent, Receipt};
use super::page::{Closed, OpenPage, Page};
use super::store::{Interval, Payment};
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::plan::Plan;

/// A customer that the provider shall know.
#[derive(Clone, Copy, Debug)]
pub struct NewCustomer<'a> {
    /// Ours; the same again is the same customer.
    pub account: AccountId,
    /// Mail address for receipts.
    pub email: &'a str,
    /// The person's name.
    pub name: &'a str,
}

/// When a changed subscription costs its new price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proration {
    /// The difference for the rest of the period is charged at once; unpaid, nothing is changed.
    Now,
    /// From the next period on.
    NextPeriod,
}

/// Where the provider sends the browser afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUrls {
    /// After a payment.
    pub success: String,
    /// Without one.
    pub cancel: String,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The money came.
    Paid(Receipt),
    /// It did not and will not; why, for the customer.
    Declined(String),
    /// Not known yet: an event will tell, or the same call again.
    Pending,
}

/// An invoice, for the customer's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Its id: a place in the list.
    pub id: String,
    /// Its number, once it has one.
    pub number: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// In cents.
    pub total_cents: i64,
    /// `paid`, `open`, `void`, `uncollectible` or `draft`.
    pub status: String,
    /// Where the PDF is.
    pub pdf: Option<String>,
}

/// Why the provider did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It can't be reached, or has too much to do: trying again may help.
    #[error("the payment provider does not answer: {0}")]
    Unavailable(String),
    /// The customer's bank or card refuses; the words are the provider's, for the customer.
    #[error("the payment was declined: {0}")]
    Declined(String),
    /// It does not take what we sent: for the log.
    #[error("the payment provider refused a request: {0}")]
    Refused(String),
}

/// Why an event is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is not signed, or not by the provider.
    #[error("the signature does not fit")]
    Signature,
    /// Signed too long ago: it may be a copy.
    #[error("the signature is too old")]
    TooOld,
    /// Signed, and not of a form that we know.
    #[error("the event can't be read")]
    Malformed,
}

/// A payment provider. Every call is bounded in time; the calls that make something are idempotent.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Makes a customer; its id.
    async fn create_customer(&self, customer: NewCustomer<'_>) -> Result<String, ProviderError>;
    /// Makes the price of a plan, or finds it; its id.
    async fn price(&self, plan: &Plan, interval: Interval, cents: i64) -> Result<String, ProviderError>;
    /// Whether a price that somebody made there by hand can be sold, and costs this for this long in our currency; false also for
    /// what is no price.
    async fn sells(&self, price: &str, interval: Interval, cents: i64) -> Result<bool, ProviderError>;
    /// The page on which the customer subscribes.
    async fn subscribe(
        &self,
        customer: &str,
        price: &str,
        page: &Page,
        urls: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError>;
    /// The page on which the customer pays a payment.
    async fn pay(
        &self,
        customer: &str,
        payment: &Payment,
        page: &Page,
        urls: &ReturnUrls,
    ) -> Result<OpenPage, ProviderError>;
    /// Closes a page. One that is over already is no error.
    async fn close_page(&self, session: &str) -> Result<Closed, ProviderError>;
    /// The page for cards, addresses and receipts; its address.
    async fn portal(&self, customer: &str, return_url: &str) -> Result<String, ProviderError>;
    /// Moves a subscription to another price.
    async fn change(
        &self,
        subscription: &str,
        price: &str,
        proration: Proration,
    ) -> Result<(), ProviderError>;
    /// Lets a subscription end with its period, or go on.
    async fn end_with_period(&self, subscription: &str, ends: bool) -> Result<(), ProviderError>;
    /// Collects for a subscription, or stops it: what falls due meanwhile is never asked for. One that is over already is no error.
    async fn collect(&self, subscription: &str, collects: bool) -> Result<(), ProviderError>;
    /// Ends a subscription at once. One that is over already is no error.
    async fn end_now(&self, subscription: &str) -> Result<(), ProviderError>;
    /// Pays a payment, or an invoice, back whole. One that went back already is no error.
    async fn refund(&self, reference: &str) -> Result<(), ProviderError>;
    /// The invoice that a payment paid, if it paid one; none also for what is no payment.
    async fn invoice_of(&self, payment: &str) -> Result<Option<String>, ProviderError>;
    /// Forgets a customer for good, which ends its subscriptions. One that is gone already is no error.
    async fn delete_customer(&self, customer: &str) -> Result<(), ProviderError>;
    /// Newest first, behind `after`.
    async fn invoices(
        &self,
        customer: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Invoice>, ProviderError>;
    /// Charges the customer's saved card; the same payment again is the same charge for 24 hours.
    async fn charge(&self, customer: &str, payment: &Payment) -> Result<Charge, ProviderError>;
    /// Reads an event and proves that the provider sent it.
    fn event(&self, body: &[u8], signature: &str, now: Timestamp) -> Result<PaymentEvent, EventError>;
}
