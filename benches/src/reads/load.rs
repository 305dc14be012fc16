//! The load of `reads`, as a process: one JSON order a line on standard input, one JSON answer on standard output.
//!
//! Each connection sends one request after the other. An answer counts if its status is 200 and its body is whole JSON.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::child;
use crate::http::Connection;
use crate::load::Console;
use crate::statistics::Latency;

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// A connection gives up after so many errors: the rest would fail too.
const ERRORS_LIMIT: u64 = 20;

/// What to ask, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) api: SocketAddr,
    /// Whole requests: a connection sends those of one list in a circle; the lists go round over the connections.
    pub(super) requests: Vec<Vec<String>>,
    pub(super) at_once: usize,
    pub(super) seconds: f64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) latency: Option<Latency>,
    /// All answers, those of the warm-up included.
    pub(super) asked: u64,
    /// Good answers that came in the time that is measured, whenever they were asked for: one that takes long would count in no
    /// round if it had to begin and to end in it.
    pub(super) per_second: f64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// Carries out orders until standard input ends.
pub(crate) fn main() -> anyhow::Result<()> {
    child::local_runtime(async {
        let mut console = Console::open();
        loop {
            let order = serde_json::from_str(&console.next_line().await?)?;
            child::report(&carry_out(order).await)?;
        }
    })?
}

#[derive(Default)]
struct Counted {
    samples: Vec<Duration>,
    asked: u64,
    answered: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Counted {
    fn note(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }
}

async fn carry_out(order: Order) -> Done {
    let counted = Rc::new(RefCell::new(Counted::default()));
    let begin = Instant::now() + WARM_UP;
    let measured = Duration::try_from_secs_f64(order.seconds).unwrap_or_default();
    let mut connections = JoinSet::new();
    for number in 0..order.at_once {
        let Some(requests) = order.requests.get(number % order.requests.len().max(1)) else {
            break;
        };
        let (requests, counted) = (requests.clone(), Rc::clone(&counted));
        let api = order.api;
        connections.spawn_local(async move {
            if let Err(error) = ask(api, &requests, [begin, begin + measured], &counted).await {
                counted.borrow_mut().note(&error);
            }
        });
    }
    while connections.join_next().await.is_some() {}
    let Counted {
        samples,
        asked,
        answered,
        errors,
        first_error,
    } = counted.take();
    Done {
        latency: Latency::of(&samples),
        asked,
        per_second: answered as f64 / order.seconds,
        errors,
        first_error,
    }
}

async fn ask(
    api: SocketAddr,
    requests: &[String],
    [begin, end]: [Instant; 2],
    counted: &RefCell<Counted>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(api).await?;
    for request in requests.iter().cycle() {
        let asked = Instant::now();
        if asked >= end || counted.borrow().errors >= ERRORS_LIMIT {
            break;
        }
        let answer = connection.exchange(request).await?;
        let took = asked.elapsed();
        let is_good = answer.status == 200 && serde_json::from_slice::<IgnoredAny>(answer.body).is_ok();
        let mut counted = counted.borrow_mut();
        counted.asked += 1;
        if !is_good {
            let body = String::from_utf8_lossy(answer.body);
            counted.note(&anyhow::anyhow!("{}: {body}", answer.status));
            continue;
        }
        if asked >= begin {
            counted.samples.push(took);
        }
        if (begin..end).contains(&(asked + took)) {
            counted.answered += 1;
        }
    }
    Ok(())
}
