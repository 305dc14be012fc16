//! The request-target: where a request goes and what is asked for there (RFC 9112 section 3.2).

use iploop_protocol::destination::{Destination, DestinationError};

/// A request-target that a proxy can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `CONNECT host:port`.
    Authority(Destination),
    /// `GET http://host/path`.
    Absolute {
        destination: Destination,
        /// Path and query as written; empty where the customer wrote none.
        path: &'a str,
    },
}

/// Why a request-target leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetFault {
    /// Bytes that no URI has.
    #[error("the request-target has a character that a URI can't have")]
    Character,
    /// `GET /path`: meant for an origin, not for a proxy.
    #[error("this is a proxy: the request-target must be an absolute URI, as in GET http://example.com/")]
    Origin,
    /// `https://` without CONNECT.
    #[error("https goes through a CONNECT tunnel, not through an absolute URI")]
    Https,
    /// Any other scheme.
    #[error("only http URIs are forwarded; everything else goes through a CONNECT tunnel")]
    Scheme,
    /// `user:password@` before the host: obsolete, and a way to mislead (RFC 9110 section 4.2.4).
    #[error("the URI has user information before the host")]
    UserInfo,
    /// The authority.
    #[error("{0}")]
    Destination(DestinationError),
}

impl<'a> Target<'a> {
    /// Reads the request-target of a method.
    pub(super) fn parse(method: &str, target: &'a str) -> Result<Self, TargetFault> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(TargetFault::Character);
        }
        if method == "CONNECT" {
            return match Destination::parse_authority(target) {
                Ok(destination) => Ok(Self::Authority(destination)),
                Err(_) if target.contains('@') => Err(TargetFault::UserInfo),
                Err(error) => Err(TargetFault::Destination(error)),
            };
        }
        if target.starts_with('/') || target == "*" {
            return Err(TargetFault::Origin);
        }
        let (scheme, rest) = target.split_once("://").ok_or(TargetFault::Scheme)?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(TargetFault::Https);
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(TargetFault::Scheme);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        match Destination::parse_authority_or(authority, 80) {
            Ok(destination) => Ok(Self::Absolute { destination, path }),
            Err(_) if authority.contains('@') => Err(TargetFault::UserInfo),
            Err(error) => Err(TargetFault::Destination(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Destination {
        Destination::parse_authority(text).unwrap()
    }

    #[test]
    fn absolute_uris_and_authorities_are_followed() {
        for (target, to, path) in [
            ("http://example.com", "example.com:80", ""),
            ("HTTP://Example.com:8080/a?b=c", "example.com:8080", "/a?b=c"),
            ("http://example.com?q", "example.com:80", "?q"),
            ("http://[2606:4700::1111]/", "[2606:4700::1111]:80", "/"),
            ("http://1.2.3.4:81/x@y:z", "1.2.3.4:81", "/x@y:z"),
        ] {
            let expected = Target::Absolute {
                destination: destination(to),
                path,
            };
            assert_eq!(Target::parse("GET", target), Ok(expected), "{target}");
        }
        assert_eq!(
            Target::parse("CONNECT", "example.com:443"),
            Ok(Target::Authority(destination("example.com:443")))
        );
    }

    #[test]
    fn everything_else_leads_nowhere() {
        for (method, target, fault) in [
            ("GET", "/", TargetFault::Origin),
            ("OPTIONS", "*", TargetFault::Origin),
            ("GET", "https://example.com/", TargetFault::Https),
            ("GET", "ftp://example.com/", TargetFault::Scheme),
            ("GET", "example.com:80", TargetFault::Scheme),
            ("GET", "http:/example.com", TargetFault::Scheme),
            ("GET", "http://user:pw@example.com/", TargetFault::UserInfo),
            (
                "GET",
                "http://good.example\\@evil.example/",
                TargetFault::UserInfo,
            ),
            ("GET", "http://example.com/#fragment", TargetFault::Character),
            ("GET", "http://example.com/\u{e9}", TargetFault::Character),
            ("CONNECT", "user@example.com:443", TargetFault::UserInfo),
        ] {
            assert_eq!(Target::parse(method, target), Err(fault), "{target}");
        }
        for (method, target) in [
            ("GET", "http://"),
            ("GET", "http:///path"),
            ("GET", "http://:80/"),
            ("GET", "http://a..b/"),
            ("GET", "http://0x7f.1/"),
            ("GET", "http://2130706433/"),
            ("GET", "http://example.com:99999/"),
            ("GET", "http://example.com:+80/"),
            ("GET", "http://exa%6dple.com/"),
            ("GET", "http://[fe80::1%25eth0]/"),
            ("GET", "http://a:b:c/"),
            ("CONNECT", "example.com"),
            ("CONNECT", "example.com:"),
            ("CONNECT", "example.com:443/"),
            ("CONNECT", "http://example.com:443"),
            ("CONNECT", "/"),
            ("CONNECT", "::1:443"),
        ] {
            assert!(Target::parse(method, target).is_err(), "{method} {target}");
        }
    }
}
