// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `proxy`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};

use super::shared::{DaySums, PeriodInfo, Sums};
use crate::error::Error;
use crate::management::Api;
use crate::values::{Secret, Timestamp};

/// Operations of this part of the API: [`Api::proxy`].
#[derive(Clone, Copy, Debug)]
pub struct Proxy<'a>(pub(super) &'a Api);

impl Proxy<'_> {
    /// How the customer usually reaches the proxy. It is what the pages' ready lines carry; requests that come without parameters are
    /// served without any.
    ///
    /// `GET /api/proxy/config`.
    pub async fn proxy_config(&self) -> Result<ConfigAnswer, Error> {
        self.0
            .call(Method::GET, "/api/proxy/config")
            .answer()
            .await?
            .json()
    }

    /// Sets how the customer usually reaches the proxy, whole.
    ///
    /// `POST /api/proxy/config`.
    pub async fn set_proxy_config(&self, body: &ConfigBody) -> Result<ConfigAnswer, Error> {
        self.0
            .call(Method::POST, "/api/proxy/config")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Host, ports, ready examples and the targeting parameters.
    ///
    /// `GET /api/proxy/endpoint`.
    pub async fn endpoint(&self) -> Result<EndpointAnswer, Error> {
        self.0
            .call(Method::GET, "/api/proxy/endpoint")
            .answer()
            .await?
            .json()
    }

    /// How targeting parameters are read, which gates of the plan they need, how many devices fit now, and the chance of success.
    ///
    /// Takes a login, or an API key as `Authorization: Bearer iploop_…`. Parameters that can't be read are answered as the proxy
    /// answers them: same code, detail, hint and parameter. An account may ask 60 times at once, and then 5 times a second.
    ///
    /// `GET /api/proxy/explain`.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<ExplainAnswer, Error> {
        self.0
            .call(Method::GET, "/api/proxy/explain")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Countries and cities in which a device is live now. For everyone.
    ///
    /// `GET /api/proxy/locations`.
    pub async fn locations(&self) -> Result<LocationsAnswer, Error> {
        self.0
            .call(Method::GET, "/api/proxy/locations")
            .answer()
            .await?
            .json()
    }

    /// What was used in the last 30 days, UTC.
    ///
    /// `GET /api/proxy/stats`.
    pub async fn proxy_stats(&self) -> Result<StatsAnswer, Error> {
        self.0
            .call(Method::GET, "/api/proxy/stats")
            .answer()
            .await?
            .json()
    }

    /// Sends one request through the proxy with the caller's key and says how it went. It comes from the server's own address: a
    /// key with an IP whitelist that does not have it answers `ip_not_allowed`.
    ///
    /// `POST /api/proxy/test`.
    pub async fn try_proxy(&self, body: &TrialBody) -> Result<TrialAnswer, Error> {
        self.0
            .call(Method::POST, "/api/proxy/test")
            .json(body)
            .answer()
            .await?
            .json()
    }
}

/// The query of `explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainQuery {
    /// Parameters as they stand behind the key, with or without the first dash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
}

/// The chance that a request to a healthy destination gets through now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Chance {
    /// Dials that one request may use: no more than there are devices.
    pub attempts: u32,
    /// The chance of one dial, from what the devices did in the last hours; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial_success: Option<f64>,
    /// How `success` follows from the others.
    pub formula: String,
    /// 0 to 1.
    pub success: f64,
}

/// A city with live devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct City {
    /// `name`.
    pub name: String,
    /// `nodes`.
    pub nodes: u64,
}

/// The usual wishes, and a login that has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConfigAnswer {
    /// None: never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// To be completed with a key.
    pub connection_string: String,
    /// A protocol of the proxy.
    pub protocol: Protocol,
    /// Parameters in canonical form; empty: none.
    pub targeting: String,
}

/// The usual wishes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigBody {
    /// A protocol of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Parameters as they stand behind the key; empty: none.
    pub targeting: String,
}

/// A country with live devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Country {
    /// Most devices first.
    pub cities: Vec<City>,
    /// ISO 3166-1 alpha-2; `ZZ`: unknown.
    pub code: String,
    /// `nodes`.
    pub nodes: u64,
}

