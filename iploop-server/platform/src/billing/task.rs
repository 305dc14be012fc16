//! What goes on by itself: automatic top-ups, months of annual payments, grace, errands to the provider.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::provider::{Charge, ProviderError};
use super::service::{BillingError, BillingService};
use super::store::Payment;
use crate::clock::Timestamp;
use crate::ids::AccountId;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// Rows at one look, of each kind.
pub(super) const AT_ONCE: u32 = 100;
/// An automatic top-up of which nothing was heard is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// The provider knows a repeated charge for 24 hours. After this one is given up; an event may still settle it.
const GIVE_UP: Duration = Duration::from_secs(20 * 3600);
/// The provider repeats an event by itself for 3 days, and for 30 days when somebody asks it to. Three times that, since people look at
/// what became of events as well.
const EVENTS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Old events are looked for this often, and so many go at once.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
const FORGOTTEN_AT_ONCE: u32 = 5_000;

impl BillingService {
    /// Looks after what is due, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut forget_at = self.now();
            loop {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "what is due in billing waits for the next look");
                }
                if self.now() >= forget_at {
                    match self.forget_events().await {
                        Ok(gone) if gone >= u64::from(FORGOTTEN_AT_ONCE) => {}
                        Ok(_) => forget_at = self.now().plus(FORGET_EVERY),
                        Err(error) => tracing::warn!(%error, "old events of payments wait for the next look"),
                    }
                }
                sleep(EVERY).await;
            }
        };
        // What is under way is a transaction or an idempotent call: whole, or found again at the next start.
        let _: Option<()> = stop.run_until_cancelled(work).await;
    }

    /// Does once what is due now.
    ///
    /// # Errors
    /// The data can't be reached. A provider that can't be reached is asked again at the next look.
    pub async fn look(&self) -> Result<(), BillingError> {
        let now = self.now();
        for account in self.store().give_due_allowances(now, AT_ONCE).await? {
            self.0.parts.purses.credited(account);
        }
        let before = now.minus(self.0.config.grace);
        let free = self.free_plan().await?;
        for account in self.store().end_grace(before, free, AT_ONCE).await? {
            self.0.parts.changes.account_changed(account);
        }
        if !self.is_configured() {
            return Ok(());
        }
        self.run_errands().await?;
        let open = self
            .store()
            .open_auto_top_ups(now.minus(ASK_AGAIN), AT_ONCE)
            .await?;
        for (payment, begun) in open {
            self.charge(&payment, begun).await?;
        }
        let mut after = None;
        loop {
            let due = self.store().accounts_to_top_up(after, AT_ONCE).await?;
            after = due.last().copied();
            for account in due {
                self.top_up_if_due(account).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Forgets events that the provider can't send any more; how many.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn forget_events(&self) -> Result<u64, BillingError> {
        let before = self.now().minus(EVENTS_KEPT);
        Ok(self
            .store()
            .forget_payment_events(before, FORGOTTEN_AT_ONCE)
            .await?)
    }

    /// Charges the account's card if its balance fell below its threshold. Of many parallel calls one charges.
    ///
    /// # Errors
    /// The data can't be reached.
    pub async fn top_up_if_due(&self, account: AccountId) -> Result<(), BillingError> {
        let now = self.now();
        match self.store().begin_auto_top_up(account, now).await? {
            Some(payment) => self.charge(&payment, now).await,
            None => Ok(()),
        }
    }

    async fn charge(&self, payment: &Payment, begun: Timestamp) -> Result<(), BillingError> {
        let now = self.now();
        let customer = self.store().billing_customer(payment.account).await?;
        let charged = match customer {
            _ if now.since(begun) > GIVE_UP => {
                Ok(Charge::Declined("the bank did not answer in time".to_owned()))
            }
            None => Ok(Charge::Declined("no way to pay is saved".to_owned())),
            Some(customer) => self.provider()?.charge(&customer, payment).await,
        };
        match charged {
            Ok(Charge::Paid(receipt)) => {
                let taken = self.store().settle_payment(&receipt, now).await?;
                self.tell(taken);
            }
            Ok(Charge::Declined(why)) | Err(ProviderError::Declined(why)) => {
                self.store().fail_payment(payment.id, &why, now).await?;
            }
            Ok(Charge::Pending) => {}
            Err(error) => {
                tracing::warn!(payment.id = %payment.id, %error, "an automatic top-up waits for the payment provider");
            }
        }
        Ok(())
    }
}
