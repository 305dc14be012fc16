//! A hub with stores in memory, and devices that do as they are told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use iploop_hub::geo::{GeoConfig, Override};
use iploop_hub::{Hub, HubConfig, HubDeps};
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::{Clock, Timestamp};
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::{NodeActivity, NodeRegistration, Registered};
use iploop_platform::owners::PairingCodes;
use iploop_platform::partner::{NewPartner, Partner};
use iploop_platform::store::{Nodes, Partners, StoreError};
use iploop_protocol::control::{
    ConsentStatement, DeviceFacts, Hello, SharingStatus, ToHub, ToNode, VERSION, Welcome,
};
use iploop_protocol::io::{self, Closed, Event, Events, Incoming, Role, SUBPROTOCOL, Tunnel, WebSocket};
use iploop_protocol::tunnel::{Config, Side};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Far more than anything takes here; only a test that hangs meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Devices and partners in memory.
pub(crate) struct TestStore {
    pub(crate) registered: Mutex<Vec<NodeRegistration>>,
    pub(crate) ids: Mutex<HashMap<String, NodeId>>,
    /// What registrations are answered instead of being accepted.
    pub(crate) verdict: Mutex<Option<Registered>>,
    pub(crate) withdrawn: Mutex<Vec<(String, ConsentId)>>,
    /// Hashes of the pairing codes that devices got.
    pub(crate) codes: Mutex<Vec<(NodeId, String)>>,
    /// Devices whose owners wish that they pause.
    pub(crate) paused: Mutex<Vec<String>>,
    pub(crate) activity: Mutex<Vec<NodeActivity>>,
    pub(crate) is_down: AtomicBool,
    /// Registrations wait here while it is closed.
    pub(crate) turnstile: Semaphore,
}

impl Default for TestStore {
    fn default() -> Self {
        Self {
            registered: Mutex::default(),
            ids: Mutex::default(),
            verdict: Mutex::default(),
            withdrawn: Mutex::default(),
            codes: Mutex::default(),
            paused: Mutex::default(),
            activity: Mutex::default(),
            is_down: AtomicBool::default(),
            turnstile: Semaphore::new(1_000_000),
        }
    }
}

