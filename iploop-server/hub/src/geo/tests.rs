use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

/// A value of the MaxMind DB format, as far as these tests need it.
enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Degrees(f64),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

use Value::{Degrees, List, Long, Map, Number, Short, Text};

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        // A control byte holds the type and a size below 29; larger ones, up to 284, go on in a second byte.
        let size = |n: usize| u8::try_from(n).unwrap();
        match self {
            Text(text) => {
                match text.len() {
                    short @ ..29 => out.push(2 << 5 | size(short)),
                    long => out.extend([2 << 5 | 29, size(long - 29)]),
                }
                out.extend(text.bytes());
            }
            Short(number) => {
                out.push(5 << 5 | 2);
                out.extend(number.to_be_bytes());
            }
            Long(number) => {
                out.extend([8, 9 - 7]);
                out.extend(number.to_be_bytes());
            }
            Degrees(degrees) => {
                out.push(3 << 5 | 8);
                out.extend(degrees.to_be_bytes());
            }
            Number(number) => {
                out.push(6 << 5 | 4);
                out.extend(number.to_be_bytes());
            }
            Map(entries) => {
                out.push(7 << 5 | size(entries.len()));
                for (key, value) in entries {
                    Text(key).write(out);
                    value.write(out);
                }
            }
            List(values) => {
                out.extend([size(values.len()), 11 - 7]);
                values.iter().for_each(|value| value.write(out));
            }
        }
    }
}

/// A database of one IPv4 range: a search tree that is one branch, the value, and the metadata.
fn database(kind: &'static str, range: [u8; 3], value: Value) -> NamedTempFile {
    let bits: Vec<usize> = range
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1)))
        .collect();
    let nodes = u32::try_from(bits.len()).unwrap();
    let mut out = Vec::new();
    for (next, bit) in (1..).zip(&bits) {
        let mut records = [nodes; 2];
        records[*bit] = if next == nodes { nodes + 16 } else { next };
        out.extend(
            records
                .iter()
                .flat_map(|record| record.to_be_bytes()[1..].to_vec()),
        );
    }
    out.extend([0; 16]);
    value.write(&mut out);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = Map(vec![
        ("binary_format_major_version", Short(2)),
        ("binary_format_minor_version", Short(0)),
        ("build_epoch", Long(1)),
        ("database_type", Text(kind)),
        ("description", Map(vec![("en", Text("made by a test"))])),
        ("ip_version", Short(4)),
        ("languages", List(vec![Text("en")])),
        ("node_count", Number(nodes)),
        ("record_size", Short(24)),
    ]);
    metadata.write(&mut out);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&out).unwrap();
    file
}

fn named(name: &'static str) -> Value {
    Map(vec![("names", Map(vec![("en", Text(name))]))])
}

fn files() -> (NamedTempFile, NamedTempFile) {
    let city = Map(vec![
        ("city", named("Haifa")),
        (
            "country",
            Map(vec![
                ("iso_code", Text("IL")),
                ("names", Map(vec![("en", Text("Israel"))])),
            ]),
        ),
        (
            "location",
            Map(vec![
                ("latitude", Degrees(32.8191)),
                ("longitude", Degrees(34.9983)),
            ]),
        ),
        ("postal", Map(vec![("code", Text("3100000"))])),
        (
            "subdivisions",
            List(vec![Map(vec![
                ("iso_code", Text("HA")),
                ("names", Map(vec![("en", Text("Haifa District"))])),
            ])]),
        ),
    ]);
    let asn = Map(vec![
        ("autonomous_system_number", Number(8551)),
        ("autonomous_system_organization", Text("Bezeq International")),
    ]);
    (
        database("GeoLite2-City", [198, 51, 100], city),
        database("GeoLite2-ASN", [198, 51, 100], asn),
    )
}

