//! Shared state in Redis (6 or later): one connection for questions, one for news.
//!
//! Every question is one round trip; those on several names go as one pipeline of scripts. After a question that was not
//! answered in time nobody asks, and nobody waits, until Redis answers a probe in the background: see [`Breaker`].

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, RedisError, Script, ScriptInvocation};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use iploop_platform::clock::Timestamp;
use iploop_platform::secret::Secret;
use iploop_platform::shared::{
    Allowance, Change, Charge, Heard, Name, Note, Share, SharedError, SharedState, Take, Tally, Topic,
};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;

use super::CHANGES_BEHIND;
use super::memory::{duration, micros, micros_at};

/// Longest wait for an answer: people wait for it while they sign in.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest wait for a connection; it is made in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// While Redis is away it is probed this often.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Names in one pipeline.
const BATCH: usize = 256;
/// How often the connection for news is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Pauses between tries to connect for news grow up to this, with jitter.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Where news go.
const CHANNEL: &str = "iploop:changes";

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_back.lua")));
static CHARGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("charge.lua")));
static SHARE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("share.lua")));
static TALLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("tally.lua")));
static POST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("post.lua")));
static TAKE_AWAY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take_away.lua")));

/// The address of a Redis server can't be understood. Says nothing of its text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address is malformed: use redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], rediss://… for TLS or redis+unix:///PATH"
)]
pub struct RedisUrlError;

/// Whether `url` names a Redis server; nothing is opened.
///
/// # Errors
/// [`RedisUrlError`].
pub fn check_redis_url(url: &str) -> Result<(), RedisUrlError> {
    Client::open(url).map(drop).map_err(|_| RedisUrlError)
}

/// In Redis.
pub struct RedisState {
    connection: ConnectionManager,
    answer_timeout: Duration,
    /// Tells our own news from the others'.
    process: Uuid,
    breaker: Arc<Breaker>,
    news: News,
    /// They end with this.
    _tasks: JoinSet<()>,
}

/// Where what is heard goes.
#[derive(Clone)]
struct News {
    changes: broadcast::Sender<Change>,
    topics: [broadcast::Sender<Heard>; Topic::ALL.len()],
    letters: broadcast::Sender<Heard>,
}

impl News {
    fn new() -> Self {
        Self {
            changes: broadcast::Sender::new(CHANGES_BEHIND),
            topics: std::array::from_fn(|_| broadcast::Sender::new(CHANGES_BEHIND)),
            letters: broadcast::Sender::new(CHANGES_BEHIND),
        }
    }

    // Sending fails where nobody listens.

    fn missed(&self) {
        let _ = self.changes.send(Change::Missed);
        for topic in &self.topics {
            let _ = topic.send(Heard::Missed);
        }
        let _ = self.letters.send(Heard::Missed);
    }

    fn heard(&self, process: Uuid, channel: &str, message: &[u8]) {
        if channel == CHANNEL {
            if let Some(change) = decode(process, message) {
                let _ = self.changes.send(change);
            }
            return;
        }
        if channel == mailbox_of(process) {
            if let Some(heard) = decode_told(process, message) {
                let _ = self.letters.send(heard);
            }
            return;
        }
        let topic = Topic::ALL.into_iter().find(|topic| channel_of(*topic) == channel);
        if let (Some(topic), Some(heard)) = (topic, decode_told(process, message)) {
            let _ = self.topics[topic as usize].send(heard);
        }
    }
}

impl RedisState {
    /// Returns at once: connections are made in the background and made anew when they break. Needs tokio.
    ///
    /// # Errors
    /// [`RedisUrlError`].
    pub fn open(url: &Secret) -> Result<Self, RedisUrlError> {
        Self::open_with(url, ANSWER_TIMEOUT)
    }

