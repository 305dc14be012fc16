//! Login tokens: JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256.
//!
//! The signature is computed by ring through jsonwebtoken's provider seam, for HS256 alone: every other algorithm, `none`
//! included, has no verifier here.

use std::time::Duration;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::login::impersonation::Impersonator;
use crate::login::signing::SigningSecret;
use crate::secret::Secret;

/// Who made the token, and for whom.
const ISSUER: &str = "iploop";
/// Longest text that is looked at as a token, in bytes; ours have about 400.
const MAX_TOKEN: usize = 2048;
/// How far the clocks of two of our machines may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    /// The account.
    pub(crate) sub: AccountId,
    /// The token's own id, by which it is revoked.
    pub(crate) jti: Uuid,
    /// Issued at, in seconds.
    iat: i64,
    /// Refused from this second on.
    exp: i64,
    /// Fingerprint of the password it was issued under: a new password ends the sessions of the old one.
    pub(crate) pwd: String,
    /// Who looks on, where it is not the account's own login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) imp: Option<Impersonator>,
}

impl Claims {
    pub(crate) fn new(account: AccountId, password: String, now: Timestamp, lifetime: Duration) -> Self {
        let iat = seconds(now);
        let exp = seconds(now.plus(lifetime));
        Self {
            iss: ISSUER.to_owned(),
            sub: account,
            jti: Uuid::now_v7(),
            iat,
            exp,
            pwd: password,
            imp: None,
        }
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.exp.saturating_mul(1000))
    }
}

/// Why a text is no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtError {
    Invalid,
    Expired,
}

pub(crate) fn sign(claims: &Claims, secret: &SigningSecret) -> Result<Secret, jsonwebtoken::errors::Error> {
    install_provider();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(secret.kid().to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.bytes())).map(Secret::new)
}

pub(crate) fn verify(token: &str, secret: &SigningSecret, now: Timestamp) -> Result<Claims, JwtError> {
    install_provider();
    if token.len() > MAX_TOKEN {
        return Err(JwtError::Invalid);
    }
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would ask the system for the time; ours comes from the clock, below.
    validation.validate_exp = false;
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    let key = DecodingKey::from_secret(secret.bytes());
    let data = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| JwtError::Invalid)?;

    let is_ours = data.header.typ.as_deref() == Some("JWT")
        && data.header.kid.as_deref() == Some(secret.kid())
        && data.header.crit.is_none();
    if !is_ours || data.claims.iat > seconds(now.plus(LEEWAY)) {
        return Err(JwtError::Invalid);
    }
    if data.claims.exp <= seconds(now) {
        return Err(JwtError::Expired);
    }
    Ok(data.claims)
}

fn seconds(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(1000)
}

/// Idempotent. Where another part of the process installed a provider of its own, that one serves HS256 as well.
fn install_provider() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory,
        verifier_factory,
        key_utils: KeyUtils::new_unimplemented(),
    };
    let _ = PROVIDER.install_default();
}

fn signer_factory(
    algorithm: &Algorithm,
    key: &EncodingKey,
) -> jsonwebtoken::errors::Result<Box<dyn JwtSigner>> {
    is_hs256(*algorithm, key.family())?;
    Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
}

fn verifier_factory(
    algorithm: &Algorithm,
    key: &DecodingKey,
) -> jsonwebtoken::errors::Result<Box<dyn JwtVerifier>> {
    is_hs256(*algorithm, key.family())?;
    Ok(Box::new(Hs256(hmac::Key::new(
        hmac::HMAC_SHA256,
        key.try_get_as_bytes()?,
    ))))
}

fn is_hs256(algorithm: Algorithm, family: AlgorithmFamily) -> jsonwebtoken::errors::Result<()> {
    if algorithm == Algorithm::HS256 && family == AlgorithmFamily::Hmac {
        Ok(())
    } else {
        Err(ErrorKind::InvalidAlgorithm.into())
    }
}

struct Hs256(hmac::Key);

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, tag).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn claims() -> Claims {
        Claims::new(AccountId::new(), "pwd".to_owned(), NOW, DAY)
    }

    /// A token with any header, signed as HS256 whatever the header claims.
    fn forge(header: &str, payload: &str, secret: &SigningSecret) -> String {
        let part = |text: &str| base64url(text.as_bytes());
        let message = format!("{}.{}", part(header), part(payload));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        format!(
            "{message}.{}",
            base64url(hmac::sign(&key, message.as_bytes()).as_ref())
        )
    }

    fn base64url(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let block = chunk
                .iter()
                .fold(0u32, |block, byte| block << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for at in 0..=chunk.len() {
                text.push(char::from(
                    DIGITS[usize::try_from(block >> (18 - 6 * at) & 63).unwrap()],
                ));
            }
        }
        text
    }

    #[test]
    fn a_token_reads_back_until_it_expires() {
        let secret = SigningSecret::ephemeral();
        let claims = claims();
        let token = sign(&claims, &secret).unwrap();
        assert_eq!(verify(token.expose(), &secret, NOW), Ok(claims.clone()));
        assert_eq!(
            verify(token.expose(), &secret, NOW.plus(DAY - Duration::from_secs(1))),
            Ok(claims)
        );
        assert_eq!(
            verify(token.expose(), &secret, NOW.plus(DAY)),
            Err(JwtError::Expired)
        );
    }

    #[test]
    fn another_key_another_day_or_a_changed_byte_is_refused() {
        let secret = SigningSecret::ephemeral();
        let token = sign(&claims(), &secret).unwrap();
        assert_eq!(
            verify(token.expose(), &SigningSecret::ephemeral(), NOW),
            Err(JwtError::Invalid)
        );
        assert_eq!(
            verify(token.expose(), &secret, NOW.minus(DAY)),
            Err(JwtError::Invalid),
            "from the future"
        );
        for at in 0..token.expose().len() - 1 {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(
                verify(&String::from_utf8(bytes).unwrap(), &secret, NOW).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn wrong_algorithm_type_kid_or_issuer_is_refused_even_when_signed_with_our_key() {
        let secret = SigningSecret::ephemeral();
        let kid = secret.kid();
        let payload = serde_json::to_string(&claims()).unwrap();
        let good = format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}"}}"#);
        assert!(verify(&forge(&good, &payload, &secret), &secret, NOW).is_ok());
        for header in [
            good.replace("HS256", "HS384"),
            good.replace("HS256", "HS512"),
            good.replace("HS256", "RS256"),
            good.replace("HS256", "none"),
            good.replace("JWT", "at+jwt"),
            good.replace(kid, "00000000"),
            r#"{"alg":"HS256"}"#.to_owned(),
            good.replace('}', r#","crit":["b64"]}"#),
        ] {
            assert_eq!(
                verify(&forge(&header, &payload, &secret), &secret, NOW),
                Err(JwtError::Invalid),
                "{header}"
            );
        }
        let elsewhere = payload.replace(ISSUER, "elsewhere");
        assert_eq!(
            verify(&forge(&good, &elsewhere, &secret), &secret, NOW),
            Err(JwtError::Invalid)
        );
    }

    #[test]
    fn any_text_is_an_error_and_no_panic() {
        let secret = SigningSecret::ephemeral();
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "é.é.é",
            &"a".repeat(1 << 20),
            "eyJ.eyJ.",
            "\0",
        ] {
            assert_eq!(verify(text, &secret, NOW), Err(JwtError::Invalid));
        }
    }
}
