//! What the store in memory does not keep: payments.

use async_trait::async_trait;
use iploop_platform::billing::{
    AutoTopUp, Begun, Billing, BillingSettings, Failed, Interval, NewPayment, Payment, PaymentEvent, Price,
    Receipt, Subscription, Taken,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId, PlanId};
use iploop_platform::store::StoreError;

use crate::store::{TestStore, not_here};

#[async_trait]
impl Billing for TestStore {
    async fn billing_customer(&self, _: AccountId) -> Result<Option<String>, StoreError> {
        not_here()
    }
    async fn keep_billing_customer(&self, _: AccountId, _: &str, _: Timestamp) -> Result<String, StoreError> {
        not_here()
    }
    async fn billing_price(&self, _: PlanId, _: Interval, _: i64) -> Result<Option<String>, StoreError> {
        not_here()
    }
    async fn keep_billing_price(&self, _: &Price) -> Result<(), StoreError> {
        not_here()
    }
    async fn subscription(&self, _: AccountId) -> Result<Option<Subscription>, StoreError> {
        not_here()
    }
    async fn billing_settings(&self, _: AccountId, _: Timestamp) -> Result<BillingSettings, StoreError> {
        not_here()
    }
    async fn set_spend_cap(&self, _: AccountId, _: Option<i64>) -> Result<(), StoreError> {
        not_here()
    }
    async fn set_auto_top_up(&self, _: AccountId, _: Option<AutoTopUp>) -> Result<(), StoreError> {
        not_here()
    }
    async fn begin_top_up(&self, _: NewPayment) -> Result<Begun, StoreError> {
        not_here()
    }
    async fn accounts_to_top_up(&self, _: Option<AccountId>, _: u32) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn begin_auto_top_up(&self, _: AccountId, _: Timestamp) -> Result<Option<Payment>, StoreError> {
        not_here()
    }
    async fn open_auto_top_ups(&self, _: Timestamp, _: u32) -> Result<Vec<(Payment, Timestamp)>, StoreError> {
        not_here()
    }
    async fn settle_payment(&self, _: &Receipt, _: Timestamp) -> Result<Taken, StoreError> {
        not_here()
    }
    async fn fail_payment(&self, _: PaymentId, _: &str, _: Timestamp) -> Result<Option<Failed>, StoreError> {
        not_here()
    }
    async fn take_payment_event(&self, _: &PaymentEvent, _: PlanId) -> Result<Taken, StoreError> {
        not_here()
    }
    async fn give_due_allowances(&self, _: Timestamp, _: u32) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn end_grace(&self, _: Timestamp, _: PlanId, _: u32) -> Result<Vec<AccountId>, StoreError> {
        not_here()
    }
    async fn subscriptions_of_the_deleted(&self, _: u32) -> Result<Vec<String>, StoreError> {
        not_here()
    }
}
