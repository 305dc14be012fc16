//! Plans: all of them, new ones, and other prices, limits and gates.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::admin::{PlanChange, PlanDetails, PlanQuery, WantedPlan};
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::PlanId;
use iploop_platform::plan::Gates;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::actor;
use super::page::PageQuery;
use crate::auth::dollars;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::schema::{Gigabytes, Line, Name, OptionalName, PlanDescription, Price, Reason};
use crate::session::Admin;
use crate::state::ApiState;
use crate::units::signed_gigabytes;

/// Digits behind the point of a dollar, and of a gigabyte.
const DOLLAR_PLACES: u32 = 6;
const GIGABYTE_PLACES: u32 = 9;

/// A page of plans.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminPlanList {
    /// Cheapest first, those that are not offered included.
    plans: Vec<AdminPlan>,
    /// How many there are in all.
    total: u64,
    /// The number of this page; none if it was found by a cursor.
    page: Option<u32>,
    limit: u32,
    /// For the next page; none: this was the last.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<PlanId>,
}

/// A plan as admins see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminPlan {
    #[schema(value_type = String, format = Uuid)]
    id: PlanId,
    name: String,
    description: String,
    /// Dollars for 10^9 bytes, as a decimal.
    #[schema(example = "9.80")]
    price_per_gb: String,
    /// Cents a month.
    price_monthly: i64,
    /// Cents a year.
    price_annual: Option<i64>,
    /// 10^9 bytes a month in the price; none: pay as you go.
    included_gb: Option<f64>,
    /// The same in bytes.
    included_bytes: Option<i64>,
    requests_per_day: i64,
    max_concurrent_connections: u32,
    city_targeting: bool,
    asn_targeting: bool,
    sticky_sessions: bool,
    features: Vec<String>,
    /// Offered to new subscribers.
    is_active: bool,
    /// The price at Stripe that it is sold by for a month, while that costs what the plan does; none: one that we make.
    stripe_price_monthly: Option<String>,
    /// The same for a year.
    stripe_price_annual: Option<String>,
    /// Accounts on it that are not deleted.
    accounts: u64,
}

/// A plan to be made, or what is to be changed of one: what is absent stays, or has its default in a new one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlanBody {
    /// Unique.
    #[schema(value_type = Option<Name>)]
    #[serde(default)]
    name: Option<String>,
    #[schema(value_type = Option<PlanDescription>)]
    #[serde(default)]
    description: Option<String>,
    /// Dollars for 10^9 bytes, at most six digits behind the point. Needed for a new one.
    #[schema(value_type = Option<Price>)]
    #[serde(default)]
    price_per_gb: Option<Decimal>,
    /// Cents a month.
    #[schema(minimum = 0, maximum = 100000000)]
    #[serde(default)]
    price_monthly: Option<i64>,
    /// Cents a year; null: not sold by the year.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100000000)]
    #[serde(default, deserialize_with = "present")]
    price_annual: Option<Option<i64>>,
    /// 10^9 bytes a month in the price; null: pay as you go.
    #[schema(value_type = Option<Gigabytes>)]
    #[serde(default, deserialize_with = "present")]
    included_gb: Option<Option<Decimal>>,
    #[schema(minimum = 1, maximum = 1000000000000_i64)]
    #[serde(default)]
    requests_per_day: Option<i64>,
    #[schema(minimum = 1, maximum = 1000000)]
    #[serde(default)]
    max_concurrent_connections: Option<u32>,
    #[serde(default)]
    city_targeting: Option<bool>,
    #[serde(default)]
    asn_targeting: Option<bool>,
    #[serde(default)]
    sticky_sessions: Option<bool>,
    #[schema(value_type = Option<Vec<Line>>, max_items = 30)]
    #[serde(default)]
    features: Option<Vec<String>>,
    /// Offered to new subscribers. The plan that new accounts start on stays so.
    #[serde(default)]
    is_active: Option<bool>,
    /// A price made at Stripe by hand to sell the plan by for a month. One that costs something else than the plan is not used.
    #[schema(value_type = Option<OptionalName>)]
    #[serde(default, deserialize_with = "present")]
    stripe_price_monthly: Option<Option<String>>,
    /// The same for a year.
    #[schema(value_type = Option<OptionalName>)]
    #[serde(default, deserialize_with = "present")]
    stripe_price_annual: Option<Option<String>>,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// A plan to be made has a name and a price.
