//! A tunnel over a WebSocket (RFC 6455): one binary message, one message of the tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Transport;
use crate::frame::MAX_MESSAGE_BYTES;

/// The subprotocol that both sides name in the opening handshake.
pub const SUBPROTOCOL: &str = "iploop.v2";

/// A WebSocket whose opening handshake is over.
pub struct WebSocket<S> {
    inner: WebSocketStream<S>,
    close_sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Over a connection on which the opening handshake is over; `role` is this side's.
    pub async fn from_handshaken(connection: S, role: Role) -> Self {
        let inner = WebSocketStream::from_raw_socket(connection, role, Some(Self::config())).await;
        Self {
            inner,
            close_sent: false,
        }
    }

    /// Over a WebSocket that was opened with [`WebSocket::config`].
    pub fn new(inner: WebSocketStream<S>) -> Self {
        Self {
            inner,
            close_sent: false,
        }
    }

    /// Buffers and limits for a tunnel: see the measurements in `docs/decisions/`.
    pub fn config() -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(64 * 1024)
            .max_write_buffer_size(512 * 1024)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for WebSocket<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(Message::Binary(message))) => Some(Ok(message)),
                // Answered by the library; liveness has pings of its own.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Text(_) | Message::Frame(_))) => Some(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "only binary messages carry a tunnel",
                ))),
                Some(Ok(Message::Close(_))) | None => None,
                Some(Err(error)) => Some(Err(into_io(error))),
            });
        }
    }

    fn send(&mut self, message: &mut BytesMut) -> io::Result<()> {
        Pin::new(&mut self.inner)
            .start_send(Message::Binary(message.split().freeze()))
            .map_err(into_io)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(into_io)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<io::Result<()>> {
        if !self.close_sent {
            self.close_sent = true;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: "".into(),
            };
            match Pin::new(&mut self.inner).start_send(Message::Close(Some(frame))) {
                Ok(()) | Err(Error::ConnectionClosed) => {}
                Err(error) => return Poll::Ready(Err(into_io(error))),
            }
        }
        match ready!(Pin::new(&mut self.inner).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(into_io(error))),
        }
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        // The peer vanished; that is no breach, and there is nobody to be told.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => io::ErrorKind::UnexpectedEof.into(),
        breach @ (Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)) => {
            io::Error::new(io::ErrorKind::InvalidData, breach)
        }
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};

    use super::*;
    use crate::codes::CloseCode as TunnelCode;
    use crate::frame::Frame;
    use crate::tunnel::{Config, Initiator, Side};

    #[tokio::test]
    async fn messages_that_carry_no_tunnel_are_malformed() {
        let too_long = Message::Binary(vec![0x40; MAX_MESSAGE_BYTES + 1].into());
        for breach in [Message::text("hello"), Message::Binary(Bytes::new()), too_long] {
            let (near, far) = tokio::io::duplex(1 << 20);
            let socket = WebSocket::from_handshaken(near, Role::Server).await;
            let (_tunnel, _events, driver) = crate::io::connect(socket, Config::new(Side::Hub));
            let mut peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            let (closed, ()) = tokio::join!(driver, async {
                peer.send(breach.clone()).await.unwrap();
                let Some(Ok(Message::Binary(message))) = peer.next().await else {
                    panic!("no CLOSE");
                };
                let frame = Frame::decode(&mut message.clone());
                assert!(
                    matches!(
                        frame,
                        Ok(Frame::Close {
                            code: TunnelCode::Malformed,
                            ..
                        })
                    ),
                    "{frame:?}"
                );
                let Some(Ok(Message::Close(Some(close)))) = peer.next().await else {
                    panic!("no close code");
                };
                assert_eq!(u16::from(close.code), TunnelCode::Malformed.to_websocket());
                // The library answers, and the connection ends.
                while peer.next().await.is_some() {}
            });
            assert_eq!(
                (closed.code, closed.by),
                (TunnelCode::Malformed, Initiator::Local)
            );
        }
    }
}
