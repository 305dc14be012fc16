//! Whose connection it is: the peer's, or what a trusted proxy in front of the hub says.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header that is believed of trusted proxies.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A trusted proxy said something that is no list of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadForwardedFor;

/// The device's public address.
///
/// Each proxy appends the address that it saw, so the list is read from its end, as far as proxies are trusted: what stands
/// before the first other address anybody may have invented.
pub(crate) fn public_ip(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Result<IpAddr, BadForwardedFor> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|range| range.contains(&ip));
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest) {
        return Ok(nearest);
    }
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        let list = value.to_str().map_err(|_| BadForwardedFor)?;
        for entry in list.rsplit(',') {
            nearest = entry
                .trim()
                .parse::<IpAddr>()
                .map_err(|_| BadForwardedFor)?
                .to_canonical();
            if !is_trusted(nearest) {
                return Ok(nearest);
            }
        }
    }
    Ok(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip_of(peer: &str, headers: &[&str]) -> Result<String, BadForwardedFor> {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let headers = headers
            .iter()
            .map(|value| (FORWARDED_FOR, value.parse().unwrap()))
            .collect();
        public_ip(peer.parse().unwrap(), &headers, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_so_far() {
        for (peer, headers, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.1", "fd00::2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(
                ip_of(peer, headers).as_deref(),
                Ok(expected),
                "{peer} {headers:?}"
            );
        }
    }

    #[test]
    fn a_proxy_s_nonsense_is_an_error_and_not_an_address() {
        for headers in [&["unknown"][..], &["198.51.100.1:80"], &[""], &["198.51.100.1, "]] {
            assert_eq!(ip_of("10.0.0.1", headers), Err(BadForwardedFor), "{headers:?}");
        }
    }
}
