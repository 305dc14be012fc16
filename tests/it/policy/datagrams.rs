//! Names of datagrams, resolved at the gateway for who asks for it, where the name server is hostile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::laboratory::Laboratory;
use crate::harness::{PATIENCE, eventually, policy};

/// A public site that takes datagrams.
const SITE: &str = "93.184.216.10:443";
/// Where the device asks for names, and where the gateway does.
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 2));
const PLATFORM: IpAddr = IpAddr::V4(Ipv4Addr::new(45, 60, 0, 1));

/// What is sent to a relay for a name, port 443.
fn to_name(name: &str, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[0, 0, 0, 3, length][..], name.as_bytes(), &[1, 187], content].concat()
}

fn bind(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 256];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

#[test]
fn names_of_datagrams_are_resolved_at_the_gateway_once_for_an_association_and_checked() {
    let mut laboratory = Laboratory::build();
    laboratory.start_device();
    let mut opened: serde_json::Value = serde_json::from_str(&policy()).unwrap();
    opened["version"] = 2.into();
    opened["openUdp"] = true.into();
    laboratory.set_policy(&opened);
    let (site, customer) = laboratory.inet.run(|| (bind(SITE), bind("0.0.0.0:0")));
    let household = laboratory
        .lan
        .run(|| [bind("192.168.77.9:443"), bind("[2606:2800:77::9]:443")]);
    let associate = |targeting: &str| {
        eventually("datagrams are open", || {
            laboratory.as_customer(|customer| customer.with(targeting).associate())
        })
    };

    let (_control, relay) = associate("-dns-gateway");
    let send = |name: &str, content: &[u8]| customer.send_to(&to_name(name, content), relay).unwrap();
    for name in [
        "private.example",
        "mixed.example",
        "mapped.example",
        "onlink.example",
        "hairpin.example",
        "nowhere.example",
    ] {
        send(name, b"stray");
    }
    // A name that leads home the second time it is asked for.
    let mut questions = 0;
    for content in [b"1", b"2", b"3"] {
        send("rebind.example", content);
        let (heard, from) = receive(&site);
        assert_eq!(heard, content);
        let asked = laboratory.names.asked_for("rebind.example");
        assert!(asked.iter().all(|who| *who == PLATFORM), "{asked:?}");
        if questions == 0 {
            questions = asked.len();
        }
        assert!(questions > 0 && asked.len() == questions, "asked once: {asked:?}");
        site.send_to(content, from).unwrap();
        let answer = [&[0, 0, 0, 1, 93, 184, 216, 10, 1, 187][..], content].concat();
        assert_eq!(receive(&customer).0, answer);
    }
    // Another association asks anew, and what it is told is checked anew.
    let (_another, relay) = associate("-dns-gateway");
    for (name, content) in [("rebind.example", &b"4"[..]), ("public.example", b"5")] {
        customer.send_to(&to_name(name, content), relay).unwrap();
    }
    while receive(&site).0 != b"5" {}
    let asked = laboratory.names.asked_for("public.example");
    assert!(!asked.contains(&HOME), "{asked:?}");
    for socket in &household {
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "a datagram came home");
    }

    // Whoever does not ask for it has names resolved on the device.
    let (_usual, relay) = associate("");
    customer.send_to(&to_name("alias.example", b"6"), relay).unwrap();
    assert_eq!(receive(&site).0, b"6");
    let asked = laboratory.names.asked_for("alias.example");
    assert!(asked.iter().all(|who| *who == HOME), "{asked:?}");
    assert_eq!(laboratory.reached_at_home(), [], "{}", laboratory.logs());
}
