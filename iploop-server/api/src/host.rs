//! Which host a request is for: named once, and as a URI names one.

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version};

use crate::error::ApiError;

/// Refuses what a server must refuse (RFC 9112, section 3.2): whoever stands between might read another host than we do.
pub(crate) async fn host(request: Request, next: Next) -> Result<Response, ApiError> {
    if is_clear(request.version(), request.headers()) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::InvalidHost)
    }
}

/// HTTP/1.0 had no `Host`, and HTTP/2 has a pseudo-header in its place.
fn is_clear(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version != Version::HTTP_11,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2) as far as names have it in life, and never empty: an `http` address has a host.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => is_name_or_address(host) && is_port(port),
        _ => is_name_or_address(text),
    }
}

fn is_name_or_address(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !host.is_empty() && host.bytes().all(is_plain)
        }
    }
}

fn is_port(port: &str) -> bool {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (port.is_empty() || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(version: Version, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        is_clear(version, &headers)
    }

    #[test]
    fn http_1_1_names_its_host_exactly_once() {
        assert!(clear(Version::HTTP_11, &["example.com"]));
        assert!(!clear(Version::HTTP_11, &[]));
        assert!(!clear(Version::HTTP_11, &["example.com", "example.com"]));
        assert!(clear(Version::HTTP_10, &[]));
        assert!(!clear(Version::HTTP_10, &["a.example", "b.example"]));
        assert!(clear(Version::HTTP_2, &[]));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "example.com",
            "EXAMPLE.com:443",
            "localhost:3000",
            "192.0.2.1",
            "[2001:db8::1]",
            "[::1]:80",
            "a_b.example",
            "example.com:",
            "xn--bcher-kva.example",
        ] {
            assert!(clear(Version::HTTP_11, &[host]), "{host}");
        }
        for host in [
            "",
            " ",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "a?b",
            "user@example.com",
            "example.com:http",
            "example.com:+80",
            "example.com:65536",
            "example.com:80:80",
            "[::1",
            "::1]",
            "bücher.example",
            "http://example.com",
            "[]",
            "[a]",
        ] {
            assert!(!clear(Version::HTTP_11, &[host]), "{host}");
        }
    }
}
