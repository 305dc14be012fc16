//! `GET /api/auth/profile`

use axum::extract::State;
use iploop_platform::plan::Plan;
use iploop_platform::usage::Balance;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::user::User;
use crate::error::ApiError;
use crate::extract::Json;
use crate::session::SignedIn;
use crate::state::ApiState;
use crate::units::{gigabytes, signed_gigabytes};

/// An account with its plan and what it has left.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProfileAnswer {
    user: User,
    plan: Option<PlanInfo>,
    balance: BalanceInfo,
    /// For the header `X-CSRF-Token` of this login's requests by cookie.
    csrf_token: String,
}

/// A plan's limits and prices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PlanInfo {
    #[schema(value_type = String, format = Uuid)]
    id: iploop_platform::ids::PlanId,
    #[schema(example = "Starter")]
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
    #[serde(rename = "includedGb")]
    included_gb: Option<f64>,
    requests_per_day: i64,
    max_concurrent_connections: u32,
    /// Region, city and postal code targeting.
    city_targeting: bool,
    /// Network targeting.
    asn_targeting: bool,
    /// Sticky sessions.
    sticky_sessions: bool,
    features: Vec<String>,
}

/// What an account has left, about a second behind.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BalanceInfo {
    /// 10^9 bytes left.
    gb_balance: f64,
    /// 10^9 bytes used in all.
    gb_used: f64,
    /// Bytes left, exactly.
    balance_bytes: i64,
    /// Bytes used in all, exactly.
    used_bytes: i64,
}

impl From<Plan> for PlanInfo {
    fn from(plan: Plan) -> Self {
        Self {
            id: plan.id,
            name: plan.name,
            description: plan.description,
            price_per_gb: dollars(plan.price_per_gb_micros),
            price_monthly: plan.price_monthly_cents,
            price_annual: plan.price_annual_cents,
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

impl From<Balance> for BalanceInfo {
    fn from(balance: Balance) -> Self {
        Self {
            gb_balance: signed_gigabytes(balance.bytes),
            gb_used: gigabytes(u64::try_from(balance.used_bytes).unwrap_or(0)),
            balance_bytes: balance.bytes,
            used_bytes: balance.used_bytes,
        }
    }
}

/// The account that asks, with its plan and balance.
#[utoipa::path(
    get, path = "/profile", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ProfileAnswer, description = "The account"))
)]
pub(crate) async fn profile(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Json<ProfileAnswer>, ApiError> {
    let parts = state.parts();
    let csrf_token = parts.logins.csrf_token(&session);
    let profile = parts.accounts.profile(session.account).await?;
    Ok(Json(ProfileAnswer {
        user: profile.account.into(),
        plan: profile.plan.map(Into::into),
        balance: profile.balance.into(),
        csrf_token,
    }))
}

/// Micro-dollars as a decimal with at least two places.
fn dollars(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let spare = text.len() - text.trim_end_matches('0').len();
    text[..text.len() - spare.min(4)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_and_has_two_places_at_least() {
        assert_eq!(dollars(9_800_000), "9.80");
        assert_eq!(dollars(5_000_000), "5.00");
        assert_eq!(dollars(4_990_001), "4.990001");
        assert_eq!(dollars(-500_000), "-0.50");
        assert_eq!(dollars(0), "0.00");
    }
}
