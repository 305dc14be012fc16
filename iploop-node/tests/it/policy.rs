//! The exit policy, as a hostile hub meets it: it checks nothing itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use iploop_node::{Event, NetworkKind, Node, Parts, Surroundings, SurroundingsError, View, Way};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::{GrantsUpdate, PolicyUpdate, ToNode};
use iploop_protocol::io::OpenError;
use iploop_protocol::policy::Nat64Prefix;

use crate::world::{FakeHub, World, echo, exchange, wait_for};

fn forbidden(class: &str) -> (ResetCode, String) {
    (ResetCode::Forbidden, class.to_owned())
}

#[tokio::test]
async fn no_way_leads_to_private_addresses() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let _node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    world.name("home.example", &["192.168.1.1"]);
    world.name("mixed.example", &["1.1.1.1", "10.0.0.1"]);
    world.name("mapped.example", &["::ffff:127.0.0.1"]);
    world.name("nat64.example", &["64:ff9b::a9fe:a9fe"]);
    for (to, class) in [
        ("127.0.0.1:80", "loopback"),
        ("[::ffff:10.0.0.1]:443", "private"),
        ("169.254.169.254:80", "link_local"),
        ("[fe80::1]:80", "link_local"),
        ("home.example:80", "private"),
        ("mixed.example:80", "private"),
        ("mapped.example:80", "loopback"),
        ("nat64.example:80", "link_local"),
        ("localhost:80", "local_name"),
        ("router:80", "single_label"),
        ("printer.local:80", "local_name"),
        ("1.1.1.1:25", "never_ports"),
        ("45.6.7.8:443", "platform_address"),
    ] {
        assert_eq!(device.refusal(to).await, forbidden(class), "{to}");
    }
    assert_eq!(device.refusal(&echo.to_string()).await, forbidden("loopback"));
}

#[tokio::test]
async fn names_refused_by_themselves_are_never_resolved() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let _node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    for to in ["metadata.google.internal:80", "x.onion:80", "example.com:22"] {
        assert_eq!(device.refusal(to).await.0, ResetCode::Forbidden, "{to}");
    }
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_per_stream_and_checked_each_time() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let _node = world.start(hub.config(&[echo])).await;
    let device = hub.register().await;
    let to = format!("rebind.example:{}", echo.port());
    world.name("rebind.example", &["127.0.0.1"]);
    let mut stream = device.open(&to).await.unwrap();
    assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 1);
    world.name("rebind.example", &["127.0.0.1", "192.168.1.1"]);
    assert_eq!(device.refusal(&to).await, forbidden("private"));
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_devices_own_surroundings_are_closed_and_change_with_its_network() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    world.see(|view| {
        view.facts.on_link = vec!["2a00:1:2:3::/64".parse().unwrap()];
        view.facts.dns_servers = vec!["9.9.9.9".parse().unwrap()];
    });
    let node = world.start(hub.config(&[])).await;
    let device = hub.accept().await;
    // As many refusals a second as it takes to see the change.
    let policy = serde_json::json!({ "format": 1, "version": 1, "limits": { "dialsPerSecond": 1_000_000 } });
    device.welcome_as(Some(policy), Some("81.2.3.4".parse().unwrap()));
    for to in ["[2a00:1:2:3::9]:80", "9.9.9.9:443", "81.2.3.4:80"] {
        assert_eq!(device.refusal(to).await, forbidden("device_network"), "{to}");
    }
    world.name("tv.example", &["2a00:1:2:4::9"]);
    world.see(|view| view.facts.on_link = vec!["2a00:1:2:4::/64".parse().unwrap()]);
    // Nothing is at port 0, so what is not refused by the network is refused by the port.
    assert_eq!(
        device.refusal("[2a00:1:2:4::9]:0").await,
        forbidden("never_ports")
    );
    node.network_changed();
    while device.refusal("[2a00:1:2:4::9]:0").await != forbidden("device_network") {
        tokio::task::yield_now().await;
    }
    assert_eq!(device.refusal("tv.example:80").await, forbidden("device_network"));
}

#[tokio::test]
async fn a_policy_that_is_missing_or_unreadable_leaves_two_ports() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let mut events = node.events();
    let device = hub.accept().await;
    device.welcome(None);
    assert_eq!(device.refusal("1.1.1.1:8080").await, forbidden("policy_missing"));
    let policy = |document| ToNode::Policy(PolicyUpdate { document });
    let version = |event: &Event| match event {
        Event::Policy { version } => Some(*version),
        _ => None,
    };
    assert_eq!(wait_for(&mut events, version).await, None);
    device.send(&policy(serde_json::json!({
        "format": 1, "version": 7, "lists": { "denySuffixes": ["example"] }
    })));
    assert_eq!(wait_for(&mut events, version).await, Some(7));
    assert_eq!(device.refusal("a.example:8080").await, forbidden("platform_list"));
    device.send(&policy(
        serde_json::json!({ "format": 1, "version": 8, "allow": "everything" }),
    ));
    assert_eq!(wait_for(&mut events, version).await, None);
    assert_eq!(device.refusal("1.1.1.1:8080").await, forbidden("policy_missing"));
}

