//! A hub, destinations, and a world whose network, names and time the test decides.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use iploop_node::{
    Answers, Clock, Consent, ConsentAct, Event, NetworkKind, Node, NodeConfig, NodeError, Parts, Resolver,
    StateDir, StateError, Surroundings, SurroundingsError, View,
};
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::{Hello, PolicyUpdate, ToHub, ToNode, VERSION, Welcome};
use iploop_protocol::destination::HostName;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{
    self as tunnel_io, Closed, Events, OpenError, OpenRequest, Role, SUBPROTOCOL, Stream, WebSocket,
};
use iploop_protocol::policy::TestAllow;
use iploop_protocol::tunnel::{Config, Side};
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::task::AbortOnDropHandle;

pub(crate) const KEY: &str = "iplp_000102030405060708090a0b0c0d0e0f1011121314151617";
/// Far more than an answer takes; only a test that hangs meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TEXT: &str = "Other people's traffic will leave through this device.";

/// What a device of a test sees, resolves and reads off the clock.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) names: Arc<FakeNames>,
    pub(crate) network: Arc<FakeNetwork>,
}

pub(crate) struct FakeClock(pub(crate) Mutex<OffsetDateTime>);

#[derive(Default)]
pub(crate) struct FakeNames {
    /// A name without an entry does not exist; one with an empty entry is never answered.
    pub(crate) table: Mutex<HashMap<String, Vec<IpAddr>>>,
    pub(crate) asked: AtomicUsize,
    pub(crate) given_up: Arc<AtomicUsize>,
}

pub(crate) struct FakeNetwork(pub(crate) Mutex<Option<View>>);

impl World {
    pub(crate) fn new() -> Self {
        let view = View {
            network: Some(NetworkKind::Ethernet),
            ..View::default()
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FakeClock(Mutex::new(datetime!(2026-11-24 12:00 UTC)))),
            names: Arc::default(),
            network: Arc::new(FakeNetwork(Mutex::new(Some(view)))),
        }
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts {
            surroundings: self.network.clone(),
            resolver: self.names.clone(),
            clock: self.clock.clone(),
            random: || 1.0,
        }
    }

    pub(crate) fn state_path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::open(self.state_path()).unwrap()
    }

    /// A dropped node's tasks end when the runtime comes to them.
    pub(crate) async fn state_when_free(&self) -> StateDir {
        loop {
            match StateDir::open(self.state_path()) {
                Err(StateError::InUse(_)) => tokio::task::yield_now().await,
                state => return state.unwrap(),
            }
        }
    }

    pub(crate) fn consent(&self) -> Consent {
        let act = ConsentAct {
            text_version: "2026-11".into(),
            text: TEXT.into(),
            language: "en".into(),
            act: "button".into(),
            networks: vec![NetworkKind::Wifi, NetworkKind::Ethernet],
            minimum_age: true,
        };
        Consent::given(act, self.clock.now()).unwrap()
    }

    /// With the consent on record, or a new one.
    pub(crate) async fn start(&self, config: NodeConfig) -> Node {
        self.try_start(config).await.unwrap()
    }

    pub(crate) async fn try_start(&self, config: NodeConfig) -> Result<Node, NodeError> {
        let state = self.state();
        let consent = match state.consent()? {
            iploop_node::OwnersWord::Given(consent) => consent,
            _ => self.consent(),
        };
        Node::start_with(config, state, consent, self.parts()).await
    }

    pub(crate) fn name(&self, name: &str, answers: &[&str]) {
        let answers = answers.iter().map(|ip| ip.parse().unwrap()).collect();
        self.names.table.lock().insert(name.to_owned(), answers);
    }

    pub(crate) fn see(&self, change: impl FnOnce(&mut View)) {
        change(self.network.0.lock().as_mut().unwrap());
    }
}

impl Clock for FakeClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock()
    }
}

impl Resolver for FakeNames {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Answers<'a> {
        struct GivenUp(Arc<AtomicUsize>);
        impl Drop for GivenUp {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answers = self.table.lock().get(name.as_str()).cloned();
        Box::pin(async move {
            match answers {
                None => Err(io::ErrorKind::NotFound.into()),
                Some(answers) if answers.is_empty() => {
                    let _given_up = GivenUp(Arc::clone(&self.given_up));
                    std::future::pending().await
                }
                Some(answers) => Ok(answers),
            }
        })
    }
}

impl Surroundings for FakeNetwork {
    fn look(&self) -> Result<View, SurroundingsError> {
        self.0
            .lock()
            .clone()
            .ok_or(SurroundingsError::Unreadable("the test's network"))
    }
}

/// A hub that does what the test says.
pub(crate) struct FakeHub {
    listener: TcpListener,
}

/// A device that is connected to it.
pub(crate) struct Device {
    pub(crate) hello: Hello,
    pub(crate) tunnel: tunnel_io::Tunnel,
    pub(crate) events: Events,
    driver: AbortOnDropHandle<Closed>,
}

