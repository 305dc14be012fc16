//! One test on one peer: give the order, read the processes at the marks, reckon the figures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::suite::Test;
use crate::child::Process;
use crate::order::{Event, Mark, Order, Outcome, Scenario};
use crate::peer::{Role, Running};
use crate::process::Cost;

/// A test that takes longer is ended and counts as an error.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// A peer that works on while nothing moves is measured as it is.
const REST_LIMIT: Duration = Duration::from_secs(5);
const REST_PROBE: Duration = Duration::from_millis(200);
/// Of a probe's time: timers and pings go on at rest.
const REST_CPU_SECONDS: f64 = 0.015;
const GIB: f64 = 1_073_741_824.0;

/// What a row of the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Quantity {
    /// Median time of a request, in microseconds.
    P50,
    /// 99th percentile of the same.
    P99,
    /// Median with stalled streams beside it, divided by the median before them.
    Slowdown,
    /// 99th percentile of a healthy fleet, in microseconds.
    HealthyP99,
    /// That of a fleet with dead and slow devices, divided by the healthy one's.
    TailSlowdown,
    /// Share of new connections that were made.
    Served,
    ConnectionsPerSecond,
    /// CPU seconds of both sides.
    CpuPer10kConnections,
    BytesPerSecond,
    /// CPU seconds of both sides.
    CpuPerGib,
    /// Bulk beside small requests divided by bulk alone.
    BulkKept,
    /// Time of the first finisher divided by that of the last.
    FirstToLast,
    /// Anonymous memory of both sides, in KiB.
    MemoryPerStream,
    /// Anonymous memory of the gateway side, in KiB.
    GatewayMemoryPerStream,
    /// Highest resident memory of both sides over that at the start, in KiB.
    PeakGrowth,
}

/// Both sides of a peer at one mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides {
    gateway: Cost,
    device: Cost,
}

impl Sides {
    fn both(self) -> Cost {
        self.gateway + self.device
    }
}

/// Carries out one test; what the load could not do is in the outcome's errors.
pub(super) async fn measure(
    running: &Running,
    origin: SocketAddr,
    test: &Test,
) -> anyhow::Result<(Outcome, BTreeMap<Quantity, f64>)> {
    let folder = tempfile::tempdir()?;
    let mut load = Process::spawn_own("load", &["load".to_owned()], folder.path())?;
    let order = Order {
        route: running.route.clone(),
        destination: origin,
        scenario: test.scenario.clone(),
        hub: running.hub.clone(),
    };
    let carried_out = async {
        load.tell(&serde_json::to_string(&order)?).await?;
        let mut marks = BTreeMap::new();
        loop {
            match load.next_json::<Event>().await? {
                Event::Mark(mark) => {
                    match mark {
                        Mark::Begin => running.forget_peaks()?,
                        Mark::Held => wait_for_rest(running).await?,
                        Mark::End => {}
                    }
                    let sides = Sides {
                        gateway: running.cost(Role::Gateway)?,
                        device: running.cost(Role::Device)?,
                    };
                    marks.insert(mark, sides);
                    load.tell("").await?;
                }
                Event::Done(outcome) => return anyhow::Ok((outcome, marks)),
            }
        }
    };
    let (outcome, marks) = timeout(TEST_LIMIT, carried_out)
        .await
        .context("took too long")??;
    let quantities = reckon(&test.scenario, &outcome, &marks);
    Ok((outcome, quantities))
}

