//! The contract of `Exits`: success, every failure, and whom the choice falls on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iploop_hub::HubConfig;
use iploop_platform::abuse::{AbuseConfig, AbuseWatch};
use iploop_platform::account::Standing;
use iploop_platform::exits::{Avoid, CustomerTerms, ExitError, ExitRequest, Exits, OrElse, Preference};
use iploop_platform::ids::AccountId;
use iploop_platform::network::Network;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::ToNode;
use iploop_protocol::io::Event;
use iploop_protocol::policy::{Grants, Limit, PlatformPolicy, RuleClass};
use iploop_protocol::targeting::Targeting;
use tokio::time::Instant;

use crate::support::{PATIENCE, TestHub, until};

pub(crate) fn request(targeting: &str) -> ExitRequest {
    ExitRequest {
        account: AccountId::new(),
        terms: CustomerTerms::default(),
        targeting: Arc::new(Targeting::parse(targeting).unwrap()),
        prefer: None,
        avoid: Avoid::default(),
        destination: "example.com:443".parse().unwrap(),
        transport: iploop_protocol::policy::Transport::Tcp,
        early: Bytes::new(),
        deadline: Instant::now() + PATIENCE,
        hedges: 0,
    }
}

pub(crate) async fn fails(hub: &TestHub, request: ExitRequest) -> ExitError {
    hub.hub.open(request).await.map(|_| ()).unwrap_err().error
}

#[tokio::test]
async fn a_stream_is_opened_and_carries_bytes_both_ways() {
    let hub = TestHub::start().await;
    let mut node = hub.node_from(1, "127.0.2.7", |_| {}).await;
    let device = tokio::spawn(async move {
        let incoming = node.incoming().await;
        assert_eq!(incoming.open().destination.to_string(), "example.com:443");
        let customer = incoming.open().customer;
        let mut stream = incoming.accept(Duration::from_millis(7)).unwrap();
        let mut heard = Vec::new();
        while let Some(chunk) = stream.read_chunk().await.unwrap() {
            heard.extend_from_slice(&chunk);
        }
        stream.write_chunk(Bytes::from(heard)).await.unwrap();
        stream.finish();
        (node, customer)
    });
    // More first bytes than OPEN carries: the rest follows.
    let early = Bytes::from(vec![7; 40_000]);
    let account = AccountId::new();
    let mut opened = hub
        .hub
        .open(ExitRequest {
            account,
            early: early.clone(),
            ..request("country-de")
        })
        .await
        .unwrap();
    assert_eq!(opened.exit.ip, std::net::IpAddr::from([127, 0, 2, 7]));
    assert_eq!(opened.exit.place.city.as_deref(), Some("Berlin"));
    opened.stream.finish();
    let mut back = Vec::new();
    while let Some(chunk) = opened.stream.read_chunk().await.unwrap() {
        back.extend_from_slice(&chunk);
    }
    assert_eq!(back, early);
    let (_node, customer) = device.await.unwrap();
    let (high, low) = account.uuid().as_u64_pair();
    assert!(
        customer != high && customer != low,
        "the device does not learn who the customer is"
    );
}

#[tokio::test]
async fn every_answer_of_the_device_is_passed_on_as_what_it_means() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    for (code, error) in [
        (ResetCode::Refused, ExitError::ConnectionRefused),
        (ResetCode::Unreachable, ExitError::Unreachable),
        (ResetCode::DnsFailed, ExitError::DnsFailed),
        (ResetCode::DialTimeout, ExitError::ConnectTimeout),
        (ResetCode::Forbidden, ExitError::Forbidden("private".into())),
        (ResetCode::Limited, ExitError::TooMany),
        (ResetCode::Busy, ExitError::NodeUnavailable),
        (ResetCode::Paused, ExitError::NodeUnavailable),
        (ResetCode::Internal, ExitError::NodeUnavailable),
    ] {
        let (failure, ()) = tokio::join!(hub.hub.open(request("")), async {
            node.incoming().await.reject(code, "private");
        });
        let failure = failure.map(|_| ()).unwrap_err();
        assert_eq!(failure.error, error);
        assert_eq!(
            failure.exit.unwrap().node,
            node.id(),
            "so that the next attempt avoids it"
        );
    }
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_given_up_in_time() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let deadline = Instant::now() + Duration::from_secs(1);
    assert_eq!(
        fails(
            &hub,
            ExitRequest {
                deadline,
                ..request("")
            }
        )
        .await,
        ExitError::NodeTimeout
    );
    let incoming = node.incoming().await;
    assert!(
        incoming.open().timeout_ms < 1000,
        "it should have answered before"
    );
    until(|| hub.hub.stats().available_nodes == 1).await;
}

