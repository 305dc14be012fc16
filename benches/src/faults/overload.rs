//! Five times as many requests as the gateway can serve, whether or not it answers the ones before.
//!
//! A request holds its place (`gateway.max_connections`) for as long as its destination takes, as most requests of a proxy do. So
//! capacity is places over time; what is measured is the most that was served at rising rates, then what is served at five
//! times that, and how the rest is told.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::customers::{Asked, Customer};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::cores;
use crate::statistics::Latency;

/// `gateway.max_connections`.
const PLACES: usize = 200;
/// What the destination takes, and answers.
const WAIT: Duration = Duration::from_millis(500);
const ANSWER_BYTES: usize = 16 * 1024;
/// Offered in the search for the peak, as a share of places over time.
const SHARES: [f64; 6] = [0.6, 0.8, 0.9, 1.0, 1.2, 1.5];
const OVER: f64 = 5.0;
const SEARCH: Duration = Duration::from_secs(5);
const FLOOD: Duration = Duration::from_secs(12);
/// One customer in so many does not hang up at once when it is refused.
const ONE_STAYS: u64 = 10;
const STAYS: Duration = Duration::from_secs(1);
/// At the beginning of each rate, before anything counts.
const WARM_UP: Duration = Duration::from_millis(1_500);
/// Requests under way at the same time; far more than places and refusals together.
const MOST_UNDER_WAY: usize = 6_000;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let _pinned = cores::Pinned::to(bench.load_core)?;
    let settings = Settings {
        environment: vec![("IPLOOP_GATEWAY__MAX_CONNECTIONS", PLACES.to_string())],
        core: Some(bench.server_core),
        ..Settings::default()
    };
    let site = Site::with_devices(&bench.binaries, settings, 2).await?;
    let customer = site.customer();
    let expected = PLACES as f64 / WAIT.as_secs_f64();
    let mut peak = 0.0_f64;
    for share in SHARES {
        peak = peak.max(offer(&customer, share * expected, SEARCH).await?.goodput());
    }
    let flood = offer(&customer, OVER * peak, FLOOD).await?;
    let refusals: Vec<Duration> = flood.refused().map(|asked| asked.took).collect();
    let latency = Latency::of(&refusals);
    let slowest = refusals.iter().max().copied().unwrap_or_default();
    let served: Vec<Duration> = flood
        .asked
        .iter()
        .filter(|asked| asked.is_served())
        .map(|asked| asked.took)
        .collect();
    let served = Latency::of(&served);
    let lost = flood
        .asked
        .iter()
        .filter(|asked| !asked.is_served() && !asked.is_refused("overloaded"))
        .count();
    if let Some(strange) = flood
        .asked
        .iter()
        .find(|asked| !asked.is_served() && !asked.is_refused("overloaded"))
    {
        eprintln!("overload: {strange:?}");
    }
    Ok(vec![
        Figure::new("peak goodput", peak, "/s", Bound::None).of(format!(
            "{PLACES} places, destinations of {} ms",
            WAIT.as_millis()
        )),
        Figure::new(
            "goodput at five times that, of the peak",
            flood.goodput() / peak,
            "",
            Bound::AtLeast(0.9),
        )
        .of(format!(
            "{:.0}/s served of {:.0}/s offered, p50 {:.0} ms",
            flood.goodput(),
            flood.offered_per_second(),
            served.map_or(f64::NAN, |latency| latency.p50_us / 1e3)
        )),
        Figure::new(
            "offered, times the peak",
            flood.offered_per_second() / peak,
            "",
            Bound::AtLeast(OVER * 0.98),
        ),
        Figure::new(
            "refusals, p99",
            latency.map_or(f64::NAN, |latency| latency.p99_us / 1e3),
            " ms",
            Bound::AtMost(50.0),
        )
        .of(format!(
            "{} refusals, p50 {:.1} ms, the slowest {:.0} ms",
            refusals.len(),
            latency.map_or(f64::NAN, |latency| latency.p50_us / 1e3),
            slowest.as_secs_f64() * 1e3
        )),
        Figure::none_of("neither served nor told", lost, flood.asked.len(), "requests"),
    ])
}

/// What came of a rate.
struct Offered {
    began: Instant,
    seconds: Duration,
    asked: Vec<Asked>,
}

impl Offered {
    /// Served a second, by when they ended, after the warm-up.
    fn goodput(&self) -> f64 {
        let counted = self.began + WARM_UP..self.began + self.seconds;
        let served = self
            .asked
            .iter()
            .filter(|asked| asked.is_served() && counted.contains(&(asked.began + asked.took)));
        served.count() as f64 / (self.seconds - WARM_UP).as_secs_f64()
    }

    fn offered_per_second(&self) -> f64 {
        self.asked.len() as f64 / self.seconds.as_secs_f64()
    }

    fn refused(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| asked.is_refused("overloaded"))
    }
}

/// So many new requests a second, whatever becomes of the others.
async fn offer(customer: &Customer, per_second: f64, seconds: Duration) -> anyhow::Result<Offered> {
    let mut under_way = JoinSet::new();
    let mut asked = Vec::new();
    let mut sent = 0_u64;
    let began = Instant::now();
    while began.elapsed() < seconds {
        let due = began.elapsed().as_secs_f64() * per_second;
        while (sent as f64) < due {
            anyhow::ensure!(under_way.len() < MOST_UNDER_WAY, "nobody is told any more");
            let mut customer = customer.clone();
            if sent.is_multiple_of(ONE_STAYS) {
                customer.stays = STAYS;
            }
            under_way.spawn(async move { customer.ask(WAIT, ANSWER_BYTES).await });
            sent += 1;
        }
        sleep(Duration::from_millis(1)).await;
        while let Some(one) = under_way.try_join_next() {
            asked.push(one?);
        }
    }
    while let Some(one) = under_way.join_next().await {
        asked.push(one?);
    }
    Ok(Offered {
        began,
        seconds,
        asked,
    })
}
