//! Promises of the whole decision; the single rules are tested beside their code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn platform() -> Option<Arc<PlatformPolicy>> {
    Some(Arc::new(
        PlatformPolicy::parse(r#"{"format":1,"version":1}"#).unwrap(),
    ))
}

fn narrow(json: &str) -> Arc<NarrowPolicy> {
    Arc::new(serde_json::from_str(json).unwrap())
}

fn grants(json: &str) -> Grants {
    serde_json::from_str(json).unwrap()
}

fn destination(text: &str) -> Destination {
    Destination::parse_authority(text).unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn check(policy: &Policy, text: &str) -> Result<(), RuleClass> {
    check_in(policy, text, &Context::at_gateway())
}

fn check_in(policy: &Policy, text: &str, context: &Context<'_>) -> Result<(), RuleClass> {
    policy
        .check_destination(&destination(text), context)
        .map_err(Refusal::rule)
}

#[test]
fn web_destinations_pass_and_the_rest_is_refused_by_its_class() {
    let policy = Policy::new(platform());
    for text in [
        "example.com:80",
        "example.com:443",
        "1.1.1.1:8080",
        "[2606:4700::1111]:8443",
        "[64:ff9b::101:101]:443",
    ] {
        assert_eq!(check(&policy, text), Ok(()), "{text}");
    }
    for (text, rule) in [
        ("127.0.0.1:80", RuleClass::Loopback),
        ("127.0.0.1:22", RuleClass::Loopback),
        ("[::ffff:169.254.169.254]:80", RuleClass::LinkLocal),
        ("[64:ff9b::a9fe:a9fe]:80", RuleClass::LinkLocal),
        ("router:80", RuleClass::SingleLabel),
        ("metadata.google.internal.:80", RuleClass::MetadataName),
        ("example.com:25", RuleClass::NeverPorts),
        ("example.com:0", RuleClass::NeverPorts),
        ("1.1.1.1:22", RuleClass::MailAndLoginPorts),
        ("192.175.48.1:80", RuleClass::As112),
        ("example.com:81", RuleClass::ExtendedPorts),
    ] {
        assert_eq!(check(&policy, text), Err(rule), "{text}");
    }
}

#[test]
fn without_a_platform_policy_only_80_and_443_are_open_and_no_grant_counts() {
    let policy = Policy::new(None);
    let granted = grants(
        r#"[{"opening":{"tcpPorts":"1-65535"},"untilMs":9},{"opening":{"rule":"as112"},"untilMs":9}]"#,
    );
    let context = Context::at_gateway().with_grants(&granted, 0);
    assert_eq!(check_in(&policy, "example.com:80", &context), Ok(()));
    assert_eq!(check_in(&policy, "example.com:443", &context), Ok(()));
    assert_eq!(
        check_in(&policy, "example.com:8080", &context),
        Err(RuleClass::PolicyMissing)
    );
    assert_eq!(
        check_in(&policy, "example.com:22", &context),
        Err(RuleClass::MailAndLoginPorts)
    );
    assert_eq!(
        check_in(&policy, "192.175.48.1:80", &context),
        Err(RuleClass::As112)
    );
    assert_eq!(
        check_in(&policy, "10.0.0.1:80", &context),
        Err(RuleClass::Private)
    );
    assert_eq!(
        check_in(&policy, "1.1.1.1:443", &context.by(Transport::Udp)),
        Err(RuleClass::UdpClosed)
    );
}

#[test]
fn one_refused_answer_refuses_the_whole_name() {
    let policy = Policy::new(platform());
    let to = destination("rebind.example:80");
    let context = Context::at_gateway();
    let checked = policy
        .check_addresses(&to, &ips(&["1.1.1.1", "2606:4700::1111"]), &context)
        .unwrap();
    assert_eq!(
        checked.iter().collect::<Vec<_>>(),
        ["1.1.1.1:80", "[2606:4700::1111]:80"].map(|a| a.parse::<SocketAddr>().unwrap())
    );
    for answers in [
        &["1.1.1.1", "10.0.0.1"][..],
        &["127.0.0.1"],
        &["1.1.1.1", "2606:4700::1111", "::ffff:192.168.0.1"],
        &["64:ff9b::7f00:1", "1.1.1.1"],
        &["::"],
    ] {
        assert!(
            policy.check_addresses(&to, &ips(answers), &context).is_err(),
            "{answers:?}"
        );
    }
    let many: Vec<IpAddr> = (0..5000)
        .map(|_| "1.1.1.1".parse().unwrap())
        .chain(ips(&["10.0.0.1"]))
        .collect();
    assert!(
        policy.check_addresses(&to, &many, &context).is_err(),
        "answers beyond the kept ones are checked as well"
    );
}

#[test]
fn answers_never_make_up_for_a_refused_name_or_port() {
    let policy = Policy::new(platform());
    for text in ["localhost:80", "example.com:25", "127.0.0.1:80"] {
        assert!(
            policy
                .check_addresses(&destination(text), &ips(&["1.1.1.1"]), &Context::at_gateway())
                .is_err()
        );
    }
}

#[test]
fn the_device_refuses_its_surroundings_which_the_gateway_can_not_know() {
    let local = LocalNetwork::new(LocalFacts {
        on_link: vec!["2a00:1:2:3::/64".parse().unwrap()],
        public_v4: Some("81.2.3.4".parse().unwrap()),
        ..LocalFacts::default()
    });
    let policy = Policy::new(platform());
    let device = Context::on_device(&local);
    for text in ["[2a00:1:2:3::99]:80", "81.2.3.4:80", "[64:ff9b::81.2.3.4]:80"] {
        assert_eq!(check(&policy, text), Ok(()));
        assert_eq!(
            check_in(&policy, text, &device),
            Err(RuleClass::DeviceNetwork),
            "{text}"
        );
    }
    let refused = policy.check_addresses(&destination("cam.example:80"), &ips(&["2a00:1:2:3::99"]), &device);
    assert_eq!(refused.unwrap_err().rule(), RuleClass::DeviceNetwork);
}

#[test]
fn the_platforms_own_addresses_are_refused_in_every_form() {
    let own = PlatformPolicy::parse(r#"{"format":1,"version":1,"ownAddresses":["45.6.7.0/24","2a00:9::1"]}"#)
        .unwrap();
    let policy = Policy::new(Some(Arc::new(own)));
    for text in [
        "45.6.7.8:80",
        "[::ffff:45.6.7.8]:80",
        "[64:ff9b::45.6.7.8]:80",
        "[2a00:9::1]:443",
    ] {
        assert_eq!(check(&policy, text), Err(RuleClass::PlatformAddress), "{text}");
    }
}

#[test]
fn datagrams_are_open_for_everyone_only_where_the_platform_says_so_and_only_to_443() {
    let closed = Policy::new(platform());
    let text = r#"{"format":1,"version":1,"openUdp":true}"#;
    let document = PlatformPolicy::parse(text).unwrap();
    assert!(
        serde_json::to_string(&document)
            .unwrap()
            .contains(r#""openUdp":true"#)
    );
    let open = Policy::new(Some(Arc::new(document)));
    let context = Context::at_gateway().by(Transport::Udp);
    assert!(!closed.opens_udp(&context) && !Policy::new(None).opens_udp(&context));
    assert!(open.opens_udp(&Context::at_gateway()));
    assert_eq!(check_in(&open, "1.1.1.1:443", &context), Ok(()));
    assert_eq!(check_in(&open, "dns.example:443", &context), Ok(()));
    for (text, class) in [
        ("1.1.1.1:53", RuleClass::UdpNeverPorts),
        ("1.1.1.1:80", RuleClass::UdpOtherPorts),
        ("10.1.1.1:443", RuleClass::Private),
        ("nas.local:443", RuleClass::LocalName),
    ] {
        assert_eq!(check_in(&open, text, &context), Err(class), "{text}");
    }
    assert!(check(&open, "1.1.1.1:8081").is_err(), "TCP is as it was");
}

#[test]
fn grants_open_default_rules_for_their_customer_until_their_date() {
    let policy = Policy::new(platform());
    let granted = grants(
        r#"[{"opening":{"rule":"as112"},"untilMs":100},{"opening":{"tcpPorts":465},"untilMs":100},
            {"opening":{"rule":"extended_ports"},"untilMs":200},{"opening":{"rule":"udp_closed"},"untilMs":100}]"#,
    );
    let early = Context::at_gateway().with_grants(&granted, 99);
    let late = Context::at_gateway().with_grants(&granted, 100);
    for text in ["192.175.48.1:80", "[2620:4f:8000::1]:80", "smtp.example:465"] {
        assert_eq!(check_in(&policy, text, &early), Ok(()), "{text}");
        assert!(check_in(&policy, text, &late).is_err(), "{text}");
        assert!(check(&policy, text).is_err(), "{text}");
    }
    assert_eq!(check_in(&policy, "example.com:8081", &late), Ok(()));
    assert_eq!(
        check_in(&policy, "example.com:587", &early),
        Err(RuleClass::MailAndLoginPorts)
    );
    let udp = early.by(Transport::Udp);
    assert_eq!(check_in(&policy, "1.1.1.1:443", &udp), Ok(()));
    assert_eq!(check_in(&policy, "10.1.1.1:443", &udp), Err(RuleClass::Private));
    assert_eq!(
        check_in(&policy, "1.1.1.1:53", &udp),
        Err(RuleClass::UdpNeverPorts)
    );
    assert_eq!(
        check_in(&policy, "1.1.1.1:8443", &udp),
        Err(RuleClass::UdpOtherPorts)
    );
    assert_eq!(
        check_in(&policy, "1.1.1.1:443", &late.by(Transport::Udp)),
        Err(RuleClass::UdpClosed)
    );
}

#[test]
fn no_grant_lifts_a_hard_rule() {
    let everything: Vec<Grant> = RuleClass::ALL
        .iter()
        .filter_map(|rule| OpenableRule::try_from(*rule).ok().map(Opening::Rule))
        .chain([Opening::TcpPorts(PortRange::new(0, u16::MAX).unwrap())])
        .map(|opening| Grant {
            opening,
            until_ms: u64::MAX,
        })
        .collect();
    let granted = Grants::new(everything).unwrap();
    let context = Context::at_gateway().with_grants(&granted, 0);
    let policy = Policy::new(platform());
    for net in address_rules()
        .iter()
        .filter(|rule| rule.tier == Tier::Hard)
        .flat_map(|rule| &rule.ranges)
    {
        for ip in [net.network(), net.broadcast()] {
            let to = Destination::from(SocketAddr::new(ip, 443));
            assert!(
                policy.check_destination(&to, &context).unwrap_err().is_hard(),
                "{ip}"
            );
        }
    }
    for port in 0..=u16::MAX {
        let refused = policy.check_destination(
            &Destination::from(SocketAddr::new([1, 1, 1, 1].into(), port)),
            &context,
        );
        assert_eq!(
            refused.is_err(),
            ports::row(Transport::Tcp, port).is_some_and(|row| row.tier == Tier::Hard)
        );
    }
}

#[test]
fn each_layer_refuses_in_its_own_name() {
    let lists = r#"{"denySuffixes":["blocked.example"],"denyAddresses":["8.8.8.0/24"],"denyPorts":[8080]}"#;
    for (layer, list, ports) in [
        (Layer::Partner, RuleClass::PartnerList, RuleClass::PartnerPorts),
        (Layer::Owner, RuleClass::OwnerList, RuleClass::OwnerPorts),
        (Layer::Customer, RuleClass::CustomerList, RuleClass::CustomerPorts),
    ] {
        let policy = Policy::new(platform()).narrowed_by(layer, narrow(lists));
        assert_eq!(check(&policy, "blocked.example:443"), Err(list));
        assert_eq!(check(&policy, "WWW.Blocked.Example.:443"), Err(list));
        assert_eq!(check(&policy, "notblocked.example:443"), Ok(()));
        assert_eq!(check(&policy, "8.8.8.8:443"), Err(list));
        assert_eq!(check(&policy, "[::ffff:8.8.8.8]:443"), Err(list));
        assert_eq!(check(&policy, "[64:ff9b::8.8.8.8]:443"), Err(list));
        assert_eq!(check(&policy, "example.com:8080"), Err(ports));
        let answers = policy.check_addresses(
            &destination("a.example:443"),
            &ips(&["8.8.8.8"]),
            &Context::at_gateway(),
        );
        assert_eq!(answers.unwrap_err().rule(), list);
    }
    let text = format!(r#"{{"format":1,"version":1,"lists":{lists}}}"#);
    let policy = Policy::new(Some(Arc::new(PlatformPolicy::parse(&text).unwrap())));
    assert_eq!(
        check(&policy, "blocked.example:443"),
        Err(RuleClass::PlatformList)
    );
    assert_eq!(check(&policy, "example.com:8080"), Err(RuleClass::PlatformPorts));
}

#[test]
fn a_seed_category_is_in_force_once_it_is_in_a_list() {
    let government = seed_categories()
        .iter()
        .find(|seed| seed.category == "government_and_military")
        .unwrap();
    assert_eq!(check(&Policy::new(platform()), "www.example.gov:443"), Ok(()));
    let lists = NarrowDocument {
        deny_suffixes: government.deny_suffixes.clone(),
        ..NarrowDocument::default()
    };
    let listed = PlatformPolicy::new(2, NarrowPolicy::new(lists).unwrap(), Vec::new()).unwrap();
    let policy = Policy::new(Some(Arc::new(listed)));
    assert_eq!(
        check(&policy, "www.example.gov:443"),
        Err(RuleClass::PlatformList)
    );
    assert_eq!(check(&policy, "www.example.gov.example:443"), Ok(()));
}

#[test]
fn the_same_layer_twice_narrows_twice() {
    let policy = Policy::new(platform())
        .narrowed_by(Layer::Customer, narrow(r#"{"denySuffixes":["a.example"]}"#))
        .narrowed_by(Layer::Customer, narrow(r#"{"denySuffixes":["b.example"]}"#));
    assert!(check(&policy, "a.example:80").is_err() && check(&policy, "b.example:80").is_err());
}

#[test]
fn test_addresses_open_themselves_and_nothing_beside() {
    let allow = TestAllow::parse(["127.0.0.1:39123", "[::1]:443"]).unwrap();
    for platform in [platform(), None] {
        let policy = Policy::new(platform).with_test_allow(allow.clone());
        for text in ["127.0.0.1:39123", "[::ffff:127.0.0.1]:39123", "[::1]:443"] {
            assert_eq!(check(&policy, text), Ok(()), "{text}");
        }
        for text in [
            "127.0.0.1:39124",
            "127.0.0.2:39123",
            "[::1]:39123",
            "1.1.1.1:39123",
            "localhost:39123",
            "origin:39123",
        ] {
            assert!(check(&policy, text).is_err(), "{text}");
        }
        let named = destination("origin.test:39123");
        let answers = |texts: &[&str]| policy.check_addresses(&named, &ips(texts), &Context::at_gateway());
        assert!(answers(&["127.0.0.1"]).is_ok());
        assert_eq!(
            answers(&["1.1.1.1"]).unwrap_err().rule(),
            RuleClass::ExtendedPorts
        );
        assert_eq!(
            answers(&["127.0.0.1", "127.0.0.2"]).unwrap_err().rule(),
            RuleClass::Loopback
        );
    }
}

#[test]
fn test_addresses_lift_the_devices_guards_but_no_list() {
    let local = LocalNetwork::new(LocalFacts {
        interfaces: ips(&["127.0.0.1"]),
        platform: ips(&["127.0.0.1"]),
        ..LocalFacts::default()
    });
    let allow = TestAllow::parse(["127.0.0.1:8080"]).unwrap();
    let policy = Policy::new(platform()).with_test_allow(allow);
    assert_eq!(
        check_in(&policy, "127.0.0.1:8080", &Context::on_device(&local)),
        Ok(())
    );
    let policy = policy.narrowed_by(Layer::Owner, narrow(r#"{"allowPorts":[443]}"#));
    assert_eq!(
        check_in(&policy, "127.0.0.1:8080", &Context::on_device(&local)),
        Err(RuleClass::OwnerPorts)
    );
}

fn any_narrow() -> impl Strategy<Value = NarrowPolicy> {
    let suffix = prop::sample::select(vec!["example", "a.example", "com", "b.com", "1e100.net"]);
    let address = (any_ip(), 0u8..=128).prop_map(|(ip, length)| {
        let length = if ip.is_ipv4() { length % 33 } else { length };
        format!("{ip}/{length}")
    });
    let port =
        || (any_port(), 0u16..2000).prop_map(|(a, more)| PortRange::new(a, a.saturating_add(more)).unwrap());
    (
        prop::collection::vec(suffix, 0..3),
        prop::collection::vec(address, 0..3),
        prop::collection::vec(port(), 0..3),
        prop::option::of(prop::collection::vec(port(), 0..3)),
    )
        .prop_map(|(suffixes, deny_addresses, deny_ports, allow_ports)| {
            let deny_suffixes = suffixes.into_iter().map(str::to_owned).collect();
            NarrowPolicy::new(NarrowDocument {
                deny_suffixes,
                deny_addresses,
                deny_ports,
                allow_ports,
            })
            .unwrap()
        })
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let known = [
        "1.1.1.1",
        "127.0.0.1",
        "10.0.0.1",
        "192.175.48.1",
        "2606:4700::1111",
        "64:ff9b::101:101",
        "::ffff:8.8.8.8",
    ];
    prop_oneof![any::<IpAddr>(), prop::sample::select(ips(&known))]
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![
        any::<u16>(),
        prop::sample::select(vec![22, 25, 80, 443, 465, 8080, 8443])
    ]
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let names = prop::sample::select(vec![
        "a.example",
        "x.b.com",
        "localhost",
        "www.1e100.net",
        "plain.org",
        "nas.lan",
    ]);
    let host = prop_oneof![
        names.prop_map(|name| Host::parse(name).unwrap()),
        any_ip().prop_map(Host::Ip)
    ];
    (host, any_port()).prop_map(|(host, port)| Destination::new(host, port))
}

proptest! {
    #[test]
    fn a_further_layer_never_turns_a_refusal_into_an_allow(
        base in prop::collection::vec(any_narrow(), 0..3),
        extra in any_narrow(),
        to in any_destination(),
        answers in prop::collection::vec(any_ip(), 0..4),
        udp in any::<bool>(),
        has_platform in any::<bool>(),
    ) {
        let allow = TestAllow::parse(["127.0.0.1:8080"]).unwrap();
        let granted = grants(r#"[{"opening":{"rule":"as112"},"untilMs":9},{"opening":{"rule":"udp_closed"},"untilMs":9}]"#);
        let context = Context::at_gateway().with_grants(&granted, 0).by(if udp { Transport::Udp } else { Transport::Tcp });
        let mut policy = Policy::new(platform().filter(|_| has_platform)).with_test_allow(allow);
        for layer in base {
            policy = policy.narrowed_by(Layer::Partner, Arc::new(layer));
        }
        let verdict = |policy: &Policy| policy.check_addresses(&to, &answers, &context);
        let narrowed = policy.clone().narrowed_by(Layer::Customer, Arc::new(extra.clone()));
        prop_assert!(verdict(&policy).is_ok() || verdict(&narrowed).is_err());
        // The same as the platform's own lists, against a platform that lists nothing.
        if has_platform {
            let listed = PlatformPolicy::new(1, extra, Vec::new()).unwrap();
            let listed = Policy { platform: Some(Arc::new(listed)), ..policy.clone() };
            prop_assert!(verdict(&policy).is_ok() || verdict(&listed).is_err());
            let missing = Policy { platform: None, ..policy.clone() };
            prop_assert!(verdict(&policy).is_ok() || verdict(&missing).is_err());
        }
    }

    #[test]
    fn what_passed_was_free_of_hard_addresses(to in any_destination(), answers in prop::collection::vec(any_ip(), 0..6)) {
        let policy = Policy::new(platform());
        if let Ok(checked) = policy.check_addresses(&to, &answers, &Context::at_gateway()) {
            for address in checked.iter() {
                prop_assert_eq!(Reading::of(address.ip(), &[]).row, None);
                prop_assert!(checked.matches_peer(address));
            }
            for ip in &answers {
                prop_assert_eq!(Reading::of(*ip, &[]).row, None);
            }
        }
    }

    #[test]
    fn no_policy_text_panics(text in any::<String>(), list in any::<String>()) {
        let _ = PlatformPolicy::parse(&text);
        let lists = serde_json::json!({ "denySuffixes": [&list], "denyAddresses": [&list], "denyPorts": [&list] });
        for key in ["denySuffixes", "denyAddresses", "denyPorts"] {
            let _ = serde_json::from_value::<NarrowPolicy>(serde_json::json!({ key: lists[key] }));
        }
        let _ = serde_json::from_str::<Grants>(&text);
    }
}
