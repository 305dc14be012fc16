//! A fresh database for a test, of each kind.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};

use iploop_platform::ids::AccountId;
use iploop_platform::store::Store;
use iploop_platform::usage::UsageSearch;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::error::Waits;
use crate::{PostgresStore, SqliteStore};

/// Requests of each account that are made up in one statement.
const FILLED_AT_ONCE: usize = 10_000;

/// One database, used by one test.
pub(crate) struct Database {
    pub(crate) store: Arc<dyn Store>,
    raw: Raw,
    _folder: Option<tempfile::TempDir>,
}

/// For what no method of the store does yet.
enum Raw {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Database {
    pub(crate) async fn sqlite_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open_with(&folder.path().join("test.db"), Waits::PATIENT)
            .await
            .unwrap();
        Self {
            raw: Raw::Sqlite(store.clone()),
            store: Arc::new(store),
            _folder: Some(folder),
        }
    }

    pub(crate) async fn sqlite_memory() -> Self {
        let store = SqliteStore::open_in_memory().await.unwrap();
        Self {
            raw: Raw::Sqlite(store.clone()),
            store: Arc::new(store),
            _folder: None,
        }
    }

    pub(crate) async fn postgres() -> Self {
        let store = PostgresStore::connect_with(&fresh_postgres().await, 10, Waits::PATIENT)
            .await
            .unwrap();
        Self {
            raw: Raw::Postgres(store.clone()),
            store: Arc::new(store),
            _folder: None,
        }
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.raw {
            Raw::Sqlite(store) => sqlx::raw_sql(sql).execute(store.pool()).await.map(drop).unwrap(),
            Raw::Postgres(store) => sqlx::raw_sql(sql).execute(store.pool()).await.map(drop).unwrap(),
        }
    }

    /// Books so many requests for every account there is, each of another second, and counts them anew for the planner.
    pub(crate) async fn fill_usage(&self, requests: usize) {
        let columns = "id, user_id, api_key_id, gateway_id, session_id, bytes_uploaded, bytes_downloaded, billable, proxy_type, \
             destination, destination_host, exit_country, status_code, error_code, attempts, started_at, ended_at";
        let (random, blob) = match &self.raw {
            Raw::Sqlite(_) => ("randomblob(16)", "x'00000000000000000000000000000007'"),
            Raw::Postgres(_) => ("gen_random_uuid()", "UUID '00000000-0000-0000-0000-000000000007'"),
        };
        // In pieces, since no statement may take long.
        let mut statements: Vec<String> = (0..requests)
            .step_by(FILLED_AT_ONCE)
            .map(|from| {
                let to = requests.min(from + FILLED_AT_ONCE);
                format!(
                    "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})
                     INSERT INTO usage_records ({columns})
                     SELECT {random}, users.id, {blob}, {random},
                         CASE WHEN i % 10 = 0 THEN 'session-' || (i % 500) END, 100, 1000, i % 20 <> 0, 'connect',
                         'host' || (i % 1000) || '.example:443', 'host' || (i % 1000) || '.example',
                         CASE WHEN i % 3 = 0 THEN 'DE' ELSE 'US' END, CASE WHEN i % 20 = 0 THEN 502 ELSE 200 END,
                         CASE WHEN i % 20 = 0 THEN 'connection_refused' END, 1,
                         1764000000000 + 1000 * CAST(i AS BIGINT), 1764000000500 + 1000 * CAST(i AS BIGINT)
                     FROM n CROSS JOIN users"
                )
            })
            .collect();
        statements.push("ANALYZE".to_owned());
        for sql in statements {
            let sql = AssertSqlSafe(sql);
            match &self.raw {
                Raw::Sqlite(store) => sqlx::raw_sql(sql).execute(store.pool()).await.map(drop).unwrap(),
                Raw::Postgres(store) => sqlx::raw_sql(sql).execute(store.pool()).await.map(drop).unwrap(),
            }
        }
    }

    /// How the database would look for a page of requests.
    pub(crate) async fn plan_of_search(
        &self,
        account: AccountId,
        search: &UsageSearch,
        limit: u32,
    ) -> String {
        let plan = match &self.raw {
            Raw::Sqlite(store) => store.plan_of_search(account, search, limit).await,
            Raw::Postgres(store) => store.plan_of_search(account, search, limit).await,
        };
        plan.unwrap().join("\n")
    }

    /// The one number that a statement answers.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        match &self.raw {
            Raw::Sqlite(store) => sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap(),
            Raw::Postgres(store) => sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap(),
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