#[tokio::test]
async fn a_device_that_vanishes_is_not_asked_again() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let (failure, ()) = tokio::join!(hub.hub.open(request("")), async {
        let _asked = node.incoming().await;
        node.driver.abort();
    });
    assert_eq!(failure.map(|_| ()).unwrap_err().error, ExitError::NodeUnavailable);
    until(|| hub.hub.node_count() == 0).await;
    assert_eq!(fails(&hub, request("")).await, ExitError::NoExit);
}

#[tokio::test]
async fn a_caller_who_leaves_resets_the_stream() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let mut opening = Box::pin(hub.hub.open(request("")));
    let mut incoming = tokio::select! {
        _ = &mut opening => panic!("nobody accepted"),
        incoming = node.incoming() => incoming,
    };
    drop(opening);
    let cancelled = std::future::poll_fn(|cx| incoming.poll_cancelled(cx));
    tokio::time::timeout(PATIENCE, cancelled).await.unwrap();
}

#[tokio::test]
async fn avoided_exits_are_not_chosen() {
    let hub = TestHub::start().await;
    let node = hub.node_from(1, "127.0.0.3", |_| {}).await;
    let by_node = Avoid {
        nodes: vec![node.id()],
        ips: vec![],
    };
    let by_ip = Avoid {
        nodes: vec![],
        ips: vec![[127, 0, 0, 3].into()],
    };
    for avoid in [by_node, by_ip] {
        assert_eq!(
            fails(&hub, ExitRequest { avoid, ..request("") }).await,
            ExitError::NoOtherExit
        );
    }
    assert_eq!(fails(&hub, request("country-fr")).await, ExitError::NoExit);
}

#[tokio::test]
async fn a_sticky_session_keeps_its_exit_and_says_when_it_is_gone() {
    let hub = TestHub::start().await;
    let mut own = hub.node_from(1, "127.0.2.1", |_| {}).await;
    let mut other = hub.node_from(2, "127.0.2.2", |_| {}).await;
    let prefer = |or_else| {
        Some(Preference {
            node: own.id(),
            ip: [127, 0, 2, 1].into(),
            or_else,
        })
    };
    let (same_ip, same_asn) = (prefer(OrElse::SameIp), prefer(OrElse::SameAsn(64501)));
    let far = prefer(OrElse::SameAsn(1));
    for _ in 0..5 {
        let sticky = ExitRequest {
            prefer: same_ip,
            ..request("")
        };
        let (opened, stream) = tokio::join!(hub.hub.open(sticky), async {
            own.incoming().await.accept(Duration::ZERO)
        });
        assert_eq!(opened.unwrap().exit.node, own.id());
        drop(stream);
    }
    own.tunnel
        .close(iploop_protocol::codes::CloseCode::Done, None, "");
    until(|| hub.hub.node_count() == 1).await;
    for prefer in [same_ip, far] {
        assert_eq!(
            fails(
                &hub,
                ExitRequest {
                    prefer,
                    ..request("")
                }
            )
            .await,
            ExitError::SessionExitGone
        );
    }
    let (opened, _stream) = tokio::join!(
        hub.hub.open(ExitRequest {
            prefer: same_asn,
            ..request("")
        }),
        async { other.incoming().await.accept(Duration::ZERO) }
    );
    assert_eq!(opened.unwrap().exit.node, other.id());
}

#[tokio::test]
async fn one_customer_gets_64_streams_of_a_device_and_another_still_gets_one() {
    let hub = TestHub::with(HubConfig::default(), |deps| {
        // All in one second here, and by a customer who has the whole of it.
        let limits = r#"{"format":1,"version":1,"limits":{"dialsPerSecond":1000}}"#;
        deps.policy = Some(PlatformPolicy::parse(limits).unwrap());
        deps.new_customer_percent = 100;
    })
    .await;
    let mut node = hub.node(1).await;
    let device = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..65 {
            streams.push(node.incoming().await.accept(Duration::ZERO).unwrap());
        }
        (node, streams)
    });
    let account = AccountId::new();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(
            hub.hub
                .open(ExitRequest {
                    account,
                    ..request("")
                })
                .await
                .unwrap(),
        );
    }
    assert_eq!(
        fails(
            &hub,
            ExitRequest {
                account,
                ..request("")
            }
        )
        .await,
        ExitError::TooMany
    );
    open.push(hub.hub.open(request("")).await.unwrap());
    let (mut node, _streams) = device.await.unwrap();
    drop(open.pop());
    drop(open.pop());
    let (again, _) = tokio::join!(
        hub.hub.open(ExitRequest {
            account,
            ..request("")
        }),
        async { node.incoming().await.accept(Duration::ZERO) }
    );
    again.unwrap();
}

