//! Whom a choice falls on.

mod load;
mod model;
mod sticky;

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

#[test]
fn a_walk_over_the_list_meets_each_wanted_node_once_and_says_who_is_busy() {
    let mut directory = Directory::default();
    let mut keys = Vec::new();
    for n in 0..20 {
        keys.push(add(&mut directory, &anyone(n), n).0);
    }
    directory.remove(keys[3]);
    directory.set_sharing(keys[6], false);
    let (mut seen, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let (rows, next) = directory.list(place, 4, |n, is_available, quality| {
            (n % 3 == 0).then_some((*n, is_available, quality))
        });
        assert!(rows.len() <= 4);
        seen.extend(rows);
        from = next;
    }
    let wanted = [0, 6, 9, 12, 15, 18].map(|n: u8| (n, n != 6, 80));
    assert_eq!(seen, wanted);
    assert_eq!(
        directory.list(u32::MAX, 4, |n, _, _| Some(*n)),
        (Vec::new(), None)
    );
}
