//! `GET /metrics` for Prometheus, on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::PrometheusHandle;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::host;

/// The `[metrics]` section: figures for Prometheus.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address of `/metrics`: on loopback unless something in front of it asks who comes.
    pub listen: SocketAddr,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)),
        }
    }
}

/// Serves what `handle` has collected.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .layer(from_fn(host))
        .with_state(handle)
}

/// Names the API's own metrics; call once the recorder is installed.
///
/// `iploop_api_requests_total` by method, route and status; `iploop_api_request_seconds` by method and route;
/// `iploop_api_connections` open now; `iploop_mails_total` by result (`sent`, `retried`, `failed`).
pub fn describe_metrics() {
    metrics::describe_counter!("iploop_api_requests_total", "Requests answered by the API");
    metrics::describe_histogram!(
        "iploop_api_request_seconds",
        metrics::Unit::Seconds,
        "Time to the API's answer"
    );
    metrics::describe_gauge!("iploop_api_connections", "Connections open at the API");
    metrics::describe_gauge!("iploop_redis_up", "1 while the Redis of [redis] answers, else 0");
    metrics::describe_gauge!("iploop_processes", "Processes heard of, this one included");
    metrics::describe_counter!(
        "iploop_processes_silent_total",
        "Times that another process did not answer a question"
    );
    metrics::describe_counter!("iploop_mails_total", "Tries to hand a mail over");
}

async fn metrics(State(handle): State<PrometheusHandle>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        handle.render(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_counted_is_shown_as_prometheus_text() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let router = metrics_router(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("iploop_api_requests_total", "status" => "200").increment(2);
        });
        let request = http::Request::get("/metrics")
            .header("host", "x")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let text = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            text.contains("iploop_api_requests_total{status=\"200\"} 2"),
            "{text}"
        );
    }
}
