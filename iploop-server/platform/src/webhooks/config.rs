use std::num::NonZero;
use std::time::Duration;

use iploop_protocol::policy::{TestAllow, TestAllowError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[webhooks]` section: how events reach customers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// Deliveries at the same time in this process; two for one webhook at most.
    pub max_at_once: NonZero<u16>,
    /// How long one try may take, answer included.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub timeout: Duration,
    /// How often due deliveries are looked for.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub look_every: Duration,
    /// Single addresses (`127.0.0.1:8080`) that a webhook may have in spite of the rules, also without TLS, for tests and
    /// the demo. Never in production.
    pub test_allow: Vec<String>,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            max_at_once: NonZero::new(32).unwrap_or(NonZero::<u16>::MIN),
            timeout: Duration::from_secs(10),
            look_every: Duration::from_secs(1),
            test_allow: Vec::new(),
        }
    }
}

impl WebhooksConfig {
    /// The test allow-list as a type.
    ///
    /// # Errors
    /// Names the entry that is no `host:port` pair.
    pub fn parse_test_allow(&self) -> Result<TestAllow, TestAllowError> {
        TestAllow::parse(&self.test_allow)
    }

    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(Duration::from_millis(100)..=Duration::from_secs(30)).contains(&self.timeout) {
            mistakes.push("webhooks.timeout: must be 100ms to 30s".to_owned());
        }
        if self.look_every < Duration::from_millis(50) {
            mistakes.push("webhooks.look_every: must be at least 50ms".to_owned());
        }
        if let Err(error) = self.parse_test_allow() {
            mistakes.push(format!("webhooks.test_allow: {error}"));
        }
        mistakes
    }
}
