//! The addresses that passed every check: what a dialler takes, and nothing else.

use std::net::{IpAddr, SocketAddr};

/// Most addresses of one name that are kept for dialling. All answers are checked, the rest is not dialled.
pub const MAX_CHECKED_ADDRESSES: usize = 16;

/// Addresses that a [`Policy`](super::Policy) allowed for one stream.
///
/// Only `Policy::check_addresses` makes one. Dial nothing else, look nothing up a second time, and once connected
/// compare the socket's peer by [`matches_peer`](Self::matches_peer) before the first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedAddresses {
    addresses: Vec<IpAddr>,
    port: u16,
}

impl CheckedAddresses {
    /// Of answers that passed; IPv4-mapped ones become the IPv4 address that they mean, repeated ones fall out.
    pub(super) fn new(answers: &[IpAddr], port: u16) -> Self {
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(answers.len().min(MAX_CHECKED_ADDRESSES));
        for ip in answers.iter().map(IpAddr::to_canonical) {
            if addresses.len() == MAX_CHECKED_ADDRESSES {
                break;
            }
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Self { addresses, port }
    }

    /// Keeps those of which a dialler that knows more about them says so.
    pub fn retain(&mut self, mut keep: impl FnMut(SocketAddr) -> bool) {
        let port = self.port;
        self.addresses.retain(|ip| keep(SocketAddr::new(*ip, port)));
    }

    /// The addresses to dial, in the order of the answers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.addresses.iter().map(|ip| SocketAddr::new(*ip, self.port))
    }

    /// Whether the resolver gave no answer at all, which is no refusal.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether a connected socket's peer is one of them. On `false` close before the first byte.
    pub fn matches_peer(&self, peer: SocketAddr) -> bool {
        peer.port() == self.port && self.addresses.contains(&peer.ip().to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(answers: &[&str]) -> CheckedAddresses {
        let answers: Vec<IpAddr> = answers.iter().map(|ip| ip.parse().unwrap()).collect();
        CheckedAddresses::new(&answers, 443)
    }

    #[test]
    fn the_peer_must_be_one_of_the_checked_addresses() {
        let checked = checked(&["1.1.1.1", "::ffff:1.0.0.1", "2606:4700::1111", "1.1.1.1"]);
        assert_eq!(
            checked.iter().map(|a| a.to_string()).collect::<Vec<_>>(),
            ["1.1.1.1:443", "1.0.0.1:443", "[2606:4700::1111]:443"]
        );
        for peer in [
            "1.1.1.1:443",
            "[::ffff:1.1.1.1]:443",
            "1.0.0.1:443",
            "[2606:4700::1111]:443",
        ] {
            assert!(checked.matches_peer(peer.parse().unwrap()), "{peer}");
        }
        for peer in [
            "1.1.1.1:80",
            "1.1.1.2:443",
            "[2606:4700::1112]:443",
            "127.0.0.1:443",
            "[64:ff9b::101:101]:443",
        ] {
            assert!(!checked.matches_peer(peer.parse().unwrap()), "{peer}");
        }
    }

    #[test]
    fn what_is_not_kept_is_neither_dialled_nor_a_peer() {
        let mut checked = checked(&["1.1.1.1", "2606:4700::1111"]);
        checked.retain(|address| address.is_ipv4());
        assert!(checked.iter().all(|address| address.is_ipv4()) && checked.len() == 1);
        assert!(!checked.matches_peer("[2606:4700::1111]:443".parse().unwrap()));
    }

    #[test]
    fn the_set_is_bounded() {
        let answers: Vec<IpAddr> = (0..1000u32)
            .map(|n| std::net::Ipv4Addr::from_bits(0x0101_0000 + n).into())
            .collect();
        assert_eq!(CheckedAddresses::new(&answers, 1).len(), MAX_CHECKED_ADDRESSES);
        assert!(CheckedAddresses::new(&[], 1).is_empty());
    }
}
