//! `GET /api/platform`: what everybody may know before signing in.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::state::ApiState;

/// The routes below `/api/platform`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(platform))
}

/// What everybody may know.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlatformAnswer {
    /// Whether strangers may register.
    registrations_open: bool,
    /// Free bytes of a new account, once.
    bonus_bytes: i64,
    /// What the operator has to say now, such as a planned interruption.
    notice: Option<String>,
    /// Where to write to.
    support_address: Option<String>,
    version: &'static str,
}

/// Whether registration is open, what is free, and what the operator has to say.
#[utoipa::path(
    get, path = "", tag = "platform",
    responses((status = 200, body = PlatformAnswer, description = "The platform"))
)]
pub(crate) async fn platform(State(state): State<ApiState>) -> Result<Json<PlatformAnswer>, ApiError> {
    let settings = state.parts().store.settings().await?.settings;
    Ok(Json(PlatformAnswer {
        registrations_open: settings.registrations_open,
        bonus_bytes: settings.bonus_bytes,
        notice: settings.notice,
        support_address: settings.support_address,
        version: env!("CARGO_PKG_VERSION"),
    }))
}
