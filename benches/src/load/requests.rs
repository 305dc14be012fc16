//! Small requests on an open stream, and new connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Console, Faults};
use crate::exchange;
use crate::order::{Figures, Mark, Order};
use crate::statistics::Latency;

/// Requests before the measured ones.
const WARM_REQUESTS: usize = 50;
/// A test ends after so many failed requests: the rest would fail too.
const FAULTS_LIMIT: u64 = 20;

/// How many new connections, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) at_once: usize,
    pub(super) seconds: f64,
    pub(super) at_most: usize,
}

pub(super) async fn small(
    order: &Order,
    seconds: f64,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let mut stream = open_warm(order).await?;
    console.mark(Mark::Begin).await?;
    let start = Instant::now();
    let latency = Latency::of(&repeat_small(&mut stream, seconds, Duration::ZERO, faults).await);
    let seconds = start.elapsed().as_secs_f64();
    console.mark(Mark::End).await?;
    Ok(Figures {
        latency,
        seconds,
        ..Figures::default()
    })
}

/// A stream on which small requests have gone before.
pub(super) async fn open_warm(order: &Order) -> anyhow::Result<TcpStream> {
    let mut stream = open_first(order).await?;
    for _ in 0..WARM_REQUESTS {
        exchange::small(&mut stream).await?;
    }
    Ok(stream)
}

/// Small requests one after the other; a failed one ends them.
pub(super) async fn repeat_small(
    stream: &mut TcpStream,
    seconds: f64,
    pause: Duration,
    faults: &mut Faults,
) -> Vec<Duration> {
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        let asked = Instant::now();
        if let Err(error) = exchange::small(stream).await {
            faults.add(&error);
            break;
        }
        samples.push(asked.elapsed());
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    samples
}

pub(super) async fn connect(
    order: &Order,
    pace: Pace,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    open_first(order).await?;
    console.mark(Mark::Begin).await?;
    let connected = connect_at(order, pace).await;
    console.mark(Mark::End).await?;
    faults.merge(connected.faults);
    Ok(Figures {
        latency: Latency::of(&connected.samples),
        connections: connected.samples.len() as u64,
        seconds: connected.seconds,
        ..Figures::default()
    })
}

/// What came of new connections.
pub(super) struct Connected {
    pub(super) samples: Vec<Duration>,
    pub(super) faults: Faults,
    pub(super) seconds: f64,
}

/// New connections at this pace.
pub(super) async fn connect_at(order: &Order, pace: Pace) -> Connected {
    let shared = Rc::new(RefCell::new(Connecting::default()));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..pace.at_once {
        let (order, shared) = (order.clone(), Rc::clone(&shared));
        let (seconds, at_most) = (pace.seconds, pace.at_most);
        workers.spawn_local(async move {
            while start.elapsed().as_secs_f64() < seconds && shared.borrow_mut().may_start(at_most) {
                let asked = Instant::now();
                let done = open_first(&order).await.map(drop);
                shared.borrow_mut().note(asked.elapsed(), done);
            }
        });
    }
    while workers.join_next().await.is_some() {}
    let seconds = start.elapsed().as_secs_f64();
    let Connecting { samples, faults, .. } = shared.take();
    Connected {
        samples,
        faults,
        seconds,
    }
}

/// What the workers of [`connect_at`] share.
#[derive(Default)]
struct Connecting {
    started: usize,
    samples: Vec<Duration>,
    faults: Faults,
}

impl Connecting {
    fn may_start(&mut self, at_most: usize) -> bool {
        self.started += 1;
        self.started <= at_most && self.faults.count < FAULTS_LIMIT
    }

    fn note(&mut self, took: Duration, done: anyhow::Result<()>) {
        match done {
            Ok(()) => self.samples.push(took),
            Err(error) => self.faults.add(&error),
        }
    }
}

/// Opens streams at the same time, each with a first exchange.
pub(super) async fn open_together(order: &Order, streams: usize) -> (Vec<TcpStream>, Faults) {
    let mut opening = JoinSet::new();
    for _ in 0..streams {
        let order = order.clone();
        opening.spawn_local(async move { open_first(&order).await });
    }
    let (mut open, mut faults) = (Vec::new(), Faults::default());
    while let Some(opened) = opening.join_next().await {
        match opened.map_err(anyhow::Error::from).and_then(|stream| stream) {
            Ok(stream) => open.push(stream),
            Err(error) => faults.add(&error),
        }
    }
    (open, faults)
}

async fn open_first(order: &Order) -> anyhow::Result<TcpStream> {
    let mut stream = order.route.open(order.destination).await?;
    exchange::first(&mut stream).await?;
    Ok(stream)
}

pub(super) async fn http(
    order: &Order,
    count: usize,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    order.route.get(order.destination).await?;
    console.mark(Mark::Begin).await?;
    let mut samples = Vec::new();
    let start = Instant::now();
    for _ in 0..count {
        let asked = Instant::now();
        match order.route.get(order.destination).await {
            Ok(()) => samples.push(asked.elapsed()),
            Err(error) => faults.add(&error),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    console.mark(Mark::End).await?;
    Ok(Figures {
        latency: Latency::of(&samples),
        connections: samples.len() as u64,
        seconds,
        ..Figures::default()
    })
}
