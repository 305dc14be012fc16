//! Partners: who puts the SDK into an app and earns a share.

use serde::Serialize;

use crate::abuse::AuditEntry;
use crate::api_key::ApiKeyHash;
use crate::clock::Timestamp;
use crate::ids::PartnerId;

/// A partner: a row of `partners`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partner {
    /// Its id.
    pub id: PartnerId,
    /// The company's name.
    pub name: String,
    /// Contact address.
    pub email: Option<String>,
    /// The first 14 characters of its key.
    pub api_key_prefix: String,
    /// Devices of an inactive partner are not accepted.
    pub is_active: bool,
    /// Its share of what its devices' bytes sold for, in basis points (7000 is 70 %).
    pub revenue_share_bp: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A partner to be stored.
#[derive(Clone, Debug)]
pub struct NewPartner {
    /// Its id.
    pub id: PartnerId,
    /// The company's name.
    pub name: String,
    /// Contact address.
    pub email: Option<String>,
    /// SHA-256 of its key.
    pub key_hash: ApiKeyHash,
    /// The first 14 characters of its key.
    pub key_prefix: String,
    /// Its share, in basis points.
    pub revenue_share_bp: u32,
    /// When.
    pub now: Timestamp,
    /// Its record; what it is now is filled in.
    pub audit: AuditEntry,
}
