//! Billing: subscriptions, top-ups and what a payment provider tells of them.
//!
//! ```text
//! API ─▶ BillingService ─▶ PaymentProvider (`iploop-billing`: Stripe)
//! provider ─▶ webhook ─▶ PaymentEvent ─▶ Billing::take_payment_event ─▶ subscription, plan, ledger, event: one transaction
//! BillingService::run: automatic top-ups, months of annual payments, grace, errands to the provider
//! ```
//!
//! The provider says what was paid; what that buys follows from our own rows ([`rules`]). Nothing comes from the browser.

mod checkout;
mod config;
mod dispute;
mod errand;
mod event;
mod export;
mod page;
mod provider;
pub mod rules;
mod service;
mod store;
mod task;

pub use config::BillingConfig;
pub use dispute::{Dispute, DisputeQuery, DisputeState, DisputeStatus, Disputes, Hold};
pub use errand::{
    Errand, ErrandKind, ErrandQuery, ErrandRecord, ErrandState, Errands, MAX_TRIES, wait_after,
};
pub use event::{
    Change, InvoiceReason, PaidInvoice, PaymentEvent, Receipt, RefundState, SubscriptionState,
    SubscriptionStatus,
};
pub use export::PaymentData;
pub use page::{Closed, OpenPage, PAGE_BEGIN, PAGE_LEFT, PAGE_LIFE, Page, PageBegun, PageWish, Pages};
pub use provider::{
    Charge, EventError, Invoice, NewCustomer, PaymentProvider, Proration, ProviderError, ReturnUrls,
};
pub use service::{BillingError, BillingParts, BillingService, Overview};
pub use store::{
    AutoTopUp, Begun, Billing, BillingSettings, Effect, Failed, Interval, NewPayment, Note, Payment,
    PaymentKind, Price, Subscription, Taken,
};

/// The one currency that prices, the ledger and every payment are in.
pub const CURRENCY: &str = "usd";

/// Micro-dollars in a cent.
pub const MICROS_PER_CENT: i64 = 10_000;

/// Failed automatic top-ups in a row after which they are switched off.
pub const MAX_FAILURES: u32 = 3;