fn terms(standing: Standing, grants: &str) -> CustomerTerms {
    CustomerTerms {
        standing,
        grants: Arc::new(serde_json::from_str(grants).unwrap()),
    }
}

/// Serves each stream that is asked for, and keeps it.
fn obliging(mut node: crate::support::TestNode) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(node.incoming().await.accept(Duration::ZERO));
        }
    })
}

#[tokio::test]
async fn a_customer_is_limited_on_each_device_and_new_customers_to_a_part_of_it() {
    let hub = TestHub::with(HubConfig::default(), |deps| {
        let limits = r#"{"format":1,"version":1,"limits":{"openStreams":1000,"dialsPerSecond":1000,"hostsPerMinute":4}}"#;
        deps.policy = Some(PlatformPolicy::parse(limits).unwrap());
    })
    .await;
    let device = obliging(hub.node(1).await);
    let ask = async |account, standing, host: usize| {
        let asked = hub.hub.open(ExitRequest {
            account,
            terms: terms(standing, "[]"),
            destination: format!("h{host}.example:443").parse().unwrap(),
            ..request("")
        });
        asked.await.map(drop).map_err(|failure| failure.error)
    };
    for (standing, hosts) in [(Standing::Established, 4), (Standing::New, 2)] {
        let account = AccountId::new();
        for host in 0..hosts {
            assert_eq!(ask(account, standing, host).await, Ok(()), "{standing:?}");
        }
        assert_eq!(
            ask(account, standing, 0).await,
            Ok(()),
            "a known host is no other"
        );
        let refused = ask(account, standing, hosts).await;
        let Err(ExitError::Limited(limited)) = refused else {
            panic!("{standing:?}: {refused:?}")
        };
        assert_eq!(limited.limit, Limit::HostsPerMinute);
        assert!(limited.retry_after <= Duration::from_secs(60) && !limited.retry_after.is_zero());
    }
    device.abort();
}

#[tokio::test]
async fn one_destination_takes_so_many_dials_of_all_customers_and_devices_together() {
    let hub = TestHub::with(HubConfig::default(), |deps| {
        let limits = r#"{"format":1,"version":1,"limits":{"dialsPerHostPerSecond":0}}"#;
        deps.policy = Some(PlatformPolicy::parse(limits).unwrap());
    })
    .await;
    let _nodes = [obliging(hub.node(1).await), obliging(hub.node(2).await)];
    let error = fails(&hub, request("")).await;
    assert!(
        matches!(error, ExitError::Limited(limited) if limited.limit == Limit::DialsPerHost),
        "{error:?}"
    );
}

/// A stream of datagrams, which goes nowhere by itself.
fn datagrams() -> ExitRequest {
    ExitRequest {
        destination: "0.0.0.0:0".parse().unwrap(),
        transport: iploop_protocol::policy::Transport::Udp,
        ..request("")
    }
}

