//! The load generator: one process per order, all requests of one test through one route.
//!
//! Small requests and bulk run on threads of their own, so a small request beside 32 downloads waits for the tunnel and
//! not for us. Every byte is checked where it arrives.

mod bulk;
mod crew;
mod crowd;
mod devices;
mod fleet;
mod held;
mod requests;

use anyhow::Context;
pub(crate) use crowd::{CrowdOrder, main as crowd_main};
use tokio::sync::mpsc;

use crate::child;
use crate::order::{Event, Figures, Mark, Order, Outcome, Scenario};

/// Lines of standard input not yet read: `run` sends one at a time.
const LINES: usize = 4;

/// Takes one order from standard input and carries it out.
pub(crate) fn main() -> anyhow::Result<()> {
    child::local_runtime(async {
        let mut console = Console::open();
        let order: Order = serde_json::from_str(&console.next_line().await?)?;
        let mut faults = Faults::default();
        let figures = match carry_out(&order, &mut console, &mut faults).await {
            Ok(figures) => figures,
            Err(error) => {
                faults.add(&error);
                Figures::default()
            }
        };
        child::report(&Event::Done(Outcome {
            errors: faults.count,
            first_error: faults.first,
            figures,
        }))
    })?
}

async fn carry_out(order: &Order, console: &mut Console, faults: &mut Faults) -> anyhow::Result<Figures> {
    match order.scenario {
        Scenario::Small { seconds } => requests::small(order, seconds, console, faults).await,
        Scenario::Connect {
            at_once,
            seconds,
            at_most,
        } => {
            requests::connect(
                order,
                requests::Pace {
                    at_once,
                    seconds,
                    at_most,
                },
                console,
                faults,
            )
            .await
        }
        Scenario::Http { count } => requests::http(order, count, console, faults).await,
        Scenario::Bulk {
            streams,
            way,
            ramp_seconds,
            seconds,
        } => bulk::endless(order, streams, way, [ramp_seconds, seconds], console, faults).await,
        Scenario::Equal { streams, bytes } => bulk::equal(order, streams, bytes, console, faults).await,
        Scenario::Beside {
            streams,
            ramp_seconds,
            seconds,
            pause_ms,
        } => bulk::beside(order, streams, [ramp_seconds, seconds], pause_ms, console, faults).await,
        Scenario::Stalled {
            streams,
            way,
            settle_seconds,
            seconds,
        } => held::stalled(order, streams, way, [settle_seconds, seconds], console, faults).await,
        Scenario::Idle {
            streams,
            settle_seconds,
        } => held::idle(order, streams, settle_seconds, console, faults).await,
        Scenario::Devices {
            count,
            settle_seconds,
        } => {
            let hub = order.hub.as_ref().context("this peer has no hub")?;
            devices::idle(hub, count, settle_seconds, console, faults).await
        }
        Scenario::Fleet {
            devices,
            dead,
            slow,
            at_once,
            seconds,
        } => {
            let hub = order.hub.as_ref().context("this peer has no hub")?;
            let fleet = fleet::Fleet { devices, dead, slow };
            let pace = requests::Pace {
                at_once,
                seconds,
                at_most: usize::MAX,
            };
            fleet::compare(order, hub, fleet, pace, console, faults).await
        }
    }
}

/// The line to `run`.
pub(crate) struct Console {
    lines: mpsc::Receiver<String>,
}

impl Console {
    /// Reads standard input from now on; its end ends the process.
    pub(crate) fn open() -> Console {
        let (sender, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
            std::process::exit(0);
        });
        Console { lines }
    }

    pub(crate) async fn next_line(&mut self) -> anyhow::Result<String> {
        self.lines.recv().await.context("no more lines")
    }

    /// Says that a moment has come and waits until `run` has looked.
    async fn mark(&mut self, mark: Mark) -> anyhow::Result<()> {
        child::report(&Event::Mark(mark))?;
        self.next_line().await.map(drop)
    }
}

/// Errors, counted; the first one is kept as text.
#[derive(Debug, Default)]
struct Faults {
    count: u64,
    first: Option<String>,
}

impl Faults {
    fn add(&mut self, error: &anyhow::Error) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{error:#}"));
    }

    fn merge(&mut self, other: Faults) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}
