//! Which way a connection would leave, asked of the kernel before it is dialled (RTM_GETROUTE, `man 7 rtnetlink`).
//!
//! The tables could be read instead, with the rules that choose between them (`ip rule`). That would mean to repeat the
//! kernel's choice, by source, mark, user, protocol and port, with suppressed prefixes, VRFs, metrics and dead next hops, and
//! it would be old between two looks. What the kernel answers is what it will do. It answers within the system call that
//! asks, so nothing waits here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::surroundings::Way;

/// Longest answer: one route, with what few next hops a device has.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// `IPPROTO_TCP`, for rules that choose by protocol.
const TCP: u8 = 6;

/// The route that a connection would take now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Into a network.
    Into(Network),
    /// To this machine, or to many at once.
    Local,
    /// None, or one that says so.
    None,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    is_default: bool,
    /// By these interfaces and gateways; several share the load.
    hops: Vec<(u32, Option<IpAddr>)>,
}

impl Route {
    /// The route of a TCP connection to this address, from this one if its owner chose.
    pub(super) fn of(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let source = source.filter(|source| source.is_ipv4() == to.is_ipv4());
        match ask(&question(to, source))? {
            Answer::Route(route) => Ok(Self::read(&route)),
            Answer::Refused(error) => match Errno::from_io_error(&error) {
                // No route, and the two kinds of route that say no (`man 8 ip-route`: blackhole, prohibit).
                Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::INVAL | Errno::ACCESS) => Ok(Self::None),
                _ => Err(error),
            },
        }
    }

    /// Judged by the interface that is shared and the gateways of default routes.
    pub(super) fn way(&self, shared: Option<u32>, gateways: &[IpAddr]) -> Way {
        let network = match self {
            Self::None => return Way::None,
            Self::Local => return Way::Apart,
            Self::Into(network) => network,
        };
        let is_shared = !network.hops.is_empty()
            && network
                .hops
                .iter()
                .all(|(interface, _)| Some(*interface) == shared);
        let to_default_gateway = |hop: &(u32, Option<IpAddr>)| hop.1.is_some_and(|ip| gateways.contains(&ip));
        match (network.is_default, is_shared) {
            (true, true) => Way::Shared,
            (true, false) => Way::OtherLine,
            // Learnt from the router itself, say: it goes where the default route goes.
            (false, true) if network.hops.iter().all(to_default_gateway) => Way::Shared,
            (false, _) => Way::Apart,
        }
    }

    fn read(message: &RouteMessage) -> Self {
        match message.header.kind {
            RouteType::Unicast => {}
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => return Self::None,
            _ => return Self::Local,
        }
        let mut hops = Vec::new();
        let (mut interface, gateway) = (None, gateway(&message.attributes));
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::MultiPath(next) => {
                    hops.extend(
                        next.iter()
                            .map(|hop| (hop.interface_index, self::gateway(&hop.attributes))),
                    );
                }
                _ => {}
            }
        }
        if hops.is_empty() {
            hops.extend(interface.map(|interface| (interface, gateway)));
        }
        Self::Into(Network {
            is_default: message.header.destination_prefix_length == 0,
            hops,
        })
    }
}

enum Answer {
    Route(RouteMessage),
    Refused(io::Error),
}

fn question(to: SocketAddr, source: Option<IpAddr>) -> RouteMessage {
    let (address_family, bits) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, Ipv4Addr::BITS),
        SocketAddr::V6(_) => (AddressFamily::Inet6, Ipv6Addr::BITS),
    };
    let bits = u8::try_from(bits).unwrap_or(u8::MAX);
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family,
        destination_prefix_length: bits,
        source_prefix_length: if source.is_some() { bits } else { 0 },
        // The entry of the table, so that a default route shows; kernels before 4.13 answer with the address alone, and
        // then only the way to a known gateway counts.
        flags: RouteFlags::FibMatch,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(to.ip().into()),
        RouteAttribute::IpProto(TCP),
        RouteAttribute::Dport(to.port()),
    ];
    message
        .attributes
        .extend(source.map(|source| RouteAttribute::Source(source.into())));
    message
}

fn ask(question: &RouteMessage) -> io::Result<Answer> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(question.clone()));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    // A socket for each question: it belongs to the network namespace of its maker, has no answers of earlier ones in it,
    // and one open all the time would save a part of some 20 microseconds.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // NETLINK_ROUTE is the first protocol of this family, so it needs no naming.
    let socket = socket_with(rustix::net::AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    send(&socket, &bytes, SendFlags::empty())?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    let (length, _) = recv(&socket, &mut *answer, RecvFlags::empty())?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(Answer::Route(route)),
        NetlinkPayload::Error(error) => Ok(Answer::Refused(error.to_io())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        // A gateway of the other family (RFC 5549).
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn into(is_default: bool, hops: &[(u32, Option<&str>)]) -> Route {
        let hops = hops
            .iter()
            .map(|(interface, gateway)| (*interface, gateway.map(|ip| ip.parse().unwrap())));
        Route::Into(Network {
            is_default,
            hops: hops.collect(),
        })
    }

    #[test]
    fn only_the_default_route_of_the_shared_interface_is_the_shared_way() {
        let router = Some("192.0.2.1");
        let gateways = ["192.0.2.1".parse().unwrap()];
        for (route, way) in [
            (into(true, &[(2, router)]), Way::Shared),
            (into(true, &[(2, None)]), Way::Shared),
            (into(true, &[(3, router)]), Way::OtherLine),
            (into(true, &[(2, router), (3, router)]), Way::OtherLine),
            (into(true, &[]), Way::OtherLine),
            (into(false, &[(2, router)]), Way::Shared),
            (into(false, &[(2, Some("192.0.2.9"))]), Way::Apart),
            (into(false, &[(2, router), (2, Some("192.0.2.9"))]), Way::Apart),
            (into(false, &[(2, None)]), Way::Apart),
            (into(false, &[(3, router)]), Way::Apart),
            (Route::Local, Way::Apart),
            (Route::None, Way::None),
        ] {
            assert_eq!(route.way(Some(2), &gateways), way, "{route:?}");
        }
        assert_eq!(into(true, &[(2, router)]).way(None, &gateways), Way::OtherLine);
    }

    #[test]
    fn this_machine_is_no_way_out() {
        for to in ["127.0.0.1:80", "[::1]:80"] {
            let route = Route::of(to.parse().unwrap(), None);
            // A machine without IPv6 has no route to its loopback.
            assert!(matches!(route, Ok(Route::Local | Route::None)), "{to}: {route:?}");
        }
    }
}
