//! `/api/billing`: plans, subscriptions, top-ups and invoices.

use axum::extract::State;
use http::StatusCode;
use iploop_platform::billing::{
    AutoTopUp, BillingError, BillingSettings, EventError, Interval, Invoice, MAX_FAILURES, Overview,
    ProviderError,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::PlanId;
use iploop_platform::plan::Plan;
use iploop_platform::store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::dollars;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::problem::Problem;
use crate::schema::IntervalName;
use crate::session::SignedIn;
use crate::state::ApiState;
use crate::units::signed_gigabytes;
use crate::usage::in_range;

/// Most invoices in one page.
const MAX_PAGE: u32 = 100;
const GB: i64 = 1_000_000_000;

/// The routes about payments below `/api/billing`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(plans))
        .routes(routes!(subscription))
        .routes(routes!(checkout))
        .routes(routes!(portal))
        .routes(routes!(change_subscription))
        .routes(routes!(cancel_subscription))
        .routes(routes!(resume_subscription))
        .routes(routes!(invoices))
        .routes(routes!(set_spend_cap))
        .routes(routes!(set_auto_top_up))
}

/// What can be bought.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanList {
    /// Cheapest first.
    plans: Vec<OfferedPlan>,
    /// `usd`.
    currency: &'static str,
    /// False: this server takes no payments.
    is_payable: bool,
}

/// A plan.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfferedPlan {
    #[schema(value_type = String, format = Uuid)]
    id: PlanId,
    name: String,
    description: String,
    /// Dollars for 10^9 bytes beyond the allowance, as a decimal.
    #[schema(example = "9.80")]
    price_per_gb: String,
    /// The same in micro-dollars.
    price_per_gb_micros: i64,
    /// Cents a month.
    price_monthly: i64,
    /// The same by its other name.
    price_monthly_cents: i64,
    /// Cents a year; none: not sold by the year.
    price_annual: Option<i64>,
    /// The same by its other name.
    price_annual_cents: Option<i64>,
    /// Bytes a month; none: pay as you go.
    included_bytes: Option<i64>,
    /// The same in 10^9 bytes.
    included_gb: Option<f64>,
    requests_per_day: i64,
    max_concurrent_connections: u32,
    city_targeting: bool,
    asn_targeting: bool,
    sticky_sessions: bool,
    features: Vec<String>,
}

impl From<Plan> for OfferedPlan {
    fn from(plan: Plan) -> Self {
        Self {
            id: plan.id,
            name: plan.name,
            description: plan.description,
            price_per_gb: dollars(plan.price_per_gb_micros),
            price_per_gb_micros: plan.price_per_gb_micros,
            price_monthly: plan.price_monthly_cents,
            price_monthly_cents: plan.price_monthly_cents,
            price_annual: plan.price_annual_cents,
            price_annual_cents: plan.price_annual_cents,
            included_bytes: plan.included_bytes,
            included_gb: plan.included_bytes.map(signed_gigabytes),
            requests_per_day: plan.requests_per_day,
            max_concurrent_connections: plan.max_concurrent_connections,
            city_targeting: plan.gates.city,
            asn_targeting: plan.gates.asn,
            sticky_sessions: plan.gates.sticky_sessions,
            features: plan.features,
        }
    }
}

/// How the account stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionInfo {
    plan: OfferedPlan,
    /// `none`, `incomplete`, `active`, `past_due` or `cancelled`.
    status: &'static str,
    /// `month` or `year`; none without a subscription.
    interval: Option<&'static str>,
    /// When the current period began.
    #[schema(value_type = Option<String>, format = DateTime)]
    period_start: Option<Timestamp>,
    /// When it is renewed; none: it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    renews_at: Option<Timestamp>,
    /// When it ends, if it was cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Since when a renewal is not paid.
    #[schema(value_type = Option<String>, format = DateTime)]
    past_due_since: Option<Timestamp>,
    /// Bytes left.
    balance_bytes: i64,
    /// The same in 10^9 bytes.
    balance_gb: f64,
    /// Bytes used in all.
    used_bytes: i64,
    spending: Spending,
    /// Why nothing can be bought for now; none: it can.
    hold: Option<HoldInfo>,
}

/// Why nothing can be bought for now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HoldInfo {
    /// Payments that the bank took back and has not decided about.
    open_disputes: i64,
    /// Bytes that were used and then not paid for. What is paid next pays them first.
    owed_bytes: i64,
}

