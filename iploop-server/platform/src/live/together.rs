//! What happens at other processes, for those who look here, and the other way round.
//!
//! ```text
//! who looks here  ──(watched, every second)──▶ the other processes
//! requests that end there, numbers by the second ◀── of what is watched
//! ```
//!
//! Nobody waits for it: what finds no room, or is lost on the way, is missing, and the watcher is told of the gap. Each process
//! numbers the requests that it tells of a feed, so that the others see what they missed, also the last one.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::feed::Feed;
use super::{Event, Live, Subject};
use crate::shared::{SealedNews, SealedState, Topic};
use crate::usage::{UsageRecord, masked};

/// What may wait to be told.
const WAITING: usize = 1024;
/// What is told in one message.
const TOGETHER: usize = 64;
/// Seconds for which what was watched elsewhere counts as watched, and what was told of a feed holds.
const HOLDS: u32 = 4;
/// Processes that are heard of in one feed.
const MAX_PROCESSES: usize = 256;

/// What processes tell each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Somebody looks at these, for the next seconds.
    Watched(Vec<Subject>),
    /// A request of a watched account ended; the how many'th that is told of it.
    Request(u64, Box<UsageRecord>),
    /// The last second of what is watched.
    Second(Vec<(Subject, Part)>),
}

/// What a process adds to the numbers of a feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Requests and tunnels that run.
    pub(super) active: u64,
    /// Accounts with one, in the network's feed.
    pub(super) active_accounts: u64,
    /// Requests that ended within the window.
    pub(super) requests: u64,
    /// Bytes both ways in the last second.
    pub(super) bytes_per_second: u64,
    /// Watchers, in the network's feed.
    pub(super) watchers: u64,
    /// Requests told of this feed.
    pub(super) told: u64,
}

impl Part {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            active: self.active.saturating_add(other.active),
            active_accounts: self.active_accounts.saturating_add(other.active_accounts),
            requests: self.requests.saturating_add(other.requests),
            bytes_per_second: self.bytes_per_second.saturating_add(other.bytes_per_second),
            watchers: self.watchers.saturating_add(other.watchers),
            told: self.told,
        }
    }
}

/// The other processes' side of a feed.
#[derive(Default)]
pub(super) struct Others {
    /// Seconds for which somebody there looks at this feed.
    wanted_for: u32,
    /// Requests told of it.
    told: u64,
    heard: HashMap<Uuid, HeardOf>,
}

/// What one process told of a feed.
struct HeardOf {
    part: Part,
    holds_for: u32,
    /// Requests that it has told of, as far as they are known here; none: not known yet.
    told: Option<u64>,
}

impl Others {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted_for > 0
    }

    pub(super) fn want(&mut self) {
        self.wanted_for = HOLDS;
    }

    /// The number of the next request that is told.
    pub(super) fn next_told(&mut self) -> u64 {
        self.told += 1;
        self.told
    }

    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// A second is over: what the others had in theirs.
    pub(super) fn second(&mut self) -> Part {
        self.wanted_for = self.wanted_for.saturating_sub(1);
        self.heard.retain(|_, heard| {
            heard.holds_for = heard.holds_for.saturating_sub(1);
            heard.holds_for > 0
        });
        let parts = self.heard.values().map(|heard| heard.part);
        parts.fold(Part::default(), Part::plus)
    }

    /// Something of the others' may have been lost: whether there are any.
    fn missed(&mut self) -> bool {
        for heard in self.heard.values_mut() {
            heard.told = None;
        }
        !self.heard.is_empty()
    }

    /// The process has told of so many requests, and of `new` of them just now: whether one before is missing.
    fn heard_of(&mut self, from: Uuid, told: u64, new: u64) -> bool {
        let Some(heard) = self.heard_from(from) else {
            return false;
        };
        let known = heard.told.replace(told);
        known.is_some_and(|known| known.saturating_add(new) != told)
    }

    fn heard_from(&mut self, from: Uuid) -> Option<&mut HeardOf> {
        if self.heard.len() >= MAX_PROCESSES && !self.heard.contains_key(&from) {
            return None;
        }
        let heard = self.heard.entry(from).or_insert(HeardOf {
            part: Part::default(),
            holds_for: HOLDS,
            told: None,
        });
        heard.holds_for = HOLDS;
        Some(heard)
    }
}

/// Where what others shall hear waits.
pub(super) struct Outgoing(mpsc::Sender<Told>);

impl Outgoing {
    pub(super) fn tell(&self, told: Told) {
        // What finds no room is missing, which its number shows.
        let _ = self.0.try_send(told);
    }
}

