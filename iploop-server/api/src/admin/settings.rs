//! The platform's settings, and what everybody may know of them.

use axum::extract::State;
use iploop_platform::account::Standing;
use iploop_platform::admin::{PlatformSettings, VersionedSettings};
use iploop_platform::ids::PlanId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actor;
use crate::error::ApiError;
use crate::extract::Json;
use crate::schema::{Notice, Reason, StandingName};
use crate::session::Admin;
use crate::state::ApiState;

/// The settings as they are in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsAnswer {
    /// Counts up with every change: who changes them says which version was read.
    version: u64,
    settings: SettingsInfo,
}

/// All settings.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SettingsInfo {
    /// Whether strangers may register. Admins make users in any case.
    registrations_open: bool,
    /// Free bytes of a new account, once.
    #[schema(minimum = 0, maximum = 1000000000000_i64)]
    bonus_bytes: i64,
    /// The plan that new accounts start on. It stays on offer.
    #[schema(value_type = String, format = Uuid)]
    first_plan: PlanId,
    /// How far those who register are trusted from the start: `new` (lower limits) or `established`.
    #[schema(value_type = StandingName)]
    new_standing: Standing,
    /// Shown on the status page and in `/api/platform`; null: nothing.
    #[schema(value_type = Option<Notice>)]
    notice: Option<String>,
    /// Where customers write to; shown likewise.
    #[schema(format = Email)]
    support_address: Option<String>,
}

/// Settings to be set, all of them.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SetSettingsBody {
    /// The version that was read.
    #[schema(maximum = 9223372036854775807_i64)]
    version: u64,
    settings: SettingsInfo,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// The settings in force.
#[utoipa::path(
    get, path = "/settings", tag = "admin", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SettingsAnswer, description = "The settings"))
)]
pub(crate) async fn get_settings(
    State(state): State<ApiState>,
    _: Admin,
) -> Result<Json<SettingsAnswer>, ApiError> {
    Ok(Json(state.parts().admin.settings().await?.into()))
}

/// Sets all of them, in force at once; 409 `settings_changed` if somebody else did meanwhile.
#[utoipa::path(
    put, path = "/settings", tag = "admin", request_body = SetSettingsBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = SettingsAnswer, description = "The settings"))
)]
pub(crate) async fn set_settings(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<SetSettingsBody>,
) -> Result<Json<SettingsAnswer>, ApiError> {
    let settings = PlatformSettings {
        registrations_open: body.settings.registrations_open,
        bonus_bytes: body.settings.bonus_bytes,
        first_plan: body.settings.first_plan,
        new_standing: body.settings.new_standing,
        notice: body.settings.notice,
        support_address: body.settings.support_address,
    };
    let platform = &state.parts().admin;
    let written = platform
        .change_settings(actor(&admin.account), body.version, settings, &body.reason)
        .await?;
    Ok(Json(written.into()))
}

impl From<VersionedSettings> for SettingsAnswer {
    fn from(stored: VersionedSettings) -> Self {
        let settings = stored.settings;
        Self {
            version: stored.version,
            settings: SettingsInfo {
                registrations_open: settings.registrations_open,
                bonus_bytes: settings.bonus_bytes,
                first_plan: settings.first_plan,
                new_standing: settings.new_standing,
                notice: settings.notice,
                support_address: settings.support_address,
            },
        }
    }
}
