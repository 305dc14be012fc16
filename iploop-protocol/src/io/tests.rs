//! Both ends of a tunnel over an in-memory transport.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tunnel::Side;

/// One direction of an in-memory transport: bounded, like a socket.
#[derive(Default)]
struct Pipe {
    messages: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Memory {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

fn memory() -> (Memory, Memory) {
    let (a, b) = (
        Arc::new(Mutex::new(Pipe::default())),
        Arc::new(Mutex::new(Pipe::default())),
    );
    (
        Memory {
            incoming: a.clone(),
            outgoing: b.clone(),
        },
        Memory {
            incoming: b,
            outgoing: a,
        },
    )
}

impl Transport for Memory {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut pipe = self.incoming.lock();
        match pipe.messages.pop_front() {
            Some(message) => {
                pipe.bytes -= message.len();
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
                Poll::Ready(Some(Ok(message)))
            }
            None if pipe.closed => Poll::Ready(None),
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> io::Result<bool> {
        let mut message = BytesMut::new();
        if !write(&mut message) {
            return Ok(false);
        }
        let mut pipe = self.outgoing.lock();
        pipe.bytes += message.len();
        pipe.messages.push_back(message.freeze());
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Ok(true)
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.outgoing.lock();
        if pipe.bytes > 64 * 1024 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
    fn poll_close(&mut self, _cx: &mut Context<'_>, _code: u16) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut pipe = self.outgoing.lock();
        pipe.closed = true;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }
}

/// A hub and a node whose handshake is over.
async fn pair() -> ((Tunnel, Events), (Tunnel, Events)) {
    let (a, b) = memory();
    let (hub, mut hub_events, hub_driver) = connect(a, Config::new(Side::Hub));
    let (node, mut node_events, node_driver) = connect(b, Config::new(Side::Node));
    tokio::spawn(hub_driver);
    tokio::spawn(node_driver);
    node.send_control(Bytes::from_static(b"{\"type\":\"hello\"}"))
        .unwrap();
    assert!(matches!(hub_events.next().await, Some(Event::Control(_))));
    hub.send_control(Bytes::from_static(b"{\"type\":\"welcome\"}"))
        .unwrap();
    hub.establish(1024);
    assert!(matches!(node_events.next().await, Some(Event::Control(_))));
    ((hub, hub_events), (node, node_events))
}

fn request(early: &'static [u8]) -> OpenRequest {
    OpenRequest {
        kind: StreamKind::Tcp,
        destination: Destination::parse_authority("example.com:443").unwrap(),
        customer: 7,
        early: Bytes::from_static(early),
        timeout: Duration::from_secs(5),
    }
}

async fn incoming(events: &mut Events) -> Incoming {
    match events.next().await {
        Some(Event::Incoming(incoming)) => incoming,
        _ => panic!("no stream was asked for"),
    }
}

#[tokio::test]
async fn early_bytes_echo_and_half_close_pass_both_ways() {
    let ((hub, _hub_events), (_node, mut node_events)) = pair().await;
    let server = tokio::spawn(async move {
        let incoming = incoming(&mut node_events).await;
        assert_eq!(incoming.open().destination.to_string(), "example.com:443");
        let mut stream = incoming.accept(Duration::from_millis(3)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        node_events
    });
    let (mut stream, dial) = hub.open(request(b"hello ")).await.unwrap();
    assert_eq!(dial, Duration::from_millis(3));
    stream.write_all(b"world").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "HELLO WORLD");
    drop(stream);
    server.await.unwrap();
    assert_eq!(hub.stream_count(), 0);
}

#[tokio::test]
async fn bulk_arrives_whole_in_both_directions_at_once() {
    const BYTES: usize = 20 << 20;
    let ((hub, _hub_events), (_node, mut node_events)) = pair().await;
    tokio::spawn(async move {
        let stream = incoming(&mut node_events).await.accept(Duration::ZERO).unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        node_events.next().await;
    });
    let (stream, _) = hub.open(request(b"")).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sender = tokio::spawn(async move {
        let block: Vec<u8> = (0..=255u8).cycle().take(1 << 20).collect();
        for _ in 0..BYTES >> 20 {
            writer.write_all(&block).await.unwrap();
        }
        writer.shutdown().await.unwrap();
        writer
    });
    let mut received = 0usize;
    let mut block = vec![0; 1 << 16];
    loop {
        let length = reader.read(&mut block).await.unwrap();
        if length == 0 {
            break;
        }
        for (at, byte) in block[..length].iter().enumerate() {
            assert_eq!(usize::from(*byte), (received + at) % 256);
        }
        received += length;
    }
    assert_eq!(received, BYTES);
    sender.await.unwrap();
}

#[tokio::test]
async fn refusal_and_cancel_are_told() {
    let ((hub, _hub_events), (_node, mut node_events)) = pair().await;
    let opening = tokio::spawn({
        let hub = hub.clone();
        async move { hub.open(request(b"")).await.map(|_| ()) }
    });
    incoming(&mut node_events)
        .await
        .reject(ResetCode::Forbidden, "private_address");
    let refused = OpenError::Refused {
        code: ResetCode::Forbidden,
        detail: "private_address".to_owned(),
    };
    assert_eq!(opening.await.unwrap(), Err(refused));

    let opening = tokio::spawn(async move { hub.open(request(b"")).await.map(|_| ()) });
    let mut asked = incoming(&mut node_events).await;
    opening.abort();
    poll_fn(|cx| asked.poll_cancelled(cx)).await;
}

#[tokio::test]
async fn slow_reader_stalls_only_its_own_stream() {
    let ((hub, _hub_events), (_node, mut node_events)) = pair().await;
    tokio::spawn(async move {
        loop {
            let stream = incoming(&mut node_events).await.accept(Duration::ZERO).unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    let (mut stalled, _) = hub.open(request(b"")).await.unwrap();
    // Writes until nothing more is taken: the echo is never read.
    let block = Bytes::from(vec![1; 64 * 1024]);
    let mut written = 0;
    poll_fn(|cx| {
        while let Poll::Ready(taken) = stalled.poll_write_chunk(cx, &mut block.clone()) {
            written += taken.unwrap();
            if written > 64 << 20 {
                panic!("no bound");
            }
        }
        // More than a queue and a window: the reader at the other end has stopped the echo.
        if written >= 192 * 1024 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let (mut stream, _) = hub.open(request(b"")).await.unwrap();
    for _ in 0..100 {
        stream.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
    }
}

#[tokio::test(start_paused = true)]
async fn silent_peer_is_gone_within_45_seconds() {
    let (a, b) = memory();
    let (hub, mut events, driver) = connect(a, Config::new(Side::Hub));
    let started = Instant::now();
    let closed = tokio::spawn(driver);
    hub.establish(1);
    assert!(events.next().await.is_none());
    let closed = closed.await.unwrap();
    assert_eq!(closed.code, CloseCode::Silent);
    assert!(
        started.elapsed() <= Duration::from_secs(50),
        "{:?}",
        started.elapsed()
    );
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn handshake_has_a_deadline_and_close_reaches_the_peer() {
    let (a, b) = memory();
    let (_hub, _events, driver) = connect(a, Config::new(Side::Hub));
    let (_node, _node_events, node_driver) = connect(b, Config::new(Side::Node));
    let (hub_closed, node_closed) = tokio::join!(driver, node_driver);
    let codes = [hub_closed.code, node_closed.code];
    assert!(codes.contains(&CloseCode::HandshakeTimeout), "{codes:?}");
}

#[tokio::test]
async fn end_is_read_again_and_again_although_the_stream_is_over() {
    let ((hub, _hub_events), (_node, mut node_events)) = pair().await;
    let (mut near, far) = tokio::join!(hub.open(request(b"")), async {
        incoming(&mut node_events).await.accept(Duration::ZERO).unwrap()
    });
    let (near, _) = near.as_mut().unwrap();
    let mut far = far;
    near.finish();
    assert_eq!(far.read_chunk().await, Ok(None));
    far.write_chunk(Bytes::from_static(b"last")).await.unwrap();
    far.finish();
    // Both at once: the bytes, and the end that closes the stream for good.
    while near.shared.lock().tunnel.stream_count() > 0 {
        let mut chunks = VecDeque::new();
        let taken = poll_fn(|cx| near.poll_read_chunks(cx, usize::MAX, &mut chunks)).await;
        assert!(taken.is_ok(), "{taken:?}");
    }
    let mut chunks = VecDeque::new();
    for _ in 0..2 {
        let taken = poll_fn(|cx| near.poll_read_chunks(cx, usize::MAX, &mut chunks)).await;
        assert_eq!(taken, Ok(0));
        assert_eq!(near.read_chunk().await, Ok(None));
    }
}
