//! Two gateways that count together.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::*;
use crate::ids::GatewayId;
use crate::shared::{Change, Charge, Heard, Name, Note, Share, SharedError, SharedState, Take, Tally, Topic};

/// What the gateways tell each other, without expiry.
#[derive(Default)]
struct Board {
    whole_at: Mutex<HashMap<Name, Duration>>,
    shares: Mutex<HashMap<(Name, Uuid), u32>>,
    tallies: Mutex<HashMap<Name, (u64, Vec<Uuid>)>>,
    /// What is told is noted, and its answer lost.
    loses_answers: AtomicBool,
    away: AtomicBool,
}

impl Board {
    fn answer<T>(&self, value: T) -> Result<T, SharedError> {
        match self.away.load(SeqCst) {
            true => Err(SharedError::Away),
            false => Ok(value),
        }
    }
}

fn since_epoch(at: Timestamp) -> Duration {
    at.since(Timestamp::default())
}

#[async_trait]
impl SharedState for Board {
    async fn take(&self, _: Name, _: Allowance, _: Timestamp) -> Result<Take, SharedError> {
        unreachable!("admission asks nobody before it answers")
    }
    async fn give_back(&self, _: Name, _: Allowance) -> Result<(), SharedError> {
        unreachable!("admission asks nobody before it answers")
    }
    async fn charge(&self, charges: &[Charge], now: Timestamp) -> Result<Vec<Duration>, SharedError> {
        let mut table = self.whole_at.lock();
        let owed = charges.iter().map(|charge| {
            let whole_at = table.entry(charge.name).or_default();
            *whole_at = (*whole_at).max(since_epoch(charge.since)) + charge.refill * charge.count;
            whole_at.saturating_sub(since_epoch(now))
        });
        self.answer(owed.collect())
    }
    async fn share(
        &self,
        holder: Uuid,
        shares: &[Share],
        _: Duration,
        _: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        let mut table = self.shares.lock();
        let sums = shares.iter().map(|share| {
            table.insert((share.name, holder), share.count);
            let others = table
                .iter()
                .filter(|((name, other), _)| *name == share.name && *other != holder);
            others.map(|(_, count)| u64::from(*count)).sum()
        });
        self.answer(sums.collect())
    }
    async fn tally(
        &self,
        _: Uuid,
        tallies: &[Tally],
        _: Duration,
        _: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        if self.away.load(SeqCst) {
            return Err(SharedError::Away);
        }
        let mut table = self.tallies.lock();
        let wholes = tallies.iter().map(|tally| {
            let (whole, turns) = table.entry(tally.name).or_default();
            *whole = (*whole).max(tally.at_least);
            if !turns.contains(&tally.turn) {
                turns.push(tally.turn);
                *whole += u64::from(tally.add);
            }
            *whole
        });
        let wholes = wholes.collect();
        match self.loses_answers.load(SeqCst) {
            true => Err(SharedError::Away),
            false => Ok(wholes),
        }
    }
    async fn post(
        &self,
        _: Name,
        _: Uuid,
        _: &[u8],
        _: Duration,
        _: Timestamp,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, SharedError> {
        unreachable!("admission has no cards")
    }
    async fn keep(&self, _: &[Note], _: Timestamp) -> Result<(), SharedError> {
        unreachable!("admission keeps nothing")
    }
    async fn read(&self, _: &[Name], _: Timestamp) -> Result<Vec<Option<Vec<u8>>>, SharedError> {
        unreachable!("admission reads nothing")
    }
    async fn take_away(&self, _: &[(Name, Vec<u8>)]) -> Result<(), SharedError> {
        unreachable!("admission keeps nothing")
    }
    async fn tell(&self, _: Topic, _: &[u8]) -> Result<(), SharedError> {
        unreachable!("admission tells nobody")
    }
    fn hear(&self, _: Topic) -> broadcast::Receiver<Heard> {
        broadcast::Sender::new(1).subscribe()
    }
    fn process(&self) -> Uuid {
        Uuid::nil()
    }
    async fn send(&self, _: Uuid, _: &[u8]) -> Result<bool, SharedError> {
        unreachable!("admission tells nobody")
    }
    fn letters(&self) -> broadcast::Receiver<Heard> {
        broadcast::Sender::new(1).subscribe()
    }
    async fn publish(&self, _: Change) -> Result<(), SharedError> {
        unreachable!("admission tells nobody")
    }
    fn changes(&self) -> broadcast::Receiver<Change> {
        broadcast::Sender::new(1).subscribe()
    }
    async fn ping(&self) -> Result<(), SharedError> {
        self.answer(())
    }
}

/// Two gateways with the same key, and what they tell each other.
struct Two {
    worlds: [World; 2],
    ids: [GatewayId; 2],
    stop: CancellationToken,
    board: Arc<Board>,
}

impl Two {
    async fn with(limits: KeyLimits) -> Self {
        Self::of(|grant| grant.key.limits = limits).await
    }