/// One address of the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Endpoint {
    /// To be completed with a key.
    pub connection_string: String,
    /// `description`.
    pub description: String,
    /// `host`.
    pub host: String,
    /// `name`.
    pub name: String,
    /// `port`.
    pub port: u32,
    /// `http` or `socks5`.
    pub protocol: String,
}

/// How to reach the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointAnswer {
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
    /// Ready lines, to be completed with a key.
    pub examples: Examples,
    /// `host`.
    pub host: String,
    /// `httpPort`.
    pub http_port: u32,
    /// `parameters`.
    pub parameters: Vec<Parameter>,
    /// `socks5Port`.
    pub socks5_port: u32,
    /// The `USER` of a login: the account's id.
    pub username: String,
}

/// Ready lines, to be completed with a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Examples {
    /// `curl`.
    pub curl: String,
    /// `nodejs`.
    pub nodejs: String,
    /// `python`.
    pub python: String,
}

/// How parameters are read, and what they would find now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExplainAnswer {
    /// The chance that a request to a healthy destination gets through now.
    pub chance: Chance,
    /// The same wishes in canonical form.
    pub parameters: String,
    /// Whether the plan has what the parameters ask for.
    pub plan: PlanGates,
    /// The devices that fit and can take a connection now; none where the asking key is for other countries.
    pub pool: PoolInfo,
    /// `rules`.
    pub rules: Vec<Rule>,
}

/// A feature that a plan may lack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GateInfo {
    /// `gate`.
    pub gate: String,
    /// `isOpen`.
    pub is_open: bool,
    /// The parameter that needs it.
    pub parameter: String,
}

/// Countries and cities with live devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LocationsAnswer {
    /// Most devices first.
    pub countries: Vec<Country>,
    /// `totalCountries`.
    pub total_countries: u64,
    /// `totalNodes`.
    pub total_nodes: u64,
}

/// One targeting parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parameter {
    /// `description`.
    pub description: String,
    /// `example`.
    pub example: String,
    /// `format`.
    pub format: String,
    /// `name`.
    pub name: String,
}

/// Whether the plan has what the parameters ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlanGates {
    /// The features that these parameters use.
    pub gates: Vec<GateInfo>,
    /// False: the gateway answers 403 `plan_feature`.
    pub is_allowed: bool,
    /// `name`.
    pub name: String,
}

/// The devices that fit and can take a connection now; none where the asking key is for other countries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PoolInfo {
    /// False: there are too many to be counted, and this is an estimate from a sample.
    pub is_exact: bool,
    /// `nodes`.
    pub nodes: u64,
}

/// A protocol of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `http`.
    #[serde(rename = "http")]
    Http,
    /// `socks5`.
    #[serde(rename = "socks5")]
    Socks5,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// One wish, as it is understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rule {
    /// What follows from it.
    pub meaning: String,
    /// `parameter`.
    pub parameter: String,
    /// `value`.
    pub value: String,
}

/// The last 30 days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatsAnswer {
    /// Every day of the period, oldest first; empty if nothing was used in any.
    pub days: Vec<DaySums>,
    /// From when to when.
    pub period: PeriodInfo,
    /// Sums over requests.
    pub summary: Sums,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TrialAnswer {
    /// Bytes of content that were read, 64 KiB at most.
    pub bytes_read: u64,
    /// Until the proxy took the connection.
    pub connect_ms: u64,
    /// The proxy's error code; none: no error of the proxy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// `exitAsn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_asn: Option<String>,
    /// `exitCity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_city: Option<String>,
    /// Of the exit; none: none was used, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_country: Option<String>,
    /// Until the answer's head was there; none: there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// The request's id, for `/api/usage/requests/{requestId}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Sticky session, as the answer named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Of the answer; none: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
    /// The destination answered, or the tunnel was opened.
    pub success: bool,
    /// Until the end.
    pub total_ms: u64,
}

/// What to try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialBody {
    /// One of the account's keys, whole: we keep no copy that could be used here.
    pub api_key: Secret,
    /// Parameters as they stand behind the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targeting: Option<String>,
    /// Where to: `http` is asked for (GET), to `https` a tunnel is opened and no more. Default: the proxy's own echo, which uses
    /// no exit and costs nothing. Anything else is charged as ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
