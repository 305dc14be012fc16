//! Bulk streams: how much, how evenly, and what a small request suffers beside them.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::crew::{Crew, Work};
use super::requests::{open_warm, repeat_small};
use super::{Console, Faults};
use crate::order::{Figures, Mark, Order, Way};
use crate::statistics::Latency;

pub(super) async fn endless(
    order: &Order,
    streams: usize,
    way: Way,
    [ramp_seconds, seconds]: [f64; 2],
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let work = match way {
        Way::Up => Work::Up,
        Way::Down => Work::Down,
    };
    let crew = Crew::open(order, streams, work).await?;
    crew.go();
    sleep(Duration::from_secs_f64(ramp_seconds)).await;
    console.mark(Mark::Begin).await?;
    let window = Window::open(&crew);
    sleep(Duration::from_secs_f64(seconds)).await;
    let (bytes, seconds) = window.close(&crew);
    console.mark(Mark::End).await?;
    faults.merge(crew.finish().await?.faults);
    Ok(Figures {
        bytes,
        seconds,
        ..Figures::default()
    })
}

pub(super) async fn equal(
    order: &Order,
    streams: usize,
    bytes: u64,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let crew = Crew::open(order, streams, Work::DownExactly(bytes)).await?;
    console.mark(Mark::Begin).await?;
    let start = Instant::now();
    crew.go();
    let outcome = crew.done().await?;
    console.mark(Mark::End).await?;
    let took: Vec<f64> = outcome
        .ended
        .iter()
        .map(|at| at.duration_since(start).as_secs_f64())
        .collect();
    faults.merge(outcome.faults);
    let last = took.iter().copied().fold(0.0, f64::max);
    let first = took.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Figures {
        bytes: bytes * took.len() as u64,
        seconds: last,
        first_to_last: (took.len() == streams && last > 0.0).then(|| first / last),
        ..Figures::default()
    })
}

pub(super) async fn beside(
    order: &Order,
    streams: usize,
    [ramp_seconds, seconds]: [f64; 2],
    pause_ms: u64,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let mut stream = open_warm(order).await?;
    let crew = Crew::open(order, streams, Work::Down).await?;
    crew.go();
    sleep(Duration::from_secs_f64(ramp_seconds)).await;
    // Alone before and after: a machine that becomes slower meanwhile would count against whatever is measured last.
    let half = Duration::from_secs_f64(seconds / 2.0);
    let before = alone(&crew, half).await;
    console.mark(Mark::Begin).await?;
    let window = Window::open(&crew);
    let samples = repeat_small(&mut stream, seconds, Duration::from_millis(pause_ms), faults).await;
    let (bytes, seconds) = window.close(&crew);
    console.mark(Mark::End).await?;
    let after = alone(&crew, half).await;
    let (alone_bytes, alone_seconds) = (before.0 + after.0, before.1 + after.1);
    faults.merge(crew.finish().await?.faults);
    Ok(Figures {
        latency: Latency::of(&samples),
        bytes,
        seconds,
        alone_bytes_per_second: (alone_bytes > 0).then(|| alone_bytes as f64 / alone_seconds),
        ..Figures::default()
    })
}

/// Bytes of a crew, and seconds, with nothing beside it.
async fn alone(crew: &Crew, time: Duration) -> (u64, f64) {
    let window = Window::open(crew);
    sleep(time).await;
    window.close(crew)
}

/// What a crew carries in a stretch of time.
struct Window {
    start: Instant,
    bytes: u64,
}

impl Window {
    fn open(crew: &Crew) -> Window {
        Window {
            start: Instant::now(),
            bytes: crew.bytes(),
        }
    }

    /// Bytes and seconds since.
    fn close(self, crew: &Crew) -> (u64, f64) {
        (crew.bytes() - self.bytes, self.start.elapsed().as_secs_f64())
    }
}