    async fn of(change: impl FnOnce(&mut KeyGrant)) -> Self {
        let first = World::with(change).await;
        let grant = first.keys.grants.lock().values().next().unwrap().clone();
        let second = World::with(|other| *other = grant).await;
        // The second world's ledger knows the first one's account by another name only.
        let second = World {
            admission: Admission::new(
                Arc::clone(&second.keys) as _,
                None,
                Arc::clone(&first.clock) as _,
                first._process.meters.clone(),
                AdmissionConfig::default(),
            ),
            ..second
        };
        let two = Self {
            worlds: [first, second],
            ids: [GatewayId::new(), GatewayId::new()],
            stop: CancellationToken::new(),
            board: Arc::new(Board::default()),
        };
        for (world, id) in two.worlds.iter().zip(two.ids) {
            let admission = world.admission.clone();
            let (board, stop) = (Arc::clone(&two.board) as Arc<dyn SharedState>, two.stop.clone());
            tokio::spawn(async move { admission.count_together(board, id, stop).await });
        }
        // The first round, of nothing.
        two.rest(Duration::from_millis(1)).await;
        two
    }

    /// Time passes, and the tasks run.
    async fn rest(&self, time: Duration) {
        advance(time).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    async fn code(&self, at: usize) -> &'static str {
        self.worlds[at].code("").await
    }

