//! What a device knows of its own surroundings, and why none of it is a customer's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::address::Reading;
use super::nat64::Nat64Prefix;
use super::ranges::{self, AddressSet};
use super::refusal::RuleClass;

/// Most NAT64 prefixes that are looked at; a network announces one, seldom two (RFC 7050 section 5.2).
pub const MAX_NAT64_PREFIXES: usize = 8;

/// What the device sees of its network, taken fresh on every network change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalFacts {
    /// Every address of every interface, shared or not.
    pub interfaces: Vec<IpAddr>,
    /// Every on-link prefix, global ones included: an IPv6 home gives each appliance a public address of one /64.
    pub on_link: Vec<IpNet>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub dns_servers: Vec<IpAddr>,
    /// The device's public IPv4 address as the hub sees it: hairpin NAT makes it the router's admin page.
    pub public_v4: Option<Ipv4Addr>,
    /// The device's public IPv6 address as the hub sees it; its whole /64 is refused.
    pub public_v6: Option<Ipv6Addr>,
    /// Addresses of the platform that the device talks to.
    pub platform: Vec<IpAddr>,
    /// Destinations of routes that are not the default route of the shared interface: VPN, corporate, container.
    pub excluded_routes: Vec<IpNet>,
    /// NAT64 prefixes that the device itself discovered. At most [`MAX_NAT64_PREFIXES`] count, the longest first.
    pub nat64: Vec<Nat64Prefix>,
}

/// [`LocalFacts`] ready to be asked.
#[derive(Clone, Debug)]
pub struct LocalNetwork {
    device: AddressSet,
    platform: AddressSet,
    nat64: Vec<Nat64Prefix>,
}

impl LocalNetwork {
    /// Nothing known: the gateway's case. A device always knows something.
    pub const NONE: &'static Self = &Self {
        device: AddressSet::empty(),
        platform: AddressSet::empty(),
        nat64: Vec::new(),
    };

    /// Prepares the facts of one network.
    pub fn new(facts: LocalFacts) -> Self {
        let LocalFacts {
            interfaces,
            on_link,
            gateways,
            dns_servers,
            public_v4,
            public_v6,
            platform,
            excluded_routes,
            mut nat64,
        } = facts;
        let addresses = interfaces
            .into_iter()
            .chain(gateways)
            .chain(dns_servers)
            .chain(public_v4.map(IpAddr::V4));
        let nets = on_link
            .into_iter()
            .chain(excluded_routes)
            .chain(public_v6.map(ranges::link_of));
        nat64.sort_by_key(|prefix| std::cmp::Reverse(prefix.length()));
        nat64.truncate(MAX_NAT64_PREFIXES);
        Self {
            device: AddressSet::new(addresses.map(IpNet::from).chain(nets)),
            platform: AddressSet::new(platform.into_iter().map(IpNet::from)),
            nat64,
        }
    }

    pub(super) fn nat64(&self) -> &[Nat64Prefix] {
        &self.nat64
    }

    pub(super) fn rule(&self, reading: &Reading) -> Option<RuleClass> {
        if reading.addresses().any(|ip| self.device.contains(ip)) {
            Some(RuleClass::DeviceNetwork)
        } else if reading.addresses().any(|ip| self.platform.contains(ip)) {
            Some(RuleClass::PlatformAddress)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> LocalNetwork {
        LocalNetwork::new(LocalFacts {
            interfaces: vec!["192.168.1.7".parse().unwrap(), "2a00:1:2:3::7".parse().unwrap()],
            on_link: vec![
                "192.168.1.0/24".parse().unwrap(),
                "2a00:1:2:3::/64".parse().unwrap(),
            ],
            gateways: vec!["198.200.0.1".parse().unwrap()],
            dns_servers: vec!["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()],
            public_v4: Some("81.2.3.4".parse().unwrap()),
            public_v6: Some("2a00:1:2:4:5:6:7:8".parse().unwrap()),
            platform: vec!["45.6.7.8".parse().unwrap(), "::ffff:45.6.7.9".parse().unwrap()],
            excluded_routes: vec!["44.0.0.0/9".parse().unwrap()],
            nat64: vec![Nat64Prefix::new("2a00:64::".parse().unwrap(), 96).unwrap()],
        })
    }

    fn rule(ip: &str) -> Option<RuleClass> {
        let home = home();
        home.rule(&Reading::of(ip.parse().unwrap(), home.nat64()))
    }

    #[test]
    fn every_part_of_the_devices_surroundings_is_refused_in_every_form() {
        for ip in [
            "2a00:1:2:3::7",
            "2a00:1:2:3:ffff:ffff:ffff:ffff",
            "198.200.0.1",
            "9.9.9.9",
            "2620:fe::fe",
            "81.2.3.4",
            "::ffff:81.2.3.4",
            "64:ff9b::81.2.3.4",
            "2a00:64::81.2.3.4",
            "2a00:1:2:4::",
            "2a00:1:2:4:ffff:ffff:ffff:ffff",
            "44.127.255.255",
            "64:ff9b::44.0.0.0",
        ] {
            assert_eq!(rule(ip), Some(RuleClass::DeviceNetwork), "{ip}");
        }
        for ip in ["45.6.7.8", "45.6.7.9", "::ffff:45.6.7.8", "64:ff9b::45.6.7.9"] {
            assert_eq!(rule(ip), Some(RuleClass::PlatformAddress), "{ip}");
        }
    }

    #[test]
    fn the_neighbours_outside_are_not() {
        for ip in [
            "2a00:1:2:2:ffff:ffff:ffff:ffff",
            "2a00:1:2:5::",
            "198.200.0.2",
            "81.2.3.5",
            "44.128.0.0",
            "43.255.255.255",
        ] {
            assert_eq!(rule(ip), None, "{ip}");
        }
    }
}
