//! Single addresses that a developer opens for tests and the demo.

use std::net::{IpAddr, SocketAddr};

/// Most addresses that may be opened.
pub const MAX_TEST_ALLOW: usize = 64;

/// `address:port` pairs that may be dialled in spite of the rule table, from the process's own command line or
/// configuration file.
///
/// It lifts the table's address and port rules and the guards of device and platform for exactly these pairs, and no list of
/// any layer. Names that resolve to one of them pass as well; names refused by themselves, such as `localhost`, stay so.
///
/// There is no way to read one from a message: it has no `Deserialize`, and it must stay without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestAllow {
    addresses: Vec<SocketAddr>,
}

/// Why an entry can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TestAllowError {
    /// Not an address and a port.
    #[error("{0:?} is not an address and a port such as 127.0.0.1:8080 or [::1]:8080")]
    NotAnAddress(String),
    /// More than [`MAX_TEST_ALLOW`].
    #[error("more than {MAX_TEST_ALLOW} test addresses")]
    TooMany,
}

impl TestAllow {
    /// Parses entries such as `127.0.0.1:8080` and `[::1]:8080`; the port may not be 0.
    pub fn parse<T: AsRef<str>>(entries: impl IntoIterator<Item = T>) -> Result<Self, TestAllowError> {
        let mut addresses = Vec::new();
        for entry in entries {
            let entry = entry.as_ref();
            let address = entry
                .parse::<SocketAddr>()
                .ok()
                .filter(|address| address.port() != 0);
            let address = address.ok_or_else(|| TestAllowError::NotAnAddress(entry.to_owned()))?;
            if addresses.len() == MAX_TEST_ALLOW {
                return Err(TestAllowError::TooMany);
            }
            addresses.push(SocketAddr::new(address.ip().to_canonical(), address.port()));
        }
        addresses.sort_unstable();
        addresses.dedup();
        Ok(Self { addresses })
    }

    /// Whether nothing is opened: the only state a production hub accepts.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The opened addresses, sorted: for the registration and the warning at start.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied()
    }

    pub(super) fn contains(&self, ip: IpAddr, port: u16) -> bool {
        !self.is_empty() && self.addresses.contains(&SocketAddr::new(ip.to_canonical(), port))
    }

    /// Whether a name with this port could resolve to one of them.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.addresses.iter().any(|address| address.port() == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_addresses_with_a_port_are_taken() {
        let allow = TestAllow::parse(["127.0.0.1:8080", "[::1]:1", "127.0.0.1:8080"]).unwrap();
        assert_eq!(
            allow.iter().map(|a| a.to_string()).collect::<Vec<_>>(),
            ["127.0.0.1:8080", "[::1]:1"]
        );
        for entry in [
            "127.0.0.1",
            "127.0.0.1:0",
            "localhost:80",
            "127.0.0.0/8:80",
            "0x7f.1:80",
            "",
        ] {
            assert_eq!(
                TestAllow::parse([entry]),
                Err(TestAllowError::NotAnAddress(entry.to_owned()))
            );
        }
        let many = (1..=65u16).map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(TestAllow::parse(many), Err(TestAllowError::TooMany));
    }
}
