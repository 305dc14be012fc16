//! What all connections of a hub and its callers share.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use iploop_platform::clock::Clock;
use iploop_platform::ids::AccountId;
use iploop_platform::owners::PairingCodes;
use iploop_platform::presence::NodeMoves;
use iploop_platform::store::Nodes;
use iploop_protocol::control::PolicyUpdate;
use iploop_protocol::policy::{AbuseLimits, PlatformPolicy};
use iploop_protocol::tunnel::{Budget, Config, Side};
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::activity::Activity;
use crate::config::HubConfig;
use crate::directory::{Directory, NodeKey};
use crate::fleet::Fleet;
use crate::guard::Guard;
use crate::node::Node;
use crate::quality::Memory;
use crate::registration::Registrar;

/// Nodes looked after between two looks at the clock.
const PAGE: u32 = 1024;

/// Nodes that left whose quality is remembered.
const REMEMBERED_NODES: usize = 100_000;

/// Receive memory that the windows of one device may promise away, in bytes.
const TUNNEL_BUDGET_BYTES: u64 = 64 << 20;

/// Devices that come back in one second after the hub sent them away: what registration can take with room to spare.
const RETURNING_PER_SECOND: usize = 400;

/// Bounds of the spread over which devices come back.
const SPREAD_SECONDS: std::ops::RangeInclusive<usize> = 5..=60;

/// State of a hub. Locks are held for one operation on it and never across an `.await`; only one is held at a time.
pub(crate) struct Shared {
    pub(crate) config: HubConfig,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
    pub(crate) platform_addresses: Vec<IpAddr>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) pairing: Arc<dyn PairingCodes>,
    pub(crate) registrar: Registrar,
    pub(crate) live: Mutex<Directory<Arc<Node>>>,
    pub(crate) memory: Mutex<Memory>,
    pub(crate) activity: Activity,
    /// Times of all devices' dials, and how many of them may be hedged.
    pub(crate) fleet: Mutex<Fleet>,
    /// Where the randomness of choices comes from: tests give it a seed.
    pub(crate) seeds: Mutex<SmallRng>,
    /// What customers do on devices.
    pub(crate) guard: Arc<Guard>,
    policy: RwLock<Option<PolicyUpdate>>,
    customers: RandomState,
    windows_left: Arc<AtomicU64>,
    /// Bytes that the live nodes reported since they connected.
    bytes: AtomicU64,
    /// Streams handed out and not yet dropped.
    streams: AtomicUsize,
    streams_gone: Notify,
    draining: AtomicBool,
    /// Told of devices that come and go.
    moves: OnceLock<Arc<dyn NodeMoves>>,
}

impl Shared {
    pub(crate) fn new(
        config: HubConfig,
        platform_addresses: Vec<IpAddr>,
        clock: Arc<dyn Clock>,
        nodes: Arc<dyn Nodes>,
        pairing: Arc<dyn PairingCodes>,
        registrar: Registrar,
        guard: Guard,
    ) -> Self {
        Self {
            trusted_proxies: config.trusted_proxies.as_slice().into(),
            windows_left: Arc::new(AtomicU64::new(config.window_budget_bytes)),
            config,
            platform_addresses,
            clock,
            activity: Activity::new(Arc::clone(&nodes)),
            nodes,
            pairing,
            registrar,
            fleet: Mutex::default(),
            seeds: Mutex::new(rand::make_rng()),
            live: Mutex::default(),
            memory: Mutex::new(Memory::new(REMEMBERED_NODES)),
            guard: Arc::new(guard),
            policy: RwLock::default(),
            customers: RandomState::new(),
            bytes: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            streams_gone: Notify::new(),
            draining: AtomicBool::new(false),
            moves: OnceLock::new(),
        }
    }

    /// Tells these of devices from now on; the first ones stay.
    pub(crate) fn tell_moves(&self, moves: Arc<dyn NodeMoves>) {
        let _ = self.moves.set(moves);
    }

