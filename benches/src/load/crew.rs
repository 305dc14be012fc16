//! Many streams at work on a thread of their own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::Faults;
use super::requests::open_together;
use crate::child;
use crate::exchange::{ANSWER_LIMIT, next_seed};
use crate::order::Order;
use crate::pattern;
use crate::wire::Request;

/// One read of a download.
const READ_BYTES: usize = 256 * 1024;
/// Uploads are acknowledged by the origin in pieces of this size, so that they count where they arrive.
const UPLOAD_PIECE_BYTES: u64 = 256 * 1024;
const ACKNOWLEDGEMENT_BYTES: u64 = 16;
/// A stalled download asks for this much: more than any tunnel should buffer.
const UNREAD_BYTES: u64 = 64 * 1024 * 1024;

/// What each stream does once the crew goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Downloads until the end.
    Down,
    /// Uploads until the end.
    Up,
    /// Downloads so many bytes.
    DownExactly(u64),
    /// Asks for a download and reads none of it.
    DownUnread,
    /// Uploads to an origin that reads none of it.
    UpUnread,
}

/// Streams that are open and wait, or work.
pub(super) struct Crew {
    bytes: Arc<AtomicU64>,
    stage: watch::Sender<Stage>,
    outcome: oneshot::Receiver<CrewOutcome>,
}

/// What the streams did.
pub(super) struct CrewOutcome {
    /// When each stream ended its work, in no order.
    pub(super) ended: Vec<Instant>,
    pub(super) faults: Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Wait,
    Go,
    Stop,
}

impl Crew {
    /// Opens `streams` streams, each with a first exchange. Streams that fail are errors of the outcome.
    pub(super) async fn open(order: &Order, streams: usize, work: Work) -> anyhow::Result<Crew> {
        let bytes = Arc::new(AtomicU64::new(0));
        let (stage, watched) = watch::channel(Stage::Wait);
        let (opened, all_open) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let (order, counter) = (order.clone(), Arc::clone(&bytes));
        std::thread::Builder::new().name("crew".into()).spawn(move || {
            child::local_runtime(async move {
                let crew = open_together(&order, streams).await;
                // Whoever asked may have given up; then so do we.
                if opened.send(crew.0.len()).is_ok() {
                    let _ = done.send(work_all(crew, work, counter, watched).await);
                }
            })
        })?;
        let open = all_open.await?;
        let crew = Crew {
            bytes,
            stage,
            outcome,
        };
        if open == 0 && streams > 0 {
            let faults = crew.finish().await?.faults;
            anyhow::bail!("no stream opened: {}", faults.first.unwrap_or_default());
        }
        Ok(crew)
    }

    /// Lets the streams work.
    pub(super) fn go(&self) {
        self.stage.send_replace(Stage::Go);
    }

    /// Payload checked so far at its receiver.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends endless work and waits for every stream. Streams with a fixed amount are waited for.
    pub(super) async fn finish(self) -> anyhow::Result<CrewOutcome> {
        self.stage.send_replace(Stage::Stop);
        self.outcome.await.context("the crew's thread ended")
    }

    /// Waits for streams with a fixed amount to end by themselves.
    pub(super) async fn done(self) -> anyhow::Result<CrewOutcome> {
        self.outcome.await.context("the crew's thread ended")
    }
}

async fn work_all(
    (streams, mut faults): (Vec<TcpStream>, Faults),
    work: Work,
    bytes: Arc<AtomicU64>,
    stage: watch::Receiver<Stage>,
) -> CrewOutcome {
    let scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let mut working = JoinSet::new();
    for stream in streams {
        let worker = Worker {
            bytes: Arc::clone(&bytes),
            stage: stage.clone(),
            scratch: Rc::clone(&scratch),
        };
        working.spawn_local(worker.work(stream, work));
    }
    let mut ended = Vec::new();
    while let Some(worked) = working.join_next().await {
        match worked.map_err(anyhow::Error::from).and_then(|at| at) {
            Ok(at) => ended.push(at),
            Err(error) => faults.add(&error),
        }
    }
    CrewOutcome { ended, faults }
}

