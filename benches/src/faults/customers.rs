//! Customers by HTTP CONNECT: single requests, many at a time, and streams that run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::route::{Credentials, basic, connect, read_head};

/// Longer than the gateway tries (`gateway.connect_timeout`).
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// Between two requests of one customer of a [`Load`].
const PACE: Duration = Duration::from_millis(20);
/// Of a stream's arrivals, how finely its past is kept.
const REMEMBERED_EVERY: Duration = Duration::from_millis(5);

/// A customer of one gateway, and where its requests go.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) proxy: SocketAddr,
    pub(super) key: String,
    pub(super) destination: SocketAddr,
    /// How long it stays when it is refused, instead of hanging up.
    pub(super) stays: Duration,
}

/// An answered CONNECT.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: TcpStream,
    pub(super) head: String,
}

/// What a request came to.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "what went wrong is read by people, in the run's messages"
)]
pub(super) enum Outcome {
    /// The destination's whole answer.
    Served {
        /// What the gateway said on CONNECT.
        head: String,
    },
    /// The gateway's answer.
    Refused { status: u16, code: String },
    /// No connection could be made.
    NoConnection(String),
    /// The connection ended, or nothing came for [`ANSWER_LIMIT`].
    Broken(String),
}

/// One request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

impl Asked {
    pub(super) fn is_served(&self) -> bool {
        matches!(self.outcome, Outcome::Served { .. })
    }

    /// Was it refused with this code?
    pub(super) fn is_refused(&self, wanted: &str) -> bool {
        matches!(&self.outcome, Outcome::Refused { code, .. } if code == wanted)
    }
}

impl Customer {
    /// The same with targeting behind the key: `-country-US`.
    pub(super) fn with(&self, targeting: &str) -> Self {
        Self {
            key: format!("{}{targeting}", self.key),
            ..self.clone()
        }
    }

    /// A tunnel to the destination.
    pub(super) async fn open(&self) -> Result<Opened, Outcome> {
        match timeout(ANSWER_LIMIT, self.handshake()).await {
            Ok(opened) => opened,
            Err(_) => Err(Outcome::Broken(format!("no answer in {ANSWER_LIMIT:?}"))),
        }
    }

    async fn handshake(&self) -> Result<Opened, Outcome> {
        let mut stream = connect(self.proxy)
            .await
            .map_err(|error| Outcome::NoConnection(error.to_string()))?;
        let credentials = Credentials {
            user: "iploop".to_owned(),
            password: self.key.clone(),
        };
        let request = format!(
            "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n",
            basic(Some(&credentials)),
            to = self.destination
        );
        let said = async {
            stream.write_all(request.as_bytes()).await?;
            read_head(&mut stream).await
        };
        let head = said.await.map_err(|error| Outcome::Broken(error.to_string()))?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        match status {
            Some(200..=299) => Ok(Opened { stream, head }),
            Some(status) => {
                let stays = self.stays;
                if !stays.is_zero() {
                    tokio::spawn(async move {
                        sleep(stays).await;
                        drop(stream);
                    });
                }
                Err(Outcome::Refused {
                    status,
                    code: field(&head, "X-IPLoop-Error").unwrap_or_default().to_owned(),
                })
            }
            None => Err(Outcome::Broken(format!("an answer that is none: {head}"))),
        }
    }

    /// One request on a connection of its own: the destination waits, then answers with so many bytes.
    pub(super) async fn ask(&self, wait: Duration, bytes: usize) -> Asked {
        let began = Instant::now();
        let outcome = match self.open().await {
            Err(outcome) => outcome,
            Ok(Opened { mut stream, head }) => {
                let line = format!("answer {} {bytes}\n", wait.as_millis());
                let answered = async {
                    stream.write_all(line.as_bytes()).await?;
                    read_exactly(&mut stream, bytes).await
                };
                match timeout(ANSWER_LIMIT, answered).await {
                    Ok(Ok(())) => Outcome::Served { head },
                    Ok(Err(error)) => Outcome::Broken(error.to_string()),
                    Err(_) => Outcome::Broken(format!("no end of the answer in {ANSWER_LIMIT:?}")),
                }
            }
        };
        Asked {
            began,
            took: began.elapsed(),
            outcome,
        }
    }
}

