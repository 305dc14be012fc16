//! The exit that a sticky session holds on to.

use super::*;

#[test]
fn session_stays_with_its_exit_although_its_customer_has_all_streams_there() {
    let mut directory = Directory::default();
    let facts = Facts {
        max_streams: 1000,
        ..anyone(1)
    };
    let (key, _) = add(&mut directory, &facts, 1);
    add(&mut directory, &anyone(2), 2);
    directory.set_max_streams_per_customer(1);
    assert!(directory.open_stream(key, 0));
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    let sticky = Wish {
        prefer: Some(Preference {
            node: node(1),
            ip: ip(1),
            or_else: OrElse::Any,
        }),
        ..wish(&targeting, &avoid)
    };
    assert_eq!(chosen(&directory, &sticky), Err(NoChoice::CustomerFull));
}

#[test]
fn a_sticky_session_keeps_its_address_then_its_node_then_what_it_allows() {
    let mut directory = Directory::default();
    let (own, _) = add(&mut directory, &in_asn(1, 64500), 1);
    let same_ip = Exit {
        ip: ip(1),
        ..in_asn(2, 64500).exit
    };
    let (neighbour, _) = add(
        &mut directory,
        &Facts {
            exit: same_ip,
            ..anyone(2)
        },
        2,
    );
    let (same_asn, _) = add(&mut directory, &in_asn(3, 64500), 3);
    add(&mut directory, &in_asn(4, 64501), 4);
    let (targeting, nobody) = (Targeting::default(), Avoid::default());
    let prefer = |or_else| Wish {
        prefer: Some(Preference {
            node: node(1),
            ip: ip(1),
            or_else,
        }),
        ..wish(&targeting, &nobody)
    };
    assert_eq!(chosen(&directory, &prefer(OrElse::SameIp)), Ok(1));
    directory.set_sharing(own, false);
    assert_eq!(chosen(&directory, &prefer(OrElse::SameIp)), Ok(2));
    directory.remove(neighbour);
    assert_eq!(
        chosen(&directory, &prefer(OrElse::SameIp)),
        Err(NoChoice::SessionExitGone)
    );
    assert_eq!(chosen(&directory, &prefer(OrElse::SameAsn(64500))), Ok(3));
    directory.remove(same_asn);
    assert_eq!(
        chosen(&directory, &prefer(OrElse::SameAsn(64500))),
        Err(NoChoice::SessionExitGone)
    );
    assert_eq!(chosen(&directory, &prefer(OrElse::Any)), Ok(4));
    let avoid = Avoid {
        nodes: vec![node(4)],
        ips: vec![],
    };
    let elsewhere = Wish {
        avoid: &avoid,
        ..prefer(OrElse::Any)
    };
    assert_eq!(chosen(&directory, &elsewhere), Err(NoChoice::NoOtherExit));
}

#[test]
fn a_sticky_session_does_not_leave_its_exit_because_its_figures_waver() {
    let mut directory = Directory::default();
    // Just come back, and not measured yet.
    add(&mut directory, &anyone(1), 1);
    let targeting = Targeting::parse("latency-100-speed-10").unwrap();
    let nobody = Avoid::default();
    let first = wish(&targeting, &nobody);
    assert_eq!(chosen(&directory, &first), Err(NoChoice::NoExit));
    let held = Wish {
        prefer: Some(Preference {
            node: node(1),
            ip: ip(1),
            or_else: OrElse::SameIp,
        }),
        ..first
    };
    assert_eq!(chosen(&directory, &held), Ok(1));
}

#[test]
fn a_node_that_came_back_with_another_address_is_followed_only_when_its_old_address_is_gone() {
    let mut directory = Directory::default();
    let moved = Exit {
        ip: ip(9),
        ..in_asn(1, 64500).exit
    };
    let same_ip = Exit {
        ip: ip(1),
        ..in_asn(2, 64500).exit
    };
    for n in 3..40 {
        add(&mut directory, &in_asn(n, 64500), n);
    }
    let prefer = |or_else| Preference {
        node: node(1),
        ip: ip(1),
        or_else,
    };
    let (targeting, nobody) = (Targeting::default(), Avoid::default());
    let choose = |directory: &Directory<u8>, or_else| {
        let wish = Wish {
            prefer: Some(prefer(or_else)),
            ..wish(&targeting, &nobody)
        };
        chosen(directory, &wish)
    };
    assert_eq!(directory.presence(node(1), ip(1)), Presence::Gone);
    for (n, exit) in [(1, moved), (2, same_ip)] {
        let facts = Facts { exit, ..anyone(n) };
        add(&mut directory, &facts, n);
    }
    assert_eq!(directory.presence(node(1), ip(1)), Presence::Here);
    for or_else in [OrElse::SameIp, OrElse::SameAsn(64500), OrElse::Any] {
        assert_eq!(choose(&directory, or_else), Ok(2), "{or_else:?}");
    }
    let (neighbour, _) = directory.find(node(2)).unwrap();
    directory.remove(neighbour);
    assert_eq!(directory.presence(node(1), ip(1)), Presence::Moved(ip(9)));
    for or_else in [OrElse::SameAsn(64500), OrElse::Any] {
        assert_eq!(choose(&directory, or_else), Ok(1), "{or_else:?}");
    }
    assert_eq!(choose(&directory, OrElse::SameIp), Err(NoChoice::SessionExitGone));
}