    /// As [`RedisState::open`], but waits for each answer as long as is said before it takes Redis to be away.
    ///
    /// # Errors
    /// [`RedisUrlError`].
    pub fn open_with(url: &Secret, answer_timeout: Duration) -> Result<Self, RedisUrlError> {
        let client = Client::open(url.expose()).map_err(|_| RedisUrlError)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(answer_timeout))
            .set_number_of_retries(1)
            .set_max_delay(PROBE_EVERY);
        let connection =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(|_| RedisUrlError)?;
        let process = Uuid::now_v7();
        let news = News::new();
        let breaker = Arc::new(Breaker::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(client, process, news.clone()));
        tasks.spawn(probe(connection.clone(), answer_timeout, Arc::clone(&breaker)));
        Ok(Self {
            connection,
            answer_timeout,
            process,
            breaker,
            news,
            _tasks: tasks,
        })
    }

    /// Asks, unless Redis is away.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Result<T, SharedError> {
        if self.breaker.is_open() {
            return Err(SharedError::Away);
        }
        let reason = match timeout(self.answer_timeout, question).await {
            Ok(Ok(answer)) => return Ok(answer),
            // Kind and code only: the rest may repeat what was asked.
            Ok(Err(error)) => format!("{:?} {}", error.kind(), error.code().unwrap_or_default()),
            Err(_) => "no answer in time".to_owned(),
        };
        self.breaker.open(&reason);
        Err(SharedError::Away)
    }

    /// Runs a script for each of many names; its answers in their order.
    async fn run_all<'a, T>(
        &self,
        script: &'static Script,
        all: &'a [T],
        invocation: impl Fn(&'a T) -> ScriptInvocation<'static>,
    ) -> Result<Vec<i64>, SharedError> {
        let mut answers = Vec::with_capacity(all.len());
        for part in all.chunks(BATCH) {
            let mut pipeline = ::redis::pipe();
            // Scripts are gone after a restart of Redis.
            pipeline.load_script(script).ignore();
            for one in part {
                pipeline.invoke_script(&invocation(one));
            }
            let mut connection = self.connection.clone();
            let answered: Vec<i64> = self.ask(pipeline.query_async(&mut connection)).await?;
            if answered.len() != part.len() {
                return Err(SharedError::Away);
            }
            answers.extend(answered);
        }
        Ok(answers)
    }
}

#[async_trait]
impl SharedState for RedisState {
    async fn take(&self, name: Name, allowance: Allowance, now: Timestamp) -> Result<Take, SharedError> {
        let refill = micros(allowance.refill);
        let most = refill.saturating_mul(allowance.burst.into());
        let mut question = TAKE.key(name.to_string());
        question.arg(micros_at(now)).arg(refill).arg(most);
        let mut connection = self.connection.clone();
        match self.ask(question.invoke_async(&mut connection)).await? {
            0 => Ok(Take::Taken),
            wait => Ok(Take::Wait(duration(wait))),
        }
    }

    async fn give_back(&self, name: Name, allowance: Allowance) -> Result<(), SharedError> {
        let mut question = GIVE_BACK.key(name.to_string());
        question.arg(micros(allowance.refill));
        let mut connection = self.connection.clone();
        self.ask(question.invoke_async::<i64>(&mut connection))
            .await
            .map(drop)
    }

    async fn charge(&self, charges: &[Charge], now: Timestamp) -> Result<Vec<Duration>, SharedError> {
        let answers = self.run_all(&CHARGE, charges, |charge| {
            let mut question = CHARGE.key(charge.name.to_string());
            question
                .arg(micros_at(now))
                .arg(micros_at(charge.since))
                .arg(micros(charge.refill).saturating_mul(charge.count.into()));
            question
        });
        Ok(answers.await?.into_iter().map(duration).collect())
    }

    async fn share(
        &self,
        holder: Uuid,
        shares: &[Share],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        let lasts_ms = millis(lasts);
        let answers = self.run_all(&SHARE, shares, |share| {
            let mut question = SHARE.key(share.name.to_string());
            question
                .arg(holder.simple().to_string())
                .arg(share.count)
                .arg(now.as_millis())
                .arg(now.plus(lasts).as_millis())
                .arg(lasts_ms);
            question
        });
        let sums = answers.await?.into_iter();
        Ok(sums.map(|sum| u64::try_from(sum).unwrap_or(0)).collect())
    }

    async fn tally(
        &self,
        holder: Uuid,
        tallies: &[Tally],
        lasts: Duration,
        _: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        let answers = self.run_all(&TALLY, tallies, |tally| {
            let mut question = TALLY.key(tally.name.to_string());
            question
                .arg(holder.simple().to_string())
                .arg(tally.turn.simple().to_string())
                .arg(tally.add)
                .arg(tally.at_least)
                .arg(millis(lasts));
            question
        });
        let wholes = answers.await?.into_iter();
        Ok(wholes.map(|whole| u64::try_from(whole).unwrap_or(0)).collect())
    }

