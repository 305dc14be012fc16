//! What we hold of a person's payments, for the export of everything.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::dispute::DisputeQuery;
use crate::accounts::{Page, PersonalData};
use crate::clock::Clock;
use crate::ids::AccountId;
use crate::store::{Store, StoreError};

/// Disputes in the export: more than anybody has.
const MAX_DISPUTES: u32 = 1_000;

/// Customer, subscription, disputes and settings. What was paid stands among the transactions; cards are at the provider alone.
pub struct PaymentData {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl PersonalData for PaymentData {
    fn name(&self) -> &'static str {
        "billing"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let settings = self.store.billing_settings(account, self.clock.now()).await?;
        let subscription = self.store.subscription(account).await?.map(|known| {
            json!({
                "id": known.id,
                "planId": known.plan,
                "interval": known.interval.as_str(),
                "status": known.status.as_str(),
                "periodStart": known.from,
                "periodEnd": known.to,
            })
        });
        let query = DisputeQuery {
            account: Some(account),
            limit: MAX_DISPUTES,
            ..DisputeQuery::default()
        };
        let disputes: Vec<Value> = self
            .store
            .disputes(&query)
            .await?
            .iter()
            .map(|dispute| {
                json!({
                    "reference": dispute.reference,
                    "amountCents": dispute.cents,
                    "status": dispute.status.as_str(),
                    "reason": dispute.reason,
                    "openedAt": dispute.opened_at,
                    "owedBytes": dispute.owed_bytes,
                })
            })
            .collect();
        let item = json!({
            "customer": self.store.billing_customer(account).await?,
            "subscription": subscription,
            "disputes": disputes,
            "monthlyCapCents": settings.cap_cents,
            "autoTopUp": settings.auto_top_up.map(|auto| json!({
                "thresholdBytes": auto.threshold_bytes,
                "bytes": auto.bytes,
                "monthlyBoundCents": auto.month_cents,
            })),
        });
        Ok(Page {
            items: vec![item],
            next: None,
        })
    }
}
