//! A customer's socket with what was read ahead of it, and deadlines for every wait.

mod arrival;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

/// Room for one read of a head: most are shorter than this.
const READ_BYTES: usize = 2 * 1024;

/// Room for one read of what is thrown away, while there is something.
const LINGER_READ_BYTES: usize = 16 * 1024;

/// How long a customer that was answered is still read from, so that the answer is not lost to a reset (RFC 9112 section 9.6): many
/// clients look for it only when they have sent everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    /// In all.
    time: Duration,
    /// While nothing comes.
    silence: Duration,
    /// Most that is thrown away.
    bytes: usize,
}

impl Linger {
    /// Where there is room: an upload of 256 MiB in 30 s, which is how long others wait, too.
    pub(crate) const LONG: Self = Self {
        time: Duration::from_secs(30),
        silence: Duration::from_secs(2),
        bytes: 256 * 1024 * 1024,
    };
    /// Where the place is wanted for others.
    pub(crate) const SHORT: Self = Self {
        time: Duration::from_secs(2),
        silence: Duration::from_secs(2),
        bytes: 16 * 1024 * 1024,
    };
}

/// Longest time that what was written is waited for to arrive, when the connection is to break behind it. A send buffer of 4 MiB, the
/// most by Linux's defaults, arrives by then at 35 KB/s.
const LAST_BYTES: Duration = Duration::from_secs(120);

/// What a customer's bytes come and go by: TCP, TLS over it, or memory in tests.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Has the connection end in a reset once it is dropped, so that the other side can tell a break from an end.
    fn abort(&self);
    /// Ready when what was written and flushed has arrived, or never will. Nothing more can be written after the first call.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Socket for TcpStream {
    fn abort(&self) {
        // Where it fails the connection is gone already.
        let _ = self.set_zero_linger();
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        arrival::poll(self, cx)
    }
}

