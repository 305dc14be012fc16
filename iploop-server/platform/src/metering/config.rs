use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[metering]` section: leases, the journal and settlement.
///
/// The defaults keep what `docs/contracts.md` promises; a longer `journal_interval` loses more in a crash, a smaller
/// `max_lease_bytes` lets further gateways over-serve less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeteringConfig {
    /// How often the journal takes the totals of changed streams: what a killed process can lose of each.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub journal_interval: Duration,
    /// How often the journal is forced to the disk: what a power cut can lose on top.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub sync_interval: Duration,
    /// How often ended requests are booked.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub settle_interval: Duration,
    /// How often running requests are booked too: with `settle_interval`, what their counters in the API lag behind.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub running_interval: Duration,
    /// Size from which the journal begins anew with what is still needed, in bytes: bounds what a start has to read.
    pub checkpoint_bytes: u64,
    /// Journal size from which new requests are refused, in bytes.
    pub max_journal_bytes: u64,
    /// Requests running or not yet booked from which new ones are refused.
    pub max_requests: usize,
    /// Accounts with a pool.
    pub max_accounts: usize,
    /// Smallest lease asked for, in bytes.
    pub min_lease_bytes: u64,
    /// Largest lease asked for, unless the last second used more, in bytes.
    pub max_lease_bytes: u64,
    /// Bytes that an account known to have them may use beyond its lease while the database is away.
    pub trust_bytes: u64,
    /// Longest wait for the database when a lease is taken or returned.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub lease_timeout: Duration,
    /// Longest wait for the database when usage is booked.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub settle_timeout: Duration,
    /// Longest that a running stream waits for a lease before it ends.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub refill_wait: Duration,
    /// How long an empty balance is believed without asking again.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub depleted_recheck: Duration,
    /// An account without a request for this long gives its lease back.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub idle_return: Duration,
    /// Longest that closing waits for the last usage to be booked; the rest stays in the journal.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub close_timeout: Duration,
}

const MIB: u64 = 1024 * 1024;

impl Default for MeteringConfig {
    fn default() -> Self {
        Self {
            journal_interval: Duration::from_millis(400),
            sync_interval: Duration::from_secs(5),
            settle_interval: Duration::from_secs(1),
            running_interval: Duration::from_secs(8),
            checkpoint_bytes: 4 * MIB,
            max_journal_bytes: 256 * MIB,
            max_requests: 200_000,
            max_accounts: 100_000,
            min_lease_bytes: MIB,
            max_lease_bytes: 256 * MIB,
            trust_bytes: 256 * MIB,
            lease_timeout: Duration::from_secs(2),
            settle_timeout: Duration::from_secs(10),
            refill_wait: Duration::from_secs(10),
            depleted_recheck: Duration::from_secs(2),
            idle_return: Duration::from_secs(60),
            close_timeout: Duration::from_secs(10),
        }
    }
}

impl MeteringConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, value) in [
            ("journal_interval", self.journal_interval),
            ("sync_interval", self.sync_interval),
            ("settle_interval", self.settle_interval),
            ("lease_timeout", self.lease_timeout),
            ("settle_timeout", self.settle_timeout),
        ] {
            if value < Duration::from_millis(10) {
                mistakes.push(format!("metering.{key}: must be at least 10ms"));
            }
        }
        if self.min_lease_bytes == 0 || self.min_lease_bytes > self.max_lease_bytes {
            mistakes.push("metering.min_lease_bytes: must be between 1 and max_lease_bytes".to_owned());
        }
        if self.checkpoint_bytes > self.max_journal_bytes / 2 {
            mistakes.push("metering.checkpoint_bytes: must be at most half of max_journal_bytes".to_owned());
        }
        if self.max_requests == 0 || self.max_accounts == 0 {
            mistakes.push("metering.max_requests, metering.max_accounts: must be at least 1".to_owned());
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_survives_a_round_trip() {
        let config = MeteringConfig::default();
        assert_eq!(config.mistakes(), Vec::<String>::new());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MeteringConfig>(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_and_unsound_values_are_named() {
        let unknown = serde_json::from_str::<MeteringConfig>(r#"{"jurnal_interval": "1s"}"#).unwrap_err();
        assert!(unknown.to_string().contains("jurnal_interval"), "{unknown}");
        let config = MeteringConfig {
            settle_interval: Duration::ZERO,
            min_lease_bytes: 0,
            checkpoint_bytes: u64::MAX,
            ..MeteringConfig::default()
        };
        assert_eq!(config.mistakes().len(), 3, "{:?}", config.mistakes());
    }
}