pub(crate) enum NewPlanBody {}

impl PartialSchema for NewPlanBody {
    fn schema() -> RefOr<Schema> {
        let needed = ObjectBuilder::new()
            .property("name", Ref::from_schema_name("Name"))
            .property("pricePerGb", Ref::from_schema_name("Price"))
            .required("name")
            .required("pricePerGb");
        AllOfBuilder::new()
            .item(Ref::from_schema_name("PlanBody"))
            .item(needed)
            .into()
    }
}

impl ToSchema for NewPlanBody {}

/// A decimal number, as text or as a number: nothing of it is lost.
#[derive(Deserialize)]
#[serde(untagged)]
enum Decimal {
    Text(String),
    Number(serde_json::Number),
}

/// Plans, cheapest first, by page or cursor.
#[utoipa::path(
    get, path = "/plans", tag = "admin", params(PageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminPlanList, description = "A page of plans"))
)]
pub(crate) async fn list_plans(
    State(state): State<ApiState>,
    _: Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<AdminPlanList>, ApiError> {
    let place = page.read()?;
    let wanted = PlanQuery {
        after: place.before,
        offset: place.offset,
        limit: place.limit,
    };
    let found = state.parts().admin.plans(&wanted).await?;
    let next_cursor = page.next(&found.rows, |row| row.plan.id);
    Ok(Json(AdminPlanList {
        plans: found.rows.into_iter().map(AdminPlan::from).collect(),
        total: found.total,
        page: page.number(),
        limit: page.limit(),
        next_cursor,
    }))
}

/// Makes a plan.
#[utoipa::path(
    post, path = "/plans", tag = "admin", request_body = NewPlanBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = AdminPlan, description = "The plan"))
)]
pub(crate) async fn create_plan(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<PlanBody>,
) -> Result<Response, ApiError> {
    let needed = |field, message: &str| ApiError::InvalidFields(vec![FieldProblem::new(field, message)]);
    if body.name.is_none() {
        return Err(needed("name", "Name is required"));
    }
    if body.price_per_gb.is_none() {
        return Err(needed("pricePerGb", "pricePerGb is required"));
    }
    let reason = body.reason.clone();
    let wanted = body.change()?.over(blank());
    let plans = &state.parts().admin;
    let plan = plans.create_plan(actor(&admin.account), wanted, &reason).await?;
    Ok((StatusCode::CREATED, Json(AdminPlan::from(plan))).into_response())
}

/// Changes a plan. Its accounts have the new limits at the gateways at once.
#[utoipa::path(
    put, path = "/plans/{planId}", tag = "admin", params(("planId" = String, Path, format = Uuid)),
    request_body = PlanBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AdminPlan, description = "The plan"))
)]
pub(crate) async fn change_plan(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(plan): Path<String>,
    Json(body): Json<PlanBody>,
) -> Result<Json<AdminPlan>, ApiError> {
    let id = plan.parse().map_err(|_| ApiError::PlanNotFound)?;
    let plans = &state.parts().admin;
    let reason = body.reason.clone();
    let plan = plans
        .change_plan(actor(&admin.account), id, body.change()?, &reason)
        .await?;
    Ok(Json(plan.into()))
}