/// What the account decided about its spending.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spending {
    /// Most that top-ups of a UTC month may cost; none: no cap.
    monthly_cap_cents: Option<i64>,
    /// What they cost this month, those under way included.
    spent_cents: i64,
    /// None: off.
    auto_top_up: Option<AutoTopUpInfo>,
    /// Automatic top-ups that failed in a row.
    failures: u32,
    /// They were switched off because of that.
    is_switched_off: bool,
}

/// When bytes are bought without being asked for.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AutoTopUpInfo {
    /// Once the balance is below this many bytes.
    #[schema(minimum = 0, maximum = 100000000000000_i64)]
    threshold_bytes: i64,
    /// So many times 10^9 bytes.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    gb: u32,
    /// Never for more than this in a UTC month, in cents.
    #[schema(minimum = 1, maximum = 100000000)]
    monthly_bound_cents: i64,
}

impl From<BillingSettings> for Spending {
    fn from(settings: BillingSettings) -> Self {
        Self {
            monthly_cap_cents: settings.cap_cents,
            spent_cents: settings.spent_cents,
            auto_top_up: settings.auto_top_up.map(|auto| AutoTopUpInfo {
                threshold_bytes: auto.threshold_bytes,
                gb: u32::try_from(auto.bytes / GB).unwrap_or(u32::MAX),
                monthly_bound_cents: auto.month_cents,
            }),
            failures: settings.failures,
            is_switched_off: settings.auto_top_up.is_none() && settings.failures >= MAX_FAILURES,
        }
    }
}

impl From<Overview> for SubscriptionInfo {
    fn from(overview: Overview) -> Self {
        let known = overview.subscription.as_ref();
        let live = known.filter(|known| known.status.is_live());
        let end = live.map(|live| live.to);
        let is_ending = live.is_some_and(|live| live.ends_at_period_end);
        Self {
            plan: overview.plan.into(),
            status: known.map_or("none", |known| known.status.as_str()),
            interval: known.map(|known| known.interval.as_str()),
            period_start: live.map(|live| live.from),
            renews_at: end.filter(|_| !is_ending),
            ends_at: end.filter(|_| is_ending),
            past_due_since: live.and_then(|live| live.past_due_since),
            balance_bytes: overview.balance.bytes,
            balance_gb: signed_gigabytes(overview.balance.bytes),
            used_bytes: overview.balance.used_bytes,
            spending: overview.settings.into(),
            hold: overview.hold.map(|hold| HoldInfo {
                open_disputes: hold.open_disputes,
                owed_bytes: hold.owed_bytes,
            }),
        }
    }
}

/// What to buy: a plan with its interval, or bytes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckoutRequest {
    /// A plan to subscribe to.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    plan_id: Option<PlanId>,
    /// `month` (the default) or `year`.
    #[schema(value_type = Option<IntervalName>)]
    #[serde(default)]
    interval: Option<String>,
    /// So many times 10^9 bytes, at the price of the account's plan.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    #[serde(default)]
    gb: Option<u32>,
}

/// Another plan.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    #[schema(value_type = String, format = Uuid)]
    plan_id: PlanId,
    /// `month` (the default) or `year`.
    #[schema(value_type = Option<IntervalName>)]
    #[serde(default)]
    interval: Option<String>,
}

/// A page of the payment provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageAddress {
    /// Where the browser shall go.
    url: String,
}

/// A cap, or none.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpendCapRequest {
    /// Most that top-ups of a UTC month may cost; null: no cap. Not to be left out: that would lift it by mistake.
    #[schema(required, minimum = 0, maximum = 100000000)]
    #[serde(deserialize_with = "Option::deserialize")]
    monthly_cap_cents: Option<i64>,
}

/// Automatic top-ups, or none.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AutoTopUpRequest {
    /// Null: off. Not to be left out.
    #[schema(required)]
    #[serde(deserialize_with = "Option::deserialize")]
    auto_top_up: Option<AutoTopUpInfo>,
}

/// Which invoices.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvoiceQuery {
    /// Most invoices wanted.
    #[serde(default = "twenty")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
    /// Go on behind this place: the `nextCursor` of a page.
    #[serde(default)]
    cursor: Option<String>,
}

/// A page of invoices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvoicePage {
    /// Newest first.
    invoices: Vec<InvoiceInfo>,
    /// For the next page; none: this was the last.
    next_cursor: Option<String>,
}

/// An invoice.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvoiceInfo {
    id: String,
    /// Its number, once it has one.
    number: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    amount_cents: i64,
    /// `paid`, `pending` or `failed`.
    status: &'static str,
    /// Where the PDF is, once there is one.
    pdf_url: Option<String>,
}

