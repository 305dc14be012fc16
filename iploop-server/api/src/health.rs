//! `/healthz` and `/readyz`: for the ones that restart and route.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Json;
use crate::state::ApiState;

/// How long a part may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The routes of the health checks.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

/// The process runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `ok`.
    status: &'static str,
    version: &'static str,
}

/// Whether the process should get traffic.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`, `draining` or `not_ready`.
    status: &'static str,
    /// `ok`, `unavailable`, or `degraded` where the process can do without, by part.
    parts: BTreeMap<&'static str, &'static str>,
}

/// The process runs: restart it if this fails.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Alive, description = "It runs")))]
pub(crate) async fn healthz() -> Json<Alive> {
    Json(Alive {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The process can serve: send no traffic while this fails.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Readiness, description = "Every part that is needed works"),
        (status = 503, body = Readiness, description = "A part that is needed does not work, or the process is ending"),
    )
)]
pub(crate) async fn readyz(State(state): State<ApiState>) -> Response {
    let state_parts = state.parts();
    let mut parts = BTreeMap::new();
    let store = async { state_parts.store.ping().await.map_err(|error| error.to_string()) };
    parts.insert("store", checked("store", store).await);
    for check in &state_parts.ready_checks {
        let status = match (checked(check.name(), check.check()).await, check.is_needed()) {
            ("unavailable", false) => "degraded",
            (status, _) => status,
        };
        parts.insert(check.name(), status);
    }
    let is_ready = parts.values().all(|status| *status != "unavailable");
    let status = match (state_parts.draining.is_cancelled(), is_ready) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not_ready",
    };
    let code = if status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(Readiness { status, parts })).into_response()
}

/// The reason goes to the log, not to whoever asks.
async fn checked(name: &'static str, check: impl Future<Output = Result<(), String>>) -> &'static str {
    let result = tokio::time::timeout(CHECK_TIMEOUT, check)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()));
    match result {
        Ok(()) => "ok",
        Err(reason) => {
            tracing::warn!(part = name, reason, "not ready");
            "unavailable"
        }
    }
}
