//! `/api/proxy/config`: how the customer usually reaches the proxy.

use axum::extract::State;
use iploop_platform::clock::Timestamp;
use iploop_platform::proxy_defaults::{ProxyDefaults, ProxyProtocol};
use iploop_protocol::targeting::Targeting;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/proxy`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(proxy_config, set_proxy_config))
}

/// A protocol of the proxy.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Http,
    Socks5,
}

/// The usual wishes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigBody {
    /// Parameters as they stand behind the key; empty: none.
    #[schema(example = "country-US")]
    targeting: String,
    #[serde(default)]
    #[schema(inline)]
    protocol: Protocol,
}

/// The usual wishes, and a login that has them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigAnswer {
    /// Parameters in canonical form; empty: none.
    targeting: String,
    #[schema(inline)]
    protocol: Protocol,
    /// To be completed with a key.
    #[schema(
        example = "http://01900000-0000-7000-8000-000000000001:API_KEY-country-US@proxy.example.com:7777"
    )]
    connection_string: String,
    /// None: never set.
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<Timestamp>,
}

/// How the customer usually reaches the proxy. It is what the pages' ready lines carry; requests that come without parameters are
/// served without any.
#[utoipa::path(
    get, path = "/config", tag = "proxy", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ConfigAnswer, description = "The usual wishes"))
)]
pub(crate) async fn proxy_config(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<ConfigAnswer>, ApiError> {
    let defaults = state.parts().store.proxy_defaults(session.account().id).await?;
    Ok(Json(answer(&state, &session, defaults)))
}

/// Sets how the customer usually reaches the proxy, whole.
#[utoipa::path(
    post, path = "/config", tag = "proxy", request_body = ConfigBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = ConfigAnswer, description = "As they are now"))
)]
pub(crate) async fn set_proxy_config(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<ConfigBody>,
) -> Result<Json<ConfigAnswer>, ApiError> {
    let targeting = Targeting::parse(body.targeting.trim_start_matches('-'));
    let targeting = targeting.map_err(|error| ApiError::Targeting(Box::new(error)))?;
    let defaults = ProxyDefaults {
        targeting: targeting.to_string(),
        protocol: match body.protocol {
            Protocol::Http => ProxyProtocol::Http,
            Protocol::Socks5 => ProxyProtocol::Socks5,
        },
        changed_at: state.parts().clock.now(),
    };
    let account = session.account().id;
    state.parts().store.set_proxy_defaults(account, &defaults).await?;
    Ok(Json(answer(&state, &session, Some(defaults))))
}

fn answer(state: &ApiState, session: &SignedIn, defaults: Option<ProxyDefaults>) -> ConfigAnswer {
    let changed_at = defaults.as_ref().map(|defaults| defaults.changed_at);
    let (targeting, protocol) = defaults
        .map(|defaults| (defaults.targeting, defaults.protocol))
        .unwrap_or_default();
    let proxy = &state.parts().proxy;
    let (scheme, port, protocol) = match protocol {
        ProxyProtocol::Http => ("http", proxy.http_port, Protocol::Http),
        ProxyProtocol::Socks5 => ("socks5h", proxy.socks5_port, Protocol::Socks5),
    };
    let dash = if targeting.is_empty() { "" } else { "-" };
    let connection_string = format!(
        "{scheme}://{}:API_KEY{dash}{targeting}@{}:{port}",
        session.account().id,
        proxy.host
    );
    ConfigAnswer {
        targeting,
        protocol,
        connection_string,
        changed_at,
    }
}
