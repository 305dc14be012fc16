//! A gateway with a test network behind it, customers in front of it, and origins on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iploop_gateway::{Dependencies, Gateway, GatewayConfig, Sessions};
use iploop_platform::abuse::AbuseWatch;
use iploop_platform::admission::{Admission, AdmissionConfig};
use iploop_platform::clock::SystemClock;
use iploop_platform::ids::GatewayId;
use iploop_platform::keys::WantedLimits;
use iploop_platform::metering::{MeterTask, MeteringConfig, Meters};
use iploop_platform::usage::UsageRecord;
use iploop_protocol::policy::{PlatformPolicy, Policy, TestAllow};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::exits::TestExits;
use crate::store::{KEY, TestStore};

/// Where the clock is paused a test that waits in vain would spin: so it fails instead, at no cost to the others.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// A running gateway.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) admission: Arc<Admission>,
    pub(crate) exits: Arc<TestExits>,
    pub(crate) store: TestStore,
    pub(crate) address: SocketAddr,
    meter_task: tokio::task::JoinHandle<()>,
    close_meters: CancellationToken,
    tasks: JoinSet<()>,
    _journal: tempfile::TempDir,
}

/// What a test changes of the usual world.
pub(crate) struct Setup {
    pub(crate) config: GatewayConfig,
    pub(crate) exits: u8,
    pub(crate) balance_bytes: u64,
    pub(crate) max_concurrent: u32,
    pub(crate) limits: WantedLimits,
    pub(crate) policy: Option<PlatformPolicy>,
    /// Addresses that the key may be used from; none: any.
    pub(crate) whitelist: Vec<IpNet>,
    /// Whether proven addresses of that list need no password.
    pub(crate) ip_login: bool,
}

impl Default for Setup {
    fn default() -> Self {
        // Books are wanted at once: what a slow leave is for has its own tests.
        let soft_drain = Duration::ZERO;
        let config = GatewayConfig {
            listen: vec![loopback()],
            soft_drain,
            ..GatewayConfig::default()
        };
        Self {
            config,
            exits: 2,
            balance_bytes: 1 << 30,
            max_concurrent: 10_000,
            limits: WantedLimits::default(),
            policy: None,
            whitelist: Vec::new(),
            ip_login: false,
        }
    }
}

impl World {
    /// A gateway whose exits reach these origins.
    pub(crate) async fn start(origins: &[SocketAddr]) -> Self {
        Self::start_with(Setup::default(), origins).await
    }

    pub(crate) async fn start_with(setup: Setup, origins: &[SocketAddr]) -> Self {
        let mut store = TestStore::new(setup.balance_bytes, setup.max_concurrent);
        store.limit_key(&setup.limits);
        store.list_addresses(&setup.whitelist, setup.ip_login);
        let exits = TestExits::new(setup.exits);
        let world = Self::on(setup.config, store, exits, origins).await;
        if let Some(policy) = setup.policy {
            let allow = TestAllow::parse(origins.iter().map(SocketAddr::to_string)).expect("addresses");
            let policy = Policy::new(Some(Arc::new(policy))).with_test_allow(allow);
            world.gateway.set_policy(policy);
        }
        world
    }

    /// The gateway of this world ends in order, and another one takes its place.
    pub(crate) async fn restart(self, config: GatewayConfig, origins: &[SocketAddr]) -> Self {
        let (store, exits) = (self.store.clone(), Arc::clone(&self.exits));
        self.books().await;
        Self::on(config, store, exits, origins).await
    }

    async fn on(
        config: GatewayConfig,
        store: TestStore,
        exits: Arc<TestExits>,
        origins: &[SocketAddr],
    ) -> Self {
        let journal = tempfile::tempdir().expect("a temporary folder");
        let (meters, task) = start_meters(store.clone(), journal.path()).await;
        let shared = Arc::new(store.clone());
        let clock = Arc::new(SystemClock);
        let config_of_admission = AdmissionConfig {
            ip_login_local: true,
            ..AdmissionConfig::default()
        };
        let admission = Admission::new(
            Arc::clone(&shared) as _,
            Some(shared),
            clock,
            meters,
            config_of_admission,
        );
        let admission = Arc::new(admission);
        let sessions = Sessions::restore(&config, &SystemClock, Arc::new(store.clone()))
            .await
            .expect("sessions that can be read");
        let allow = TestAllow::parse(origins.iter().map(SocketAddr::to_string)).expect("addresses");
        let dependencies = Dependencies {
            exits: exits.clone(),
            admission: Arc::clone(&admission),
            policy: Policy::default().with_test_allow(allow),
            sessions,
            watch: AbuseWatch::unattended(Arc::new(SystemClock)),
        };
        let gateway = Gateway::bind(config, dependencies).expect("a free port");
        let address = gateway.local_addrs()[0];
        let mut tasks = JoinSet::new();
        let running = gateway.clone();
        tasks.spawn(async move { running.run().await });
        let close_meters = CancellationToken::new();
        let close = close_meters.clone();
        let meter_task = tokio::spawn(async move {
            task.run(close).await;
        });
        Self {
            gateway,
            admission,
            exits,
            store,
            address,
            meter_task,
            close_meters,
            tasks,
            _journal: journal,
        }
    }