impl From<Invoice> for InvoiceInfo {
    fn from(invoice: Invoice) -> Self {
        Self {
            status: match invoice.status.as_str() {
                "paid" => "paid",
                "uncollectible" | "void" => "failed",
                _ => "pending",
            },
            id: invoice.id,
            number: invoice.number,
            created_at: invoice.at,
            amount_cents: invoice.total_cents,
            pdf_url: invoice.pdf,
        }
    }
}

/// What can be bought. Open to everybody.
#[utoipa::path(
    get, path = "/plans", tag = "billing",
    responses((status = 200, body = PlanList, description = "The plans"))
)]
pub(crate) async fn plans(State(state): State<ApiState>) -> Result<Json<PlanList>, ApiError> {
    let billing = &state.parts().billing;
    Ok(Json(PlanList {
        plans: billing
            .plans()
            .await?
            .into_iter()
            .map(OfferedPlan::from)
            .collect(),
        currency: iploop_platform::billing::CURRENCY,
        is_payable: billing.is_configured(),
    }))
}

/// The account's plan, its renewal, what is left, and what it decided about spending.
#[utoipa::path(
    get, path = "/subscription", tag = "billing", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SubscriptionInfo, description = "How the account stands"))
)]
pub(crate) async fn subscription(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<SubscriptionInfo>, ApiError> {
    Ok(Json(
        state.parts().billing.overview(session.account().id).await?.into(),
    ))
}

/// A page on which the account subscribes to a plan (`planId`, `interval`) or pays for bytes (`gb`). What was bought comes
/// into the account once the payment provider says that it was paid.
#[utoipa::path(
    post, path = "/checkout", tag = "billing", request_body = CheckoutRequest,
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = PageAddress, description = "The page"),
        (status = 402, body = Problem, content_type = "application/problem+json", description = "Declined"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Subscribed already, beyond the cap, or too many pages open"),
    )
)]
pub(crate) async fn checkout(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(wish): Json<CheckoutRequest>,
) -> Result<Json<PageAddress>, ApiError> {
    let (billing, account) = (&state.parts().billing, session.account());
    let url = match (wish.plan_id, wish.gb) {
        (Some(plan), None) => {
            billing
                .subscribe(account, plan, interval(wish.interval.as_deref())?)
                .await?
        }
        (None, Some(gb)) if wish.interval.is_none() => billing.top_up(account, gb).await?,
        _ => return Err(invalid("planId", "Give planId with interval, or gb alone")),
    };
    Ok(Json(PageAddress { url }))
}

/// The payment provider's page for cards, addresses and receipts.
#[utoipa::path(
    post, path = "/portal", tag = "billing", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = PageAddress, description = "The page"),
        (status = 402, body = Problem, content_type = "application/problem+json", description = "Declined"),
    )
)]
pub(crate) async fn portal(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<PageAddress>, ApiError> {
    let url = state.parts().billing.portal(session.account()).await?;
    Ok(Json(PageAddress { url }))
}

/// Moves the subscription to another plan or interval. More is charged at once, in proportion to the time left; less is charged
/// from the next period on. The plan follows within seconds.
#[utoipa::path(
    post, path = "/subscription/change", tag = "billing", request_body = ChangeRequest,
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, description = "The payment provider does it"),
        (status = 402, body = Problem, content_type = "application/problem+json", description = "Declined: nothing is changed"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There is no subscription"),
    )
)]
pub(crate) async fn change_subscription(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(wish): Json<ChangeRequest>,
) -> Result<StatusCode, ApiError> {
    let interval = interval(wish.interval.as_deref())?;
    let billing = &state.parts().billing;
    billing
        .change(session.account().id, wish.plan_id, interval)
        .await?;
    Ok(StatusCode::ACCEPTED)
}

