//! The seam to the data of billing.

use async_trait::async_trait;

use super::dispute::Disputes;
use super::errand::Errands;
use super::event::{PaymentEvent, Receipt, SubscriptionStatus};
use super::page::Pages;
use crate::clock::Timestamp;
use crate::ids::{AccountId, PaymentId, PlanId};
use crate::store::StoreError;

/// How long a subscription's periods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interval {
    /// A month.
    Month,
    /// A year, with an allowance each month.
    Year,
}

impl Interval {
    /// Its name in the database, in the API and at the provider.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Month, Self::Year]
            .into_iter()
            .find(|interval| interval.as_str() == name)
    }

    /// Months in it.
    pub const fn months(self) -> i64 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

/// A price at the provider that we sell by: made by us, or named by an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Its id there.
    pub id: String,
    /// Of which plan.
    pub plan: PlanId,
    /// For how long.
    pub interval: Interval,
    /// In cents, for an interval.
    pub cents: i64,
}

/// A subscription as we know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id at the provider.
    pub id: String,
    /// The plan that it pays for.
    pub plan: PlanId,
    /// How long its periods are.
    pub interval: Interval,
    /// How it stands.
    pub status: SubscriptionStatus,
    /// Begin of the current period.
    pub from: Timestamp,
    /// The renewal, or the end.
    pub to: Timestamp,
    /// It ends with the period.
    pub ends_at_period_end: bool,
    /// Since when a renewal could not be collected.
    pub past_due_since: Option<Timestamp>,
}

/// What a payment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentKind {
    /// Bytes that the customer chose.
    TopUp,
    /// Bytes, because the balance fell below the customer's threshold.
    AutoTopUp,
}

impl PaymentKind {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::AutoTopUp => "auto_top_up",
        }
    }
}

/// A payment that the provider shall collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Who pays.
    pub account: AccountId,
    /// What for.
    pub kind: PaymentKind,
    /// Bytes that it buys.
    pub bytes: i64,
    /// What they cost.
    pub cents: i64,
    /// Names it at the provider: account, month and number for an automatic one.
    pub key: String,
}

/// A top-up that a customer wants.
#[derive(Clone, Copy, Debug)]
pub struct NewPayment {
    /// Its id.
    pub id: PaymentId,
    /// Who pays.
    pub account: AccountId,
    /// Bytes that it buys.
    pub bytes: i64,
    /// What they cost.
    pub cents: i64,
    /// When.
    pub now: Timestamp,
}

/// What became of a top-up's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may be paid.
    Payment(Payment),
    /// It would go beyond the account's cap of the month; so much is left, in cents.
    OverCap(i64),
    /// The account buys nothing for now.
    Held,
    /// There is no such account.
    NoAccount,
}

/// When bytes are bought without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoTopUp {
    /// Once the balance is below this.
    pub threshold_bytes: i64,
    /// So many.
    pub bytes: i64,
    /// Never for more than this in a UTC month.
    pub month_cents: i64,
}

/// What an account decided about its spending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillingSettings {
    /// Most that top-ups of a UTC month may cost, in cents.
    pub cap_cents: Option<i64>,
    /// Automatic top-ups, if they are on.
    pub auto_top_up: Option<AutoTopUp>,
    /// How many failed in a row. At [`super::MAX_FAILURES`] they were switched off.
    pub failures: u32,
    /// What top-ups of this month cost until now, those under way included.
    pub spent_cents: i64,
}

/// Why an event had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Of no kind that we handle.
    Unhandled,
    /// Nobody we know.
    UnknownCustomer,
    /// Not a price of ours.
    UnknownPrice,
    /// Not a payment of ours.
    UnknownPayment,
    /// We know something newer.
    Older,
    /// The period, or the payment, was paid already.
    PaidAlready,
    /// Not in our currency.
    OtherCurrency,
    /// Not our price.
    OtherAmount,
    /// It tells what we know.
    Known,
    /// Paid for a subscription that the account does not get: it goes back.
    Surplus,
}

