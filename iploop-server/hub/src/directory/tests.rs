use std::collections::BTreeMap;
use std::time::Instant;

use iploop_platform::exits::{Avoid, Place, Preference};
use iploop_platform::network::NetworkStats;
use iploop_protocol::targeting::Targeting;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn node(n: u8) -> NodeId {
    uuid::Uuid::from_u128(u128::from(n)).into()
}

fn ip(n: u8) -> IpAddr {
    [198, 51, 100, n].into()
}

/// What a test says of a node; the rest is as in [`anyone`].
struct Facts {
    exit: Exit,
    region_code: Option<&'static str>,
    max_streams: u32,
    quality: u8,
    sharing: bool,
}

fn anyone(n: u8) -> Facts {
    let place = Place {
        country: Some("US".into()),
        ..Place::default()
    };
    Facts {
        exit: Exit {
            node: node(n),
            ip: ip(n),
            place,
            net: None,
            os: None,
        },
        region_code: None,
        max_streams: 8,
        quality: 80,
        sharing: true,
    }
}

fn at(n: u8, place: Place) -> Facts {
    Facts {
        exit: Exit {
            place,
            ..anyone(n).exit
        },
        ..anyone(n)
    }
}

fn in_asn(n: u8, asn: u32) -> Facts {
    at(
        n,
        Place {
            asn: Some(asn),
            ..Place::default()
        },
    )
}