/// Carries events between processes. One per process that shares state with others.
pub struct LiveTogether {
    live: Arc<Live>,
    shared: SealedState,
    waiting: mpsc::Receiver<Told>,
}

impl LiveTogether {
    /// The feeds see what passes through other processes while the task runs. None if it was made before.
    pub fn new(live: &Arc<Live>, shared: SealedState) -> Option<Self> {
        let (outgoing, waiting) = mpsc::channel(WAITING);
        live.outgoing.set(Outgoing(outgoing)).ok()?;
        Some(Self {
            live: Arc::clone(live),
            shared,
            waiting,
        })
    }

    /// Runs until `shutdown`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            live,
            shared,
            waiting,
        } = self;
        let news = shared.hear(Topic::Live);
        let work = async { tokio::join!(listen(news, &live), tell(waiting, &shared)) };
        let _: Option<((), ())> = shutdown.run_until_cancelled(work).await;
    }
}

impl std::fmt::Debug for LiveTogether {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveTogether").finish_non_exhaustive()
    }
}

async fn listen(mut news: SealedNews, live: &Live) {
    while let Some(next) = news.next().await {
        match next {
            Some((from, message)) => {
                // What another version says and this one does not know is as if it was lost.
                match serde_json::from_slice::<Vec<Told>>(&message) {
                    Ok(all) => all.into_iter().for_each(|told| live.heard(from, told)),
                    Err(_) => live.missed(),
                }
            }
            None => live.missed(),
        }
    }
}

async fn tell(mut waiting: mpsc::Receiver<Told>, shared: &SealedState) {
    let mut together = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut together, TOGETHER).await > 0 {
        let message = serde_json::to_vec(&together).unwrap_or_default();
        together.clear();
        if let Err(error) = shared.tell(Topic::Live, message).await {
            tracing::debug!(%error, "other processes do not hear what happens here");
        }
    }
}

impl Live {
    /// Another process says something.
    pub(super) fn heard(&self, from: Uuid, told: Told) {
        let mut feeds = self.feeds.lock();
        match told {
            Told::Watched(subjects) => {
                for subject in subjects {
                    if !feeds.contains_key(&subject) && feeds.len() >= super::MAX_FEEDS {
                        continue;
                    }
                    let feed = feeds.entry(subject).or_insert_with(|| Feed::new(self.run));
                    feed.others.want();
                }
                self.note_remembered(feeds.len());
            }
            Told::Request(number, record) => {
                if let Some(feed) = feeds.get_mut(&Subject::Account(record.account)) {
                    if feed.others.heard_of(from, number, 1) {
                        feed.gap();
                    }
                    if feed.is_kept_here() {
                        feed.remember(Event::Request(Arc::from(record)));
                    }
                }
            }
            Told::Second(parts) => {
                for (subject, part) in parts {
                    let Some(feed) = feeds.get_mut(&subject) else {
                        continue;
                    };
                    if feed.others.heard_of(from, part.told, 0) {
                        feed.gap();
                    }
                    if let Some(heard) = feed.others.heard_from(from) {
                        heard.part = part;
                    }
                }
            }
        }
    }

    /// Something that other processes said may have been lost.
    pub(super) fn missed(&self) {
        for feed in self.feeds.lock().values_mut() {
            if feed.others.missed() {
                feed.gap();
            }
        }
    }

    /// Tells the others who looks at what here.
    pub(super) fn tell_watched(&self, subjects: Vec<Subject>) {
        if let Some(outgoing) = self.outgoing.get()
            && !subjects.is_empty()
        {
            outgoing.tell(Told::Watched(subjects));
        }
    }

    /// Tells the others the last second of what they look at.
    pub(super) fn tell_second(&self, parts: Vec<(Subject, Part)>) {
        if let Some(outgoing) = self.outgoing.get()
            && !parts.is_empty()
        {
            outgoing.tell(Told::Second(parts));
        }
    }

