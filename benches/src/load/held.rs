//! Streams that cost memory while nothing moves: stalled ones and idle ones.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::crew::{Crew, Work};
use super::requests::{open_together, open_warm, repeat_small};
use super::{Console, Faults};
use crate::order::{Figures, Mark, Order, Way};
use crate::statistics::Latency;

/// Idle streams are opened so many at a time.
const OPENING: usize = 16;

pub(super) async fn stalled(
    order: &Order,
    streams: usize,
    way: Way,
    [settle_seconds, seconds]: [f64; 2],
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let work = match way {
        Way::Up => Work::UpUnread,
        Way::Down => Work::DownUnread,
    };
    let mut stream = open_warm(order).await?;
    let before = repeat_small(&mut stream, seconds, Duration::ZERO, faults).await;
    console.mark(Mark::Begin).await?;
    let crew = Crew::open(order, streams, work).await?;
    crew.go();
    sleep(Duration::from_secs_f64(settle_seconds)).await;
    console.mark(Mark::Held).await?;
    let start = Instant::now();
    let beside = repeat_small(&mut stream, seconds, Duration::ZERO, faults).await;
    let seconds = start.elapsed().as_secs_f64();
    console.mark(Mark::End).await?;
    faults.merge(crew.finish().await?.faults);
    Ok(Figures {
        latency: Latency::of(&beside),
        latency_before: Latency::of(&before),
        connections: streams as u64,
        seconds,
        ..Figures::default()
    })
}

pub(super) async fn idle(
    order: &Order,
    streams: usize,
    settle_seconds: f64,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    // What the first connections of a process allocate once is no stream's share.
    faults.merge(open_together(order, OPENING).await.1);
    console.mark(Mark::Begin).await?;
    let mut open = Vec::new();
    while open.len() < streams {
        let (opened, failed) = open_together(order, OPENING.min(streams - open.len())).await;
        faults.merge(failed);
        anyhow::ensure!(
            !opened.is_empty(),
            "only {} of {streams} streams opened",
            open.len()
        );
        open.extend(opened);
    }
    sleep(Duration::from_secs_f64(settle_seconds)).await;
    console.mark(Mark::Held).await?;
    Ok(Figures {
        connections: open.len() as u64,
        ..Figures::default()
    })
}
