//! Around every request: its id, its time limit, and what every answer carries.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use iploop_platform::ids::RequestId;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::problem;
use crate::state::ApiState;

/// How long an answer may take, the body of the request included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-iploop-request-id");

/// Headers of every answer that a handler did not set otherwise.
const DEFAULT_HEADERS: [(HeaderName, &str); 8] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// The outermost layer.
pub(crate) async fn finish(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let method = request.method().clone();
    // The route, not the path: paths carry ids, and metrics must not grow with them.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let started = Instant::now();

    let mut response = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::Timeout.into_response());
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if let Some(reason) = error.log_text() {
            tracing::error!(request.id = %id, code = error.answer().code, reason, "request failed");
        }
        response = with_problem(response, &error, id);
    }
    set_headers(
        response.headers_mut(),
        id,
        state.parts().accounts.public_url().is_https(),
    );

    let labels = [
        ("method", known(&method).to_owned()),
        ("route", route.unwrap_or_else(|| "none".to_owned())),
        ("status", response.status().as_str().to_owned()),
    ];
    metrics::counter!("iploop_api_requests_total", &labels).increment(1);
    metrics::histogram!("iploop_api_request_seconds", &labels[..2]).record(started.elapsed().as_secs_f64());
    tracing::debug!(request.id = %id, %method, route = labels[1].1, status = labels[2].1, "answered");
    response
}

/// The problem document, with what the framework said beside the error (`Allow`).
fn with_problem(response: Response, error: &ApiError, id: RequestId) -> Response {
    let mut document = problem::respond(error, id);
    if let Some(allow) = response.headers().get(ALLOW) {
        document.headers_mut().insert(ALLOW, allow.clone());
    }
    document
}

/// The method, if it is one of HTTP's own: clients may invent others, and metrics must not grow with them.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    ];
    KNOWN
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or("other")
}

fn set_headers(headers: &mut HeaderMap, id: RequestId, is_https: bool) {
    for (name, value) in DEFAULT_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_https {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
}
