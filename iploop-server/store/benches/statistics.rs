//! Sums over 30 days of 10,000,000 requests of one account, on SQLite and on PostgreSQL.
//!
//! `cargo bench -p iploop-store --bench statistics` (some 10 GB of disk for a while, and some minutes);
//! `IPLOOP_BENCH_REQUESTS` sets the requests, `IPLOOP_BENCH_SEED` what they are like, `IPLOOP_BENCH_DATABASE` one of `sqlite` and
//! `postgres`.
//!
//! A seed makes the requests of 15 minutes: keys, countries, hosts, answers and sizes. Every slot of the 30 days has them, each with
//! as many bytes more as its number is. So the tables are filled by a few statements, and the sums are known: they are compared
//! before anything is measured.

#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iploop_platform::account::{NewAccount, Role, Standing};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
use iploop_platform::statistics::{Dimension, MAX_HOSTS_PER_DAY, MAX_HOSTS_PER_SLOT, Period, Zone};
use iploop_platform::store::Store;
use iploop_platform::usage::{Timings, UsageRecord, UsageSearch};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use uuid::Uuid;

const DAYS: u32 = 30;
const SLOTS: u64 = 96 * DAYS as u64;
/// 2026-06-01T00:00:00Z.
const START_MS: i64 = 1_780_272_000_000;
const SLOT_MS: i64 = 900_000;
const ROUNDS: usize = 60;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let requests = number_from("IPLOOP_BENCH_REQUESTS", 10_000_000)?;
    let pattern = Pattern::new(number_from("IPLOOP_BENCH_SEED", 1)?, requests / SLOTS);
    let wanted = std::env::var("IPLOOP_BENCH_DATABASE").unwrap_or_default();
    if wanted != "postgres" {
        on_sqlite(&pattern).await?;
    }
    if wanted != "sqlite" {
        on_postgres(&pattern).await?;
    }
    Ok(())
}

async fn on_sqlite(pattern: &Pattern) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let store = iploop_store::open(&url).await?;
    let account = new_account(&*store).await?;
    let pool = SqlitePool::connect(&url).await?;
    let raw = Raw::Sqlite(pool);
    fill(&raw, account, pattern).await?;
    measure(("SQLite", &raw), &store, account, pattern).await
}

async fn on_postgres(pattern: &Pattern) -> Result<(), Failure> {
    let server = PostgresServer::start()?;
    let url = format!("postgres://postgres@localhost/postgres?host={}", server.folder);
    let store = iploop_store::open(&url).await?;
    let account = new_account(&*store).await?;
    let pool = PgPool::connect(&url).await?;
    let raw = Raw::Postgres(pool);
    fill(&raw, account, pattern).await?;
    measure(("PostgreSQL", &raw), &store, account, pattern).await
}

async fn measure(
    database: (&str, &Raw),
    store: &Arc<dyn Store>,
    account: AccountId,
    pattern: &Pattern,
) -> Result<(), Failure> {
    let (name, _) = database;
    let at = |slot: u64| Timestamp::from_millis(START_MS + SLOT_MS * i64::try_from(slot).unwrap_or(0));
    let now = at(SLOTS - 1);
    let utc = Period::last_days(Zone::default(), DAYS, now)?;
    let nepal = Period::last_days(Zone::named("Asia/Kathmandu")?, DAYS, now)?;
    let sums = store.sums_by_number(account, None, &[utc.whole(0)]).await?;
    let read = store.usage_summary(account, at(0), at(SLOTS)).await?;
    if sums.first().map(|(_, sums)| sums) != Some(&read) {
        return Err(format!("the sums differ: {sums:?} and {read:?}").into());
    }
    println!("{name}: {} requests, sums equal to the byte", read.total_requests);
    let key = Some(pattern.keys[0]);
    let search = UsageSearch::default();
    for (zone, period) in [("UTC", &utc), ("Asia/Kathmandu", &nepal)] {
        let previous = period.previous(now)?;
        let both = [previous.whole(0), period.whole(1)];
        let whole = [period.whole(0)];
        let (days, hours) = (period.by_day(), period.by_hour());
        time(database, "summary", zone, async || {
            store
                .sums_by_number(account, None, &both)
                .await
                .map(|rows| rows.len())
        })
        .await?;
        time(database, "daily", zone, async || {
            store
                .sums_by_number(account, None, &days)
                .await
                .map(|rows| rows.len())
        })
        .await?;
        time(database, "hourly", zone, async || {
            store
                .sums_by_number(account, None, &hours)
                .await
                .map(|rows| rows.len())
        })
        .await?;
        time(database, "by-key", zone, async || {
            store.sums_by_key(account, &whole).await.map(|rows| rows.len())
        })
        .await?;
        for (route, dimension) in [
            ("by-country", Dimension::Country),
            ("by-status", Dimension::Status),
            ("by-type", Dimension::ProxyType),
            ("by-destination", Dimension::Host),
        ] {
            time(database, route, zone, async || {
                let rows = store.sums_by_name(account, None, dimension, &whole, 500).await?;
                Ok(rows.len())
            })
            .await?;
        }
        time(database, "by-country, one key", zone, async || {
            let rows = store
                .sums_by_name(account, key, Dimension::Country, &whole, 500)
                .await?;
            Ok(rows.len())
        })
        .await?;
    }
    time(database, "recent", "", async || {
        store
            .search_usage(account, &search, 100)
            .await
            .map(|rows| rows.len())
    })
    .await?;
    time(database, "book 1,000", "", async || {
        let requests: Vec<_> = (0..1_000)
            .map(|number| pattern.record(account, number, now))
            .collect();
        store.settle(&requests, now).await?;
        Ok(requests.len())
    })
    .await?;
    let old = at(96);
    let started = Instant::now();
    let mut batches = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        store.archive_usage(old, 1_000).await?;
        batches.push(begun.elapsed());
    }
    println!(
        "{name:<11} archive    {} requests in {:.1?}, longest transaction {:.1?}",
        20_000,
        started.elapsed(),
        batches.iter().max().unwrap_or(&Duration::ZERO)
    );
    Ok(())
}

