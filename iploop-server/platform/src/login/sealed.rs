//! Small secrets in the database, encrypted under a key that is derived from the signing secret and stored nowhere.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::signing::SigningSecret;
use crate::ids::AccountId;
use crate::secret::hex;

/// Begins every sealed text: another scheme would have another.
const VERSION: &str = "v1:";

/// `secret` for one `purpose` and account, as text: nobody else's row can take its place.
pub(super) fn seal(key: &SigningSecret, purpose: &str, account: AccountId, secret: &[u8]) -> Option<String> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut bytes = secret.to_vec();
    cipher(key, purpose)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(account.uuid().as_bytes()),
            &mut bytes,
        )
        .ok()?;
    Some(format!("{VERSION}{}{}", hex(&nonce), hex(&bytes)))
}

/// What [`seal`] was given; none if the text is not of this purpose, account and key.
pub(super) fn open(key: &SigningSecret, purpose: &str, account: AccountId, sealed: &str) -> Option<Vec<u8>> {
    let mut bytes = unhex(sealed.strip_prefix(VERSION)?)?;
    let mut rest = bytes.split_off(NONCE_LEN.min(bytes.len()));
    let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
    let opened = cipher(key, purpose)?
        .open_in_place(nonce, Aad::from(account.uuid().as_bytes()), &mut rest)
        .ok()?;
    Some(opened.to_vec())
}

fn cipher(key: &SigningSecret, purpose: &str) -> Option<LessSafeKey> {
    let derived = key.derive(&format!("seal\0{purpose}"));
    UnboundKey::new(&AES_256_GCM, &derived).ok().map(LessSafeKey::new)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_account_purpose_and_key_only() {
        let (key, account) = (SigningSecret::ephemeral(), AccountId::new());
        let sealed = seal(&key, "totp", account, b"hidden").unwrap();
        assert_eq!(
            open(&key, "totp", account, &sealed).as_deref(),
            Some(&b"hidden"[..])
        );
        assert_eq!(open(&key, "other", account, &sealed), None);
        assert_eq!(open(&key, "totp", AccountId::new(), &sealed), None);
        assert_eq!(open(&SigningSecret::ephemeral(), "totp", account, &sealed), None);
        assert_ne!(
            seal(&key, "totp", account, b"hidden").unwrap(),
            sealed,
            "a nonce of its own"
        );
        assert!(!sealed.contains(&hex(b"hidden")));
    }

    #[test]
    fn any_other_text_is_none_and_no_panic() {
        let (key, account) = (SigningSecret::ephemeral(), AccountId::new());
        let sealed = seal(&key, "totp", account, b"hidden").unwrap();
        for text in [
            "",
            "v1:",
            "v1:zz",
            "v1:é",
            "v2:00",
            "v1:0",
            &sealed[..sealed.len() - 2],
            &sealed[..10],
        ] {
            assert_eq!(open(&key, "totp", account, text), None, "{text}");
        }
    }
}
