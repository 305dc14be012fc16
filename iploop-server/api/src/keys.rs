//! `/api/proxy/keys`, also under its other name `/api/auth/api-keys`: the customer's keys.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::api_key::{ApiKey, MAX_KEYS_PER_ACCOUNT};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::ApiKeyId;
use iploop_platform::keys::{WantedChange, WantedKey, WantedLimits};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::schema::{CountryOrSet, Name, NetworkText, Port};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes of the keys, relative to either name.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_keys, create_key))
        .routes(routes!(get_key, change_key, delete_key))
        .routes(routes!(set_key_whitelist))
}

/// The id in the path; what is no id names no key.
pub(crate) struct KeyId(ApiKeyId);

impl FromRequestParts<ApiState> for KeyId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::KeyNotFound)?;
        id.parse().map(Self).map_err(|_| ApiError::KeyNotFound)
    }
}

/// A key without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyInfo {
    #[schema(value_type = String, format = Uuid)]
    id: ApiKeyId,
    /// The customer's name for it.
    name: String,
    /// Its first 14 characters.
    #[schema(example = "iploop_0a1b2c3")]
    key_prefix: String,
    /// Switched on.
    is_active: bool,
    /// Addresses and CIDRs it may be used from; empty: any.
    ip_whitelist: Vec<String>,
    /// Proven addresses of that list need no password.
    ip_login: bool,
    /// What it is for: `proxy`, as all keys are.
    #[schema(example = json!(["proxy"]))]
    permissions: [&'static str; 1],
    /// What it may do of what the plan allows.
    limits: Limits,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// When it stops working.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// The account's keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyList {
    /// Oldest first.
    keys: Vec<KeyInfo>,
    /// Most keys an account may have.
    max_keys: u32,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateKeyBody {
    /// The customer's name for it.
    #[schema(required, value_type = Name)]
    #[serde(default)]
    name: String,
    /// When it stops working; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// What it may do of what the plan allows; absent: all of it.
    #[schema(value_type = Limits, required = false)]
    #[serde(default, deserialize_with = "object")]
    limits: Option<Limits>,
    /// Addresses and CIDRs it may be used from; empty: any.
    #[schema(value_type = Vec<NetworkText>, max_items = 50, example = json!(["192.0.2.7", "198.51.100.0/24"]))]
    #[serde(default)]
    ip_whitelist: Vec<String>,
    /// Lets addresses of the list in without a password once they are proven (`/api/proxy/addresses`). The list must be narrow:
    /// IPv4 `/24`, IPv6 `/48` or longer, of the public internet.
    #[serde(default)]
    ip_login: bool,
}

/// Limits of one key. What is absent, null or empty limits nothing.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Requests a second. Faster ones get 429 `rate_limited`.
    #[schema(minimum = 1, maximum = 100000)]
    requests_per_second: Option<u32>,
    /// Requests at once after a rest; default: as many as a second has.
    #[schema(minimum = 1, maximum = 100000)]
    burst: Option<u32>,
    /// Tunnels and requests at the same time. Further ones get 429 `too_many_connections`.
    #[schema(minimum = 1, maximum = 4294967295_i64)]
    max_connections: Option<u32>,
    /// Paid bytes each UTC day (1 GB is 10^9 bytes). Then 402 `key_quota_exceeded`, and running requests end.
    #[schema(minimum = 1, maximum = 9223372036854775807_i64)]
    bytes_per_day: Option<u64>,
    /// Paid bytes each UTC month.
    #[schema(minimum = 1, maximum = 9223372036854775807_i64)]
    bytes_per_month: Option<u64>,
    /// Paid bytes since the key was made.
    #[schema(minimum = 1, maximum = 9223372036854775807_i64)]
    bytes_total: Option<u64>,
    /// Two-letter codes or `eu`: exits in these countries only. Others get 403 `key_country_forbidden`.
    #[schema(value_type = Vec<CountryOrSet>)]
    countries: Vec<String>,
    /// Hosts with everything below them, addresses, CIDRs: these destinations only. Others get 403
    /// `key_destination_forbidden`.
    #[schema(max_items = 200, example = json!(["example.com", "198.51.100.0/24"]))]
    allow_destinations: Vec<String>,
    /// The same form: not these, whatever the other list says. Addresses are compared where the destination is one, and where
    /// `dns-gateway` finds one.
    #[schema(max_items = 200)]
    deny_destinations: Vec<String>,
    /// Ports: these only. Others get 403 `key_port_forbidden`.
    #[schema(value_type = Vec<Port>, max_items = 64)]
    ports: Vec<u16>,
}

impl From<Limits> for WantedLimits {
    fn from(limits: Limits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            max_connections: limits.max_connections,
            bytes_per_day: limits.bytes_per_day,
            bytes_per_month: limits.bytes_per_month,
            bytes_total: limits.bytes_total,
            countries: limits.countries,
            allow_destinations: limits.allow_destinations,
            deny_destinations: limits.deny_destinations,
            ports: limits.ports,
        }
    }
}

impl From<WantedLimits> for Limits {
    fn from(limits: WantedLimits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            max_connections: limits.max_connections,
            bytes_per_day: limits.bytes_per_day,
            bytes_per_month: limits.bytes_per_month,
            bytes_total: limits.bytes_total,
            countries: limits.countries,
            allow_destinations: limits.allow_destinations,
            deny_destinations: limits.deny_destinations,
            ports: limits.ports,
        }
    }
}

/// A new key with its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewKey {
    /// The secret itself: save it now, it is not shown again.
    #[schema(example = "iploop_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071")]
    key: String,
    #[serde(flatten)]
    info: KeyInfo,
}

