//! The IPLoop desktop agent: shares this computer's idle bandwidth, with its owner's consent.
fn main() {}
