//! A hub that is not the server: its end of the opening handshake, and its welcome.

use iploop_protocol::control::{self, ToNode, Welcome};
use iploop_protocol::io::{Role, SUBPROTOCOL, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Grants the upgrade that a device asks for.
pub(crate) async fn accept<S>(stream: S) -> Result<WebSocket<S>, tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = tokio_tungstenite::accept_hdr_async(stream, name_subprotocol).await?;
    Ok(WebSocket::new(socket.into_inner(), Role::Server, &[]))
}

/// What a device waits for after its hello.
pub(crate) fn welcome(node_id: String) -> ToNode {
    ToNode::Welcome(Box::new(Welcome {
        version: control::VERSION,
        node_id,
        public_ip: None,
        heartbeat_s: 300,
        max_streams: 0,
        policy: None,
        platform_addresses: Vec::new(),
        capabilities: Vec::new(),
        paused: false,
    }))
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn name_subprotocol(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
