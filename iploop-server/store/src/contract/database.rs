//! A fresh database for a test, of each kind.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};

use iploop_platform::store::Store;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, SqlitePool};
use uuid::Uuid;

use crate::{PostgresStore, SqliteStore};

/// One database, used by one test.
pub(crate) struct Database {
    pub(crate) store: Arc<dyn Store>,
    raw: Raw,
    _folder: Option<tempfile::TempDir>,
}

/// For what no method of the store does yet.
enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    pub(crate) async fn sqlite_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        Self {
            raw: Raw::Sqlite(store.pool().clone()),
            store: Arc::new(store),
            _folder: Some(folder),
        }
    }

    pub(crate) async fn sqlite_memory() -> Self {
        let store = SqliteStore::open_in_memory().await.unwrap();
        Self {
            raw: Raw::Sqlite(store.pool().clone()),
            store: Arc::new(store),
            _folder: None,
        }
    }

    pub(crate) async fn postgres() -> Self {
        let store = PostgresStore::connect(&fresh_postgres().await, 10).await.unwrap();
        Self {
            raw: Raw::Postgres(store.pool().clone()),
            store: Arc::new(store),
            _folder: None,
        }
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop).unwrap(),
            Raw::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop).unwrap(),
        }
    }

    /// The one number that a statement answers.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
            Raw::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        }
    }
}

/// The address of a new, empty database on the PostgreSQL of this test run.
pub(crate) async fn fresh_postgres() -> String {
    let folder = &Cluster::of_this_run().folder;
    let name = format!("test_{}", Uuid::now_v7().simple());
    let mut connection =
        PgConnection::connect(&format!("postgres://postgres@localhost/postgres?host={folder}"))
            .await
            .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    format!("postgres://postgres@localhost/{name}?host={folder}")
}

/// A PostgreSQL that lives as long as this process: `postgres.sh` ends it when the pipe to its stdin closes.
struct Cluster {
    folder: String,
    _child: Child,
    _lifeline: ChildStdin,
}

impl Cluster {
    fn of_this_run() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let mut child = Command::new("sh")
            .args(["-c", include_str!("postgres.sh")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lifeline = child.stdin.take().unwrap();
        let mut folder = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut folder)
            .unwrap();
        if folder.is_empty() {
            match child.wait().unwrap().code() {
                Some(3) => panic!("these tests need PostgreSQL 15: `cargo xtask test` installs it"),
                code => panic!("PostgreSQL did not start (status {code:?}), its reason stands above"),
            }
        }
        Self {
            folder: folder.trim().to_owned(),
            _child: child,
            _lifeline: lifeline,
        }
    }
}