    /// Tells the others of a request that ended. The exit's address is told as the network that customers see.
    pub(super) fn tell_request(&self, number: u64, record: &UsageRecord) {
        if let Some(outgoing) = self.outgoing.get() {
            let mut record = record.clone();
            record.exit_ip = record.exit_ip.map(|ip| masked(ip).addr());
            outgoing.tell(Told::Request(number, Box::new(record)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
    use crate::usage::Timings;

    /// A process's feeds, and what it would tell.
    struct Process {
        id: Uuid,
        live: Arc<Live>,
        outgoing: mpsc::Receiver<Told>,
    }

    impl Process {
        fn new(id: u128) -> Self {
            let live = Arc::new(Live::new(Timestamp::from_millis(1)));
            let (sender, outgoing) = mpsc::channel(WAITING);
            assert!(live.outgoing.set(Outgoing(sender)).is_ok());
            Self {
                id: Uuid::from_u128(id),
                live,
                outgoing,
            }
        }

        /// What waits reaches the other one, but for as many of the first as are lost.
        fn reach(&mut self, other: &Self, lost: usize) {
            let mut told = Vec::new();
            while let Ok(next) = self.outgoing.try_recv() {
                told.push(next);
            }
            for told in told.drain(lost..) {
                // By the wire's form and back.
                let wire = serde_json::to_vec(&told).unwrap();
                other.live.heard(self.id, serde_json::from_slice(&wire).unwrap());
            }
        }
    }

    fn ended(account: AccountId, bytes: u64) -> UsageRecord {
        UsageRecord {
            id: RequestId::new(),
            account,
            api_key: ApiKeyId::new(),
            gateway: GatewayId::new(),
            node: None,
            session: None,
            bytes_up: 0,
            bytes_down: bytes,
            billable: true,
            proxy_type: "connect".to_owned(),
            destination: "example.com:443".to_owned(),
            exit_country: None,
            exit_city: None,
            exit_asn: None,
            exit_ip: "203.0.113.77".parse().ok(),
            timings: Timings::default(),
            status: Some(200),
            error: None,
            attempts: 1,
            started_at: Timestamp::from_millis(1),
            ended_at: Some(Timestamp::from_millis(2)),
        }
    }

    /// The bytes of the requests that wait for a watcher; a gap as 0.
    async fn seen(watch: &mut super::super::Watch, wanted: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        while seen.len() < wanted {
            match watch.next().await.unwrap().1 {
                Event::Request(record) => {
                    assert_eq!(record.exit_ip, "203.0.113.0".parse().ok(), "told as a network");
                    seen.push(record.bytes_down);
                }
                Event::Gap => seen.push(0),
                _ => {}
            }
        }
        seen
    }

    #[tokio::test]
    async fn what_is_watched_here_is_told_by_the_others_and_nothing_else() {
        let (mut here, mut there) = (Process::new(1), Process::new(2));
        let (account, stranger) = (AccountId::new(), AccountId::new());
        there
            .live
            .request_ended(account, || unreachable!("nobody looks at this"));
        let mut watch = here.live.watch(account, None).unwrap();
        here.reach(&there, 0);
        there.live.request_ended(account, || ended(account, 7));
        there
            .live
            .request_ended(stranger, || unreachable!("nobody looks at this"));
        there.reach(&here, 0);
        assert_eq!(seen(&mut watch, 1).await, [7]);
    }

    #[tokio::test]
    async fn what_was_lost_on_the_way_is_a_gap_also_the_last_one() {
        let (mut here, mut there) = (Process::new(1), Process::new(2));
        let account = AccountId::new();
        let mut watch = here.live.watch(account, None).unwrap();
        here.reach(&there, 0);
        for bytes in [1, 2, 3] {
            there.live.request_ended(account, || ended(account, bytes));
            there.reach(&here, usize::from(bytes == 2));
        }
        assert_eq!(seen(&mut watch, 3).await, [1, 0, 3]);
        there.live.request_ended(account, || ended(account, 4));
        there.reach(&here, 1);
        let told = there.live.feeds.lock()[&Subject::Account(account)].others.told();
        let part = Part {
            told,
            ..Part::default()
        };
        there.live.tell_second(vec![(Subject::Account(account), part)]);
        there.reach(&here, 0);
        assert_eq!(seen(&mut watch, 1).await, [0]);
        here.live.missed();
        assert_eq!(
            seen(&mut watch, 1).await,
            [0],
            "nor when nobody knows what was said"
        );
    }

    #[test]
    fn the_others_parts_add_up_until_they_are_not_heard_of() {
        let here = Process::new(1);
        let account = AccountId::new();
        let _watch = here.live.watch(account, None).unwrap();
        let part = Part {
            active: 2,
            requests: 5,
            bytes_per_second: 100,
            ..Part::default()
        };
        for from in [2, 3] {
            let told = Told::Second(vec![(Subject::Account(account), part)]);
            here.live.heard(Uuid::from_u128(from), told);
        }
        let mut feeds = here.live.feeds.lock();
        let others = &mut feeds.get_mut(&Subject::Account(account)).unwrap().others;
        let sum = others.second();
        assert_eq!((sum.active, sum.requests, sum.bytes_per_second), (4, 10, 200));
        for _ in 0..HOLDS {
            others.second();
        }
        assert_eq!(others.second(), Part::default());
    }
}
