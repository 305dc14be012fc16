//! Routes, DNS servers, kind of network and VPNs as Linux tells them in files (`man 5 proc`, `man 5 resolv.conf`).

mod way;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustix::net::{AddressFamily, SocketType};

use self::way::Route as WayOut;
use super::{MAX_FACTS, SurroundingsError, View, Way};
use crate::consent::NetworkKind;

/// Longest file that is read, in bytes: some 4,000 routes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Flags of a route that stands for one destination that was learnt, not for a network (`RTF_CACHE`).
const RTF_CACHE: u32 = 0x0100_0000;
/// Layer-3 tunnels, as VPNs make them; `IFF_TAP` is for virtual machines.
const IFF_TUN: u32 = 0x0001;

/// Every interface, as the kernel shows them.
const INTERFACES: &str = "/sys/class/net";

/// Which interface is to be shared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    OfDefaultRoute,
    /// That of the owner's choice.
    Named(&'a str),
    /// That of an address which the device does not have now.
    Absent,
}

/// Adds to what the interfaces told.
pub(super) fn look(view: &mut View, wanted: Wanted<'_>) -> Result<(), SurroundingsError> {
    let routes = routes()?;
    // systemd-resolved hides the servers behind an address of its own and lists them in its own file.
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        if let Some(text) = read_optional(path)? {
            view.facts.dns_servers.extend(parse_dns_servers(&text));
        }
    }
    let default = default_route(&routes, wanted, |interface| {
        is_tunnel(&Path::new(INTERFACES).join(interface))
    });
    let shared = match (wanted, default) {
        (Wanted::Named(interface), _) => Some(interface),
        (_, default) => default.map(|default| default.interface.as_str()),
    };
    view.network = shared.map(kind_of);
    view.interface = shared.and_then(index_of);
    view.facts.gateways = routes
        .iter()
        .filter(|route| route.net.prefix_len() == 0)
        .filter_map(|route| route.gateway)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    view.facts.excluded_routes = excluded(&routes, default);
    view.vpn = has_vpn(Path::new(INTERFACES));
    Ok(())
}

/// The way of a connection, by all of the kernel's rules and tables.
pub(super) fn way(view: &View, to: SocketAddr, source: Option<IpAddr>) -> Result<Way, SurroundingsError> {
    let route = WayOut::of(to, source).map_err(|source| SurroundingsError::Io {
        what: "the route of a destination",
        source,
    })?;
    let way = route.way(view.interface, &view.facts.gateways);
    if way != Way::OtherLine || source.is_some() {
        return Ok(way);
    }
    // The default route may have moved since the last look, from Wi-Fi to a cable say.
    let routes = routes()?;
    let default = default_route(&routes, Wanted::OfDefaultRoute, |interface| {
        is_tunnel(&Path::new(INTERFACES).join(interface))
    });
    let interface = default.and_then(|default| index_of(&default.interface));
    Ok(route.way(interface, &view.facts.gateways))
}

/// Those of the main table.
fn routes() -> Result<Vec<Route>, SurroundingsError> {
    let mut routes = parse_routes_v4(&read("/proc/net/route")?)?;
    // A kernel without IPv6 has no such file.
    if let Some(text) = read_optional("/proc/net/ipv6_route")? {
        routes.extend(parse_routes_v6(&text)?);
    }
    Ok(routes)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    net: IpNet,
    gateway: Option<IpAddr>,
    metric: u32,
    interface: String,
}

/// The default route of the interface that is to be shared: that of the lowest metric, IPv4 first. A VPN that takes
/// everything is not what is shared.
fn default_route<'a>(
    routes: &'a [Route],
    wanted: Wanted<'_>,
    is_tunnel: impl Fn(&str) -> bool,
) -> Option<&'a Route> {
    routes
        .iter()
        .filter(|route| route.net.prefix_len() == 0 && route.interface != "lo")
        .filter(|route| match wanted {
            Wanted::OfDefaultRoute => !is_tunnel(&route.interface),
            Wanted::Named(interface) => route.interface == interface,
            Wanted::Absent => false,
        })
        .min_by_key(|route| (matches!(route.net, IpNet::V6(_)), route.metric))
}