impl TestStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("down, says the test".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Nodes for TestStore {
    async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError> {
        self.check()?;
        self.turnstile.acquire().await.unwrap().forget();
        if let Some(verdict) = self.verdict.lock().clone() {
            return Ok(verdict);
        }
        let id = *self
            .ids
            .lock()
            .entry(registration.device_id.clone())
            .or_insert(registration.id);
        let is_paused = self.paused.lock().contains(&registration.device_id);
        self.registered.lock().push(registration);
        Ok(match is_paused {
            true => Registered::Paused(id),
            false => Registered::Accepted(id),
        })
    }

    async fn withdraw_consent(
        &self,
        device_id: &str,
        consent: ConsentId,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.withdrawn.lock().push((device_id.to_owned(), consent));
        Ok(())
    }

    async fn note_activity(&self, activity: &[NodeActivity]) -> Result<(), StoreError> {
        self.check()?;
        self.activity.lock().extend_from_slice(activity);
        Ok(())
    }

    async fn node_count(&self) -> Result<u64, StoreError> {
        Ok(self.ids.lock().len() as u64)
    }
}

#[async_trait]
impl PairingCodes for TestStore {
    async fn set_pairing_code(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn set_code_of(&self, node: NodeId, code_hash: &str, _: Timestamp) -> Result<bool, StoreError> {
        self.check()?;
        self.codes.lock().push((node, code_hash.to_owned()));
        Ok(true)
    }
}

pub(crate) fn partner_key(n: u8) -> String {
    format!("iplp_{}", format!("{n:02x}").repeat(24))
}

/// Partner 1 is active, partner 2 is not; there are no others.
#[async_trait]
impl Partners for TestStore {
    async fn create_partner(&self, _partner: NewPartner) -> Result<Partner, StoreError> {
        Err(StoreError::Conflict { what: "test" })
    }

    async fn partner_by_key(&self, hash: ApiKeyHash, _: Timestamp) -> Result<Option<Partner>, StoreError> {
        self.check()?;
        let n = (1..=2).find(|n| ApiKeyHash::of(&partner_key(*n)) == hash);
        Ok(n.map(|n| Partner {
            id: PartnerId::new(),
            name: "test".into(),
            email: None,
            api_key_prefix: partner_key(n)[..14].to_owned(),
            is_active: n == 1,
            revenue_share_bp: 7000,
            created_at: NOW,
        }))
    }
}

/// A running hub.
pub(crate) struct TestHub {
    pub(crate) hub: Hub,
    pub(crate) store: Arc<TestStore>,
    pub(crate) run: JoinHandle<()>,
}

impl TestHub {
    pub(crate) async fn start() -> Self {
        Self::with(HubConfig::default(), |_| {}).await
    }

    pub(crate) async fn with(config: HubConfig, change: impl FnOnce(&mut HubDeps)) -> Self {
        let store = Arc::new(TestStore::default());
        let mut deps = HubDeps {
            nodes: store.clone(),
            partners: store.clone(),
            pairing: store.clone(),
            clock: Arc::new(FixedClock),
            policy: None,
            platform_addresses: vec![[192, 0, 2, 1].into()],
            test_allow: false,
            review_apps: false,
            watch: iploop_platform::abuse::AbuseWatch::unattended(Arc::new(FixedClock)),
            new_customer_percent: 50,
        };
        change(&mut deps);
        let config = HubConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..config
        };
        let place = |cidr: &str, country: &str, city: &str, asn| Override {
            cidr: cidr.parse().unwrap(),
            country: Some(country.into()),
            region: None,
            city: Some(city.into()),
            zip: None,
            asn: Some(asn),
            isp: Some("Test Net".into()),
        };
        let geo = GeoConfig {
            overrides: vec![
                place("127.0.0.0/8", "US", "New York", 64500),
                place("127.0.2.0/24", "DE", "Berlin", 64501),
            ],
            ..GeoConfig::default()
        };
        let hub = Hub::bind(config, &geo, deps).await.unwrap();
        let runner = hub.clone();
        let run = tokio::spawn(async move { runner.run().await });
        Self { hub, store, run }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.hub.local_addr()
    }

    /// Connects a device from loopback address 127.0.0.1 that registers.
    pub(crate) async fn node(&self, n: u8) -> TestNode {
        self.node_from(n, "127.0.0.1", |_| {}).await
    }

    pub(crate) async fn node_from(&self, n: u8, ip: &str, change: impl FnOnce(&mut Hello)) -> TestNode {
        let before = self.hub.node_count();
        let mut node = TestNode::connect(self.addr(), ip).await;
        let mut hello = hello(n);
        change(&mut hello);
        node.say(ToHub::Hello(Box::new(hello)));
        node.welcome = Some(node.welcomed().await);
        until(|| self.hub.node_count() > before).await;
        node
    }
}

pub(crate) fn hello(n: u8) -> Hello {
    Hello {
        versions: vec![VERSION],
        agent: "test/1".into(),
        partner_key: partner_key(1),
        device: DeviceFacts {
            id: format!("device-{n:010}"),
            secret: format!("{n:032}"),
            os: "linux".into(),
            net: Some("ethernet".into()),
            sdk_version: "1.0.0".into(),
            app_id: "com.example.test".into(),
            app_version: "1".into(),
        },
        consent: ConsentStatement {
            id: format!("0199c0de-0000-7000-8000-0000000000{n:02x}"),
            text_version: "2026-11".into(),
            text_hash: "ab".repeat(32),
            language: "en".into(),
            given_at: NOW.to_string(),
            act: "command-line".into(),
            networks: vec!["ethernet".into()],
            minimum_age: true,
        },
        capabilities: vec![],
        max_streams: 256,
        test_allow: vec![],
        status: SharingStatus {
            sharing: true,
            reason: None,
        },
    }
}

/// A device.
pub(crate) struct TestNode {
    pub(crate) tunnel: Tunnel,
    pub(crate) events: Events,
    pub(crate) driver: JoinHandle<Closed>,
    pub(crate) welcome: Option<Welcome>,
}

impl TestNode {
    pub(crate) async fn connect(hub: SocketAddr, ip: &str) -> Self {
        Self::over(Self::socket(hub, ip).await, &[]).await
    }

    pub(crate) async fn socket(hub: SocketAddr, ip: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        socket.connect(hub).await.unwrap()
    }

    pub(crate) async fn over<S>(stream: S, headers: &[(&'static str, &'static str)]) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = "ws://hub.test/ws".into_client_request().unwrap();
        let protocol = ("sec-websocket-protocol", SUBPROTOCOL);
        for (name, value) in headers.iter().chain([&protocol]) {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let socket = WebSocket::new(socket.into_inner(), Role::Client, &[]);
        let (tunnel, events, driver) = io::connect(socket, Config::new(Side::Node));
        Self {
            tunnel,
            events,
            driver: tokio::spawn(driver),
            welcome: None,
        }
    }

    pub(crate) fn say(&self, message: ToHub) {
        self.tunnel.send_control(message.encode()).unwrap();
    }

    pub(crate) async fn event(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.events.next())
            .await
            .expect("an event in time")
    }

    pub(crate) async fn hears(&mut self) -> ToNode {
        loop {
            match self.event().await.expect("an open tunnel") {
                Event::Control(message) => return ToNode::decode(&message).unwrap().unwrap(),
                Event::Incoming(_) | Event::Draining { .. } => {}
            }
        }
    }

    pub(crate) async fn welcomed(&mut self) -> Welcome {
        match self.hears().await {
            ToNode::Welcome(welcome) => *welcome,
            other => panic!("{other:?} instead of a welcome"),
        }
    }

    /// The next stream that the hub asks for.
    pub(crate) async fn incoming(&mut self) -> Incoming {
        loop {
            match self.event().await.expect("an open tunnel") {
                Event::Incoming(incoming) => return incoming,
                Event::Control(_) | Event::Draining { .. } => {}
            }
        }
    }

    pub(crate) async fn closed(self) -> Closed {
        tokio::time::timeout(PATIENCE, self.driver)
            .await
            .expect("an end in time")
            .unwrap()
    }

    pub(crate) fn id(&self) -> NodeId {
        self.welcome.as_ref().unwrap().node_id.parse().unwrap()
    }
}

/// Waits for what no message tells.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it became so in time");
}
