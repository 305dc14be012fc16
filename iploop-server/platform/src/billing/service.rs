//! The rules around payments, as the API asks for them.

use std::sync::Arc;

use super::config::BillingConfig;
use super::dispute::Hold;
use super::event::{Change, PaymentEvent};
use super::provider::{EventError, Invoice, NewCustomer, PaymentProvider, ProviderError, ReturnUrls};
use super::rules;
use super::store::{AutoTopUp, BillingSettings, Effect, Interval, Price, Subscription, Taken};
use crate::account::Account;
use crate::accounts::PublicUrl;
use crate::clock::{Clock, Timestamp};
use crate::field::FieldProblem;
use crate::ids::{AccountId, PlanId};
use crate::keys::KeyChanges;
use crate::ledger::PurseChanges;
use crate::plan::Plan;
use crate::store::{Store, StoreError};
use crate::usage::Balance;

const GB: i64 = 1_000_000_000;
/// Largest cap and bound, in cents: a million dollars.
const MAX_CENTS: i64 = 100_000_000;
/// Largest threshold of an automatic top-up: 100 TB.
const MAX_THRESHOLD_BYTES: i64 = 100_000 * GB;
/// Longest id of an invoice that a page goes on behind.
const MAX_ID: usize = 100;

/// What the service is made of.
pub struct BillingParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who collects the money; none: nobody can pay, everything else works.
    pub provider: Option<Arc<dyn PaymentProvider>>,
    /// Who wants to know of filled purses.
    pub purses: Arc<dyn PurseChanges>,
    /// Who wants to know of changed plans.
    pub changes: Arc<dyn KeyChanges>,
    /// Where browsers come back to.
    pub public_url: PublicUrl,
}

/// The rules around payments. Clones share one state.
#[derive(Clone)]
pub struct BillingService(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: BillingParts,
    pub(super) config: BillingConfig,
}

/// Why something about payments was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BillingError {
    /// No payment provider is configured.
    #[error("payments are not configured")]
    NotConfigured,
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// There is a live subscription already.
    #[error("there is a subscription already")]
    Subscribed,
    /// There is no live subscription.
    #[error("there is no subscription")]
    NotSubscribed,
    /// The account's cap of the month; so much of it is left, in cents.
    #[error("at most {0} cents are left of the month's cap")]
    OverCap(i64),
    /// A payment is disputed, or was and is owed.
    #[error("a disputed payment must be settled first")]
    Held,
    /// The account opened a page for something else at the same moment.
    #[error("another page was opened at the same moment")]
    PageReplaced,
    /// The account owes nothing.
    #[error("the account owes nothing")]
    NothingOwed,
    /// There is no such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The account is deleted.
    #[error("the account is deleted")]
    AccountDeleted,
    /// There is no such errand.
    #[error("there is no such errand")]
    NoSuchErrand,
    /// The errand was done already.
    #[error("the errand is done")]
    ErrandDone,
    /// The event is not believed.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The event builds on one that is not here yet.
    #[error("the event came too early")]
    TooEarly,
    /// The payment provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The data can't be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How an account stands.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its plan.
    pub plan: Plan,
    /// Its subscription, the live one or the last.
    pub subscription: Option<Subscription>,
    /// What it has and used.
    pub balance: Balance,
    /// What it decided.
    pub settings: BillingSettings,
    /// Why it buys nothing for now.
    pub hold: Option<Hold>,
}

impl BillingService {
    /// From its parts.
    pub fn new(parts: BillingParts, config: BillingConfig) -> Self {
        Self(Arc::new(Inner { parts, config }))
    }

    /// Whether anybody can pay.
    pub fn is_configured(&self) -> bool {
        self.0.parts.provider.is_some()
    }

