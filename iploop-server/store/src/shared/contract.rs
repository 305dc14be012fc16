//! The promises of [`SharedState`], as one suite that runs on both. Two handles stand for two processes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::shared::{
    Allowance, Change, Charge, Heard, Name, Note, Share, SharedError, SharedState, Take, Tally, Topic,
};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::redis_server::RedisServer;
use super::{MemoryState, RedisState};

/// Two processes' handles on one state.
struct Pair {
    here: Arc<dyn SharedState>,
    there: Arc<dyn SharedState>,
    _redis: Option<RedisServer>,
}

impl Pair {
    fn memory() -> Self {
        let here: Arc<dyn SharedState> = Arc::new(MemoryState::default());
        Self {
            there: Arc::clone(&here),
            here,
            _redis: None,
        }
    }

    fn redis() -> Self {
        let server = RedisServer::start();
        Self {
            here: Arc::new(server.state()),
            there: Arc::new(server.state()),
            _redis: Some(server),
        }
    }
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory { $(#[tokio::test] async fn $name() { super::$name(super::Pair::memory()).await; })* }
        mod redis { $(#[tokio::test] async fn $name() { super::$name(super::Pair::redis()).await; })* }
    };
}

on_both! {
    a_burst_passes_then_one_each_refill_whoever_asks
    refused_tries_do_not_prolong_the_wait
    a_try_given_back_counts_as_none
    of_many_parallel_tries_exactly_the_allowance_passes
    what_was_tried_already_is_charged_without_refusal
    shares_of_others_add_up_until_they_expire
    many_names_are_answered_in_their_order
    a_tally_is_added_once_however_often_it_is_told
    a_tally_that_was_lost_comes_back_as_far_as_it_was_known
    cards_of_others_are_seen_until_they_expire
    notes_are_kept_for_their_time_and_taken_away_by_who_wrote_them
    what_is_told_of_a_topic_is_heard_by_who_listens_to_it
    a_letter_reaches_the_process_that_it_names
    news_reach_the_other_process
    it_answers
}

const ALLOWANCE: Allowance = Allowance {
    burst: 3,
    refill: Duration::from_secs(10),
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + seconds * 1000)
}

fn wait(seconds: u64) -> Result<Take, SharedError> {
    Ok(Take::Wait(Duration::from_secs(seconds)))
}

async fn a_burst_passes_then_one_each_refill_whoever_asks(pair: Pair) {
    let (a, b) = (Name::new("test", "a"), Name::new("test", "b"));
    for state in [&pair.here, &pair.there, &pair.here] {
        assert_eq!(state.take(a, ALLOWANCE, at(0)).await, Ok(Take::Taken));
    }
    assert_eq!(pair.there.take(a, ALLOWANCE, at(0)).await, wait(10));
    assert_eq!(pair.here.take(a, ALLOWANCE, at(4)).await, wait(6));
    assert_eq!(pair.here.take(b, ALLOWANCE, at(4)).await, Ok(Take::Taken));
    assert_eq!(pair.there.take(a, ALLOWANCE, at(10)).await, Ok(Take::Taken));
    assert_eq!(pair.here.take(a, ALLOWANCE, at(10)).await, wait(10));
}

async fn refused_tries_do_not_prolong_the_wait(pair: Pair) {
    let name = Name::new("test", "refused");
    for _ in 0..100 {
        pair.here.take(name, ALLOWANCE, at(0)).await.unwrap();
    }
    assert_eq!(pair.there.take(name, ALLOWANCE, at(10)).await, Ok(Take::Taken));
}

async fn a_try_given_back_counts_as_none(pair: Pair) {
    let name = Name::new("test", "given back");
    pair.here.give_back(name, ALLOWANCE).await.unwrap();
    for _ in 0..20 {
        assert_eq!(pair.here.take(name, ALLOWANCE, at(0)).await, Ok(Take::Taken));
        pair.there.give_back(name, ALLOWANCE).await.unwrap();
    }
}

async fn of_many_parallel_tries_exactly_the_allowance_passes(pair: Pair) {
    let allowance = Allowance {
        burst: 7,
        refill: Duration::from_secs(3600),
    };
    let name = Name::new("test", "parallel");
    let mut tries = JoinSet::new();
    for turn in 0..40 {
        let state = Arc::clone(if turn % 2 == 0 { &pair.here } else { &pair.there });
        tries.spawn(async move { state.take(name, allowance, at(0)).await.unwrap() });
    }
    let takes = tries.join_all().await;
    assert_eq!(takes.iter().filter(|take| **take == Take::Taken).count(), 7);
}

async fn what_was_tried_already_is_charged_without_refusal(pair: Pair) {
    let charge = |count, since| Charge {
        name: Name::new("test", "charged"),
        count,
        refill: Duration::from_secs(2),
        since,
    };
    let owed =
        async |state: &Arc<dyn SharedState>, charge, now| state.charge(&[charge], now).await.unwrap()[0];
    let seconds = Duration::from_secs;
    assert_eq!(owed(&pair.here, charge(0, at(0)), at(0)).await, seconds(0));
    // Five tries since second 0, told at second 1.
    assert_eq!(owed(&pair.here, charge(5, at(0)), at(1)).await, seconds(9));
    assert_eq!(owed(&pair.there, charge(10, at(0)), at(1)).await, seconds(29));
    assert_eq!(owed(&pair.there, charge(0, at(20)), at(20)).await, seconds(10));
    assert_eq!(owed(&pair.here, charge(0, at(50)), at(50)).await, seconds(0));
}

async fn shares_of_others_add_up_until_they_expire(pair: Pair) {
    let name = Name::new("test", "shares");
    let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
    let others = async |state: &Arc<dyn SharedState>, holder, count, now| {
        let lasts = Duration::from_secs(3);
        state
            .share(holder, &[Share { name, count }], lasts, now)
            .await
            .unwrap()[0]
    };
    assert_eq!(others(&pair.here, first, 4, at(0)).await, 0);
    assert_eq!(others(&pair.there, second, 5, at(1)).await, 4);
    assert_eq!(others(&pair.here, third, 0, at(1)).await, 9);
    assert_eq!(others(&pair.here, first, 1, at(2)).await, 5);
    assert_eq!(others(&pair.there, second, 0, at(2)).await, 1);
    assert_eq!(
        others(&pair.here, third, 0, at(2)).await,
        1,
        "a part of nothing is none"
    );
    assert_eq!(
        others(&pair.here, third, 0, at(5)).await,
        0,
        "who is not heard of has none"
    );
}

async fn many_names_are_answered_in_their_order(pair: Pair) {
    let shares: Vec<Share> = (0..1000)
        .map(|number: u32| Share {
            name: Name::new("test", &number.to_string()),
            count: number,
        })
        .collect();
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let lasts = Duration::from_secs(60);
    pair.here.share(first, &shares, lasts, at(0)).await.unwrap();
    let sums = pair.there.share(second, &shares, lasts, at(0)).await.unwrap();
    assert_eq!(sums, (0..1000).collect::<Vec<u64>>());
    assert_eq!(pair.here.charge(&[], at(0)).await, Ok(Vec::new()));
}

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn a_tally_is_added_once_however_often_it_is_told(pair: Pair) {
    let name = Name::new("test", "tally");
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let told = async |state: &Arc<dyn SharedState>, holder, turn, add| {
        let turn = Uuid::from_u128(turn);
        let tally = Tally {
            name,
            turn,
            add,
            at_least: 0,
        };
        state.tally(holder, &[tally], DAY, at(0)).await.unwrap()[0]
    };
    assert_eq!(told(&pair.here, first, 1, 5).await, 5);
    assert_eq!(told(&pair.there, second, 1, 7).await, 12);
    assert_eq!(told(&pair.here, first, 1, 5).await, 12, "told before");
    assert_eq!(told(&pair.here, first, 2, 5).await, 17);
    assert_eq!(told(&pair.there, second, 2, 0).await, 17);
}

async fn a_tally_that_was_lost_comes_back_as_far_as_it_was_known(pair: Pair) {
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let told = async |state: &Arc<dyn SharedState>, holder, add, at_least| {
        let tally = Tally {
            name: Name::new("test", "lost tally"),
            turn: Uuid::now_v7(),
            add,
            at_least,
        };
        state.tally(holder, &[tally], DAY, at(0)).await.unwrap()[0]
    };
    // Both know of 100 requests, and have each a few more.
    assert_eq!(told(&pair.here, first, 2, 100).await, 102);
    assert_eq!(told(&pair.there, second, 3, 100).await, 105);
}

async fn cards_of_others_are_seen_until_they_expire(pair: Pair) {
    let board = Name::new("test-board", "cards");
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let post = async |state: &Arc<dyn SharedState>, holder, card: &[u8], now| {
        let lasts = Duration::from_secs(3);
        state.post(board, holder, card, lasts, now).await.unwrap()
    };
    assert_eq!(post(&pair.here, first, b"one", at(0)).await, vec![]);
    let card = b"\0 two\n\xff";
    let seen = post(&pair.there, second, card, at(1)).await;
    assert_eq!(seen, [(first, b"one".to_vec())]);
    let seen = post(&pair.here, first, b"one", at(2)).await;
    assert_eq!(seen, [(second, card.to_vec())], "whatever its bytes are");
    assert_eq!(post(&pair.here, first, b"one", at(4)).await, vec![]);
}

async fn notes_are_kept_for_their_time_and_taken_away_by_who_wrote_them(pair: Pair) {
    let [a, b, c] = ["a", "b", "c"].map(|subject| Name::new("test-note", subject));
    let note = |name, value: &str, lasts| Note {
        name,
        value: value.into(),
        lasts,
    };
    let notes = [note(a, "old", DAY), note(b, "two", DAY)];
    pair.here.keep(&notes, at(0)).await.unwrap();
    pair.there.keep(&[note(a, "new", DAY)], at(0)).await.unwrap();
    let (new, two) = (Some(b"new".to_vec()), Some(b"two".to_vec()));
    assert_eq!(
        pair.here.read(&[b, c, a], at(0)).await,
        Ok(vec![two, None, new.clone()])
    );
    let gone = [(a, b"old".to_vec()), (b, b"two".to_vec())];
    pair.here.take_away(&gone).await.unwrap();
    assert_eq!(pair.there.read(&[a, b], at(0)).await, Ok(vec![new, None]));
    let lasts = Duration::from_millis(1);
    pair.here.keep(&[note(c, "short", lasts)], at(0)).await.unwrap();
    while pair.here.read(&[c], at(1)).await != Ok(vec![None]) {
        tokio::task::yield_now().await;
    }
}

async fn what_is_told_of_a_topic_is_heard_by_who_listens_to_it(pair: Pair) {
    let mut live = pair.there.hear(Topic::Live);
    let mut sessions = pair.there.hear(Topic::Sessions);
    // Hearing begins in the background.
    let first = loop {
        pair.here.tell(Topic::Live, b"\0first").await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(50), told(&mut live)).await;
        if let Ok(message) = next {
            break message;
        }
    };
    assert_eq!(&*first, b"\0first");
    pair.here.tell(Topic::Sessions, b"other").await.unwrap();
    assert_eq!(&*told(&mut sessions).await, b"other");
}

async fn told(heard: &mut broadcast::Receiver<Heard>) -> Arc<[u8]> {
    loop {
        if let Heard::Told { message, .. } = heard.recv().await.unwrap() {
            return message;
        }
    }
}

async fn a_letter_reaches_the_process_that_it_names(pair: Pair) {
    let (to, mut letters) = (pair.there.process(), pair.there.letters());
    let nobody = Uuid::now_v7();
    assert_eq!(pair.here.send(nobody, b"lost").await, Ok(false));
    // Hearing begins in the background.
    while pair.here.send(to, b"\0first").await != Ok(true) {
        tokio::task::yield_now().await;
    }
    pair.here.send(to, b"second").await.unwrap();
    for wanted in [&b"\0first"[..], b"second"] {
        loop {
            if let Heard::Told { from, message } = letters.recv().await.unwrap() {
                assert_eq!((from, &*message), (pair.here.process(), wanted));
                break;
            }
        }
    }
}

async fn news_reach_the_other_process(pair: Pair) {
    let mut heard = pair.there.changes();
    // Hearing begins in the background: from the first news on, none is lost.
    let first = Change::Key(ApiKeyId::new());
    loop {
        pair.here.publish(first).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(50), skip_missed(&mut heard)).await;
        if next == Ok(first) {
            break;
        }
    }
    let account = AccountId::new();
    for change in [Change::Account(account), Change::Suspended(account)] {
        pair.here.publish(change).await.unwrap();
    }
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let change = skip_missed(&mut heard).await;
        if change != first {
            rest.push(change);
        }
    }
    assert_eq!(rest, [Change::Account(account), Change::Suspended(account)]);
}