/// Each time as it is after a booking, when nothing is kept of the account, and once more as it is without one.
async fn time(
    (name, raw): (&str, &Raw),
    route: &str,
    zone: &str,
    act: impl AsyncFn() -> Result<usize, iploop_platform::store::StoreError>,
) -> Result<(), Failure> {
    let (mut times, mut again) = (Vec::new(), Vec::new());
    let mut rows = 0;
    for _ in 0..ROUNDS {
        raw.execute("UPDATE user_plans SET usage_version = usage_version + 1")
            .await?;
        for times in [&mut times, &mut again] {
            let started = Instant::now();
            rows = act().await?;
            times.push(started.elapsed());
        }
    }
    times.sort_unstable();
    again.sort_unstable();
    println!(
        "{name:<11} {route:<20} {zone:<15} {rows:>4} rows  median {:>6.2} ms  95 %: {:>6.2}  most {:>6.2}  again {:>6.2}",
        millis(times[ROUNDS / 2]),
        millis(times[ROUNDS * 95 / 100]),
        millis(times[ROUNDS - 1]),
        millis(again[ROUNDS / 2]),
    );
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The requests of 15 minutes.
struct Pattern {
    keys: Vec<ApiKeyId>,
    requests: Vec<Request>,
}

struct Request {
    key: usize,
    proxy_type: &'static str,
    country: String,
    host: String,
    failed: bool,
    up: i64,
    down: i64,
    millis: i64,
    offset_ms: i64,
}

impl Pattern {
    fn new(seed: u64, per_slot: u64) -> Self {
        let mut random = Random(seed);
        let letters = |number: u64| char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
        let requests = (0..per_slot).map(|_| {
            let country = skewed(&mut random, 40);
            Request {
                key: usize::try_from(skewed(&mut random, 5)).unwrap_or(0),
                proxy_type: ["connect", "http", "socks5"][usize::try_from(random.below(3)).unwrap_or(0)],
                country: [letters(country / 26 + 3), letters(country)].iter().collect(),
                host: format!("shop-{}.example", skewed(&mut random, 200)),
                failed: random.below(20) == 0,
                up: i64::try_from(random.below(5_000)).unwrap_or(0),
                down: i64::try_from(random.below(200_000)).unwrap_or(0),
                millis: i64::try_from(random.below(3_000)).unwrap_or(0),
                offset_ms: i64::try_from(random.below(899_000)).unwrap_or(0),
            }
        });
        Self {
            requests: requests.collect(),
            keys: (1..=5)
                .map(|number| ApiKeyId::from(Uuid::from_u128(number)))
                .collect(),
        }
    }

    /// A new request.
    fn record(&self, account: AccountId, number: usize, started_at: Timestamp) -> UsageRecord {
        let request = &self.requests[number % self.requests.len()];
        UsageRecord {
            id: RequestId::new(),
            account,
            api_key: self.keys[request.key],
            gateway: GatewayId::from(Uuid::nil()),
            node: None,
            session: None,
            bytes_up: request.up.unsigned_abs(),
            bytes_down: request.down.unsigned_abs(),
            billable: true,
            proxy_type: request.proxy_type.to_owned(),
            destination: format!("{}:443", request.host),
            exit_country: Some(request.country.clone()),
            exit_city: None,
            exit_asn: None,
            exit_ip: None,
            timings: Timings::default(),
            status: Some(request.status()),
            error: request.failed.then(|| "connection_refused".to_owned()),
            attempts: 1,
            started_at,
            ended_at: Some(started_at),
        }
    }

    fn raw_rows(&self, account: AccountId) -> Vec<Value> {
        let rows = self.requests.iter().zip(0_u64..);
        rows.map(|(request, number)| {
            json!({
                "n": number, "u": account, "k": self.keys[request.key], "t": request.proxy_type, "c": request.country,
                "h": request.host, "s": request.status(), "e": request.failed.then_some("connection_refused"),
                "up": request.up, "down": request.down, "ms": request.millis, "at": request.offset_ms,
            })
        })
        .collect()
    }

    /// The sums of a slot, or of a day without what its slots have more.
    fn sums(&self, most_hosts: usize) -> Vec<Value> {
        let mut hosts: BTreeMap<(usize, &str), ()> = BTreeMap::new();
        let mut sums: BTreeMap<(&str, usize, String), [i64; 6]> = BTreeMap::new();
        for request in &self.requests {
            let host = (request.key, request.host.as_str());
            if hosts.len() < most_hosts {
                hosts.insert(host, ());
            }
            let named = if hosts.contains_key(&host) {
                request.host.clone()
            } else {
                String::new()
            };
            let status = match request.failed {
                true => "502 connection_refused".to_owned(),
                false => "200".to_owned(),
            };
            for (dimension, name) in [
                ("all", String::new()),
                ("type", request.proxy_type.to_owned()),
                ("country", request.country.clone()),
                ("status", status),
                ("host", named),
            ] {
                let sum = sums.entry((dimension, request.key, name)).or_default();
                let more = [
                    1,
                    i64::from(!request.failed),
                    request.up,
                    request.down,
                    request.millis,
                    1,
                ];
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
        }
        sums.into_iter()
            .map(|((dimension, key, name), [n, ok, up, down, ms, ended])| {
                json!({
                    "d": dimension, "k": self.keys[key], "m": name, "n": n, "ok": ok, "up": up, "down": down, "ms": ms,
                    "ended": ended,
                })
            })
            .collect()
    }
}

impl Request {
    fn status(&self) -> u16 {
        if self.failed { 502 } else { 200 }
    }
}

/// Small numbers more often than large ones.
fn skewed(random: &mut Random, below: u64) -> u64 {
    random
        .below(below)
        .min(random.below(below))
        .min(random.below(below))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Raw {
    async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
    }

    async fn with_rows(&self, sql: &str, rows: Vec<Value>) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        let rows = sqlx::types::Json(rows);
        match self {
            Self::Sqlite(pool) => sqlx::query(sql).bind(rows).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::query(sql).bind(rows).execute(pool).await.map(drop),
        }
    }

    /// The indexes of the request log, as statements that make them again.
    async fn indexes(&self) -> Result<Vec<(String, String)>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                let sql =
                    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'usage_records'
                           AND sql IS NOT NULL";
                sqlx::query_as(sql).fetch_all(pool).await
            }
            Self::Postgres(pool) => {
                let sql = "SELECT CAST(indexname AS TEXT), indexdef FROM pg_indexes WHERE tablename = 'usage_records'
                           AND indexname <> 'usage_records_pkey'";
                sqlx::query_as(sql).fetch_all(pool).await
            }
        }
    }

    /// One field of a row given as JSON.
    fn field(&self, name: &str, kind: &str) -> String {
        match (self, kind) {
            (Self::Sqlite(_), "uuid") => format!("unhex(value ->> '{name}', '-')"),
            (Self::Sqlite(_), _) => format!("value ->> '{name}'"),
            (Self::Postgres(_), _) => format!("CAST(value ->> '{name}' AS {kind})"),
        }
    }

    fn rows(&self, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, kind)| format!("{} AS {name}", self.field(name, kind)))
            .collect();
        let from = match self {
            Self::Sqlite(_) => "json_each($1)",
            Self::Postgres(_) => "jsonb_array_elements($1) AS given(value)",
        };
        format!("SELECT {} FROM {from}", fields.join(", "))
    }
}

