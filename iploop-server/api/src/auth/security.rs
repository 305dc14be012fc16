//! `/api/auth/security`: how the account is kept safe.

use axum::extract::State;
use iploop_platform::accounts::{Security, WantedSecurity};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json};
use crate::keys::written;
use crate::schema::{IdleMinutes, NetworkText};
use crate::session::SignedIn;
use crate::state::ApiState;

/// How the account is kept safe.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecurityAnswer {
    /// A code is asked for besides the password.
    two_factor_enabled: bool,
    /// Recovery codes that were not used; null without a second factor.
    recovery_codes_left: Option<u32>,
    /// A login without a request for so many minutes ends, up to 75 seconds later; null: it lasts its day.
    session_timeout_minutes: Option<u32>,
    /// Addresses and CIDRs from which alone to sign in and use the API; empty: any.
    ip_allow_list: Vec<String>,
}

/// Changes of the settings: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SecurityBody {
    /// 15, 30 or 60; null: no limit but the day.
    #[schema(value_type = Option<IdleMinutes>, required = false)]
    #[serde(default, deserialize_with = "present")]
    session_timeout_minutes: Option<Option<u32>>,
    /// Addresses and CIDRs, the caller's own among them; empty: any.
    #[schema(value_type = Option<Vec<NetworkText>>, max_items = 50, example = json!(["192.0.2.7", "198.51.100.0/24"]))]
    #[serde(default)]
    ip_allow_list: Option<Vec<String>>,
}

/// Tells null from absent: absent does not come here.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<Security> for SecurityAnswer {
    fn from(security: Security) -> Self {
        Self {
            two_factor_enabled: security.settings.has_second_factor,
            recovery_codes_left: security.recovery_codes_left,
            session_timeout_minutes: security.settings.idle_minutes,
            ip_allow_list: security.settings.allowed_from.iter().map(written).collect(),
        }
    }
}

/// How the account is kept safe.
#[utoipa::path(
    get, path = "/security", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SecurityAnswer, description = "The settings"))
)]
pub(crate) async fn security(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Json<SecurityAnswer>, ApiError> {
    let security = state.parts().accounts.security(&session).await?;
    Ok(Json(security.into()))
}

/// Sets the session timeout and the networks to sign in from; in force with the next request.
#[utoipa::path(
    patch, path = "/security", tag = "auth", request_body = SecurityBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SecurityAnswer, description = "The settings"))
)]
pub(crate) async fn change_security(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
    ClientAddress(client): ClientAddress,
    Json(body): Json<SecurityBody>,
) -> Result<Json<SecurityAnswer>, ApiError> {
    let wanted = WantedSecurity {
        idle_minutes: body.session_timeout_minutes,
        allowed_from: body.ip_allow_list,
    };
    let accounts = &state.parts().accounts;
    let security = accounts.change_security(&session, wanted, client).await?;
    Ok(Json(security.into()))
}
