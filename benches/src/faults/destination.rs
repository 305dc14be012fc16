//! The destination behind the devices: does what the first line of a connection asks for, and counts what it sent.
//!
//! ```text
//! "answer MS BYTES"       waits, then BYTES of zeros; more lines may follow
//! "drip TAG RATE"         RATE bytes a second for ever, a piece each 10 ms; counted under TAG
//! "last SECONDS BYTES"    BYTES over so many seconds, then the end
//! "pour"                  as fast as they are taken, for ever
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::child;

/// Tags that are counted.
pub(super) const TAGS: usize = 1_024;
const PIECE_EVERY: Duration = Duration::from_millis(10);
const PIECES_PER_SECOND: usize = 100;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A destination on a thread of its own; it ends with this value.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    sent: Arc<[AtomicU64]>,
    _until: oneshot::Sender<()>,
}

impl Destination {
    pub(super) fn start() -> anyhow::Result<Self> {
        let sent: Arc<[AtomicU64]> = (0..TAGS).map(|_| AtomicU64::new(0)).collect();
        let (until, ended) = oneshot::channel::<()>();
        let (listening, address) = std::sync::mpsc::sync_channel(1);
        let counted = Arc::clone(&sent);
        std::thread::Builder::new()
            .name("destination".into())
            .spawn(move || {
                child::local_runtime(async move {
                    let listener = crate::route::listen("127.0.0.1:0".parse()?, None)?;
                    listening.send(listener.local_addr()?)?;
                    tokio::select! {
                        _ = ended => Ok(()),
                        failed = accept(listener, counted) => failed,
                    }
                })?
            })?;
        let address = address.recv().context("the destination could not listen")?;
        Ok(Self {
            address,
            sent,
            _until: until,
        })
    }

    /// Bytes that were given to the socket under this tag.
    pub(super) fn sent(&self, tag: usize) -> u64 {
        self.sent.get(tag).map_or(0, |sent| sent.load(Relaxed))
    }
}

async fn accept(listener: TcpListener, sent: Arc<[AtomicU64]>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let sent = Arc::clone(&sent);
        spawn_local(async move {
            // Whoever goes away ends it.
            let _ = serve(stream, &sent).await;
        });
    }
}

async fn serve(stream: TcpStream, sent: &[AtomicU64]) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(256, stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_ascii_whitespace();
        let what = words.next().context("an empty line")?;
        let mut number =
            || -> anyhow::Result<u64> { Ok(words.next().context("a number is missing")?.parse()?) };
        match what {
            "answer" => {
                sleep(Duration::from_millis(number()?)).await;
                pour(stream.get_mut(), usize::try_from(number()?)?).await?;
            }
            "drip" => {
                let tag = usize::try_from(number()?)?;
                let piece = usize::try_from(number()?)? / PIECES_PER_SECOND;
                let counter = sent.get(tag).context("no such tag")?;
                return drip(stream.get_mut(), piece, usize::MAX, counter).await;
            }
            "last" => {
                let pieces = usize::try_from(number()?)? * PIECES_PER_SECOND;
                let bytes = usize::try_from(number()?)?;
                return drip(stream.get_mut(), bytes / pieces, bytes, &AtomicU64::new(0)).await;
            }
            "pour" => return pour(stream.get_mut(), usize::MAX).await,
            other => anyhow::bail!("{other} is nothing that it does"),
        }
    }
}

async fn drip(stream: &mut TcpStream, piece: usize, mut left: usize, sent: &AtomicU64) -> anyhow::Result<()> {
    let mut next = Instant::now();
    while left > 0 {
        let length = piece.min(left).min(ZEROS.len());
        stream.write_all(&ZEROS[..length]).await?;
        sent.fetch_add(length as u64, Relaxed);
        left -= length;
        next += PIECE_EVERY;
        sleep_until(next).await;
    }
    Ok(stream.shutdown().await?)
}

async fn pour(stream: &mut TcpStream, mut left: usize) -> anyhow::Result<()> {
    while left > 0 {
        let written = stream.write(&ZEROS[..ZEROS.len().min(left)]).await?;
        anyhow::ensure!(written > 0, "closed");
        left -= written;
    }
    Ok(())
}
