use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[events]` section: what customers are told by webhook and mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// How often balances and failed requests are looked at.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub look_every: Duration,
    /// How long events, deliveries and their tries are kept.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub retention: Duration,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(10),
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl EventsConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.look_every < Duration::from_millis(100) {
            mistakes.push("events.look_every: must be at least 100ms".to_owned());
        }
        if self.retention < Duration::from_secs(2 * 24 * 3600) {
            mistakes.push("events.retention: must be at least 2d: deliveries are tried for a day".to_owned());
        }
        mistakes
    }
}
