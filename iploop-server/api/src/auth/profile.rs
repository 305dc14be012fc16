//! `/api/auth/profile`: the account with its plan and balance, and what its owner changes of it.

use axum::extract::State;
use iploop_platform::accounts::WantedProfile;
use iploop_platform::ids::AccountId;
use iploop_platform::plan::Plan;
use iploop_platform::usage::Balance;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::auth::user::User;
use crate::error::ApiError;
use crate::extract::Json;
use crate::schema::{OptionalName, PersonName, Phone};
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
    /// The admin who looks on by this login; it reads only.
    #[schema(value_type = Option<String>, format = Uuid)]
    impersonated_by: Option<AccountId>,
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
    let impersonated_by = session.impersonated_by;
    let profile = parts.accounts.profile(session.account).await?;
    Ok(Json(ProfileAnswer {
        user: profile.account.into(),
        plan: profile.plan.map(Into::into),
        balance: profile.balance.into(),
        impersonated_by,
        csrf_token,
    }))
}

/// Changes of a profile: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProfileBody {
    /// Given name.
    #[schema(value_type = Option<PersonName>)]
    #[serde(default)]
    first_name: Option<String>,
    /// Family name.
    #[schema(value_type = Option<PersonName>)]
    #[serde(default)]
    last_name: Option<String>,
    /// Company; null or empty: none.
    #[schema(value_type = Option<OptionalName>, required = false)]
    #[serde(default, deserialize_with = "text_or_empty")]
    company: Option<String>,
    /// An international phone number; null or empty: none.
    #[schema(value_type = Option<Phone>, required = false)]
    #[serde(default, deserialize_with = "text_or_empty")]
    phone: Option<String>,
    /// A name of the IANA time zone database.
    #[schema(example = "Europe/Berlin")]
    #[serde(default)]
    time_zone: Option<String>,
}

/// Null counts as an empty text; absent does not come here.
fn text_or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// The account as it is after a change.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserAnswer {
    user: User,
}

/// Changes names, company, phone and time zone.
#[utoipa::path(
    patch, path = "/profile", tag = "auth", request_body = ProfileBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = UserAnswer, description = "The account"))
)]
pub(crate) async fn change_profile(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    Json(body): Json<ProfileBody>,
) -> Result<Json<UserAnswer>, ApiError> {
    let wanted = WantedProfile {
        first_name: body.first_name,
        last_name: body.last_name,
        company: body.company,
        phone: body.phone,
        time_zone: body.time_zone,
    };
    let account = state
        .parts()
        .accounts
        .change_profile(&session.account, wanted)
        .await?;
    Ok(Json(UserAnswer { user: account.into() }))
}

/// Micro-dollars as a decimal with at least two places.
pub(crate) fn dollars(micros: i64) -> String {
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
