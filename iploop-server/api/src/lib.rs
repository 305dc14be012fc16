//! IPLoop's HTTP API: routes, OpenAPI, sign-in sessions and roles.
//!
//! No business rule lives here: a handler reads a request, asks `iploop-platform`, and writes the answer. Errors go through
//! one table (`error`) and come out as problem documents; what every answer carries is added in one place (`finish`).

mod addresses;
mod admin;
mod auth;
mod billing;
mod config;
mod dashboard;
mod error;
mod explain;
mod extract;
mod finish;
mod health;
mod host;
mod html;
mod key_holder;
mod keys;
mod live;
mod metrics;
mod network_view;
mod nodes;
mod notifications;
mod openapi;
mod owner;
mod partners;
mod payment_webhook;
mod payments;
mod platform_info;
mod problem;
mod proxy;
mod proxy_config;
mod schema;
mod serve;
mod session;
mod state;
mod status_page;
mod sticky;
mod support;
mod trial;
mod units;
mod usage;
mod webhooks;

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use config::ApiConfig;
use dashboard::Dashboard;
use error::ApiError;
pub use metrics::{MetricsConfig, describe_metrics, metrics_router};
pub use serve::{ServeLimits, serve};
pub use state::{ApiParts, ApiState, ProxyAddresses, ReadyCheck};

/// The API, the public pages and the health checks.
pub fn router(state: ApiState) -> Router {
    Routes::new().with(state)
}

/// The routes, before there is anything that they could answer from.
///
/// The OpenAPI document takes 10 MB while it is put together. A server that begins with it has these for the rest of its start,
/// where they would lie about between what it keeps.
pub struct Routes {
    router: Router<ApiState>,
    document: bytes::Bytes,
    dashboard: Option<Dashboard>,
}

impl Routes {
    /// All of them, and the document that describes them.
    #[expect(clippy::new_without_default, reason = "much work for a default")]
    pub fn new() -> Self {
        let (router, document) = documented().split_for_parts();
        // Never fails: the document is plain data with text as keys.
        let document = bytes::Bytes::from(document.to_json().unwrap_or_default());
        Self {
            router,
            document,
            dashboard: None,
        }
    }

    /// Shows the dashboard that was built into this folder, at `/` too; without one, `/` is the status page.
    #[must_use]
    pub fn with_dashboard(mut self, folder: Option<&Path>) -> Self {
        self.dashboard = folder.map(Dashboard::new);
        self
    }

    /// Has them answer from `state`.
    pub fn with(self, state: ApiState) -> Router {
        let Self {
            router,
            document,
            dashboard,
        } = self;
        let router = match dashboard {
            Some(dashboard) => router
                .route(
                    "/",
                    get({
                        let dashboard = dashboard.clone();
                        move || dashboard.page()
                    }),
                )
                .fallback(move |request: Request| dashboard.answer(request)),
            None => router
                .route("/", get(status_page::status_page))
                .fallback(|| std::future::ready(ApiError::NotFound)),
        };
        router
            // Where mails lead to.
            .route("/status", get(status_page::status_page))
            .route("/style.css", get(html::style))
            .route("/docs/{file}", get(support::documentation))
            .route(
                "/api/openapi.json",
                get(move || std::future::ready(json(document.clone()))),
            )
            .method_not_allowed_fallback(|| std::future::ready(ApiError::MethodNotAllowed))
            .layer(from_fn(host::host))
            .layer(from_fn_with_state(state.clone(), finish::finish))
            .with_state(state)
    }
}

/// The OpenAPI 3.1 document, as `/api/openapi.json` shows it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<ApiState> {
    let mut router = OpenApiRouter::with_openapi(openapi::Base::openapi())
        .merge(health::router())
        .nest("/api/auth", auth::router())
        .nest("/api/auth/notifications", notifications::router())
        .nest("/api/mail", notifications::mail_router())
        .nest("/api/webhooks", webhooks::router())
        .nest("/api/auth/api-keys", keys::router())
        .nest(
            "/api/proxy",
            proxy::router()
                .merge(explain::router())
                .merge(usage::stats_router())
                .merge(trial::router())
                .merge(proxy_config::router()),
        )
        .nest("/api/proxy/keys", keys::router())
        .nest("/api/proxy/addresses", addresses::router())
        .nest("/api/proxy/sessions", sticky::router())
        .nest("/api/nodes", nodes::router())
        .nest("/api/usage", usage::router())
        .nest(
            "/api/billing",
            billing::router()
                .merge(payments::router())
                .merge(payment_webhook::router()),
        )
        .nest("/api/partners", partners::router())
        .nest("/api/platform", platform_info::router())
        .nest("/api/partner", partners::portal::router())
        .nest("/api/owner", owner::router())
        .nest("/api/devices", owner::pairing_router())
        .nest("/api/admin/owners", owner::admin_router())
        .nest("/api/live", live::router())
        .nest("/api/support", support::router())
        .nest("/api/assistant", support::assistant_router())
        .nest("/api/admin", admin::router().merge(live::admin_router()));
    openapi::complete(router.get_openapi_mut());
    router
}

fn json(document: bytes::Bytes) -> impl axum::response::IntoResponse {
    ([(http::header::CONTENT_TYPE, "application/json")], document)
}