#[tokio::test]
async fn grants_of_a_hub_open_default_rules_for_their_customer_and_never_a_hard_one() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let _node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    let refusal = async |customer: u64, to: &str| match device.open_for(customer, to, b"").await {
        Err(OpenError::Refused { code, detail }) => (code, detail),
        other => panic!("{to}: {:?}", other.map(|_| "connected")),
    };
    let tell = |customer: u64, grants: serde_json::Value| {
        device.send(&ToNode::Grants(GrantsUpdate {
            customer: format!("{customer:016x}"),
            grants,
        }));
    };
    let closed = forbidden("mail_and_login_ports");
    // Names of this world do not exist: what passes the policy is not found.
    let passed = (ResetCode::DnsFailed, String::new());
    assert_eq!(refusal(7, "login.example:22").await, closed);
    let (later, past) = (1_900_000_000_000_u64, 1_000_000_000_000_u64);
    tell(
        7,
        serde_json::json!([
            { "opening": { "tcpPorts": "1-65535" }, "untilMs": later },
            { "opening": { "rule": "as112" }, "untilMs": past },
        ]),
    );
    assert_eq!(refusal(7, "login.example:22").await, passed);
    assert_eq!(refusal(8, "login.example:22").await, closed, "another customer's");
    assert_eq!(refusal(7, "192.175.48.1:80").await, forbidden("as112"), "over");
    for (to, class) in [
        ("login.example:25", "never_ports"),
        ("127.0.0.1:22", "loopback"),
        ("192.168.1.1:22", "private"),
        ("169.254.169.254:80", "link_local"),
        ("localhost:22", "local_name"),
        ("45.6.7.8:22", "platform_address"),
    ] {
        assert_eq!(refusal(7, to).await, forbidden(class), "{to}");
    }
    // A hard rule can't be written, and spoils what stands beside it.
    tell(
        7,
        serde_json::json!([
            { "opening": { "tcpPorts": "22" }, "untilMs": later },
            { "opening": { "rule": "loopback" }, "untilMs": later },
        ]),
    );
    assert_eq!(refusal(7, "127.0.0.1:80").await, forbidden("loopback"));
    assert_eq!(refusal(7, "login.example:22").await, closed);
    tell(
        7,
        serde_json::json!([{ "opening": { "tcpPorts": "22" }, "untilMs": later }]),
    );
    assert_eq!(refusal(7, "login.example:22").await, passed);
    tell(7, serde_json::json!([]));
    assert_eq!(refusal(7, "login.example:22").await, closed, "taken back");
    // Lists are no matter of grants.
    tell(
        7,
        serde_json::json!([{ "opening": { "tcpPorts": "22" }, "untilMs": later }]),
    );
    device.send(&ToNode::Policy(PolicyUpdate {
        document: serde_json::json!({ "format": 1, "version": 2, "lists": { "denySuffixes": ["example"] } }),
    }));
    assert_eq!(refusal(7, "login.example:22").await, forbidden("platform_list"));
}

#[tokio::test]
async fn test_addresses_are_announced_and_open_nothing_beside_them() {
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let node = world.start(hub.config(&[echo])).await;
    let device = hub.register().await;
    assert_eq!(device.hello.test_allow, [echo.to_string()]);
    assert_eq!(node.status().test_allow, [echo.to_string()]);
    assert_eq!(device.refusal("127.0.0.1:1").await, forbidden("loopback"));
    let to = format!("127.0.0.2:{}", echo.port());
    assert_eq!(device.refusal(&to).await, forbidden("loopback"));
}

#[tokio::test]
async fn a_network_that_translates_is_asked_for_its_prefix_and_judged_by_what_is_inside() {
    for length in Nat64Prefix::LENGTHS {
        for net in ["2a00:64:1:2::", "fd00:64:1:2::"] {
            let prefix = Nat64Prefix::new(net.parse().unwrap(), length).unwrap();
            let made = |inner: [u8; 4]| prefix.embed(inner.into()).to_string();
            let (world, hub) = (World::new(), FakeHub::bind().await);
            world.see(|view| view.facts.interfaces = vec!["2a00:1:2:3::7".parse().unwrap()]);
            world.name(
                "ipv4only.arpa",
                &[&made([192, 0, 0, 170]), &made([192, 0, 0, 171])],
            );
            let _node = world.start(hub.config(&[])).await;
            let device = hub.register().await;
            let private = format!("[{}]:80", made([192, 168, 1, 1]));
            while device.refusal(&private).await != forbidden("private") {
                tokio::task::yield_now().await;
            }
            // Nothing is at port 0, so what is not refused by its address is refused by the port.
            let public = format!("[{}]:0", made([1, 1, 1, 1]));
            assert_eq!(
                device.refusal(&public).await,
                forbidden("never_ports"),
                "{public}"
            );
            world.name("printer.example", &[&made([10, 0, 0, 9])]);
            assert_eq!(device.refusal("printer.example:80").await, forbidden("private"));
            let platform = format!("[{}]:443", made([45, 6, 7, 8]));
            assert_eq!(device.refusal(&platform).await, forbidden("platform_address"));
        }
    }
}

