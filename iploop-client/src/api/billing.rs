// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `billing`: operations of the API, with what they send and answer.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::Api;
use crate::values::Timestamp;

/// Operations of this part of the API: [`Api::billing`].
#[derive(Clone, Copy, Debug)]
pub struct Billing<'a>(pub(super) &'a Api);

impl Billing<'_> {
    /// Buys bytes whenever the balance falls below a threshold, with the card that was saved at a payment. Switched off after
    /// three failures in a row.
    ///
    /// `PUT /api/billing/auto-top-up`.
    pub async fn set_auto_top_up(&self, body: &AutoTopUpRequest) -> Result<Spending, Error> {
        self.0
            .call(Method::PUT, "/api/billing/auto-top-up")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// A page on which the account subscribes to a plan (`planId`, `interval`) or pays for bytes (`gb`). What was bought comes
    /// into the account once the payment provider says that it was paid.
    ///
    /// `POST /api/billing/checkout`.
    pub async fn checkout(&self, body: &CheckoutRequest) -> Result<PageAddress, Error> {
        self.0
            .call(Method::POST, "/api/billing/checkout")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// The account's invoices, newest first.
    ///
    /// `GET /api/billing/invoices`.
    pub async fn invoices(&self, query: &InvoicesQuery) -> Result<InvoicePage, Error> {
        self.0
            .call(Method::GET, "/api/billing/invoices")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// What can be bought. Open to everybody.
    ///
    /// `GET /api/billing/plans`.
    pub async fn plans(&self) -> Result<PlanList, Error> {
        self.0
            .call(Method::GET, "/api/billing/plans")
            .answer()
            .await?
            .json()
    }

    /// The payment provider's page for cards, addresses and receipts.
    ///
    /// `POST /api/billing/portal`.
    pub async fn portal(&self) -> Result<PageAddress, Error> {
        self.0
            .call(Method::POST, "/api/billing/portal")
            .answer()
            .await?
            .json()
    }

    /// Sets the most that top-ups of a UTC month may cost, automatic ones included.
    ///
    /// `PUT /api/billing/spend-cap`.
    pub async fn set_spend_cap(&self, body: &SpendCapRequest) -> Result<Spending, Error> {
        self.0
            .call(Method::PUT, "/api/billing/spend-cap")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// The account's plan, its renewal, what is left, and what it decided about spending.
    ///
    /// `GET /api/billing/subscription`.
    pub async fn subscription(&self) -> Result<SubscriptionInfo, Error> {
        self.0
            .call(Method::GET, "/api/billing/subscription")
            .answer()
            .await?
            .json()
    }

    /// Lets the subscription end with its period. What is left stays.
    ///
    /// `POST /api/billing/subscription/cancel`.
    pub async fn cancel_subscription(&self) -> Result<(), Error> {
        self.0
            .call(Method::POST, "/api/billing/subscription/cancel")
            .answer()
            .await?;
        Ok(())
    }

    /// Moves the subscription to another plan or interval. More is charged at once, in proportion to the time left; less is charged
    /// from the next period on. The plan follows within seconds.
    ///
    /// `POST /api/billing/subscription/change`.
    pub async fn change_subscription(&self, body: &ChangeRequest) -> Result<(), Error> {
        self.0
            .call(Method::POST, "/api/billing/subscription/change")
            .json(body)
            .answer()
            .await?;
        Ok(())
    }

    /// Lets a subscription that was cancelled go on after all.
    ///
    /// `POST /api/billing/subscription/resume`.
    pub async fn resume_subscription(&self) -> Result<(), Error> {
        self.0
            .call(Method::POST, "/api/billing/subscription/resume")
            .answer()
            .await?;
        Ok(())
    }

    /// What the account bought, was given, used and was paid back, newest first. Usage is one line for each UTC day; today's
    /// follows the traffic within seconds.
    ///
    /// `GET /api/billing/transactions`.
    pub async fn transactions(&self, query: &TransactionsQuery) -> Result<TransactionPage, Error> {
        self.0
            .call(Method::GET, "/api/billing/transactions")
            .query(query)
            .answer()
            .await?
            .json()
    }
}

/// The query of `invoices`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvoicesQuery {
    /// Most invoices wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The query of `transactions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionsQuery {
    /// Most transactions wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// When bytes are bought without being asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoTopUpInfo {
    /// So many times 10^9 bytes.
    pub gb: u32,
    /// Never for more than this in a UTC month, in cents.
    pub monthly_bound_cents: u64,
    /// Once the balance is below this many bytes.
    pub threshold_bytes: u64,
}

/// Automatic top-ups, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoTopUpRequest {
    /// Null: off. Not to be left out.
    pub auto_top_up: Option<AutoTopUpInfo>,
}

/// Another plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRequest {
    /// `month` (the default) or `year`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalName>,
    /// `planId`.
    pub plan_id: Uuid,
}

/// What to buy: a plan with its interval, or bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutRequest {
    /// So many times 10^9 bytes, at the price of the account's plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gb: Option<u32>,
    /// `month` (the default) or `year`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalName>,
    /// A plan to subscribe to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<Uuid>,
}

