//! Pages for paying, and the errands that follow from them and from what the provider tells.

use serde_json::Value;

use super::dispute::{Dispute, DisputeQuery};
use super::errand::{Errand, ErrandKind, wait_after};
use super::page::{Closed, OpenPage, Page, PageBegun, PageWish};
use super::provider::ProviderError;
use super::rules;
use super::service::{BillingError, BillingService};
use super::store::{Begun, Interval, NewPayment};
use super::task::AT_ONCE;
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::account::Account;
use crate::field;
use crate::ids::{AccountId, AuditId, PlanId};

/// How often a page for something else is closed in favour of this one.
const MAX_REPLACED: u32 = 3;

impl BillingService {
    /// The page on which the account subscribes to a plan: the one that it has open, or a new one in its place.
    ///
    /// # Errors
    /// [`BillingError::Subscribed`], [`BillingError::Held`], [`BillingError::PageReplaced`], an unknown plan, or one that is not
    /// sold that way.
    pub async fn subscribe(
        &self,
        account: &Account,
        plan: PlanId,
        interval: Interval,
    ) -> Result<String, BillingError> {
        let provider = self.provider()?;
        let price = self.price(&**provider, plan, interval).await?;
        let customer = self.customer(&**provider, account).await?;
        let wish = PageWish::Subscribe(price.clone());
        let page = match self.begin(account.id, &wish).await? {
            Begin::Open(url) => return Ok(url),
            Begin::New(page) => page,
        };
        let open = provider.subscribe(&customer, &price, &page, &self.urls()).await?;
        self.keep(account.id, &page, open).await
    }

    /// The page on which the account pays for `gb` times 10^9 bytes at its plan's price: the one that it has open, or a new one in its
    /// place.
    ///
    /// # Errors
    /// Too little or too much, [`BillingError::OverCap`], [`BillingError::Held`], [`BillingError::PageReplaced`].
    pub async fn top_up(&self, account: &Account, gb: u32) -> Result<String, BillingError> {
        let provider = self.provider()?;
        let bytes = self.top_up_bytes("gb", gb)?;
        let plan = self.plan_of(account.id).await?;
        let cents = rules::top_up_cents(plan.price_per_gb_micros, bytes);
        let customer = self.customer(&**provider, account).await?;
        let page = match self.begin(account.id, &PageWish::TopUp { bytes, cents }).await? {
            Begin::Open(url) => return Ok(url),
            Begin::New(page) => page,
        };
        let wish = NewPayment {
            id: page.id,
            account: account.id,
            bytes,
            cents,
            now: self.now(),
        };
        let payment = match self.store().begin_top_up(wish).await? {
            Begun::Payment(payment) => payment,
            Begun::OverCap(left) => return Err(BillingError::OverCap(left)),
            Begun::Held => return Err(BillingError::Held),
            Begun::NoAccount => return Err(BillingError::NotSubscribed),
        };
        let open = provider.pay(&customer, &payment, &page, &self.urls()).await?;
        self.keep(account.id, &page, open).await
    }

