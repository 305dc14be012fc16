//! What two processes on one real Redis know of each other, by the parts of the platform that stand on the shared state.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use iploop_platform::admin::{Ban, LiveNode, LiveNodes};
use iploop_platform::clock::{Clock, SystemClock, Timestamp};
use iploop_platform::device_news::{Connected, News, Said};
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::live::{Event, Live, LiveTogether};
use iploop_platform::login::SigningSecret;
use iploop_platform::network::{
    CityPresence, CountryPresence, Network, NetworkStats, NodePage, NodePlace, NodeRow, NodeWish, Pool,
};
use iploop_platform::presence::{
    Answer, Answering, NetworkEverywhere, NodeMoves, NodesEverywhere, Presence, Processes, Question,
};
use iploop_platform::shared::{Heard, Name, SealedState, SharedState};
use iploop_platform::sticky::{
    HeldExit, LiveSession, LiveSessions, SessionError, SessionsChanged, SharedSession, SharedSessions,
    StickySession,
};
use iploop_protocol::targeting::{CountryCode, Targeting};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::redis_server::RedisServer;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A hub with as many devices as its number, all of them busy and in Berlin, and its gateway with a session of each account.
struct Hub(Vec<NodeId>);

impl Hub {
    fn has(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }

    fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Network for Hub {
    fn stats(&self) -> NetworkStats {
        NetworkStats {
            connected_nodes: self.0.len() as u64,
            country_breakdown: [("DE".to_owned(), self.0.len() as u64)].into(),
            ..NetworkStats::default()
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        let city = CityPresence {
            city: "Berlin".to_owned(),
            nodes: self.count(),
        };
        vec![CountryPresence {
            country: "DE".to_owned(),
            nodes: self.count(),
            cities: vec![city],
        }]
    }

    /// Of as many as there are, one for each dial that works.
    fn pool(&self, targeting: &Targeting) -> Pool {
        let fits = targeting.allows_country(CountryCode::parse("DE"));
        Pool {
            nodes: if fits { self.count() } else { 0 },
            exact: true,
            dial_success: fits.then_some(1.0 / self.count() as f64),
        }
    }

    fn nodes(&self, _: &NodeWish, from: u32, limit: usize) -> NodePage {
        let from = usize::try_from(from).unwrap();
        let row = |_: &NodeId| NodeRow {
            country: Some("DE".to_owned()),
            region: None,
            city: Some("Berlin".to_owned()),
            connection_type: None,
            device_type: None,
            is_available: false,
            quality_score: u8::try_from(self.0.len()).unwrap(),
        };
        let rows: Vec<_> = self.0.iter().skip(from).take(limit).map(row).collect();
        let to = from + rows.len();
        NodePage {
            rows,
            next: (to < self.0.len()).then(|| u32::try_from(to).unwrap()),
        }
    }
}

#[async_trait]
impl Connected for Hub {
    async fn hear(&self, _: &News) {}

    fn said(&self, node: NodeId) -> Option<Said> {
        self.has(node).then(|| Said {
            is_sharing: false,
            reason: Some("paused_by_owner".to_owned()),
        })
    }
}

#[async_trait]
impl LiveSessions for Hub {
    fn sessions(&self, account: AccountId, after: Option<&str>, _: u32) -> Vec<LiveSession> {
        let session = StickySession {
            name: format!("of-{}", self.0.len()),
            ..session(account, NodeId::new())
        };
        let is_behind = after.is_none_or(|after| session.name.as_str() > after);
        let live = LiveSession {
            expires_at: session.expires_at,
            session,
            idle_until: None,
            running: 1,
        };
        is_behind.then_some(live).into_iter().collect()
    }

    fn session(&self, account: AccountId, name: &str) -> Option<LiveSession> {
        let mut all = self.sessions(account, None, 1);
        all.pop().filter(|live| live.session.name == name)
    }

    async fn create(&self, _: AccountId, _: Arc<Targeting>) -> Result<LiveSession, SessionError> {
        Err(SessionError::NoRoom)
    }

    async fn rotate(&self, _: AccountId, _: &str) -> Result<LiveSession, SessionError> {
        Err(SessionError::NotFound)
    }

    async fn end(&self, _: AccountId, _: &str) -> Result<(), SessionError> {
        Err(SessionError::NotFound)
    }

    async fn end_all(&self, _: AccountId, _: &[String]) -> Result<u64, SessionError> {
        Ok(0)
    }
}

impl LiveNodes for Hub {
    fn live(&self, node: NodeId) -> Option<LiveNode> {
        self.has(node).then(|| LiveNode {
            ip: [203, 0, 113, 7].into(),
            is_available: false,
            is_draining: false,
            streams: 3,
            quality: 80,
            reliability: 0.5,
            latency_ms: None,
            speed_mbps: None,
            rtt_ms: Some(20),
            relayed_bytes: 1_000,
        })
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        self.0.iter().copied().take(limit).collect()
    }

    fn ban(&self, _: &Ban) -> bool {
        false
    }

    fn drain_node(&self, _: NodeId, _: Timestamp, _: Duration) -> bool {
        false
    }
}

/// One process; it ends with this value.
struct Process {
    hub: Arc<Hub>,
    state: Arc<dyn SharedState>,
    sealed: SealedState,
    presence: Presence,
    others: Processes,
    sessions: SharedSessions,
    tasks: JoinSet<()>,
}

impl Process {
    fn start(redis: &RedisServer, secret: &SigningSecret, devices: usize) -> Self {
        Self::start_that(redis, secret, devices, true)
    }

    /// Whether it answers the others is the test's to say.
    fn start_that(redis: &RedisServer, secret: &SigningSecret, devices: usize, answers: bool) -> Self {
        let state: Arc<dyn SharedState> = Arc::new(redis.state());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let hub = Arc::new(Hub((0..devices).map(|_| NodeId::new()).collect()));
        let (presence, task) = Presence::new(Arc::clone(&state), Arc::clone(&clock));
        for node in &hub.0 {
            presence.came(*node);
        }
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(task.run(Arc::clone(&hub) as _, Arc::clone(&hub) as _, stop));
        let sealed = SealedState::new(Arc::clone(&state), secret).unwrap();
        let others = Processes::new(presence.clone(), sealed.clone());
        if answers {
            let answering = Answering {
                network: Arc::clone(&hub) as _,
                nodes: Arc::clone(&hub) as _,
                connected: Arc::clone(&hub) as _,
                sessions: Arc::clone(&hub) as _,
            };
            tasks.spawn(others.clone().answer(answering, CancellationToken::new()));
        }
        Self {
            sessions: SharedSessions::new(sealed.clone(), presence.clone(), clock),
            hub,
            state,
            sealed,
            presence,
            others,
            tasks,
        }
    }

    fn network(&self) -> NetworkEverywhere {
        NetworkEverywhere::new(
            Arc::clone(&self.hub) as _,
            self.presence.clone(),
            self.others.clone(),
        )
    }

    fn nodes(&self) -> NodesEverywhere {
        let (nodes, connected) = (Arc::clone(&self.hub), Arc::clone(&self.hub));
        NodesEverywhere::new(nodes, connected, self.presence.clone(), self.others.clone())
    }
}

/// Looks until it is so; the test's own time limit is the runner's.
async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    while !is_so().await {
        tokio::task::yield_now().await;
    }
}

fn session(account: AccountId, node: NodeId) -> StickySession {
    let now = SystemClock.now();
    StickySession {
        account,
        name: "mine".to_owned(),
        api_key: None,
        targeting: "session-mine".to_owned(),
        exit: Some(HeldExit {
            node,
            ip: "203.0.113.7".parse().unwrap(),
            country: Some("DE".to_owned()),
            city: None,
            asn: None,
            since: now,
        }),
        left_ip: None,
        told_ip: None,
        created_at: now,
        last_used_at: Some(now),
        expires_at: now.plus(DAY),
        forget_at: now.plus(DAY),
        requests: 1,
        bytes_up: 2,
        bytes_down: 3,
        rotations: 0,
    }
}

#[tokio::test]
async fn devices_and_figures_are_known_of_every_process_that_lives() {
    let (redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let (here, mut there) = (
        Process::start(&redis, &secret, 1),
        Process::start(&redis, &secret, 2),
    );
    let device = there.hub.0[0];
    until(|| async { here.presence.elsewhere(device).await.is_some() }).await;
    let process = there.presence.process();
    assert_eq!(here.presence.elsewhere(device).await, Some(process));
    assert_eq!(there.presence.elsewhere(device).await, None, "it is here");
    let own = here.hub.0[0];
    let holders = here.nodes().holders(&[device, own, NodeId::new()]).await;
    assert_eq!(holders, [Some(process), Some(here.presence.process()), None]);
    let stats = here.network().stats();
    assert_eq!((stats.connected_nodes, stats.country_breakdown["DE"]), (3, 3));
    assert_eq!(here.nodes().busy(10).len(), 3);
    assert_eq!(here.nodes().busy(2).len(), 2);

    there.presence.went(device);
    until(|| async { here.presence.elsewhere(device).await.is_none() }).await;
    assert!(here.presence.elsewhere(there.hub.0[1]).await.is_some());
    there.tasks.shutdown().await;
    until(|| async { here.network().stats().connected_nodes == 1 }).await;
    let left = here.presence.elsewhere(there.hub.0[1]).await;
    assert_eq!(left, None, "it is not where nobody is");
}

#[tokio::test]
async fn whichever_process_is_asked_the_network_is_that_of_both() {
    let (redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let processes = [
        Process::start(&redis, &secret, 1),
        Process::start(&redis, &secret, 3),
    ];
    let account = AccountId::new();
    for [here, there] in [[0, 1], [1, 0]].map(|order| order.map(|at| &processes[at])) {
        let (network, nodes) = (here.network(), here.nodes());
        until(|| async { network.locations()[0].nodes == 4 && network.is_whole() }).await;
        assert_eq!(network.processes(), 2);
        let places = network.locations();
        assert_eq!(
            (places.len(), places[0].cities.len(), places[0].cities[0].nodes),
            (1, 1, 4)
        );

        let all = Targeting::parse("").unwrap();
        // Hearing begins in the background.
        until(|| async { network.pool_everywhere(&all).await.nodes == 4 }).await;
        let pool = network.pool_everywhere(&all).await;
        assert!(pool.exact);
        assert_eq!(
            pool.dial_success,
            Some(0.5),
            "one of one, and one of three: two of four"
        );
        let elsewhere = Targeting::parse("country-US").unwrap();
        assert_eq!(network.pool_everywhere(&elsewhere).await.nodes, 0);

        let mut place = Some(NodePlace::default());
        let mut rows = Vec::new();
        while let Some(from) = place {
            let (page, next) = network.nodes_everywhere(&NodeWish::default(), from, 2).await;
            rows.extend(page.into_iter().map(|row| row.quality_score));
            place = next.map(|next| next.to_string().parse().unwrap());
        }
        let first = if processes[0].presence.process() < processes[1].presence.process() {
            [1, 3, 3, 3]
        } else {
            [3, 3, 3, 1]
        };
        assert_eq!(rows, first, "each once, in the same order");

        let (own, other) = (here.hub.0[0], there.hub.0[0]);
        until(|| async { nodes.live_anywhere(other).await.is_some() }).await;
        assert_eq!(nodes.live_anywhere(other).await, there.hub.live(other));
        assert_eq!(nodes.live_anywhere(NodeId::new()).await, None);
        assert_eq!(nodes.is_connected(other).await, Some(true));
        assert_eq!(nodes.is_connected(NodeId::new()).await, Some(false));
        let said = nodes.said_anywhere(&[other, NodeId::new(), own]).await;
        let are_known: Vec<bool> = said.iter().map(Option::is_some).collect();
        assert_eq!(are_known, [true, false, true]);

        let question = Question::Sessions {
            account,
            after: None,
            limit: 10,
        };
        let answers = here.others.ask_all(&question).await;
        let [Answer::Sessions(sessions)] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!(sessions[0].session.name, format!("of-{}", there.hub.0.len()));
        let names = |name: &str| Question::Session(account, name.to_owned());
        let found = here.others.ask_all(&names(&sessions[0].session.name)).await;
        assert!(matches!(&found[..], [Answer::Sessions(found)] if found.len() == 1));
        let none = here.others.ask_all(&names("nobody's")).await;
        assert!(matches!(&none[..], [Answer::Sessions(none)] if none.is_empty()));
    }
}

#[tokio::test]
async fn a_process_that_does_not_answer_is_waited_for_once() {
    let (redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let here = Process::start(&redis, &secret, 1);
    let dumb = Process::start_that(&redis, &secret, 1, false);
    let letters = Mutex::new(dumb.state.letters());
    let network = here.network();
    until(|| async { network.processes() == 2 }).await;
    let question = Question::Pool(String::new());
    // Until it hears, nobody waits for it.
    until(|| async {
        let answers = here.others.ask_all(&question).await;
        assert_eq!(answers.len(), 0);
        std::iter::from_fn(|| letters.lock().try_recv().ok()).any(|heard| matches!(heard, Heard::Told { .. }))
    })
    .await;
    let pool = network
        .pool_everywhere(&Targeting::parse("").unwrap())
        .now_or_never();
    assert_eq!(pool.unwrap().nodes, 1, "this process's own");
}

#[tokio::test]
async fn without_redis_a_process_has_its_own_and_waits_for_nothing() {
    let (mut redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let (here, there) = (
        Process::start(&redis, &secret, 1),
        Process::start(&redis, &secret, 2),
    );
    let (network, nodes) = (here.network(), here.nodes());
    until(|| async { network.stats().connected_nodes == 3 && network.locations()[0].nodes == 3 }).await;
    redis.kill();
    until(|| async { here.state.ping().await.is_err() && !network.is_whole() }).await;
    let other = there.hub.0[0];
    let asked = nodes.is_connected(other).now_or_never();
    assert_eq!(asked, Some(None), "the database may know");
    let said = nodes
        .said_anywhere(&[other, here.hub.0[0]])
        .now_or_never()
        .unwrap();
    assert!(said[0].is_none() && said[1].is_some());
    assert_eq!(nodes.live_anywhere(other).now_or_never(), Some(None));
    until(|| async { network.stats().connected_nodes == 1 && network.locations()[0].nodes == 1 }).await;
    assert_eq!(network.processes(), 1);
    redis.begin();
    until(|| async { network.stats().connected_nodes == 3 && network.is_whole() }).await;
}

#[tokio::test]
async fn a_redis_that_forgot_everything_is_told_again_where_devices_are() {
    let (mut redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let (here, there) = (
        Process::start(&redis, &secret, 0),
        Process::start(&redis, &secret, 1),
    );
    let device = there.hub.0[0];
    until(|| async { here.presence.elsewhere(device).await.is_some() }).await;
    redis.kill();
    until(|| async { here.presence.elsewhere(device).await.is_none() }).await;
    redis.begin();
    until(|| async { here.presence.elsewhere(device).await.is_some() }).await;
}

#[tokio::test]
async fn a_session_is_found_by_who_has_the_secret_and_its_changes_are_heard() {
    let (redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let (here, there) = (
        Process::start(&redis, &secret, 0),
        Process::start(&redis, &secret, 0),
    );
    let stranger = Process::start(&redis, &SigningSecret::ephemeral(), 0);
    let account = AccountId::new();
    let kept = session(account, NodeId::new());
    let key = (account, kept.name.clone());
    let mut news = there.sessions.news();
    assert_eq!(there.sessions.read(account, "mine").await, Ok(None));
    let lives = SharedSession::Lives(Box::new(kept));
    here.sessions
        .write(&[(key.clone(), lives.clone())])
        .await
        .unwrap();
    assert_eq!(there.sessions.read(account, "mine").await, Ok(Some(lives)));
    assert_eq!(stranger.sessions.read(account, "mine").await, Ok(None));
    let names = [Name::new("session", &format!("{account} mine"))];
    let read = here.state.read(&names, SystemClock.now()).await.unwrap();
    let raw = read[0].clone().unwrap();
    let has = |text: &str| raw.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(
        !has("203.0.113.7") && !has(&account.to_string()),
        "nobody else reads it"
    );

    // Hearing begins in the background.
    let these = SessionsChanged::These(vec![key.clone()]);
    loop {
        here.sessions.tell(std::slice::from_ref(&key)).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(50), async {
            while news.next().await != Some(these.clone()) {}
        });
        if next.await.is_ok() {
            break;
        }
    }
    here.sessions.write(&[(key, SharedSession::Ended)]).await.unwrap();
    let read = there.sessions.read(account, "mine").await;
    assert_eq!(read, Ok(Some(SharedSession::Ended)));
}

#[tokio::test]
async fn what_ends_at_one_process_is_seen_at_the_other_that_looks() {
    let (redis, secret) = (RedisServer::start(), SigningSecret::ephemeral());
    let (here, there) = (
        Process::start(&redis, &secret, 0),
        Process::start(&redis, &secret, 0),
    );
    let mut tasks = JoinSet::new();
    let [live_here, live_there] = [&here, &there].map(|process| {
        let live = Arc::new(Live::new(Timestamp::from_millis(1)));
        let together = LiveTogether::new(&live, process.sealed.clone()).unwrap();
        tasks.spawn(together.run(CancellationToken::new()));
        live
    });
    let account = AccountId::new();
    let mut watch = live_here.watch(account, None).unwrap();
    let record = || crate::contract::usage(account, iploop_platform::ids::GatewayId::new());
    loop {
        // Who looks is told again and again: here by one who comes and goes.
        drop(live_here.watch(account, None).unwrap());
        live_there.request_ended(account, record);
        let next = tokio::time::timeout(Duration::from_millis(20), watch.next());
        if let Ok(Some((_, Event::Request(seen)))) = next.await {
            assert_eq!(seen.account, account);
            break;
        }
    }
}