async fn read_exactly(stream: &mut TcpStream, mut left: usize) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    while left > 0 {
        let most = left.min(piece.len());
        let read = stream.read(&mut piece[..most]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(())
}

/// The value of a field of an answer's head.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (said, value) = line.split_once(':')?;
        said.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Many customers who ask one request after the other; they stop with this value.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    customers: JoinSet<Vec<Asked>>,
}

impl Load {
    /// So many customers; each goes on until `enough` says so of what it heard, or it is told to stop.
    pub(super) fn start(
        customer: &Customer,
        count: usize,
        bytes: usize,
        enough: fn(&Outcome) -> bool,
    ) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut customers = JoinSet::new();
        for _ in 0..count {
            let (customer, stop, count) = (customer.clone(), Arc::clone(&stop), Arc::clone(&asked));
            customers.spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Relaxed) {
                    let asked = customer.ask(Duration::ZERO, bytes).await;
                    let (next, is_enough) = (asked.began + PACE, enough(&asked.outcome));
                    all.push(asked);
                    count.fetch_add(1, Relaxed);
                    if is_enough {
                        break;
                    }
                    tokio::time::sleep_until(next.into()).await;
                }
                all
            });
        }
        Self {
            stop,
            asked,
            customers,
        }
    }

    /// Requests so far, whatever came of them.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    /// Has every customer finish its request and stop; all requests.
    pub(super) async fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Relaxed);
        self.finish().await
    }

    /// Waits until every customer has had enough; all requests.
    pub(super) async fn finish(mut self) -> Vec<Asked> {
        let mut all = Vec::new();
        while let Some(some) = self.customers.join_next().await {
            all.extend(some.unwrap_or_default());
        }
        all
    }
}

/// A stream that runs until it ends, and what arrived of it when.
pub(super) struct Running {
    /// The request's id: hex digits without dashes.
    pub(super) id: String,
    arrived: Arc<AtomicU64>,
    reading: JoinHandle<Past>,
}

/// What has arrived of a stream.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Bytes by their time.
    pub(super) arrivals: Vec<(Instant, u64)>,
    pub(super) ended: Option<Instant>,
    /// It ended as its sender meant it, and did not break.
    pub(super) is_whole: bool,
}

impl Running {
    /// Opens a tunnel and says this line in it.
    pub(super) async fn start(customer: &Customer, line: &str) -> anyhow::Result<Self> {
        let opened = customer.open().await;
        let mut opened = opened.map_err(|outcome| anyhow::anyhow!("no stream: {outcome:?}"))?;
        opened.stream.write_all(format!("{line}\n").as_bytes()).await?;
        let id = field(&opened.head, "X-IPLoop-Request-Id").unwrap_or_default();
        let id = id.replace('-', "").to_ascii_lowercase();
        let arrived = Arc::new(AtomicU64::new(0));
        let reading = tokio::spawn(read_all(opened.stream, Arc::clone(&arrived)));
        Ok(Self { id, arrived, reading })
    }

    /// Several at once; `line` is told which.
    pub(super) async fn start_all(
        customer: &Customer,
        numbers: std::ops::Range<usize>,
        line: impl Fn(usize) -> String,
    ) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(numbers.len());
        for number in numbers {
            all.push(Self::start(customer, &line(number)).await?);
        }
        Ok(all)
    }

    /// Bytes that have arrived.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Waits for its end, at most so long.
    pub(super) async fn ended_within(&mut self, limit: Duration) -> Option<Past> {
        timeout(limit, &mut self.reading).await.ok()?.ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read_all(mut stream: TcpStream, arrived: Arc<AtomicU64>) -> Past {
    let mut past = Past::default();
    let mut piece = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let read = stream.read(&mut piece).await;
        let now = Instant::now();
        match read {
            Ok(read @ 1..) => {
                total += read as u64;
                arrived.store(total, Relaxed);
                match past.arrivals.last_mut() {
                    // Said late rather than early.
                    Some(last) if now < last.0 + REMEMBERED_EVERY => last.1 = total,
                    _ => past.arrivals.push((now, total)),
                }
            }
            ended => {
                past.ended = Some(now);
                past.is_whole = ended.is_ok();
                return past;
            }
        }
    }
}

/// Asks again and again until there is something, at most so long.
pub(super) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        anyhow::ensure!(began.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