    pub(crate) fn moved(&self, tell: impl FnOnce(&dyn NodeMoves)) {
        if let Some(moves) = self.moves.get() {
            tell(&**moves);
        }
    }

    /// Limits and times of one device's tunnel.
    pub(crate) fn tunnel_config(&self) -> Config {
        Config {
            // Devices open no streams.
            max_peer_streams: 0,
            max_local_streams: 0,
            budget: Budget::new(TUNNEL_BUDGET_BYTES).within(Arc::clone(&self.windows_left)),
            handshake_timeout: self.config.handshake_timeout + self.config.registration_timeout,
            ..Config::new(Side::Hub)
        }
    }

    /// The customer's id as devices see it: the same for all their streams while this process runs, and nothing that tells
    /// who it is (SipHash with a random key).
    pub(crate) fn customer(&self, account: AccountId) -> u64 {
        self.customers.hash_one(account)
    }

    /// Randomness for one choice.
    pub(crate) fn random(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seeds.lock().random())
    }

    pub(crate) fn policy(&self) -> Option<PolicyUpdate> {
        self.policy.read().clone()
    }

    /// The policy as devices get it, and its limits in force here.
    pub(crate) fn set_policy(&self, policy: Option<&PlatformPolicy>) -> Option<PolicyUpdate> {
        let update = policy.and_then(document);
        self.policy.write().clone_from(&update);
        let limits = policy.map_or_else(AbuseLimits::default, |policy| *policy.limits());
        self.live.lock().set_max_streams_per_customer(limits.open_streams);
        self.guard.set_limits(limits);
        update
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes no more streams or devices from now on; false if that was so already.
    pub(crate) fn start_draining(&self) -> bool {
        !self.draining.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stream_closed(&self) {
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.streams_gone.notify_waiters();
        }
    }

    /// Ready when no stream is open.
    pub(crate) async fn streams_gone(&self) {
        loop {
            let gone = self.streams_gone.notified();
            if self.streams.load(Ordering::Relaxed) == 0 {
                return;
            }
            gone.await;
        }
    }

    /// When a device that is sent away may come back: spread so that all together come at a rate that can be served.
    pub(crate) fn spread_retry(&self) -> Duration {
        let devices = self.live.lock().len().max(self.registrar.waiting());
        let (least, most) = SPREAD_SECONDS.into_inner();
        let spread_s = (devices / RETURNING_PER_SECOND).clamp(least, most);
        let spread_ms = u64::try_from(spread_s).unwrap_or(u64::MAX).saturating_mul(1000);
        Duration::from_millis(rand::rng().random_range(1000..=spread_ms))
    }

    /// Lists a node as one that takes streams, or as one that takes none, by all that is known of it.
    pub(crate) fn renew_sharing(&self, key: NodeKey, node: &Node) {
        let mut live = self.live.lock();
        live.set_sharing(key, node.takes_streams());
    }

    /// Calls `visit` for each live node, a page at a time; others get their turn between pages.
    pub(crate) async fn for_each_node(&self, mut visit: impl FnMut(&[(NodeKey, Arc<Node>)])) {
        let mut next = Some(0);
        while let Some(from) = next {
            let (page, after) = self.live.lock().page(from, PAGE);
            visit(&page);
            next = after;
            tokio::task::yield_now().await;
        }
    }

    /// Brings quality up to date and hands what nodes did to the store.
    pub(crate) async fn look_after_nodes(&self) {
        self.for_each_node(|page| {
            let instant = Instant::now().into_std();
            let now = self.clock.now();
            for (key, node) in page {
                let figures = node.figures(instant);
                self.live.lock().set_figures(*key, figures);
                if node.is_drained(instant) {
                    node.end_drained(self.spread_retry());
                }
                self.activity.push(node.take_activity(true, now, instant));
            }
        })
        .await;
        self.activity.flush().await;
    }
}

/// The policy as devices get it; none, which is the strictest, if it can't be written.
fn document(policy: &PlatformPolicy) -> Option<PolicyUpdate> {
    serde_json::to_value(policy)
        .ok()
        .map(|document| PolicyUpdate { document })
}
