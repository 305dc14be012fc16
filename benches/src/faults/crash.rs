//! A server that is killed while streams run: what is billed of them, and how soon it serves again.

use std::time::{Duration, Instant};

use super::customers::{Past, Running, eventually};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};

const ROUNDS: usize = 3;
const STREAMS: usize = 32;
/// Bytes a second of each.
const RATE: u64 = 200_000;
/// How long they run before the kill, and how much longer in each round: the kill finds the journal elsewhere.
const RUNS: Duration = Duration::from_millis(3_000);
const RUNS_LONGER: Duration = Duration::from_millis(370);
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut site = Site::with_devices(&bench.binaries, Settings::default(), 3).await?;
    let (mut ended, mut serving_again) = (Vec::new(), Duration::ZERO);
    for round in 0..ROUNDS {
        let first = round * STREAMS;
        let mut streams = Running::start_all(&site.customer(), first..first + STREAMS, |tag| {
            format!("drip {tag} {RATE}")
        })
        .await?;
        tokio::time::sleep(RUNS + RUNS_LONGER * u32::try_from(round)?).await;
        let killed = Instant::now();
        site.kill_server().await?;
        let started = Instant::now();
        site.start_server().await?;
        let customer = site.customer();
        eventually("a request is served", LIMIT, async || {
            customer
                .ask(Duration::ZERO, 1_024)
                .await
                .is_served()
                .then_some(())
        })
        .await?;
        serving_again = serving_again.max(started.elapsed());
        for (number, stream) in streams.iter_mut().enumerate() {
            let past = stream.ended_within(LIMIT).await.unwrap_or_default();
            ended.push((first + number, stream.id.clone(), past, killed));
        }
    }
    // Once more in the middle of what a start has to do: nothing is booked again.
    site.kill_server().await?;
    site.start_server().await?;

    let (mut twice, mut unbilled) = (0, Duration::ZERO);
    for (tag, id, past, killed) in &ended {
        let billed = eventually("every stream is booked to its end", LIMIT, async || {
            site.booked(id).await.ok().flatten()
        })
        .await?;
        twice += billed.saturating_sub(site.destination.sent(*tag));
        unbilled = unbilled.max(behind(past, billed, *killed));
    }
    site.ask_to_leave()?;
    site.left().await?;
    site.check_ledger().await?;
    let [used, booked] = site.used(&site.account).await?;
    Ok(vec![
        Figure::new("billed twice", twice as f64, " bytes", Bound::AtMost(0.0)).of(format!(
            "{} streams of {} kB/s, {} kills; the ledger is in order",
            ended.len(),
            RATE / 1_000,
            ROUNDS + 1
        )),
        Figure::new(
            "purse beside the sum of its requests",
            (used - booked).abs() as f64,
            " bytes",
            Bound::AtMost(0.0),
        ),
        Figure::new(
            "unbilled of a stream, the worst",
            unbilled.as_secs_f64(),
            " s",
            Bound::AtMost(1.0),
        ),
        Figure::new(
            "serving again after the start, the slowest",
            serving_again.as_secs_f64(),
            " s",
            Bound::AtMost(5.0),
        ),
    ])
}

/// How long before the kill the first byte arrived that is not billed.
fn behind(past: &Past, billed: u64, killed: Instant) -> Duration {
    let first = past.arrivals.iter().find(|(_, arrived)| *arrived > billed);
    first.map_or(Duration::ZERO, |(at, _)| killed.saturating_duration_since(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unbilled_is_counted_from_its_first_byte() {
        let killed = Instant::now() + Duration::from_secs(10);
        let before = |ms| killed - Duration::from_millis(ms);
        let past = Past {
            arrivals: vec![(before(900), 100), (before(400), 200), (before(10), 300)],
            ..Past::default()
        };
        assert_eq!(behind(&past, 300, killed), Duration::ZERO);
        assert_eq!(behind(&past, 250, killed), Duration::from_millis(10));
        assert_eq!(behind(&past, 100, killed), Duration::from_millis(400));
        assert_eq!(behind(&past, 0, killed), Duration::from_millis(900));
    }
}
