//! The `[billing]` section.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::DAY;
use crate::secret::Secret;

/// The `[billing]` section: payments by Stripe. Without a key everything else works, and admins correct balances by hand.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BillingConfig {
    /// Secret or restricted key of the Stripe account. Without it the routes of payments answer `billing_not_configured`.
    #[schemars(with = "Option<String>", example = &"sk_live_…")]
    pub stripe_secret_key: Option<Secret>,
    /// Signing secret of the webhook endpoint `/api/billing/webhook`. Required with `stripe_secret_key`.
    #[schemars(with = "Option<String>", example = &"whsec_…")]
    pub stripe_webhook_secret: Option<Secret>,
    /// Where Stripe's API is.
    pub api_base: String,
    /// Least that can be bought at once, in GB (10^9 bytes).
    pub top_up_min_gb: u32,
    /// Most that can be bought at once, in GB.
    pub top_up_max_gb: u32,
    /// How long a subscription keeps its plan after a payment failed.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub grace: Duration,
}

impl Default for BillingConfig {
    fn default() -> Self {
        Self {
            stripe_secret_key: None,
            stripe_webhook_secret: None,
            api_base: "https://api.stripe.com".to_owned(),
            top_up_min_gb: 1,
            top_up_max_gb: 1_000,
            grace: DAY * 7,
        }
    }
}

impl BillingConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.stripe_secret_key.is_some() && self.stripe_webhook_secret.is_none() {
            mistakes.push(
                "billing.stripe_webhook_secret: required with stripe_secret_key, or payments would never be booked"
                    .to_owned(),
            );
        }
        let is_plain_loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"]
            .iter()
            .any(|prefix| self.api_base.starts_with(prefix));
        if !self.api_base.starts_with("https://") && !is_plain_loopback {
            mistakes
                .push("billing.api_base: must begin with https:// (http:// only on this machine)".to_owned());
        }
        if self.top_up_min_gb == 0 || self.top_up_max_gb < self.top_up_min_gb || self.top_up_max_gb > 100_000
        {
            mistakes.push(
                "billing.top_up_min_gb, top_up_max_gb: must be 1 to 100000, the least not above the most"
                    .to_owned(),
            );
        }
        if self.grace > DAY * 90 {
            mistakes.push("billing.grace: must be at most 90d".to_owned());
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_needs_the_webhooks_secret_and_never_goes_out_in_clear() {
        assert!(BillingConfig::default().mistakes().is_empty());
        let config = BillingConfig {
            stripe_secret_key: Some(Secret::new("sk_test_1")),
            api_base: "http://api.stripe.com".to_owned(),
            top_up_min_gb: 5,
            top_up_max_gb: 4,
            ..BillingConfig::default()
        };
        assert_eq!(config.mistakes().len(), 3);
        assert!(!format!("{config:?}").contains("sk_test_1"));
    }
}
