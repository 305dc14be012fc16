//! The exit policy under attack, in network namespaces: from the customer's side, and from a hub that checks nothing.

mod datagrams;
mod hostile_hub;
mod laboratory;
mod live;
mod names;
mod namespace;
mod recorder;

use std::net::SocketAddr;

use iploop_protocol::codes::ResetCode;
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::StreamKind;

use self::hostile_hub::{Said, ask_for};
use self::laboratory::{Laboratory, PLATFORM, PUBLIC};
use crate::harness::{Response, eventually};

/// What everybody may reach.
const CONTROLS: [&str; 8] = [
    "93.184.216.10:80",
    "93.184.216.11:443",
    "93.184.216.10:8080",
    "[2606:2800:220::10]:80",
    "public.example:80",
    "six.example:443",
    "nat64.example:80",
    "alias.example:8443",
];

/// What nobody may reach, whoever asks: by literals, by names, on the network of the household.
const ATTACKS: [&str; 54] = [
    // The device, its router, its printer.
    "192.168.77.2:80",
    "192.168.77.1:80",
    "192.168.77.9:80",
    "192.168.77.255:80",
    "127.0.0.1:80",
    "127.8.8.8:80",
    "0.0.0.0:80",
    // Other private and reserved ranges.
    "10.1.2.3:80",
    "172.16.5.5:443",
    "192.168.0.1:80",
    "169.254.169.254:80",
    "100.64.1.1:80",
    "100.100.100.200:80",
    "192.0.0.192:80",
    "198.18.0.1:80",
    "203.0.113.5:80",
    "168.63.129.16:80",
    "224.0.0.1:80",
    "240.0.0.1:80",
    "255.255.255.255:80",
    // The same in IPv6, and on-link addresses that look public.
    "[::1]:80",
    "[::]:80",
    "[2606:2800:77::9]:80",
    "[2606:2800:77::1]:80",
    "[2606:2800:77::2]:80",
    "[2606:2800:77:0:1234:5678:9abc:def0]:80",
    "[fd00::9]:80",
    "[fd00:ec2::254]:80",
    "[fe80::1]:80",
    "[ff02::1]:80",
    "[2001:db8::1]:80",
    // IPv4 in IPv6.
    "[::ffff:192.168.77.9]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:0:192.168.77.9]:80",
    "[::192.168.77.9]:80",
    "[64:ff9b::c0a8:4d09]:80",
    "[64:ff9b::a01:203]:80",
    "[64:ff9b:1::c0a8:4d09]:80",
    "[2002:c0a8:4d09::1]:80",
    "[2001:0:5db8:d80a::1]:80",
    // Names.
    "private.example:80",
    "router.example:80",
    "itself.example:80",
    "loopback.example:80",
    "loopback6.example:80",
    "metadata.example:80",
    "zero.example:80",
    "onlink.example:80",
    "mapped.example:80",
    "nat64-private.example:80",
    "unique-local.example:80",
    "mixed.example:80",
    "mixed6.example:80",
    "alias-private.example:80",
];

/// Public addresses at ports that are closed, and names that are refused unresolved.
const REFUSED: [&str; 10] = [
    "93.184.216.10:25",
    "93.184.216.10:22",
    "93.184.216.10:8081",
    "[2606:2800:220::10]:25",
    "localhost:80",
    "printer.local:80",
    "router.lan:80",
    "router:80",
    "metadata.google.internal:80",
    "nas.home.arpa:80",
];

fn is_forbidden(answer: &Response) -> bool {
    answer.status == 403 && ["destination_forbidden", "port_forbidden"].contains(&answer.code())
}

#[test]
fn no_customer_reaches_the_household_and_everyone_reaches_the_internet() {
    let mut laboratory = Laboratory::build();
    laboratory.start_device();
    for to in CONTROLS {
        let seen = laboratory.at_inet.seen().len();
        let body = laboratory.as_customer(|customer| {
            let mut tunnel = customer
                .connect(to)
                .unwrap_or_else(|answer| panic!("{to}: {}{}", answer.head, answer.text()));
            tunnel.get("/").text()
        });
        assert_eq!(body, "inet", "{to}");
        assert_eq!(laboratory.at_inet.seen().len(), seen + 1, "{to}");
    }
    let reached = laboratory.at_inet.seen().len();
    for to in ATTACKS.iter().chain(&REFUSED).chain(&["hairpin.example:80"]) {
        let answer = laboratory.as_customer(|customer| customer.connect(to).err());
        let answer = answer.unwrap_or_else(|| panic!("{to} was reached"));
        assert!(is_forbidden(&answer), "{to}: {}{}", answer.head, answer.text());
        // Not a word about the household.
        let told = format!("{}{}", answer.head, answer.text());
        assert!(
            !told.contains("192.168.77") && !told.contains("2606:2800:77:"),
            "{to}: {told}"
        );
    }
    // Its own public address, where routers show their settings; and the platform's.
    for to in [
        format!("{PUBLIC}:80"),
        format!("{PLATFORM}:80"),
        format!("[::ffff:{PUBLIC}]:80"),
    ] {
        let answer = laboratory
            .as_customer(|customer| customer.connect(&to).err())
            .unwrap();
        assert!(is_forbidden(&answer), "{to}: {}{}", answer.head, answer.text());
    }
    // Plain HTTP and SOCKS5 ask the same rules.
    for to in [
        "192.168.77.9:80",
        "[2606:2800:77::9]:80",
        "onlink.example:80",
        "private.example:80",
    ] {
        let answer = laboratory.as_customer(|customer| customer.get(&format!("http://{to}/")));
        assert!(is_forbidden(&answer), "{to}: {}", answer.head);
    }
    for (name, reply) in [
        ("private.example", 2),
        ("mixed6.example", 2),
        ("192.168.77.9", 2),
        ("printer.local", 2),
    ] {
        let refused = laboratory.as_customer(|customer| customer.socks5_name(name, 80).err());
        assert_eq!(refused, Some(reply), "{name}");
    }
    // Resolved at the gateway instead, by a name server that is as hostile: what it finds is checked there and here.
    laboratory.as_customer(|customer| {
        let customer = customer.with("-dns-gateway");
        let mut tunnel = customer.connect("public.example:80").ok().unwrap();
        assert_eq!(tunnel.get("/").text(), "inet");
        for to in [
            "private.example:80",
            "mixed.example:80",
            "onlink.example:80",
            "hairpin.example:80",
            "mapped.example:80",
        ] {
            let answer = customer
                .connect(to)
                .err()
                .unwrap_or_else(|| panic!("{to} was reached"));
            assert!(is_forbidden(&answer), "{to}: {}", answer.head);
        }
    });
    // Names that change: whatever is dialled is what was checked.
    for name in ["rebind.example", "rebind6.example"] {
        for _ in 0..10 {
            laboratory.as_customer(|customer| {
                if let Ok(mut tunnel) = customer.connect(format!("{name}:80")) {
                    assert_eq!(tunnel.get("/").text(), "inet");
                }
            });
        }
    }
    assert_eq!(laboratory.reached_at_home(), [], "{}", laboratory.logs());
    let more: Vec<SocketAddr> = laboratory.at_inet.seen()[reached..].to_vec();
    assert!(
        more.iter().all(|to| to.port() == 80
            && ["93.184.216.10:80", "[2606:2800:220::10]:80"].contains(&to.to_string().as_str())),
        "{more:?}"
    );
    assert!(
        more.len() >= 6,
        "rebinding names are served while they are public: {more:?}"
    );
}