fn add<T>(directory: &mut Directory<T>, facts: &Facts, handle: T) -> (NodeKey, Option<T>) {
    let Facts {
        exit,
        region_code,
        max_streams,
        quality,
        sharing,
    } = facts;
    directory.insert(
        &NodeFacts {
            exit,
            region_code: *region_code,
            max_streams: *max_streams,
            quality: *quality,
            sharing: *sharing,
        },
        handle,
    )
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn random() -> SmallRng {
    SmallRng::seed_from_u64(7)
}

fn wish<'a>(targeting: &'a Targeting, avoid: &'a Avoid) -> Wish<'a> {
    Wish {
        targeting,
        prefer: None,
        avoid,
        customer: 0,
    }
}

fn chosen(directory: &Directory<u8>, wish: &Wish<'_>) -> Result<u8, NoChoice> {
    directory
        .choose(wish, &mut random())
        .map(|key| *directory.get(key).unwrap())
}

fn anyone_of(directory: &Directory<u8>) -> Result<u8, NoChoice> {
    chosen(directory, &wish(&Targeting::default(), &Avoid::default()))
}

#[test]
fn every_part_of_a_place_is_honoured() {
    let mut directory = Directory::default();
    let place = Place {
        country: text("US"),
        region: text("Florida"),
        city: text("Miami"),
        zip: text("33101"),
        asn: Some(7018),
        isp: text("AT&T Services"),
    };
    let exit = Exit {
        net: text("wifi"),
        os: text("android"),
        ..at(1, place).exit
    };
    add(
        &mut directory,
        &Facts {
            exit,
            region_code: Some("FL"),
            ..anyone(1)
        },
        1,
    );
    let haifa = Place {
        country: text("IL"),
        city: text("H\u{e4}ifa"),
        asn: Some(8551),
        ..Place::default()
    };
    add(&mut directory, &at(2, haifa), 2);
    add(&mut directory, &at(3, Place::default()), 3);
    let cases = [
        ("country-US", Ok(1)),
        ("country-us+de-city-miami", Ok(1)),
        ("country-IL", Ok(2)),
        ("country-DE", Err(NoChoice::NoExit)),
        ("region-florida", Ok(1)),
        ("state-fl-asn-7018", Ok(1)),
        ("city-haifa", Ok(2)),
        ("country-us-city-haifa", Err(NoChoice::NoExit)),
        ("zip-33101-asn-7018-city-miami", Ok(1)),
        ("zip-33101-asn-8551", Err(NoChoice::NoExit)),
        ("asn-8551", Ok(2)),
        ("isp-at&t services-city-miami", Ok(1)),
        ("net-wifi", Ok(1)),
        ("net-cellular", Err(NoChoice::NoExit)),
        ("os-windows", Err(NoChoice::NoExit)),
        ("asn-8551-exclude-IL", Err(NoChoice::NoExit)),
        ("exclude-IL", Ok(1)),
    ];
    for (text, expected) in cases {
        let targeting = Targeting::parse(text).unwrap();
        let found = chosen(&directory, &wish(&targeting, &Avoid::default()));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_speed_or_latency_wish_is_for_measured_nodes() {
    let mut directory = Directory::default();
    let (key, _) = add(&mut directory, &anyone(1), 1);
    let figures = |latency_ms: u64, speed_mbps| Figures {
        quality: 80,
        latency: Some(Duration::from_millis(latency_ms)),
        speed_mbps: Some(speed_mbps),
    };
    let avoid = Avoid::default();
    for text in ["latency-100", "latency-60000", "speed-10", "speed-1"] {
        let targeting = Targeting::parse(text).unwrap();
        let asked = wish(&targeting, &avoid);
        assert_eq!(chosen(&directory, &asked), Err(NoChoice::NoExit), "{text}");
    }
    for (text, fits, fails) in [
        ("latency-100", figures(100, 1), figures(101, 1)),
        ("latency-60000", figures(60_000, 1), figures(600_000, 1)),
        ("speed-10", figures(1, 10), figures(1, 9)),
        ("speed-10-latency-100", figures(100, 10_000), figures(101, 10)),
    ] {
        let targeting = Targeting::parse(text).unwrap();
        directory.set_figures(key, fits);
        assert_eq!(chosen(&directory, &wish(&targeting, &avoid)), Ok(1), "{text}");
        directory.set_figures(key, fails);
        assert_eq!(
            chosen(&directory, &wish(&targeting, &avoid)),
            Err(NoChoice::NoExit),
            "{text}"
        );
    }
}

#[test]
fn a_city_is_found_by_its_other_names() {
    let mut directory = Directory::default();
    for (n, city) in [(1, "New York"), (2, "M\u{fc}nchen"), (3, "Salt Lake City")] {
        let place = Place {
            city: text(city),
            ..Place::default()
        };
        add(&mut directory, &at(n, place), n);
    }
    for (written, expected) in [
        ("nyc", 1),
        ("newyork", 1),
        ("new_york_city", 1),
        ("munich", 2),
        ("muenchen", 2),
        ("saltlakecity", 3),
    ] {
        let targeting = Targeting::parse(&format!("city-{written}")).unwrap();
        let found = chosen(&directory, &wish(&targeting, &Avoid::default()));
        assert_eq!(found, Ok(expected), "{written}");
    }
}

#[test]
fn a_node_that_rests_is_tried_by_one_request_at_a_time() {
    let mut directory = Directory::default();
    let (key, _) = add(&mut directory, &anyone(1), 1);
    let start = Instant::now();
    let rest = Duration::from_secs(15);
    directory.rest(key, start + rest);
    directory.wake(start + rest - Duration::from_millis(1));
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit));
    assert!(!directory.open_stream(key, 1));
    directory.wake(start + rest);
    assert_eq!(anyone_of(&directory), Ok(1));
    assert!(directory.open_stream(key, 1));
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit), "its trial runs");
    directory.close_stream(key, 1);
    assert_eq!(anyone_of(&directory), Ok(1), "the trial said nothing");
    assert!(directory.open_stream(key, 1));
    directory.works(key);
    assert!(directory.open_stream(key, 1) && directory.open_stream(key, 1));
    directory.rest(key, start + 3 * rest);
    for _ in 0..3 {
        directory.close_stream(key, 1);
    }
    assert_eq!(
        anyone_of(&directory),
        Err(NoChoice::NoExit),
        "an end of others' streams wakes nobody"
    );
    directory.remove(key);
    directory.wake(start + 3 * rest);
    assert_eq!(directory.resting(), 0);
}

