//! What the device sees of its own network, so that customers are kept out of it.

#[cfg(target_os = "linux")]
mod linux;

use std::io;
use std::net::IpAddr;

use iploop_protocol::policy::LocalFacts;
use ipnet::IpNet;

use crate::consent::NetworkKind;

/// Most interfaces and routes that are looked at. A device with more is no device of a person: nothing is shared.
pub const MAX_FACTS: usize = 4096;

/// What there is to see at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// For the exit policy. `public_v4`, `public_v6` and `platform` are filled in by the node.
    pub facts: LocalFacts,
    /// The kind of the network that the default route leaves by; none: the system does not say, and nothing is shared.
    pub network: Option<NetworkKind>,
    /// Whether a VPN is up.
    pub vpn: bool,
}

/// Why nothing could be seen. A device that can't see its network shares nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurroundingsError {
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not of a form that is known, or larger than [`MAX_FACTS`].
    #[error("{0} can't be understood")]
    Unreadable(&'static str),
}

/// Looks at the device's network. Asked at start, every half minute, and when the network is said to have changed.
///
/// On a phone the app answers, for the system tells only apps. It may block for a moment, and is called on a thread for that.
pub trait Surroundings: Send + Sync + 'static {
    /// What there is to see now.
    ///
    /// # Errors
    /// If something that this system has can't be read: then nothing is shared.
    fn look(&self) -> Result<View, SurroundingsError>;
}

/// What the operating system tells any program.
///
/// Everywhere: the addresses and on-link prefixes of every interface. On Linux also routes, gateways, DNS servers, the kind
/// of network and VPNs; routes outside the main table are not seen. Elsewhere gateways are covered by the on-link prefixes,
/// the network counts as a cable, and DNS servers outside and VPNs are not seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSurroundings;

impl Surroundings for SystemSurroundings {
    fn look(&self) -> Result<View, SurroundingsError> {
        let interfaces = if_addrs::get_if_addrs().map_err(|source| SurroundingsError::Io {
            what: "the network interfaces",
            source,
        })?;
        if interfaces.len() > MAX_FACTS {
            return Err(SurroundingsError::Unreadable("the network interfaces"));
        }
        let mut view = View {
            network: Some(NetworkKind::Ethernet),
            ..View::default()
        };
        for interface in &interfaces {
            let ip = interface.ip();
            view.facts.interfaces.push(ip);
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                if_addrs::IfAddr::V6(addr) => addr.prefixlen,
            };
            view.facts.on_link.extend(on_link(ip, prefix));
        }
        #[cfg(target_os = "linux")]
        linux::look(&mut view)?;
        Ok(view)
    }
}

/// The prefix around an address; none for one that would hold every address, which is no link.
fn on_link(ip: IpAddr, prefix_length: u8) -> Option<IpNet> {
    let net = IpNet::new(ip, prefix_length).ok()?;
    (prefix_length > 0).then(|| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_sees_at_least_its_own_loopback() {
        let view = SystemSurroundings.look().unwrap();
        assert!(view.facts.interfaces.iter().any(IpAddr::is_loopback));
        assert!(!view.facts.on_link.is_empty());
        assert!(view.network.is_some());
    }

    #[test]
    fn links_are_the_whole_prefix() {
        let net = on_link("2a00:1:2:3::7".parse().unwrap(), 64).unwrap();
        assert_eq!(net.to_string(), "2a00:1:2:3::/64");
        assert_eq!(on_link("10.1.2.3".parse().unwrap(), 0), None);
        assert_eq!(on_link("10.1.2.3".parse().unwrap(), 33), None);
    }
}