#[test]
fn the_laboratory_sees_what_leaves_a_device() {
    let laboratory = Laboratory::build();
    // What no system dials, or nobody answers; everything else would be noticed.
    let silent = [
        "192.168.77.255:80",
        "224.0.0.1:80",
        "240.0.0.1:80",
        "255.255.255.255:80",
        "[fe80::1]:80",
        "[ff02::1]:80",
    ];
    let literals = ATTACKS
        .iter()
        .filter_map(|to| Some((to, to.parse::<SocketAddr>().ok()?)));
    for (text, to) in literals.filter(|(text, _)| !silent.contains(text)) {
        let seen = laboratory.reached_at_home().len();
        let patience = std::time::Duration::from_secs(2);
        let dialled = laboratory
            .home
            .run(|| std::net::TcpStream::connect_timeout(&to, patience));
        match dialled {
            Ok(_connection) => eventually("it is seen", || {
                (laboratory.reached_at_home().len() > seen).then_some(())
            }),
            // Without NAT64 or a translator of its own the system may refuse forms of IPv4 in IPv6.
            Err(error) => assert!(
                text.starts_with("[::") || text.contains("def0"),
                "{text}: {error}"
            ),
        }
    }
}

#[test]
fn no_hub_can_make_a_device_reach_the_household() {
    let laboratory = Laboratory::build();
    // A policy that tries to widen: no list denies anything, and ports are allowed that nobody may allow.
    let policy: serde_json::Value = serde_json::from_str(&crate::harness::policy()).unwrap();
    let mut widening = policy;
    widening["lists"] = serde_json::json!({ "allowPorts": ["1-65535"] });
    let asked: Vec<Destination> = CONTROLS
        .iter()
        .chain(&ATTACKS)
        .chain(&REFUSED)
        .chain(&["rebind.example:80"; 8])
        .map(|to| Destination::parse_authority(to).unwrap_or_else(|error| panic!("{to}: {error}")))
        .collect();
    let address: SocketAddr = format!("{PLATFORM}:0").parse().unwrap();
    let misled = |name: &'static str| {
        let laboratory = &laboratory;
        move |hub: SocketAddr| laboratory.begin_device(&hub.to_string(), name)
    };
    let said = laboratory.inet.run(|| {
        let policy = widening.clone();
        ask_for(address, StreamKind::Tcp, &asked, policy, misled("misled"))
    });
    let (controls, rest) = said.split_at(CONTROLS.len());
    for (to, said) in CONTROLS.iter().zip(controls) {
        assert_eq!(*said, Said::Reached("inet".to_owned()), "{to}");
    }
    let (refused, rebinding) = rest.split_at(ATTACKS.len() + REFUSED.len());
    for (to, said) in asked[CONTROLS.len()..].iter().zip(refused) {
        let Said::Refused(ResetCode::Forbidden, rule) = said else {
            panic!("{to}: {said:?}")
        };
        assert!(
            rule.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{to}: only the rule's class: {rule}"
        );
    }
    for said in rebinding {
        let fine = *said == Said::Reached("inet".to_owned())
            || matches!(said, Said::Refused(ResetCode::Forbidden, _));
        assert!(fine, "{said:?}");
    }
    assert_eq!(laboratory.reached_at_home(), []);

    // Datagrams are not offered at all.
    let asked = [Destination::parse_authority("192.168.77.1:53").unwrap()];
    let said = laboratory
        .inet
        .run(|| ask_for(address, StreamKind::Udp, &asked, widening, misled("misled-udp")));
    assert!(
        matches!(
            &said[..],
            [Said::Refused(ResetCode::Unsupported | ResetCode::Forbidden, _)]
        ),
        "{said:?}"
    );
}
