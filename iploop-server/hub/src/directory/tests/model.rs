//! The directory beside somebody who looks at every node.

use super::*;

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
