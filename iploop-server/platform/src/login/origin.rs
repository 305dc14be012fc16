//! Where a login comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Longest text kept of a user agent, in characters.
const MAX_USER_AGENT: usize = 160;

/// Address and program of whoever signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// What the program calls itself, shortened; empty if it does not.
    pub user_agent: String,
}

impl Origin {
    /// From a request's address and its `User-Agent`.
    pub fn new(address: IpAddr, user_agent: Option<&str>) -> Self {
        let plain = user_agent
            .unwrap_or_default()
            .chars()
            .filter(|character| !character.is_control());
        Self {
            address: address.to_canonical(),
            user_agent: plain.take(MAX_USER_AGENT).collect(),
        }
    }

    /// The network that counts as one place: /24 of IPv4, /48 of IPv6, which a provider gives to one site.
    pub fn network(&self) -> IpNet {
        match self.address {
            IpAddr::V4(v4) => Ipv4Net::new_assert(Ipv4Addr::from_bits(v4.to_bits() & !0xff), 24).into(),
            IpAddr::V6(v6) => {
                Ipv6Net::new_assert(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)), 48).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_network_and_a_program_is_a_short_line() {
        let origin = |address: &str| Origin::new(address.parse().unwrap(), None).network().to_string();
        assert_eq!(origin("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(origin("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(origin("2001:db8:1:2::3"), "2001:db8:1::/48");
        let long = format!("a\r\nb{}", "é".repeat(500));
        let origin = Origin::new("192.0.2.1".parse().unwrap(), Some(&long));
        assert_eq!(origin.user_agent.chars().count(), MAX_USER_AGENT);
        assert!(origin.user_agent.starts_with("ab"));
    }
}
