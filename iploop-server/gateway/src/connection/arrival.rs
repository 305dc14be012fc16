//! Whether what was written to a TCP connection has arrived at the other side.
//!
//! The system says so by readiness for writing, if that is set up for it: with the smallest send buffer there is room again only when
//! what was sent before was acknowledged, but for one segment at most, and with the smallest low-water mark only when everything
//! was sent.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll as look};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A call that does not wait.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Ready when everything has arrived, or never will.
pub(super) fn poll(socket: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    let options = SockRef::from(socket);
    // The system takes its own minimum instead. Where these fail the connection is gone, and the look below says so.
    let _ = options.set_send_buffer_size(1);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = options.set_tcp_notsent_lowat(1);
    loop {
        if ready!(socket.poll_write_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        // What tokio remembers is from before; the call also has the system tell of the next change.
        let looked = socket.try_io(Interest::WRITABLE, || {
            match look(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&AT_ONCE)) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::Connection;
    use super::*;

    /// Both ends of a connection whose reader takes little at a time; the writer has written as much as the system takes.
    async fn full() -> (Connection, TcpStream, usize) {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let reader = TcpSocket::new_v4().unwrap();
        reader.set_recv_buffer_size(64 * 1024).unwrap();
        let (reader, accepted) =
            tokio::join!(reader.connect(listener.local_addr().unwrap()), listener.accept());
        let (writer, peer) = accepted.unwrap();
        let mut written = 0;
        writer.writable().await.unwrap();
        while let Ok(bytes) = writer.try_write(&[7; 16 * 1024]) {
            written += bytes;
        }
        (Connection::new(Box::new(writer), peer), reader.unwrap(), written)
    }

    /// Reads to the end, in small pieces: how much came, and how it ended.
    async fn read_slowly(mut reader: TcpStream) -> (usize, io::Result<()>) {
        let (mut read, mut piece) = (0, [0; 10_000]);
        loop {
            match reader.read(&mut piece).await {
                Ok(0) => return (read, Ok(())),
                Ok(bytes) => read += bytes,
                Err(error) => return (read, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn what_was_written_before_a_break_arrives_at_a_slow_reader_and_then_the_break() {
        let (connection, reader, written) = full().await;
        assert!(
            written > 64 * 1024,
            "more than the reader's system takes: {written}"
        );
        let ((), (read, end)) = tokio::join!(connection.break_off(), read_slowly(reader));
        assert_eq!(read, written);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_arrives_although_nobody_reads_what_the_customer_sends() {
        let (connection, reader, written) = full().await;
        reader.try_write(b"never read").unwrap();
        let ((), (read, end)) = tokio::join!(connection.end(), read_slowly(reader));
        assert_eq!(read, written);
        end.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_not_waited_for_longer_than_two_minutes() {
        let (connection, _reader, _) = full().await;
        let began = tokio::time::Instant::now();
        connection.break_off().await;
        assert!(began.elapsed() <= super::super::LAST_BYTES + std::time::Duration::from_secs(1));
    }
}