#[test]
fn rests_of_nodes_that_are_gone_are_not_kept_without_bound() {
    let mut directory = Directory::default();
    let start = Instant::now();
    for _ in 0..10_000 {
        let (key, _) = add(&mut directory, &anyone(1), 1);
        directory.rest(key, start);
    }
    let (key, _) = add(&mut directory, &anyone(1), 1);
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    for n in 0..10_000 {
        directory.rest(key, start + Duration::from_millis(n));
        assert!(directory.rouse(&wish(&targeting, &avoid)));
    }
    assert!(directory.resting() < 2000, "{}", directory.resting());
}

#[test]
fn a_survey_counts_the_few_and_estimates_the_many() {
    let mut directory = Directory::default();
    for n in 0..40_000_u32 {
        let exit = Exit {
            node: uuid::Uuid::from_u128(u128::from(n)).into(),
            os: text(if n % 4 == 0 { "ios" } else { "android" }),
            ..anyone(1).exit
        };
        let place = Place {
            country: text(if n < 1000 { "DE" } else { "US" }),
            ..Place::default()
        };
        let facts = Facts {
            exit: Exit { place, ..exit },
            ..anyone(1)
        };
        add(&mut directory, &facts, n);
    }
    let survey = |text: &str| {
        let targeting = Targeting::parse(text).unwrap();
        let found = directory.survey(&targeting, &mut random());
        (found.nodes, found.exact, found.some.len())
    };
    assert_eq!(survey("country-DE-os-ios"), (250, true, 64));
    assert_eq!(survey("country-FR"), (0, true, 0));
    assert_eq!(survey("city-atlantis"), (0, true, 0));
    assert_eq!(survey("speed-1"), (0, false, 0));
    let (nodes, exact, some) = survey("os-ios");
    assert!(
        (8_500..11_500).contains(&nodes) && !exact && some == 64,
        "{nodes}"
    );
}

#[test]
fn a_paused_or_full_node_is_known_and_not_chosen() {
    let mut directory = Directory::default();
    let (key, _) = add(
        &mut directory,
        &Facts {
            max_streams: 2,
            ..anyone(1)
        },
        1,
    );
    assert!(directory.open_stream(key, 9) && directory.open_stream(key, 9));
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit));
    assert!(!directory.open_stream(key, 9));
    directory.close_stream(key, 9);
    assert_eq!(anyone_of(&directory), Ok(1));
    directory.set_sharing(key, false);
    assert_eq!(anyone_of(&directory), Err(NoChoice::NoExit));
    assert_eq!(directory.get(key), Some(&1));
    assert_eq!(directory.stats().busy_nodes, 1);
}

