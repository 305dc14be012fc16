use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::email::EmailAddress;

/// Most refusals that a suspension can be made to wait for.
const MAX_SUSPEND_AFTER: u32 = 1000;

/// What other processes did is in force here within 5 seconds, the look itself included.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// The `[abuse]` section: when a customer is suspended, who hears of it, and how much new customers may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbuseConfig {
    /// Dials to destinations that nobody may reach (private and local addresses, closed ports) after which a customer is
    /// suspended; 0: never. What one device alone reports counts for a quarter of it at most.
    pub suspend_after: u32,
    /// The time in which they count.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub suspend_within: Duration,
    /// How much of the limits per customer and device new customers have, in per cent, until an admin raises them.
    pub new_customer_percent: u32,
    /// Who is told by mail of a suspension; empty: every admin.
    pub notify: Vec<String>,
    /// How often the policy's file, and changes made by other processes, are looked at.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub look_every: Duration,
    /// How long counts of refusals are kept.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub refusals_kept: Duration,
}

impl Default for AbuseConfig {
    fn default() -> Self {
        Self {
            suspend_after: 20,
            suspend_within: Duration::from_secs(600),
            new_customer_percent: 50,
            notify: Vec::new(),
            look_every: LOOK_EVERY,
            refusals_kept: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl AbuseConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.suspend_after > MAX_SUSPEND_AFTER {
            mistakes.push(format!(
                "abuse.suspend_after: must be at most {MAX_SUSPEND_AFTER}"
            ));
        }
        if self.suspend_within < Duration::from_secs(1) {
            mistakes.push("abuse.suspend_within: must be at least 1s".to_owned());
        }
        if !(1..=100).contains(&self.new_customer_percent) {
            mistakes.push("abuse.new_customer_percent: must be 1 to 100".to_owned());
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(30)).contains(&self.look_every) {
            mistakes.push(
                "abuse.look_every: must be 100ms to 30s: lists are in force within a minute".to_owned(),
            );
        }
        if self.refusals_kept < Duration::from_secs(24 * 3600) {
            mistakes.push("abuse.refusals_kept: must be at least 1d".to_owned());
        }
        for address in &self.notify {
            if address.parse::<EmailAddress>().is_err() {
                mistakes.push(format!("abuse.notify: {address:?} is not a mail address"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_mistakes_are_named_by_their_key() {
        let config = AbuseConfig::default();
        assert_eq!(config.mistakes(), Vec::<String>::new());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<AbuseConfig>(&text).unwrap(), config);
        let unsound = AbuseConfig {
            suspend_after: 1001,
            suspend_within: Duration::ZERO,
            new_customer_percent: 0,
            notify: vec!["nobody".to_owned()],
            look_every: Duration::from_secs(31),
            refusals_kept: Duration::ZERO,
        };
        assert_eq!(unsound.mistakes().len(), 6);
    }
}
