use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[admission]` section: how long logins are believed without asking the database, and how often they may fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Keys remembered.
    pub max_keys: u64,
    /// Unknown keys remembered.
    pub max_unknown_keys: u64,
    /// Accounts whose connections and requests are counted.
    pub max_accounts: usize,
    /// How long a key is believed: a change made by another process is noticed after this.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub key_ttl: Duration,
    /// How long an unknown key is believed to be unknown.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub unknown_ttl: Duration,
    /// How long a key is believed while the database is away.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub max_stale: Duration,
    /// Longest wait for the database.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub lookup_timeout: Duration,
    /// Failed logins of one client address at once; an IPv6 /64 is one address.
    pub failed_logins_burst: u32,
    /// Failed logins of one client address a second, after the burst.
    pub failed_logins_per_second: u32,
    /// How often the use of keys is written to the database.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub last_used_interval: Duration,
    /// How often limits and use of keys with limits on bytes are read anew while such a key is used: a change made by another
    /// process, or bytes relayed by one, count after this.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub key_refresh_interval: Duration,
    /// Bytes that an account does not pay each UTC day where a request broke by our doing in the middle of its answer; the last
    /// such request counts whole.
    pub forgiven_bytes_per_day: u64,
    /// Lets keys with `ipLogin` admit addresses of private networks and of this machine: for tests and closed networks. Never where
    /// a balancer or a translator stands before the gateway without the PROXY protocol: its address would stand for everybody's.
    pub ip_login_local: bool,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            max_keys: 100_000,
            max_unknown_keys: 10_000,
            max_accounts: 100_000,
            key_ttl: Duration::from_secs(30),
            unknown_ttl: Duration::from_secs(5),
            max_stale: Duration::from_secs(3600),
            lookup_timeout: Duration::from_secs(2),
            failed_logins_burst: 50,
            failed_logins_per_second: 10,
            last_used_interval: Duration::from_secs(5),
            key_refresh_interval: Duration::from_secs(2),
            forgiven_bytes_per_day: 1_000_000_000,
            ip_login_local: false,
        }
    }
}

impl AdmissionConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.max_keys == 0 || self.max_accounts == 0 {
            mistakes.push("admission.max_keys, admission.max_accounts: must be at least 1".to_owned());
        }
        if self.failed_logins_burst == 0 || !(1..=1000).contains(&self.failed_logins_per_second) {
            mistakes.push(
                "admission.failed_logins_burst, admission.failed_logins_per_second: must be at least 1, \
                 and at most 1000 a second"
                    .to_owned(),
            );
        }
        if self.max_stale < self.key_ttl {
            mistakes.push("admission.max_stale: must be at least key_ttl".to_owned());
        }
        for (key, value) in [
            ("lookup_timeout", self.lookup_timeout),
            ("last_used_interval", self.last_used_interval),
            ("key_refresh_interval", self.key_refresh_interval),
        ] {
            if value < Duration::from_millis(10) {
                mistakes.push(format!("admission.{key}: must be at least 10ms"));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_unknown_keys_are_refused() {
        let config = AdmissionConfig::default();
        assert_eq!(config.mistakes(), Vec::<String>::new());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<AdmissionConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<AdmissionConfig>(r#"{"key_tll": "1s"}"#).is_err());
        let unsound = AdmissionConfig {
            max_stale: Duration::ZERO,
            failed_logins_burst: 0,
            ..config
        };
        assert_eq!(unsound.mistakes().len(), 2);
    }
}