#[test]
fn one_customer_takes_at_most_its_share_of_a_node() {
    let mut directory = Directory::default();
    let (key, _) = add(
        &mut directory,
        &Facts {
            max_streams: 1000,
            ..anyone(1)
        },
        1,
    );
    for _ in 0..AbuseLimits::default().open_streams {
        assert!(directory.open_stream(key, 1));
    }
    assert!(!directory.open_stream(key, 1));
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    let of = |customer| Wish {
        customer,
        ..wish(&targeting, &avoid)
    };
    assert_eq!(chosen(&directory, &of(1)), Err(NoChoice::CustomerFull));
    assert_eq!(chosen(&directory, &of(2)), Ok(1));
    directory.close_stream(key, 1);
    assert_eq!(chosen(&directory, &of(1)), Ok(1));
    directory.set_max_streams_per_customer(63);
    assert_eq!(chosen(&directory, &of(1)), Err(NoChoice::CustomerFull));
}

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
fn a_node_that_connects_again_replaces_itself() {
    let mut directory = Directory::default();
    let (old, replaced) = add(&mut directory, &anyone(1), 1);
    assert_eq!(replaced, None);
    assert!(directory.open_stream(old, 9));
    let (new, replaced) = add(&mut directory, &anyone(1), 2);
    assert_eq!(replaced, Some(1));
    assert_eq!(directory.len(), 1);
    // What the old connection still does changes nothing for the new one.
    directory.close_stream(old, 9);
    directory.set_sharing(old, false);
    assert_eq!(directory.remove(old), None);
    assert_eq!(directory.streams(new), Some(0));
    assert_eq!(anyone_of(&directory), Ok(2));
    assert!(directory.claims.is_empty());
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

#[test]
fn load_spreads_by_quality() {
    let mut directory = Directory::default();
    for n in 0..100 {
        let quality = if n < 50 { 100 } else { 20 };
        add(
            &mut directory,
            &Facts {
                quality,
                max_streams: 1000,
                ..anyone(n)
            },
            n,
        );
    }
    let (targeting, avoid) = (Targeting::default(), Avoid::default());
    let mut random = random();
    for stream in 0..2000 {
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        assert!(directory.open_stream(key, stream));
    }
    let load = |nodes: std::ops::Range<u8>| -> u32 {
        nodes
            .map(|n| directory.streams(directory.find(node(n)).unwrap().0).unwrap())
            .sum()
    };
    let (good, bad) = (load(0..50), load(50..100));
    assert!(
        good > 2 * bad && bad > 0,
        "{good} on the good half, {bad} on the bad one"
    );
    let most = (0..50).map(|n| load(n..n + 1)).max().unwrap();
    assert!(
        most <= 45,
        "a good node has {most} streams; even would be about {}",
        good / 50
    );
}

#[test]
fn idle_nodes_take_turns_by_quality() {
    let mut directory = Directory::default();
    for (n, quality) in [(0, 90), (1, 80), (2, 40)] {
        add(&mut directory, &Facts { quality, ..anyone(n) }, n);
    }
    let (targeting, mut avoid) = (Targeting::default(), Avoid::default());
    let mut random = random();
    let mut times = [0; 3];
    for _ in 0..600 {
        // As a key that rotates: another exit than the last one.
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        let n = *directory.get(key).unwrap();
        times[usize::from(n)] += 1;
        avoid.nodes = vec![node(n)];
    }
    assert!(
        times[0] > times[2] && times[1] > times[2] && times[2] > 60,
        "{times:?}"
    );
}

#[test]
fn a_slow_node_is_rarely_chosen_of_many_and_takes_its_turn_among_few() {
    for (nodes, at_least, at_most) in [(100, 1, 30), (10, 60, 140)] {
        let mut directory = Directory::default();
        for n in 0..nodes {
            let (key, _) = add(&mut directory, &anyone(n), n);
            let latency = Some(Duration::from_millis(if n < nodes / 10 { 2000 } else { 100 }));
            directory.set_figures(
                key,
                Figures {
                    quality: 80,
                    latency,
                    speed_mbps: None,
                },
            );
        }
        let (targeting, avoid) = (Targeting::default(), Avoid::default());
        let mut random = random();
        let slow = (0..1000)
            .filter(|_| {
                let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
                *directory.get(key).unwrap() < nodes / 10
            })
            .count();
        assert!(
            (at_least..=at_most).contains(&slow),
            "{slow} of 1000 where one in ten of {nodes} is slow"
        );
    }
}

#[test]
fn one_fitting_node_in_a_thousand_is_found() {
    let mut directory = Directory::default();
    for n in 0..4000_u32 {
        let os = if n % 1000 == 17 { "ios" } else { "android" };
        let id = uuid::Uuid::from_u128(u128::from(n)).into();
        let exit = Exit {
            node: id,
            os: text(os),
            ..anyone(0).exit
        };
        add(&mut directory, &Facts { exit, ..anyone(0) }, n);
    }
    let targeting = Targeting::parse("os-ios").unwrap();
    let avoid = Avoid::default();
    let mut random = random();
    for _ in 0..50 {
        let key = directory.choose(&wish(&targeting, &avoid), &mut random).unwrap();
        assert_eq!(directory.get(key).unwrap() % 1000, 17);
    }
}

#[test]
fn an_empty_directory_holds_nothing_back() {
    let mut directory = Directory::default();
    let keys: Vec<_> = (0..200)
        .map(|n| {
            let place = Place {
                region: text("Haifa District"),
                city: text("Haifa"),
                isp: text("Bezeq"),
                asn: Some(n.into()),
                ..Place::default()
            };
            add(
                &mut directory,
                &Facts {
                    region_code: Some("HA"),
                    ..at(n, place)
                },
                n,
            )
            .0
        })
        .collect();
    for key in keys {
        assert!(directory.remove(key).is_some());
    }
    assert!(directory.is_empty() && directory.by_ip.is_empty());
    assert_eq!(directory.names.find("haifa"), None);
    assert!(directory.index.all().is_empty() && directory.index.is_empty());
    assert_eq!(directory.stats(), NetworkStats::default());
    assert_eq!(directory.locations(), []);
}

#[test]
fn locations_carry_the_names_that_people_write() {
    let mut directory = Directory::default();
    for (n, city) in [(1, "New York"), (2, "new york"), (3, "Miami")] {
        let place = Place {
            country: text("US"),
            city: text(city),
            ..Place::default()
        };
        add(&mut directory, &at(n, place), n);
    }
    let [us] = directory.locations().try_into().unwrap();
    assert_eq!((us.country.as_str(), us.nodes), ("US", 3));
    let cities: Vec<_> = us
        .cities
        .iter()
        .map(|city| (city.city.as_str(), city.nodes))
        .collect();
    assert_eq!(cities, [("New York", 2), ("Miami", 1)]);
}

/// What happens to a directory.
#[derive(Clone, Debug)]
enum Act {
    Insert(Model),
    Remove(u8),
    Share(u8, bool),
    Open(u8, u64),
    Close(u8, u64),
}

/// A node as the naive model knows it.
#[derive(Clone, Debug)]
struct Model {
    n: u8,
    ip: u8,
    country: &'static str,
    region: Option<&'static str>,
    region_code: Option<&'static str>,
    city: Option<&'static str>,
    zip: Option<&'static str>,
    asn: Option<u32>,
    isp: Option<&'static str>,
    os: Option<&'static str>,
    max_streams: u32,
    sharing: bool,
    streams: Vec<u64>,
}

impl Model {
    fn facts(&self) -> Facts {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let place = Place {
            country: owned(Some(self.country)),
            region: owned(self.region),
            city: owned(self.city),
            zip: owned(self.zip),
            asn: self.asn,
            isp: owned(self.isp),
        };
        let exit = Exit {
            ip: ip(self.ip),
            os: owned(self.os),
            ..at(self.n, place).exit
        };
        Facts {
            exit,
            region_code: self.region_code,
            max_streams: self.max_streams,
            sharing: self.sharing,
            ..anyone(self.n)
        }
    }

    fn has_room(&self) -> bool {
        self.sharing && self.streams.len() < usize::try_from(self.max_streams).unwrap()
    }

    fn fits(&self, wish: &AWish) -> bool {
        let is = |wanted: Option<&str>, has: Option<&str>| wanted.is_none() || wanted == has;
        let unknown = self.country == "ZZ";
        (wish.countries.is_empty() || wish.countries.contains(&self.country))
            && !(wish.exclude.contains(&self.country) || unknown && !wish.exclude.is_empty())
            && (is(wish.region, self.region) || is(wish.region, self.region_code))
            && is(wish.city, self.city)
            && is(wish.zip, self.zip)
            && is(wish.isp, self.isp)
            && is(wish.os, self.os)
            && (wish.asn.is_none() || wish.asn == self.asn)
    }
}

#[derive(Clone, Debug)]
struct AWish {
    countries: Vec<&'static str>,
    exclude: Vec<&'static str>,
    region: Option<&'static str>,
    city: Option<&'static str>,
    zip: Option<&'static str>,
    asn: Option<u32>,
    isp: Option<&'static str>,
    os: Option<&'static str>,
    avoid: Vec<u8>,
    avoid_ips: Vec<u8>,
    prefer: Option<(u8, u8, u8)>,
    seed: u64,
}

impl AWish {
    /// None where the wish contradicts itself.
    fn targeting(&self) -> Option<Targeting> {
        let mut builder = Targeting::builder();
        let parts = [
            (
                "country",
                (!self.countries.is_empty()).then(|| self.countries.join("+")),
            ),
            (
                "exclude",
                (!self.exclude.is_empty()).then(|| self.exclude.join("+")),
            ),
            ("region", self.region.map(str::to_owned)),
            ("city", self.city.map(str::to_owned)),
            ("zip", self.zip.map(str::to_owned)),
            ("asn", self.asn.map(|asn| asn.to_string())),
            ("isp", self.isp.map(str::to_owned)),
            ("os", self.os.map(str::to_owned)),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                builder = builder.set(name, &value);
            }
        }
        builder.build().ok()
    }
}