    async fn post(
        &self,
        board: Name,
        holder: Uuid,
        card: &[u8],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, SharedError> {
        let mut question = POST.key(board.to_string());
        question
            .arg(holder.simple().to_string())
            .arg(card)
            .arg(now.as_millis())
            .arg(now.plus(lasts).as_millis())
            .arg(millis(lasts));
        let mut connection = self.connection.clone();
        let others: Vec<(String, Vec<u8>)> = self.ask(question.invoke_async(&mut connection)).await?;
        let others = others.into_iter();
        Ok(others
            .filter_map(|(holder, card)| Some((holder.parse().ok()?, card)))
            .collect())
    }

    async fn keep(&self, notes: &[Note], _: Timestamp) -> Result<(), SharedError> {
        for part in notes.chunks(BATCH) {
            let mut pipeline = ::redis::pipe();
            for note in part {
                let mut question = ::redis::cmd("SET");
                question
                    .arg(note.name.to_string())
                    .arg(&note.value)
                    .arg("PX")
                    .arg(millis(note.lasts));
                pipeline.add_command(question).ignore();
            }
            let mut connection = self.connection.clone();
            self.ask(pipeline.query_async::<()>(&mut connection)).await?;
        }
        Ok(())
    }

    async fn read(&self, names: &[Name], _: Timestamp) -> Result<Vec<Option<Vec<u8>>>, SharedError> {
        let mut values = Vec::with_capacity(names.len());
        for part in names.chunks(BATCH) {
            let mut question = ::redis::cmd("MGET");
            for name in part {
                question.arg(name.to_string());
            }
            let mut connection = self.connection.clone();
            let read: Vec<Option<Vec<u8>>> = self.ask(question.query_async(&mut connection)).await?;
            values.extend(read);
        }
        match values.len() == names.len() {
            true => Ok(values),
            false => Err(SharedError::Away),
        }
    }

    async fn take_away(&self, values: &[(Name, Vec<u8>)]) -> Result<(), SharedError> {
        let answers = self.run_all(&TAKE_AWAY, values, |(name, value)| {
            let mut question = TAKE_AWAY.key(name.to_string());
            question.arg(value);
            question
        });
        answers.await.map(drop)
    }

    async fn tell(&self, topic: Topic, message: &[u8]) -> Result<(), SharedError> {
        let mut question = ::redis::cmd("PUBLISH");
        question
            .arg(channel_of(topic))
            .arg([self.process.as_bytes(), message].concat());
        let mut connection = self.connection.clone();
        self.ask(question.query_async::<i64>(&mut connection))
            .await
            .map(drop)
    }

    fn hear(&self, topic: Topic) -> broadcast::Receiver<Heard> {
        self.news.topics[topic as usize].subscribe()
    }

    fn process(&self) -> Uuid {
        self.process
    }

    async fn send(&self, to: Uuid, message: &[u8]) -> Result<bool, SharedError> {
        let mut question = ::redis::cmd("PUBLISH");
        question
            .arg(mailbox_of(to))
            .arg([self.process.as_bytes(), message].concat());
        let mut connection = self.connection.clone();
        let heard_by: i64 = self.ask(question.query_async(&mut connection)).await?;
        Ok(heard_by > 0)
    }

    fn letters(&self) -> broadcast::Receiver<Heard> {
        self.news.letters.subscribe()
    }

    async fn publish(&self, change: Change) -> Result<(), SharedError> {
        let mut question = ::redis::cmd("PUBLISH");
        question.arg(CHANNEL).arg(encode(self.process, change));
        let mut connection = self.connection.clone();
        self.ask(question.query_async::<i64>(&mut connection))
            .await
            .map(drop)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.news.changes.subscribe()
    }

    async fn ping(&self) -> Result<(), SharedError> {
        let mut connection = self.connection.clone();
        let question = ::redis::cmd("PING");
        self.ask(question.query_async::<()>(&mut connection)).await
    }
}

impl std::fmt::Debug for RedisState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisState").finish_non_exhaustive()
    }
}

/// Whether Redis is away. Whoever finds that out has waited for it; until a probe is answered nobody else does.
#[derive(Default)]
struct Breaker {
    is_open: AtomicBool,
    opened: Notify,
}

impl Breaker {
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn open(&self, reason: &str) {
        if !self.is_open.swap(true, Ordering::AcqRel) {
            tracing::warn!(reason, "Redis is away: this process goes on with what it knows");
            metrics::gauge!("iploop_redis_up").set(0.0);
            self.opened.notify_one();
        }
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Release);
        tracing::info!("Redis answers again");
        metrics::gauge!("iploop_redis_up").set(1.0);
    }
}

/// Finds out when a Redis that was away answers again, for ever.
async fn probe(connection: ConnectionManager, answer_timeout: Duration, breaker: Arc<Breaker>) {
    metrics::gauge!("iploop_redis_up").set(1.0);
    loop {
        breaker.opened.notified().await;
        loop {
            sleep(PROBE_EVERY).await;
            let mut connection = connection.clone();
            let question = ::redis::cmd("PING");
            let asked = timeout(answer_timeout, question.query_async::<()>(&mut connection));
            if matches!(asked.await, Ok(Ok(()))) {
                break;
            }
        }
        breaker.close();
    }
}

