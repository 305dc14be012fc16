//! The login beside a request: `Proxy-Authorization: Basic` (RFC 7617), or user name and password of SOCKS5 (RFC 1929).

use iploop_protocol::targeting::{Credentials, CredentialsError};

use crate::answer::ProxyError;

/// Longest login text that is decoded, in bytes: two fields at their bound, and the colon.
const MAX_LOGIN_BYTES: usize = 2 * iploop_protocol::targeting::MAX_FIELD_BYTES + 1;

/// Who a client says it is.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each request, and nearly all are of the large kind"
)]
pub(crate) enum Login {
    /// The holder of a key.
    Key(Credentials),
    /// Nobody but its address: a user name without a key, or nothing. Parameters may stand in it.
    Address(Box<str>),
}

impl Login {
    /// Nothing was said.
    pub(crate) fn none() -> Self {
        Self::Address("".into())
    }
}

/// Why a login can't be read. Says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginFault {
    /// None was sent.
    #[error("this proxy needs a login")]
    Missing,
    /// Another scheme than Basic.
    #[error("the only authentication scheme is Basic")]
    Scheme,
    /// Not base64 as RFC 4648 has it, or too long.
    #[error("the login is not valid base64")]
    Encoding,
    /// Not UTF-8, or with control characters.
    #[error("the login has characters that no login has")]
    Characters,
    /// No colon between user name and password.
    #[error("the login has no colon between user name and password")]
    Colon,
}

/// Reads the value of `Proxy-Authorization`.
pub(crate) fn from_basic(value: Option<&[u8]>) -> Result<Login, ProxyError> {
    let Some(value) = value else {
        return Ok(Login::none());
    };
    let space = value
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or(LoginFault::Scheme)?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(LoginFault::Scheme.into());
    }
    let encoded = rest.trim_ascii_start();
    let decoded = decode_base64(encoded).ok_or(LoginFault::Encoding)?;
    let colon = decoded
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(LoginFault::Colon)?;
    from_password(&decoded[..colon], &decoded[colon + 1..])
}

/// Reads user name and password as they came.
pub(crate) fn from_password(user: &[u8], password: &[u8]) -> Result<Login, ProxyError> {
    let text = |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| LoginFault::Characters)?;
        if text.chars().any(char::is_control) {
            Err(LoginFault::Characters)
        } else {
            Ok(text)
        }
    };
    let user = text(user)?;
    match Credentials::parse(user, text(password)?) {
        Ok(credentials) => Ok(Login::Key(credentials)),
        Err(CredentialsError::Missing) => Ok(Login::Address(user.into())),
        Err(error) => Err(error.into()),
    }
}

/// Strict base64 (RFC 4648 section 4): padded, no other characters, no stray bits behind the last byte.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) || text.len() / 4 * 3 > MAX_LOGIN_BYTES + 2 {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = text.len().checked_sub(padding).filter(|_| padding <= 2)?;
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in &text[..digits] {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "iploop_000102030405060708090a0b0c0d0e0f1011121314151617";

    /// For tests: what a client would send.
    fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for part in bytes.chunks(3) {
            let bits = part
                .iter()
                .chain(&[0; 2])
                .take(3)
                .fold(0usize, |bits, &byte| (bits << 8) | usize::from(byte));
            for digit in 0..4 {
                let shown = digit <= part.len();
                out.push(if shown {
                    char::from(DIGITS[(bits >> (18 - 6 * digit)) & 63])
                } else {
                    '='
                });
            }
        }
        out
    }

    #[test]
    fn key_and_parameters_stand_in_either_field() {
        for login in [
            format!("iploop:{KEY}-country-US"),
            format!("{KEY}-country-US:x"),
            format!("iploop-country-US:{KEY}"),
        ] {
            for scheme in ["Basic", "basic", "BASIC "] {
                let value = format!("{scheme} {}", encode(login.as_bytes()));
                let Login::Key(credentials) = from_basic(Some(value.as_bytes())).unwrap() else {
                    panic!("no key: {value}");
                };
                assert_eq!(credentials.targeting.to_string(), "country-US");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why_and_never_what() {
        let encoded = |text: &str| format!("Basic {}", encode(text.as_bytes()));
        for (value, fault) in [
            (String::new(), LoginFault::Scheme),
            ("Basic".to_owned(), LoginFault::Scheme),
            ("Bearer abcd".to_owned(), LoginFault::Scheme),
            ("Basic abc".to_owned(), LoginFault::Encoding),
            ("Basic ab=c".to_owned(), LoginFault::Encoding),
            ("Basic a===".to_owned(), LoginFault::Encoding),
            ("Basic YWJ=".to_owned(), LoginFault::Encoding),
            ("Basic YW Jj".to_owned(), LoginFault::Encoding),
            ("Basic ====".to_owned(), LoginFault::Encoding),
            (encoded("nocolon"), LoginFault::Colon),
            (encoded("a\r\nb:c"), LoginFault::Characters),
            (format!("Basic {}", encode(b"\xff:x")), LoginFault::Characters),
            (format!("Basic {}", "A".repeat(8192)), LoginFault::Encoding),
        ] {
            let error = from_basic(Some(value.as_bytes())).unwrap_err();
            assert!(
                matches!(error, ProxyError::Login(found) if found == fault),
                "{value}: {error:?}"
            );
        }
        for (value, user) in [
            (None, ""),
            (Some(encoded(":")), ""),
            (Some(encoded("iploop-country-US:")), "iploop-country-US"),
        ] {
            let login = from_basic(value.as_ref().map(String::as_bytes)).unwrap();
            assert!(
                matches!(&login, Login::Address(text) if **text == *user),
                "{login:?}"
            );
        }
        let error = from_basic(Some(encoded(&format!("iploop:{KEY}x")).as_bytes())).unwrap_err();
        assert!(
            !error.to_string().contains("0001") && !format!("{error:?}").contains("0001"),
            "{error:?}"
        );
    }

    proptest! {
        #[test]
        fn base64_reads_what_is_encoded_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[A-Za-z0-9+/=]{0,12}") {
            prop_assert_eq!(decode_base64(encode(&bytes).as_bytes()), Some(bytes));
            if let Some(decoded) = decode_base64(text.as_bytes()) {
                prop_assert_eq!(encode(&decoded), text);
            }
        }
    }
}
