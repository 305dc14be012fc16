//! A server that is asked to leave while customers ask one request after the other and long downloads run.

use std::time::{Duration, Instant};

use super::customers::{Load, Outcome, Running, eventually};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};

const CUSTOMERS: usize = 64;
const DOWNLOADS: usize = 32;
/// What a download lasts beyond SIGTERM, and its bytes: near the end of the grace.
const LASTS_S: u64 = 28;
const BYTES: u64 = 280_000;
const ANSWER_BYTES: usize = 1_024;
/// `gateway.soft_drain` and the whole grace, by default.
const SOFT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the customer goes to another gateway now, as it was told, or has lost this one.
fn goes_elsewhere(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Served { .. })
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut site = Site::with_devices(&bench.binaries, Settings::default(), 3).await?;
    let customer = site.customer();
    let load = Load::start(&customer, CUSTOMERS, ANSWER_BYTES, goes_elsewhere);
    eventually("every customer is served", LIMIT, async || {
        (load.asked() > 5 * CUSTOMERS).then_some(())
    })
    .await?;
    let mut downloads =
        Running::start_all(&customer, 0..DOWNLOADS, |_| format!("last {LASTS_S} {BYTES}")).await?;
    let asked_to_leave = Instant::now();
    site.ask_to_leave()?;
    let all = load.finish().await;
    let mut finished = 0;
    for download in &mut downloads {
        let past = download.ended_within(LIMIT).await.unwrap_or_default();
        let bytes = past.arrivals.last().map_or(0, |(_, bytes)| *bytes);
        finished += usize::from(past.is_whole && bytes == BYTES);
    }
    site.left().await?;
    let gone = asked_to_leave.elapsed();

    let count = |is: fn(&Outcome) -> bool| all.iter().filter(|asked| is(&asked.outcome)).count();
    let refused = count(|outcome| matches!(outcome, Outcome::NoConnection(_)));
    let told = all.iter().filter(|asked| asked.is_refused("draining")).count();
    let failed = all.len() - told - refused - all.iter().filter(|asked| asked.is_served()).count();
    let after = all
        .iter()
        .filter(|asked| asked.is_served() && asked.began >= asked_to_leave);
    let first_told = all
        .iter()
        .filter(|asked| asked.is_refused("draining"))
        .map(|asked| asked.began)
        .min();
    let served_for = first_told.map_or(f64::NAN, |at| (at - asked_to_leave).as_secs_f64());
    Ok(vec![
        Figure::none_of("refused connections", refused, all.len(), "requests"),
        Figure::none_of("failed new requests", failed, all.len(), "requests").of(format!(
            "of {} requests; {} served after SIGTERM, then each of {told} customers told once",
            all.len(),
            after.count()
        )),
        Figure::new(
            "new requests served for",
            served_for,
            " s",
            Bound::AtLeast(SOFT.as_secs_f64()),
        ),
        Figure::none_of(
            format!("downloads of {LASTS_S} s cut"),
            DOWNLOADS - finished,
            DOWNLOADS,
            "downloads",
        ),
        Figure::new(
            "gone after",
            gone.as_secs_f64(),
            " s",
            Bound::AtMost(GRACE.as_secs_f64() + 1.0),
        ),
    ])
}
