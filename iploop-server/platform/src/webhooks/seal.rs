//! Secrets that must be read again, in a database that may be copied: encrypted with a key from the server's own secret.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use super::SealedSecret;
use super::signature::WebhookSecret;
use crate::ids::WebhookId;
use crate::login::SigningSecret;

/// Seals and opens the secrets of webhooks: AES-256-GCM, bound to the webhook's id.
pub(super) struct Sealer(LessSafeKey);

/// The secret can't be read: the server's signing secret is another one, or the row was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret can't be read any more; make a new one")]
pub struct Unsealable;

impl Sealer {
    pub(super) fn new(secret: &SigningSecret) -> Result<Self, Unsealable> {
        let extracted = Salt::new(HKDF_SHA256, b"iploop").extract(secret.bytes());
        let key = extracted
            .expand(&[b"webhook secrets"], &AES_256_GCM)
            .map_err(|_| Unsealable)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    pub(super) fn seal(
        &self,
        webhook: WebhookId,
        secret: &WebhookSecret,
    ) -> Result<SealedSecret, Unsealable> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut text = secret.expose().as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(webhook), &mut text)
            .map_err(|_| Unsealable)?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut text);
        Ok(SealedSecret {
            sealed,
            preview: secret.preview(),
        })
    }

    pub(super) fn open(&self, webhook: WebhookId, sealed: &[u8]) -> Result<WebhookSecret, Unsealable> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable)?;
        let mut text = text.to_vec();
        let text = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(webhook), &mut text)
            .map_err(|_| Unsealable)?;
        let text = std::str::from_utf8(text).map_err(|_| Unsealable)?;
        WebhookSecret::parse(text).ok_or(Unsealable)
    }
}

fn aad(webhook: WebhookId) -> Aad<[u8; 16]> {
    Aad::from(webhook.uuid().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_webhook_and_its_server_only() {
        let server = SigningSecret::ephemeral();
        let sealer = Sealer::new(&server).unwrap();
        let (webhook, secret) = (WebhookId::new(), WebhookSecret::random());
        let sealed = sealer.seal(webhook, &secret).unwrap();
        let again = Sealer::new(&server).unwrap();
        assert_eq!(
            again.open(webhook, &sealed.sealed).unwrap().expose(),
            secret.expose()
        );
        assert!(
            !sealed.sealed.windows(8).any(|part| secret
                .expose()
                .as_bytes()
                .windows(8)
                .any(|text| text == part))
        );

        assert!(sealer.open(WebhookId::new(), &sealed.sealed).is_err());
        assert!(
            Sealer::new(&SigningSecret::ephemeral())
                .unwrap()
                .open(webhook, &sealed.sealed)
                .is_err()
        );
        let mut changed = sealed.sealed.clone();
        changed[20] ^= 1;
        assert!(sealer.open(webhook, &changed).is_err());
        for short in [&[][..], &[0; NONCE_LEN], &[0; NONCE_LEN + 3]] {
            assert!(sealer.open(webhook, short).is_err());
        }
        assert_ne!(sealer.seal(webhook, &secret).unwrap().sealed, sealed.sealed);
    }
}
