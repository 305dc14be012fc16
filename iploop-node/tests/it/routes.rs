//! The device's own view of its routes, in a network namespace of the test's own, by the kernel's rules and all its tables.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use iploop_node::{NetworkKind, Node, Parts, Surroundings, SystemSurroundings, Way};
use iploop_protocol::codes::ResetCode;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::{FakeHub, World, exchange};

/// Names the other namespace, an internet, to the test that runs in its own.
const INTERNET: &str = "IPLOOP_TEST_INTERNET";
const ROUTER: &str = "198.51.100.1";

/// The test runs itself again in the namespace: files under `/proc` and `/sys` belong to a whole process. There it gets the
/// name of the internet's.
fn in_a_namespace(test: &str) -> Option<String> {
    if let Ok(internet) = std::env::var(INTERNET) {
        return Some(internet);
    }
    let (_, word) = test.rsplit_once('_').unwrap();
    let name = format!("iploop-{word}-{}", std::process::id());
    let internet = format!("{name}-net");
    for name in [&name, &internet] {
        ip(&format!("netns add {name}"));
    }
    let output = Command::new("ip")
        .args(["netns", "exec", &name])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INTERNET, &internet)
        .output();
    for name in [&name, &internet] {
        ip(&format!("netns del {name}"));
    }
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    None
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments}: {complaint}\nThis test makes network namespaces: run it as root on Linux."
    );
}

/// An interface with a cable in it that ends nowhere.
fn interface(name: &str, addresses: &[&str]) {
    ip(&format!("link add {name} type veth peer name {name}-end"));
    for end in [name, &format!("{name}-end")] {
        ip(&format!("link set {end} up"));
    }
    for address in addresses {
        let family = if address.contains(':') { " nodad" } else { "" };
        ip(&format!("addr add {address} dev {name}{family}"));
    }
}

fn way(system: SystemSurroundings, to: &str) -> Way {
    let view = system.look().unwrap();
    system.way(&view, to.parse().unwrap()).unwrap()
}

#[test]
fn only_what_takes_the_default_route_of_the_shared_interface_is_shared() {
    let test = "routes::only_what_takes_the_default_route_of_the_shared_interface_is_shared";
    if in_a_namespace(test).is_none() {
        return;
    }
    ip("link set lo up");
    interface("eth0", &["198.51.100.2/24", "2001:db8:1::2/64"]);
    interface("eth1", &["203.0.113.2/24", "2001:db8:2::2/64"]);
    interface("corp0", &["10.9.0.2/24", "fd00:9::2/64"]);
    ip(&format!("route add default via {ROUTER} metric 100"));
    ip("route add default via 203.0.113.1 metric 200");
    ip("route add default via 2001:db8:1::1 metric 100");
    // Routes of their own in the main table, one of them by the default router.
    ip("route add 93.184.0.0/16 via 10.9.0.1");
    ip(&format!("route add 44.1.0.0/16 via {ROUTER}"));
    ip("route add 44.2.0.0/16 via 198.51.100.9");
    ip("route add unreachable 45.0.0.0/8");
    ip("route add blackhole 46.0.0.0/8");
    ip("route add prohibit 47.0.0.0/8");
    ip("route add 2606:2800::/32 via fd00:9::1");
    // A VPN's tables, chosen by destination, by port, and as a whole table of single routes.
    ip("route add 151.101.0.0/16 dev corp0 table 100");
    ip("rule add pref 100 lookup 100");
    ip("route add default via 10.9.0.1 table 101");
    ip("rule add pref 101 to 104.16.0.0/12 lookup 101");
    ip("rule add pref 102 ipproto tcp dport 8443 lookup 101");
    ip("-6 route add 2a04:4e42::/32 dev corp0 table 100");
    ip("-6 rule add pref 100 lookup 100");
    ip("-6 route add default via fd00:9::1 table 101");
    ip("-6 rule add pref 101 to 2400:cb00::/32 lookup 101");
    // The second line, for those who come from its address.
    ip("addr add 203.0.113.3/24 dev eth1 label eth1:two");
    ip("route add default via 203.0.113.1 table 102");
    ip("route add 203.0.113.0/24 dev eth1 table 102");
    ip("rule add pref 103 from 203.0.113.2 lookup 102");

    let system = SystemSurroundings::default();
    for (to, expected) in [
        ("1.1.1.1:443", Way::Shared),
        ("[2606:4700::1111]:443", Way::Shared),
        ("44.1.2.3:443", Way::Shared),
        ("44.2.2.3:443", Way::Apart),
        ("93.184.216.34:80", Way::Apart),
        ("[2606:2800:220::1]:80", Way::Apart),
        ("151.101.1.1:443", Way::Apart),
        ("[2a04:4e42::1]:443", Way::Apart),
        ("104.16.1.1:443", Way::OtherLine),
        ("[2400:cb00::1]:443", Way::OtherLine),
        ("1.1.1.1:8443", Way::OtherLine),
        ("45.1.1.1:443", Way::None),
        ("46.1.1.1:443", Way::None),
        ("47.1.1.1:443", Way::None),
        ("198.51.100.77:80", Way::Apart),
        ("[2001:db8:1::77]:80", Way::Apart),
        ("198.51.100.2:80", Way::Apart),
        ("10.9.0.2:80", Way::Apart),
        ("127.0.0.1:80", Way::Apart),
        ("224.0.0.1:80", Way::Apart),
    ] {
        assert_eq!(way(system, to), expected, "{to}");
    }
    assert_eq!(system.look().unwrap().network, Some(NetworkKind::Ethernet));

    // The owner chose the second line; a rule leads it to its own table, in which the main one's routes do not count.
    let second = SystemSurroundings::of_source(Some("203.0.113.2".parse().unwrap()));
    assert_ne!(second.look().unwrap().interface, system.look().unwrap().interface);
    for (to, expected) in [
        ("1.1.1.1:443", Way::Shared),
        ("93.184.216.34:80", Way::Shared),
        ("151.101.1.1:443", Way::Apart),
        ("203.0.113.77:80", Way::Apart),
        ("1.1.1.1:8443", Way::OtherLine),
        // Of the other family: the rules of its own address do not apply, and `dial` does not take it.
        ("[2606:4700::1111]:443", Way::OtherLine),
    ] {
        assert_eq!(way(second, to), expected, "{to} from the second line");
    }
    let labelled = SystemSurroundings::of_source(Some("203.0.113.3".parse().unwrap()));
    assert_eq!(
        labelled.look().unwrap().interface,
        second.look().unwrap().interface
    );
    let gone = SystemSurroundings::of_source(Some("203.0.113.99".parse().unwrap()));
    assert_eq!(gone.look().unwrap().network, None, "an address that is not there");

    // The default route moves, and nobody has looked since.
    let before = system.look().unwrap();
    let to: SocketAddr = "1.1.1.1:443".parse().unwrap();
    ip(&format!("route del default via {ROUTER} metric 100"));
    assert_eq!(system.way(&before, to).unwrap(), Way::Shared);
    assert_ne!(system.look().unwrap().interface, before.interface);

    // A VPN comes up that takes everything, with a rule of its own and the routes of the main table but its default (wg-quick).
    ip("route add default dev corp0 table 103");
    ip("rule add pref 104 lookup main suppress_prefixlength 0");
    ip("rule add pref 105 not fwmark 51820 lookup 103");
    assert_eq!(system.way(&before, to).unwrap(), Way::OtherLine);
    assert_eq!(way(system, "1.1.1.1:443"), Way::OtherLine);
    assert_eq!(way(system, "93.184.216.34:80"), Way::Apart);
    assert_eq!(way(second, "1.1.1.1:443"), Way::Shared);
}

