//! A tunnel over a WebSocket (RFC 6455): one binary message, one message of the tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
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
        other => io::Error::other(other),
    }
}
