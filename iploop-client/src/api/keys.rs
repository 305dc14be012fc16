// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `keys`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::{Api, segment};
use crate::values::{Change, Secret, Timestamp};

/// Operations of this part of the API: [`Api::keys`].
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a>(pub(super) &'a Api);

impl Keys<'_> {
    /// The addresses from which the account has authenticated: those of them that a key with `ipLogin` lists need no password.
    ///
    /// `GET /api/proxy/addresses`.
    pub async fn list_addresses(&self) -> Result<AddressList, Error> {
        self.0
            .call(Method::GET, "/api/proxy/addresses")
            .answer()
            .await?
            .json()
    }

    /// Proves the address that this request comes from. A key with `ipLogin` must list it. A request at the proxy with such a key
    /// proves its address as well.
    ///
    /// `POST /api/proxy/addresses`.
    pub async fn claim_address(&self) -> Result<AddressInfo, Error> {
        self.0
            .call(Method::POST, "/api/proxy/addresses")
            .answer()
            .await?
            .json()
    }

    /// Gives an address up: from there a password is needed again, until a key with `ipLogin` is used from it anew.
    ///
    /// `DELETE /api/proxy/addresses/{address}`.
    pub async fn release_address(&self, address: &str) -> Result<(), Error> {
        self.0
            .call(
                Method::DELETE,
                &format!("/api/proxy/addresses/{}", segment(address)?),
            )
            .answer()
            .await?;
        Ok(())
    }

    /// The account's keys.
    ///
    /// `GET /api/proxy/keys`.
    pub async fn list_keys(&self) -> Result<KeyList, Error> {
        self.0.call(Method::GET, "/api/proxy/keys").answer().await?.json()
    }

    /// Makes a key. Its secret is in this answer and nowhere else.
    ///
    /// `POST /api/proxy/keys`.
    pub async fn create_key(&self, body: &CreateKeyBody) -> Result<NewKey, Error> {
        self.0
            .call(Method::POST, "/api/proxy/keys")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Deletes a key. Its usage stays in the reports.
    ///
    /// `DELETE /api/proxy/keys/{keyId}`.
    pub async fn delete_key(&self, key_id: Uuid) -> Result<(), Error> {
        self.0
            .call(Method::DELETE, &format!("/api/proxy/keys/{key_id}"))
            .answer()
            .await?;
        Ok(())
    }

    /// One key.
    ///
    /// `GET /api/proxy/keys/{keyId}`.
    pub async fn get_key(&self, key_id: Uuid) -> Result<KeyInfo, Error> {
        self.0
            .call(Method::GET, &format!("/api/proxy/keys/{key_id}"))
            .answer()
            .await?
            .json()
    }

    /// Switches, renames or limits a key: for new requests at once, for the bytes of running ones within seconds.
    ///
    /// `PATCH /api/proxy/keys/{keyId}`.
    pub async fn change_key(&self, key_id: Uuid, body: &ChangeKeyBody) -> Result<KeyInfo, Error> {
        self.0
            .call(Method::PATCH, &format!("/api/proxy/keys/{key_id}"))
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Sets the addresses a key may be used from.
    ///
    /// `PUT /api/proxy/keys/{keyId}/whitelist`.
    pub async fn set_key_whitelist(&self, key_id: Uuid, body: &WhitelistBody) -> Result<KeyInfo, Error> {
        self.0
            .call(Method::PUT, &format!("/api/proxy/keys/{key_id}/whitelist"))
            .json(body)
            .answer()
            .await?
            .json()
    }
}

/// A proven address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AddressInfo {
    /// `address`.
    pub address: String,
    /// When it was last used, to the day. After 30 days without use it is nobody's again.
    pub last_used_at: Timestamp,
    /// When the account first authenticated from it.
    pub proven_at: Timestamp,
}

/// The account's proven addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AddressList {
    /// `addresses`.
    pub addresses: Vec<AddressInfo>,
    /// Most addresses an account may have.
    pub max_addresses: u32,
}

/// Changes of a key, at least one: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeKeyBody {
    /// When it stops working; null: never.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub expires_at: Change<Timestamp>,
    /// Lets addresses of the list in without a password once they are proven. Needs a list, as for a new key.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub ip_login: Change<bool>,
    /// Switched on or off.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub is_active: Change<bool>,
    /// All of its limits, in place of those that were; an empty object lifts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Another name for it.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub name: Change<String>,
}

/// A key to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateKeyBody {
    /// When it stops working; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Lets addresses of the list in without a password once they are proven (`/api/proxy/addresses`). The list must be narrow:
    /// IPv4 `/24`, IPv6 `/48` or longer, of the public internet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_login: Option<bool>,
    /// Addresses and CIDRs it may be used from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_whitelist: Vec<String>,
    /// What it may do of what the plan allows; absent: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The customer's name for it.
    pub name: String,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyInfo {
    /// `createdAt`.
    pub created_at: Timestamp,
    /// When it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `id`.
    pub id: Uuid,
    /// Proven addresses of that list need no password.
    pub ip_login: bool,
    /// Addresses and CIDRs it may be used from; empty: any.
    pub ip_whitelist: Vec<String>,
    /// Switched on.
    pub is_active: bool,
    /// Its first 14 characters.
    pub key_prefix: String,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// What it may do of what the plan allows.
    pub limits: Limits,
    /// The customer's name for it.
    pub name: String,
    /// What it is for: `proxy`, as all keys are.
    pub permissions: Vec<String>,
}

/// The account's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyList {
    /// Oldest first.
    pub keys: Vec<KeyInfo>,
    /// Most keys an account may have.
    pub max_keys: u32,
}

/// Limits of one key. What is absent, null or empty limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Hosts with everything below them, addresses, CIDRs: these destinations only. Others get 403
    /// `key_destination_forbidden`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_destinations: Vec<String>,
    /// Requests at once after a rest; default: as many as a second has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Paid bytes each UTC day (1 GB is 10^9 bytes). Then 402 `key_quota_exceeded`, and running requests end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Paid bytes each UTC month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_month: Option<u64>,
    /// Paid bytes since the key was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Two-letter codes or `eu`: exits in these countries only. Others get 403 `key_country_forbidden`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// The same form: not these, whatever the other list says. Addresses are compared where the destination is one, and where
    /// `dns-gateway` finds one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_destinations: Vec<String>,
    /// Tunnels and requests at the same time. Further ones get 429 `too_many_connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Ports: these only. Others get 403 `key_port_forbidden`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Requests a second. Faster ones get 429 `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

/// A new key with its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewKey {
    /// `createdAt`.
    pub created_at: Timestamp,
    /// When it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `id`.
    pub id: Uuid,
    /// Proven addresses of that list need no password.
    pub ip_login: bool,
    /// Addresses and CIDRs it may be used from; empty: any.
    pub ip_whitelist: Vec<String>,
    /// Switched on.
    pub is_active: bool,
    /// Its first 14 characters.
    pub key_prefix: String,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// What it may do of what the plan allows.
    pub limits: Limits,
    /// The customer's name for it.
    pub name: String,
    /// What it is for: `proxy`, as all keys are.
    pub permissions: Vec<String>,
    /// The secret itself: save it now, it is not shown again.
    pub key: Secret,
}

/// The addresses a key may be used from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WhitelistBody {
    /// Addresses and CIDRs; empty: any.
    pub ips: Vec<String>,
}
