//! Redis or PostgreSQL answers nothing any more, comes back, and is killed, while customers work.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::process::Command;
use tokio::time::sleep;

use super::api;
use super::customers::{Asked, Customer, Load, Running, eventually};
use super::postgres::Postgres;
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::child::Process;

const STREAMS: usize = 16;
/// Bytes a second of each.
const RATE: u64 = 200_000;
const CUSTOMERS: usize = 8;
/// How long each absence lasts: longer than what a gateway knows of a key is believed without asking (`admission.key_ttl`).
const AWAY: Duration = Duration::from_secs(12);
const KEY_TTL: &str = "5s";
/// Between an absence and the next, for what has to recover.
const BETWEEN: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);
/// An answer about a key that nobody knows.
const UNAVAILABLE: &str = "unavailable";

pub(super) async fn measure_redis(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    command
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder.path());
    let redis = Process::spawn("redis", command, folder.path())?;
    eventually("Redis listens", LIMIT, async || {
        tokio::net::UnixStream::connect(&socket).await.ok()
    })
    .await?;
    let settings = Settings {
        environment: vec![
            ("IPLOOP_REDIS__URL", format!("redis+unix://{}", socket.display())),
            ("IPLOOP_ADMISSION__KEY_TTL", KEY_TTL.to_owned()),
        ],
        ..Settings::default()
    };
    let site = Site::with_devices(&bench.binaries, settings, 3).await?;
    // The database has every key, so that none is unknown.
    let people = People::of(&site, Unknown::IsServed).await?;
    let mut figures = Vec::new();
    redis.signal(Signal::STOP)?;
    figures.extend(people.watch("frozen").await?);
    redis.signal(Signal::CONT)?;
    sleep(BETWEEN).await;
    redis.signal(Signal::KILL)?;
    figures.extend(people.watch("killed").await?);
    Ok(figures)
}

pub(super) async fn measure_postgres(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let postgres = Postgres::start()?;
    let settings = Settings {
        environment: vec![("IPLOOP_ADMISSION__KEY_TTL", KEY_TTL.to_owned())],
        database: Some(postgres.url()),
        ..Settings::default()
    };
    let site = Site::with_devices(&bench.binaries, settings, 3).await?;
    let mut database = PgConnection::connect(&postgres.url()).await?;
    sqlx::query("UPDATE plans SET requests_per_day = 1000000, max_concurrent_connections = 1000")
        .execute(&mut database)
        .await?;
    database.close().await?;
    let people = People::of(&site, Unknown::Is(UNAVAILABLE)).await?;
    let mut figures = Vec::new();
    postgres.signal(Signal::STOP)?;
    figures.extend(people.watch("frozen").await?);
    postgres.signal(Signal::CONT)?;
    sleep(BETWEEN).await;
    postgres.signal(Signal::KILL)?;
    figures.extend(people.watch("killed").await?);
    Ok(figures)
}

/// What becomes of a key that this gateway does not know.
#[derive(Clone, Copy)]
enum Unknown {
    IsServed,
    Is(&'static str),
}

/// Those who work while something is away.
struct People {
    streams: Vec<Running>,
    known: Customer,
    unknown: Customer,
    expected: Unknown,
    revoked: Customer,
}

impl People {
    async fn of(site: &Site, expected: Unknown) -> anyhow::Result<Self> {
        let known = site.customer();
        // A second key of the same account, used and then revoked.
        let at = site.ready.api;
        let token = api::sign_in(at, &site.account.email).await?;
        let made = api::ask(
            ("POST", at, "/api/proxy/keys"),
            Some(&token),
            Some(&json!({ "name": "lost" })),
        )
        .await?;
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        let revoked = Customer {
            key: text("key"),
            ..known.clone()
        };
        let used = revoked.ask(Duration::ZERO, 1_024).await;
        anyhow::ensure!(used.is_served(), "a new key: {used:?}");
        let path = format!("/api/proxy/keys/{}", text("id"));
        api::ask(("DELETE", at, &path), Some(&token), None).await?;
        let streams = Running::start_all(&known, 0..STREAMS, |tag| format!("drip {tag} {RATE}")).await?;
        sleep(BETWEEN).await;
        Ok(Self {
            streams,
            known,
            unknown: site.customer_of(&site.other),
            expected,
            revoked,
        })
    }

    /// What they see from now on, for [`AWAY`].
    async fn watch(&self, how: &str) -> anyhow::Result<Vec<Figure>> {
        let before: Vec<u64> = self.streams.iter().map(Running::arrived).collect();
        let began = std::time::Instant::now();
        let load = Load::start(&self.known, CUSTOMERS, 1_024, |_| false);
        let (mut strangers, mut lost) = (Vec::new(), Vec::new());
        while began.elapsed() < AWAY {
            strangers.push(self.unknown.ask(Duration::ZERO, 1_024).await);
            lost.push(self.revoked.ask(Duration::ZERO, 1_024).await);
            sleep(Duration::from_millis(250)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let arrived = self
            .streams
            .iter()
            .zip(&before)
            .map(|(stream, before)| stream.arrived() - before);
        let slowest = arrived.min().unwrap_or(0) as f64 / seconds / RATE as f64;
        let known = load.stop().await;
        let failed: Vec<&Asked> = known.iter().filter(|asked| !asked.is_served()).collect();
        if let Some(first) = failed.first() {
            eprintln!("{how}: {first:?}");
        }
        let longest = known.iter().map(|asked| asked.took).max().unwrap_or_default();
        let name = |what: &str| format!("{how}: {what}");
        let is_expected = |asked: &&Asked| match self.expected {
            Unknown::IsServed => asked.is_served(),
            Unknown::Is(code) => asked.is_refused(code),
        };
        let told = strangers.iter().filter(is_expected).count();
        if let Some(other) = strangers.iter().find(|asked| !is_expected(asked)) {
            eprintln!("{how}: an unknown key: {other:?}");
        }
        let wait = strangers.iter().map(|asked| asked.took).max().unwrap_or_default();
        let others = match self.expected {
            Unknown::IsServed => "unknown keys not served",
            Unknown::Is(_) => "unknown keys not told 503",
        };
        Ok(vec![
            Figure::new(
                name("rate of running streams, the slowest"),
                slowest,
                "×",
                Bound::AtLeast(0.95),
            )
            .of(format!(
                "{STREAMS} streams of {} kB/s, {seconds:.0} s",
                RATE / 1_000
            )),
            Figure::none_of(
                name("known keys not served"),
                failed.len(),
                known.len(),
                "requests",
            )
            .of(format!(
                "of {} requests, the slowest {:.0} ms",
                known.len(),
                longest.as_secs_f64() * 1e3
            )),
            Figure::none_of(name(others), strangers.len() - told, strangers.len(), "requests").of(format!(
                "of {} requests, the slowest {:.0} ms",
                strangers.len(),
                wait.as_secs_f64() * 1e3
            )),
            Figure::none_of(
                name("revoked keys let in"),
                lost.iter().filter(|asked| asked.is_served()).count(),
                lost.len(),
                "requests",
            ),
        ])
    }
}