/// One stream's hands.
struct Worker {
    bytes: Arc<AtomicU64>,
    stage: watch::Receiver<Stage>,
    /// Read into and checked between two awaits, so one serves all streams of the thread.
    scratch: Rc<RefCell<Vec<u8>>>,
}

impl Worker {
    async fn work(mut self, mut stream: TcpStream, work: Work) -> anyhow::Result<Instant> {
        self.stage.wait_for(|stage| *stage != Stage::Wait).await?;
        match work {
            Work::Down => self.download(&mut stream, u64::MAX / 2).await?,
            Work::DownExactly(total) => self.download(&mut stream, total).await?,
            Work::Up => self.upload(&mut stream).await?,
            Work::DownUnread => {
                let request = Request::Exchange {
                    seed: next_seed(),
                    up: 0,
                    down: UNREAD_BYTES,
                };
                stream.write_all(&request.encode()).await?;
                self.stage.wait_for(|stage| *stage == Stage::Stop).await?;
            }
            Work::UpUnread => self.upload_unread(&mut stream).await?,
        }
        Ok(Instant::now())
    }

    /// Reads `total` bytes; an endless download ends at the stop, a finite one at its own end.
    async fn download(&mut self, stream: &mut TcpStream, total: u64) -> anyhow::Result<()> {
        let seed = next_seed();
        stream
            .write_all(
                &Request::Exchange {
                    seed,
                    up: 0,
                    down: total,
                }
                .encode(),
            )
            .await?;
        let endless = total > u64::MAX / 4;
        let stopped = self.stage.wait_for(|stage| endless && *stage == Stage::Stop);
        tokio::pin!(stopped);
        let mut position = 0;
        while position < total {
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                readable = timeout(ANSWER_LIMIT, stream.readable()) => {
                    readable.map_err(|_| anyhow::anyhow!("no byte in {ANSWER_LIMIT:?}"))??;
                }
            }
            match read_checked(stream, seed, position, &mut self.scratch.borrow_mut())? {
                Some(0) => anyhow::bail!("ended after {position} bytes"),
                Some(read) => {
                    position += read;
                    self.bytes.fetch_add(read, Ordering::Relaxed);
                }
                None => continue,
            }
            // Else tokio lets one stream read a hundred times before the next has its turn.
            yield_now().await;
        }
        Ok(())
    }

    /// Sends pieces until the stop, then waits until the origin has checked them all.
    async fn upload(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let (reads, writes) = stream.split();
        let seed = next_seed();
        let sent = AtomicU64::new(0);
        let progress = Notify::new();
        let sending = send_pieces(writes, seed, &sent, &progress, &mut self.stage);
        let acknowledged = count_pieces(reads, seed, &sent, &progress, &self.bytes);
        tokio::try_join!(sending, acknowledged)?;
        Ok(())
    }

    async fn upload_unread(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let seed = next_seed();
        stream.write_all(&Request::Stall { seed }.encode()).await?;
        let stopped = self.stage.wait_for(|stage| *stage == Stage::Stop);
        tokio::pin!(stopped);
        let mut position = 0;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                written = stream.write(pattern::slice_at(seed, position)) => position += written? as u64,
            }
            yield_now().await;
        }
    }
}

