//! Our hub's side of a tunnel with a node in another language, written from `docs/protocol.md` alone: `tests/python/node.py`.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::{ToHub, ToNode, VERSION, Welcome};
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{
    Event, OpenError, OpenRequest, Role, SUBPROTOCOL, Stream, Tunnel, WebSocket, connect,
};
use iploop_protocol::tunnel::{Config, Side, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::rng::Rng;

/// Nothing here takes as long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The node and the hub's side of its tunnel.
struct Pair {
    node: Child,
    tunnel: Tunnel,
    hello: ToHub,
}

/// Starts the node, who may dial `allow`, and registers it.
async fn pair(allow: &[String]) -> Pair {
    let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/node.py");
    let mut command = Command::new("python3");
    command.args([script, "--partner-key", &format!("iplp_{}", "0a".repeat(24))]);
    command.args(["--hub", &format!("ws://{}/ws", hub.local_addr().unwrap())]);
    for destination in allow {
        command.args(["--allow", destination]);
    }
    let node = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}"));
    let (connection, _) = hub.accept().await.unwrap();
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let check = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/ws");
        let name = HeaderValue::from_static(SUBPROTOCOL);
        assert_eq!(request.headers().get("sec-websocket-protocol"), Some(&name));
        response.headers_mut().insert("sec-websocket-protocol", name);
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(connection, check)
        .await
        .unwrap();
    let socket = WebSocket::new(socket.into_inner(), Role::Server, &[]);
    let (tunnel, mut events, driver) = connect(socket, Config::new(Side::Hub));
    tokio::spawn(driver);
    let Some(Event::Control(hello)) = events.next().await else {
        panic!("no hello");
    };
    let hello = ToHub::decode(&hello).unwrap().unwrap();
    let welcome = ToNode::Welcome(Box::new(Welcome {
        version: VERSION,
        node_id: "0199c0de-0000-7000-8000-000000000001".into(),
        public_ip: None,
        heartbeat_s: 300,
        max_streams: 0,
        policy: None,
        platform_addresses: vec![],
        capabilities: vec!["pairing".into(), "of another day".into()],
        paused: false,
    }));
    tunnel.send_control(welcome.encode()).unwrap();
    tunnel.establish(256);
    // The tunnel goes on without anybody who listens to its events.
    tokio::spawn(async move { while events.next().await.is_some() {} });
    Pair { node, tunnel, hello }
}

impl Pair {
    async fn open(&self, destination: &str, early: Bytes) -> Result<Stream, OpenError> {
        let request = OpenRequest {
            kind: StreamKind::Tcp,
            destination: Destination::parse_authority(destination).unwrap(),
            customer: 7,
            early,
            timeout: Duration::from_secs(5),
        };
        self.tunnel.open(request).await.map(|(stream, _)| stream)
    }
}

/// A listener on loopback and its address.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Answers each connection with what it says, backwards, once it has said all.
async fn reversing(listener: TcpListener) {
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut all = Vec::new();
            connection.read_to_end(&mut all).await.unwrap();
            all.reverse();
            connection.write_all(&all).await.unwrap();
        });
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..bytes.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .take(bytes)
        .collect()
}

async fn reversed(pair: &Pair, address: &str, said: Vec<u8>) {
    let early = Bytes::copy_from_slice(&said[..said.len().min(1000)]);
    let mut stream = pair.open(address, early.clone()).await.unwrap();
    let (mut expected, rest) = (said.clone(), Bytes::from(said).slice(early.len()..));
    stream.write_chunk(rest).await.unwrap();
    stream.finish();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    expected.reverse();
    assert!(answer == expected, "{} of {} bytes", answer.len(), expected.len());
}

#[tokio::test]
async fn node_of_another_language_relays_bytes_both_ways_with_half_close() {
    tokio::time::timeout(DEADLINE, async {
        let (listener, address) = listen().await;
        tokio::spawn(reversing(listener));
        let pair = pair(std::slice::from_ref(&address)).await;
        let ToHub::Hello(hello) = &pair.hello else {
            panic!("{:?}", pair.hello);
        };
        assert_eq!(hello.test_allow, [address.as_str()]);
        // More than both windows, so credit goes round many times.
        reversed(&pair, &address, noise(1, 12 << 20)).await;
        reversed(&pair, &address, Vec::new()).await;
        let many = (0..30).map(|n| reversed(&pair, &address, noise(n, 100_000)));
        futures_util::future::join_all(many).await;
        assert_eq!(pair.tunnel.stream_count(), 0);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn refusals_and_resets_pass_through_a_node_of_another_language() {
    tokio::time::timeout(DEADLINE, async {
        let (listener, address) = listen().await;
        let (closed, closed_address) = listen().await;
        drop(closed);
        let mut pair = pair(&[address.clone(), closed_address.clone()]).await;
        for (destination, expected) in [
            ("127.0.0.1:9", ResetCode::Forbidden),
            (&closed_address, ResetCode::Refused),
        ] {
            let refused = pair.open(destination, Bytes::new()).await.err();
            assert!(
                matches!(&refused, Some(OpenError::Refused { code, .. }) if *code == expected),
                "{refused:?}"
            );
        }

        // The destination aborts.
        let stream = pair.open(&address, Bytes::new()).await.unwrap();
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_zero_linger().unwrap();
        drop(connection);
        let mut stream = stream;
        let end = stream.read_chunk().await;
        let expected = ResetCode::ConnectionReset;
        assert!(
            matches!(&end, Err(StreamError::Reset { code, .. }) if *code == expected),
            "{end:?}"
        );

        // The customer does.
        let stream = pair.open(&address, Bytes::from_static(b"GET /")).await.unwrap();
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut start = [0; 5];
        connection.read_exact(&mut start).await.unwrap();
        drop(stream);
        let end = connection.read(&mut start).await;
        assert!(end.is_err(), "a reset, and no end that looks whole: {end:?}");

        // The hub goes: that is worth coming back for.
        pair.tunnel.close(CloseCode::ShuttingDown, None, "bye");
        let status = pair.node.wait().await.unwrap();
        assert_eq!(status.code(), Some(2));
    })
    .await
    .unwrap();
}
