//! Address rules: what the table says about an address, and about the IPv4 address inside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::nat64::Nat64Prefix;
use super::refusal::RuleClass;
use super::table::{self, Row, V6Row};

/// An address as a dialler would read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The address itself.
    pub(super) outer: IpAddr,
    /// The IPv4 address that packets end up at, if `outer` is IPv6 that says so.
    pub(super) inner: Option<Ipv4Addr>,
    /// The row of the table that it falls under, if any.
    pub(super) row: Option<Row>,
}

impl Reading {
    /// Reads an address on a network with these NAT64 prefixes, the longest first.
    pub(super) fn of(outer: IpAddr, nat64: &[Nat64Prefix]) -> Self {
        match outer {
            IpAddr::V4(ip) => Self {
                outer,
                inner: None,
                row: v4_row(ip),
            },
            IpAddr::V6(ip) => Self::of_v6(ip, nat64),
        }
    }

    /// Itself and the IPv4 address inside.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.outer).chain(self.inner.map(IpAddr::V4))
    }

    fn of_v6(ip: Ipv6Addr, nat64: &[Nat64Prefix]) -> Self {
        let refused = match table::get().v6.get(ip.to_bits()) {
            Some(V6Row::Ipv4Inside) => return Self::embedding(ip, last_32_bits(ip)),
            Some(V6Row::Refuse(row)) => Some(row),
            None => None,
        };
        // A network may number its translator from its own space, from RFC 8215's or from a global prefix (RFC 6052
        // section 3). In any other refused range an announced prefix changes nothing: the network would open a hole.
        let may_translate = match refused {
            Some(row) => matches!(row.rule, RuleClass::LocalNat64 | RuleClass::UniqueLocal),
            None => true,
        };
        if may_translate && let Some(prefix) = nat64.iter().find(|prefix| prefix.contains(ip)) {
            return match prefix.extract(ip) {
                Some(inner) => Self::embedding(ip, inner),
                None => Self {
                    outer: ip.into(),
                    inner: None,
                    row: v6_refusal(RuleClass::LocalNat64),
                },
            };
        }
        Self {
            outer: ip.into(),
            inner: None,
            row: refused,
        }
    }

    fn embedding(outer: Ipv6Addr, inner: Ipv4Addr) -> Self {
        Self {
            outer: outer.into(),
            inner: Some(inner),
            row: v4_row(inner),
        }
    }
}

fn v4_row(ip: Ipv4Addr) -> Option<Row> {
    table::get().v4.get(ip.to_bits())
}

fn v6_refusal(rule: RuleClass) -> Option<Row> {
    Some(Row {
        rule,
        tier: table::Tier::Hard,
    })
}

