//! `/api/proxy/endpoint` and `/api/proxy/locations`: how to reach the proxy, and from where it can exit.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/proxy`, those of the keys apart.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(endpoint))
        .routes(routes!(locations))
}

/// How to reach the proxy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointAnswer {
    host: String,
    http_port: u16,
    socks5_port: u16,
    /// The `USER` of a login: the account's id.
    username: String,
    endpoints: Vec<Endpoint>,
    examples: Examples,
    parameters: Vec<Parameter>,
}

/// One address of the proxy.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    name: &'static str,
    /// `http` or `socks5`.
    protocol: &'static str,
    host: String,
    port: u16,
    description: &'static str,
    /// To be completed with a key.
    connection_string: String,
}

/// Ready lines, to be completed with a key.
#[derive(Serialize, ToSchema)]
struct Examples {
    curl: String,
    python: String,
    nodejs: String,
}

/// One targeting parameter.
#[derive(Serialize, ToSchema)]
struct Parameter {
    name: &'static str,
    format: &'static str,
    example: &'static str,
    description: &'static str,
}

/// Countries and cities with live devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocationsAnswer {
    /// Most devices first.
    countries: Vec<Country>,
    total_countries: usize,
    total_nodes: u64,
}

/// A country with live devices.
#[derive(Serialize, ToSchema)]
struct Country {
    /// ISO 3166-1 alpha-2; `ZZ`: unknown.
    #[schema(example = "DE")]
    code: String,
    nodes: u64,
    /// Most devices first.
    cities: Vec<City>,
}

/// A city with live devices.
#[derive(Serialize, ToSchema)]
struct City {
    name: String,
    nodes: u64,
}

/// Host, ports, ready examples and the targeting parameters.
#[utoipa::path(
    get, path = "/endpoint", tag = "proxy", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = EndpointAnswer, description = "How to reach the proxy"))
)]
pub(crate) async fn endpoint(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<EndpointAnswer>, ApiError> {
    let proxy = &state.parts().proxy;
    let user = session.account().id.to_string();
    let http = format!("{}:{}", proxy.host, proxy.http_port);
    let socks5 = format!("{}:{}", proxy.host, proxy.socks5_port);
    let endpoint = |name, protocol, port, description, scheme: &str, address: &str| Endpoint {
        name,
        protocol,
        host: proxy.host.clone(),
        port,
        description,
        connection_string: format!("{scheme}://{user}:API_KEY@{address}"),
    };
    Ok(Json(EndpointAnswer {
        host: proxy.host.clone(),
        http_port: proxy.http_port,
        socks5_port: proxy.socks5_port,
        endpoints: vec![
            endpoint(
                "HTTP Proxy",
                "http",
                proxy.http_port,
                "HTTP and HTTPS, also over TLS",
                "http",
                &http,
            ),
            endpoint(
                "SOCKS5 Proxy",
                "socks5",
                proxy.socks5_port,
                "SOCKS5 with names resolved at the exit",
                "socks5h",
                &socks5,
            ),
        ],
        examples: examples(&user, &http),
        parameters: PARAMETERS.into_iter().map(parameter).collect(),
        username: user,
    }))
}

/// Countries and cities in which a device is live now. For everyone.
#[utoipa::path(
    get, path = "/locations", tag = "proxy",
    responses((status = 200, body = LocationsAnswer, description = "The places"))
)]
pub(crate) async fn locations(State(state): State<ApiState>) -> Response {
    let snapshot = state.network().snapshot();
    let mut countries: Vec<Country> = snapshot
        .locations
        .iter()
        .map(|place| Country {
            code: place.country.clone(),
            nodes: place.nodes,
            cities: place
                .cities
                .iter()
                .map(|city| City {
                    name: city.city.clone(),
                    nodes: city.nodes,
                })
                .collect(),
        })
        .collect();
    countries.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.code.cmp(&b.code)));
    let answer = LocationsAnswer {
        total_countries: countries.iter().filter(|country| country.code != "ZZ").count(),
        total_nodes: snapshot.stats.connected_nodes,
        countries,
    };
    let mut response = Json(answer).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=5"));
    response
}

fn examples(user: &str, address: &str) -> Examples {
    let proxy = format!("http://{user}:API_KEY-country-US@{address}");
    Examples {
        curl: format!("curl -x {proxy} https://example.com/"),
        python: format!(
            "import requests\n\nproxy = \"{proxy}\"\n\
             print(requests.get(\"https://example.com/\", proxies={{\"http\": proxy, \"https\": proxy}}).status_code)"
        ),
        nodejs: format!(
            "import {{ fetch, ProxyAgent }} from \"undici\";\n\n\
             const dispatcher = new ProxyAgent({{\n  uri: \"http://{address}\",\n  \
             token: \"Basic \" + Buffer.from(\"{user}:API_KEY-country-US\").toString(\"base64\"),\n}});\n\
             console.log((await fetch(\"https://example.com/\", {{ dispatcher }})).status);"
        ),
    }
}

/// Name, format, example, description.
const PARAMETERS: [(&str, &str, &str, &str); 20] = [
    (
        "country",
        "-country-XX",
        "-country-US",
        "Country, ISO 3166-1 alpha-2; several joined by +, or eu",
    ),
    ("region", "-region-NAME", "-region-california", "Region or state"),
    ("city", "-city-NAME", "-city-miami", "City"),
    ("zip", "-zip-CODE", "-zip-33101", "Postal code"),
    ("asn", "-asn-NUMBER", "-asn-12345", "Autonomous system"),
    ("isp", "-isp-NAME", "-isp-comcast", "Provider"),
    ("net", "-net-TYPE", "-net-wifi", "wifi, cellular or ethernet"),
    ("os", "-os-TYPE", "-os-android", "Device type"),
    (
        "exclude",
        "-exclude-XX",
        "-exclude-US+CA",
        "Countries to leave out",
    ),
    (
        "session",
        "-session-ID",
        "-session-abc123",
        "The same exit for as long as the session lasts",
    ),
    (
        "sesstype",
        "-sesstype-TYPE",
        "-sesstype-sticky",
        "sticky, rotating or per-request",
    ),
    (
        "lifetime",
        "-lifetime-TIME",
        "-lifetime-30",
        "How long a session lasts: minutes, or with s, m, h",
    ),
    (
        "rotate",
        "-rotate-MODE",
        "-rotate-request",
        "request, time, manual or ip-change",
    ),
    (
        "idle",
        "-idle-TIME",
        "-idle-60s",
        "How long an unused session lasts",
    ),
    (
        "failover",
        "-failover-MODE",
        "-failover-same-asn",
        "same-ip, same-asn, any or none",
    ),
    (
        "dns",
        "-dns-WHERE",
        "-dns-exit",
        "Where names are resolved: exit or gateway",
    ),
    (
        "profile",
        "-profile-NAME",
        "-profile-chrome-win",
        "Browser whose headers plain HTTP requests carry",
    ),
    ("speed", "-speed-MBPS", "-speed-10", "Least speed"),
    ("latency", "-latency-MS", "-latency-100", "Highest latency"),
    (
        "debug",
        "-debug-1",
        "-debug-1",
        "Timings and attempts in the answer",
    ),
];

fn parameter(
    (name, format, example, description): (&'static str, &'static str, &'static str, &'static str),
) -> Parameter {
    Parameter {
        name,
        format,
        example,
        description,
    }
}