/// Why nothing can be bought for now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HoldInfo {
    /// Payments that the bank took back and has not decided about.
    pub open_disputes: i64,
    /// Bytes that were used and then not paid for. What is paid next pays them first.
    pub owed_bytes: i64,
}

/// How long a subscription is paid for at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntervalName {
    /// `month`.
    #[serde(rename = "month")]
    Month,
    /// `year`.
    #[serde(rename = "year")]
    Year,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// An invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InvoiceInfo {
    /// `amountCents`.
    pub amount_cents: i64,
    /// `createdAt`.
    pub created_at: Timestamp,
    /// `id`.
    pub id: String,
    /// Its number, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Where the PDF is, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdf_url: Option<String>,
    /// `paid`, `pending` or `failed`.
    pub status: String,
}

/// A page of invoices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InvoicePage {
    /// Newest first.
    pub invoices: Vec<InvoiceInfo>,
    /// For the next page; none: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OfferedPlan {
    /// `asnTargeting`.
    pub asn_targeting: bool,
    /// `cityTargeting`.
    pub city_targeting: bool,
    /// `description`.
    pub description: String,
    /// `features`.
    pub features: Vec<String>,
    /// `id`.
    pub id: Uuid,
    /// Bytes a month; none: pay as you go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_bytes: Option<i64>,
    /// The same in 10^9 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_gb: Option<f64>,
    /// `maxConcurrentConnections`.
    pub max_concurrent_connections: u32,
    /// `name`.
    pub name: String,
    /// Cents a year; none: not sold by the year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_annual: Option<i64>,
    /// The same by its other name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_annual_cents: Option<i64>,
    /// Cents a month.
    pub price_monthly: i64,
    /// The same by its other name.
    pub price_monthly_cents: i64,
    /// Dollars for 10^9 bytes beyond the allowance, as a decimal.
    pub price_per_gb: String,
    /// The same in micro-dollars.
    pub price_per_gb_micros: i64,
    /// `requestsPerDay`.
    pub requests_per_day: i64,
    /// `stickySessions`.
    pub sticky_sessions: bool,
}

/// A page of the payment provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageAddress {
    /// Where the browser shall go.
    pub url: String,
}

/// What can be bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlanList {
    /// `usd`.
    pub currency: String,
    /// False: this server takes no payments.
    pub is_payable: bool,
    /// Cheapest first.
    pub plans: Vec<OfferedPlan>,
}

/// A cap, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpendCapRequest {
    /// Most that top-ups of a UTC month may cost; null: no cap. Not to be left out: that would lift it by mistake.
    pub monthly_cap_cents: Option<u64>,
}

/// What the account decided about its spending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Spending {
    /// None: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_top_up: Option<AutoTopUpInfo>,
    /// Automatic top-ups that failed in a row.
    pub failures: u32,
    /// They were switched off because of that.
    pub is_switched_off: bool,
    /// Most that top-ups of a UTC month may cost; none: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_cap_cents: Option<i64>,
    /// What they cost this month, those under way included.
    pub spent_cents: i64,
}

/// How the account stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SubscriptionInfo {
    /// Bytes left.
    pub balance_bytes: i64,
    /// The same in 10^9 bytes.
    pub balance_gb: f64,
    /// When it ends, if it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Why nothing can be bought for now; none: it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldInfo>,
    /// `month` or `year`; none without a subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Since when a renewal is not paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past_due_since: Option<Timestamp>,
    /// When the current period began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_start: Option<Timestamp>,
    /// A plan.
    pub plan: OfferedPlan,
    /// When it is renewed; none: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews_at: Option<Timestamp>,
    /// What the account decided about its spending.
    pub spending: Spending,
    /// `none`, `incomplete`, `active`, `past_due` or `cancelled`.
    pub status: String,
    /// Bytes used in all.
    pub used_bytes: i64,
}

/// One line of the statement. The `bytes` of all lines sum to the balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransactionInfo {
    /// US dollars: paid; below zero: paid back, or what used bytes had been bought for.
    pub amount: f64,
    /// The same in micro-dollars, exact.
    pub amount_micros: i64,
    /// The same in bytes, exact.
    pub bytes: i64,
    /// Usage: the beginning of the UTC day in which its requests began.
    pub created_at: Timestamp,
    /// Credits: got; below zero: redeemed.
    pub credits: i64,
    /// `description`.
    pub description: String,
    /// 10^9 bytes: got; below zero: used or taken back.
    pub gb_amount: f64,
    /// `id`.
    pub id: Uuid,
    /// More about it.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// The payment, as the payment provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// `completed`, or `refunded`: a purchase, all of which was paid back.
    pub status: String,
    /// The same by its other name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stripe_payment_id: Option<String>,
    /// `purchase`, `usage`, `refund`, `bonus`, `adjustment`, `credits_earned` or `credits_redeemed`.
    pub r#type: String,
}

/// A page of the statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransactionPage {
    /// For the next page; none: this was the last. New transactions do not move it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Newest first.
    pub transactions: Vec<TransactionInfo>,
}
