//! Signatures: that of the Standard Webhooks specification, and our own of the body alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::secret::{Secret, hex};

/// What each secret begins with.
const PREFIX: &str = "whsec_";
/// Length of the key in it, in bytes.
const KEY_BYTES: usize = 32;

/// The secret of a webhook: `whsec_` and 32 bytes in base64.
#[derive(Clone, Debug)]
pub struct WebhookSecret(Secret);

impl WebhookSecret {
    /// A fresh one.
    pub fn random() -> Self {
        let key: [u8; KEY_BYTES] = rand::random();
        Self(Secret::new(format!("{PREFIX}{}", STANDARD.encode(key))))
    }

    /// From its text.
    pub fn parse(text: &str) -> Option<Self> {
        key_of(text)?;
        Some(Self(Secret::new(text)))
    }

    /// The text, for its owner.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Its beginning and end.
    pub(super) fn preview(&self) -> String {
        let text = self.expose();
        let end = text.get(text.len().saturating_sub(5)..).unwrap_or_default();
        format!("{PREFIX}…{end}")
    }
}

/// The key that a secret's text holds.
fn key_of(text: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    (key.len() == KEY_BYTES).then_some(key)
}

/// The signature of the Standard Webhooks specification: `v1,` and HMAC-SHA-256 of `id.timestamp.body` in base64. The key
/// is what the secret's text holds in base64.
pub fn standard_signature(secret: &WebhookSecret, id: &str, timestamp: i64, body: &str) -> String {
    let key = key_of(secret.expose()).unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// Our own signature: HMAC-SHA-256 of the body in lower-case hex. The key is the secret's text as it stands.
pub fn signature(secret: &WebhookSecret, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hex(hmac::sign(&key, body.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's `hmac`.
    #[test]
    fn signatures_are_those_that_others_compute() {
        let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let body = r#"{"event":"test"}"#;
        assert_eq!(
            standard_signature(&secret, "msg_1", 1_764_000_000, body),
            "v1,YH36NDN+gFFVytf4Cwxp0ZRjmXQtYRwQG3GBNQEgqhc="
        );
        assert_eq!(
            signature(&secret, body),
            "8c7807ff4697b3d5fab3ea608999fd773f7611ebff7c169294a509731f30c09b"
        );
    }

    #[test]
    fn a_secret_has_the_promised_form_and_its_preview_gives_little_away() {
        let secret = WebhookSecret::random();
        assert_eq!(secret.expose().len(), 50);
        assert!(WebhookSecret::parse(secret.expose()).is_some());
        assert_eq!(secret.preview().chars().count(), 12);
        assert!(!format!("{secret:?}").contains(secret.expose()));
        for text in [
            "",
            "whsec_",
            "whsec_AAAA",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        ] {
            assert!(WebhookSecret::parse(text).is_none(), "{text}");
        }
    }
}
