//! What the device sees of its own network, so that customers are kept out of it.

#[cfg(target_os = "linux")]
mod linux;

use std::io;
use std::net::{IpAddr, SocketAddr};

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
    /// The kind of the network that is shared; none: the system does not say, and nothing is shared.
    pub network: Option<NetworkKind>,
    /// Index of the interface that is shared, where [`Surroundings::way`] asks by it.
    pub interface: Option<u32>,
    /// Whether a VPN is up.
    pub vpn: bool,
}

/// Which way a connection would leave, as the system has it at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the default route of the shared interface, to the internet.
    Shared,
    /// By another way to the internet: a second line, a VPN for everything.
    OtherLine,
    /// By a route of its own: the local link, a VPN, a corporate or container network, this machine.
    Apart,
    /// There is none, and dialling will say so.
    None,
    /// The system does not say before it is done: what was seen by [`Surroundings::look`] has to do.
    Untold,
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

    /// Which way a connection to this address would leave; `view` is what was seen last. Asked for every address before it is
    /// dialled, on a thread of the runtime: it has to answer at once.
    ///
    /// # Errors
    /// If the system should know and does not say: then the address is not dialled.
    fn way(&self, _view: &View, _to: SocketAddr) -> Result<Way, SurroundingsError> {
        Ok(Way::Untold)
    }
}

/// What the operating system tells any program.
///
/// Everywhere: the addresses and on-link prefixes of every interface. On Linux also routes, gateways, DNS servers, the kind
/// of network, VPNs, and for each destination the way there by all rules and tables. Elsewhere gateways are covered by the
/// on-link prefixes, the network counts as a cable, and DNS servers outside, VPNs and routes are not seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSurroundings {
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "routes are seen on Linux only")
    )]
    source: Option<IpAddr>,
}

impl SystemSurroundings {
    /// For a node with this [`bind`](crate::NodeConfig::bind): the interface of that address is the one that is shared.
    /// Without one, or with a loopback one, it is that of the default route.
    pub fn of_source(source: Option<IpAddr>) -> Self {
        Self {
            source: source.filter(|source| !source.is_loopback()),
        }
    }
}

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
        linux::look(&mut view, self.interface_of_source(&interfaces))?;
        Ok(view)
    }

    #[cfg(target_os = "linux")]
    fn way(&self, view: &View, to: SocketAddr) -> Result<Way, SurroundingsError> {
        linux::way(view, to, self.source)
    }
}

#[cfg(target_os = "linux")]
impl SystemSurroundings {
    fn interface_of_source<'a>(&self, interfaces: &'a [if_addrs::Interface]) -> linux::Wanted<'a> {
        let Some(source) = self.source else {
            return linux::Wanted::OfDefaultRoute;
        };
        let holder = interfaces.iter().find(|interface| interface.ip() == source);
        holder.map_or(linux::Wanted::Absent, |interface| {
            // A second address can have a label, which names the interface before the colon.
            let (name, _label) = interface.name.split_once(':').unwrap_or((&interface.name, ""));
            linux::Wanted::Named(name)
        })
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
        let view = SystemSurroundings::default().look().unwrap();
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