    /// How many requests in a row a gateway admits.
    async fn admitted(&self, at: usize) -> u32 {
        let mut count = 0;
        while self.code(at).await == "admitted" {
            count += 1;
        }
        count
    }
}

fn rate(per_second: u32, burst: u32) -> KeyLimits {
    KeyLimits {
        rate: Some(Rate { per_second, burst }),
        ..KeyLimits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_gateway_admitted_is_missing_here() {
    let two = Two::with(rate(2, 4)).await;
    assert_eq!(two.admitted(0).await, 4);
    assert_eq!(
        two.admitted(1).await,
        4,
        "a burst that the other does not know of yet"
    );
    two.rest(Duration::from_millis(250)).await;
    // Eight were admitted where four may be: the allowance is whole again after four seconds.
    two.rest(Duration::from_millis(1250)).await;
    assert_eq!(
        (two.code(0).await, two.code(1).await),
        ("rate_limited", "rate_limited")
    );
    two.rest(Duration::from_secs(1)).await;
    assert_eq!(two.code(0).await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn over_time_two_gateways_together_keep_the_pace() {
    let two = Two::with(rate(10, 4)).await;
    let mut admitted = 0;
    for _ in 0..100 {
        admitted += two.admitted(0).await + two.admitted(1).await;
        two.rest(Duration::from_millis(250)).await;
    }
    // 25 seconds: 250 requests and the burst; a burst more for the second gateway, once.
    assert!((246..=260).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_single_gateway_is_never_slower_for_counting_together() {
    let two = Two::with(rate(10, 1)).await;
    let mut admitted = 0;
    for _ in 0..200 {
        admitted += two.admitted(0).await;
        two.rest(Duration::from_millis(100)).await;
    }
    assert_eq!(admitted, 200);
}

#[tokio::test(start_paused = true)]
async fn connections_of_another_gateway_count_until_it_closes_them_or_is_away() {
    let two = Two::with(KeyLimits {
        max_connections: Some(3),
        ..KeyLimits::default()
    })
    .await;
    let first = two.worlds[0].login("").await.unwrap();
    let second = two.worlds[0].login("").await.unwrap();
    drop(two.worlds[1].login("").await.unwrap());
    two.rest(Duration::from_millis(250)).await;
    two.rest(Duration::from_millis(250)).await;
    let third = two.worlds[1].login("").await.unwrap();
    assert_eq!(two.code(1).await, "too_many_connections");
    let left = third
        .limits()
        .into_iter()
        .find(|limit| limit.name == "key-connections");
    assert_eq!(left.map(|limit| limit.remaining), Some(0));
    drop(first);
    two.rest(Duration::from_millis(250)).await;
    two.rest(Duration::from_millis(250)).await;
    assert_eq!(two.code(1).await, "admitted");
    // Nobody knows what the other has: each counts for itself.
    two.board.away.store(true, SeqCst);
    for _ in 0..20 {
        two.rest(Duration::from_millis(250)).await;
    }
    assert!(two.worlds[1].login("").await.is_ok());
    drop((second, third));
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_told_of_no_more() {
    let two = Two::with(rate(10, 4)).await;
    two.worlds[0].login("").await.unwrap();
    for _ in 0..60 {
        two.rest(Duration::from_millis(250)).await;
    }
    two.board.shares.lock().clear();
    two.rest(Duration::from_millis(250)).await;
    assert!(two.board.shares.lock().is_empty());
    two.worlds[0].login("").await.unwrap();
    two.rest(Duration::from_millis(250)).await;
    assert!(!two.board.shares.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_day_are_counted_over_all_gateways() {
    let two = Two::of(|grant| grant.plan.requests_per_day = 10).await;
    for _ in 0..6 {
        assert_eq!(two.code(0).await, "admitted");
    }
    two.rest(Duration::from_millis(250)).await;
    assert_eq!(two.code(1).await, "admitted");
    two.rest(Duration::from_millis(250)).await;
    assert_eq!(two.admitted(1).await, 3, "with those of the other gateway ten");
    assert_eq!(two.code(1).await, "daily_requests");
    // Whoever looks first sees what the other told a tick before.
    two.rest(Duration::from_millis(250)).await;
    two.rest(Duration::from_millis(250)).await;
    assert_eq!(two.code(0).await, "daily_requests");
    advance(Duration::from_secs(24 * 3600)).await;
    two.rest(Duration::from_millis(250)).await;
    assert_eq!(two.code(0).await, "admitted", "another day");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_answered_counts_once_and_what_was_not_told_counts_later() {
    let two = Two::of(|grant| grant.plan.requests_per_day = 20).await;
    two.board.loses_answers.store(true, SeqCst);
    for _ in 0..4 {
        assert_eq!(two.code(0).await, "admitted");
        two.rest(Duration::from_millis(250)).await;
    }
    two.board.loses_answers.store(false, SeqCst);
    two.board.away.store(true, SeqCst);
    for _ in 0..4 {
        assert_eq!(two.code(0).await, "admitted");
        two.rest(Duration::from_millis(250)).await;
    }
    two.board.away.store(false, SeqCst);
    assert_eq!(two.code(1).await, "admitted");
    // The first round after it is back tells what was told before; the second one the rest.
    for _ in 0..3 {
        two.rest(Duration::from_millis(250)).await;
    }
    assert_eq!(two.admitted(1).await, 11, "eight there and one here before");
}
