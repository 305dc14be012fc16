//! NAT64 prefixes of the device's network: IPv4 addresses inside IPv6 ones (RFC 6052).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A prefix that a translator on the path turns into IPv4, as the device discovered it (RFC 7050, RFC 8781).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat64Prefix {
    bits: u128,
    length: u32,
}

/// Why a prefix can't be a NAT64 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits, and bits 64 to 71 of it are zero (RFC 6052 section 2.2)"
)]
pub struct Nat64PrefixError;

impl Nat64Prefix {
    /// The lengths that RFC 6052 section 2.2 allows, in bits.
    pub const LENGTHS: [u32; 6] = [32, 40, 48, 56, 64, 96];

    /// The prefix of this length around `address`; what stands behind it is cleared.
    pub fn new(address: Ipv6Addr, length: u32) -> Result<Self, Nat64PrefixError> {
        if !Self::LENGTHS.contains(&length) {
            return Err(Nat64PrefixError);
        }
        let bits = address.to_bits() & !(u128::MAX >> length);
        if u_octet(bits) != 0 {
            return Err(Nat64PrefixError);
        }
        Ok(Self { bits, length })
    }

    /// Length in bits.
    pub fn length(self) -> u32 {
        self.length
    }

    /// Whether an address lies under the prefix.
    pub fn contains(self, ip: Ipv6Addr) -> bool {
        (ip.to_bits() ^ self.bits).leading_zeros() >= self.length
    }

    /// The IPv4 address inside; `None` if `ip` is not under the prefix or bits 64 to 71 of it are not zero.
    ///
    /// The suffix behind the IPv4 address is not looked at, as translators don't either.
    pub fn extract(self, ip: Ipv6Addr) -> Option<Ipv4Addr> {
        let bits = ip.to_bits();
        if !self.contains(ip) || u_octet(bits) != 0 {
            return None;
        }
        // Join what stands before and behind the u-octet; then the IPv4 address is one piece behind the prefix.
        let joined = match self.length {
            96 => bits << 96,
            length => (bits & HIGH_HALF | (bits << 8) & !HIGH_HALF) << length,
        };
        let [a, b, c, d, ..] = joined.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    }

    /// The address by which this network reaches an IPv4 address.
    pub fn embed(self, inner: Ipv4Addr) -> Ipv6Addr {
        let inner = u128::from(inner.to_bits()) << 96;
        let behind = match self.length {
            96 => inner >> 96,
            length => {
                let joined = inner >> length;
                joined & HIGH_HALF | (joined & !HIGH_HALF) >> 8
            }
        };
        Ipv6Addr::from_bits(self.bits | behind)
    }
}

const HIGH_HALF: u128 = !(u64::MAX as u128);

/// Bits 64 to 71, which every form keeps zero.
fn u_octet(bits: u128) -> u8 {
    bits.to_be_bytes()[8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str, length: u32) -> Nat64Prefix {
        Nat64Prefix::new(text.parse().unwrap(), length).unwrap()
    }

    /// RFC 6052 section 2.4, table 2.
    #[test]
    fn the_examples_of_rfc_6052_hold() {
        let inner: Ipv4Addr = "192.0.2.33".parse().unwrap();
        for (text, length, outer) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ] {
            let outer: Ipv6Addr = outer.parse().unwrap();
            assert_eq!(prefix(text, length).extract(outer), Some(inner), "{outer}");
            assert_eq!(prefix(text, length).embed(inner), outer);
        }
    }

    #[test]
    fn the_u_octet_is_zero_and_the_length_is_one_of_six() {
        let address: Ipv6Addr = "2001:db8::100:0:0:0".parse().unwrap();
        assert_eq!(Nat64Prefix::new(address, 96), Err(Nat64PrefixError));
        assert!(Nat64Prefix::new(address, 64).is_ok());
        for length in [0, 1, 31, 33, 65, 95, 97, 128, 129, u32::MAX] {
            assert_eq!(
                Nat64Prefix::new(Ipv6Addr::UNSPECIFIED, length),
                Err(Nat64PrefixError)
            );
        }
        assert_eq!(prefix("2001:db8::", 32).extract(address), None);
        assert_eq!(
            prefix("2001:db8::", 32).extract("2001:db9::".parse().unwrap()),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_embedded_comes_out_again(net in any::<u64>(), inner in any::<Ipv4Addr>(), index in 0usize..6) {
            let length = Nat64Prefix::LENGTHS[index];
            let prefix = Nat64Prefix::new(Ipv6Addr::from_bits(u128::from(net) << 64), length).unwrap();
            let outer = prefix.embed(inner);
            prop_assert!(prefix.contains(outer));
            prop_assert_eq!(prefix.extract(outer), Some(inner));
        }

        #[test]
        fn no_address_panics(address in any::<Ipv6Addr>(), ip in any::<Ipv6Addr>(), length in 0u32..200) {
            if let Ok(prefix) = Nat64Prefix::new(address, length) {
                prop_assert_eq!(prefix.contains(address), true);
                let _ = (prefix.extract(ip), prefix.extract(address));
            }
        }
    }
}