/// Sends back what it gets on port 80, in another namespace.
fn echo_in(namespace: &str) {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    let listening = thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        TcpListener::bind("0.0.0.0:80").unwrap()
    });
    let listener = listening.join().unwrap();
    // Ends with the process, as the namespace does.
    thread::spawn(move || -> io::Result<()> {
        loop {
            let (mut connection, _) = listener.accept()?;
            let mut data = Vec::new();
            connection.read_to_end(&mut data)?;
            connection.write_all(&data)?;
        }
    });
}

#[test]
fn a_device_serves_by_its_default_route_and_nothing_that_lies_behind_a_vpn() {
    let test = "routes::a_device_serves_by_its_default_route_and_nothing_that_lies_behind_a_vpn";
    let Some(internet) = in_a_namespace(test) else {
        return;
    };
    ip("link set lo up");
    interface("eth0", &["198.51.100.2/24"]);
    interface("corp0", &["10.9.0.2/24"]);
    ip(&format!("-n {internet} link set lo up"));
    for (end, address) in [("eth0-end", "198.51.100.1/24"), ("corp0-end", "10.9.0.1/24")] {
        ip(&format!("link set {end} netns {internet}"));
        ip(&format!("-n {internet} addr add {address} dev {end}"));
        ip(&format!("-n {internet} link set {end} up"));
    }
    for net in ["93.184.216.0/24", "151.101.0.0/16"] {
        ip(&format!("-n {internet} route add local {net} dev lo"));
    }
    echo_in(&internet);
    ip(&format!("route add default via {ROUTER}"));
    ip("route add 151.101.0.0/16 via 10.9.0.1 table 100");
    ip("rule add pref 100 lookup 100");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (world, hub) = (World::new(), FakeHub::bind().await);
        let parts = Parts {
            surroundings: Arc::new(SystemSurroundings::default()),
            ..world.parts()
        };
        let _node = Node::start_with(hub.config(&[]), world.state(), world.consent(), parts)
            .await
            .unwrap();
        let device = hub.register().await;
        let (site, intranet) = ("93.184.216.34:80", "151.101.1.1:80");
        let forbidden = (ResetCode::Forbidden, "device_network".to_owned());
        let mut stream = device.open(site).await.unwrap();
        assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
        assert_eq!(device.refusal(intranet).await, forbidden);
        // A VPN for everything comes up, and nobody has looked at the network since.
        ip("route add default via 10.9.0.1 table 103");
        ip("rule add pref 105 lookup 103");
        assert_eq!(device.refusal(site).await, forbidden);
        ip("rule del pref 105");
        assert!(device.open(site).await.is_ok());
    });
}
