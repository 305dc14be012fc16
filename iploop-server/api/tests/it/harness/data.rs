//! What an API keeps its data in: SQLite in memory and this process's own state, or PostgreSQL and Redis.
//!
//! The suite runs on both: `IPLOOP_TEST_DATA=servers` means the latter, and `cargo xtask test` runs it that way as well.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use iploop_platform::secret::Secret;
use iploop_platform::shared::SharedState;
use iploop_platform::store::Store;
use iploop_store::{MemoryState, PostgresStore, RedisState, SqliteStore};
use tokio::sync::OnceCell;

/// Connections of one API; a test run has several at the same time.
const CONNECTIONS: u32 = 4;

/// For an answer of Redis, as long as a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The database that every other one is copied from, so that the tables are made once.
const TEMPLATE: &str = "template_of_tests";

/// Empty data of one API.
pub(super) struct Data {
    pub(super) store: Arc<dyn Store>,
    pub(super) shared: Arc<dyn SharedState>,
    pub(super) copy: Option<Arc<OwnDatabase>>,
}

/// A database of a test's own, which ends with this value: hundreds of them are gigabytes.
pub(super) struct OwnDatabase {
    name: String,
    servers: &'static Servers,
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.servers.postgres.run(&statement);
    }
}

impl Data {
    /// Of the kind that this run is about.
    pub(super) async fn new() -> Self {
        if std::env::var("IPLOOP_TEST_DATA").is_ok_and(|kind| kind == "servers") {
            return Servers::of_this_run().await.data().await;
        }
        Self::in_memory().await
    }

    pub(super) async fn in_memory() -> Self {
        Self {
            store: Arc::new(SqliteStore::open_in_memory().await.unwrap()),
            shared: Arc::new(MemoryState::default()),
            copy: None,
        }
    }
}

/// A PostgreSQL and a Redis that live as long as this process.
struct Servers {
    postgres: Server,
    redis: Server,
    next: AtomicU32,
}

impl Servers {
    async fn of_this_run() -> &'static Self {
        static SERVERS: OnceCell<Servers> = OnceCell::const_new();
        SERVERS.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let servers = Self {
            postgres: Server::start(include_str!("../../../../store/src/contract/postgres.sh")),
            redis: Server::start(include_str!("redis.sh")),
            next: AtomicU32::new(0),
        };
        servers.postgres.run(&format!("CREATE DATABASE {TEMPLATE}"));
        // It makes the tables, and lets go of the database: one that is in use can't be copied.
        let template = PostgresStore::connect(&servers.postgres_url(TEMPLATE), 1)
            .await
            .unwrap();
        template.close().await;
        servers
    }

    async fn data(&'static self) -> Data {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.postgres
            .run(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"));
        let store = PostgresStore::connect(&self.postgres_url(&name), CONNECTIONS).await;
        let redis = format!("redis+unix://{}/redis.sock?db={number}", self.redis.folder);
        Data {
            store: Arc::new(store.unwrap()),
            shared: Arc::new(RedisState::open_with(&Secret::new(redis), PATIENCE).unwrap()),
            copy: Some(Arc::new(OwnDatabase { name, servers: self })),
        }
    }

    fn postgres_url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost/{database}?host={}",
            self.postgres.folder
        )
    }
}

/// A script that starts a server, says its folder, and ends it when its input closes: when the tests end, in whatever way.
struct Server {
    folder: String,
    _child: Child,
    _lifeline: ChildStdin,
}

impl Server {
    fn start(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lifeline = child.stdin.take().unwrap();
        let mut folder = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut folder)
            .unwrap();
        assert!(
            !folder.is_empty(),
            "no server: `cargo xtask test` installs what is needed"
        );
        Self {
            folder: folder.trim().to_owned(),
            _child: child,
            _lifeline: lifeline,
        }
    }

    fn run(&self, statement: &str) {
        let status = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--username",
                "postgres",
                "--host",
                &self.folder,
            ])
            .args(["--command", statement])
            .status();
        let is_done = status.unwrap().success();
        assert!(is_done || std::thread::panicking(), "{statement}");
    }
}
