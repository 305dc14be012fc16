//! Text that must reach neither a log nor an error: passwords, keys, tokens.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A password, key or token in the clear. `Debug` shows nothing of it and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// `prefix` and `N` fresh random bytes in lower-case hex.
    pub fn random<const N: usize>(prefix: &str) -> Self
    where
        rand::distr::StandardUniform: rand::distr::Distribution<[u8; N]>,
    {
        let bytes: [u8; N] = rand::random();
        Self(format!("{prefix}{}", hex(&bytes)))
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a token with at least 128 random bits, in lower-case hex: what the database holds of it.
pub(crate) fn token_hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn random_text_has_the_promised_form_and_never_repeats() {
        let first = Secret::random::<24>("iploop_");
        assert_eq!(first.expose().len(), "iploop_".len() + 48);
        assert!(
            first
                .expose()
                .strip_prefix("iploop_")
                .unwrap()
                .bytes()
                .all(|b| b.is_ascii_hexdigit())
        );
        assert_ne!(first, Secret::random::<24>("iploop_"));
    }
}
