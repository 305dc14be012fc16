//! The IPLoop server: gateway, hub and API in one binary.
fn main() {}