async fn fill(raw: &Raw, account: AccountId, pattern: &Pattern) -> Result<(), Failure> {
    let started = Instant::now();
    let indexes = raw.indexes().await?;
    for (name, _) in &indexes {
        raw.execute(&format!("DROP INDEX {name}")).await?;
    }
    let id = match raw {
        Raw::Sqlite(_) => "unhex(printf('%016x%016x', slot.n, p.n))",
        Raw::Postgres(_) => "CAST(lpad(to_hex(slot.n), 16, '0') || lpad(to_hex(p.n), 16, '0') AS uuid)",
    };
    let given = raw.rows(&[
        ("n", "bigint"),
        ("u", "uuid"),
        ("k", "uuid"),
        ("t", "text"),
        ("c", "text"),
        ("h", "text"),
        ("s", "bigint"),
        ("e", "text"),
        ("up", "bigint"),
        ("down", "bigint"),
        ("ms", "bigint"),
        ("at", "bigint"),
    ]);
    for day in 0..i64::from(DAYS) {
        let (first, next) = (day * 96, day * 96 + 96);
        let sql = format!(
            "WITH RECURSIVE slot(n) AS (SELECT CAST({first} AS BIGINT) UNION ALL SELECT n + 1 FROM slot WHERE n + 1 < {next})
             INSERT INTO usage_records (id, user_id, api_key_id, gateway_id, bytes_uploaded, bytes_downloaded, billable,
                 proxy_type, destination, exit_country, destination_host, status_code, error_code, attempts, started_at, ended_at)
             SELECT {id}, p.u, p.k, p.k, p.up + slot.n, p.down, TRUE, p.t, p.h || ':443', p.c, p.h, p.s, p.e, 1,
                 {START_MS} + slot.n * {SLOT_MS} + p.at, {START_MS} + slot.n * {SLOT_MS} + p.at + p.ms
             FROM slot CROSS JOIN ({given}) AS p"
        );
        raw.with_rows(&sql, pattern.raw_rows(account)).await?;
    }
    println!("requests written in {:.0?}", started.elapsed());
    for (_, sql) in &indexes {
        raw.execute(sql).await?;
    }
    let given = raw.rows(&[
        ("d", "text"),
        ("k", "uuid"),
        ("m", "text"),
        ("n", "bigint"),
        ("ok", "bigint"),
        ("up", "bigint"),
        ("down", "bigint"),
        ("ms", "bigint"),
        ("ended", "bigint"),
    ]);
    let user = match raw {
        Raw::Sqlite(_) => format!("X'{}'", account.uuid().simple()),
        Raw::Postgres(_) => format!("UUID '{account}'"),
    };
    for (grain, slots, most_hosts) in [
        (SLOT_MS, 1_i64, MAX_HOSTS_PER_SLOT),
        (96 * SLOT_MS, 96, MAX_HOSTS_PER_DAY),
    ] {
        let places = i64::try_from(SLOTS)? / slots;
        // Each request of slot n has n bytes more: of the slots of a day their sum.
        let more = format!("(p.n * ({slots} * slot.n * {slots} + {slots} * ({slots} - 1) / 2))");
        let sql = format!(
            "WITH RECURSIVE slot(n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM slot WHERE n + 1 < {places})
             INSERT INTO usage_rollups (user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful,
                 bytes_uploaded, bytes_downloaded, billed_bytes, duration_ms, ended)
             SELECT {user}, p.d, {grain}, {START_MS} + slot.n * {grain}, p.k, p.m, p.n * {slots}, p.ok * {slots},
                 p.up * {slots} + {more}, p.down * {slots}, (p.up + p.down) * {slots} + {more}, p.ms * {slots},
                 p.ended * {slots}
             FROM slot CROSS JOIN ({given}) AS p"
        );
        raw.with_rows(&sql, pattern.sums(most_hosts)).await?;
    }
    if let Raw::Postgres(_) = raw {
        // As its own keeper does after a while.
        raw.execute("VACUUM ANALYZE").await?;
    }
    println!("all written in {:.0?}", started.elapsed());
    Ok(())
}

async fn new_account(store: &dyn Store) -> Result<AccountId, Failure> {
    let plans = store.plans().await?;
    let account = NewAccount {
        id: AccountId::new(),
        email: "bench@example.com".to_owned(),
        password_hash: "none".to_owned(),
        first_name: "Bench".to_owned(),
        last_name: "Mark".to_owned(),
        company: None,
        role: Role::Customer,
        email_verified: true,
        standing: Standing::Established,
        plan: plans.first().ok_or("no plan")?.id,
        bonus_bytes: 0,
        now: Timestamp::from_millis(START_MS),
    };
    Ok(store.create_account(account).await?.id)
}

/// A PostgreSQL that ends with this process.
struct PostgresServer {
    folder: String,
    child: Child,
}

impl PostgresServer {
    fn start() -> Result<Self, Failure> {
        let mut child = Command::new("sh")
            .args(["-c", include_str!("../src/contract/postgres.sh")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut folder = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut folder)?;
        match Path::new(folder.trim()).is_dir() {
            true => Ok(Self {
                folder: folder.trim().to_owned(),
                child,
            }),
            false => Err("PostgreSQL did not start".into()),
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.flush();
        }
        let _ = self.child.wait();
    }
}

fn number_from(variable: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}
