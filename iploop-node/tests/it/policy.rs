//! The exit policy, as a hostile hub meets it: it checks nothing itself.

use std::sync::atomic::Ordering;

use iploop_node::Event;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::{PolicyUpdate, ToNode};

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
    device.welcome_as(
        Some(serde_json::json!({ "format": 1, "version": 1 })),
        Some("81.2.3.4".parse().unwrap()),
    );
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
