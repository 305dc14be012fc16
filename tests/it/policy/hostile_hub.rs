//! A hub that checks nothing and asks for anything.

use std::net::SocketAddr;

use bytes::Bytes;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::control::{PolicyUpdate, ToHub, ToNode, VERSION, Welcome};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{self, Event, OpenError, OpenRequest, Role, SUBPROTOCOL, Tunnel, WebSocket};
use iploop_protocol::tunnel::{Config, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::harness::PATIENCE;

/// What a device said to one OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It connected, and this came back.
    Reached(String),
    /// Its reset code, and its text.
    Refused(ResetCode, String),
}

/// Listens on `address`, has a device started for that, and has it dial everything; what it said to each.
pub(super) fn ask_for<D>(
    address: SocketAddr,
    kind: StreamKind,
    destinations: &[Destination],
    policy: serde_json::Value,
    start_device: impl FnOnce(SocketAddr) -> D,
) -> Vec<Said> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        let _device = start_device(listener.local_addr().unwrap());
        let patience = 2 * PATIENCE;
        tokio::time::timeout(patience, converse(listener, kind, destinations, policy))
            .await
            .unwrap()
    })
}

async fn converse(
    listener: TcpListener,
    kind: StreamKind,
    destinations: &[Destination],
    policy: serde_json::Value,
) -> Vec<Said> {
    let (stream, _) = listener.accept().await.unwrap();
    let socket = tokio_tungstenite::accept_hdr_async(stream, name_subprotocol)
        .await
        .unwrap();
    let socket = WebSocket::new(socket.into_inner(), Role::Server, &[]);
    let (tunnel, mut events, driver) = io::connect(socket, Config::new(Side::Hub));
    let driver = tokio::spawn(driver);
    loop {
        let event = events.next().await.unwrap();
        let Event::Control(message) = event else { continue };
        let Some(ToHub::Hello(hello)) = ToHub::decode(&message).unwrap() else {
            continue;
        };
        let welcome = Welcome {
            version: VERSION,
            node_id: "01900000-0000-7000-8000-000000000bad".to_owned(),
            public_ip: None,
            heartbeat_s: 300,
            max_streams: 0,
            policy: Some(PolicyUpdate { document: policy }),
            platform_addresses: Vec::new(),
            capabilities: Vec::new(),
            paused: false,
        };
        tunnel
            .send_control(ToNode::Welcome(Box::new(welcome)).encode())
            .unwrap();
        tunnel.establish(hello.max_streams);
        break;
    }
    let mut said = Vec::new();
    for destination in destinations {
        said.push(ask(&tunnel, kind, destination).await);
    }
    driver.abort();
    said
}

async fn ask(tunnel: &Tunnel, kind: StreamKind, destination: &Destination) -> Said {
    let request = OpenRequest {
        kind,
        destination: destination.clone(),
        customer: 1,
        early: Bytes::new(),
        timeout: PATIENCE,
    };
    let mut stream = match tunnel.open(request).await {
        Ok((stream, _)) => stream,
        Err(OpenError::Refused { code, detail }) => return Said::Refused(code, detail),
        Err(error) => panic!("{destination}: {error}"),
    };
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Said::Reached(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn name_subprotocol(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