/// Reads once and checks what came; `None` when nothing was there.
fn read_checked(
    stream: &TcpStream,
    seed: u32,
    position: u64,
    scratch: &mut [u8],
) -> anyhow::Result<Option<u64>> {
    match stream.try_read(scratch) {
        Ok(read) => {
            pattern::check(seed, position, &scratch[..read])?;
            Ok(Some(read as u64))
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Marks in `sent` that no further piece follows.
const LAST: u64 = 1 << 63;

async fn send_pieces(
    mut writes: WriteHalf<'_>,
    seed: u32,
    sent: &AtomicU64,
    progress: &Notify,
    stage: &mut watch::Receiver<Stage>,
) -> anyhow::Result<()> {
    let header = Request::Exchange {
        seed,
        up: UPLOAD_PIECE_BYTES,
        down: ACKNOWLEDGEMENT_BYTES,
    }
    .encode();
    while *stage.borrow() != Stage::Stop {
        writes.write_all(&header).await?;
        writes
            .write_all(pattern::piece(seed, 0, UPLOAD_PIECE_BYTES))
            .await?;
        sent.fetch_add(1, Ordering::Relaxed);
        progress.notify_one();
        yield_now().await;
    }
    sent.fetch_or(LAST, Ordering::Relaxed);
    progress.notify_one();
    Ok(())
}

async fn count_pieces(
    mut reads: ReadHalf<'_>,
    seed: u32,
    sent: &AtomicU64,
    progress: &Notify,
    bytes: &AtomicU64,
) -> anyhow::Result<()> {
    let mut counted = 0;
    loop {
        let known = sent.load(Ordering::Relaxed);
        if counted < known & !LAST {
            let mut answer = [0; 16];
            timeout(ANSWER_LIMIT, reads.read_exact(&mut answer))
                .await
                .map_err(|_| anyhow::anyhow!("no acknowledgement in {ANSWER_LIMIT:?}"))??;
            pattern::check(seed, 0, &answer)?;
            bytes.fetch_add(UPLOAD_PIECE_BYTES, Ordering::Relaxed);
            counted += 1;
        } else if known & LAST != 0 {
            return Ok(());
        } else {
            progress.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::order::Scenario;
    use crate::origin;
    use crate::route::Route;

    async fn with_origin<F: AsyncFnOnce(Order)>(test: F) {
        let tasks = LocalSet::new();
        let destination = origin::in_process(&tasks).await;
        let scenario = Scenario::Small { seconds: 0.0 };
        tasks
            .run_until(test(Order {
                route: Route::Direct,
                destination,
                scenario,
                hub: None,
            }))
            .await;
    }

    #[tokio::test]
    async fn equal_downloads_end_by_themselves_with_every_byte() {
        with_origin(async |order| {
            let crew = Crew::open(&order, 4, Work::DownExactly(3_000_001)).await.unwrap();
            crew.go();
            let counter = Arc::clone(&crew.bytes);
            let outcome = crew.done().await.unwrap();
            assert_eq!((outcome.ended.len(), outcome.faults.count), (4, 0));
            assert_eq!(counter.load(Ordering::Relaxed), 4 * 3_000_001);
        })
        .await;
    }

    #[tokio::test]
    async fn uploads_count_what_the_origin_has_checked() {
        with_origin(async |order| {
            let crew = Crew::open(&order, 3, Work::Up).await.unwrap();
            crew.go();
            let counter = Arc::clone(&crew.bytes);
            while crew.bytes() < 20 * UPLOAD_PIECE_BYTES {
                yield_now().await;
            }
            let outcome = crew.finish().await.unwrap();
            assert_eq!((outcome.ended.len(), outcome.faults.count), (3, 0));
            assert_eq!(counter.load(Ordering::Relaxed) % UPLOAD_PIECE_BYTES, 0);
        })
        .await;
    }

    #[tokio::test]
    async fn endless_and_unread_work_ends_at_the_stop() {
        with_origin(async |order| {
            for work in [Work::Down, Work::DownUnread, Work::UpUnread] {
                let crew = Crew::open(&order, 2, work).await.unwrap();
                crew.go();
                let outcome = crew.finish().await.unwrap();
                assert_eq!((outcome.ended.len(), outcome.faults.count), (2, 0), "{work:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_route_that_refuses_every_stream_is_an_error_with_its_reason() {
        with_origin(async |mut order| {
            // Nobody listens on port 1.
            order.destination.set_port(1);
            let refused = Crew::open(&order, 2, Work::Down).await.err().unwrap();
            assert!(refused.to_string().contains("no stream opened"), "{refused}");
        })
        .await;
    }
}