/// Waits until both sides have stopped working, so that no stalled stream is still filling; not for ever.
async fn wait_for_rest(running: &Running) -> anyhow::Result<()> {
    let start = Instant::now();
    let cpu =
        || anyhow::Ok(running.cost(Role::Gateway)?.cpu_seconds + running.cost(Role::Device)?.cpu_seconds);
    let mut before = cpu()?;
    while start.elapsed() < REST_LIMIT {
        sleep(REST_PROBE).await;
        let now = cpu()?;
        if now - before < REST_CPU_SECONDS {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

/// Every quantity that the outcome and the marks give.
fn reckon(scenario: &Scenario, outcome: &Outcome, marks: &BTreeMap<Mark, Sides>) -> BTreeMap<Quantity, f64> {
    let figures = &outcome.figures;
    let mut quantities = BTreeMap::new();
    let mut put = |quantity, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            quantities.insert(quantity, value);
        }
    };
    let change =
        |from: Mark, to: Mark, of: fn(Sides) -> f64| Some(of(*marks.get(&to)?) - of(*marks.get(&from)?));
    let cpu_seconds = change(Mark::Begin, Mark::End, |sides| sides.both().cpu_seconds);
    let count = figures.connections as f64;
    let bytes = figures.bytes as f64;

    put(Quantity::P50, figures.latency.map(|latency| latency.p50_us));
    put(Quantity::P99, figures.latency.map(|latency| latency.p99_us));
    match scenario {
        Scenario::Connect { .. } | Scenario::Http { .. } if count > 0.0 => {
            put(Quantity::ConnectionsPerSecond, Some(count / figures.seconds));
            put(
                Quantity::CpuPer10kConnections,
                cpu_seconds.map(|cpu| cpu / count * 10_000.0),
            );
        }
        Scenario::Bulk { .. } | Scenario::Equal { .. } | Scenario::Beside { .. } if bytes > 0.0 => {
            let rate = bytes / figures.seconds;
            put(Quantity::BytesPerSecond, Some(rate));
            put(Quantity::CpuPerGib, cpu_seconds.map(|cpu| cpu / bytes * GIB));
            put(
                Quantity::BulkKept,
                figures.alone_bytes_per_second.map(|alone| rate / alone),
            );
            put(Quantity::FirstToLast, figures.first_to_last);
            let peak = |sides: Sides| sides.both().peak_kib;
            let growth = marks.get(&Mark::End).map(|sides| peak(*sides));
            let start = marks.get(&Mark::Begin).map(|sides| sides.both().resident_kib);
            put(
                Quantity::PeakGrowth,
                growth.zip(start).map(|(growth, start)| growth - start),
            );
        }
        Scenario::Stalled { .. } | Scenario::Idle { .. } | Scenario::Devices { .. } if count > 0.0 => {
            let both = change(Mark::Begin, Mark::Held, |sides| sides.both().anonymous_kib);
            let gateway = change(Mark::Begin, Mark::Held, |sides| sides.gateway.anonymous_kib);
            put(Quantity::MemoryPerStream, both.map(|kib| kib / count));
            put(Quantity::GatewayMemoryPerStream, gateway.map(|kib| kib / count));
            let slowdown = figures.latency.zip(figures.latency_before);
            put(
                Quantity::Slowdown,
                slowdown.map(|(beside, before)| beside.p50_us / before.p50_us),
            );
        }
        Scenario::Fleet { .. } => {
            put(Quantity::Served, figures.served);
            let before = figures.latency_before.map(|latency| latency.p99_us);
            put(Quantity::HealthyP99, before);
            let after = figures.latency.map(|latency| latency.p99_us);
            put(
                Quantity::TailSlowdown,
                after.zip(before).map(|(after, before)| after / before),
            );
        }
        _ => {}
    }
    quantities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Figures, Way};
    use crate::statistics::Latency;

    fn at(cpu_seconds: f64, anonymous_kib: f64) -> Sides {
        let gateway = Cost {
            cpu_seconds,
            anonymous_kib,
            resident_kib: 1_000.0,
            peak_kib: 1_000.0 + anonymous_kib,
        };
        Sides {
            gateway,
            device: gateway,
        }
    }

    fn outcome(figures: Figures) -> Outcome {
        Outcome {
            errors: 0,
            first_error: None,
            figures,
        }
    }

    fn close(quantities: &BTreeMap<Quantity, f64>, quantity: Quantity, expected: f64) {
        let value = quantities.get(&quantity).copied().unwrap_or(f64::NAN);
        assert!(
            (value - expected).abs() < 1e-9,
            "{quantity:?}: {value}, not {expected}"
        );
    }

    #[test]
    fn cpu_is_that_of_both_sides_between_begin_and_end() {
        let marks = BTreeMap::from([(Mark::Begin, at(1.0, 0.0)), (Mark::End, at(1.5, 0.0))]);
        let scenario = Scenario::Connect {
            at_once: 16,
            seconds: 2.0,
            at_most: 9_999,
        };
        let figures = Figures {
            connections: 4_000,
            seconds: 2.0,
            ..Figures::default()
        };
        let quantities = reckon(&scenario, &outcome(figures), &marks);
        close(&quantities, Quantity::ConnectionsPerSecond, 2_000.0);
        close(&quantities, Quantity::CpuPer10kConnections, 2.5);
    }

    #[test]
    fn bulk_gives_rate_cpu_per_gib_and_what_was_kept() {
        let marks = BTreeMap::from([(Mark::Begin, at(0.0, 100.0)), (Mark::End, at(1.0, 300.0))]);
        let scenario = Scenario::Beside {
            streams: 32,
            ramp_seconds: 0.0,
            seconds: 2.0,
            pause_ms: 1,
        };
        let figures = Figures {
            bytes: 2 << 30,
            seconds: 4.0,
            alone_bytes_per_second: Some(1_073_741_824.0),
            ..Figures::default()
        };
        let quantities = reckon(&scenario, &outcome(figures), &marks);
        close(&quantities, Quantity::CpuPerGib, 1.0);
        close(&quantities, Quantity::BulkKept, 0.5);
        close(&quantities, Quantity::PeakGrowth, 600.0);
    }

    #[test]
    fn held_memory_is_per_stream_and_slowdown_is_against_before() {
        let marks = BTreeMap::from([(Mark::Begin, at(0.0, 100.0)), (Mark::Held, at(0.0, 420.0))]);
        let scenario = Scenario::Stalled {
            streams: 32,
            way: Way::Down,
            settle_seconds: 0.0,
            seconds: 1.0,
        };
        let latency = |p50_us| {
            Some(Latency {
                count: 9,
                p50_us,
                p99_us: p50_us,
            })
        };
        let figures = Figures {
            connections: 32,
            latency: latency(120.0),
            latency_before: latency(100.0),
            ..Figures::default()
        };
        let quantities = reckon(&scenario, &outcome(figures), &marks);
        close(&quantities, Quantity::MemoryPerStream, 20.0);
        close(&quantities, Quantity::GatewayMemoryPerStream, 10.0);
        close(&quantities, Quantity::Slowdown, 1.2);
    }

    #[test]
    fn a_failed_test_gives_nothing() {
        let scenario = Scenario::Connect {
            at_once: 1,
            seconds: 1.0,
            at_most: 1,
        };
        assert!(reckon(&scenario, &outcome(Figures::default()), &BTreeMap::new()).is_empty());
    }
}
