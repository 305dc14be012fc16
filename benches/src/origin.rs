//! The origin: the destination behind every peer, faster than anything measured here.
//!
//! Two threads, each with its own event loop: one accepts and answers small exchanges, the other carries bulk. So the
//! latency of a small request beside 32 downloads is the tunnel's, not the origin's.

use std::net::SocketAddr;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Duration, sleep};

use crate::child;
use crate::pattern;
use crate::wire::{HEADER_BYTES, Request};

/// Exchanges of more bytes than this move to the bulk thread, and their connection stays there.
const BULK_FROM_BYTES: u64 = 64 * 1024;
/// A stalled connection is held no longer than any test runs.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// Connections on their way to the bulk thread.
const HANDOVERS: usize = 1_024;
const SMALL_BUFFER_BYTES: usize = 4 * 1024;
const BULK_BUFFER_BYTES: usize = 256 * 1024;
/// Payload of the answer to an HTTP request, in bytes.
pub(crate) const HTTP_BODY_BYTES: usize = 1_024;

/// What the origin's process prints when it listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
}

/// Runs the origin until standard input ends.
pub(crate) fn main() -> anyhow::Result<()> {
    child::end_with_stdin();
    let (bulk, handovers) = mpsc::channel(HANDOVERS);
    std::thread::Builder::new()
        .name("bulk".into())
        .spawn(move || carry_bulk(handovers))?;
    child::local_runtime(async move {
        let listener = crate::route::listen("127.0.0.1:0".parse()?, None)?;
        child::report(&Ready {
            address: listener.local_addr()?,
        })?;
        accept(listener, bulk).await
    })?
}

/// A connection that goes on in the bulk thread, with what was read of it already.
struct Handover {
    stream: std::net::TcpStream,
    unread: Vec<u8>,
}

async fn accept(listener: TcpListener, bulk: mpsc::Sender<Handover>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let bulk = bulk.clone();
        spawn_local(async move {
            // A client that goes away or sends wrong bytes loses its connection and sees that itself.
            let _ = answer_small(stream, bulk).await;
        });
    }
}

async fn answer_small(stream: TcpStream, bulk: mpsc::Sender<Handover>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut conversation = Conversation::new(stream, SMALL_BUFFER_BYTES, Vec::new());
    while let Some(asked) = conversation.next().await? {
        match asked {
            Asked::Tunnel(Request::Exchange { up, down, .. })
                if up.saturating_add(down) > BULK_FROM_BYTES =>
            {
                let Conversation { stream, unread, .. } = conversation;
                bulk.send(Handover {
                    stream: stream.into_std()?,
                    unread,
                })
                .await
                .ok()
                .context("bulk thread ended")?;
                return Ok(());
            }
            asked => conversation.answer(asked).await?,
        }
    }
    Ok(())
}

fn carry_bulk(mut handovers: mpsc::Receiver<Handover>) -> anyhow::Result<()> {
    child::local_runtime(async move {
        while let Some(Handover { stream, unread }) = handovers.recv().await {
            spawn_local(async move {
                let stream = TcpStream::from_std(stream)?;
                let mut conversation = Conversation::new(stream, BULK_BUFFER_BYTES, unread);
                while let Some(asked) = conversation.next().await? {
                    conversation.answer(asked).await?;
                }
                anyhow::Ok(())
            });
        }
        Ok(())
    })?
}

/// What the first bytes ask for. The header is still unread: only [`Conversation::answer`] takes it.
enum Asked {
    Tunnel(Request),
    Http,
}

/// One connection and what was read of it but not yet used.
struct Conversation {
    stream: TcpStream,
    unread: Vec<u8>,
    read_bytes: usize,
}

impl Conversation {
    fn new(stream: TcpStream, read_bytes: usize, unread: Vec<u8>) -> Conversation {
        Conversation {
            stream,
            unread,
            read_bytes,
        }
    }

    /// The next request, or `None` when the client is done.
    async fn next(&mut self) -> anyhow::Result<Option<Asked>> {
        loop {
            if let Some(header) = self.unread.first_chunk::<HEADER_BYTES>() {
                if header.starts_with(b"GET ") {
                    return Ok(Some(Asked::Http));
                }
                let request = Request::decode(header).ok().context("foreign bytes")?;
                return Ok(Some(Asked::Tunnel(request)));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn answer(&mut self, asked: Asked) -> anyhow::Result<()> {
        match asked {
            Asked::Tunnel(Request::Exchange { seed, up, down }) => {
                self.unread.drain(..HEADER_BYTES);
                self.take(seed, up).await?;
                self.give(seed, down).await
            }
            Asked::Tunnel(Request::Stall { .. }) => {
                sleep(STALL_LIMIT).await;
                anyhow::bail!("stalled to the end")
            }
            Asked::Http => self.answer_http().await,
        }
    }

    /// Reads and checks `up` bytes.
    async fn take(&mut self, seed: u32, up: u64) -> anyhow::Result<()> {
        let mut position = 0;
        while position < up {
            if self.unread.is_empty() && !self.fill().await? {
                anyhow::bail!("ended inside a payload");
            }
            let left = usize::try_from(up - position).unwrap_or(usize::MAX);
            let used = self.unread.len().min(left);
            pattern::check(seed, position, &self.unread[..used])?;
            self.unread.drain(..used);
            position += used as u64;
            if up > BULK_FROM_BYTES {
                yield_now().await;
            }
        }
        Ok(())
    }

    async fn give(&mut self, seed: u32, down: u64) -> anyhow::Result<()> {
        let mut position = 0;
        while position < down {
            let written = self.stream.write(pattern::piece(seed, position, down)).await?;
            anyhow::ensure!(written > 0, "closed");
            position += written as u64;
            if down > BULK_FROM_BYTES {
                yield_now().await;
            }
        }
        Ok(())
    }

    async fn answer_http(&mut self) -> anyhow::Result<()> {
        const END: &[u8] = b"\r\n\r\n";
        let length = loop {
            if let Some(at) = self.unread.windows(END.len()).position(|window| window == END) {
                break at + END.len();
            }
            anyhow::ensure!(self.unread.len() < 16 * 1024, "endless head");
            anyhow::ensure!(self.fill().await?, "ended inside a head");
        };
        self.unread.drain(..length);
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {HTTP_BODY_BYTES}\r\n\r\n").into_bytes();
        answer.extend_from_slice(pattern::piece(0, 0, HTTP_BODY_BYTES as u64));
        Ok(self.stream.write_all(&answer).await?)
    }

    /// Reads once; false at the end.
    async fn fill(&mut self) -> anyhow::Result<bool> {
        use tokio::io::AsyncReadExt;
        self.unread.reserve(self.read_bytes);
        let room = self.read_bytes as u64;
        Ok((&mut self.stream).take(room).read_buf(&mut self.unread).await? > 0)
    }
}

/// For tests of other modules: an origin in this process.
#[cfg(test)]
pub(crate) async fn in_process(tasks: &tokio::task::LocalSet) -> SocketAddr {
    let (bulk, handovers) = mpsc::channel(HANDOVERS);
    std::thread::spawn(move || carry_bulk(handovers));
    let listener = crate::route::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn_local(accept(listener, bulk));
    address
}