/// What a new plan has where nothing is said.
fn blank() -> WantedPlan {
    WantedPlan {
        name: String::new(),
        description: String::new(),
        price_per_gb_micros: 0,
        price_monthly_cents: 0,
        price_annual_cents: None,
        included_bytes: None,
        requests_per_day: 10_000,
        max_concurrent_connections: 10,
        gates: Gates {
            city: false,
            asn: false,
            sticky_sessions: false,
        },
        features: Vec::new(),
        is_active: true,
        stripe_price_monthly: None,
        stripe_price_annual: None,
    }
}

impl PlanBody {
    fn change(self) -> Result<PlanChange, ApiError> {
        let price = self
            .price_per_gb
            .map(|price| price.scaled("pricePerGb", DOLLAR_PLACES));
        let included = self.included_gb.map(|gigabytes| {
            let scaled = gigabytes.map(|gigabytes| gigabytes.scaled("includedGb", GIGABYTE_PLACES));
            scaled.transpose()
        });
        Ok(PlanChange {
            name: self.name,
            description: self.description,
            price_per_gb_micros: price.transpose()?,
            price_monthly_cents: self.price_monthly,
            price_annual_cents: self.price_annual,
            included_bytes: included.transpose()?,
            requests_per_day: self.requests_per_day,
            max_concurrent_connections: self.max_concurrent_connections,
            city: self.city_targeting,
            asn: self.asn_targeting,
            sticky_sessions: self.sticky_sessions,
            features: self.features,
            is_active: self.is_active,
            stripe_price_monthly: self.stripe_price_monthly,
            stripe_price_annual: self.stripe_price_annual,
        })
    }
}

impl Decimal {
    /// In units of 10^-places.
    fn scaled(&self, field: &'static str, places: u32) -> Result<i64, ApiError> {
        let text = match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => number.to_string(),
        };
        scaled(&text, places).ok_or_else(|| {
            let message = format!("{field} must be a decimal with at most {places} digits behind the point");
            ApiError::InvalidFields(vec![FieldProblem::new(field, message)])
        })
    }
}

fn scaled(text: &str, places: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = usize::try_from(places).ok()?;
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || fraction.len() > digits {
        return None;
    }
    let fraction = format!("{fraction:0<digits$}").parse::<i64>().ok()?;
    let whole = whole.parse::<i64>().ok()?;
    whole
        .checked_mul(10_i64.checked_pow(places)?)?
        .checked_add(fraction)
}

/// Tells null from absent: absent does not come here.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<PlanDetails> for AdminPlan {
    fn from(details: PlanDetails) -> Self {
        let plan = details.plan;
        Self {
            id: plan.id,
            name: plan.name,
            description: plan.description,
            price_per_gb: dollars(plan.price_per_gb_micros),
            price_monthly: plan.price_monthly_cents,
            price_annual: plan.price_annual_cents,
            included_gb: plan.included_bytes.map(signed_gigabytes),
            included_bytes: plan.included_bytes,
            requests_per_day: plan.requests_per_day,
            max_concurrent_connections: plan.max_concurrent_connections,
            city_targeting: plan.gates.city,
            asn_targeting: plan.gates.asn,
            sticky_sessions: plan.gates.sticky_sessions,
            features: plan.features,
            is_active: plan.is_active,
            stripe_price_monthly: details.stripe_price_monthly,
            stripe_price_annual: details.stripe_price_annual,
            accounts: details.accounts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        for (text, micros) in [
            ("9.80", 9_800_000),
            ("0", 0),
            ("4.990001", 4_990_001),
            ("07.5", 7_500_000),
        ] {
            assert_eq!(scaled(text, 6), Some(micros), "{text}");
        }
        for text in [
            "",
            ".5",
            "-1",
            "1e3",
            "1,5",
            "1.0000001",
            "9223372036854775807",
            "+1",
        ] {
            assert_eq!(scaled(text, 6), None, "{text}");
        }
        let number: Decimal = serde_json::from_str("9.8").unwrap();
        assert_eq!(number.scaled("pricePerGb", 6), Ok(9_800_000));
    }
}
