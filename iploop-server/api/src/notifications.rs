//! `/api/auth/notifications`: what a customer wants to be told; and the links that end reports without signing in.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use iploop_platform::notices::{Preferences, PreferencesChange, Report};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::html::{self, Html};
use crate::session::SignedIn;
use crate::state::ApiState;

/// `/api/auth/notifications`
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get_notifications, set_notifications))
}

/// `/api/mail/unsubscribe`
pub(crate) fn mail_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(unsubscribe_page, unsubscribe))
}

/// What a customer wants to be told. Mails that were asked for, or that a payment or a broken webhook depends on, are sent in
/// any case.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotificationsAnswer {
    /// Mails about usage at all.
    email_alerts: bool,
    /// Mails when 80 % of the last top-up are used, and when all is.
    usage_alerts: bool,
    /// Receipts. A failed payment is mailed in any case.
    billing_alerts: bool,
    /// Sign-ins from new networks; changes of the password, the second factor and the networks that may sign in; new keys. That
    /// they are switched off is itself mailed.
    security_alerts: bool,
    /// Planned work on the platform.
    maintenance_alerts: bool,
    /// Keys that reach their rate, once an hour.
    rate_limit_alerts: bool,
    /// The last week in figures, each Monday.
    weekly_reports: bool,
    /// The last month in figures, on the first.
    monthly_reports: bool,
    /// When the event `usage.threshold` happens, in per cent of the last top-up.
    #[schema(minimum = 1, maximum = 100)]
    usage_threshold_percent: u8,
    /// Below which balance the event `balance.low` happens, in bytes.
    balance_low_bytes: i64,
}

/// Changes: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct NotificationsBody {
    email_alerts: Option<bool>,
    usage_alerts: Option<bool>,
    billing_alerts: Option<bool>,
    security_alerts: Option<bool>,
    maintenance_alerts: Option<bool>,
    rate_limit_alerts: Option<bool>,
    weekly_reports: Option<bool>,
    monthly_reports: Option<bool>,
    #[schema(minimum = 1, maximum = 100)]
    usage_threshold_percent: Option<u8>,
    #[schema(minimum = 0, maximum = 1000000000000000_i64)]
    balance_low_bytes: Option<i64>,
}

/// The token of a link in a report.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinkQuery {
    /// As in the link.
    #[param(required, value_type = String)]
    #[serde(default)]
    token: String,
}

const TITLE: &str = "No more reports";

impl From<Preferences> for NotificationsAnswer {
    fn from(preferences: Preferences) -> Self {
        let Preferences {
            email_alerts,
            usage_alerts,
            billing_alerts,
            security_alerts,
            maintenance_alerts,
            rate_limit_alerts,
            weekly_reports,
            monthly_reports,
            usage_threshold_percent,
            balance_low_bytes,
        } = preferences;
        Self {
            email_alerts,
            usage_alerts,
            billing_alerts,
            security_alerts,
            maintenance_alerts,
            rate_limit_alerts,
            weekly_reports,
            monthly_reports,
            usage_threshold_percent,
            balance_low_bytes,
        }
    }
}

impl From<NotificationsBody> for PreferencesChange {
    fn from(body: NotificationsBody) -> Self {
        Self {
            email_alerts: body.email_alerts,
            usage_alerts: body.usage_alerts,
            billing_alerts: body.billing_alerts,
            security_alerts: body.security_alerts,
            maintenance_alerts: body.maintenance_alerts,
            rate_limit_alerts: body.rate_limit_alerts,
            weekly_reports: body.weekly_reports,
            monthly_reports: body.monthly_reports,
            usage_threshold_percent: body.usage_threshold_percent,
            balance_low_bytes: body.balance_low_bytes,
        }
    }
}

/// What the account wants to be told.
#[utoipa::path(
    get, path = "", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NotificationsAnswer, description = "The preferences"))
)]
pub(crate) async fn get_notifications(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<NotificationsAnswer>, ApiError> {
    let preferences = state.parts().notices.preferences(session.account().id).await?;
    Ok(Json(preferences.into()))
}

/// Changes what the account wants to be told.
#[utoipa::path(
    put, path = "", tag = "auth", request_body = NotificationsBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = NotificationsAnswer, description = "The preferences"))
)]
pub(crate) async fn set_notifications(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<NotificationsBody>,
) -> Result<Json<NotificationsAnswer>, ApiError> {
    let (notices, account) = (&state.parts().notices, session.account().id);
    let preferences = notices.change_preferences(account, &body.into()).await?;
    Ok(Json(preferences.into()))
}

/// The page that the link in a report opens. Programs that look at links in mails end nothing by opening it.
#[utoipa::path(
    get, path = "/unsubscribe", tag = "mail", params(LinkQuery),
    responses(
        (status = 200, content_type = "text/html", body = String, description = "A button that ends the reports"),
        (status = 400, content_type = "text/html", body = String, description = "The link is not good"),
    )
)]
pub(crate) async fn unsubscribe_page(
    State(state): State<ApiState>,
    query: Result<Query<LinkQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return html::refusal(TITLE, error),
    };
    match state.parts().notices.read_link(&query.token) {
        Ok(report) => {
            let mut body = Html::paragraph(match report {
                Report::Weekly => "Press the button to end the weekly reports to this account.",
                Report::Monthly => "Press the button to end the monthly reports to this account.",
            });
            body.raw("<form method=\"post\" action=\"unsubscribe?token=")
                .text(&query.token)
                .raw("\"><button>No more reports</button></form>");
            Ok(html::page(StatusCode::OK, TITLE, body))
        }
        Err(error) => html::refusal(TITLE, error.into()),
    }
}

/// Ends the reports that the link is about: the page's button, and the one click of mail programs (RFC 8058). The body does
/// not matter.
#[utoipa::path(
    post, path = "/unsubscribe", tag = "mail", params(LinkQuery),
    responses(
        (status = 200, content_type = "text/html", body = String, description = "They have ended"),
        (status = 400, content_type = "text/html", body = String, description = "The link is not good"),
    )
)]
pub(crate) async fn unsubscribe(
    State(state): State<ApiState>,
    query: Result<Query<LinkQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return html::refusal(TITLE, error),
    };
    match state.parts().notices.unsubscribe(&query.token).await {
        Ok(report) => {
            let done = format!(
                "You get no more {} reports. The settings bring them back.",
                report.as_str()
            );
            Ok(html::page(StatusCode::OK, TITLE, Html::paragraph(&done)))
        }
        Err(error) => html::refusal(TITLE, error.into()),
    }
}