/// Changes of a key, at least one: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeKeyBody {
    /// Switched on or off.
    #[serde(default)]
    is_active: Option<bool>,
    /// Another name for it.
    #[schema(value_type = Option<Name>)]
    #[serde(default)]
    name: Option<String>,
    /// When it stops working; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<Timestamp>>,
    /// All of its limits, in place of those that were; an empty object lifts them.
    #[schema(value_type = Limits, required = false)]
    #[serde(default, deserialize_with = "object")]
    limits: Option<Limits>,
    /// Lets addresses of the list in without a password once they are proven. Needs a list, as for a new key.
    #[serde(default)]
    ip_login: Option<bool>,
}

/// An object only: the parser would take an array for the fields in their order, and an empty one for no limits.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let fields = serde_json::Map::deserialize(deserializer)?;
    serde_json::from_value(fields.into())
        .map(Some)
        .map_err(D::Error::custom)
}

/// Tells null from absent: absent does not come here.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The addresses a key may be used from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhitelistBody {
    /// Addresses and CIDRs; empty: any.
    #[schema(value_type = Vec<NetworkText>, max_items = 50, example = json!(["192.0.2.7", "198.51.100.0/24"]))]
    ips: Vec<String>,
}

impl From<ApiKey> for KeyInfo {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            key_prefix: key.key_prefix,
            is_active: key.is_active,
            ip_whitelist: key.ip_whitelist.iter().map(written).collect(),
            ip_login: key.ip_login,
            permissions: ["proxy"],
            limits: Limits::from(WantedLimits::from(key.limits)),
            last_used_at: key.last_used_at,
            expires_at: key.expires_at,
            created_at: key.created_at,
        }
    }
}

/// The account's keys.
#[utoipa::path(
    get, path = "", tag = "keys", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = KeyList, description = "The keys"))
)]
pub(crate) async fn list_keys(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<KeyList>, ApiError> {
    let keys = state.parts().keys.list(session.account().id).await?;
    Ok(Json(KeyList {
        keys: keys.into_iter().map(KeyInfo::from).collect(),
        max_keys: MAX_KEYS_PER_ACCOUNT,
    }))
}

/// Makes a key. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "", tag = "keys", request_body = CreateKeyBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = NewKey, description = "The key with its secret"))
)]
pub(crate) async fn create_key(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<CreateKeyBody>,
) -> Result<Response, ApiError> {
    let wanted = WantedKey {
        name: body.name,
        expires_at: body.expires_at,
        limits: body.limits.unwrap_or_default().into(),
        ip_whitelist: body.ip_whitelist,
        ip_login: body.ip_login,
    };
    let created = state
        .parts()
        .keys
        .create_key(session.account().id, wanted)
        .await?;
    let answer = NewKey {
        key: created.secret.expose().to_owned(),
        info: created.api_key.into(),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// One key.
#[utoipa::path(
    get, path = "/{keyId}", tag = "keys", params(("keyId" = String, Path, format = Uuid)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = KeyInfo, description = "The key"))
)]
pub(crate) async fn get_key(
    State(state): State<ApiState>,
    session: SignedIn,
    KeyId(key): KeyId,
) -> Result<Json<KeyInfo>, ApiError> {
    let key = state.parts().keys.get(session.account().id, key).await?;
    Ok(Json(key.into()))
}

/// Switches, renames or limits a key: for new requests at once, for the bytes of running ones within seconds.
#[utoipa::path(
    patch, path = "/{keyId}", tag = "keys", params(("keyId" = String, Path, format = Uuid)), request_body = ChangeKeyBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = KeyInfo, description = "The key"))
)]
pub(crate) async fn change_key(
    State(state): State<ApiState>,
    session: SignedIn,
    KeyId(key): KeyId,
    Json(body): Json<ChangeKeyBody>,
) -> Result<Json<KeyInfo>, ApiError> {
    let wanted = WantedChange {
        is_active: body.is_active,
        name: body.name,
        limits: body.limits.map(WantedLimits::from),
        expires_at: body.expires_at,
        ip_login: body.ip_login,
    };
    if wanted.is_empty() {
        return Err(ApiError::MalformedBody(
            "Nothing to change: give isActive, name, expiresAt, limits or ipLogin".to_owned(),
        ));
    }
    let keys = &state.parts().keys;
    let key = keys.change(session.account().id, key, wanted).await?;
    Ok(Json(key.into()))
}

/// Deletes a key. Its usage stays in the reports.
#[utoipa::path(
    delete, path = "/{keyId}", tag = "keys", params(("keyId" = String, Path, format = Uuid)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn delete_key(
    State(state): State<ApiState>,
    session: SignedIn,
    KeyId(key): KeyId,
) -> Result<StatusCode, ApiError> {
    state.parts().keys.delete(session.account().id, key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the addresses a key may be used from.
#[utoipa::path(
    put, path = "/{keyId}/whitelist", tag = "keys", params(("keyId" = String, Path, format = Uuid)), request_body = WhitelistBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = KeyInfo, description = "The key"))
)]
pub(crate) async fn set_key_whitelist(
    State(state): State<ApiState>,
    session: SignedIn,
    KeyId(key): KeyId,
    Json(body): Json<WhitelistBody>,
) -> Result<Json<KeyInfo>, ApiError> {
    let keys = &state.parts().keys;
    let key = keys.set_whitelist(session.account().id, key, &body.ips).await?;
    Ok(Json(key.into()))
}

/// A single address without the length of its network.
pub(crate) fn written(network: &ipnet::IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}
