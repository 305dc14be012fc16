//! The `[assistant]` section.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::remote::completions;
use crate::accounts::EmailAddress;
use crate::secret::Secret;

/// The `[assistant]` section: help for customers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssistantConfig {
    /// Base of an OpenAI-compatible endpoint that words the answers (`/chat/completions` is added); default: the retrieved
    /// documentation is the answer. Questions and passages go there; keys, tokens and mail addresses are taken out before.
    #[schemars(example = &"https://llm.example.com/v1")]
    pub base_url: Option<String>,
    /// The model's name there.
    #[schemars(example = &"small-instruct")]
    pub model: Option<String>,
    /// Sent as bearer token there.
    #[schemars(with = "Option<String>", example = &"the-endpoints-key")]
    pub api_key: Option<Secret>,
    /// Longest wait for the endpoint's first word; then the retrieved documentation is the answer.
    #[serde(with = "crate::duration")]
    #[schemars(with = "crate::duration::DurationText")]
    pub timeout: Duration,
    /// Questions an hour of one account.
    pub questions_per_hour: u32,
    /// Tickets an hour of one account.
    pub tickets_per_hour: u32,
    /// Where new tickets are mailed to, besides being listed for admins.
    #[schemars(example = &"support@example.com")]
    pub mail_to: Option<String>,
}

impl Default for AssistantConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            model: None,
            api_key: None,
            timeout: Duration::from_secs(8),
            questions_per_hour: 60,
            tickets_per_hour: 10,
            mail_to: None,
        }
    }
}

impl AssistantConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(url) = &self.base_url
            && completions(url).is_none()
        {
            mistakes.push("assistant.base_url: write it as https://host/v1".to_owned());
        }
        if self.base_url.is_some() != self.model.is_some() {
            mistakes.push("assistant.base_url, assistant.model: give both or neither".to_owned());
        }
        if self.api_key.is_some() && self.base_url.is_none() {
            mistakes.push("assistant.api_key: is for assistant.base_url, which is missing".to_owned());
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&self.timeout) {
            mistakes.push("assistant.timeout: must be between 100ms and 10s".to_owned());
        }
        if self.questions_per_hour == 0 || self.tickets_per_hour == 0 {
            mistakes.push(
                "assistant.questions_per_hour, assistant.tickets_per_hour: must be at least 1".to_owned(),
            );
        }
        if let Some(address) = &self.mail_to
            && address.parse::<EmailAddress>().is_err()
        {
            mistakes.push("assistant.mail_to: write it as support@example.com".to_owned());
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_by_their_keys() {
        assert_eq!(AssistantConfig::default().mistakes(), Vec::<String>::new());
        let wrong = AssistantConfig {
            base_url: Some("ftp://x".to_owned()),
            timeout: Duration::ZERO,
            questions_per_hour: 0,
            mail_to: Some("nobody".to_owned()),
            ..AssistantConfig::default()
        };
        assert_eq!(wrong.mistakes().len(), 5);
        let secret = AssistantConfig {
            api_key: Some(Secret::new("hunter2")),
            ..AssistantConfig::default()
        };
        assert!(!format!("{secret:?} {:?}", secret.mistakes()).contains("hunter2"));
    }
}