/// Every route that does not go where the default route of its family goes: VPN, corporate and container networks.
fn excluded(routes: &[Route], default: Option<&Route>) -> Vec<IpNet> {
    let shared = default.map(|default| &default.interface);
    routes
        .iter()
        .filter(|route| {
            let is_default = route.net.prefix_len() == 0 && Some(&route.interface) == shared;
            let goes_the_default_way = route.gateway.is_some()
                && routes.iter().any(|other| {
                    other.net.prefix_len() == 0
                        && other.gateway == route.gateway
                        && other.interface == route.interface
                        && Some(&other.interface) == shared
                });
            // A second way out, such as a second line, is not a network to be kept out of.
            !is_default && !goes_the_default_way && route.net.prefix_len() > 0
        })
        .map(|route| route.net)
        .collect()
}

/// `/proc/net/route`: numbers are in the byte order of the machine, in hex.
fn parse_routes_v4(text: &str) -> Result<Vec<Route>, SurroundingsError> {
    const WHAT: &str = "/proc/net/route";
    let parse = |line: &str| -> Option<Route> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[interface, destination, gateway, _flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
        let gateway = address(gateway)?;
        Some(Route {
            net: Ipv4Net::with_netmask(address(destination)?, address(mask)?)
                .ok()?
                .trunc()
                .into(),
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: metric.parse().ok()?,
            interface: interface.to_owned(),
        })
    };
    let lines = text
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty());
    collect(lines.map(parse), WHAT)
}

/// `/proc/net/ipv6_route`: destination, length, source, length, next hop, metric, counts, flags, interface; all in hex.
fn parse_routes_v6(text: &str) -> Result<Vec<Route>, SurroundingsError> {
    const WHAT: &str = "/proc/net/ipv6_route";
    let parse = |line: &str| -> Option<(u32, Route)> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[destination, length, _, _, gateway, metric, _, _, flags, interface] = fields.as_slice() else {
            return None;
        };
        let address = |hex: &str| Some(Ipv6Addr::from_bits(u128::from_str_radix(hex, 16).ok()?));
        let number = |hex: &str| u32::from_str_radix(hex, 16).ok();
        let gateway = address(gateway)?;
        let length = u8::from_str_radix(length, 16).ok()?;
        let route = Route {
            net: Ipv6Net::new(address(destination)?, length).ok()?.trunc().into(),
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: number(metric)?,
            interface: interface.to_owned(),
        };
        Some((number(flags)?, route))
    };
    let routes = collect(
        text.lines().filter(|line| !line.trim().is_empty()).map(parse),
        WHAT,
    )?;
    Ok(routes
        .into_iter()
        .filter(|(flags, _)| flags & RTF_CACHE == 0)
        .map(|(_, route)| route)
        .collect())
}

/// All of them, or the name of what can't be understood: half the routes would leave the other half open.
fn collect<T>(
    parsed: impl Iterator<Item = Option<T>>,
    what: &'static str,
) -> Result<Vec<T>, SurroundingsError> {
    let all: Option<Vec<T>> = parsed.take(MAX_FACTS + 1).collect();
    all.filter(|all| all.len() <= MAX_FACTS)
        .ok_or(SurroundingsError::Unreadable(what))
}

fn parse_dns_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let address = line.trim_start().strip_prefix("nameserver")?.trim();
        // A zone names a link of this machine: the address is link-local and refused anyway.
        address.split('%').next()?.parse().ok()
    };
    text.lines().take(MAX_FACTS).filter_map(server).collect()
}

fn kind_of(interface: &str) -> NetworkKind {
    let folder = Path::new(INTERFACES).join(interface);
    let device_type = file_of(&folder, "uevent");
    let is = |name: &str| device_type.lines().any(|line| line == format!("DEVTYPE={name}"));
    if is("wwan") || interface.starts_with("wwan") {
        NetworkKind::Cellular
    } else if is("wlan") || folder.join("wireless").exists() || folder.join("phy80211").exists() {
        NetworkKind::Wifi
    } else {
        NetworkKind::Ethernet
    }
}

/// Whether an interface that is up is a layer-3 tunnel or WireGuard.
fn has_vpn(interfaces: &Path) -> bool {
    let Ok(entries) = fs::read_dir(interfaces) else {
        return false;
    };
    let is_up = |folder: &Path| file_of(folder, "operstate").trim() != "down";
    entries
        .flatten()
        .take(MAX_FACTS)
        .map(|entry| entry.path())
        .any(|folder| is_tunnel(&folder) && is_up(&folder))
}