fn some_country() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["US", "GB", "IL"])
}

/// Region and city names on purpose overlap between countries, and with each other.
fn maybe(names: &'static [&'static str]) -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(names))
}

fn some_node() -> impl Strategy<Value = Model> {
    let place = (
        prop_oneof![5 => some_country(), 1 => Just("ZZ")],
        (maybe(&["ontario", "georgia"]), maybe(&["on", "georgia"])),
        maybe(&["london", "ontario", "haifa"]),
        maybe(&["10001", "10002"]),
        prop::option::of(1..4_u32),
        maybe(&["bezeq", "at&t"]),
        maybe(&["android", "ios"]),
    );
    (0..30_u8, 0..12_u8, place, 0..3_u32, prop::bool::weighted(0.8)).prop_map(
        |(n, ip, (country, (region, region_code), city, zip, asn, isp, os), max_streams, sharing)| Model {
            n,
            ip,
            country,
            region,
            region_code,
            city,
            zip,
            asn,
            isp,
            os,
            max_streams,
            sharing,
            streams: Vec::new(),
        },
    )
}

fn some_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => some_node().prop_map(Act::Insert),
        2 => (0..30_u8).prop_map(Act::Remove),
        1 => (0..30_u8, any::<bool>()).prop_map(|(n, sharing)| Act::Share(n, sharing)),
        3 => (0..30_u8, 0..3_u64).prop_map(|(n, customer)| Act::Open(n, customer)),
        2 => (0..30_u8, 0..3_u64).prop_map(|(n, customer)| Act::Close(n, customer)),
    ]
}

