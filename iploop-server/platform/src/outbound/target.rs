//! The address of a request, as a customer or the operator wrote it.

use std::fmt;

use http::Uri;
use iploop_protocol::destination::Host;

/// Longest address, in characters.
const MAX_CHARACTERS: usize = 500;

/// An `http` or `https` address without user and fragment. Whether it may be called is [`super::OutboundClient`]'s question.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    pub(super) is_https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
}

/// Why an address can't be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not an address at all.
    #[error("must be an address such as https://example.com/hook, without user, fragment or spaces")]
    Malformed,
    /// Too long.
    #[error("must be at most {MAX_CHARACTERS} characters")]
    TooLong,
    /// Not by TLS.
    #[error("must begin with https://")]
    NotHttps,
    /// A port that other services have.
    #[error("must use port 443 or one from 1024 on")]
    Port,
    /// An address or a name that is not public.
    #[error("must lead to a public address")]
    NotPublic,
}

impl Target {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.chars().count() > MAX_CHARACTERS {
            return Err(TargetError::TooLong);
        }
        if text.contains('#') {
            return Err(TargetError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Malformed)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TargetError::Malformed),
        };
        let authority = uri.authority().ok_or(TargetError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Malformed);
        }
        let written_port = authority
            .as_str()
            .strip_prefix(authority.host())
            .ok_or(TargetError::Malformed)?;
        let port = match (written_port.strip_prefix(':'), is_https) {
            (Some(port), _) => port.parse().map_err(|_| TargetError::Malformed)?,
            (None, true) => 443,
            (None, false) => 80,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host: Host = host.parse().map_err(|_| TargetError::Malformed)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            text: text.to_owned(),
            is_https,
            host,
            port,
            path,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The `Host` field: with the port where it is not the usual one.
    pub(super) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.as_str().to_owned(),
        };
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Paths may hold tokens.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, authority, path) in [
            ("https://example.com", "example.com", "/"),
            ("https://Example.com:443/a?b=c", "example.com", "/a?b=c"),
            (" https://example.com:8443/ ", "example.com:8443", "/"),
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080", "/x"),
            ("https://[2001:db8::1]/x", "[2001:db8::1]", "/x"),
            ("https://example.com?x=1", "example.com", "/?x=1"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (target.authority().as_str(), target.path.as_str()),
                (authority, path),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for text in [
            "",
            "example.com/hook",
            "/hook",
            "ftp://example.com/",
            "https://",
            "https://user:pw@example.com/",
            "https://user@example.com/",
            "https://example.com/#x",
            "https://example.com:/",
            "https://example.com:99999/",
            "https://exa mple.com/",
            "https://example.com/\r\nX: y",
            "javascript:alert(1)",
            "https://[::1",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Target::parse(&format!("https://e.com/{}", "x".repeat(500))),
            Err(TargetError::TooLong)
        );
    }
}