/// Lets the subscription end with its period. What is left stays.
#[utoipa::path(
    post, path = "/subscription/cancel", tag = "billing", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, description = "The payment provider does it"),
        (status = 402, body = Problem, content_type = "application/problem+json", description = "Declined"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There is no subscription"),
    )
)]
pub(crate) async fn cancel_subscription(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<StatusCode, ApiError> {
    ends_with_period(&state, &session, true).await
}

/// Lets a subscription that was cancelled go on after all.
#[utoipa::path(
    post, path = "/subscription/resume", tag = "billing", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, description = "The payment provider does it"),
        (status = 402, body = Problem, content_type = "application/problem+json", description = "Declined"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There is no subscription"),
    )
)]
pub(crate) async fn resume_subscription(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<StatusCode, ApiError> {
    ends_with_period(&state, &session, false).await
}

async fn ends_with_period(state: &ApiState, session: &SignedIn, ends: bool) -> Result<StatusCode, ApiError> {
    let billing = &state.parts().billing;
    billing.end_with_period(session.account().id, ends).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The account's invoices, newest first.
#[utoipa::path(
    get, path = "/invoices", tag = "billing", params(InvoiceQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = InvoicePage, description = "A page"))
)]
pub(crate) async fn invoices(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(InvoiceQuery { limit, cursor }): Query<InvoiceQuery>,
) -> Result<Json<InvoicePage>, ApiError> {
    in_range("limit", limit, MAX_PAGE)?;
    let after = cursor.as_deref().filter(|id| !id.is_empty());
    let billing = &state.parts().billing;
    let found = billing.invoices(session.account().id, after, limit).await?;
    // A full page may have one after it; an empty one ends the list.
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Json(InvoicePage {
        next_cursor: found.last().filter(|_| is_full).map(|last| last.id.clone()),
        invoices: found.into_iter().map(InvoiceInfo::from).collect(),
    }))
}

/// Sets the most that top-ups of a UTC month may cost, automatic ones included.
#[utoipa::path(
    put, path = "/spend-cap", tag = "billing", request_body = SpendCapRequest,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Spending, description = "What was decided"))
)]
pub(crate) async fn set_spend_cap(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(wish): Json<SpendCapRequest>,
) -> Result<Json<Spending>, ApiError> {
    let billing = &state.parts().billing;
    let settings = billing
        .set_spend_cap(session.account().id, wish.monthly_cap_cents)
        .await?;
    Ok(Json(settings.into()))
}

/// Buys bytes whenever the balance falls below a threshold, with the card that was saved at a payment. Switched off after
/// three failures in a row.
#[utoipa::path(
    put, path = "/auto-top-up", tag = "billing", request_body = AutoTopUpRequest,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Spending, description = "What was decided"))
)]
pub(crate) async fn set_auto_top_up(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(wish): Json<AutoTopUpRequest>,
) -> Result<Json<Spending>, ApiError> {
    let auto = wish.auto_top_up.map(|auto| AutoTopUp {
        threshold_bytes: auto.threshold_bytes,
        bytes: i64::from(auto.gb) * GB,
        month_cents: auto.monthly_bound_cents,
    });
    let billing = &state.parts().billing;
    let settings = billing.set_auto_top_up(session.account().id, auto).await?;
    Ok(Json(settings.into()))
}

impl From<BillingError> for ApiError {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::NotConfigured => Self::BillingNotConfigured,
            BillingError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            BillingError::Subscribed => Self::AlreadySubscribed,
            BillingError::NotSubscribed => Self::NotSubscribed,
            BillingError::OverCap(left) => Self::SpendCapReached(left),
            BillingError::Held => Self::PaymentsHeld,
            BillingError::PageReplaced => Self::CheckoutReplaced,
            BillingError::NothingOwed => Self::AlreadySo,
            BillingError::AccountNotFound => Self::AccountNotFound,
            BillingError::AccountDeleted => Self::AccountDeleted,
            BillingError::NoSuchErrand => Self::ErrandNotFound,
            BillingError::ErrandDone => Self::ErrandDone,
            BillingError::Event(EventError::TooOld) => Self::EventTooOld,
            BillingError::Event(EventError::Malformed) => {
                Self::MalformedBody("The event has not the form of its kind".to_owned())
            }
            BillingError::Event(_) => Self::EventSignature,
            BillingError::TooEarly => Self::EventTooEarly,
            BillingError::Provider(ProviderError::Declined(why)) => Self::PaymentDeclined(why),
            BillingError::Provider(error) => Self::PaymentProvider(error.to_string()),
            BillingError::Store(StoreError::LimitReached { limit, .. }) => Self::TooMany(limit),
            BillingError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

fn interval(name: Option<&str>) -> Result<Interval, ApiError> {
    Interval::by_name(name.unwrap_or("month")).ok_or_else(|| invalid("interval", "Must be month or year"))
}

fn invalid(field: &'static str, message: &str) -> ApiError {
    ApiError::InvalidFields(vec![FieldProblem::new(field, message)])
}

fn twenty() -> u32 {
    20
}
