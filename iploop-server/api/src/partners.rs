//! `/api/partners`: who may bring devices, for admins; and `/api/partner`, for partners themselves.

mod manage;
pub(crate) mod portal;
mod views;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::PartnerId;
use iploop_platform::partners::{self, WantedPartner};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::schema::{Name, Reason};
use crate::session::Admin;
use crate::state::ApiState;

/// The routes below `/api/partners`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create_partner, manage::list_partners))
        .routes(routes!(
            manage::get_partner,
            manage::change_partner,
            manage::delete_partner
        ))
        .routes(routes!(manage::list_devices))
        .routes(routes!(manage::regenerate_key))
        .routes(routes!(manage::list_apps, manage::create_app))
        .routes(routes!(manage::review_app))
        .routes(routes!(manage::list_partner_users, manage::link_user))
        .routes(routes!(manage::unlink_user))
        .routes(routes!(manage::get_statement))
        .routes(routes!(manage::get_statement_csv))
        .routes(routes!(manage::list_payouts, manage::pay_partner))
}

/// A partner to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreatePartnerBody {
    /// The company's name.
    #[schema(required, value_type = Name)]
    #[serde(default)]
    name: String,
    /// Contact address.
    #[schema(format = Email, max_length = 254)]
    #[serde(default)]
    email: Option<String>,
    /// Percent of what its devices' bytes sell for, with at most two digits behind the point. Absent: 70.
    #[schema(minimum = 0, maximum = 100)]
    #[serde(default)]
    revenue_share: Option<f64>,
    /// For the record; `a new partner` where it is absent.
    #[schema(value_type = Option<Reason>)]
    #[serde(default)]
    reason: Option<String>,
}

/// A new partner with its key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewPartner {
    /// The key itself, for the partner's app: save it now, it is not shown again.
    key: String,
    #[schema(value_type = String, format = Uuid)]
    id: PartnerId,
    name: String,
    email: Option<String>,
    /// The key's first 14 characters.
    api_key_prefix: String,
    is_active: bool,
    /// Percent of what the partner's devices earn.
    revenue_share: f64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Makes a partner. Its key is in this answer and nowhere else. For admins.
#[utoipa::path(
    post, path = "", tag = "partners", request_body = CreatePartnerBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = NewPartner, description = "The partner with its key"))
)]
pub(crate) async fn create_partner(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Json(body): Json<CreatePartnerBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let who = manage::by(
        admin.account.id,
        body.reason.as_deref().unwrap_or("a new partner"),
    );
    let wanted = WantedPartner {
        name: &body.name,
        email: body.email.as_deref(),
        revenue_share_percent: body.revenue_share,
    };
    let created = partners::create(&*parts.store, &*parts.clock, wanted, who).await?;
    let partner = created.partner;
    let answer = NewPartner {
        key: created.key.expose().to_owned(),
        id: partner.id,
        name: partner.name,
        email: partner.email,
        api_key_prefix: partner.api_key_prefix,
        is_active: partner.is_active,
        revenue_share: f64::from(partner.revenue_share_bp) / 100.0,
        created_at: partner.created_at,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
