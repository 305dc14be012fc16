//! `POST /api/billing/webhook`: what the payment provider tells. Nobody signs in here: the body is signed.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Raw;
use crate::state::ApiState;

const SIGNATURE: &str = "stripe-signature";

/// The route below `/api/billing`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(take_event))
}

/// An event of the payment provider. Answers 200 once its effect, or that it has none, is stored; the same event again changes
/// nothing. Every other answer makes the provider send it again.
#[utoipa::path(
    post, path = "/webhook", tag = "billing",
    request_body(content = String, content_type = "application/json", description = "Signed by the header Stripe-Signature"),
    responses((status = 200, description = "It is stored"))
)]
pub(crate) async fn take_event(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode, ApiError> {
    let signature = headers
        .get(SIGNATURE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    state.parts().billing.take_event(&body, signature).await?;
    Ok(StatusCode::OK)
}