    /// What can be bought, cheapest first.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn plans(&self) -> Result<Vec<Plan>, BillingError> {
        let mut plans = self.store().plans().await?;
        plans.retain(|plan| plan.is_active);
        Ok(plans)
    }

    /// How an account stands.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn overview(&self, account: AccountId) -> Result<Overview, BillingError> {
        let store = self.store();
        Ok(Overview {
            plan: self.plan_of(account).await?,
            subscription: store.subscription(account).await?,
            balance: store.balance(account).await?,
            settings: store.billing_settings(account, self.now()).await?,
            hold: store.payment_hold(account).await?,
        })
    }

    /// The page for cards, addresses and receipts.
    ///
    /// # Errors
    /// The provider's.
    pub async fn portal(&self, account: &Account) -> Result<String, BillingError> {
        let provider = self.provider()?;
        let customer = self.customer(&**provider, account).await?;
        Ok(provider.portal(&customer, &self.urls().cancel).await?)
    }

    /// Moves the account's subscription to another plan or interval, as [`rules::proration`] says. The plan follows when the
    /// provider says so.
    ///
    /// # Errors
    /// [`BillingError::NotSubscribed`], [`BillingError::Held`], an unknown plan, or what the provider says of the payment.
    pub async fn change(
        &self,
        account: AccountId,
        plan: PlanId,
        interval: Interval,
    ) -> Result<(), BillingError> {
        let provider = self.provider()?;
        let price = self.price(&**provider, plan, interval).await?;
        let live = self.live(account).await?.ok_or(BillingError::NotSubscribed)?;
        if self.store().payment_hold(account).await?.is_some() {
            return Err(BillingError::Held);
        }
        if (live.plan, live.interval) == (plan, interval) {
            return Err(invalid("planId", "This is the plan already"));
        }
        let plans = self.store().plans().await?;
        let included = |id| {
            let plan = plans.iter().find(|known| known.id == id);
            plan.and_then(|plan| plan.included_bytes).unwrap_or(0)
        };
        let proration = rules::proration((live.interval, included(live.plan)), (interval, included(plan)))
            .ok_or_else(|| {
                invalid(
                    "interval",
                    "The period that is paid must end first: cancel, and subscribe then",
                )
            })?;
        Ok(provider.change(&live.id, &price, proration).await?)
    }

    /// Lets the account's subscription end with its period, or go on after all.
    ///
    /// # Errors
    /// [`BillingError::NotSubscribed`].
    pub async fn end_with_period(&self, account: AccountId, ends: bool) -> Result<(), BillingError> {
        let provider = self.provider()?;
        let live = self.live(account).await?.ok_or(BillingError::NotSubscribed)?;
        Ok(provider.end_with_period(&live.id, ends).await?)
    }

    /// The account's invoices behind `after`, newest first, at most `limit`.
    ///
    /// # Errors
    /// The provider's.
    pub async fn invoices(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Invoice>, BillingError> {
        let provider = self.provider()?;
        let is_id = |id: &str| {
            id.len() <= MAX_ID
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if after.is_some_and(|id| !is_id(id)) {
            return Err(invalid("cursor", "Must be a nextCursor that an answer had"));
        }
        match self.store().billing_customer(account).await? {
            Some(customer) => Ok(provider.invoices(&customer, after, limit).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Sets or lifts the cap on what top-ups of a month may cost.
    ///
    /// # Errors
    /// An amount below zero or beyond a million dollars.
    pub async fn set_spend_cap(
        &self,
        account: AccountId,
        cents: Option<i64>,
    ) -> Result<BillingSettings, BillingError> {
        if cents.is_some_and(|cents| !(0..=MAX_CENTS).contains(&cents)) {
            return Err(invalid("monthlyCapCents", "Must be 0 to 100000000"));
        }
        self.store().set_spend_cap(account, cents).await?;
        Ok(self.store().billing_settings(account, self.now()).await?)
    }

    /// Switches automatic top-ups on or off.
    ///
    /// # Errors
    /// Amounts out of bounds.
    pub async fn set_auto_top_up(
        &self,
        account: AccountId,
        auto: Option<AutoTopUp>,
    ) -> Result<BillingSettings, BillingError> {
        if let Some(auto) = &auto {
            self.provider()?;
            if !(0..=MAX_THRESHOLD_BYTES).contains(&auto.threshold_bytes) {
                return Err(invalid("thresholdBytes", "Must be 0 to 100 TB"));
            }
            self.top_up_bytes("gb", u32::try_from(auto.bytes / GB).unwrap_or(0))?;
            if !(1..=MAX_CENTS).contains(&auto.month_cents) {
                return Err(invalid("monthlyBoundCents", "Must be 1 to 100000000"));
            }
        }
        self.store().set_auto_top_up(account, auto).await?;
        Ok(self.store().billing_settings(account, self.now()).await?)
    }

    /// Takes an event of the provider: proves it, and applies it once.
    ///
    /// # Errors
    /// [`BillingError::Event`]: it is not believed. [`BillingError::TooEarly`], [`BillingError::Store`], [`BillingError::Provider`]: it
    /// shall come again.
    pub async fn take_event(&self, body: &[u8], signature: &str) -> Result<Taken, BillingError> {
        let mut event: PaymentEvent = self.provider()?.event(body, signature, self.now())?;
        self.add_invoice(&mut event).await?;
        let free = self.free_plan().await?;
        let taken = self.store().take_payment_event(&event, free).await?;
        match taken {
            Taken::Noted(note) => {
                tracing::info!(
                    event.id,
                    event.kind,
                    note = note.as_str(),
                    "a payment event had no effect"
                );
            }
            Taken::TooEarly => return Err(BillingError::TooEarly),
            Taken::Repeat | Taken::Done { .. } => {}
        }
        self.tell(taken);
        Ok(taken)
    }

    /// What goes back may be named by its payment alone, where we know the invoice alone: the provider knows which it was for.
    async fn add_invoice(&self, event: &mut PaymentEvent) -> Result<(), BillingError> {
        let references = match &mut event.change {
            Change::Refunded(refund) => &mut refund.references,
            Change::Disputed(dispute) => &mut dispute.references,
            _ => return Ok(()),
        };
        if self.store().knows_payment(references).await? {
            return Ok(());
        }
        for reference in references.clone() {
            match self.provider()?.invoice_of(&reference).await {
                Ok(Some(invoice)) => {
                    references.push(invoice);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error @ ProviderError::Unavailable(_)) => return Err(error.into()),
                // Asking again would not help: what is left is what the event names.
                Err(error) => {
                    tracing::warn!(event.id, %error, "the invoice of a payment can't be asked for");
                }
            }
        }
        Ok(())
    }

    /// Tells the gateway what changed. The customer is told by an event, which the store wrote beside it.
    pub(super) fn tell(&self, taken: Taken) {
        let Taken::Done { account, effect } = taken else {
            return;
        };
        let parts = &self.0.parts;
        match effect {
            Effect::Subscription | Effect::Refunded | Effect::Disputed => {
                parts.changes.account_changed(account)
            }
            Effect::Paid { .. } => parts.purses.credited(account),
            Effect::RenewalFailed | Effect::NotPaid | Effect::Surplus => {}
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.0.parts.store
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    pub(super) fn provider(&self) -> Result<&Arc<dyn PaymentProvider>, BillingError> {
        self.0.parts.provider.as_ref().ok_or(BillingError::NotConfigured)
    }

    /// The plan of accounts without a live subscription: the one that registering gives.
    pub(super) async fn free_plan(&self) -> Result<PlanId, BillingError> {
        Ok(self.store().settings().await?.settings.first_plan)
    }

    pub(super) async fn plan_of(&self, account: AccountId) -> Result<Plan, BillingError> {
        let plan = self.store().plan_of(account).await?;
        plan.ok_or_else(|| StoreError::Internal("the account has no plan".into()).into())
    }

    async fn live(&self, account: AccountId) -> Result<Option<Subscription>, BillingError> {
        let subscription = self.store().subscription(account).await?;
        Ok(subscription.filter(|known| known.status.is_live()))
    }

    pub(super) async fn customer(
        &self,
        provider: &dyn PaymentProvider,
        account: &Account,
    ) -> Result<String, BillingError> {
        if let Some(customer) = self.store().billing_customer(account.id).await? {
            return Ok(customer);
        }
        let name = format!("{} {}", account.first_name, account.last_name);
        let customer = NewCustomer {
            account: account.id,
            email: &account.email,
            name: name.trim(),
        };
        let made = provider.create_customer(customer).await?;
        Ok(self
            .store()
            .keep_billing_customer(account.id, &made, self.now())
            .await?)
    }

    /// The provider's price of a plan: the one that an admin named, as long as it costs what the plan does; else ours, made where
    /// it does not exist yet. A changed price of ours is another price there; who subscribed before keeps the old one.
    pub(super) async fn price(
        &self,
        provider: &dyn PaymentProvider,
        plan: PlanId,
        interval: Interval,
    ) -> Result<String, BillingError> {
        let plans = self.plans().await?;
        let plan = plans
            .iter()
            .find(|known| known.id == plan && known.included_bytes.is_some())
            .ok_or_else(|| invalid("planId", "There is no such plan to subscribe to"))?;
        let cents = match interval {
            Interval::Month => Some(plan.price_monthly_cents),
            Interval::Year => plan.price_annual_cents,
        };
        let cents = cents
            .filter(|cents| *cents > 0)
            .ok_or_else(|| invalid("interval", "The plan is not sold this way"))?;
        if let Some(named) = self.named_price(provider, plan.id, interval, cents).await? {
            return Ok(named);
        }
        if let Some(known) = self.store().billing_price(plan.id, interval, cents).await? {
            return Ok(known);
        }
        let id = provider.price(plan, interval, cents).await?;
        let price = Price {
            id,
            plan: plan.id,
            interval,
            cents,
        };
        self.store().keep_billing_price(&price).await?;
        Ok(price.id)
    }

    /// The price that an admin named for a plan. What it costs is asked for once: at the provider a price never changes that.
    async fn named_price(
        &self,
        provider: &dyn PaymentProvider,
        plan: PlanId,
        interval: Interval,
        cents: i64,
    ) -> Result<Option<String>, BillingError> {
        let details = self.store().plan_details(plan).await?;
        let named = details.and_then(|details| match interval {
            Interval::Month => details.stripe_price_monthly,
            Interval::Year => details.stripe_price_annual,
        });
        let Some(id) = named else { return Ok(None) };
        let price = Price {
            id,
            plan,
            interval,
            cents,
        };
        let fits = match self.store().price_sold(&price.id).await? {
            Some(sold) => sold == price,
            None => provider.sells(&price.id, interval, cents).await?,
        };
        if fits {
            self.store().keep_billing_price(&price).await?;
            return Ok(Some(price.id));
        }
        tracing::warn!(plan.id = %plan, price.id, cents, "the price named for a plan is another one, a price is made instead");
        Ok(None)
    }

    pub(super) fn top_up_bytes(&self, field: &'static str, gb: u32) -> Result<i64, BillingError> {
        let (least, most) = (self.0.config.top_up_min_gb, self.0.config.top_up_max_gb);
        if (least..=most).contains(&gb) {
            Ok(i64::from(gb) * GB)
        } else {
            Err(invalid(field, &format!("Must be {least} to {most}")))
        }
    }

    pub(super) fn urls(&self) -> ReturnUrls {
        let url = &self.0.parts.public_url;
        ReturnUrls {
            success: url.join("/billing?paid=1"),
            cancel: url.join("/billing"),
        }
    }
}

fn invalid(field: &'static str, message: &str) -> BillingError {
    BillingError::Invalid(FieldProblem::new(field, message))
}