/// Whether an interface, by its folder, is a layer-3 tunnel or WireGuard.
fn is_tunnel(folder: &Path) -> bool {
    let flags = file_of(folder, "tun_flags");
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & IFF_TUN != 0 || file_of(folder, "uevent").contains("DEVTYPE=wireguard")
}

fn index_of(interface: &str) -> Option<u32> {
    // Any socket will do.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&socket, interface).ok()
}

fn file_of(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn read(path: &'static str) -> Result<String, SurroundingsError> {
    read_optional(path)?.ok_or(SurroundingsError::Io {
        what: path,
        source: io::ErrorKind::NotFound.into(),
    })
}

fn read_optional(path: &'static str) -> Result<Option<String>, SurroundingsError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SurroundingsError::Io { what: path, source }),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|source| SurroundingsError::Io { what: path, source })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(SurroundingsError::Unreadable(path));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t0000012C\t090200C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t0000022C\t010200C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
";
    const V6: &str = "\
20010db8000000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
26064700000000000000000000001111 80 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 01000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_other_than_the_shared_way_out_are_kept_from_customers() {
        let mut routes = parse_routes_v4(V4).unwrap();
        routes.extend(parse_routes_v6(V6).unwrap());
        let of = |wanted, tunnel: &str| default_route(&routes, wanted, |interface| interface == tunnel);
        let default = of(Wanted::OfDefaultRoute, "tun0").unwrap();
        assert_eq!(default.interface, "eth0");
        assert_eq!(of(Wanted::OfDefaultRoute, "eth0").unwrap().interface, "wlan0");
        assert_eq!(of(Wanted::Named("wlan0"), "").unwrap().interface, "wlan0");
        assert_eq!(of(Wanted::Named("docker0"), ""), None);
        assert_eq!(of(Wanted::Absent, ""), None);
        assert_eq!(default.gateway, Some("192.0.2.1".parse().unwrap()));
        let excluded: Vec<String> = excluded(&routes, Some(default))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            excluded,
            [
                "192.0.2.0/24",
                "172.17.0.0/16",
                "44.1.0.0/16",
                "2001:db8:0:1::/64"
            ]
        );
    }

    #[test]
    fn a_route_that_can_not_be_understood_spoils_them_all() {
        for text in ["head\neth0 nonsense\n", "head\neth0 0 0 3 0 0 x 0 0 0 0\n"] {
            assert!(parse_routes_v4(text).is_err(), "{text}");
        }
        assert!(parse_routes_v6("zz 40\n").is_err());
        let many = format!("head\n{}", "eth0 0 0 3 0 0 0 0 0 0 0\n".repeat(MAX_FACTS + 1));
        assert!(parse_routes_v4(&many).is_err());
        assert_eq!(parse_routes_v4("head\n").unwrap(), []);
    }

    #[test]
    fn dns_servers_are_found_among_the_rest() {
        let text = "# by hand\nnameserver 9.9.9.9\nsearch lan\n nameserver\tfe80::1%eth0\nnameserver x\noptions edns0\n";
        let expected: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(parse_dns_servers(text), expected);
    }

    #[test]
    fn tunnels_that_are_up_are_vpns_and_taps_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let interface = |name: &str, files: &[(&str, &str)]| {
            let folder = temp.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        };
        interface("eth0", &[("operstate", "up\n"), ("uevent", "INTERFACE=eth0\n")]);
        interface("tap0", &[("tun_flags", "0x1002\n"), ("operstate", "up\n")]);
        interface("tun0", &[("tun_flags", "0x1001\n"), ("operstate", "down\n")]);
        assert!(!has_vpn(temp.path()));
        interface("tun1", &[("tun_flags", "0x1001\n"), ("operstate", "unknown\n")]);
        assert!(has_vpn(temp.path()));
        fs::remove_dir_all(temp.path().join("tun1")).unwrap();
        interface(
            "wg0",
            &[("uevent", "DEVTYPE=wireguard\n"), ("operstate", "unknown\n")],
        );
        assert!(has_vpn(temp.path()));
        assert!(!has_vpn(&temp.path().join("nothing here")));
    }
}