/// Passes on what others publish, for ever. Each time that it begins to hear, something may have been missed before.
async fn listen(client: Client, process: Uuid, news: News) {
    let mut pause = Duration::ZERO;
    loop {
        if let Err(error) = hear(&client, process, &news, &mut pause).await {
            tracing::debug!(kind = ?error.kind(), "news of other processes are not heard");
        }
        pause = (pause * 2).clamp(Duration::from_millis(50), MAX_PAUSE);
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Until the connection breaks.
async fn hear(client: &Client, process: Uuid, news: &News, pause: &mut Duration) -> Result<(), RedisError> {
    let away = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connection = timeout(CONNECT_TIMEOUT, client.get_async_pubsub())
        .await
        .map_err(away)??;
    let (mut asking, mut hearing) = connection.split();
    let topics = Topic::ALL.into_iter().map(channel_of);
    let own = [CHANNEL.to_owned(), mailbox_of(process)];
    for channel in own.into_iter().chain(topics) {
        timeout(CONNECT_TIMEOUT, asking.subscribe(channel))
            .await
            .map_err(away)??;
    }
    *pause = Duration::ZERO;
    news.missed();
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = hearing.next() => {
                let Some(message) = message else { return Ok(()) };
                news.heard(process, message.get_channel_name(), message.get_payload_bytes());
            }
            _ = pings.tick() => {
                let _: ::redis::Value = timeout(CONNECT_TIMEOUT, asking.ping()).await.map_err(away)??;
            }
        }
    }
}

fn channel_of(topic: Topic) -> String {
    format!("iploop:news:{}", topic.as_str())
}

/// Where one process is written to.
fn mailbox_of(process: Uuid) -> String {
    format!("iploop:to:{process}")
}

/// None for our own, and for what no process of ours said: the first 16 bytes say who.
fn decode_told(process: Uuid, message: &[u8]) -> Option<Heard> {
    let (from, message) = message.split_first_chunk::<16>()?;
    let from = Uuid::from_bytes(*from);
    (from != process).then(|| Heard::Told {
        from,
        message: Arc::from(message),
    })
}

/// At least one: Redis takes no life of nothing.
fn millis(lasts: Duration) -> i64 {
    i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// Who says it, what kind of thing, and its id.
fn encode(process: Uuid, change: Change) -> String {
    match change {
        Change::Key(key) => format!("{process} key {key}"),
        Change::Account(account) => format!("{process} account {account}"),
        Change::Suspended(account) => format!("{process} suspended {account}"),
        Change::Addresses => format!("{process} addresses"),
        Change::Missed => format!("{process} missed"),
    }
}

/// None for our own. What we do not understand may be anything.
fn decode(process: Uuid, message: &[u8]) -> Option<Change> {
    let text = std::str::from_utf8(message).unwrap_or_default();
    let mut words = text.split(' ');
    if words.next().and_then(|from| from.parse().ok()) == Some(process) {
        return None;
    }
    let kind = words.next();
    let id = words.next().and_then(|id| id.parse::<Uuid>().ok());
    Some(match (kind, id) {
        (Some("key"), Some(id)) => Change::Key(id.into()),
        (Some("account"), Some(id)) => Change::Account(id.into()),
        (Some("suspended"), Some(id)) => Change::Suspended(id.into()),
        (Some("addresses"), None) => Change::Addresses,
        _ => Change::Missed,
    })
}

#[cfg(test)]
mod tests {
    use iploop_platform::ids::{AccountId, ApiKeyId};

    use super::*;

    #[test]
    fn news_read_back_as_they_were_written_and_never_to_their_author() {
        let (here, there) = (Uuid::now_v7(), Uuid::now_v7());
        for change in [
            Change::Key(ApiKeyId::new()),
            Change::Account(AccountId::new()),
            Change::Suspended(AccountId::new()),
            Change::Addresses,
            Change::Missed,
        ] {
            let text = encode(here, change);
            assert_eq!(decode(there, text.as_bytes()), Some(change));
            assert_eq!(decode(here, text.as_bytes()), None);
        }
        for strange in [&b""[..], b"x key 7", b"\xff", b"0 newer thing"] {
            assert_eq!(decode(here, strange), Some(Change::Missed));
        }
    }

    #[test]
    fn an_address_that_can_not_be_used_is_known_beforehand_and_not_repeated() {
        for sound in [
            "redis://127.0.0.1:6379",
            "redis://:secret@redis.example.com:6379/2",
            "rediss://user:secret@redis.example.com",
            "redis+unix:///run/redis/redis.sock",
        ] {
            assert_eq!(check_redis_url(sound), Ok(()), "{sound}");
        }
        for wrong in ["", "redis", "http://127.0.0.1", "redis://:hunter2@host:port"] {
            let error = check_redis_url(wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
