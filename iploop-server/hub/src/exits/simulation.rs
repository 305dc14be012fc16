//! A fleet in one process on a clock that nobody waits for: the real choice, tunnels and judgements; devices that dial as they
//! are told, or do not.

use std::io;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use iploop_platform::abuse::{AbuseConfig, AbuseWatch};
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::{Clock, Timestamp};
use iploop_platform::exits::{CustomerTerms, OrElse, Place, Preference};
use iploop_platform::ids::{AccountId, ConsentId, NodeId, PartnerId};
use iploop_platform::node::{NodeActivity, NodeRegistration, Registered};
use iploop_platform::owners::PairingCodes;
use iploop_platform::partner::{NewPartner, Partner};
use iploop_platform::store::{Nodes, Partners, StoreError};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::{Event, Events, Incoming, Transport, connect};
use iploop_protocol::policy::AbuseLimits;
use iploop_protocol::targeting::Targeting;
use iploop_protocol::tunnel::{Config, Side};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use super::*;
use crate::config::HubConfig;
use crate::directory::NodeFacts;
use crate::geo::{Geo, GeoConfig};
use crate::guard::Guard;
use crate::quality::Quality;
use crate::registration::Registrar;

const DEVICES: u32 = 200;

/// As the gateway has them by default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(12);
const MAX_ATTEMPTS: usize = 5;

/// Longer than a dial usually takes, so that another device is asked meanwhile.
const FORBIDDEN_AFTER: Duration = Duration::from_secs(2);

/// How a device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Healthy,
    /// Ten times as slow.
    Slow,
    /// Its connection stands and nothing comes through it.
    Vanished,
    /// It answers pings, and no request.
    Stuck,
    /// It takes its time and then says that nobody may go there.
    Forbidding,
}

/// Keeps nothing.
struct Nobody;

#[async_trait]
impl Nodes for Nobody {
    async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError> {
        Ok(Registered::Accepted(registration.id))
    }