#[tokio::test]
async fn a_prefix_is_forgotten_with_its_network_and_without_one_such_addresses_stay_shut() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    world.see(|view| view.facts.interfaces = vec!["2a00:1:2:3::7".parse().unwrap()]);
    world.name("ipv4only.arpa", &["64:ff9b:1::c000:aa", "64:ff9b:1::c000:ab"]);
    let node = world.start(hub.config(&[])).await;
    let device = hub.register().await;
    let public = "[64:ff9b:1::101:101]:0";
    while device.refusal(public).await != forbidden("never_ports") {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        device.refusal("[64:ff9b:1::7f00:1]:80").await,
        forbidden("loopback")
    );
    // The next network answers nothing, and never does.
    world.name("ipv4only.arpa", &[]);
    world.see(|view| view.facts.interfaces = vec!["2a00:1:2:4::7".parse().unwrap()]);
    node.network_changed();
    while device.refusal(public).await != forbidden("local_nat64") {
        tokio::task::yield_now().await;
    }
    // And one that translates nothing says so.
    world.name("ipv4only.arpa", &["192.0.0.170", "192.0.0.171"]);
    node.network_changed();
    assert_eq!(device.refusal(public).await, forbidden("local_nat64"));
}

#[tokio::test(start_paused = true)]
async fn a_network_is_asked_again_now_and_then_and_one_without_ipv6_never() {
    let (world, hub) = (World::new(), FakeHub::bind().await);
    let node = world.start(hub.config(&[])).await;
    let asked = || world.names.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked(), 0);
    world.see(|view| view.facts.interfaces = vec!["2a00:1:2:3::7".parse().unwrap()]);
    node.network_changed();
    // Never answered: each question takes its 10 seconds and the next comes a minute later.
    world.name("ipv4only.arpa", &[]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!((50..=53).contains(&asked()), "{}", asked());
    world.name("ipv4only.arpa", &["192.0.0.170"]);
    let before = asked();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!((6..=8).contains(&(asked() - before)), "{}", asked() - before);
    node.withdraw("").await.unwrap();
    let before = asked();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked(), before, "who has withdrawn asks nothing");
}

#[tokio::test]
async fn what_would_leave_by_another_way_is_not_dialled() {
    /// Its routes are a test's; there is one address of which it can't say.
    struct Routes;
    impl Surroundings for Routes {
        fn look(&self) -> Result<View, SurroundingsError> {
            Ok(View {
                network: Some(NetworkKind::Ethernet),
                ..View::default()
            })
        }

        fn way(&self, _view: &View, to: SocketAddr) -> Result<Way, SurroundingsError> {
            match to.ip().to_string().as_str() {
                "1.1.1.1" | "2606:4700::1111" => Ok(Way::OtherLine),
                "93.184.216.34" => Ok(Way::Apart),
                "151.101.1.1" => Err(SurroundingsError::Unreadable("the test's routes")),
                _ => Ok(Way::None),
            }
        }
    }
    let (world, hub, echo) = (World::new(), FakeHub::bind().await, echo().await);
    let parts = Parts {
        surroundings: Arc::new(Routes),
        ..world.parts()
    };
    let config = hub.config(&[echo]);
    let _node = Node::start_with(config, world.state(), world.consent(), parts)
        .await
        .unwrap();
    let device = hub.register().await;
    world.name("corporate.example", &["45.1.1.1", "93.184.216.34"]);
    world.name("unknown.example", &["151.101.1.1"]);
    world.name("elsewhere.example", &["1.1.1.1", "2606:4700::1111"]);
    for to in [
        "93.184.216.34:80",
        "corporate.example:80",
        "151.101.1.1:80",
        "unknown.example:80",
        "elsewhere.example:80",
        "[2606:4700::1111]:443",
    ] {
        assert_eq!(device.refusal(to).await, forbidden("device_network"), "{to}");
    }
    // What was opened for tests is not asked about.
    let to = format!("opened.example:{}", echo.port());
    world.name("opened.example", &["127.0.0.1"]);
    assert!(device.open(&to).await.is_ok());
}