fn entry(cidr: &str) -> Override {
    Override {
        cidr: cidr.parse().unwrap(),
        country: None,
        region: None,
        city: None,
        zip: None,
        asn: None,
        isp: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_files_tell_place_and_network() {
    let (city, asn) = files();
    let config = GeoConfig {
        city: Some(city.path().to_owned()),
        asn: Some(asn.path().to_owned()),
        overrides: vec![],
    };
    let geo = Geo::open(&config).unwrap();
    let place = Place {
        country: Some("IL".into()),
        region: Some("Haifa District".into()),
        city: Some("Haifa".into()),
        zip: Some("3100000".into()),
        asn: Some(8551),
        isp: Some("Bezeq International".into()),
    };
    let located = Located {
        place,
        region_code: Some("HA".into()),
        facts: GeoFacts {
            country_name: Some("Israel".into()),
            point: Point::from_tenths(328, 350),
            carrier: None,
        },
    };
    assert_eq!(geo.locate(ip("198.51.100.7")), located);
    assert_eq!(
        geo.locate(ip("::ffff:198.51.100.7")),
        located,
        "an IPv4 address in IPv6 form is the same one"
    );
    assert_eq!(geo.locate(ip("203.0.113.7")), Located::default());
    assert_eq!(geo.locate(ip("2001:db8::1")), Located::default());
}

#[test]
fn without_files_every_place_is_unknown() {
    let geo = Geo::open(&GeoConfig::default()).unwrap();
    assert_eq!(geo.locate(ip("198.51.100.7")), Located::default());
}

#[test]
fn the_most_specific_override_wins() {
    let us = Some("us".to_owned());
    let overrides = vec![
        Override {
            country: us.clone(),
            isp: Some("Test Net".into()),
            ..entry("127.0.0.0/8")
        },
        Override {
            country: us.clone(),
            city: Some("New York".into()),
            asn: Some(64500),
            ..entry("127.0.1.0/24")
        },
        Override {
            country: Some("DE".into()),
            ..entry("127.0.1.7/32")
        },
        Override {
            country: Some("FR".into()),
            ..entry("fd00::/8")
        },
    ];
    let geo = Geo::open(&GeoConfig {
        overrides,
        ..GeoConfig::default()
    })
    .unwrap();
    let country = |text: &str| geo.locate(ip(text)).place.country;
    assert_eq!(country("127.0.1.7").as_deref(), Some("DE"));
    assert_eq!(country("127.9.9.9").as_deref(), Some("US"));
    assert_eq!(country("fd00::1").as_deref(), Some("FR"));
    assert_eq!(country("128.0.0.1"), None);
    assert_eq!(
        geo.locate(ip("127.0.1.8")).place.city.as_deref(),
        Some("New York")
    );
    assert_eq!(geo.locate(ip("127.0.1.8")).place.asn, Some(64500));
    assert_eq!(
        geo.locate(ip("127.0.1.8")).place.isp,
        None,
        "one override applies, not several"
    );
}

#[test]
fn an_override_leaves_alone_what_it_does_not_name() {
    let (city, asn) = files();
    let overrides = vec![
        Override {
            isp: Some("Ours".into()),
            ..entry("198.51.100.0/25")
        },
        Override {
            country: Some("US".into()),
            ..entry("198.51.100.128/25")
        },
    ];
    let config = GeoConfig {
        city: Some(city.path().to_owned()),
        asn: Some(asn.path().to_owned()),
        overrides,
    };
    let geo = Geo::open(&config).unwrap();
    let named = geo.locate(ip("198.51.100.7")).place;
    assert_eq!(
        (named.city.as_deref(), named.isp.as_deref()),
        (Some("Haifa"), Some("Ours"))
    );
    let moved = geo.locate(ip("198.51.100.200")).place;
    assert_eq!(
        (moved.country.as_deref(), moved.city, moved.asn),
        (Some("US"), None, Some(8551))
    );
}

#[test]
fn a_wrong_file_or_override_is_named() {
    let complain = |config: GeoConfig| {
        let problems = config.file_mistakes();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    };
    let missing = complain(GeoConfig {
        city: Some("/nowhere/city.mmdb".into()),
        ..GeoConfig::default()
    });
    assert!(
        missing.starts_with("geo.city: /nowhere/city.mmdb can't be used"),
        "{missing}"
    );

    let mut garbage = NamedTempFile::new().unwrap();
    garbage.write_all(b"no database").unwrap();
    let corrupt = complain(GeoConfig {
        asn: Some(garbage.path().to_owned()),
        ..GeoConfig::default()
    });
    assert!(corrupt.starts_with("geo.asn: "), "{corrupt}");

    let (city, _) = files();
    let swapped = complain(GeoConfig {
        asn: Some(city.path().to_owned()),
        ..GeoConfig::default()
    });
    assert!(
        swapped.contains("holds \"GeoLite2-City\"; needed is one of kind ASN or ISP"),
        "{swapped}"
    );

    let bad = |entry: Override| {
        complain(GeoConfig {
            overrides: vec![entry],
            ..GeoConfig::default()
        })
    };
    let country = bad(Override {
        country: Some("USA".into()),
        ..entry("127.0.0.0/8")
    });
    assert!(
        country.contains("geo.overrides: 127.0.0.0/8: country is not a code"),
        "{country}"
    );
    assert!(
        bad(Override {
            asn: Some(0),
            ..entry("127.0.0.0/8")
        })
        .contains("asn 0")
    );
    assert!(
        bad(Override {
            city: Some(" ".into()),
            ..entry("127.0.0.0/8")
        })
        .contains("empty")
    );
    let twice = vec![entry("127.0.0.0/8"), entry("127.1.0.0/8")];
    let twice = complain(GeoConfig {
        overrides: twice,
        ..GeoConfig::default()
    });
    assert!(twice.contains("is there twice"), "{twice}");
}
