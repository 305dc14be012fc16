//! Planned work on the platform, announced.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AnnouncementId;
use iploop_platform::notices::{Announcement, WantedAnnouncement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actor;
use crate::error::ApiError;
use crate::extract::Json;
use crate::schema::{AnnouncementText, Reason};
use crate::session::Admin;
use crate::state::ApiState;

/// Work to be announced.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AnnounceBody {
    /// When it begins, at most a year ahead.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    /// When it ends: not in the past, and at most a week after it begins.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// What customers will notice, in one line.
    #[schema(value_type = AnnouncementText)]
    message: String,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Work that was announced.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnnouncementInfo {
    #[schema(value_type = String, format = Uuid)]
    id: AnnouncementId,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    message: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Announces planned work: by mail to who has `maintenanceAlerts` on, by the event `platform.maintenance` to who subscribed.
///
/// They are told in the course of the next seconds. At most 20 announcements within 24 hours.
#[utoipa::path(
    post, path = "/maintenance", tag = "admin", request_body = AnnounceBody,
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 202, body = AnnouncementInfo, description = "It is being told"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many within 24 hours"),
    )
)]
pub(crate) async fn announce_maintenance(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<AnnounceBody>,
) -> Result<Response, ApiError> {
    let wanted = WantedAnnouncement {
        starts_at: body.starts_at,
        ends_at: body.ends_at,
        message: body.message,
    };
    let notices = &state.parts().notices;
    let announced = notices
        .announce(actor(&admin.account), wanted, &body.reason)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(AnnouncementInfo::from(announced))).into_response())
}

impl From<Announcement> for AnnouncementInfo {
    fn from(announced: Announcement) -> Self {
        Self {
            id: announced.id,
            starts_at: announced.starts_at,
            ends_at: announced.ends_at,
            message: announced.message,
            created_at: announced.created_at,
        }
    }
}