    async fn withdraw_consent(&self, _: &str, _: ConsentId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note_activity(&self, _: &[NodeActivity]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn node_count(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Partners for Nobody {
    async fn create_partner(&self, _: NewPartner) -> Result<Partner, StoreError> {
        Err(StoreError::Unavailable("there is nobody".into()))
    }

    async fn partner_by_key(&self, _: ApiKeyHash, _: Timestamp) -> Result<Option<Partner>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl PairingCodes for Nobody {
    async fn set_pairing_code(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn set_code_of(&self, _: NodeId, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl Clock for Nobody {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }
}

/// Customers' requests to healthy destinations, from a cold start with nothing known of anybody.
#[derive(Clone, Copy, Debug)]
struct Demand {
    seed: u64,
    requests: u32,
    per_second: f64,
}

impl Demand {
    /// 200 seconds of it.
    fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            requests: 12_000,
            per_second: 60.0,
        }
    }
}

/// What came of all requests.
struct Run {
    requests: u32,
    succeeded: u32,
    /// Until a stream was open, of those that succeeded, shortest first.
    times: Vec<Duration>,
    hedged: u32,
}

impl Run {
    fn p99(&self) -> Duration {
        self.times[self.times.len() * 99 / 100]
    }

    fn success(&self) -> f64 {
        f64::from(self.succeeded) / f64::from(self.requests)
    }
}

/// A fleet of which so many of a hundred are dead and slow, and what becomes of requests to healthy destinations.
async fn simulate(demand: Demand, dead: u32, slow: u32, hedge: bool) -> Run {
    let mut random = SmallRng::seed_from_u64(demand.seed);
    let shared = fleet(&mut random);
    let mut tasks = JoinSet::new();
    for n in 0..DEVICES {
        let device = match n % 100 {
            n if n < dead / 2 => Device::Vanished,
            n if n < dead => Device::Stuck,
            n if n < dead + slow => Device::Slow,
            _ => Device::Healthy,
        };
        let seed = random.random();
        enter(&shared, n, device, seed, &mut tasks);
    }
    let mut requests = JoinSet::new();
    for _ in 0..demand.requests {
        let pause: f64 = random.random();
        sleep(Duration::from_secs_f64(-(1.0 - pause).ln() / demand.per_second)).await;
        let held = Duration::from_millis(random.random_range(100..4000));
        requests.spawn(one_request(Arc::clone(&shared), hedge, held));
    }
    let mut run = Run {
        requests: demand.requests,
        succeeded: 0,
        times: Vec::new(),
        hedged: 0,
    };
    while let Some(request) = requests.join_next().await {
        if let Some((took, hedged)) = request.unwrap() {
            run.succeeded += 1;
            run.hedged += u32::from(hedged);
            run.times.push(took);
        }
    }
    run.times.sort_unstable();
    run
}

/// What the gateway does: one exit after the other within one deadline, none twice.
async fn one_request(shared: Arc<Shared>, hedge: bool, held: Duration) -> Option<(Duration, bool)> {
    let began = Instant::now();
    let mut avoid = Avoid::default();
    for _ in 0..MAX_ATTEMPTS {
        let deadline = (Instant::now() + ATTEMPT_TIMEOUT).min(began + CONNECT_TIMEOUT);
        let request = ExitRequest {
            avoid: avoid.clone(),
            deadline,
            ..wants(hedge, None)
        };
        let opened = timeout_at(deadline, attempt(Arc::clone(&shared), request)).await;
        match opened {
            Ok(Ok(opened)) => {
                let took = began.elapsed();
                sleep(held).await;
                return Some((took, !opened.beside.is_empty()));
            }
            Ok(Err(failure)) => avoid.nodes.extend(failure.exit.map(|exit| exit.node)),
            Err(_) => {}
        }
    }
    None
}

fn fleet(random: &mut SmallRng) -> Arc<Shared> {
    fleet_with(random, AbuseWatch::unattended(Arc::new(Nobody)))
}

fn fleet_with(random: &mut SmallRng, watch: AbuseWatch) -> Arc<Shared> {
    let config = HubConfig::default();
    let geo = Geo::open(&GeoConfig::default()).unwrap();
    let registrar = Registrar::new(&config, false, false, geo, Arc::new(Nobody), Arc::new(Nobody));
    let shared = Shared::new(
        config,
        Vec::new(),
        Arc::new(Nobody),
        Arc::new(Nobody),
        Arc::new(Nobody),
        registrar,
        Guard::new(100, watch),
    );
    // All requests go to one host, and what customers may do is not the question here.
    shared.guard.set_limits(AbuseLimits {
        dials_per_host_per_second: u32::MAX,
        ..AbuseLimits::default()
    });
    *shared.seeds.lock() = SmallRng::seed_from_u64(random.random());
    Arc::new(shared)
}

fn enter(shared: &Arc<Shared>, n: u32, device: Device, seed: u64, tasks: &mut JoinSet<()>) {
    let (hub_end, node_end) = pipe();
    let (tunnel, mut hub_events, hub) = connect(hub_end, Config::new(Side::Hub));
    let (node_tunnel, node_events, node) = connect(node_end, Config::new(Side::Node));
    node_tunnel.send_control(Bytes::from_static(b"{}")).unwrap();
    tunnel.send_control(Bytes::from_static(b"{}")).unwrap();
    tunnel.establish(1024);
    tasks.spawn(async move {
        hub.await;
    });
    tasks.spawn(async move { while hub_events.next().await.is_some() {} });
    let answers = async move {
        let _tunnel = node_tunnel;
        dials(node_events, device, seed).await;
    };
    if device == Device::Vanished {
        // Neither end of its connection is closed, and nobody reads.
        tasks.spawn(async move {
            let _ends = (node, answers);
            std::future::pending().await
        });
    } else {
        tasks.spawn(async move {
            node.await;
        });
        tasks.spawn(answers);
    }
    let exit = Arc::new(Exit {
        node: NodeId::from(uuid::Uuid::from_u128(u128::from(n))),
        ip: std::net::Ipv4Addr::from_bits(0x0100_0000 + n).into(),
        place: Place::default(),
        net: None,
        os: None,
    });
    let now = Instant::now().into_std();
    let node = Node::new(
        Arc::clone(&exit),
        tunnel,
        crate::registration::Device {
            id: n.to_string().into(),
            consent: ConsentId::new(),
            partner: PartnerId::new(),
            app: "app".into(),
            hears_wishes: false,
        },
        (iploop_protocol::control::SharingStatus::default(), false),
        Quality::new(now),
        Nobody.now(),
    );
    let facts = NodeFacts {
        exit: &exit,
        region_code: None,
        max_streams: 64,
        quality: 78,
        sharing: true,
    };
    shared.live.lock().insert(&facts, Arc::new(node));
}

/// Dials as a device of this kind does: its own distance, and a destination that is sometimes slow for everybody.
async fn dials(mut events: Events, device: Device, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let distance_ms = random.random_range(20.0..120.0);
    let mut dials = JoinSet::new();
    while let Some(event) = events.next().await {
        let Event::Incoming(incoming) = event else {
            continue;
        };
        let tail: f64 = random.random();
        // 20 to 40 ms for half of them, 130 ms for one in ten, 480 ms for one in a hundred.
        let destination_ms = (20.0 / (1.0 - tail).powf(0.7)).min(2000.0);
        let slowness = if device == Device::Slow { 10.0 } else { 1.0 };
        let took = Duration::from_secs_f64((distance_ms + destination_ms) * slowness / 1000.0);
        if device == Device::Forbidding {
            dials.spawn(async move {
                sleep(FORBIDDEN_AFTER).await;
                incoming.reject(ResetCode::Forbidden, "loopback");
            });
        } else {
            dials.spawn(answer(incoming, (device != Device::Stuck).then_some(took)));
        }
        while dials.try_join_next().is_some() {}
    }
}

async fn answer(mut incoming: Incoming, took: Option<Duration>) {
    let cancelled = std::future::poll_fn(|cx| incoming.poll_cancelled(cx));
    match took {
        None => cancelled.await,
        Some(took) => {
            sleep(took).await;
            if let Some(mut stream) = incoming.accept(took) {
                // Until the customer leaves.
                while let Ok(Some(_)) = stream.read_chunk().await {}
            }
        }
    }
}

struct Pipe {
    to: mpsc::Sender<Bytes>,
    from: mpsc::Receiver<Bytes>,
}

fn pipe() -> (Pipe, Pipe) {
    let (left, right) = (mpsc::channel(4096), mpsc::channel(4096));
    (
        Pipe {
            to: left.0,
            from: right.1,
        },
        Pipe {
            to: right.0,
            from: left.1,
        },
    )
}

impl Transport for Pipe {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.from.poll_recv(cx).map(|message| message.map(Ok))
    }

    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> io::Result<bool> {
        let mut message = BytesMut::new();
        if !write(&mut message) {
            return Ok(false);
        }
        match self.to.try_send(message.freeze()) {
            Ok(()) => Ok(true),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: u16) -> Poll<io::Result<()>> {
        self.from.close();
        Poll::Ready(Ok(()))
    }
}

/// Seeds by which nothing was tuned.
const SEEDS: [u64; 3] = [211, 212, 213];

/// Success, and p99 against that of a healthy fleet.
async fn assert_stays_quick(demand: Demand) {
    let healthy = simulate(demand, 0, 0, true).await;
    let sick = simulate(demand, 20, 10, true).await;
    println!(
        "{demand:?}: p99 {:?} healthy, {:?} sick; {} and {} hedged; success {}",
        healthy.p99(),
        sick.p99(),
        healthy.hedged,
        sick.hedged,
        sick.success(),
    );
    assert!(sick.success() >= 0.995, "{demand:?}: {}", sick.success());
    assert!(
        sick.p99() <= 2 * healthy.p99(),
        "{demand:?}: {:?} after {:?}",
        sick.p99(),
        healthy.p99()
    );
    // One dial in ten in the long run, and 100 that were saved up.
    let most = sick.requests / 10 + 200;
    assert!(sick.hedged <= most, "{demand:?}: {} hedged", sick.hedged);
}

#[tokio::test(start_paused = true)]
async fn with_a_fifth_dead_and_a_tenth_slow_requests_succeed_and_stay_quick() {
    for seed in SEEDS {
        assert_stays_quick(Demand::of_seed(seed)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn so_they_do_in_the_first_seconds_and_where_few_ask() {
    for seed in SEEDS {
        for (requests, per_second) in [(2_000, 200.0), (2_000, 60.0), (2_000, 5.0)] {
            assert_stays_quick(Demand {
                seed,
                requests,
                per_second,
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_hedging_requests_succeed_as_well() {
    let sick = simulate(Demand::of_seed(SEEDS[0]), 20, 10, false).await;
    assert!(sick.success() >= 0.995, "{}", sick.success());
    assert_eq!(sick.hedged, 0);
}

fn wants(hedge: bool, prefer: Option<Preference>) -> ExitRequest {
    ExitRequest {
        account: AccountId::new(),
        terms: CustomerTerms::default(),
        targeting: Arc::new(Targeting::default()),
        prefer,
        avoid: Avoid::default(),
        destination: "example.com:443".parse().unwrap(),
        transport: iploop_protocol::policy::Transport::Tcp,
        early: Bytes::new(),
        deadline: Instant::now() + ATTEMPT_TIMEOUT,
        hedges: if hedge { 3 } else { 0 },
    }
}

#[tokio::test(start_paused = true)]
async fn the_loser_of_a_hedge_is_named_and_reset() {
    let shared = fleet(&mut SmallRng::seed_from_u64(1));
    let mut tasks = JoinSet::new();
    enter(&shared, 1, Device::Stuck, 1, &mut tasks);
    enter(&shared, 2, Device::Healthy, 2, &mut tasks);
    let mut hedged = 0;
    for _ in 0..10 {
        let opened = attempt(Arc::clone(&shared), wants(true, None)).await.unwrap();
        assert_eq!(opened.exit.node, uuid::Uuid::from_u128(2).into());
        if let [beside] = &opened.beside[..] {
            assert_eq!(beside.exit.node, uuid::Uuid::from_u128(1).into());
            assert_eq!((&beside.error, beside.hedged), (&None, false));
            hedged += 1;
        }
        let (pages, _) = shared.live.lock().page(0, 10);
        for (key, node) in pages {
            let open = usize::from(node.exit.node == opened.exit.node);
            assert_eq!(node.tunnel.stream_count(), open);
            assert_eq!(shared.live.lock().streams(key), u32::try_from(open).ok());
        }
    }
    assert!((1..=3).contains(&hedged), "{hedged}: after three it rests");
}

#[tokio::test(start_paused = true)]
async fn a_sticky_sessions_exit_is_not_hedged() {
    let shared = fleet(&mut SmallRng::seed_from_u64(1));
    let mut tasks = JoinSet::new();
    enter(&shared, 1, Device::Stuck, 1, &mut tasks);
    enter(&shared, 2, Device::Healthy, 2, &mut tasks);
    let prefer = Preference {
        node: uuid::Uuid::from_u128(1).into(),
        ip: std::net::Ipv4Addr::from_bits(0x0100_0001).into(),
        or_else: OrElse::Any,
    };
    let failure = attempt(shared, wants(true, Some(prefer))).await.unwrap_err();
    assert_eq!(failure.error, ExitError::NodeTimeout);
    assert!(failure.beside.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_once_a_request_however_many_exits_were_asked() {
    // Each device is believed once, and four refusals are too many.
    let config = AbuseConfig {
        suspend_after: 4,
        ..AbuseConfig::default()
    };
    let (watch, mut suspicions) = AbuseWatch::new(&config, Arc::new(Nobody));
    let shared = fleet_with(&mut SmallRng::seed_from_u64(1), watch);
    let mut tasks = JoinSet::new();
    for n in 1..=8 {
        enter(&shared, n, Device::Forbidding, 1, &mut tasks);
    }
    let account = AccountId::new();
    let mut avoid = Avoid::default();
    for number in 1..=4 {
        let request = ExitRequest {
            account,
            avoid: avoid.clone(),
            hedges: 1,
            ..wants(true, None)
        };
        let failure = attempt(Arc::clone(&shared), request).await.unwrap_err();
        assert_eq!(failure.error, ExitError::Forbidden("loopback".into()));
        // Two devices each time, and never the same: if both counted, the second request would be one too many.
        assert_eq!(failure.beside.len(), 1, "request {number}");
        assert_eq!(suspicions.try_recv().is_ok(), number == 4, "request {number}");
        let asked = failure
            .exit
            .iter()
            .chain(failure.beside.iter().map(|beside| &beside.exit));
        avoid.nodes.extend(asked.map(|exit| exit.node));
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_shows_no_sign_of_life_is_given_up_early_and_rests() {
    let shared = fleet(&mut SmallRng::seed_from_u64(1));
    let mut tasks = JoinSet::new();
    enter(&shared, 1, Device::Vanished, 1, &mut tasks);
    let began = Instant::now();
    let failure = attempt(Arc::clone(&shared), wants(false, None))
        .await
        .unwrap_err();
    assert_eq!(failure.error, ExitError::NodeTimeout);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    enter(&shared, 2, Device::Healthy, 2, &mut tasks);
    for _ in 0..20 {
        let opened = attempt(Arc::clone(&shared), wants(false, None)).await.unwrap();
        assert_eq!(opened.exit.node, uuid::Uuid::from_u128(2).into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_resting_device_is_asked_where_there_is_no_other_and_by_its_own_session() {
    let shared = fleet(&mut SmallRng::seed_from_u64(1));
    let mut tasks = JoinSet::new();
    enter(&shared, 1, Device::Healthy, 1, &mut tasks);
    let node = NodeId::from(uuid::Uuid::from_u128(1));
    let rest = |shared: &Shared| {
        let mut live = shared.live.lock();
        let (key, _) = live.find(node).unwrap();
        live.rest(key, Instant::now().into_std() + Duration::from_secs(600));
    };
    rest(&shared);
    let only = attempt(Arc::clone(&shared), wants(false, None)).await.unwrap();
    assert_eq!(only.exit.node, node);
    drop(only);
    enter(&shared, 2, Device::Healthy, 2, &mut tasks);
    rest(&shared);
    let another = attempt(Arc::clone(&shared), wants(false, None)).await.unwrap();
    assert_ne!(another.exit.node, node);
    let prefer = Preference {
        node,
        ip: std::net::Ipv4Addr::from_bits(0x0100_0001).into(),
        or_else: OrElse::SameIp,
    };
    let own = attempt(shared, wants(false, Some(prefer))).await.unwrap();
    assert_eq!(own.exit.node, node);
}
