//! Against tokio-tungstenite, which knows nothing of ours.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode as Status, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as WsFrame};
use tokio_tungstenite::tungstenite::protocol::{Role as PeerRole, WebSocketConfig};

use super::*;
use crate::codes::CloseCode;
use crate::frame::Frame;
use crate::io::connect;
use crate::tunnel::{Config, Initiator, Side};

/// Ours and a library's end of a connection.
async fn pair(role: Role, buffer_bytes: usize) -> (WebSocket<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(buffer_bytes);
    let theirs = match role {
        Role::Client => PeerRole::Server,
        Role::Server => PeerRole::Client,
    };
    let config = WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None);
    let peer = WebSocketStream::from_raw_socket(far, theirs, Some(config)).await;
    (WebSocket::new(near, role, &[]), peer)
}

async fn receive(socket: &mut WebSocket<DuplexStream>) -> Option<io::Result<Bytes>> {
    std::future::poll_fn(|cx| socket.poll_receive(cx)).await
}

async fn send(socket: &mut WebSocket<DuplexStream>, payload: &[u8]) {
    let write = |out: &mut BytesMut| {
        out.extend_from_slice(payload);
        true
    };
    assert!(socket.send(write).unwrap());
    std::future::poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[tokio::test]
async fn messages_of_every_size_pass_both_ways_through_a_narrow_connection() {
    for role in [Role::Client, Role::Server] {
        let (mut socket, peer) = pair(role, 700).await;
        let sizes = [1, 125, 126, 511, 16_384, 3, 65_535, 65_536, 7, MAX_MESSAGE_BYTES];
        let (mut to_us, mut from_us) = peer.split();
        let feed = async {
            for bytes in sizes {
                to_us.send(Message::Binary(payload(bytes).into())).await.unwrap();
            }
        };
        let take = async {
            for bytes in sizes {
                let message = receive(&mut socket).await.unwrap().unwrap();
                assert_eq!(message, payload(bytes));
            }
        };
        tokio::join!(feed, take);
        let feed = async {
            for bytes in sizes {
                send(&mut socket, &payload(bytes)).await;
            }
        };
        let take = async {
            for bytes in sizes {
                let message = from_us.next().await.unwrap().unwrap();
                assert_eq!(message.into_data(), payload(bytes));
            }
        };
        tokio::join!(feed, take);
    }
}

#[tokio::test]
async fn fragments_are_joined_and_pings_between_them_answered() {
    let (mut socket, mut peer) = pair(Role::Server, 1 << 16).await;
    let part =
        |data: &'static [u8], opcode, fin| Message::Frame(WsFrame::message(data, OpCode::Data(opcode), fin));
    for message in [
        part(b"one ", Data::Binary, false),
        Message::Ping(Bytes::from_static(b"there?")),
        part(b"", Data::Continue, false),
        part(b"message", Data::Continue, true),
    ] {
        peer.send(message).await.unwrap();
    }
    assert_eq!(receive(&mut socket).await.unwrap().unwrap(), "one message");
    std::future::poll_fn(|cx| socket.poll_flush(cx)).await.unwrap();
    let pong = peer.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
}

#[tokio::test]
async fn ping_is_answered_while_nothing_else_goes_on() {
    let (socket, mut peer) = pair(Role::Server, 1 << 16).await;
    let (_tunnel, _events, driver) = connect(socket, Config::new(Side::Hub));
    let asks = async {
        peer.send(Message::Ping(Bytes::from_static(b"there?")))
            .await
            .unwrap();
        peer.next().await.unwrap().unwrap()
    };
    tokio::select! {
        closed = driver => panic!("{closed:?}"),
        pong = asks => assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?"))),
    }
}

#[tokio::test]
async fn what_no_websocket_may_send_is_a_breach() {
    let masked = |first: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    };
    for breach in [
        vec![0x82, 0x01, 0x00],
        masked(0x80, b"goes on"),
        [masked(0x02, b"begins"), masked(0x82, b"again")].concat(),
        masked(0xC2, b"reserved"),
        vec![0x82, 0xFF, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0],
        vec![0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    ] {
        let (near, mut far) = duplex(1 << 16);
        let mut socket = WebSocket::new(near, Role::Server, &[]);
        far.write_all(&breach).await.unwrap();
        let error = receive(&mut socket).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{breach:x?}");
    }
    // A server that masks.
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&masked(0x82, b"x")).await.unwrap();
    let error = receive(&mut WebSocket::new(near, Role::Client, &[])).await;
    assert_eq!(error.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn pings_whose_answers_nobody_reads_end_it() {
    let (near, mut far) = duplex(1 << 20);
    let mut socket = WebSocket::new(near, Role::Server, &[]);
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[1; 125]].concat();
    let flood = async { while far.write_all(&ping).await.is_ok() {} };
    let ours = async {
        let error = receive(&mut socket).await.unwrap().unwrap_err();
        drop(socket);
        error
    };
    let (error, ()) = tokio::join!(ours, flood);
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn idle_connection_keeps_no_buffer_of_what_was() {
    let (mut socket, mut peer) = pair(Role::Server, 1 << 20).await;
    for bytes in [60_000, 60_000, 10] {
        peer.send(Message::Binary(payload(bytes).into())).await.unwrap();
        drop(receive(&mut socket).await.unwrap().unwrap());
        send(&mut socket, &payload(bytes)).await;
    }
    std::future::poll_fn(|cx| {
        assert!(socket.poll_receive(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(socket.incoming.buffer.capacity() <= MIN_READ_BYTES);
    assert!(socket.out.capacity() <= KEPT_BYTES);
}

#[tokio::test]
async fn code_of_the_peers_close_frame_ends_the_tunnel() {
    let (socket, mut peer) = pair(Role::Client, 1 << 16).await;
    let (_tunnel, _events, driver) = connect(socket, Config::new(Side::Node));
    let frame = CloseFrame {
        code: Status::from(CloseCode::Banned.to_websocket()),
        reason: "".into(),
    };
    let (closed, ()) = tokio::join!(driver, async {
        peer.close(Some(frame)).await.unwrap();
        while peer.next().await.is_some() {}
    });
    assert_eq!((closed.code, closed.by), (CloseCode::Banned, Initiator::Peer));
}

#[tokio::test]
async fn connection_that_breaks_off_is_no_breach() {
    let (near, mut far) = duplex(1 << 16);
    let (_tunnel, _events, driver) = connect(WebSocket::new(near, Role::Server, &[]), Config::new(Side::Hub));
    far.write_all(&[0x82]).await.unwrap();
    drop(far);
    assert_eq!(driver.await.by, Initiator::Transport);
}

#[tokio::test]
async fn messages_that_carry_no_tunnel_are_malformed() {
    let too_long = Message::Binary(vec![0x40; MAX_MESSAGE_BYTES + 1].into());
    for breach in [Message::text("hello"), Message::Binary(Bytes::new()), too_long] {
        let (socket, mut peer) = pair(Role::Server, 1 << 20).await;
        let (_tunnel, _events, driver) = connect(socket, Config::new(Side::Hub));
        let (closed, ()) = tokio::join!(driver, async {
            peer.send(breach.clone()).await.unwrap();
            let Some(Ok(Message::Binary(message))) = peer.next().await else {
                panic!("no CLOSE");
            };
            let frame = Frame::decode(&mut message.clone());
            assert!(
                matches!(&frame, Ok(Frame::Close { code, .. }) if *code == CloseCode::Malformed),
                "{frame:?}"
            );
            let Some(Ok(Message::Close(Some(close)))) = peer.next().await else {
                panic!("no close code");
            };
            assert_eq!(u16::from(close.code), CloseCode::Malformed.to_websocket());
            // The library answers, and the connection ends.
            while peer.next().await.is_some() {}
        });
        assert_eq!((closed.code, closed.by), (CloseCode::Malformed, Initiator::Local));
    }
}

#[tokio::test]
async fn bytes_behind_the_opening_handshake_are_heard() {
    let (near, mut far) = duplex(1 << 16);
    let mut socket = WebSocket::new(near, Role::Client, &[0x82, 0x02, b'h']);
    far.write_all(b"i").await.unwrap();
    assert_eq!(receive(&mut socket).await.unwrap().unwrap(), "hi");
    send(&mut socket, b"x").await;
    let mut sent = [0; 7];
    far.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[..2], [0x82, 0x81]);
}
