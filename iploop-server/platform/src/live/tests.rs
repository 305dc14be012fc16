use std::sync::Arc;

use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;

use super::*;
use crate::metering::tests::ledger::MemoryLedger;
use crate::metering::tests::{Gateway, MIB, Process};
use crate::metering::{Outcome, ProxyType};
use crate::network::{CountryPresence, Network, NetworkStats, NodePage, NodeWish, Pool};

/// A network whose counts a test sets.
#[derive(Default)]
struct SetNetwork(Mutex<NetworkStats>);

impl Network for SetNetwork {
    fn stats(&self) -> NetworkStats {
        self.0.lock().clone()
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

struct World {
    account: AccountId,
    process: Process,
    network: Arc<SetNetwork>,
    task: LiveTask,
    _gateway: Gateway,
}

impl World {
    async fn new() -> Self {
        let account = AccountId::new();
        let gateway = Gateway::new(MemoryLedger::with(account, MIB));
        let process = gateway.start().await;
        let network = Arc::new(SetNetwork::default());
        let task = LiveTask::new(LiveParts {
            meters: process.meters.clone(),
            network: Arc::clone(&network) as _,
        });
        Self {
            account,
            process,
            network,
            task,
            _gateway: gateway,
        }
    }

    fn live(&self) -> &Arc<Live> {
        self.process.meters.live()
    }

    /// A request of so many bytes that ends at once.
    async fn request(&self, bytes: usize) {
        let stream = self.process.begin(self.account).await.unwrap();
        stream.set_destination(ProxyType::Connect, &"example.com:443");
        stream.charge_down(bytes).await.unwrap();
        stream.finish(Outcome::Served);
    }
}

async fn next(watch: &mut Watch) -> Event {
    watch.next().await.unwrap().1
}

/// The bytes of the requests that wait for the watcher, the gap as 0, and the id of the last.
async fn requests(watch: &mut Watch, wanted: usize) -> (Vec<u64>, Option<EventId>) {
    let (mut seen, mut last) = (Vec::new(), None);
    while seen.len() < wanted {
        let (id, event) = watch.next().await.unwrap();
        last = id.or(last);
        match event {
            Event::Request(record) => seen.push(record.bytes_down),
            Event::Gap => seen.push(0),
            _ => {}
        }
    }
    (seen, last)
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_its_own_requests_end_and_nobody_elses() {
    let world = World::new().await;
    let mut watch = world.live().watch(world.account, None).unwrap();
    let mut other = world.live().watch(AccountId::new(), None).unwrap();
    world.request(10).await;
    world.request(20).await;
    assert_eq!(requests(&mut watch, 2).await.0, [10, 20]);
    let strange = tokio::time::timeout(std::time::Duration::from_secs(9), other.next()).await;
    assert!(strange.is_err());
}

#[tokio::test(start_paused = true)]
async fn numbers_come_by_the_second_and_only_when_they_change() {
    let mut world = World::new().await;
    let mut watch = world.live().watch(world.account, None).unwrap();
    world.task.second().await;
    let Event::Numbers(first) = next(&mut watch).await else {
        panic!("numbers come first")
    };
    assert_eq!((first.balance_bytes, first.window_seconds), (Some(MIB), 1));
    assert_eq!(next(&mut watch).await, Event::Nodes(NodesNow::default()));

    let stream = world.process.begin(world.account).await.unwrap();
    stream.charge_up(300).await.unwrap();
    world.request(700).await;
    world.network.0.lock().connected_nodes = 7;
    world.task.second().await;
    assert!(matches!(next(&mut watch).await, Event::Request(_)));
    let Event::Numbers(now) = next(&mut watch).await else {
        panic!("numbers changed")
    };
    assert_eq!(
        (
            now.active_connections,
            now.requests,
            now.bytes_per_second,
            now.window_seconds
        ),
        (1, 1, 1_000, 2)
    );
    let nodes = NodesNow {
        connected_nodes: 7,
        available_nodes: 0,
    };
    assert_eq!(next(&mut watch).await, Event::Nodes(nodes));
    world.task.second().await;
    let Event::Numbers(quiet) = next(&mut watch).await else {
        panic!("numbers changed")
    };
    assert_eq!((quiet.bytes_per_second, quiet.requests), (0, 1));
    // Who comes now hears what holds.
    let mut late = world.live().watch(world.account, None).unwrap();
    assert_eq!(next(&mut late).await, Event::Numbers(quiet));
    assert_eq!(next(&mut late).await, Event::Nodes(nodes));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_gets_what_it_missed_or_hears_of_the_gap() {
    let world = World::new().await;
    let mut watch = world.live().watch(world.account, None).unwrap();
    world.request(1).await;
    let (_, last) = requests(&mut watch, 1).await;
    drop(watch);
    world.request(2).await;
    world.request(3).await;
    let mut back = world.live().watch(world.account, last).unwrap();
    assert_eq!(requests(&mut back, 2).await.0, [2, 3]);
    // More than a feed remembers.
    for _ in 0..300 {
        world.request(4).await;
    }
    let mut late = world.live().watch(world.account, last).unwrap();
    let (seen, _) = requests(&mut late, 257).await;
    assert_eq!((seen[0], seen[1]), (0, 4));
    // Of another run of the process.
    let stranger = "1-0".parse().unwrap();
    let mut other = world.live().watch(world.account, Some(stranger)).unwrap();
    assert_eq!(requests(&mut other, 1).await.0, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_is_ended_and_holds_nobody_up() {
    let world = World::new().await;
    let mut slow = world.live().watch(world.account, None).unwrap();
    for _ in 0..100 {
        world.request(1).await;
    }
    assert!(slow.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn watchers_are_bounded_by_account_and_in_all() {
    let world = World::new().await;
    let live = world.live();
    let mut held = Vec::new();
    for _ in 0..MAX_WATCHERS_PER_ACCOUNT {
        held.push(live.watch(world.account, None).unwrap());
    }
    let refused = live.watch(world.account, None).err();
    assert_eq!(refused, Some(WatchError::TooManyOfAccount));
    held.pop();
    assert!(live.watch(world.account, None).is_ok());
    while held.len() < MAX_WATCHERS {
        held.push(live.watch(AccountId::new(), None).unwrap());
    }
    assert_eq!(
        live.watch(AccountId::new(), None).err(),
        Some(WatchError::TooMany)
    );
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_nobody_watches_is_forgotten_after_a_minute() {
    let mut world = World::new().await;
    drop(world.live().watch(world.account, None).unwrap());
    for _ in 0..60 {
        world.task.second().await;
        assert_eq!(world.live().feeds.lock().len(), 1);
    }
    world.task.second().await;
    assert_eq!(world.live().feeds.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_admin_sees_the_sum_of_all_accounts_and_no_request() {
    let mut world = World::new().await;
    let mut watch = world.live().watch_network().unwrap();
    world.task.second().await;
    next(&mut watch).await;
    let _stream = world.process.begin(world.account).await.unwrap();
    world.request(500).await;
    world.task.second().await;
    let Event::Network(now) = next(&mut watch).await else {
        panic!("the network's numbers")
    };
    assert_eq!(
        (
            now.active_accounts,
            now.active_connections,
            now.requests,
            now.bytes_per_second
        ),
        (1, 1, 1, 500)
    );
}

#[test]
fn an_event_id_reads_back_and_nothing_else_is_one() {
    let id = EventId {
        run: 1_764_000_000_000,
        number: 77,
    };
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "-", "1", "x-1", "1-", "1-1-1"] {
        assert_eq!(text.parse::<EventId>(), Err(NotAnEventId), "{text}");
    }
}
