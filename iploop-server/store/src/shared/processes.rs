//! What two processes on one real Redis know of each other, by the parts of the platform that stand on the shared state.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::admin::{Ban, LiveNode, LiveNodes};
use iploop_platform::clock::{Clock, SystemClock, Timestamp};
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::live::{Event, Live, LiveTogether};
use iploop_platform::login::SigningSecret;
use iploop_platform::network::{CountryPresence, Network, NetworkStats, NodePage, NodeWish, Pool};
use iploop_platform::presence::{NetworkEverywhere, NodeMoves, NodesEverywhere, Presence};
use iploop_platform::shared::{Name, SealedState, SharedState};
use iploop_platform::sticky::{HeldExit, SessionsChanged, SharedSession, SharedSessions, StickySession};
use iploop_protocol::targeting::Targeting;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::redis_server::RedisServer;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A hub with as many devices as its number, all of them busy.
struct Hub(Vec<NodeId>);

impl Network for Hub {
    fn stats(&self) -> NetworkStats {
        NetworkStats {
            connected_nodes: self.0.len() as u64,
            country_breakdown: [("DE".to_owned(), self.0.len() as u64)].into(),
            ..NetworkStats::default()
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        Vec::new()
    }

    fn pool(&self, _: &Targeting) -> Pool {
        Pool::default()
    }

    fn nodes(&self, _: &NodeWish, _: u32, _: usize) -> NodePage {
        NodePage::default()
    }
}

impl LiveNodes for Hub {
    fn live(&self, _: NodeId) -> Option<LiveNode> {
        None
    }

    fn busy(&self, limit: usize) -> Vec<NodeId> {
        self.0.iter().copied().take(limit).collect()
    }

    fn ban(&self, _: &Ban) -> bool {
        false
    }

    fn drain_node(&self, _: NodeId, _: Duration) -> bool {
        false
    }
}

/// One process; it ends with this value.
struct Process {
    hub: Arc<Hub>,
    state: Arc<dyn SharedState>,
    sealed: SealedState,
    presence: Presence,
    sessions: SharedSessions,
    tasks: JoinSet<()>,
}

impl Process {
    fn start(redis: &RedisServer, secret: &SigningSecret, devices: usize) -> Self {
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
        Self {
            sessions: SharedSessions::new(sealed.clone(), presence.clone(), clock),
            hub,
            state,
            sealed,
            presence,
            tasks,
        }
    }

    fn network(&self) -> NetworkEverywhere {
        NetworkEverywhere::new(Arc::clone(&self.hub) as _, self.presence.clone())
    }

    fn nodes(&self) -> NodesEverywhere {
        NodesEverywhere::new(Arc::clone(&self.hub) as _, self.presence.clone())
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
