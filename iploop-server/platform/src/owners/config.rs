//! The section `[owners]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credits::CreditRules;

/// Bytes that a credit buys: what is shared in a gigabyte buys a gigabyte, before multipliers.
const DEFAULT_BYTES_PER_CREDIT: u32 = 10_000_000;
/// Most credits of a device on a UTC day: 50 GB without multipliers.
const DEFAULT_DEVICE_CREDITS_PER_DAY: u32 = 5_000;
/// Most credits of an account on a UTC day.
const DEFAULT_ACCOUNT_CREDITS_PER_DAY: u32 = 20_000;
/// Devices of an account on one network above which its credits wait for a review.
const DEFAULT_SUSPECT_DEVICES_PER_NETWORK: u32 = 5;
/// Devices of an account in one autonomous system above which its credits wait for a review: a family with one provider, not a rack.
const DEFAULT_SUSPECT_DEVICES_PER_ASN: u32 = 20;
/// A multiplier in percent that a country may have at most.
const MAX_RARE_PERCENT: u32 = 300;

/// The `[owners]` section: what sharing earns, and what credits buy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OwnersConfig {
    /// Bytes that one credit buys.
    pub bytes_per_credit: u32,
    /// Most credits of a device on a UTC day.
    pub device_credits_per_day: u32,
    /// Most credits of an account on a UTC day.
    pub account_credits_per_day: u32,
    /// Devices of an account on one network (/24 or /48) above which its credits wait for an admin.
    pub suspect_devices_per_network: u32,
    /// Devices of an account in one autonomous system, where GeoIP knows it, above which its credits wait for an admin.
    pub suspect_devices_per_asn: u32,
    /// Countries (ISO 3166-1 alpha-2) whose bytes count more, in percent from 100 to 300.
    pub rare_countries: BTreeMap<String, u32>,
    /// Host names of the operator's own exits for owners' VPN. Nothing is routed through other people's devices.
    pub vpn_exits: Vec<String>,
}

impl Default for OwnersConfig {
    fn default() -> Self {
        Self {
            bytes_per_credit: DEFAULT_BYTES_PER_CREDIT,
            device_credits_per_day: DEFAULT_DEVICE_CREDITS_PER_DAY,
            account_credits_per_day: DEFAULT_ACCOUNT_CREDITS_PER_DAY,
            suspect_devices_per_network: DEFAULT_SUSPECT_DEVICES_PER_NETWORK,
            suspect_devices_per_asn: DEFAULT_SUSPECT_DEVICES_PER_ASN,
            rare_countries: BTreeMap::new(),
            vpn_exits: Vec::new(),
        }
    }
}

impl OwnersConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.bytes_per_credit == 0 {
            mistakes.push("owners.bytes_per_credit: must be at least 1".to_owned());
        }
        for (country, percent) in &self.rare_countries {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                mistakes.push(format!(
                    "owners.rare_countries: {country:?} is no country such as \"IS\""
                ));
            }
            if !(100..=MAX_RARE_PERCENT).contains(percent) {
                mistakes.push(format!(
                    "owners.rare_countries.{country}: must be 100 to {MAX_RARE_PERCENT}"
                ));
            }
        }
        mistakes
    }

    /// The part that earnings follow from.
    pub fn rules(&self) -> CreditRules {
        CreditRules {
            device_credits_per_day: self.device_credits_per_day,
            account_credits_per_day: self.account_credits_per_day,
            suspect_devices_per_network: self.suspect_devices_per_network,
            suspect_devices_per_asn: self.suspect_devices_per_asn,
            rare_percent: self.rare_countries.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(OwnersConfig::default().mistakes(), Vec::<String>::new());
        let wrong = OwnersConfig {
            bytes_per_credit: 0,
            rare_countries: [("is".to_owned(), 100), ("IS".to_owned(), 301)].into(),
            ..OwnersConfig::default()
        };
        assert_eq!(
            wrong.mistakes(),
            [
                "owners.bytes_per_credit: must be at least 1",
                "owners.rare_countries.IS: must be 100 to 300",
                "owners.rare_countries: \"is\" is no country such as \"IS\"",
            ]
        );
    }
}