#[tokio::test]
async fn datagrams_count_for_the_hosts_that_they_go_to_and_their_stream_for_none() {
    for (limits, limit) in [
        (r#"{"dialsPerHostPerSecond":0}"#, Limit::DialsPerHost),
        (r#"{"hostsPerMinute":2}"#, Limit::HostsPerMinute),
    ] {
        let hub = TestHub::with(HubConfig::default(), |deps| {
            let policy = format!(r#"{{"format":1,"version":1,"limits":{limits}}}"#);
            deps.policy = Some(PlatformPolicy::parse(&policy).unwrap());
            deps.new_customer_percent = 100;
        })
        .await;
        let device = obliging(hub.node(1).await);
        let opened = hub.hub.open(datagrams()).await.unwrap();
        let visit = |host: &str| opened.gauge.visit(&format!("{host}:443").parse().unwrap());
        if limit == Limit::HostsPerMinute {
            for host in ["a.example", "203.0.113.7", "a.example"] {
                assert_eq!(visit(host), Ok(()), "{host}");
            }
        }
        assert_eq!(visit("b.example").unwrap_err().limit, limit);
        // Another customer's places are its own.
        let other = hub.hub.open(datagrams()).await.unwrap();
        assert_eq!(
            other.gauge.visit(&"c.example:443".parse().unwrap()).is_ok(),
            limit == Limit::HostsPerMinute
        );
        device.abort();
    }
}

#[tokio::test]
async fn too_many_failed_dials_stop_the_customer_on_that_device_alone() {
    let hub = TestHub::with(HubConfig::default(), |deps| {
        let limits = r#"{"format":1,"version":1,"limits":{"failureMinDials":5,"dialsPerSecond":1000}}"#;
        deps.policy = Some(PlatformPolicy::parse(limits).unwrap());
    })
    .await;
    let mut node = hub.node(1).await;
    let device = tokio::spawn(async move {
        loop {
            node.incoming().await.reject(ResetCode::Refused, "");
        }
    });
    let account = AccountId::new();
    let ask = async |account| {
        let asked = ExitRequest {
            account,
            ..request("")
        };
        fails(&hub, asked).await
    };
    for _ in 0..5 {
        assert_eq!(ask(account).await, ExitError::ConnectionRefused);
    }
    let stopped = ask(account).await;
    assert!(
        matches!(stopped, ExitError::Limited(limited)
            if limited.limit == Limit::FailedDials && limited.retry_after > Duration::from_secs(590)),
        "{stopped:?}"
    );
    assert_eq!(
        ask(AccountId::new()).await,
        ExitError::ConnectionRefused,
        "another customer"
    );
    device.abort();
    // And another device serves the one who was stopped.
    let other = obliging(hub.node_from(2, "127.0.2.7", |_| {}).await);
    let elsewhere = ExitRequest {
        account,
        ..request("country-de")
    };
    hub.hub.open(elsewhere).await.unwrap();
    other.abort();
}

#[tokio::test]
async fn a_device_is_told_of_grants_before_the_stream_that_needs_them_and_once() {
    let hub = TestHub::start().await;
    let mut node = hub.node(1).await;
    let account = AccountId::new();
    let asked = |grants: &str| ExitRequest {
        account,
        terms: terms(Standing::Established, grants),
        ..request("")
    };
    let one = r#"[{"opening":{"tcpPorts":"22"},"untilMs":9}]"#;
    // What the device hears up to the stream.
    let open = async |node: &mut crate::support::TestNode, grants: &str| {
        let (opened, heard) = tokio::join!(hub.hub.open(asked(grants)), async {
            let mut heard = Vec::new();
            loop {
                match node.event().await.unwrap() {
                    Event::Control(message) => heard.push(ToNode::decode(&message).unwrap().unwrap()),
                    Event::Incoming(incoming) => {
                        let customer = incoming.open().customer;
                        drop(incoming.accept(Duration::ZERO));
                        return (heard, customer);
                    }
                    Event::Draining { .. } => {}
                }
            }
        });
        opened.unwrap();
        heard
    };
    let (heard, customer) = open(&mut node, one).await;
    let [ToNode::Grants(update)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(
        update.read(),
        Some((customer, serde_json::from_str(one).unwrap()))
    );
    assert_eq!(open(&mut node, one).await.0, [], "it knows");
    let (heard, _) = open(&mut node, "[]").await;
    let [ToNode::Grants(update)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(update.read(), Some((customer, Grants::default())), "taken back");
    assert_eq!(open(&mut node, "[]").await.0, []);
}

#[tokio::test]
async fn what_devices_refuse_is_heard_with_its_rule() {
    let (watch, mut suspicions) =
        AbuseWatch::new(&AbuseConfig::default(), Arc::new(crate::support::FixedClock));
    let hub = TestHub::with(HubConfig::default(), |deps| {
        let limits = r#"{"format":1,"version":1,"limits":{"dialsPerSecond":1000000}}"#;
        deps.policy = Some(PlatformPolicy::parse(limits).unwrap());
        deps.watch = watch;
    })
    .await;
    let mut devices = Vec::new();
    for n in 1..=4 {
        let mut node = hub.node(n).await;
        devices.push(tokio::spawn(async move {
            loop {
                node.incoming().await.reject(ResetCode::Forbidden, "loopback");
            }
        }));
    }
    let account = AccountId::new();
    // Twenty between four devices, which are believed together.
    let suspicion = loop {
        let asked = ExitRequest {
            account,
            ..request("")
        };
        assert_eq!(fails(&hub, asked).await, ExitError::Forbidden("loopback".into()));
        if let Ok(suspicion) = suspicions.try_recv() {
            break suspicion;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (suspicion.account, suspicion.rule),
        (account, RuleClass::Loopback)
    );
}