impl FakeHub {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    /// Where a hub was that was shut down, and where the next one shall be.
    pub(crate) async fn bind_again(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn config(&self, test_allow: &[SocketAddr]) -> NodeConfig {
        config_for(&format!("ws://{}/ws", self.address()), test_allow)
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// The next device, up to its hello.
    pub(crate) async fn accept(&self) -> Device {
        Device::over(self.accept_tcp().await).await
    }

    /// The next device, registered with a policy of defaults.
    pub(crate) async fn register(&self) -> Device {
        let device = self.accept().await;
        device.welcome(Some(serde_json::json!({ "format": 1, "version": 1 })));
        device
    }
}

pub(crate) fn config_for(hub: &str, test_allow: &[SocketAddr]) -> NodeConfig {
    let mut config = NodeConfig::new(hub.parse().unwrap(), KEY.parse().unwrap());
    config.test_allow = TestAllow::parse(test_allow.iter().map(ToString::to_string)).unwrap();
    config
}

impl Device {
    pub(crate) async fn over<S>(connection: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        #[expect(clippy::result_large_err, reason = "the library's own callback")]
        let agree = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
            Ok(response)
        };
        let websocket = accept_hdr_async(connection, agree).await.unwrap();
        let transport = WebSocket::new(websocket.into_inner(), Role::Server, &[]);
        let (tunnel, mut events, driver) = tunnel_io::connect(transport, Config::new(Side::Hub));
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let Some(tunnel_io::Event::Control(message)) = events.next().await else {
            panic!("no hello");
        };
        let Ok(Some(ToHub::Hello(hello))) = ToHub::decode(&message) else {
            panic!("no hello");
        };
        Self {
            hello: *hello,
            tunnel,
            events,
            driver,
        }
    }

    pub(crate) fn welcome(&self, policy: Option<serde_json::Value>) {
        self.welcome_as(policy, None);
    }

    pub(crate) fn welcome_as(&self, policy: Option<serde_json::Value>, public_ip: Option<IpAddr>) {
        self.welcome_with(policy, public_ip, &[], false);
    }

    pub(crate) fn welcome_with(
        &self,
        policy: Option<serde_json::Value>,
        public_ip: Option<IpAddr>,
        capabilities: &[&str],
        paused: bool,
    ) {
        self.send(&ToNode::Welcome(Box::new(Welcome {
            version: VERSION,
            node_id: "0199c0de-0000-7000-8000-000000000001".into(),
            public_ip,
            heartbeat_s: 300,
            max_streams: 0,
            policy: policy.map(|document| PolicyUpdate { document }),
            platform_addresses: vec!["45.6.7.8".parse().unwrap()],
            capabilities: capabilities.iter().map(|can| (*can).to_owned()).collect(),
            paused,
        })));
        self.tunnel.establish(1024);
    }

    pub(crate) fn send(&self, message: &ToNode) {
        self.tunnel.send_control(message.encode()).unwrap();
    }

    pub(crate) async fn message(&mut self) -> ToHub {
        loop {
            match self.events.next().await {
                Some(tunnel_io::Event::Control(message)) => return ToHub::decode(&message).unwrap().unwrap(),
                Some(_) => {}
                None => panic!("the tunnel is closed"),
            }
        }
    }

    pub(crate) async fn open(&self, to: &str) -> Result<Stream, OpenError> {
        self.open_for(1, to, b"").await
    }

    pub(crate) async fn open_for(&self, customer: u64, to: &str, early: &[u8]) -> Result<Stream, OpenError> {
        let request = OpenRequest {
            kind: StreamKind::Tcp,
            destination: to.parse().unwrap(),
            customer,
            early: Bytes::copy_from_slice(early),
            timeout: PATIENCE,
        };
        self.tunnel.open(request).await.map(|(stream, _)| stream)
    }

    /// The code and text of a refusal.
    pub(crate) async fn refusal(&self, to: &str) -> (ResetCode, String) {
        match self.open(to).await {
            Err(OpenError::Refused { code, detail }) => (code, detail),
            Ok(_) => panic!("{to} was connected"),
            Err(error) => panic!("{to}: {error}"),
        }
    }

    pub(crate) async fn close(self, code: CloseCode, retry_after: Option<Duration>) {
        self.tunnel.close(code, retry_after, "as the test says");
        self.driver.await.unwrap();
    }

    pub(crate) async fn closed(self) -> Closed {
        self.driver.await.unwrap()
    }
}

/// A destination that returns what it gets, and ends when its peer has ended.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = connection.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

/// A destination in the test's own hands.
pub(crate) async fn destination() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    destination().await.1
}

/// Sends, ends, and returns all that comes back.
pub(crate) async fn exchange(stream: &mut Stream, data: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(data).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The next event for which there is an answer.
pub(crate) async fn wait_for<T>(
    events: &mut tokio::sync::broadcast::Receiver<Event>,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> T {
    loop {
        let event = events.recv().await.unwrap();
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

pub(crate) async fn sharing(events: &mut tokio::sync::broadcast::Receiver<Event>) {
    wait_for(events, |event| matches!(event, Event::Sharing).then_some(())).await;
}
