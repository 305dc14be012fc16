//! What it costs to read a login, from the shortest to the longest and the worst.
//!
//! `cargo bench -p iploop-protocol --bench targeting`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use iploop_protocol::targeting::{Credentials, MAX_FIELD_BYTES, Targeting};

fn credentials(criterion: &mut Criterion) {
    let key = format!("iploop_{}", "0a".repeat(24));
    let cases = [
        ("key_alone", key.clone()),
        ("country", format!("{key}-country-us")),
        (
            "sticky_city",
            format!("{key}-country-us-region-new-york-city-new-york-session-a1b2c3-lifetime-30m"),
        ),
        (
            "many",
            format!(
                "{key}-country-de+fr+eu-exclude-ru-asn-3320-isp-deutsche_telekom-net-wifi-os-android-session-x-lifetime-1h\
                 -failover-same-asn-profile-chrome-win-speed-10-latency-200-dns-exit-debug-1"
            ),
        ),
        (
            "refused_at_its_end",
            format!("{key}-country-us-{}", "a-".repeat(400)),
        ),
        ("too_long", "a-".repeat(MAX_FIELD_BYTES)),
    ];
    let mut group = criterion.benchmark_group("credentials");
    for (name, password) in &cases {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| Credentials::parse(black_box("iploop"), black_box(password)));
        });
    }
    group.finish();
    let targeting = Targeting::parse("country-us-city-new-york-session-a1b2c3").unwrap_or_default();
    criterion.bench_function("targeting_as_text", |bencher| {
        bencher.iter(|| black_box(&targeting).to_string());
    });
}

criterion_group!(benches, credentials);
criterion_main!(benches);
