// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `platform`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::management::Api;

/// Operations of this part of the API: [`Api::platform`].
#[derive(Clone, Copy, Debug)]
pub struct Platform<'a>(pub(super) &'a Api);

impl Platform<'_> {
    /// Whether registration is open, what is free, and what the operator has to say.
    ///
    /// `GET /api/platform`.
    pub async fn platform(&self) -> Result<PlatformAnswer, Error> {
        self.0.call(Method::GET, "/api/platform").answer().await?.json()
    }
}

/// What everybody may know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlatformAnswer {
    /// Free bytes of a new account, once.
    pub bonus_bytes: i64,
    /// What the operator has to say now, such as a planned interruption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Whether strangers may register.
    pub registrations_open: bool,
    /// Where to write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_address: Option<String>,
    /// `version`.
    pub version: String,
}
