//! The store on PostgreSQL 15 or newer, for many servers at once.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

use crate::error::{OpenError, Waits, act};

pub use sql::SqlStore as PostgresStore;
#[cfg(test)]
pub(crate) use sql::old_database;

type Db = sqlx::Postgres;
type Pool = sqlx::PgPool;
type Row = sqlx::postgres::PgRow;

/// A connection idle for longer is tried before it is used: the server may have restarted.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// Limits that the server keeps, should this process hang: below [`crate::error::ACT_TIMEOUT`].
const SERVER_LIMITS: [(&str, &str); 2] = [
    ("statement_timeout", "25s"),
    ("idle_in_transaction_session_timeout", "30s"),
];

/// The lock is any that another transaction holds; the server keeps this limit too.
const WAITS: Waits = Waits {
    connection: Duration::from_secs(5),
    lock: Duration::from_secs(10),
};

impl PostgresStore {
    /// Connects with at most `max_connections` connections and brings the tables up to date.
    ///
    /// # Errors
    /// [`OpenError::Malformed`], [`OpenError::Newer`], [`OpenError::Store`].
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        Self::connect_with(url, max_connections, WAITS).await
    }

    pub(crate) async fn connect_with(
        url: &str,
        max_connections: u32,
        waits: Waits,
    ) -> Result<Self, OpenError> {
        let options = parse(url)?
            .application_name("iploop")
            .options(SERVER_LIMITS)
            .options([("lock_timeout", format!("{}ms", waits.lock.as_millis()))]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.max(1))
            .acquire_timeout(waits.connection)
            .test_before_acquire(false)
            .before_acquire(|connection, since| {
                Box::pin(async move {
                    if since.idle_for > TRUSTED_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        let pool = act(async {
            match pool.connect_with(options.clone()).await {
                // The pool says only that it waited. A connection beside it says for what.
                Err(waited @ sqlx::Error::PoolTimedOut) => {
                    Err(options.connect().await.err().unwrap_or(waited).into())
                }
                connected => Ok(connected?),
            }
        })
        .await?;
        sql::migrate(&pool).await?;
        Ok(Self::new(pool.clone(), pool))
    }
}

/// Whether `url` can be understood.
pub(crate) fn check_url(url: &str) -> Result<(), OpenError> {
    parse(url).map(|_| ())
}

fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    PgConnectOptions::from_str(url).map_err(|_| OpenError::Malformed)
}

/// The few words in which PostgreSQL differs.
mod dialect {
    use std::borrow::Cow;

    /// Says how a query would be answered, and does not answer it.
    #[cfg(test)]
    pub(super) const EXPLAIN: &str = "EXPLAIN ";

    /// Starts a transaction that writes. Whatever the server's default is: each statement sees what others committed, and
    /// row locks order the rest.
    pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

    /// Starts a transaction that only reads, all of it as the data is at its first read.
    pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

    /// Lets the transaction's statements run for as long as they take.
    pub(super) const UNHURRIED: &str = "SET LOCAL statement_timeout = 0";

    /// Keeps other servers from migrating until the transaction ends.
    pub(super) const LOCK_MIGRATIONS: &str = "SELECT 1 FROM pg_advisory_xact_lock(7596835421)";

    /// A statement in PostgreSQL's words, which they are.
    pub(super) fn statement(sql: &str) -> Cow<'_, str> {
        Cow::Borrowed(sql)
    }
}

/// Keeps the rows read from changing until the transaction ends, in the order read. Foreign keys may still refer to them.
macro_rules! locked {
    () => {
        " FOR NO KEY UPDATE"
    };
}

/// A SELECT of the rows given as a JSON array of objects in `$1`: `given!(id uuid, at bigint)`.
macro_rules! given {
    ($first:ident $type:ident $(, $name:ident $types:ident)*) => {
        concat!(
            "SELECT * FROM jsonb_to_recordset($1) AS row_given(",
            stringify!($first), " ", stringify!($type) $(, ", ", stringify!($name), " ", stringify!($types))*,
            ")"
        )
    };
}

#[path = "sql/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "one SQL source, compiled for each database")]
mod sql;
