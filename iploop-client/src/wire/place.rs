//! Where a connection goes.

use std::net::IpAddr;

use http::Uri;

/// Host and port, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As in an address: IPv6 in brackets.
    written: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl Place {
    /// Of an address of `http` or `https`; otherwise what is wrong with it.
    pub(crate) fn of(uri: &Uri) -> Result<Self, &'static str> {
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it does not begin with http:// or https://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("a login does not belong into it");
        }
        let port = match (uri.port(), authority.as_str().ends_with(':')) {
            (_, true) => return Err("its port is empty"),
            (Some(port), _) => port.as_u16(),
            (None, _) if authority.host().len() < authority.as_str().len() => {
                return Err("its port is no number");
            }
            (None, _) if is_tls => 443,
            (None, _) => 80,
        };
        match authority.host() {
            "" => Err("it names no host"),
            host => Ok(Self {
                written: host.to_owned(),
                port,
                is_tls,
            }),
        }
    }

    /// For connecting and for certificates: without brackets.
    pub(crate) fn host(&self) -> &str {
        self.written.trim_start_matches('[').trim_end_matches(']')
    }

    /// `host:port`, always with the port.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.written, self.port)
    }

    /// As the field `Host` names it: without the usual port.
    pub(crate) fn host_field(&self) -> String {
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => self.written.clone(),
            _ => self.authority(),
        }
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_what_is_wrong_with_others_is_said() {
        for (url, authority, field, is_loopback) in [
            ("http://example.com/", "example.com:80", "example.com", false),
            ("https://example.com/a?b", "example.com:443", "example.com", false),
            (
                "https://example.com:8443",
                "example.com:8443",
                "example.com:8443",
                false,
            ),
            ("http://[::1]:7777", "[::1]:7777", "[::1]:7777", true),
            ("http://127.0.3.1", "127.0.3.1:80", "127.0.3.1", true),
            ("http://localhost:3000/", "localhost:3000", "localhost:3000", true),
        ] {
            let place = Place::of(&url.parse().unwrap()).unwrap();
            assert_eq!(
                (place.authority().as_str(), place.host_field().as_str()),
                (authority, field),
                "{url}"
            );
            assert_eq!(place.is_loopback(), is_loopback, "{url}");
        }
        for url in [
            "example.com:80",
            "/path",
            "ftp://example.com/",
            "http://ada:pass@example.com/",
        ] {
            let uri: Uri = url.parse().unwrap();
            assert!(Place::of(&uri).is_err(), "{url}");
        }
    }
}
