//! Sorted, disjoint ranges with a value each, asked by binary search; and sets of addresses made of them.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A map from disjoint ranges of `K`, both ends included, to `V`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeMap<K, V> {
    entries: Vec<Entry<K, V>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<K, V> {
    first: K,
    last: K,
    value: V,
}

/// An integer that has a successor, except the last one.
pub(super) trait Key: Copy + Ord {
    fn successor(self) -> Option<Self>;
    fn predecessor(self) -> Option<Self>;
}

impl<K: Key, V: Copy + PartialEq> RangeMap<K, V> {
    pub(super) const fn empty() -> Self {
        Self { entries: Vec::new() }
    }

    /// Where ranges nest, the innermost one stands. For tables of some dozen rows: the cost is quadratic.
    pub(super) fn innermost(ranges: &[(K, K, V)]) -> Self {
        let mut starts: Vec<K> = ranges.iter().map(|(first, _, _)| *first).collect();
        starts.extend(ranges.iter().filter_map(|(_, last, _)| last.successor()));
        starts.sort_unstable();
        starts.dedup();
        let mut map = Self::empty();
        for (index, &first) in starts.iter().enumerate() {
            let covers = ranges
                .iter()
                .filter(|(start, end, _)| *start <= first && first <= *end);
            let Some(&(_, end, value)) = covers.max_by_key(|(start, end, _)| (*start, Reverse(*end))) else {
                continue;
            };
            let next = starts.get(index + 1).and_then(|next| next.predecessor());
            map.append(first, next.unwrap_or(end), value);
        }
        map
    }

    pub(super) fn get(&self, key: K) -> Option<V> {
        let after = self.entries.partition_point(|entry| entry.first <= key);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        (key <= entry.last).then_some(entry.value)
    }

    /// Appends a range that starts after all others end, joined to its neighbour where they mean the same.
    fn append(&mut self, first: K, last: K, value: V) {
        if let Some(previous) = self.entries.last_mut()
            && previous.value == value
            && previous.last.successor() == Some(first)
        {
            previous.last = last;
            return;
        }
        self.entries.push(Entry { first, last, value });
    }
}

impl<K: Key> RangeMap<K, ()> {
    /// Every key that any of the ranges holds.
    pub(super) fn union(mut ranges: Vec<(K, K)>) -> Self {
        ranges.sort_unstable();
        let mut map = Self::empty();
        for (first, last) in ranges {
            match map.entries.last_mut() {
                Some(previous) if first <= previous.last => previous.last = previous.last.max(last),
                _ => map.append(first, last, ()),
            }
        }
        map.entries.shrink_to_fit();
        map
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }
}

macro_rules! keys {
    ($($integer:ty),*) => {$(
        impl Key for $integer {
            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn predecessor(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    )*};
}
keys!(u16, u32, u128);

/// A set of addresses of both families. IPv4-mapped networks count as the IPv4 ones that they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddressSet {
    v4: RangeMap<u32, ()>,
    v6: RangeMap<u128, ()>,
}

impl AddressSet {
    pub(super) const fn empty() -> Self {
        Self {
            v4: RangeMap::empty(),
            v6: RangeMap::empty(),
        }
    }

    pub(super) fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match unmapped(net) {
                IpNet::V4(net) => v4.push(span_v4(net)),
                IpNet::V6(net) => v6.push(span_v6(net)),
            }
        }
        Self {
            v4: RangeMap::union(v4),
            v6: RangeMap::union(v6),
        }
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.contains(ip.to_bits()),
        }
    }
}

pub(super) fn span_v4(net: Ipv4Net) -> (u32, u32) {
    (net.network().to_bits(), net.broadcast().to_bits())
}

pub(super) fn span_v6(net: Ipv6Net) -> (u128, u128) {
    (net.network().to_bits(), net.broadcast().to_bits())
}

/// The network of one address, or of a prefix as CIDR text says it; bits behind the prefix are cleared.
///
/// Strict where `IpNet`'s own parser reads `010.0.0.0/8` as 10.0.0.0/8: a list means what its writer meant, or nothing.
pub(super) fn parse_net(text: &str) -> Option<IpNet> {
    let Some((ip, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse().ok().filter(|_| plain)?;
    Some(IpNet::new(ip.parse().ok()?, length).ok()?.trunc())
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let inside = v6.prefix_len().checked_sub(96).zip(v6.network().to_ipv4_mapped());
    match inside.and_then(|(prefix_len, ip)| Ipv4Net::new(ip, prefix_len).ok()) {
        Some(v4) => IpNet::V4(v4),
        None => net,
    }
}

/// The /64 around an address: one link, as far as IPv6 goes (RFC 4291 section 2.5.1).
pub(super) fn link_of(ip: Ipv6Addr) -> IpNet {
    let first = Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX));
    IpNet::V6(Ipv6Net::new_assert(first, 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_innermost_range_stands_up_to_the_last_key() {
        let map = RangeMap::innermost(&[(0u16, u16::MAX, 'a'), (10, 20, 'b'), (15, 15, 'c'), (20, 20, 'd')]);
        let at = |key| map.get(key).unwrap();
        assert_eq!(
            [0, 9, 10, 14, 15, 16, 19, 20, 21, u16::MAX]
                .map(at)
                .iter()
                .collect::<String>(),
            "aabbcbbdaa"
        );
    }

    #[test]
    fn gaps_hold_nothing_and_neighbours_join() {
        let map = RangeMap::innermost(&[(5u16, 6, 'a'), (7, 8, 'a'), (20, 30, 'b')]);
        assert_eq!(map.entries.len(), 2);
        assert_eq!([4, 9, 19, 31].map(|key| map.get(key)), [None; 4]);
        assert_eq!([5, 8, 20, 30].map(|key| map.get(key).is_some()), [true; 4]);
        assert!(RangeMap::<u16, ()>::empty().get(0).is_none());
    }

    #[test]
    fn mapped_networks_are_the_ipv4_ones() {
        let set =
            AddressSet::new(["::ffff:10.0.0.0/104", "2001:db8::1"].map(|text| parse_net(text).unwrap()));
        assert!(set.contains("10.255.255.255".parse().unwrap()));
        assert!(!set.contains("11.0.0.0".parse().unwrap()));
        assert!(set.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn networks_are_parsed_from_addresses_and_prefixes() {
        for (text, net) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("1.1.1.1", "1.1.1.1/32"),
        ] {
            assert_eq!(parse_net(text).unwrap().to_string(), net);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "010.0.0.0/8",
            "10/8",
            "10.0.0.0/+8",
            "fe80::1%1",
            "example.com",
            "1.1.1.1/",
        ] {
            assert_eq!(parse_net(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_union_holds_exactly_what_its_parts_hold(parts in prop::collection::vec((any::<u16>(), 0u16..300), 0..20), key in any::<u16>()) {
            let parts: Vec<_> = parts.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect();
            let expected = parts.iter().any(|(first, last)| (*first..=*last).contains(&key));
            prop_assert_eq!(RangeMap::union(parts).contains(key), expected);
        }
    }
}
