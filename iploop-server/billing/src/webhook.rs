//! The header `Stripe-Signature`: `t=SECONDS,v1=HEX[,v1=HEX]`, where HEX is the HMAC-SHA-256 of `SECONDS.BODY`.

use std::time::Duration;

use iploop_platform::billing::EventError;
use iploop_platform::clock::Timestamp;
use iploop_platform::secret::Secret;
use ring::hmac;

/// How far the time of a signature may be from ours: an older one may be a copy of somebody who listened.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Signatures of one header that are looked at: while a secret is rolled there are two.
const MAX_SIGNATURES: usize = 8;

/// Whether `header` signs `body` with `secret`, about now.
pub(crate) fn verify(secret: &Secret, header: &str, body: &[u8], now: Timestamp) -> Result<(), EventError> {
    let mut seconds = None;
    let mut signatures = Vec::new();
    for (name, value) in header.split(',').filter_map(|part| part.trim().split_once('=')) {
        match name {
            "t" => seconds = value.parse::<i64>().ok().filter(|seconds| *seconds >= 0),
            "v1" if signatures.len() < MAX_SIGNATURES => signatures.push(value),
            _ => {}
        }
    }
    let seconds = seconds.ok_or(EventError::Signature)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let signed = [seconds.to_string().as_bytes(), b".", body].concat();
    let fits =
        |signature: &str| from_hex(signature).is_some_and(|tag| hmac::verify(&key, &signed, &tag).is_ok());
    if !signatures.into_iter().any(fits) {
        return Err(EventError::Signature);
    }
    let at = Timestamp::from_millis(seconds.saturating_mul(1_000));
    if now.since(at).max(at.since(now)) > TOLERANCE {
        return Err(EventError::TooOld);
    }
    Ok(())
}

/// The header that Stripe would send with `body`: for tests and tools that stand in for it.
pub fn sign(secret: &Secret, body: &[u8], at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1_000);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, &[seconds.to_string().as_bytes(), b".", body].concat());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_signature_is_known_by_its_secret_its_body_and_its_time() {
        let (secret, other) = (Secret::new("whsec_1"), Secret::new("whsec_2"));
        let header = sign(&secret, BODY, at(1_000));
        assert_eq!(verify(&secret, &header, BODY, at(1_300)), Ok(()));
        assert_eq!(verify(&secret, &header, BODY, at(700)), Ok(()));
        assert_eq!(verify(&secret, &header, BODY, at(1_301)), Err(EventError::TooOld));
        assert_eq!(verify(&secret, &header, BODY, at(699)), Err(EventError::TooOld));
        assert_eq!(
            verify(&other, &header, BODY, at(1_000)),
            Err(EventError::Signature)
        );
        assert_eq!(
            verify(&secret, &header, b"{}", at(1_000)),
            Err(EventError::Signature)
        );
        let younger = header.replace("t=1000", "t=1001");
        assert_eq!(
            verify(&secret, &younger, BODY, at(1_000)),
            Err(EventError::Signature)
        );
        // While a secret is rolled both sign.
        let both = format!(
            "{},{}",
            sign(&other, BODY, at(1_000)),
            header.replace("t=1000,", "")
        );
        assert_eq!(verify(&secret, &both, BODY, at(1_000)), Ok(()));
    }

    #[test]
    fn the_algorithm_is_the_published_one() {
        // HMAC-SHA-256 with key "whsec_test" over "1700000000.{}", made with openssl.
        let header = sign(&Secret::new("whsec_test"), b"{}", at(1_700_000_000));
        assert!(header.starts_with("t=1700000000,v1="), "{header}");
        assert_eq!(header, format!("t=1700000000,v1={KNOWN}"));
    }

    const KNOWN: &str = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91";

    #[test]
    fn broken_headers_are_refused() {
        let secret = Secret::new("whsec_1");
        for header in [
            "",
            "t=1",
            "v1=00",
            "t=x,v1=00",
            "t=-1,v1=00",
            "t=1,v1=zz",
            "t=99999999999999999999,v1=",
            "é=1",
        ] {
            assert_eq!(
                verify(&secret, header, BODY, at(1)),
                Err(EventError::Signature),
                "{header}"
            );
        }
    }
}