fn some_wish() -> impl Strategy<Value = AWish> {
    let place = (
        prop::collection::vec(some_country(), 0..3),
        prop::collection::vec(some_country(), 0..2),
        maybe(&["ontario", "georgia", "on", "nowhere"]),
        maybe(&["london", "ontario", "haifa"]),
        maybe(&["10001"]),
        prop::option::weighted(0.3, 1..4_u32),
        maybe(&["bezeq"]),
        maybe(&["android"]),
    );
    let avoid = (
        prop::collection::vec(0..30_u8, 0..6),
        prop::collection::vec(0..12_u8, 0..4),
        prop::option::of((0..30_u8, 0..12_u8, 0..3_u8)),
    );
    (place, prop::bits::u8::masked(0x3f), avoid, any::<u64>()).prop_map(
        |((countries, exclude, region, city, zip, asn, isp, os), keep, (avoid, avoid_ips, prefer), seed)| {
            AWish {
                countries,
                exclude,
                // A wish of everything at once is rarely fulfilled: keep some parts only.
                region: region.filter(|_| keep & 1 != 0),
                city: city.filter(|_| keep & 2 != 0),
                zip: zip.filter(|_| keep & 12 == 12),
                asn,
                isp: isp.filter(|_| keep & 20 == 20),
                os: os.filter(|_| keep & 32 != 0),
                avoid,
                avoid_ips,
                prefer,
                seed,
            }
        },
    )
}

/// Whether a node may take the place of a session's exit that is gone.
fn may_follow(model: &Model, or_else: u8) -> bool {
    match or_else {
        0 => false,
        1 => model.asn == Some(1),
        _ => true,
    }
}