    /// Ends everything and gives what was booked.
    pub(crate) async fn books(mut self) -> Vec<UsageRecord> {
        self.gateway.drain(Duration::from_secs(5)).await;
        while self.tasks.join_next().await.is_some() {}
        self.close_meters.cancel();
        self.meter_task.await.expect("the meters ended");
        self.store.records()
    }

    /// A customer's connection.
    pub(crate) async fn connect(&self) -> Customer<TcpStream> {
        Customer::new(
            TcpStream::connect(self.address)
                .await
                .expect("the gateway listens"),
        )
    }

    /// Sends this and gives everything that comes back until the gateway hangs up.
    pub(crate) async fn ask(&self, request: &[u8]) -> String {
        let mut customer = self.connect().await;
        customer.send(request).await;
        customer.rest().await
    }
}

async fn start_meters(store: TestStore, journal: &Path) -> (Meters, MeterTask) {
    let ledger = Arc::new(store);
    Meters::start(
        ledger,
        Arc::new(SystemClock),
        GatewayId::new(),
        journal,
        MeteringConfig::default(),
    )
    .await
    .expect("an empty journal")
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// `Proxy-Authorization` with the key and these parameters (`-country-US`).
pub(crate) fn login(parameters: &str) -> String {
    login_with(KEY, parameters)
}

/// `Proxy-Authorization` with another key.
pub(crate) fn login_with(key: &str, parameters: &str) -> String {
    format!(
        "Proxy-Authorization: Basic {}\r\n",
        base64(&format!("iploop:{key}{parameters}"))
    )
}

/// A CONNECT.
pub(crate) fn connect(to: SocketAddr, parameters: &str) -> Vec<u8> {
    format!(
        "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{}\r\n",
        login(parameters)
    )
    .into_bytes()
}

/// A plain GET that ends its connection.
pub(crate) fn get(to: SocketAddr, parameters: &str) -> Vec<u8> {
    format!(
        "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{}\r\n",
        login(parameters)
    )
    .into_bytes()
}

pub(crate) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in text.as_bytes().chunks(3) {
        let bits = part
            .iter()
            .chain(&[0; 2])
            .take(3)
            .fold(0usize, |bits, &byte| (bits << 8) | usize::from(byte));
        for digit in 0..4 {
            let shown = digit <= part.len();
            out.push(if shown {
                char::from(DIGITS[(bits >> (18 - 6 * digit)) & 63])
            } else {
                '='
            });
        }
    }
    out
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// A field of an answer's head.
pub(crate) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One side of a connection, as tests speak it.
pub(crate) struct Customer<S> {
    pub(crate) socket: S,
    ahead: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Customer<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A gateway that has refused already may have hung up.
        let _ = self.socket.write_all(bytes).await;
        let _ = self.socket.flush().await;
    }

    /// Exactly so many bytes.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(
                self.more().await,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.ahead)
            );
        }
        self.ahead.drain(..length).collect()
    }

    /// A head with its empty line.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.read(end + 4).await).expect("a head in UTF-8");
            }
            assert!(
                self.more().await,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.ahead)
            );
        }
    }

    /// A head and as much content as it announces.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = field(&head, "Content-Length").map_or(0, |length| length.parse().expect("a length"));
        let body = self.read(length).await;
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    /// Everything until the other side hangs up, in whatever way.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
    }

    async fn more(&mut self) -> bool {
        let read = timeout(FOREVER, self.socket.read_buf(&mut self.ahead)).await;
        matches!(read.expect("something comes or ends"), Ok(1..))
    }
}

/// A server on loopback whose connections the test speaks itself.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: mpsc::Receiver<TcpStream>,
    _accepting: JoinSet<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(loopback()).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, connections) = mpsc::channel(1024);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if sender.send(socket).await.is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            connections,
            _accepting: accepting,
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> Customer<TcpStream> {
        let socket = timeout(FOREVER, self.connections.recv())
            .await
            .expect("somebody connects");
        Customer::new(socket.expect("the origin accepts"))
    }

    /// Answers every request of every connection with the request's own head as content, for as long as it is polled.
    pub(crate) async fn echo_heads(mut self) {
        let mut running = JoinSet::new();
        while let Some(socket) = self.connections.recv().await {
            running.spawn(async move {
                let mut connection = Customer::new(socket);
                let head = connection.head().await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
                connection.send(answer.as_bytes()).await;
                connection.rest().await;
            });
        }
    }
}

/// An origin that echoes heads until the test ends.
pub(crate) async fn echo_origin() -> (SocketAddr, JoinSet<()>) {
    let origin = Origin::start().await;
    let address = origin.address;
    let mut running = JoinSet::new();
    running.spawn(origin.echo_heads());
    (address, running)
}
