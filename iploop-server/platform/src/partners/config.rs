//! The section `[partners]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[partners]` section: whose apps may bring devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartnersConfig {
    /// Only devices of apps that an admin approved may register. Without it, only rejected and suspended apps are refused.
    pub review_apps: bool,
}
