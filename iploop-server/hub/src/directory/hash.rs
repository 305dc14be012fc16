//! Hashes for the directory's tables.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use iploop_platform::ids::NodeId;

/// Of two numbers that nobody outside chooses: places and networks by GeoIP, ids by ourselves.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    // Odd constants of the golden ratio and of splitmix64; each step spreads all bits upwards and folds them back.
    let mixed = (a ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 32 ^ b).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 32
}

pub(super) fn of_node(node: NodeId) -> u64 {
    let (high, low) = node.uuid().as_u64_pair();
    mix(high, low)
}

/// Of an address, which devices choose to some degree: keyed, so that nobody finds colliding ones.
#[derive(Debug, Default)]
pub(super) struct IpHash(RandomState);

impl IpHash {
    pub(super) fn of(&self, ip: IpAddr) -> u64 {
        self.0.hash_one(ip)
    }
}