async fn skip_missed(heard: &mut broadcast::Receiver<Change>) -> Change {
    loop {
        match heard.recv().await.unwrap() {
            Change::Missed => {}
            change => return change,
        }
    }
}

async fn it_answers(pair: Pair) {
    assert_eq!(pair.here.ping().await, Ok(()));
}

/// Asks until there is an answer of this kind.
async fn ping_until(state: &RedisState, wanted: Result<(), SharedError>) {
    while state.ping().await != wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_redis_that_goes_and_comes_back_is_used_again_and_its_absence_is_news() {
    let mut server = RedisServer::start();
    let state = server.state();
    let name = Name::new("test", "lost");
    let mut heard = state.changes();
    assert_eq!(heard.recv().await, Ok(Change::Missed), "before it began to hear");
    for _ in 0..3 {
        assert_eq!(state.take(name, ALLOWANCE, at(0)).await, Ok(Take::Taken));
    }
    server.kill();
    ping_until(&state, Err(SharedError::Away)).await;
    assert_eq!(
        state.take(name, ALLOWANCE, at(0)).await,
        Err(SharedError::Away),
        "nobody waits for it"
    );
    assert_eq!(
        state.read(&[name], at(0)).now_or_never(),
        Some(Err(SharedError::Away)),
        "who comes later does not wait at all"
    );
    server.begin();
    ping_until(&state, Ok(())).await;
    assert_eq!(heard.recv().await, Ok(Change::Missed));
    let took = state.take(name, ALLOWANCE, at(0)).await;
    assert_eq!(took, Ok(Take::Taken), "it knew nothing more");
}