/// The nodes that may be chosen, or why none, by looking at all of them.
fn naive(model: &BTreeMap<u8, Model>, wish: &AWish) -> Result<Vec<u8>, NoChoice> {
    let wanted = |model: &&Model| model.has_room() && model.fits(wish);
    let allowed = |model: &&Model| !wish.avoid.contains(&model.n) && !wish.avoid_ips.contains(&model.ip);
    let all = |also: &dyn Fn(&Model) -> bool| -> Vec<u8> {
        let fitting = model.values().filter(wanted).filter(allowed);
        fitting.filter(|model| also(model)).map(|model| model.n).collect()
    };
    let steps: Vec<Vec<u8>> = match wish.prefer {
        None => vec![all(&|_| true)],
        Some((n, ip, or_else)) => vec![
            all(&|model| model.n == n && model.ip == ip),
            all(&|model| model.ip == ip),
            all(&|model| model.n == n && may_follow(model, or_else)),
            all(&|model| may_follow(model, or_else)),
        ],
    };
    if let Some(step) = steps.into_iter().find(|step| !step.is_empty()) {
        return Ok(step);
    }
    Err(match wish.prefer {
        Some((_, _, 0 | 1)) => NoChoice::SessionExitGone,
        _ if model.values().any(|model| wanted(&model)) => NoChoice::NoOtherExit,
        _ => NoChoice::NoExit,
    })
}

proptest! {
    #[test]
    fn chooses_as_someone_who_looks_at_every_node(
        acts in prop::collection::vec(some_act(), 1..150),
        wishes in prop::collection::vec(some_wish(), 20),
    ) {
        let mut directory = Directory::default();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        for act in acts {
            let key = |n: u8, directory: &Directory<u8>| directory.find(node(n)).map(|(key, _)| key);
            match act {
                Act::Insert(new) => {
                    let (_, replaced) = add(&mut directory, &new.facts(), new.n);
                    prop_assert_eq!(replaced.is_some(), model.insert(new.n, new).is_some());
                }
                Act::Remove(n) => {
                    let removed = key(n, &directory).and_then(|key| directory.remove(key));
                    prop_assert_eq!(removed.is_some(), model.remove(&n).is_some());
                }
                Act::Share(n, sharing) => {
                    if let Some(key) = key(n, &directory) {
                        directory.set_sharing(key, sharing);
                        model.get_mut(&n).unwrap().sharing = sharing;
                    }
                }
                Act::Open(n, customer) => {
                    if let Some(key) = key(n, &directory) {
                        let node = model.get_mut(&n).unwrap();
                        prop_assert_eq!(directory.open_stream(key, customer), node.has_room());
                        if node.has_room() {
                            node.streams.push(customer);
                        }
                    }
                }
                Act::Close(n, customer) => {
                    let Some(node) = model.get_mut(&n) else { continue };
                    if let Some(at) = node.streams.iter().position(|of| *of == customer) {
                        node.streams.swap_remove(at);
                        directory.close_stream(key(n, &directory).unwrap(), customer);
                    }
                }
            }
        }
        prop_assert_eq!(directory.len(), model.len());
        prop_assert_eq!(directory.available(), model.values().filter(|node| node.has_room()).count());
        let mut by_country: BTreeMap<String, u64> = BTreeMap::new();
        for node in model.values() {
            *by_country.entry(node.country.to_owned()).or_default() += 1;
        }
        prop_assert_eq!(directory.stats().country_breakdown, by_country);

        for wish in wishes {
            let avoid = Avoid {
                nodes: wish.avoid.iter().map(|n| node(*n)).collect(),
                ips: wish.avoid_ips.iter().map(|n| ip(*n)).collect(),
            };
            let Some(targeting) = wish.targeting() else { continue };
            let prefer = wish.prefer.map(|(n, at, or_else)| Preference {
                node: node(n),
                ip: ip(at),
                or_else: match or_else {
                    0 => OrElse::SameIp,
                    1 => OrElse::SameAsn(1),
                    _ => OrElse::Any,
                },
            });
            let asked = Wish { targeting: &targeting, prefer, avoid: &avoid, customer: 9 };
            let found = directory.choose(&asked, &mut SmallRng::seed_from_u64(wish.seed));
            match (found.map(|key| *directory.get(key).unwrap()), naive(&model, &wish)) {
                (Ok(n), Ok(fitting)) => prop_assert!(fitting.contains(&n), "{n} is not among {fitting:?}"),
                (Err(error), Err(expected)) => prop_assert_eq!(error, expected),
                (found, expected) => prop_assert!(false, "{:?} where {:?} was due", found, expected),
            }
        }
    }
}