fn last_32_bits(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::table::Tier;
    use ipnet::{IpNet, Ipv4Net};
    use proptest::prelude::*;

    /// The page's table, written a second time on purpose: the data file is checked against it, not against itself.
    const V4: &[(&str, Tier)] = &[
        ("0.0.0.0/8", Tier::Hard),
        ("10.0.0.0/8", Tier::Hard),
        ("172.16.0.0/12", Tier::Hard),
        ("192.168.0.0/16", Tier::Hard),
        ("100.64.0.0/10", Tier::Hard),
        ("127.0.0.0/8", Tier::Hard),
        ("169.254.0.0/16", Tier::Hard),
        ("192.0.0.0/24", Tier::Hard),
        ("192.0.2.0/24", Tier::Hard),
        ("198.51.100.0/24", Tier::Hard),
        ("203.0.113.0/24", Tier::Hard),
        ("192.88.99.0/24", Tier::Hard),
        ("192.31.196.0/24", Tier::Default),
        ("192.175.48.0/24", Tier::Default),
        ("192.52.193.0/24", Tier::Hard),
        ("198.18.0.0/15", Tier::Hard),
        ("224.0.0.0/4", Tier::Hard),
        ("240.0.0.0/4", Tier::Hard),
        ("255.255.255.255/32", Tier::Hard),
        ("168.63.129.16/32", Tier::Hard),
    ];
    const V6: &[(&str, Tier)] = &[
        ("::/128", Tier::Hard),
        ("::1/128", Tier::Hard),
        ("::/96", Tier::Hard),
        ("fc00::/7", Tier::Hard),
        ("fd00:ec2::254/128", Tier::Hard),
        ("fe80::/10", Tier::Hard),
        ("fec0::/10", Tier::Hard),
        ("ff00::/8", Tier::Hard),
        ("100::/64", Tier::Hard),
        ("100:0:0:1::/64", Tier::Hard),
        ("5f00::/16", Tier::Hard),
        ("2001::/23", Tier::Hard),
        ("2001:db8::/32", Tier::Hard),
        ("3fff::/20", Tier::Hard),
        ("2002::/16", Tier::Hard),
        ("2620:4f:8000::/48", Tier::Default),
        ("64:ff9b:1::/48", Tier::Hard),
    ];
    const DECODED: [&str; 3] = ["::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"];

    fn nets(rows: &[(&str, Tier)]) -> Vec<(IpNet, Tier)> {
        rows.iter()
            .map(|(net, tier)| (net.parse().unwrap(), *tier))
            .collect()
    }

    fn expected(ip: IpAddr) -> Option<Tier> {
        if let IpAddr::V6(v6) = ip {
            if DECODED
                .iter()
                .any(|net| net.parse::<IpNet>().unwrap().contains(&ip))
            {
                return expected(last_32_bits(v6).into());
            }
            if v6.octets()[0] & 0xe0 != 0x20 {
                return Some(Tier::Hard);
            }
        }
        let rows = nets(V4).into_iter().chain(nets(V6));
        rows.filter(|(net, _)| net.contains(&ip))
            .map(|(_, tier)| tier)
            .next()
    }

    fn actual(ip: IpAddr) -> Option<Tier> {
        Reading::of(ip, &[]).row.map(|row| row.tier)
    }

    fn rule(ip: &str) -> Option<RuleClass> {
        Reading::of(ip.parse().unwrap(), &[]).row.map(|row| row.rule)
    }

    /// First and last address of a network and one outside each end.
    fn edges(net: IpNet) -> Vec<IpAddr> {
        let (first, last) = (net.network(), net.broadcast());
        let step = |ip: IpAddr, up: bool| match ip {
            IpAddr::V4(ip) if up => ip
                .to_bits()
                .checked_add(1)
                .map(|bits| Ipv4Addr::from_bits(bits).into()),
            IpAddr::V4(ip) => ip
                .to_bits()
                .checked_sub(1)
                .map(|bits| Ipv4Addr::from_bits(bits).into()),
            IpAddr::V6(ip) if up => ip
                .to_bits()
                .checked_add(1)
                .map(|bits| Ipv6Addr::from_bits(bits).into()),
            IpAddr::V6(ip) => ip
                .to_bits()
                .checked_sub(1)
                .map(|bits| Ipv6Addr::from_bits(bits).into()),
        };
        [Some(first), Some(last), step(first, false), step(last, true)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn embed(prefix: &str, inner: Ipv4Addr) -> IpAddr {
        let prefix: Ipv6Addr = prefix.parse().unwrap();
        Ipv6Addr::from_bits(prefix.to_bits() | u128::from(inner.to_bits())).into()
    }

    #[test]
    fn both_edges_of_every_range_and_their_neighbours_follow_the_page() {
        let rows = nets(V4).into_iter().chain(nets(V6));
        let decoded = DECODED.iter().map(|net| (net.parse().unwrap(), Tier::Hard));
        let outside = [
            ("::/3", Tier::Hard),
            ("4000::/2", Tier::Hard),
            ("8000::/1", Tier::Hard),
        ];
        for (net, _) in rows.chain(decoded).chain(nets(&outside)) {
            for ip in edges(net) {
                assert_eq!(actual(ip), expected(ip), "{ip}, an edge of {net}");
            }
        }
        let mut listed: Vec<IpNet> = table::address_rules()
            .iter()
            .flat_map(|rule| rule.ranges.clone())
            .collect();
        let mut page: Vec<IpNet> = nets(V4)
            .into_iter()
            .chain(nets(V6))
            .chain(nets(&outside))
            .map(|row| row.0)
            .collect();
        listed.sort();
        page.sort();
        assert_eq!(listed, page, "the data file has exactly the rows of the page");
    }

    #[test]
    fn every_ipv6_form_of_every_ipv4_edge_is_judged_as_ipv4() {
        for (net, _) in nets(V4) {
            for ip in edges(net) {
                let IpAddr::V4(inner) = ip else {
                    unreachable!("an edge of an IPv4 range is IPv4")
                };
                for prefix in ["::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"] {
                    let outer = embed(prefix, inner);
                    assert_eq!(actual(outer), expected(ip), "{outer}");
                    assert_eq!(Reading::of(outer, &[]).inner, Some(inner));
                }
                // Compatible, RFC 8215, 6to4 and Teredo are refused, whatever is inside.
                let bits = u128::from(inner.to_bits());
                let six_to_four = Ipv6Addr::from_bits(0x2002_u128 << 112 | bits << 80 | 1);
                let teredo = Ipv6Addr::from_bits(0x2001_0000_u128 << 96 | (bits ^ 0xffff_ffff));
                let forms = [
                    embed("::", inner),
                    embed("64:ff9b:1::", inner),
                    six_to_four.into(),
                    teredo.into(),
                ];
                for outer in forms {
                    assert_eq!(actual(outer), Some(Tier::Hard), "{outer}");
                }
                for length in Nat64Prefix::LENGTHS {
                    let prefix = Nat64Prefix::new("2a00:1234::".parse().unwrap(), length).unwrap();
                    let outer = prefix.embed(inner);
                    let reading = Reading::of(outer.into(), &[prefix]);
                    assert_eq!(
                        reading.row.map(|row| row.tier),
                        expected(ip),
                        "{outer} by /{length}"
                    );
                    assert_eq!(reading.inner, Some(inner));
                }
            }
        }
    }

    #[test]
    fn public_controls_pass() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2000::",
            "2a00:1450:4001::1",
            "2003::1",
            "3ffe:ffff::1",
            "::ffff:1.1.1.1",
            "::ffff:0:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "64:ff9b::808:808",
        ] {
            assert_eq!(rule(ip), None, "{ip}");
        }
    }

    #[test]
    fn the_narrowest_range_names_the_rule() {
        for (ip, name) in [
            ("169.254.169.254", "link_local"),
            ("255.255.255.255", "broadcast"),
            ("255.255.255.254", "reserved"),
            ("::", "this_network"),
            ("::1", "loopback"),
            ("::2", "ipv4_compatible"),
            ("::7f00:1", "ipv4_compatible"),
            ("::ffff:127.0.0.1", "loopback"),
            ("64:ff9b::192.168.1.1", "private"),
            ("64:ff9b:1::101:101", "local_nat64"),
            ("64:ff9b:2::1", "not_global_unicast"),
            ("64:ff9b::1:0:0", "not_global_unicast"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "protocol_assignment"),
            ("2002:7f00:1::", "six_to_four"),
            ("fd00:ec2::254", "link_local"),
            ("fd00:ec2::253", "unique_local"),
            ("2620:4f:8000::1", "as112"),
            ("8000::", "not_global_unicast"),
            ("4000::", "not_global_unicast"),
            ("1fff:ffff::", "not_global_unicast"),
        ] {
            assert_eq!(rule(ip).map(RuleClass::as_str), Some(name), "{ip}");
        }
    }

    #[test]
    fn a_discovered_prefix_is_decoded_and_others_are_not() {
        let prefix = |text: &str, length| Nat64Prefix::new(text.parse().unwrap(), length).unwrap();
        let cases = [
            ("64:ff9b:1::", 96, "64:ff9b:1::101:101", None),
            ("64:ff9b:1::", 96, "64:ff9b:1::7f00:1", Some("loopback")),
            ("64:ff9b:1::", 96, "64:ff9b:1:1::101:101", Some("local_nat64")),
            ("64:ff9b:1::", 48, "64:ff9b:1:101:1:100::", None),
            ("64:ff9b:1::", 48, "64:ff9b:1:a00:0:100::", Some("private")),
            ("64:ff9b:1::", 48, "64:ff9b:1:101:ff01:100::", Some("local_nat64")),
            ("fd00:64::", 96, "fd00:64::101:101", None),
            ("fd00:64::", 96, "fd00:64::c0a8:101", Some("private")),
            ("fd00:64::", 96, "fd00:65::101:101", Some("unique_local")),
            ("2a00:64::", 96, "2a00:64::a00:1", Some("private")),
            ("2a00:64::", 96, "2a00:64::101:101", None),
            // A network that announces these would only open holes.
            ("fe80::", 64, "fe80::1:101:100:0", Some("link_local")),
            ("::", 96, "::101:101", Some("ipv4_compatible")),
            ("2002::", 32, "2002:0:101:101::", Some("six_to_four")),
            ("2001::", 32, "2001:0:101:101::", Some("protocol_assignment")),
        ];
        for (text, length, ip, expected) in cases {
            let row = Reading::of(ip.parse().unwrap(), &[prefix(text, length)]).row;
            assert_eq!(
                row.map(|row| row.rule.as_str()),
                expected,
                "{ip} by {text}/{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_address_is_judged_as_the_page_says(ip in any::<IpAddr>(), near in 0usize..1000, offset in any::<u32>()) {
            prop_assert_eq!(actual(ip), expected(ip));
            let rows = nets(V4);
            let IpNet::V4(net) = rows[near % rows.len()].0 else { unreachable!("an IPv4 row") };
            let net: Ipv4Net = net;
            let ip = Ipv4Addr::from_bits(net.network().to_bits() | (offset & net.hostmask().to_bits())).into();
            prop_assert_eq!(actual(ip), expected(ip));
            prop_assert!(actual(ip).is_some());
        }
    }
}