impl Note {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unhandled => "unhandled",
            Self::UnknownCustomer => "unknown_customer",
            Self::UnknownPrice => "unknown_price",
            Self::UnknownPayment => "unknown_payment",
            Self::Older => "older",
            Self::PaidAlready => "paid_already",
            Self::OtherCurrency => "other_currency",
            Self::OtherAmount => "other_amount",
            Self::Known => "known",
            Self::Surplus => "surplus",
        }
    }
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The subscription, and perhaps the plan.
    Subscription,
    /// Money came; in cents, with the bytes that it brought now.
    Paid {
        /// In cents.
        cents: i64,
        /// Into the purse.
        bytes: i64,
    },
    /// A renewal could not be collected.
    RenewalFailed,
    /// A top-up will not be paid.
    NotPaid,
    /// Money went back.
    Refunded,
    /// The bank took money, or gave it back.
    Disputed,
    /// A second subscription, or one of an account that is gone: it is ended and paid back.
    Surplus,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was here before: nothing changed.
    Repeat,
    /// What it builds on is not here yet: nothing is kept of it, and it shall come again.
    TooEarly,
    /// It is on record, without effect.
    Noted(Note),
    /// Done.
    Done {
        /// Whose.
        account: AccountId,
        /// What.
        effect: Effect,
    },
}

/// A payment that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Failures in a row, this one included.
    pub failures: u32,
    /// Automatic top-ups are switched off by it.
    pub is_switched_off: bool,
}

/// Subscriptions, payments, and what the provider told of them.
#[async_trait]
pub trait Billing: Disputes + Errands + Pages {
    /// The provider's id of an account.
    async fn billing_customer(&self, account: AccountId) -> Result<Option<String>, StoreError>;
    /// Keeps the provider's id of an account, unless it has one; the one that stands.
    async fn keep_billing_customer(
        &self,
        account: AccountId,
        customer: &str,
        now: Timestamp,
    ) -> Result<String, StoreError>;
    /// The provider's price for this.
    async fn billing_price(
        &self,
        plan: PlanId,
        interval: Interval,
        cents: i64,
    ) -> Result<Option<String>, StoreError>;
    /// What a price of the provider stands for; none: we sold nothing by it yet.
    async fn price_sold(&self, price: &str) -> Result<Option<Price>, StoreError>;
    /// Keeps a price for good; idempotent.
    async fn keep_billing_price(&self, price: &Price) -> Result<(), StoreError>;
    /// The account's subscription: the live one, else the last.
    async fn subscription(&self, account: AccountId) -> Result<Option<Subscription>, StoreError>;
    /// What the account decided.
    async fn billing_settings(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<BillingSettings, StoreError>;
    /// Sets or lifts the cap.
    async fn set_spend_cap(&self, account: AccountId, cents: Option<i64>) -> Result<(), StoreError>;
    /// Switches automatic top-ups on, anew or off. Failures are forgotten.
    async fn set_auto_top_up(&self, account: AccountId, auto: Option<AutoTopUp>) -> Result<(), StoreError>;
    /// Begins a top-up within the cap, also under parallel tries. One that is not paid within an hour no longer counts. The same
    /// id again is the payment that was begun.
    async fn begin_top_up(&self, wish: NewPayment) -> Result<Begun, StoreError>;
    /// Active accounts whose balance is below their threshold and that have no automatic top-up under way, at most `limit`, behind
    /// `after`.
    async fn accounts_to_top_up(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError>;
    /// Begins an automatic top-up if it is due: of an active account, on, below the threshold, none under way, within cap and
    /// bound. One of many parallel tries begins it.
    async fn begin_auto_top_up(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Option<Payment>, StoreError>;
    /// Automatic top-ups begun before `before` of which nothing is known yet, oldest first.
    async fn open_auto_top_ups(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Payment, Timestamp)>, StoreError>;
    /// Books a payment that was made; once. Also one that was thought to have failed.
    async fn settle_payment(&self, receipt: &Receipt, now: Timestamp) -> Result<Taken, StoreError>;
    /// Notes that an automatic top-up failed; none if it is not under way.
    async fn fail_payment(
        &self,
        payment: PaymentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Failed>, StoreError>;
    /// Whether a payment that was made is named by one of these: by the provider's id of it, or of its invoice.
    async fn knows_payment(&self, references: &[String]) -> Result<bool, StoreError>;
    /// Takes an event with its effect in one transaction, once. An account without a live subscription has the plan `free`.
    async fn take_payment_event(&self, event: &PaymentEvent, free: PlanId) -> Result<Taken, StoreError>;
    /// Forgets events that came before `before`, at most `limit`; how many. One that comes again after that counts as new.
    async fn forget_payment_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Gives the months of annual payments that are due; whose, at most `limit`.
    async fn give_due_allowances(&self, now: Timestamp, limit: u32) -> Result<Vec<AccountId>, StoreError>;
    /// Ends the plans of subscriptions past due since before `before`; whose, at most `limit`.
    async fn end_grace(
        &self,
        before: Timestamp,
        free: PlanId,
        limit: u32,
    ) -> Result<Vec<AccountId>, StoreError>;
}