    /// Disputes, newest first: for admins.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn disputes(&self, query: &DisputeQuery) -> Result<Vec<Dispute>, BillingError> {
        Ok(self.store().disputes(query).await?)
    }

    /// Lets an account off the bytes that it owes, on record; how many they were.
    ///
    /// # Errors
    /// [`BillingError::AccountNotFound`], [`BillingError::AccountDeleted`], [`BillingError::NothingOwed`],
    /// [`BillingError::Invalid`] for a missing reason.
    pub async fn forgive_debt(
        &self,
        account: AccountId,
        actor: Actor,
        reason: &str,
    ) -> Result<i64, BillingError> {
        let reason = field::reason(reason).map_err(BillingError::Invalid)?;
        let entry = AuditEntry {
            id: AuditId::new(),
            at: self.now(),
            actor,
            action: AuditAction::DebtForgiven,
            account: Some(account),
            subject: account.to_string(),
            before: Value::Null,
            after: Value::Null,
            reason,
        };
        match self.store().account(account).await? {
            None => return Err(BillingError::AccountNotFound),
            Some(known) if known.is_deleted() => return Err(BillingError::AccountDeleted),
            Some(_) => {}
        }
        let forgiven = self.store().forgive_debt(account, entry).await?;
        forgiven.ok_or(BillingError::NothingOwed)
    }

    /// Runs the errands that are due. One that fails waits for its next try; if the provider does not answer, so do the others.
    pub(super) async fn run_errands(&self) -> Result<(), BillingError> {
        for errand in self.store().due_errands(self.now(), AT_ONCE).await? {
            if let Some(ProviderError::Unavailable(_)) = self.run_errand(&errand).await? {
                break;
            }
        }
        Ok(())
    }

    /// Runs an errand, and keeps what became of it: done, or why it waits.
    async fn run_errand(&self, errand: &Errand) -> Result<Option<ProviderError>, BillingError> {
        let provider = self.provider()?;
        let subject = errand.subject.as_str();
        let done = match errand.kind {
            ErrandKind::EndSubscription => provider.end_now(subject).await.map(|()| Closed::Unpaid),
            ErrandKind::Refund => provider.refund(subject).await.map(|()| Closed::Unpaid),
            ErrandKind::DeleteCustomer => provider.delete_customer(subject).await.map(|()| Closed::Unpaid),
            ErrandKind::ClosePage => provider.close_page(subject).await,
            ErrandKind::PauseCollection => provider.collect(subject, false).await.map(|()| Closed::Unpaid),
            ErrandKind::ResumeCollection => provider.collect(subject, true).await.map(|()| Closed::Unpaid),
        };
        match done {
            Ok(closed) => self.closed(errand, closed).await.map(|()| None),
            Err(error) => {
                tracing::warn!(kind = errand.kind.as_str(), subject, tries = errand.tries + 1, %error, "an errand to the payment provider waits");
                let due = self.now().plus(wait_after(errand.tries));
                self.store()
                    .errand_failed(errand, &error.to_string(), due)
                    .await?;
                Ok(Some(error))
            }
        }
    }

    /// Begins a page. One for something else is closed at the provider first: an account has one open.
    async fn begin(&self, account: AccountId, wish: &PageWish) -> Result<Begin, BillingError> {
        let provider = self.provider()?;
        for _ in 0..MAX_REPLACED {
            let replaced = match self.store().begin_page(account, wish, self.now()).await? {
                PageBegun::Open(url) => return Ok(Begin::Open(url)),
                PageBegun::New(page) => return Ok(Begin::New(page)),
                PageBegun::Replace(page) => page,
                PageBegun::Subscribed => return Err(BillingError::Subscribed),
                PageBegun::Held => return Err(BillingError::Held),
                PageBegun::NoAccount => return Err(BillingError::NotSubscribed),
            };
            let closed = provider.close_page(&replaced.subject).await?;
            let is_subscribing = replaced.payment.is_none() && matches!(wish, PageWish::Subscribe(_));
            if closed == Closed::Paid && is_subscribing {
                return Err(BillingError::Subscribed);
            }
            self.closed(&replaced, closed).await?;
        }
        Err(BillingError::PageReplaced)
    }

    /// Keeps that a page is over. One that somebody paid on leaves its top-up to the event that tells of it.
    async fn closed(&self, page: &Errand, closed: Closed) -> Result<(), BillingError> {
        let payment = page.payment.filter(|_| closed == Closed::Unpaid);
        let done = Errand {
            payment,
            ..page.clone()
        };
        Ok(self.store().errand_done(&done, self.now()).await?)
    }

    /// Keeps a page that was made. One whose place another wish took is closed: nobody gets its address.
    async fn keep(&self, account: AccountId, page: &Page, open: OpenPage) -> Result<String, BillingError> {
        if self.store().keep_page(account, page, &open).await? {
            Ok(open.url)
        } else {
            // An errand already: if this fails, it waits.
            let errand = Errand {
                kind: ErrandKind::ClosePage,
                subject: open.session,
                account,
                payment: Some(page.id),
                tries: 0,
            };
            self.run_errand(&errand).await?;
            Err(BillingError::PageReplaced)
        }
    }
}

enum Begin {
    Open(String),
    New(Page),
}