/// What came first was read before it was known to be TLS: it comes out of the connection again.
impl Socket for TlsStream<Connection> {
    fn abort(&self) {
        self.get_ref().0.socket.abort();
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.socket.poll_arrived(cx)
    }
}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {
    fn abort(&self) {}

    fn poll_arrived(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// One customer's connection.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    /// Read and not yet used. Holds no memory while it is empty and nobody reads.
    ahead: BytesMut,
    peer: SocketAddr,
    /// The address of ours that it came in at.
    local: Option<IpAddr>,
}

impl Connection {
    pub(crate) fn new(socket: Box<dyn Socket>, peer: SocketAddr) -> Self {
        Self {
            socket,
            ahead: BytesMut::new(),
            peer,
            local: None,
        }
    }

    /// The same with the address of ours that it came in at.
    pub(crate) fn at(self, local: Option<IpAddr>) -> Self {
        Self { local, ..self }
    }

    /// A balancer that is trusted says who the customer is.
    pub(crate) fn comes_from(&mut self, peer: SocketAddr) {
        self.peer = peer;
    }

    /// The address of ours that it came in at.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// The customer's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What was read and not yet used.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes the first `length` bytes that were read; fewer if there are fewer.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        let length = length.min(self.ahead.len());
        self.ahead.split_to(length).freeze()
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
    }

    /// Reads more, until `deadline`; false when the customer has finished writing.
    ///
    /// # Errors
    /// The socket's, and `TimedOut`.
    ///
    /// # Cancel safety
    /// Safe: nothing read is lost.
    pub(crate) async fn read_more(&mut self, deadline: Instant) -> io::Result<bool> {
        self.ahead.reserve(READ_BYTES);
        match timeout_at(deadline, self.socket.read_buf(&mut self.ahead)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Polls for more bytes; the number read, 0 when the customer has finished writing.
    pub(crate) fn poll_read_more(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.ahead.reserve(room);
        match tokio_util::io::poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.ahead) {
            Poll::Pending => {
                self.release();
                Poll::Pending
            }
            ready => ready,
        }
    }

    /// Writes all of it and flushes, until `deadline`.
    ///
    /// # Errors
    /// The socket's, and `TimedOut`.
    pub(crate) async fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let write = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        timeout_at(deadline, write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends our direction and reads what the customer still sends, for a while, so that the last answer arrives.
    pub(crate) async fn linger(mut self, most: Linger) {
        let read = async {
            self.socket.shutdown().await?;
            let mut read = 0;
            while read < most.bytes {
                self.ahead.clear();
                let more = poll_fn(|cx| self.poll_read_more(cx, LINGER_READ_BYTES));
                match timeout(most.silence, more).await?? {
                    0 => break,
                    bytes => read += bytes,
                }
            }
            io::Result::Ok(())
        };
        // Whether the customer reads or not, the connection ends here.
        let _ = timeout(most.time, read).await;
    }

    /// Waits for the connection to break while something else is awaited. Bytes that arrive are kept; a customer that only
    /// finished writing still waits for its answer.
    ///
    /// # Cancel safety
    /// Safe: nothing read is lost.
    pub(crate) async fn broken(&mut self) -> io::Error {
        // One read ahead at most: whatever it brings, the answer comes first.
        if self.ahead.is_empty() {
            let read = poll_fn(|cx| self.poll_read_more(cx, READ_BYTES)).await;
            if let Err(error) = read {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Ready when the connection is over, or the customer has finished writing; what it says until then is thrown away.
    pub(crate) async fn ended(&mut self) {
        loop {
            self.ahead.clear();
            let read = poll_fn(|cx| self.poll_read_more(cx, READ_BYTES)).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }

    /// Ends the connection in a reset, so that nobody takes a break for an end: behind what was written, for a reset takes away what
    /// has not arrived before it.
    pub(crate) async fn break_off(mut self) {
        self.socket.abort();
        self.arrived().await;
    }

    /// Ends the connection in order once what was written has arrived: closing throws that away where the customer has sent what nobody
    /// reads any more.
    pub(crate) async fn end(mut self) {
        // Not the other way round: the system takes nothing more then, and says that there is room.
        self.arrived().await;
        let _ = timeout(LAST_BYTES, self.socket.shutdown()).await;
    }

    async fn arrived(&mut self) {
        let arrived = async {
            self.socket.flush().await?;
            poll_fn(|cx| self.socket.poll_arrived(cx)).await;
            io::Result::Ok(())
        };
        // Whoever does not take it in this time, does without.
        let _ = timeout(LAST_BYTES, arrived).await;
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let taken = this.take(buf.remaining());
        buf.put_slice(&taken);
        this.release();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::DuplexStream;
    use tokio::time::sleep;

    use super::*;

    /// Answers, and reads on for so long.
    fn answered(linger: Linger) -> (DuplexStream, tokio::task::JoinHandle<Duration>) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let mut connection = Connection::new(Box::new(server), (Ipv4Addr::LOCALHOST, 1).into());
        let lingering = tokio::spawn(async move {
            let began = Instant::now();
            connection.write(b"no", began + LAST_BYTES).await.unwrap();
            connection.linger(linger).await;
            began.elapsed()
        });
        (client, lingering)
    }

    /// Sends so many pieces of 64 KiB, one every while, and then reads; none: it met the end while it sent.
    async fn upload(mut client: DuplexStream, pieces: usize, pause: Duration) -> Option<String> {
        for _ in 0..pieces {
            client.write_all(&[7; 64 * 1024]).await.ok()?;
            sleep(pause).await;
        }
        client.shutdown().await.ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    #[tokio::test(start_paused = true)]
    async fn who_uploads_slowly_or_much_before_it_reads_finds_the_answer() {
        for (pieces, pause) in [(29, Duration::from_secs(1)), (1_000, Duration::ZERO)] {
            let (client, lingering) = answered(Linger::LONG);
            assert_eq!(upload(client, pieces, pause).await.as_deref(), Some("no"));
            lingering.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_read_from_for_ever() {
        let (second, many) = (Duration::from_secs(1), 100_000);
        for (linger, pause, most) in [
            (Linger::LONG, second, Duration::from_secs(30)),
            (Linger::SHORT, second, Duration::from_secs(2)),
            (Linger::LONG, 3 * second, Duration::from_secs(2)),
        ] {
            let (client, lingering) = answered(linger);
            assert_eq!(upload(client, many, pause).await, None);
            let took = lingering.await.unwrap();
            assert!(took <= most + Duration::from_millis(10), "{linger:?}: {took:?}");
        }
        // By bytes, however fast they come.
        let (client, lingering) = answered(Linger::LONG);
        assert_eq!(upload(client, many, Duration::ZERO).await, None);
        lingering.await.unwrap();
    }
}
