//! The directory at a million nodes: memory for each, and the time of a choice and of coming and going.
//!
//! `cargo bench -p iploop-hub --bench directory`

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use iploop_hub::directory::{Directory, NodeFacts, NodeKey, Wish};
use iploop_platform::exits::{Avoid, Exit, OrElse, Place, Preference};
use iploop_platform::ids::NodeId;
use iploop_protocol::targeting::{CountryCode, Targeting};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const NODES: u32 = 1_000_000;

/// Time on the processor, in nanoseconds: steady on a machine that others use as well. Linux counts it.
struct CpuTime;

impl CpuTime {
    fn now() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .unwrap_or(0)
    }
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        Self::now()
    }

    fn end(&self, start: u64) -> u64 {
        Self::now() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, nanos: &u64) -> f64 {
        Duration::from_nanos(*nanos).as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// As uneven as life: low numbers are common, high ones rare.
fn skewed(random: &mut SmallRng, most: u32) -> u32 {
    let share: f64 = random.random();
    let drawn = f64::from(most) * share * share * share;
    // Below `most`, so that it fits.
    (0..32).rev().fold(0, |sum, bit| {
        if f64::from(sum + (1 << bit)) <= drawn {
            sum + (1 << bit)
        } else {
            sum
        }
    })
}

fn some_exit(n: u32, random: &mut SmallRng, countries: &[CountryCode]) -> Exit {
    let country = skewed(random, 249);
    let region = skewed(random, 20);
    let city = skewed(random, 400);
    let asn = skewed(random, 120);
    Exit {
        node: NodeId::from(uuid::Uuid::from_u128(u128::from(n) << 64 | u128::from(n))),
        ip: std::net::Ipv4Addr::from_bits(0x0100_0000 + n).into(),
        place: Place {
            country: countries
                .get(usize::try_from(country).unwrap_or_default())
                .map(|code| code.as_str().to_owned()),
            region: Some(format!("Region {region}")),
            city: Some(format!("City {country} {city}")),
            zip: Some(format!("{:05}", city * 10 + skewed(random, 10))),
            asn: Some(1000 * country + asn + 1),
            isp: Some(format!("Provider {country} {asn}")),
        },
        net: Some(
            if random.random_bool(0.8) {
                "wifi"
            } else {
                "cellular"
            }
            .to_owned(),
        ),
        os: Some(
            if random.random_bool(0.7) {
                "android"
            } else {
                "windows"
            }
            .to_owned(),
        ),
    }
}

fn insert(directory: &mut Directory<u64>, exit: &Exit, handle: u64) -> NodeKey {
    let region_code = exit
        .place
        .region
        .as_ref()
        .map(|name| name.replace("Region ", "R"));
    let facts = NodeFacts {
        exit,
        region_code: region_code.as_deref(),
        max_streams: 64,
        quality: 80,
        sharing: true,
    };
    directory.insert(&facts, handle).0
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .unwrap_or(0)
        * 4096
}

fn directory(criterion: &mut Criterion<CpuTime>) {
    let countries: Vec<CountryCode> = CountryCode::all().collect();
    let mut random = SmallRng::seed_from_u64(1);
    let mut directory = Directory::default();
    let before = resident_bytes();
    for n in 0..NODES {
        insert(
            &mut directory,
            &some_exit(n, &mut random, &countries),
            u64::from(n),
        );
    }
    let bytes = (resident_bytes() - before) / usize::try_from(NODES).unwrap_or(1);
    eprintln!("directory: {} nodes, {bytes} bytes each", directory.len());

    let mut group = criterion.benchmark_group("directory of a million");
    // Samples of equal length, far longer than the steps in which processor time is counted.
    group.sampling_mode(SamplingMode::Flat);

    let common = some_exit(7, &mut SmallRng::seed_from_u64(2), &countries);
    let country = common.place.country.clone().unwrap_or_default();
    let city = common.place.city.clone().unwrap_or_default().replace(' ', "_");
    let asn = common.place.asn.unwrap_or_default();
    let nobody = Avoid::default();
    for (name, text) in [
        ("anywhere", String::new()),
        ("country", format!("country-{country}")),
        (
            "country city asn",
            format!("country-{country}-city-{city}-asn-{asn}"),
        ),
        ("eu", "country-eu".to_owned()),
        ("city without country", format!("city-{city}")),
        (
            "country, excluded by draw",
            format!("exclude-{country}-net-cellular"),
        ),
        ("nowhere", "city-atlantis".to_owned()),
    ] {
        let Ok(targeting) = Targeting::parse(&text) else {
            continue;
        };
        let wish = Wish {
            targeting: &targeting,
            prefer: None,
            avoid: &nobody,
            customer: 1,
        };
        group.bench_function(format!("choose {name}"), |bencher| {
            bencher.iter(|| black_box(directory.choose(black_box(&wish), &mut random)));
        });
    }

    let any = Targeting::default();
    let prefer = Preference {
        node: common.node,
        ip: common.ip,
        or_else: OrElse::Any,
    };
    let sticky = Wish {
        targeting: &any,
        prefer: Some(prefer),
        avoid: &nobody,
        customer: 1,
    };
    group.bench_function("choose sticky", |bencher| {
        bencher.iter(|| black_box(directory.choose(black_box(&sticky), &mut random)));
    });
    let wish = Wish {
        prefer: None,
        ..sticky
    };
    group.bench_function("choose, open and close a stream", |bencher| {
        bencher.iter(|| {
            if let Ok(key) = directory.choose(black_box(&wish), &mut random) {
                directory.open_stream(key, 1);
                directory.close_stream(key, 1);
            }
        });
    });
    let guest = some_exit(NODES, &mut random, &countries);
    group.bench_function("come and go", |bencher| {
        bencher.iter(|| {
            let key = insert(&mut directory, black_box(&guest), 1);
            directory.remove(key)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).measurement_time(Duration::from_secs(3)).sample_size(20).without_plots();
    targets = directory
}
criterion_main!(benches);
