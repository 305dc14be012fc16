//! Where customers reach this server: the base of the links in mails.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// An `http` or `https` address with host, optional port and optional path, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The address of `path`, which begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether browsers reach us by TLS: cookies are `Secure` then.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

/// Why a text is no public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it as https://host or https://host:port, without user, query or fragment")]
pub struct PublicUrlError;

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let text = text.trim_end_matches('/');
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(PublicUrlError)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&byte);
        if authority.is_empty() || authority.starts_with(':') || !rest.bytes().all(is_plain) {
            return Err(PublicUrlError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_one_slash_between_base_and_path() {
        let url: PublicUrl = "https://iploop.example/app/".parse().unwrap();
        assert_eq!(
            url.join("/api/x?token=1"),
            "https://iploop.example/app/api/x?token=1"
        );
        assert!(url.is_https());
        assert!(!"http://[::1]:3000".parse::<PublicUrl>().unwrap().is_https());
    }

    #[test]
    fn anything_but_a_plain_address_is_refused() {
        for text in [
            "",
            "iploop.example",
            "ftp://a",
            "https://",
            "https://:80",
            "https://u@h",
            "https://h?x",
            "https://h#x",
            "https://h\"><script>",
            "https://h h",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
